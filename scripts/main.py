"""`paradp`: the entry point."""

import os
import sys

import tyro

from paradp.scripts.bench import bench
from paradp.scripts.collect import collect
from paradp.scripts.console import errors
from paradp.scripts.data import data
from paradp.scripts.drive import drive
from paradp.scripts.evaluate import evaluate
from paradp.scripts.info import info
from paradp.scripts.release import release
from paradp.scripts.rollout import rollout
from paradp.scripts.serve import serve
from paradp.scripts.study import study
from paradp.scripts.tasks import tasks
from paradp.scripts.train import train

app = tyro.extras.SubcommandApp()
for _command in (rollout, evaluate, drive, serve, bench, collect, train, study, release, tasks, info):
    app.command(_command)
app.command(data, name="data", help="Look at demonstrations that others recorded, and import them.")


def main() -> None:
    """Runs a command. A user's mistake ends in one sentence and exit code 2; with PARADP_TRACEBACK=1, in a traceback."""
    try:
        app.cli(prog="paradp", description="Diffusion policies denoised in parallel in time, in closed loop.")
    except KeyboardInterrupt:
        errors.print("interrupted: what was finished is kept; run the same command again to continue")
        sys.exit(130)
    except (ValueError, OSError) as error:
        if os.environ.get("PARADP_TRACEBACK"):
            raise
        errors.print(f"paradp: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
