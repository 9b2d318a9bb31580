"""Which sampler is fastest here: what an engine takes for so many rows, together with how many rounds each solver makes.

A round evaluates several steps at once. That pays where an engine computes n rows in less than n times the time of one: much
on a GPU, less on a CPU, and less the more environments share a batch. So nothing is assumed: the engine is timed once, the
rounds are counted once, and of what should be fastest the best few are timed as a whole beside the sequential sampler.
"""

import hashlib
import logging
import math
import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import groupby
from math import inf
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from paradp.policy.cache import cache_folder, digest
from paradp.policy.conditional import ConditionalNetwork
from paradp.policy.engines import Engine
from paradp.policy.files.limits import DOCUMENT_BYTES
from paradp.policy.files.reading import read_validated
from paradp.policy.spec import PolicySpec
from paradp.policy.timing import time_call, timed
from paradp.policy.wording import counted
from paradp.sampler import NoisePath, SamplerChoice, Solution, Solver, rounds
from paradp.sampler.names import AUTO_FAST_ERROR
from paradp.sampler.options import MOST_TIMESTEPS

SEQUENTIAL = "ddpm"
WINDOWS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 50)
# On a GPU the widest window can win, if it goes only so far beyond what is predicted; narrower ones need no such limit.
WIDEST, AHEAD = 100, 30
# Each with the distribution of sequential DDPM, or within a tolerance of it.
EXACT = (
    *(f"speculative-ddpm:window={p}" for p in WINDOWS),
    f"speculative-ddpm:ahead={AHEAD}:window={WIDEST}",
)
LINEAR = tuple(f"para-ddpm:split=linear:tolerance=0.1:window={p}" for p in WINDOWS[1:10])
CANDIDATES = {"auto": EXACT, "auto-fast": EXACT + LINEAR}
KNOWN = {SEQUENTIAL, *EXACT, *LINEAR}
TRIALS = 16
# More rows than this are taken to need time in proportion.
MOST_ROWS = 512
# A sampler must beat the sequential one by this factor to be preferred to it.
MARGIN = 1.03
TURNS, PLANS = 3, 3
# Where two windows in a row are slower than the best by this factor, wider ones are not tried.
HOPELESS = 1.25
# Between log lines of how far the measuring is.
LOG_SECONDS = 3.0
_LOG = logging.getLogger(__name__)


@dataclass
class Trial:
    """What a sampler did for `TRIALS` random observations.

    Attributes:
        rounds: of each.
        width: rows a round and environment, on average.
        error: median difference to the sequential samples; 0 for samplers of the same law.
    """

    rounds: list[int]
    width: float
    error: float = 0.0


@dataclass
class Planned:
    """A choice, and what speaks for it.

    Attributes:
        sampler: what was chosen.
        batch: for how many environments planned together.
        seconds: that a plan took, the median of some: by sampler, the sequential one among them.
    """

    sampler: str
    batch: int
    seconds: dict[str, float]

    def describe(self) -> str:
        ms = {name: 1000 * seconds for name, seconds in self.seconds.items()}
        chosen = f"{self.sampler}: {ms[self.sampler]:.1f} ms a plan of {self.batch}"
        if self.sampler == SEQUENTIAL:
            others = {name: time for name, time in ms.items() if name != SEQUENTIAL}
            best = min(others, key=others.__getitem__)
            return f"{chosen}; in parallel {others[best]:.1f} ms at best ({best})"
        return f"{chosen}; one step after another {ms[SEQUENTIAL]:.1f} ms"


@dataclass
class Profile:
    """What was measured of one engine; kept on disk.

    Attributes:
        seconds: of a call, by its rows.
        trials: by sampler.
        planned: by mode and batch, as in `auto, batch 4`.
    """

    seconds: dict[int, float] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    planned: dict[str, Planned] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Profile":
        """What is kept there; nothing if it is not there, or damaged."""
        try:
            kept = read_validated(path, DOCUMENT_BYTES, _PROFILE)
        except (OSError, ValueError):
            return cls()
        return kept if kept._sound else cls()

    @property
    def _sound(self) -> bool:
        """Whether it can have been measured."""
        trials = all(t.rounds and all(1 <= r <= MOST_TIMESTEPS for r in t.rounds) for t in self.trials.values())
        planned = all({p.sampler, SEQUENTIAL} <= p.seconds.keys() <= KNOWN for p in self.planned.values())
        seconds = [*self.seconds.items(), *((p.batch, s) for p in self.planned.values() for s in p.seconds.values())]
        return trials and planned and all(rows >= 1 and 0 < taken < math.inf for rows, taken in seconds)

    def write(self, path: Path) -> None:
        """Keeps it; what cannot be kept is measured again the next time."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.partial")
            partial.write_bytes(_PROFILE.dump_json(self, indent=1))
            partial.replace(path)
        except OSError:
            pass

    def call(self, rows: np.ndarray) -> np.ndarray:
        """Seconds of a call, between the numbers of rows that were measured and in proportion beyond them."""
        known = sorted(self.seconds)
        within = np.interp(rows, known, [self.seconds[n] for n in known])
        return within * np.maximum(1, np.asarray(rows) / known[-1])

    def plan(self, sampler: str, batch: int, whole: bool = False) -> float:
        """Seconds that a plan for so many environments should take, inside the network.

        Args:
            sampler, batch: what is planned with, and for how many.
            whole: whether rows of no use are computed too, as captured rounds do.
        """
        reached, seconds = self._rounds(sampler, batch, whole)
        return float((reached * seconds).sum())

    def slow_plan(self, sampler: str, batch: int, whole: bool = False) -> float:
        """The same for a plan that makes as many rounds as any trial did: a control loop must have time for that, too."""
        _, seconds = self._rounds(sampler, batch, whole)
        return float(seconds.sum())

    def _rounds(self, sampler: str, batch: int, whole: bool) -> tuple[np.ndarray, np.ndarray]:
        """Of every round: how likely a plan is to get there, and what it then takes."""
        trial = self.trials[sampler]
        made = np.array(trial.rounds)[:, None] > np.arange(max(trial.rounds))
        share = made.mean(0)  # of the environments that are under way
        reached = 1 - (1 - share) ** batch
        window = dict(SamplerChoice.parse(sampler).options).get("window", 1)
        rows = np.full_like(share, batch * window) if whole else batch * share / reached * trial.width
        return reached, self.call(rows)


_PROFILE = TypeAdapter(Profile)
# Of this process: a choice does not change under a user whose cache cannot be written.
_PROFILES: dict[Path, Profile] = {}


class _Log:
    """Says what is measured, and how far it is. Of the time, calls take a fifth, rounds two fifths, the race the rest."""

    def __init__(self, kept_in: Path):
        self._began = self._said = time.monotonic()
        _LOG.warning(
            "measuring which sampler is fastest here, for up to a minute or two; done once, and kept in %s", kept_in
        )

    def calls(self, share: float) -> None:
        self._tell(0.2 * share)

    def count(self, family: str, share: float, families: Sequence[str]) -> None:
        order = list(dict.fromkeys(families))
        done = order.index(family) + share if family in order else 0.0
        self._tell(0.2 + 0.4 * done / len(order))

    def race(self, share: float) -> None:
        self._tell(0.6 + 0.4 * share)

    def _tell(self, share: float) -> None:
        now = time.monotonic()
        if share > 0 and now - self._said > LOG_SECONDS:
            self._said = now
            left = (now - self._began) * (1 / share - 1)
            _LOG.info("measuring which sampler is fastest here: %.0f %%, about %.0f s left", 100 * share, left)


def _family(sampler: str) -> str:
    return sampler.partition(":")[0]


class Planner:
    """Chooses samplers for an engine.

    Args:
        engine: computes the network.
        network, spec: what it computes, and what that is for.
        device: where.
    """

    def __init__(self, engine: Engine, network: ConditionalNetwork, spec: PolicySpec, device: torch.device):
        self._engine, self._spec, self._device = engine, spec, device
        self._shape = (spec.horizons.predict, spec.action_size)
        machine = torch.cuda.get_device_name(device) if device.type == "cuda" else counted(torch.get_num_threads(), "thread")
        packages = [f"{name} {version(name)}" for name in ("torch", "openvino", "numba") if find_spec(name)]
        settings = f"{engine.name} {engine.precision} {platform.node()} {machine} {packages}"
        sources = sorted(str(path) for path in Path(rounds.__file__).parent.glob("*.py"))
        key = hashlib.sha256(f"{digest(network, spec, __file__, *sources)} {settings}".encode()).hexdigest()
        self._path = cache_folder() / f"{key[:24]}-{engine.name}-planner.json"
        if self._path not in _PROFILES:
            _PROFILES[self._path] = Profile.read(self._path)
        self._profile = _PROFILES[self._path]

    def choose(self, mode: str, batch: int) -> Planned:
        """The fastest sampler of `auto` or `auto-fast` for `batch` environments planned together; measured once.

        Measuring takes from some seconds to a minute: a warning says so as it begins, and log lines say how far it is.
        """
        key = f"{mode}, batch {batch}"
        if key not in self._profile.planned:
            self._log = _Log(self._path.parent)
            self._time_calls({1, batch, *(batch * p for p in (*WINDOWS, WIDEST))})
            self._count_rounds(CANDIDATES[mode], batch)
            self._profile.planned[key] = self._race(mode, batch)
            self._profile.write(self._path)
        return self._profile.planned[key]

    def _race(self, mode: str, batch: int) -> Planned:
        """Times the sequential sampler and the two others that should be fastest, in turns."""
        profile = self._profile
        allowed = [name for name in self._counted(CANDIDATES[mode]) if profile.trials[name].error <= AUTO_FAST_ERROR]
        # By their slow plans: on average several windows are nearly equal, and the wider ones vary more.
        best = sorted(allowed, key=lambda name: profile.slow_plan(name, batch, self._whole))[:2]
        contenders = {name: self._solver(name) for name in (SEQUENTIAL, *best)}
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(TURNS):
            for i, (name, solver) in enumerate(contenders.items()):
                self._log.race((turn + i / len(contenders)) / TURNS)
                self._engine.prepare(range(1, batch * solver.window + 1))
                self._solve(solver, batch, turn)
                for seed in range(PLANS):
                    taken[name].append(timed(partial(self._solve, solver, batch, seed), self._device))
        # Plan beside plan of the same turn: a slow minute of the machine then counts for neither.
        shares = {name: median(np.divide(times, taken[SEQUENTIAL])) for name, times in taken.items()}
        fastest = min(shares, key=shares.__getitem__)
        seconds = {name: median(times) for name, times in taken.items()}
        return Planned(fastest if shares[fastest] * MARGIN < 1 else SEQUENTIAL, batch, seconds)

    @property
    def _whole(self) -> bool:
        """Whether rows of no use are computed too, as captured rounds do."""
        return self._engine.graphs is not None

    def _counted(self, samplers: Iterable[str]) -> list[str]:
        return [name for name in samplers if name in self._profile.trials]

    def _count_rounds(self, samplers: Sequence[str], batch: int) -> None:
        """Counts the rounds of the sequential sampler and of each window, narrow ones first, while wider ones may be faster.

        The widest take most of the time, and on a CPU they are never chosen.
        """
        expected: Tensor | None = None
        for family, names in groupby((SEQUENTIAL, *samplers), key=_family):
            best, behind = inf, 0
            for i, name in enumerate(ordered := list(names)):
                self._log.count(family, i / len(ordered), [_family(name) for name in samplers])
                if name not in self._profile.trials:
                    if expected is None:
                        self._engine.prepare(range(1, TRIALS * WIDEST + 1))
                        expected = self._solve(self._solver(SEQUENTIAL), TRIALS, 0).sample
                    self._profile.trials[name] = self._try(name, expected)
                seconds = self._profile.slow_plan(name, batch, self._whole)
                best, behind = min(best, seconds), behind + 1 if seconds > HOPELESS * best else 0
                if behind == 2:
                    break

    def _try(self, name: str, expected: Tensor) -> Trial:
        solution = self._solve(self._solver(name), TRIALS, 0)
        error = 0.0 if _family(name) != "para-ddpm" else float((solution.sample - expected).abs().amax((1, 2)).median())
        made, evaluations = solution.stats.rounds.cpu(), solution.stats.evaluations.cpu()
        return Trial(made.tolist(), float(evaluations.sum() / made.sum()), error)

    def _time_calls(self, wanted: Iterable[int]) -> None:
        missing = sorted({min(n, MOST_ROWS) for n in wanted} - self._profile.seconds.keys())
        for i, rows in enumerate(missing):
            self._log.calls(i / len(missing))
            self._profile.seconds[rows] = time_call(self._engine, self._spec, self._device, rows)

    @torch.no_grad()
    def _solve(self, solver: Solver, batch: int, seed: int) -> Solution:
        generators = [torch.Generator().manual_seed(TRIALS * seed + i) for i in range(batch)]
        noise = NoisePath.draw(generators, solver.table.steps, self._shape, self._device)
        return solver.solve(self._engine, self._engine.encode(self._observe(batch)), noise)

    def _observe(self, count: int) -> Tensor:
        """Observations of the size of normalised ones; a test holds the rounds there to those along an expert's episodes."""
        seen = 0.5 * torch.randn(count, self._spec.observation_size, generator=torch.Generator().manual_seed(0))
        return seen.repeat(1, self._spec.horizons.observe).to(self._device)

    def _solver(self, name: str) -> Solver:
        return SamplerChoice.parse(name).build(self._spec.schedule)
