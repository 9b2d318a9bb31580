"""Asynchronous control: chunks are joined by counting actions, and every fault has its declared effect."""

import os
import signal
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import connection
from types import SimpleNamespace

import numpy as np
import pytest
from vectors import joined

from paradp.checkpoints import load_policy, save_checkpoint
from paradp.policy import DiffusionPolicy
from paradp.policy.control import asynchronous, sources
from paradp.policy.control.asynchronous import AsyncController, DeadInference, LatePlan
from paradp.policy.control.limits import SafetyLimits, StopReason
from paradp.policy.control.safety import SafeController
from paradp.policy.control.sources import InProcess, InThread, NotLoaded
from paradp.policy.engines.autotune.profile import Planned
from paradp.policy.observations import blank
from paradp.policy.plan_stats import PlanStats, PlanTiming
from paradp.policy.requests import Chunk, PlanRequest, plan_together


class Scripted:
    """A source whose plans arrive when the test says so; an action contains its observation's index and its own."""

    def __init__(self, spec):
        self.spec = spec
        self.alive = True
        self.requests: list[PlanRequest] = []
        self.futures: list[Future] = []

    def submit(self, request: PlanRequest) -> Future:
        self.requests.append(request)
        self.futures.append(Future())
        return self.futures[-1]

    def arrive(self, actions: np.ndarray | None = None, seconds: float = 0.0) -> None:
        step = self.requests[-1].history["position"][-1, 0]
        told = np.stack([np.full(15, step), np.arange(15) / 100], axis=1).astype(np.float32)
        whole = np.zeros((16, 2), np.float32)
        actions = told if actions is None else actions
        self.futures[-1].set_result(Chunk(actions, whole, PlanStats(PlanTiming(seconds), 1, 10, 100, 0.0, True)))

    def close(self) -> None:
        pass


def hold(last, observation):
    return np.full(2, -9, np.float32) if last is None else last


def seen(step: float) -> dict[str, np.ndarray]:
    return {"position": np.array([step, 0], np.float32), "constant": np.zeros(1, np.float32)}


def drive(controller, source, steps: int, lateness: int):
    """Control steps with plans that arrive this many steps after the request."""
    commands, due = [], {}
    asked = 0
    for step in range(steps):
        if step in due:
            source.arrive()
        commands.append(controller.act(seen(step)))
        if len(source.requests) > asked:
            asked, due[step + lateness] = len(source.requests), True
    return commands


@pytest.mark.parametrize("lateness", [1, 3, 6])
def test_a_chunk_continues_at_the_robots_current_step(spec, lateness):
    source = Scripted(spec)
    commands = drive(AsyncController(source, hold), source, 60, lateness)
    assert [c.held for c in commands] == [True] * lateness + [False] * (60 - lateness)
    for step, command in enumerate(commands[lateness:], lateness):
        planned, index = command.action[0], round(100 * command.action[1])
        if command.replan is not None:
            assert command.replan.lateness == lateness
        # The first chunk found a robot that held still.
        assert index == step - planned - (lateness if planned == 0 else 0)


@pytest.mark.parametrize(("late", "held"), [("hold", 4), ("continue-chunk", 0)])
def test_a_robot_whose_chunk_is_late_behaves_as_declared(spec, late, held):
    source = Scripted(spec)
    controller = AsyncController(source, hold, late=late)
    commands = drive(controller, source, 9, 1)
    assert len(source.requests) == 2
    # The second chunk was asked for to arrive after eight actions; it comes four steps later.
    commands += [controller.act(seen(step)) for step in range(9, 13)]
    assert [c.held for c in commands[9:]] == [held > i for i in range(4)]
    assert [c.late for c in commands] == [False] * 9 + [True] + [False] * 3
    source.arrive()
    assert not controller.act(seen(13)).held


def test_a_late_chunk_can_stop_the_robot(spec):
    source = Scripted(spec)
    controller = AsyncController(source, hold, late="stop")
    drive(controller, source, 9, 1)
    with pytest.raises(LatePlan, match="had not arrived"):
        controller.act(seen(9))


def test_a_robot_without_a_new_chunk_holds_at_the_end_of_the_old_one(spec):
    source = Scripted(spec)
    controller = AsyncController(source, hold)
    commands = drive(controller, source, 9, 1) + [controller.act(seen(step)) for step in range(9, 20)]
    assert [c.held for c in commands[1:16]] == [False] * 15 and all(c.held for c in commands[16:])
    assert np.array_equal(commands[-1].action, commands[15].action)
    source.arrive()
    # Asked for in step 8, after seven actions; eight more were executed since, and holding does not count as an action.
    assert commands[8].replan is None and controller.act(seen(20)).action[1] == pytest.approx(0.08)


def test_a_request_contains_everything_that_a_plan_depends_on(spec):
    source = Scripted(spec)
    controller = AsyncController(source, hold, budget=0.05, blending="inpaint")
    drive(controller, source, 20, 2)
    first, second, *_ = source.requests
    assert first.budget == second.budget == 0.05 and first.keep is None and first.guess is None
    # Asked for two actions before eight were executed: those two are kept, and the step that is over.
    assert second.keep.tolist()[:3] == [1, 1, 1] and 0 < second.keep[3] < 1 and second.guess.shape == (16, 2)


def test_a_command_that_came_too_late_does_not_count_as_executed(spec):
    source = Scripted(spec)
    controller = AsyncController(source, hold)
    controller.act(seen(0))
    source.arrive()
    told = [controller.act(seen(1)).action]
    for step in range(2, 8):
        if step == 4:
            controller.take_back()
        told.append(controller.act(seen(step)).action)
    assert [round(100 * action[1]) for action in told] == [0, 1, 2, 2, 3, 4, 5]


def test_faults_stop_the_robot_in_the_control_step_in_which_they_are_found(spec):
    for late, fault, reason in (
        ("continue-chunk", ValueError("the network's predictions are not finite"), StopReason.FAULT),
        ("continue-chunk", RuntimeError("out of memory"), StopReason.DEAD),
        ("stop", None, StopReason.LATE),
    ):
        source = Scripted(spec)
        controller = SafeController(AsyncController(source, hold, late=late), SafetyLimits.of(spec), hold)
        drive(controller, source, 9, 1)
        assert len(source.requests) == 2 and controller.report.stopped is None
        if fault is not None:
            source.futures[-1].set_exception(fault)
        last = controller.act(seen(9))
        assert (controller.report.stopped, controller.report.stopped_at, last.held) == (reason, 9, True)


def test_noise_depends_on_the_seed_and_plans_differ(spec):
    def seeds(seed):
        source = Scripted(spec)
        controller = AsyncController(source, hold)
        controller.reset(seed)
        drive(controller, source, 40, 1)
        return [request.noise_seed for request in source.requests]

    assert seeds(1) == seeds(1) != seeds(2) and len(set(seeds(1))) == len(seeds(1)) >= 4


def let_pass(monkeypatch, seconds: float) -> None:
    """Lets this much time pass for threads that wait for a plan."""
    later = SimpleNamespace(perf_counter=lambda: time.perf_counter() + seconds)
    monkeypatch.setattr(asynchronous, "time", later)


def test_a_silent_source_is_dead(spec, monkeypatch):
    source = Scripted(spec)
    controller = AsyncController(source, hold)
    controller.act(seen(0))
    let_pass(monkeypatch, seconds=2.1)
    with pytest.raises(DeadInference, match="no plan has arrived for"):
        controller.act(seen(1))


@pytest.fixture
def load(trained, tmp_path):
    """Loads the policy, in this or another process."""
    save_checkpoint(trained, tmp_path / "checkpoint", "a card")
    return partial(load_policy, tmp_path / "checkpoint", "speculative-ddpm:window=8", engine="eager")


@pytest.fixture
def policy(load) -> DiffusionPolicy:
    return load()


def run_slowly(controller, steps: int = 30) -> np.ndarray:
    """Control steps in which every plan arrives in time."""
    commands = []
    for step in range(steps):
        commands.append(controller.act(seen(step / 100)).action)
        if controller._coming is not None:
            controller._coming[0].result(30)
    return np.stack(commands)


@pytest.mark.parametrize(("blending", "kept"), [("inpaint", [False, True, True]), ("replace", [False] * 3)])
def test_warming_up_makes_plans_as_in_an_episode(policy, blending, kept):
    """With the rest of the plan before, from the second plan on: an engine may compile for that."""

    class Asked(InThread):
        requests: list[PlanRequest] = []

        def submit(self, request):
            self.requests.append(request)
            return super().submit(request)

    source = Asked(policy)
    AsyncController(source, hold, blending=blending).warm_up()
    assert [request.keep is not None for request in source.requests[-3:]] == kept
    source.close()


def test_plans_do_not_depend_on_thread_or_process(policy, load):
    actions = []
    for source in (InThread(policy), InProcess(policy.spec, load, threads=1)):
        controller = AsyncController(source, hold)
        assert controller.warm_up() > 0 and source.chosen() is None
        controller.reset(3)
        actions.append(run_slowly(controller))
        controller.close()
    assert np.array_equal(*actions)
    request = PlanRequest(blank(policy.spec, 2), noise_seed=5)
    alone, together = (plan_together(policy, [request] * count)[-1].actions for count in (1, 2))
    assert np.abs(alone - together).max() < 1e-4


def test_the_chosen_sampler_can_be_read(policy):
    policy.planned = Planned("ddpm", 1, {"ddpm": 0.05})
    source = InThread(policy)
    assert source.chosen() == "ddpm: 50.0 ms a plan of 1"
    source.close()


def has_ended(process):
    """Does not use `is_alive`, which is true until the pool's own thread has noticed the end."""
    return bool(connection.wait([process.sentinel], 0))


def test_a_killed_inference_process_stops_the_robot_within_a_step_and_is_started_again_by_a_reset(trained, load):
    source = InProcess(trained.spec, load, threads=1)
    inner = AsyncController(source, hold, dead_after=60.0)
    controller = SafeController(inner, SafetyLimits.of(trained.spec), hold)
    inner.warm_up()
    for step in range(10):
        command = controller.act(seen(step / 100))
        time.sleep(0.01)
    (killed,) = source._processes
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    stopped = controller.act(seen(0.1))
    assert controller.report.stopped is StopReason.DEAD and controller.report.stopped_at == 10 and stopped.held
    assert np.array_equal(stopped.action, command.action)
    # It stays stopped, and dead.
    assert np.array_equal(controller.act(seen(1.0)).action, command.action) and not source.alive

    controller.reset(3)
    # While the policy is loaded there the robot holds, and nothing is asked; another reset changes nothing.
    loading = controller.act(seen(0))
    assert loading.held and loading.replan is None and source.alive and inner._coming is None
    controller.reset(3)
    (started,) = source._processes
    inner._warming[0].result(120)
    # The same seed gives the same commands as where nothing was killed.
    other = AsyncController(InThread(load()), hold, seed=3)
    assert np.array_equal(run_slowly(inner), run_slowly(other))
    assert controller.report.stopped is None and source._processes == [started] != [killed]
    other.close()
    inner.close()
    assert has_ended(started)


def test_an_inference_process_that_hangs_does_not_hang_its_parent(trained, load, monkeypatch):
    source = InProcess(trained.spec, load, threads=1)
    controller = AsyncController(source, hold, dead_after=60.0)
    controller.warm_up()
    (process,) = source._processes
    os.kill(process.pid, signal.SIGSTOP)
    controller.act(seen(0))
    let_pass(monkeypatch, seconds=61.0)
    with pytest.raises(DeadInference, match="no plan has arrived for"):
        controller.act(seen(0.1))
    controller.close()
    assert has_ended(process)


@pytest.mark.parametrize(("end", "seconds"), [("close", sources.CLOSE_SECONDS), ("restart", 0.0)])
def test_a_process_that_hangs_while_loading_ends_although_no_plan_was_requested(spec, end, seconds):
    source = InProcess(spec, partial(time.sleep, 600))
    with ThreadPoolExecutor(1) as pool:
        chosen = pool.submit(source.chosen)
        deadline = time.monotonic() + 60
        while not source._executor._processes and time.monotonic() < deadline:
            time.sleep(0.01)
        (process,) = source._executor._processes.values()
        started = time.monotonic()
        try:
            getattr(source, end)()
            assert has_ended(process) and time.monotonic() - started < seconds + 2.0
        finally:
            process.kill()  # otherwise `chosen` waits for ten minutes
        with pytest.raises((CancelledError, BrokenProcessPool)):
            chosen.result(60)
    source.close()


def test_an_error_in_one_sentence_names_a_policy_that_a_process_cannot_load(trained, load, capfd):
    source = InProcess(trained.spec, partial(load_policy, "/nowhere"))
    controller = AsyncController(source, hold)
    with pytest.raises(DeadInference, match=r"there are no plans: the policy could not be loaded .*'/nowhere'"):
        controller.warm_up()
    with pytest.raises(DeadInference, match="the source of plans has died"):
        controller.act(seen(0))
    controller.close()


class Restarts(Scripted):
    """A source that can be started again."""

    restarts = 0

    def restart(self) -> None:
        self.restarts += 1
        self.alive = True


def test_a_reset_restarts_a_source_that_hangs_but_not_one_that_is_late(spec, monkeypatch):
    source = Restarts(spec)
    controller = AsyncController(source, hold)
    controller.act(seen(0))
    let_pass(monkeypatch, seconds=2.1)
    source.arrive()
    controller.reset()
    assert source.restarts == 0
    monkeypatch.undo()
    controller.act(seen(0))
    let_pass(monkeypatch, seconds=2.1)
    with pytest.raises(DeadInference, match="no plan has arrived for"):
        controller.act(seen(1))
    controller.reset()
    assert source.restarts == 1
    # It holds for as long as loading takes, and then says so.
    assert controller.act(seen(0)).held
    let_pass(monkeypatch, seconds=asynchronous.WARM_UP_SECONDS + 5)
    with pytest.raises(DeadInference, match="was restarted, and has made no plan for 90"):
        controller.act(seen(1))
    controller.reset()
    assert source.restarts == 2


def test_the_error_of_a_source_that_cannot_be_restarted_gives_the_reason(spec):
    source = Restarts(spec)
    controller = AsyncController(source, hold)
    source.alive = False
    controller.reset()
    source.futures[-1].set_exception(NotLoaded("the policy could not be loaded: no checkpoint"))
    with pytest.raises(DeadInference, match="could not be started again: the policy could not be loaded: no checkpoint"):
        controller.act(seen(0))


@pytest.mark.parametrize(
    ("error", "said"),
    [(TimeoutError(), "TimeoutError"), (KeyError("weights"), "KeyError: 'weights'"), (OSError("gone"), "gone"),
     (SystemExit(), "SystemExit")],
)  # fmt: skip
def test_the_reason_why_there_are_no_plans_is_never_empty(spec, error, said):
    class Fails(Scripted):
        def submit(self, request):
            future = super().submit(request)
            future.set_exception(error)
            return future

    controller = AsyncController(Fails(spec), hold)
    with pytest.raises(DeadInference, match=f"^there are no plans: {said}$"):
        controller.warm_up()
    with pytest.raises(DeadInference, match=f"^the source of plans has died: {said}$"):
        controller.act(seen(0))


def test_warming_up_reports_what_it_waits_for_and_gives_up_with_a_reason(spec, monkeypatch):
    source, words, passed = Scripted(spec), [], []
    clock = SimpleNamespace(perf_counter=lambda: 40.0 * len(passed))

    def no_waiting(futures, timeout):
        passed.append(timeout)
        return SimpleNamespace(done=set())

    monkeypatch.setattr(asynchronous, "time", clock)
    monkeypatch.setattr(asynchronous, "wait", no_waiting)
    controller = AsyncController(source, hold)
    with pytest.raises(DeadInference, match=r"^there are no plans: the first plan \(.*\) has not arrived within 120 s$"):
        controller.warm_up(patience=100.0, on_wait=words.append)
    assert words == [f"waiting for the first plan (the policy is loaded and compiled): {seconds} s" for seconds in (40, 80)]
    assert source.futures[-1].cancelled()


def test_callers_may_change_their_actions_and_observations_afterwards(spec):
    """Changes to earlier arguments or results do not affect later ones."""

    def as_seen(last, observation):
        return observation["position"] if last is None else last

    def drive_and(write: bool) -> list[list[float]]:
        source = Scripted(spec)
        controller = AsyncController(source, as_seen, late="hold")
        told = []
        for step in range(30):
            if step in (2, 12):
                source.arrive(frozen)
            observation = seen(step)
            action = controller.act(observation).action
            told.append(action.tolist())
            if write:
                action *= 0.001
                observation["position"][:] = 99.0
                source.requests[-1].history["position"].flags.writeable = False
            if step == 5:
                controller.take_back()
        return told, [joined(request.history).tolist() for request in source.requests]

    frozen = np.arange(30, dtype=np.float32).reshape(15, 2)
    frozen.flags.writeable = False  # as it comes from a server
    assert drive_and(write=True) == drive_and(write=False)


def test_a_source_that_takes_no_request_counts_as_dead_in_every_step(spec):
    class Refuses(Scripted):
        def submit(self, request):
            raise RuntimeError("cannot schedule new futures after shutdown")

    controller = AsyncController(Refuses(spec), hold)
    for step in range(3):
        with pytest.raises(DeadInference, match="no plan can be started: cannot schedule"):
            controller.act(seen(step))


class Broken:
    """A network that returns NaN from a given call on."""

    def __init__(self, engine):
        self.broken = False
        self.graphs = None
        self._engine = engine

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def __call__(self, x, t, condition):
        return self._engine(x, t, condition) * (np.nan if self.broken else 1)


def test_nan_from_the_network_never_reaches_the_robot(policy, spec):
    policy.engine = Broken(policy.engine)
    inner = AsyncController(InThread(policy), hold)
    controller = SafeController(inner, SafetyLimits.of(spec), hold)
    inner.warm_up()
    for step in range(30):
        policy.engine.broken = step > 12
        command = controller.act(seen(step / 100))
        assert np.isfinite(command.action).all() and (np.abs(command.action) <= 9).all()
        if inner._coming is not None:
            wait([inner._coming[0]])
    assert controller.report.stopped is StopReason.FAULT and "not finite" in controller.report.detail and command.held
    inner.close()


def test_unknown_ways_to_be_late_are_refused(spec):
    with pytest.raises(ValueError, match="late must be one of hold, continue-chunk, stop"):
        AsyncController(Scripted(spec), hold, late="panic")


@pytest.mark.parametrize("name", ["budget", "dead_after"])
@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0, -1.0, "2", True])
def test_times_that_are_not_positive_numbers_are_refused(spec, name, seconds):
    """No time is greater than NaN, so a robot would wait for a dead source for ever."""
    with pytest.raises(ValueError, match=f"{name} must be a positive number of seconds"):
        AsyncController(Scripted(spec), hold, **{name: seconds})
