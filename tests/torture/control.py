"""Control steps of a robot whose planner, observations and clock fail in every way: its commands stay safe."""

import multiprocessing
import random
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

import numpy as np

from paradp.checkpoints import load_policy, read_info
from paradp.envs import ACTION_CONVENTIONS
from paradp.policy.control.asynchronous import AsyncController
from paradp.policy.control.limits import SafetyLimits
from paradp.policy.control.safety import SafeController
from paradp.policy.control.sources import InProcess
from paradp.policy.horizons import Horizons
from paradp.policy.plan_stats import PlanStats, PlanTiming
from paradp.policy.requests import Chunk
from paradp.policy.spec import Interface
from torture.amounts import Amounts
from torture.tally import Tally
from torture.world import OBSERVED, World

EPISODE_STEPS = 60
# Share of control steps, or of plans, in which something goes wrong.
FAULTY = 0.04
# Of the action's range; beyond rounding.
TOLERANCE = 1e-5

RAISED: tuple[Callable[[], BaseException], ...] = (
    lambda: ValueError("no plan"),
    lambda: RuntimeError(""),
    lambda: OSError(5, "input/output error"),
    lambda: KeyError("key"),
    lambda: MemoryError(),
    lambda: RecursionError("too deep"),
    lambda: AssertionError(),
    lambda: StopIteration(),
    lambda: CancelledError(),
    lambda: SystemExit(3),
    lambda: GeneratorExit(),
    lambda: TimeoutError("late"),
    lambda: ConnectionError("gone"),
    lambda: BrokenPipeError(),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "text"),
    lambda: ArithmeticError("nan"),
)


def attack(world: World, amounts: Amounts, rng: random.Random, tally: Tally, done: Callable[[], None]) -> None:
    with _Clocks(rng) as clocks:
        steps = 0
        while steps < amounts.steps:
            steps += _Episode(rng, clocks, tally).run(min(EPISODE_STEPS, amounts.steps - steps), done)
    for _ in range(amounts.planners):
        _kill_a_planner(world, rng, tally)
        done()


class _Clocks:
    """Simulated clocks: monotonic ones advance by a control period per step, the system time jumps."""

    NAMES = ("perf_counter", "monotonic")

    def __init__(self, rng: random.Random) -> None:
        self._rng, self.now, self.jump = rng, 1000.0, 0.0
        self._own = {name: getattr(time, name) for name in (*self.NAMES, "time")}

    def __enter__(self) -> "_Clocks":
        for name in self.NAMES:
            setattr(time, name, lambda: self.now)
        time.time = lambda: self.now + self.jump
        return self

    def __exit__(self, *_: object) -> None:
        for name, function in self._own.items():
            setattr(time, name, function)

    def step(self, tally: Tally) -> None:
        self.now += 0.05
        if self._rng.random() < FAULTY:
            self.jump = self._rng.choice([-1e9, -86400.0, -3600.0, -1.0, 1.0, 3600.0, 86400.0, 1e9])
            tally.count("jumps of the clock")
        if self._rng.random() < 0.002:
            self.now += 3600.0  # the machine was asleep


class _Source:
    """A source whose plans arrive late, never, damaged, or are not plans at all."""

    def __init__(self, spec: Interface, rng: random.Random) -> None:
        self.spec, self._rng = spec, rng
        self._coming: list[tuple[int, Future[Any], Callable[[Future[Any]], None]]] = []
        self.dead = False
        self.sound = True  # until there is a controller

    @property
    def alive(self) -> bool:
        if not self.sound and self._rng.random() < FAULTY / 20:
            raise self._rng.choice(RAISED)()
        return not self.dead

    def submit(self, request: Any) -> Future[Any]:
        if self._rng.random() < FAULTY / 4:
            raise self._rng.choice(RAISED)()
        future: Future[Any] = Future()
        delay = self._rng.choice([0, 0, 1, 1, 2, 3, 5, 9, 16, 70])
        self._coming.append((delay, future, self._outcome(request)))
        self.step()
        return future

    def step(self) -> None:
        """Advances by a control step: due plans arrive, or a failing source dies."""
        due = [entry for entry in self._coming if entry[0] <= 0]
        self._coming = [(delay - 1, future, end) for delay, future, end in self._coming if delay > 0]
        for _, future, end in due:
            if not future.done():
                end(future)
        self.dead = self.dead or self._rng.random() < FAULTY / 50

    def close(self) -> None: ...

    def _outcome(self, request: Any) -> Callable[[Future[Any]], None]:
        if self._rng.random() < FAULTY:
            return lambda future: future.set_exception(self._rng.choice(RAISED)())
        if self._rng.random() < FAULTY / 2:
            return lambda future: future.cancel()
        chunk = self._chunk(np.concatenate([values[-1] for values in request.history.values()])[: self.spec.action_size])
        return lambda future: future.set_result(chunk)

    def _chunk(self, near: np.ndarray) -> Any:
        """A plan from the observed position, or an invalid one."""
        rng, horizons, size = self._rng, self.spec.horizons, self.spec.action_size
        length = horizons.predict - horizons.observe + 1
        noise = np.random.default_rng(rng.getrandbits(32))
        step = rng.choice([2.0, 2.0, 2.0, 8.0, 40.0, 1e5]) * (np.array(self.spec.action_high) / 512)
        actions = (near + step * noise.standard_normal((length, size)).cumsum(0)).astype(np.float32)
        whole = noise.standard_normal((horizons.predict, size)).astype(np.float32)
        if rng.random() < FAULTY:
            actions[rng.randrange(length)] = rng.choice([np.nan, np.inf, -np.inf, 3e38])
        if rng.random() < FAULTY / 2:
            whole[rng.randrange(len(whole))] = np.nan
        if rng.random() < FAULTY:
            actions = _misshapen(actions, rng)
        chunk = Chunk(actions, whole, PlanStats(PlanTiming(0.01), 1, 2, 2, 0.0, True))
        return rng.choice([None, "a plan", 7, actions]) if rng.random() < FAULTY / 2 else chunk


def _misshapen(array: np.ndarray, rng: random.Random) -> Any:
    return rng.choice(
        [
            array[:0],
            array[:3],
            array[:, :1],
            array[0],
            array.astype(complex) + 1j,
            array.astype(object),
            array.astype("<U9"),
            array.astype(bool),
            np.concatenate([array, array]),
            array[None],
            array.tolist(),
            np.float32(3),
            None,
        ]
    )


class _Episode:
    """One episode, between two resets."""

    def __init__(self, rng: random.Random, clocks: _Clocks, tally: Tally) -> None:
        self._rng, self._clocks, self._tally = rng, clocks, tally
        self._spec = _interface(rng)
        self._limits = SafetyLimits.of(self._spec, rate=rng.choice([0.5, 1.5]), jump=4.0)
        self._hold = _holds(self._spec)
        self._at = np.array([rng.uniform(50, 450), rng.uniform(50, 450)], np.float32)
        self._start: np.ndarray | None = None
        self._last: np.ndarray | None = None
        self._before: np.ndarray | None = None
        self._rest: np.ndarray | None = None

    def run(self, steps: int, done: Callable[[], None]) -> int:
        source = _Source(self._spec, self._rng)
        inner = AsyncController(
            source,
            self._hold,
            self._rng.choice(["hold", "continue-chunk", "stop"]),
            dead_after=self._rng.choice([0.5, 2.0]),
            blending=self._rng.choice(["replace", "blend", "inpaint"]),
        )
        source.sound = False
        safe = SafeController(inner, self._limits, self._hold)
        self._reset(safe, source)
        for _ in range(steps):
            self._clocks.step(self._tally)
            source.step()
            self._act(safe)
            self._tally.count("control steps")
            done()
            if self._rng.random() < 0.3 * FAULTY or (self._rest is not None and self._rng.random() < 0.1):
                self._reset(safe, source)
        return steps

    def _act(self, safe: SafeController) -> None:
        if self._rng.random() < FAULTY and self._last is not None:
            safe.take_back()
            self._tally.count("commands taken back")
            if self._before is not None and self._rest is None:
                self._last, self._before = self._before, None
        if self._rng.random() < FAULTY / 8:
            safe.stop("a button")
        seen = self._observe()
        first = self._last is None
        if first:
            self._start = self._last = self._held(None, seen)
        try:
            command = safe.act(seen)
        except RuntimeError as error:
            # Declared: in an episode's first control step, when the holding command is unknown.
            if not first or "the holding command is unknown" not in str(error):
                self._tally.fault("unsafe", f"act raised {type(error).__name__}: {error}")
            self._last = None
            return
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            self._tally.fault("unsafe", f"act raised {type(error).__name__}: {error}")
            return
        self._judge(command, safe.report.stopped is not None, seen)

    def _judge(self, command: Any, stopped: bool, seen: dict[str, Any]) -> None:
        action = command.action
        if not isinstance(action, np.ndarray) or action.dtype.kind != "f" or action.shape != self._limits.low.shape:
            self._tally.fault("unsafe", f"the command is {action!r}")
            return
        if not np.isfinite(action).all():
            self._tally.fault("unsafe", f"the command is not finite: {action}")
        start = self._limits.low if self._start is None else self._start  # noise may place it just outside the limits
        if (action < np.minimum(self._limits.low, start)).any() or (action > np.maximum(self._limits.high, start)).any():
            self._tally.fault("unsafe", f"the command is outside the limits: {action}")
        told = action.copy()
        slack = TOLERANCE * (self._limits.high - self._limits.low)
        rested = stopped and self._rest is not None
        if rested and not np.array_equal(told, self._rest):
            self._tally.fault("unsafe", f"after a stop the command goes from {self._rest} to {told}")
        if stopped and self._rest is None:
            # To stay may be further away than a command may go: no step at all, after a large one.
            stay = self._held(self._last, seen)
            if stay is not None and not np.allclose(told, stay, atol=float(slack.max())):
                self._tally.fault("unsafe", f"the command of a stop is {told}, to stay is {stay}")
        assert self._limits.rate is not None
        # The command that holds the robot may be any step away: a velocity becomes 0 at once.
        stay = self._held(self._last, seen) if command.held else None
        holds = stay is not None and np.array_equal(told, stay)
        if (
            self._last is not None
            and not stopped
            and not holds
            and (np.abs(told - self._last) > self._limits.rate + slack).any()
        ):
            self._tally.fault("unsafe", f"from {self._last} to {told} is further than {self._limits.rate}")
        if stopped and self._rest is None:
            self._tally.count("stops")
            self._rest = told
        self._before, self._last = self._last, told
        self._at = np.clip(told + np.float32(0.1), 0, 512).astype(np.float32)
        # The action is the caller's: to scale it in place must change nothing.
        if action.flags.writeable:
            action[...] = self._rng.choice([np.nan, 0.0, 1e9])
        else:
            self._tally.fault("unsafe", "the command's action cannot be written: it is somebody else's")

    def _held(self, last: np.ndarray | None, seen: dict[str, Any]) -> np.ndarray | None:
        """The holding command after another command; without one, the reference for the first command."""
        try:
            held = np.asarray(self._hold(last, seen), np.float32)
        except Exception:
            return None
        sound = held.shape == self._limits.low.shape and np.isfinite(held).all()
        return held if sound else None

    def _observe(self) -> dict[str, Any]:
        noise = np.random.default_rng(self._rng.getrandbits(32))
        seen: dict[str, Any] = {
            "agent_pos": (self._at + 0.01 * noise.standard_normal(2)).astype(np.float32),
            "block_keypoints": noise.uniform(0, 500, 16).astype(np.float32),
        }
        if self._rng.random() < FAULTY:
            self._frozen = self._rng.randrange(1, 30)
            self._frozen_at = seen
        if self._frozen > 0:
            self._frozen -= 1
            return dict(self._frozen_at)
        if self._rng.random() < FAULTY / 4:
            self._tally.count("broken observations")
            return _broken(seen, self._rng)
        return seen

    _frozen = 0
    _frozen_at: dict[str, Any] = {}

    def _reset(self, safe: SafeController, source: _Source) -> None:
        source.dead = False
        self._last = self._before = self._rest = None
        self._frozen = 0
        self._tally.count("resets")
        try:
            safe.reset(self._rng.choice([None, self._rng.randrange(2**32)]))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # Declared: `reset` raises, and the robot stays stopped.
            self._tally.count("resets that fail")
            if safe.report.stopped is None:
                self._tally.fault("unsafe", f"a reset fails ({type(error).__name__}) and the robot may move")


def _broken(seen: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    key = rng.choice(list(seen))
    value = rng.choice(
        [
            np.full_like(seen[key], np.nan),
            np.full_like(seen[key], np.inf),
            seen[key][:1],
            seen[key].astype(object),
            seen[key].astype(complex),
            seen[key].astype("<U9"),
            np.full(seen[key].shape, None),
            None,
            "left",
            {},
            float("nan"),
        ]
    )
    changed = seen | {key: value}
    return {name: v for name, v in changed.items() if name != key} if rng.random() < 0.2 else changed


def _interface(rng: random.Random) -> Interface:
    """PushT's goals on a plane, or steps of such a goal: two ways to hold."""
    step = (6.0, 6.0)
    if rng.random() < 0.5:
        return Interface("pusht", OBSERVED, {"goal_xy": 2}, (0.0, 0.0), (512.0, 512.0), "position", 10, action_step=step)
    horizons = Horizons(1, 8, 4)
    return Interface(
        "pusht", OBSERVED, {"step": 2}, (-9.0, -9.0), (9.0, 9.0), "delta", 10, horizons=horizons, action_step=step
    )


def _holds(spec: Interface) -> Callable[..., np.ndarray]:
    if spec.action_convention == "position":
        return ACTION_CONVENTIONS["position"].hold
    return lambda last, observation: np.zeros(2, np.float32)


def _kill_a_planner(world: World, rng: random.Random, tally: Tally) -> None:
    """A planning process is killed during an episode: the robot stops, and a reset starts a new process."""
    spec = read_info(world.checkpoint).spec
    source = InProcess(spec, partial(load_policy, world.checkpoint, "ddim-2", engine="eager"), 1)
    hold = ACTION_CONVENTIONS[spec.action_convention].hold
    inner = AsyncController(source, hold, dead_after=30.0)
    try:
        inner.warm_up()
        # Without a limit of rate or jump: a policy of two steps of training leaps, and should be let.
        low, high = np.array(spec.action_low, np.float32), np.array(spec.action_high, np.float32)
        safe = SafeController(inner, SafetyLimits(low, high), hold)
        noise = np.random.default_rng(rng.getrandbits(32))
        moves = _drive(safe, noise, rng.randrange(5, 40))
        if moves == 0:
            tally.fault("lost", "no plan came before the planner was killed")
        for child in multiprocessing.active_children():
            child.kill()
        tally.count("killed planners")
        _drive(safe, noise, 40)
        if safe.report.stopped is None:
            tally.fault("unsafe", "the robot goes on without a planner")
        safe.reset(1)
        # A new process has to import and load.
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and _drive(safe, noise, 20) == 0:
            if safe.report.stopped is not None:
                safe.reset(1)
            time.sleep(0.5)
        if time.monotonic() > deadline:
            tally.fault("lost", f"no plans after a planner was killed and the controller reset: {safe.report.detail}")
    finally:
        inner.close()


def _drive(safe: SafeController, noise: np.random.Generator, steps: int) -> int:
    """Makes control steps; returns the number of those in which the robot was not commanded to hold."""
    moves = 0
    for _ in range(steps):
        seen = {key: noise.uniform(100, 400, size).astype(np.float32) for key, size in OBSERVED.items()}
        moves += not safe.act(seen).held
        time.sleep(0.01)
    return moves
