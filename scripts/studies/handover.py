"""Measures how long frames take from the control loop to the planning process: by shared memory, and by pickle."""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from paradp.policy.control.shared_frames import Handed
from paradp.policy.control.sources import InProcess
from paradp.policy.features import Shape
from paradp.policy.observations import blank
from paradp.policy.requests import PlanRequest
from paradp.policy.spec import Interface
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.registry import study

CAMERAS: dict[str, Shape] = {"84 × 84": (84, 84, 3), "480 × 640": (480, 640, 3)}
REPEATS, WARM_UP = 300, 20
PERIOD_SECONDS = 0.01


class _Arrived:
    """In the place of a policy: says when a request was there, instead of planning."""

    device = "cpu"

    def __init__(self, spec: Interface):
        self.spec = spec

    def plan(self, *arguments: object, **options: object) -> None:
        raise ValueError(repr(time.perf_counter()))  # one clock for all processes of a machine on Linux


@study
def study_handover(context: Context) -> None:
    """Writes OUT/handover.md, of two cameras and two observed steps."""
    rows = []
    for name in each("handover", list(CAMERAS)):
        shape = CAMERAS[name]
        spec = Interface(
            "handover", {"front": shape, "wrist": shape, "position": 7}, {"goal": 7}, (-1.0,) * 7, (1.0,) * 7, "delta", 20
        )
        rows.append([name, *(_text(_microseconds(spec, pickled)) for pickled in (True, False))])
    table = markdown_table(["two cameras of", "pickled, µs", "shared memory, µs"], rows)
    page = f"""\
From `submit` in the control loop until the policy in the other process has all observed images (two steps), once every
{1000 * PERIOD_SECONDS:.0f} ms: median (95th percentile) of {REPEATS}.

{table}"""
    write_report(context.out / "handover.md", "Frames on their way to the process that plans", page)


def _microseconds(spec: Interface, pickled: bool) -> np.ndarray:
    source = InProcess(spec, partial(_Arrived, spec), threads=1)  # type: ignore[arg-type]
    if pickled:
        source._frames.hand = Handed  # type: ignore[method-assign, assignment]
    random = np.random.default_rng(0)
    history = blank(spec, spec.horizons.observe)
    for key in ("front", "wrist"):
        history[key] = random.integers(256, size=history[key].shape, dtype=np.uint8)
    times = []
    for _ in range(WARM_UP + REPEATS):
        began = time.perf_counter()
        error = source.submit(PlanRequest(history, 0)).exception()
        times.append(float(str(error)) - began)
        time.sleep(PERIOD_SECONDS)
    source.close()
    return 1e6 * np.array(times[WARM_UP:])


def _text(times: Sequence[float] | np.ndarray) -> str:
    return f"{np.median(times):.0f} ({np.percentile(times, 95):.0f})"
