"""`paradp drive`: a control loop in real time, with a robot of LeRobot or a simulated one."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from paradp.policy.choices import Blending, Late
from paradp.rollouts.machine import cores, hardware, versions
from paradp.scripts.call import Count, Positive, Seed
from paradp.scripts.computing import DEFAULT_COMPUTING, ComputingFlags
from paradp.scripts.console import console, doing, loading, progress, say
from paradp.scripts.interrupts import ended_like_ctrl_c
from paradp.scripts.lists import SamplerText
from paradp.scripts.places import check_device, check_file, check_new
from paradp.scripts.plans import check_same, preparing, say_plans, source_of
from paradp.scripts.recording import check_rerun, recorded_drive
from paradp.scripts.robots import body_of
from paradp.scripts.sampler_names import one_sampler
from paradp.scripts.serve import check_remote
from paradp.scripts.task_facts import naming_facts_of

if TYPE_CHECKING:
    from rich.console import Group

    from paradp.policy.control.asynchronous import AsyncController
    from paradp.policy.control.controller import Command, Hold
    from paradp.policy.spec import PolicySpec
    from paradp.rollouts.realtime.drive import Driven
    from paradp.rollouts.realtime.reports import Robot, TickReport


Plans = Literal["process", "thread"]
SAMPLER = "auto"
PLANS: Plans = "process"


# Long: its parameters are the command's options, and its docstring is their help.
def drive(
    task: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[TASK]")] = None,
    robot: str | None = None,
    minutes: Positive = 1.0,
    sampler: SamplerText = SAMPLER,
    plans: Plans = PLANS,
    server: str | None = None,
    ca: Path | None = None,
    late: Late = "continue-chunk",
    budget_ms: Positive | None = None,
    dead_after: Positive = 2.0,
    blending: Blending = "inpaint",
    execute: Count | None = None,
    checkpoint: str | None = None,
    disturbance: str | None = None,
    seed: Seed = 100_000,
    live: bool = False,
    trace: Path | None = None,
    rerun: Path | None = None,
    out: Path | None = None,
    computing: tyro.conf.OmitArgPrefixes[ComputingFlags] = DEFAULT_COMPUTING,
) -> None:
    """Drive a robot in real time: the next chunk is planned while the robot moves.

    Without --robot, it drives a task's simulated robot, in another process that does not wait for commands. If a command
    arrives after half of its control step (nine tenths with --robot), the robot repeats the last one, and the step counts
    as missed. Every command passes safety checks before it reaches the robot. On Ctrl-C the robot is commanded to hold
    still, and is disconnected.

        paradp drive square --live
        paradp drive --robot so101_follower:port=/dev/ttyACM0,id=blue \\
            --checkpoint my_policy --minutes 2
        paradp drive square --minutes 10 --late hold --out runs/realtime \\
            --trace runs/realtime/trace.json
        paradp drive square --server ws://127.0.0.1:8000

    For a server with an API key, set PARADP_API_KEY.

    Args:
        task: the task of the simulated robot.
        robot: a robot of LeRobot: TYPE, TYPE:key=value,… or TYPE:{key: value, …}, with the settings of LeRobot's
            --robot.type and --robot.key; LeRobot must be installed, and the robot calibrated.
        minutes: duration in wall-clock minutes.
        plans: plan in another process, or in a thread of the control loop's process.
        server: plan on a policy server, ws://HOST:PORT, or wss://HOST:PORT with TLS. The sampler and how the policy is
            computed are set there.
        ca: a PEM file with the certificates to trust, for wss; the system's by default.
        late: what to do if a chunk is late: hold, continue-chunk (execute the rest of the last one, then hold), or stop.
        budget_ms: time limit for the solver of a plan, in milliseconds. A limit changes the distribution of plans, by at
            most the share that exceeds it (docs/exactness.md).
        dead_after: stop the robot after this many seconds without a plan.
        blending: how a chunk takes over from the last one: replace it, blend with its remaining actions, or inpaint
            (sampled so that it matches them).
        execute: actions of a chunk until the next should take over; the checkpoint's own number by default.
        checkpoint: a pretrained policy's name, a checkpoint's directory or hf:owner/name; by default the task's policy.
        disturbance: what disturbs the task's object: none, push or belt; none by default.
        seed: seed of the first episode; with --robot, of the plans' noise.
        live: show the loop's timing while it runs.
        trace: write a timeline to this file; open it at ui.perfetto.dev.
        rerun: write what the robot saw, did and planned to this file, `….rrd`, for Rerun's viewer.
        out: write drive.json to this directory, which must not contain one yet; by default nothing is written.
        computing: how the policy is computed, if it is computed here.
    """
    body, how = body_of(robot, task, checkpoint, disturbance, seed), computing.checked()
    measured = one_sampler(sampler).measured
    _check_places(server, ca, _typed_for_planning(sampler, plans, computing), out, trace)
    check_device(how.device)
    if rerun is not None:
        check_rerun(rerun)
    with loading(body.packages):
        from paradp.checkpoints import load_policy, read_info
        from paradp.policy.control.asynchronous import AsyncController
        from paradp.policy.files import OutputLock
        from paradp.rollouts.realtime.drive import Driven

        with naming_facts_of(task):
            spec = read_info(body.checkpoint).spec
        hold = body.prepare(spec)
    spec.horizons.with_execute(execute)
    load = partial(load_policy, body.checkpoint, sampler, how.device, engine=how.engine, precision=how.precision)
    driven = Driven()
    with recorded_drive(rerun, spec) as on_command:
        with ExitStack() as stack:
            if out is not None:
                stack.enter_context(OutputLock.inside(out))
            with doing(preparing(server, plans, measured)) as show:
                source = source_of(server, ca, plans, load, how.threads or cores())
                stack.callback(source.close)
                check_same(source.spec, spec)
                budget = None if budget_ms is None else budget_ms / 1000
                controller = AsyncController(source, hold, late, execute, budget, dead_after, blending=blending)
                warm = controller.warm_up(on_wait=show)
            say_plans(source, sampler, warm)
            stack.enter_context(ended_like_ctrl_c())
            with doing("starting the robot"):
                moving = body.start()
                stack.callback(moving.close)
            failure = _run(moving, controller, hold, spec, 60 * minutes, live, driven, on_command)
        _report(driven, how.device, trace, out)
        if failure is not None:
            raise failure


def _typed_for_planning(sampler: str, plans: str, computing: ComputingFlags) -> list[str]:
    """The given options that decide how plans are made on this machine."""
    given = {"sampler": sampler != SAMPLER, "plans": plans != PLANS}
    given |= {name: value != getattr(DEFAULT_COMPUTING, name) for name, value in vars(computing).items()}
    return [f"--{name}" for name, differs in given.items() if differs]


def _check_places(
    server: str | None, ca: Path | None, for_planning: list[str], out: Path | None, trace: Path | None
) -> None:
    """Checks the source of plans and the output paths.

    Raises:
        ValueError, OSError: one of them cannot be used.
    """
    if server is not None:
        if for_planning:
            raise ValueError(f"with --server, plans are made on the server: set {', '.join(for_planning)} there")
        check_remote(server, ca)
    elif ca is not None:
        raise ValueError("--ca is for --server")
    if out is not None:
        check_new(out / "drive.json", "--out")
    if trace is not None:
        check_file(trace, "--trace")


def _run(
    robot: "Robot",
    controller: "AsyncController",
    hold: "Hold",
    spec: "PolicySpec",
    seconds: float,
    live: bool,
    driven: "Driven",
    on_command: "Callable[[TickReport, Command], None]",
) -> ConnectionError | None:
    """Drives for the given time or until Ctrl-C, within the safety limits of the checkpoint; returns the robot's failure."""
    from paradp.policy.control.limits import SafetyLimits
    from paradp.policy.control.safety import SafeController
    from paradp.rollouts.realtime.drive import drive as run

    limits = SafetyLimits.of(spec)
    if limits.rate is None:
        say("rate and jump are not limited: the checkpoint does not contain the largest step of its demonstrations")
    safe = SafeController(controller, limits, hold)
    with _shown(live, seconds, driven) as show:
        try:
            run(robot, safe, limits, hold, seconds, driven, show, on_command)
        except KeyboardInterrupt:
            say("interrupted")
        except ConnectionError as failure:
            return failure
    return None


def _report(driven: "Driven", device: str, trace: Path | None, out: Path | None) -> None:
    """Prints the results, and writes the requested files."""
    from paradp.policy.files import write_whole

    console.print(_tables(driven))
    if trace is not None:
        driven.timeline.write_trace(trace)
        say(f"trace: {trace}, to be opened at ui.perfetto.dev")
    if out is not None:
        write_whole(out / "drive.json", (json.dumps(_told(driven, device), indent=2) + "\n").encode())
        say(f"figures: {out / 'drive.json'}")


@contextmanager
def _shown(live: bool, seconds: float, driven: "Driven") -> Iterator[Callable[[], None]]:
    """A live view of the loop, or a progress bar."""
    if live:
        from paradp.scripts.live import LATEST, live_view

        with live_view(lambda: _tables(driven, LATEST)) as changed:
            yield changed
        return
    began = time.monotonic()
    with progress("driving (seconds)", round(seconds)) as report:
        yield lambda: report(min(round(time.monotonic() - began), round(seconds)))


def _tables(driven: "Driven", latest: int | None = None) -> "Group":
    from rich.console import Group

    from paradp.scripts.live import count_table, timing_table

    counts = {
        "control steps": driven.ticks,
        "missed": driven.missed,
        "late": driven.late_steps,
        "held": driven.held,
        "plans": driven.plans,
        "late plans": driven.late_plans,
        "unconverged": driven.unconverged,
        "slowed": sum(report.slowed for report in driven.safety),
        "stops": len(driven.stops),
        "episodes": driven.episodes,
        "successes": driven.successes,
    }
    return Group(timing_table(driven.timeline, latest), count_table(counts), *driven.stops)


def _told(driven: "Driven", device: str) -> dict[str, object]:
    counts = {k: v for k, v in vars(driven).items() if isinstance(v, int)}
    times = {name: asdict(distribution) for name, distribution in driven.timeline.distributions().items()}
    safety = [asdict(report) for report in driven.safety]
    return {**counts, "milliseconds": times, "safety": safety, "hardware": hardware(device), "versions": versions()}
