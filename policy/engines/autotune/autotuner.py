"""Finds the fastest sampler on this machine, from the engine's time per batch size and each solver's number of rounds.

A round evaluates several steps at once. That pays if an engine computes n rows in less than n times the time of one: the
gain is large on a GPU, smaller on a CPU, and smaller with more environments in a batch. So everything is measured: the
engine is timed once, the rounds of the most promising windows are counted, and the best few samplers are timed against
sequential DDPM.
"""

import hashlib
import inspect
import math
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from paradp import sampler
from paradp.policy.cache import cache_folder, digest
from paradp.policy.engines.autotune.candidates import EXACT, Candidates, speculative
from paradp.policy.engines.autotune.profile import SEQUENTIAL, Planned, Profile, Trial
from paradp.policy.engines.autotune.progress import Progress
from paradp.policy.engines.engine import Engine
from paradp.policy.engines.pytorch import lacking
from paradp.policy.engines.spread import devices_of
from paradp.policy.engines.timing import time_call, timed
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.spec import PolicySpec
from paradp.policy.wording import counted
from paradp.sampler import NoisePath, SamplerChoice, Solution, Solver

# Number of observations for counting rounds.
TRIALS = 16
# Beyond MOST_ROWS the time is assumed proportional to the rows; also once doubling the rows takes PROPORTIONAL times as
# long.
MOST_ROWS, PROPORTIONAL = 512, 1.8
# Assumed number of rounds beyond T / p, to choose the first window for counting.
REJECTIONS = 3
# A sampler must be faster than the sequential one by this factor to be chosen.
MARGIN = 1.03
# Final timing: number of samplers, turns, plans per turn, and the seconds after which no further turn starts.
CONTENDERS, TURNS, PLANS, RACE_SECONDS = 2, 3, 3, 5.0
_PARTS = {"calls": 0.25, "rounds": 0.4, "race": 0.35}


class Autotuner:
    """Chooses the fastest sampler for an engine.

    Args:
        engine: the engine to measure.
        network, spec: network and specification of the policy.
        device: the (first) device of the engine.
    """

    def __init__(self, engine: Engine, network: ConditionalNetwork, spec: PolicySpec, device: torch.device):
        self._engine, self._spec, self._device = engine, spec, device
        self._shape = (spec.horizons.predict, spec.action_size)
        devices = devices_of(engine, device)
        machine = [torch.cuda.get_device_name(one) for one in devices] if device.type == "cuda" else _threads(len(devices))
        packages = [f"{name} {version(name)}" for name in ("torch", "triton", "openvino", "numba") if find_spec(name)]
        settings = f"{engine.name} {engine.precision} {platform.node()} {machine} {packages} {lacking(device)}"
        # Calls and rounds change with the code of the engines and of the samplers.
        homes = Path(__file__).parents[1], Path(sampler.__file__).parent
        sources = sorted(str(path) for home in homes for path in home.rglob("*.py")) + _source(engine)
        key = hashlib.sha256(f"{digest(network, spec, *sources)} {settings}".encode()).hexdigest()
        self._path = cache_folder() / f"{key[:24]}-{engine.name}-autotune.json"
        if self._path not in _PROFILES:
            _PROFILES[self._path] = Profile.read(self._path)
        self._profile = _PROFILES[self._path]

    def choose(self, candidates: Candidates = EXACT, batch: int = 1) -> Planned:
        """The fastest candidate for plans of `batch` environments; measured once and cached.

        Measuring takes some seconds: it logs a warning at the start, and its progress.
        """
        key = f"{' '.join(candidates.steps)}, batch {batch}"
        if key not in self._profile.planned:
            progress = Progress(self._path.parent, _PARTS)
            self._time_calls(batch, progress)
            self._profile.planned[key] = self._race(self._best(candidates, batch, progress), batch, progress)
            self._profile.write(self._path)
        planned = self._profile.planned[key]
        return Planned(planned.sampler, batch, planned.seconds, candidates.reason(planned.sampler))

    def _time_calls(self, batch: int, progress: Progress) -> None:
        """Times calls of 1, 2, 4, … rows, until the time becomes proportional to them."""
        known, slow, rows = self._profile.seconds, 0, 1
        while rows <= MOST_ROWS and (rows <= 2 * batch or slow < 2):
            progress.report("calls", math.log2(rows) / math.log2(32 * batch))
            if rows not in known:
                known[rows] = time_call(self._engine, self._spec, self._device, rows)
            slow = slow + 1 if rows > 1 and known[rows] > PROPORTIONAL * known[rows // 2] else 0
            rows *= 2

    def _best(self, candidates: Candidates, batch: int, progress: Progress) -> list[str]:
        """The most promising samplers, best first, by the predicted time of their slowest plans.

        Mean times of several windows are nearly equal, but wide windows vary more.
        """
        found: dict[str, float] = {}
        # Few steps first: larger sets are skipped if they are slower even without a single rejected draft.
        ordered = sorted(candidates.steps, key=self._count)
        for i, steps in enumerate(ordered):
            progress.report("rounds", i / len(ordered))
            report = partial(_report_counted, progress, i, len(ordered))
            windows = speculative(steps)
            if found and self._profile.least(self._count(steps), tuple(windows), batch) > min(found.values()):
                continue
            self._profile.trials[steps] = Trial([self._count(steps)], 1.0)
            found[steps] = self._profile.slow_plan(steps, batch, self._whole)
            found |= self._climb(steps, windows, batch, report)
        return sorted(found, key=found.__getitem__)

    def _climb(self, steps: str, windows: dict[int, str], batch: int, report: Callable[[int], None]) -> dict[str, float]:
        """Seconds of slow plans, by hill climbing: starts at the most promising window and moves to better neighbours."""
        widths, found = sorted(windows), dict[str, float]()

        def seconds(i: int) -> float:
            if not 0 <= i < len(widths):
                return math.inf
            name = windows[widths[i]]
            report(len(found))
            if name not in self._profile.trials:
                self._profile.trials[name] = self._try(name)
            found[name] = self._profile.slow_plan(name, batch, self._whole)
            return found[name]

        if widths:
            count = self._count(steps)
            expected = [(count / p + REJECTIONS) * float(self._profile.call(np.array(batch * p))) for p in widths]
            best = int(np.argmin(expected))
            while (better := min((best, best - 1, best + 1), key=seconds)) != best:
                best = better
        return found

    def _try(self, name: str) -> Trial:
        stats = self._solve(self._solver(name), TRIALS, 0).stats
        made = stats.rounds.cpu()
        return Trial(made.tolist(), float(stats.evaluations.cpu().sum() / made.sum()))

    def _race(self, best: list[str], batch: int, progress: Progress) -> Planned:
        """Times sequential DDPM and the best other samplers, in turns."""
        others = [name for name in best if name != SEQUENTIAL][:CONTENDERS]
        contenders = {name: self._solver(name) for name in (SEQUENTIAL, *others)}
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        began = time.monotonic()
        for turn in range(TURNS):
            if turn and time.monotonic() - began > RACE_SECONDS:
                break
            for i, (name, solver) in enumerate(contenders.items()):
                progress.report("race", (turn + i / len(contenders)) / TURNS)
                self._engine.prepare(range(1, batch * solver.window + 1))
                self._solve(solver, batch, turn)
                for seed in range(PLANS):
                    taken[name].append(timed(partial(self._solve, solver, batch, seed), self._device))
        # Ratios within a turn: a slow period of the machine then affects both samplers alike.
        shares = {name: median(np.divide(times, taken[SEQUENTIAL])) for name, times in taken.items()}
        fastest = min(shares, key=shares.__getitem__)
        seconds = {name: median(times) for name, times in taken.items()}
        return Planned(fastest if shares[fastest] * MARGIN < 1 else SEQUENTIAL, batch, seconds)

    @property
    def _whole(self) -> bool:
        """Whether padding rows are computed too, as in captured rounds."""
        return self._engine.graphs is not None

    def _count(self, steps: str) -> int:
        """The number of steps, T."""
        return SamplerChoice.parse(steps).steps or int(self._spec.schedule.get("num_train_timesteps", 1000))

    @torch.no_grad()
    def _solve(self, solver: Solver, batch: int, seed: int) -> Solution:
        generators = [torch.Generator().manual_seed(TRIALS * seed + i) for i in range(batch)]
        noise = NoisePath.draw(generators, solver.table.steps, self._shape, self._device)
        return solver.solve(self._engine, self._engine.encode(self._observe(batch)), noise)

    def _observe(self, count: int) -> Tensor:
        """Random observations on the scale of normalised ones; a test compares their rounds with those in real episodes."""
        seen = 0.5 * torch.randn(count, self._spec.encoded_size, generator=torch.Generator().manual_seed(0))
        return seen.repeat(1, self._spec.horizons.observe).to(self._device)

    def _solver(self, name: str) -> Solver:
        return SamplerChoice.parse(name).build(self._spec.schedule)


def _source(engine: Engine) -> list[str]:
    """The source file of an engine's class, which may be another package's; none for a class typed at a prompt."""
    try:
        return [inspect.getfile(type(engine))]
    except (TypeError, OSError):
        return []


def _threads(copies: int) -> str:
    """The number of threads of a CPU, as text."""
    threads = counted(torch.get_num_threads(), "thread")
    return threads if copies == 1 else f"{copies} × {threads}"


def _report_counted(progress: Progress, done: int, sets: int, windows: int) -> None:
    """Reports the progress of a climb, which seldom counts more than five windows."""
    progress.report("rounds", (done + min(windows, 4) / 5) / sets)


# Profiles of this process, so that the choice stays the same if the disk cache cannot be written.
_PROFILES: dict[Path, Profile] = {}
