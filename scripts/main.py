"""`paradp`: the entry point. Commands are listed in a table, and only the called one is imported."""

import atexit
import os
import signal
import sys
from dataclasses import dataclass
from importlib import import_module

from paradp.scripts.interrupts import CONTINUES, EXIT_CODE, NOTHING_WRITTEN, PARTLY_WRITTEN, STOPPED, leave_at_once

DESCRIPTION = "Diffusion policies denoised in parallel in time, in closed loop."


@dataclass(frozen=True)
class Subcommand:
    """A command.

    Attributes:
        module: its module in `paradp.scripts`.
        function: its function.
        summary: a one-line description.
        interrupted: what Ctrl-C leaves of its work, in a sentence.
    """

    module: str
    function: str
    summary: str
    interrupted: str = NOTHING_WRITTEN


COMMANDS = {
    "rollout": Subcommand("rollout", "rollout", "run a policy in closed loop: success, reward, latency, films", CONTINUES),
    "evaluate": Subcommand(
        "evaluate", "evaluate", "compare samplers, clocks, … on the same episodes, in one report", CONTINUES
    ),
    "drive": Subcommand("drive", "drive", "drive a robot in real time, planning while it moves", STOPPED),
    "serve": Subcommand("serve", "serve", "serve a policy to robots on the network"),
    "bench": Subcommand("bench", "bench", "measure the latency of a plan for every engine and sampler", PARTLY_WRITTEN),
    "collect": Subcommand("collect", "collect", "collect demonstrations by a task's scripted expert", CONTINUES),
    "data import": Subcommand("data", "import_", "import demonstrations recorded with other programs"),
    "data export": Subcommand("export", "export", "export demonstrations for LeRobot"),
    "data inspect": Subcommand("inspecting", "inspect", "look at demonstrations before training", PARTLY_WRITTEN),
    "train": Subcommand("train", "train", "train a policy on demonstrations", CONTINUES),
    "fidelity": Subcommand("fidelity", "fidelity", "measure how plans with fewer steps differ from DDPM's"),
    "distill": Subcommand("distill", "distill", "distill a policy into one that needs one to four evaluations", CONTINUES),
    "draft train": Subcommand("draft", "train", "train a draft: fewer rounds for speculative samplers"),
    "convert": Subcommand("convert", "convert", "convert checkpoints between paradp and other programs"),
    "release": Subcommand("release", "release", "add a trained checkpoint to the pretrained policies", PARTLY_WRITTEN),
    "study": Subcommand("study", "study", "repeat the measurements of docs/results", PARTLY_WRITTEN),
    "tasks": Subcommand("tasks", "tasks", "list the tasks, or describe one"),
    "info": Subcommand("info", "info", "list samplers, pretrained policies and versions"),
}


def main() -> None:
    """Runs a command. A user's mistake ends in one sentence and exit code 2; with PARADP_TRACEBACK=1, in a traceback."""
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt:
        name, _ = _named(sys.argv[1:])
        _end(COMMANDS[name].interrupted if name in COMMANDS else NOTHING_WRITTEN, EXIT_CODE)
    except ModuleNotFoundError as error:
        from paradp.scripts.extras import missing_extra

        if os.environ.get("PARADP_TRACEBACK") or (sentence := missing_extra(error)) is None:
            raise
        _end(f"paradp: {sentence}", 2)
    except (ValueError, OSError) as error:
        from paradp.policy.errors import system_error

        if os.environ.get("PARADP_TRACEBACK"):
            raise
        _end(f"paradp: {system_error(error) if isinstance(error, OSError) else error}", 2)
    finally:
        # During Python's shutdown nothing is left to interrupt: the result stands, and so must the exit code.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def _run(arguments: list[str]) -> None:
    name, group = _named(arguments)
    if name in COMMANDS:
        with leave_at_once():
            from paradp.scripts.call import call

            function = getattr(import_module(f"paradp.scripts.{COMMANDS[name].module}"), COMMANDS[name].function)
        call(function, f"paradp {name}", arguments[len(name.split()) :])
    elif arguments and arguments[-1] in ("-h", "--help") and len(arguments) == (2 if group else 1):
        print(_overview(group))
    elif arguments == ["--version"]:
        from importlib.metadata import version

        print(f"paradp {version('paradp')}")
    elif len(arguments) <= bool(group):
        print(_overview(group), file=sys.stderr)
        sys.exit(2)
    else:
        raise ValueError(_unknown(name, group))


def _named(arguments: list[str]) -> tuple[str, str]:
    """The command as typed, and, if it has two words such as `data import`, the first of them."""
    first = next(iter(arguments), "")
    group = first if any(name.startswith(f"{first} ") for name in COMMANDS) else ""
    return " ".join(arguments[: 2 if group else 1]), group


def _overview(group: str) -> str:
    shown = {name: command for name, command in COMMANDS.items() if name.startswith(group)}
    width = max(map(len, shown)) + 2
    rows = [f"  {name:{width}}{command.summary}" for name, command in shown.items()]
    usage = f"usage: paradp {group} COMMAND".replace("  ", " ")
    return "\n".join([usage, "", DESCRIPTION, "", *rows, "", "Help for a command: paradp COMMAND --help"])


def _unknown(name: str, group: str) -> str:
    from paradp.sampler.lookup import unknown

    known = [command for command in COMMANDS if command.startswith(group)]
    return unknown("unknown command", name, known)


def _end(sentence: str, code: int) -> None:
    """Ends with a message, in one line."""
    from paradp.scripts.console import errors

    errors.print(" ".join(sentence.split()), style="red" if code == 2 else None, highlight=False, soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
