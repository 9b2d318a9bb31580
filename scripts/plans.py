"""The source of plans of `paradp drive`: on this machine or on a server."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from paradp.policy.errors import printable
from paradp.scripts.console import say
from paradp.scripts.serve import remote

if TYPE_CHECKING:
    from paradp.policy.control.sources import PlanSource
    from paradp.policy.spec import Interface


def preparing(server: str | None, plans: str, measured: bool) -> str:
    """Describes the work before the robot starts."""
    if server is not None:
        return f"requesting first plans from {server}"
    process = " in a separate process" * (plans == "process")
    return f"loading the policy{process}" + "; measuring which sampler is fastest here" * measured


def source_of(server: str | None, ca: Path | None, plans: str, load: Callable, threads: int) -> "PlanSource":
    """Makes the source of plans: a server, a thread of this process, or another process.

    Args:
        server: a server's address; `None` to plan on this machine.
        ca: the file with the certificates to trust.
        plans: `thread` or `process`.
        load: makes the policy; a `partial` whose first argument is the checkpoint.
        threads: CPU threads of the network, on this machine.
    """
    import torch

    from paradp.checkpoints import read_info
    from paradp.policy.control.sources import InProcess, InThread

    if server is not None:
        return remote(server, ca)
    if plans == "thread":
        torch.set_num_threads(threads)
        return InThread(load())
    return InProcess(read_info(load.args[0]).spec, load, threads)  # type: ignore[attr-defined]


def say_plans(source: "PlanSource", sampler: str, seconds: float) -> None:
    """Prints the sampler that makes the plans, if it was measured or is a server's, and the time of a plan."""
    from paradp.policy.control.sources import InProcess, InThread

    if isinstance(source, InProcess | InThread):
        if chosen := source.chosen():
            say(f"{sampler} is {chosen}")
    elif isinstance(name := getattr(source, "metadata", {}).get("sampler"), str):
        say(f"the server's sampler is {printable(name):.100}")
    say(f"a plan takes {1000 * seconds:.0f} ms")


def check_same(served: "Interface", here: "Interface") -> None:
    """Checks that a server's policy has the same inputs and outputs as the one here.

    Raises:
        ValueError: they differ.
    """
    from paradp.policy.identity import describe, differences
    from paradp.policy.spec import Interface

    wanted = {name: value for name, value in describe(here).items() if name in Interface.__dataclass_fields__}
    if differing := differences(describe(served), wanted):
        raise ValueError(f"the server's policy differs from the one here ({differing})")
