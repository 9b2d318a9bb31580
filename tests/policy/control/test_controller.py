"""Receding horizon: which action is executed when, alone and in a batch."""

import numpy as np
import pytest
import torch

from paradp.policy import DiffusionPolicy, Horizons, RecedingHorizon, act_together
from paradp.policy.observations import blank
from paradp.sampler import NoisePath, Picard, Sequential, Solution, SolverStats, Speculative, step_table


class Counting:
    """A solver whose sample contains the plan's number and the horizon's step."""

    def __init__(self, spec):
        self.table = step_table(spec.schedule)
        self.window = 1
        self.plans = 0
        self.guesses = []

    def solve(self, denoiser, condition, noise: NoisePath, guess=None, deadline=None) -> Solution:
        self.guesses.append(guess)
        batch, horizon, size = noise.initial.shape
        chunk = (self.plans + torch.arange(horizon)[:, None] / 100).expand(batch, horizon, size) / 10
        self.plans += 1
        zeros = torch.zeros(batch, dtype=torch.int64)
        return Solution(chunk, SolverStats(zeros, zeros, zeros.float(), zeros, zeros - 1))


def make_policy(trained, solver) -> DiffusionPolicy:
    return DiffusionPolicy(trained.spec, trained.network, trained.observation_normalizer, trained.action_normalizer, solver)


def observation(value: float = 0.0) -> dict[str, np.ndarray]:
    return {"position": np.full(2, value, np.float32), "constant": np.zeros(1, np.float32)}


def test_eight_actions_from_the_current_step_on_are_executed(trained):
    controller = RecedingHorizon(make_policy(trained, Counting(trained.spec)))
    commands = [controller.act(observation(t)) for t in range(20)]
    planned = [t for t, c in enumerate(commands) if c.replan]
    assert planned == [0, 8, 16]
    # The first predicted action belongs to the first observed step, so execution starts at index 1.
    expected = [(t // 8 + (1 + t % 8) / 100) / 10 for t in range(20)]
    assert [c.action[0] for c in commands] == pytest.approx(expected, abs=1e-6)


def test_history_repeats_the_first_observation_and_then_slides(trained):
    controller = RecedingHorizon(make_policy(trained, Counting(trained.spec)))
    controller.act(observation(1.0))
    assert controller.robot.history["position"][:, 0].tolist() == [1.0, 1.0]
    controller.act(observation(2.0))
    controller.act(observation(3.0))
    assert controller.robot.history["position"][:, 0].tolist() == [2.0, 3.0]
    controller.reset()
    controller.act(observation(4.0))
    assert controller.robot.history["position"][:, 0].tolist() == [4.0, 4.0]


def test_the_last_plan_shifted_by_the_executed_actions_is_the_next_first_guess(trained):
    solver = Counting(trained.spec)
    controller = RecedingHorizon(make_policy(trained, solver))
    for t in range(9):
        controller.act(observation(t))
    controller.reset()
    controller.act(observation())
    first, second, after_reset = solver.guesses
    assert not first.any() and not after_reset.any()
    # Sampled at index i of the first plan: i/1000; the second plan begins eight steps later and then holds the end.
    assert second[0, :, 0].tolist() == pytest.approx([min(8 + i, 15) / 1000 for i in range(16)], abs=1e-6)


def test_a_batch_plans_only_for_those_whose_chunk_is_used_up(trained):
    policy = make_policy(trained, Counting(trained.spec))
    early, late = RecedingHorizon(policy), RecedingHorizon(policy)
    for _ in range(3):
        early.act(observation())
    commands = [act_together([early, late], [observation()] * 2) for _ in range(10)]
    assert [bool(c[0].replan) for c in commands] == [t == 5 for t in range(10)]
    assert [bool(c[1].replan) for c in commands] == [t in (0, 8) for t in range(10)]
    assert all(c.replan.stats.batch == 1 for pair in commands for c in pair if c.replan)


@pytest.mark.parametrize("solver", [Sequential, Picard])
def test_batched_actions_equal_those_alone_up_to_the_networks_rounding(trained, solver):
    policy = make_policy(trained, solver(step_table(trained.spec.schedule)))
    observations = [observation(v) for v in (-0.5, 0.0, 0.5)]
    alone = [RecedingHorizon(policy, seed=i).act(o).action for i, o in enumerate(observations)]
    together = act_together([RecedingHorizon(policy, seed=i) for i in range(3)], observations)
    assert np.abs(np.stack(alone) - np.stack([c.action for c in together])).max() < 1e-3
    assert len({tuple(c.action) for c in together}) == 3


def test_seeds_reproduce_and_differ(trained):
    policy = make_policy(trained, Sequential(step_table(trained.spec.schedule)))
    first, again, other = (RecedingHorizon(policy, seed).act(observation()).action for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    controller = RecedingHorizon(policy, seed=1)
    controller.act(observation())
    controller.reset(1)
    assert np.array_equal(controller.act(observation()).action, first)


def test_actions_are_clipped_to_the_limits(trained):
    normalizer = trained.action_normalizer
    normalizer.scale.fill_(10.0)
    policy = make_policy(trained, Sequential(step_table(trained.spec.schedule)))
    plan = policy.plan(blank(policy.spec, 1, 2), [torch.Generator().manual_seed(0)])
    assert plan.actions.shape == (1, 15, 2)
    assert plan.actions.min() == -1.0 or plan.actions.max() == 1.0
    assert np.abs(plan.actions).max() <= 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": None}, "lacks 'position'"),
        ({"position": np.zeros(3)}, r"'position' has shape \(3,\), the policy was trained with \(2,\)"),
        ({"position": np.array([0, np.nan])}, "'position' is not finite"),
        ({"constant": np.array([np.inf])}, "'constant' is not finite"),
    ],
)
def test_bad_observations_are_named(trained, change, message):
    controller = RecedingHorizon(make_policy(trained, Counting(trained.spec)))
    bad = {k: v for k, v in (observation() | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        controller.act(bad)


def test_nan_from_the_network_does_not_reach_the_robot(trained):
    for parameter in trained.network.parameters():
        parameter.data.fill_(torch.nan)
    policy = make_policy(trained, Picard(step_table(trained.spec.schedule)))
    with pytest.raises(
        ValueError, match=r"not finite for environments \[0, 1\] of the batch, from denoising step 0 \(timestep 99\) on"
    ):
        policy.plan(blank(policy.spec, 2, 2), [torch.Generator().manual_seed(i) for i in range(2)])


def test_controllers_of_different_policies_do_not_plan_together(trained):
    controllers = [RecedingHorizon(make_policy(trained, Counting(trained.spec))) for _ in range(2)]
    with pytest.raises(ValueError, match="must share one policy"):
        act_together(controllers, [observation()] * 2)


@pytest.mark.parametrize("horizons", [(2, 16, 16), (0, 16, 8), (2, 16, 0)])
def test_horizons_that_cannot_work_are_refused(horizons):
    with pytest.raises(ValueError):
        Horizons(*horizons)


class Late:
    """A clock with which every plan takes this many control steps."""

    def __init__(self, steps: int):
        self.steps = steps

    def reset(self, seed):
        pass

    def lateness(self, seconds):
        return self.steps


def hold(last, observation):
    return np.full(2, -7.0, np.float32) if last is None else last


def test_a_waiting_robot_holds_and_continues_to_observe(trained):
    policy = make_policy(trained, Counting(trained.spec))
    controller = RecedingHorizon(policy, clock=Late(3), hold=hold)
    commands = [controller.act(observation(t)) for t in range(15)]
    assert [c.held for c in commands] == [True] * 3 + [False] * 8 + [True] * 3 + [False]
    assert [t for t, c in enumerate(commands) if c.replan] == [0, 11]
    assert commands[0].replan.lateness == 3
    assert (commands[0].action == -7).all() and np.array_equal(commands[11].action, commands[10].action)
    assert controller.robot.history["position"][:, 0].tolist() == [13.0, 14.0]


def test_the_first_guess_of_a_chunk_planned_ahead_accounts_for_consumed_actions(trained):
    solver = Counting(trained.spec)
    controller = RecedingHorizon(make_policy(trained, solver), ahead=True, clock=Late(2), hold=hold)
    commands = [controller.act(observation(t)) for t in range(20)]
    assert [t for t, c in enumerate(commands) if c.replan] == [0, 8, 16]
    assert [c.held for c in commands] == [True] * 2 + [False] * 18
    # Six actions of the first plan were executed when the second was asked for.
    assert solver.guesses[1][0, :, 0].tolist() == pytest.approx([min(6 + i, 15) / 1000 for i in range(16)], abs=1e-6)


def test_another_number_of_executed_actions_is_checked(trained):
    policy = make_policy(trained, Counting(trained.spec))
    controller = RecedingHorizon(policy, execute=12)
    assert [t for t in range(30) if controller.act(observation()).replan] == [0, 12, 24]
    with pytest.raises(ValueError, match="execute steps that are not predicted"):
        RecedingHorizon(policy, execute=16)


def test_a_clock_without_a_way_to_hold_is_refused(trained):
    with pytest.raises(ValueError, match="give `hold`"):
        RecedingHorizon(make_policy(trained, Counting(trained.spec)), clock=Late(1))


@pytest.mark.parametrize("kind", [Sequential, Picard, Speculative])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_prediction_that_is_not_finite_gives_no_plan_even_where_clipping_hides_it(trained, kind, bad):
    solver = kind(step_table(trained.spec.schedule))
    policy = make_policy(trained, solver)
    engine, broken_at = policy.engine, int(solver.table.timesteps[60])

    class Broken(type(engine)):
        def __call__(self, x, t, condition):
            return torch.where((t == broken_at)[:, None, None], bad, engine(x, t, condition))

    policy.engine = Broken(policy.network, policy.spec, policy.device)
    with pytest.raises(ValueError, match=r"not finite for environments \[0\] of the batch, from denoising step 60"):
        policy.plan(blank(policy.spec, 1, 2), [torch.Generator().manual_seed(0)])


@pytest.mark.parametrize("blending", ["replace", "blend", "inpaint"])
def test_chunks_are_blended_as_configured(trained, blending):
    policy = make_policy(trained, Sequential(step_table(trained.spec.schedule, 20)))

    controller = RecedingHorizon(policy, ahead=True, clock=Late(3), hold=hold, blending=blending)
    chunks, plan = [], policy.plan

    def noted(histories, generators, guesses, budget, keep, guessed):
        chunks.append((plan(histories, generators, guesses, budget, keep, guessed), guesses, keep))
        return chunks[-1][0]

    policy.plan = noted
    actions = np.stack([controller.act(observation(t / 10)).action for t in range(12)])
    (first, _, nothing), (second, guess, keep) = chunks
    # The first is there in step 3 and asks for the next after 5 actions, in step 8; that comes in step 11.
    assert nothing is None and np.array_equal(actions[3:11], first.actions[0, :8])
    old, new = first.actions[0, 8], second.actions[0, 3]
    if blending == "blend":
        assert actions[11] == pytest.approx(old * 7 / 8 + new / 8, abs=1e-6)
        return
    assert np.array_equal(actions[11], new)
    if blending == "inpaint":
        # What is executed meanwhile is kept: the past step and three more.
        assert keep[0, :4].tolist() == [1] * 4 and 0 < keep[0, 4] < 1
        assert (second.chunks[0, :4] - guess[0, :4]).abs().max() < 1e-5
        assert second.actions[0, :3] == pytest.approx(first.actions[0, 5:8], abs=1e-5)
    else:
        assert keep is None and np.abs(second.actions[0, :3] - first.actions[0, 5:8]).max() > 1e-3
