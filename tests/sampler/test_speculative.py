"""Speculative sampling has the distribution of the sequential sampler: strict tests, which must detect planted faults.

Family-wise error: every statistical test below, each by itself, rejects a right solver with probability at most ALPHA, by
Bonferroni over the comparisons that it makes; exactly so per step and along the fixed direction, asymptotically where the
number of values is itself random (pooled over steps).
"""

from dataclasses import dataclass, replace

import pytest
import torch
from scipy import stats

from paradp.checkpoints import load_policy
from paradp.rollouts.expert_histories import expert_histories
from paradp.sampler import NoisePath, SamplerChoice, Sequential, Speculative, Status, step_table
from paradp.sampler.rounds.backends import only
from paradp.sampler.rounds.torch import drafts, speculative
from paradp.sampler.rounds.torch.speculative import Speculation
from paradp.sampler.table import Steps, StepTable

ALPHA = 1e-6
VARIANTS = [
    {"draft": "frozen", "data_variance": 0.0},
    {"draft": "picard", "data_variance": 0.0},
    {"draft": "picard", "data_variance": 0.01},
    {"draft": "secant", "data_variance": 0.01},
]


# Tables beside that of `ddpm`: coarse grids, steps that look back, steps that keep the prediction unclipped.
TABLES = [
    "ddpm-25",
    "ddpm-6:timesteps=99-90-60-30-12-3",
    "sde-dpm-solver-20",
    "sde-dpm-solver-8:eta=2.5:spacing=sine",
    "ddim-16:eta=0.5:spacing=trailing",
    "ddim-25:eta=1",
    "consistency-4",
    "sde-dpm-solver-8:timesteps=99-80-60-45-30-20-12-7",
]
# Other settings of the schedule: a distilled network, and a last step with noise.
SETTINGS_OF = {
    "consistency-4": {"_class_name": "LCMScheduler", "prediction_type": "sample"},
    "sde-dpm-solver-8:timesteps=99-80-60-45-30-20-12-7": {
        "_class_name": "DPMSolverMultistepScheduler",
        "final_sigmas_type": "sigma_min",
    },
}

# Samples that are not of one step: along a fixed direction, and at all steps with a large ‖Δ‖.
FIXED, CONTESTED = -1, -2


@pytest.fixture
def table_of(config):
    """The table of a sampler's name."""
    return lambda name: SamplerChoice.parse(name).build(config | SETTINGS_OF.get(name, {})).table


@dataclass
class Decided:
    """The values that decided every step, `[B, T, D]` each.

    Attributes:
        x: the exact state.
        drafted: the mean m̂ that it was drafted from.
        following: the state after it.
        times: `[B, T]`, how often: once.
    """

    x: torch.Tensor
    drafted: torch.Tensor
    following: torch.Tensor
    times: torch.Tensor

    @classmethod
    def of(cls, solver, denoiser, condition, noise, monkeypatch, guess) -> "Decided":
        like = torch.zeros_like(noise.steps.flatten(2))
        found = cls(like, like.clone(), like.clone(), torch.zeros(like.shape[:2], dtype=torch.int64))
        verify = Speculation._verify

        def recording(self, window, drafts, clean, z, log_u):
            following, kept = verify(self, window, drafts, clean, z, log_u)
            exact = (kept & window.inside).long().cumprod(1).sum(1)
            env, i = ((torch.arange(kept.shape[1]) < (exact + 1)[:, None]) & window.inside).nonzero(as_tuple=True)
            step = window.step[env, i]
            found.x[env, step], found.following[env, step] = drafts.x[env, i], following[env, i]
            found.drafted[env, step] = (drafts.following - window.coefficients.sigma * z)[env, i]
            found.times[env, step] += 1
            return following, kept

        with monkeypatch.context() as patch, only("torch"):
            patch.setattr(Speculation, "_verify", recording)
            solution = solver.solve(denoiser, condition, noise, guess)
        # The steps are decided one from the other, from the noise to the samples that are handed out.
        assert (found.times == 1).all()
        assert torch.equal(found.x[:, 0], noise.initial.flatten(1))
        assert torch.equal(found.x[:, 1:], found.following[:, :-1])
        assert torch.equal(found.following[:, -1], solution.sample.flatten(1))
        return found

    def means(self, table: StepTable, denoiser, condition, shape) -> torch.Tensor:
        """The mean m of every step, from `StepTable`'s formula and the network's predictions at the exact states."""
        batch, steps, _ = self.x.shape
        prediction = denoiser(
            self.x.reshape(-1, *shape), table.timesteps.repeat(batch), condition.repeat_interleave(steps, 0)
        ).reshape(self.x.shape)
        columns = [
            getattr(table, name).to(self.x.dtype)[:, None] for name in ("from_state", "from_prediction", "a", "c", "r", "d")
        ]
        u, v, a, c, r, d = columns
        clean = u * self.x + v * prediction
        clipped = clean if table.clip is None else clean.clamp(-table.clip, table.clip)
        before = torch.cat([torch.zeros_like(clipped[:, :1]), clipped[:, :-1]], 1)
        return a * self.x + c * clipped + r * clean + d * before


def projections(solver, denoiser, condition, noise, monkeypatch, guess=None, least=1e-6) -> dict[int, torch.Tensor]:
    """e·(x_{j+1} − m_j)/σ_j of every step, by step: e is known before z_j, so it must be standard normal.

    Where ‖Δ‖ is not above `least`, e is made of rounding errors and is left out.
    """
    table = solver.table
    decided = Decided.of(solver, denoiser, condition, noise, monkeypatch, guess)
    mean = decided.means(table, denoiser, condition, noise.initial.shape[1:])
    noisy = (table.sigma > 0).nonzero().flatten()
    sigma = table.sigma.to(mean.dtype)[noisy, None]
    delta, deviation = ((what[:, noisy] - mean[:, noisy]) / sigma for what in (decided.drafted, decided.following))
    size = delta.norm(dim=2)
    projected = (deviation * delta).sum(2) / size.clamp(min=1e-30)
    found = {int(k): projected[:, i][size[:, i] > least] for i, k in enumerate(noisy)}
    # So must be the projection on a fixed direction, which also sees a mean that is off where Δ is 0.
    found[FIXED] = deviation.sum(2).flatten() / deviation.shape[2] ** 0.5
    # Where drafts are often rejected a wrong rule shows soonest.
    found[CONTESTED] = projected[size > 0.1]
    return found


def distribution_p_value(found: dict[int, torch.Tensor]) -> float:
    """The smallest p value of all tests, corrected for their number: of shape and variance, pooled and at each step."""
    pooled = torch.cat([values for k, values in found.items() if k >= 0]).numpy()
    p_values = [stats.kstest(pooled, "norm").pvalue, _variance_p(pooled)]
    for values in found.values():
        if len(values) >= 50:
            p_values += [stats.kstest(values.numpy(), "norm").pvalue, _variance_p(values.numpy())]
    return min(1.0, len(p_values) * min(p_values))


def drafted(found: dict[int, torch.Tensor]) -> int:
    """The number of decided steps with a Δ, and so with a direction known before their noise."""
    return sum(len(values) for k, values in found.items() if k >= 0)


def _variance_p(values) -> float:
    statistic, n = (values**2).sum(), len(values)
    return 2 * min(stats.chi2.cdf(statistic, n), stats.chi2.sf(statistic, n))


def halved_threshold(z, delta, log_u):
    _, reflected = couple(z, delta, log_u)
    along, squared = (z * delta).sum(-1), delta.square().sum(-1)
    return log_u <= 0.5 * (-along - 0.5 * squared), reflected


def no_reflection(z, delta, log_u):
    return couple(z, delta, log_u)[0], z


def peeking(self, window, base):
    """Planted fault: drafts with the prediction of the next step, which depends on z_j."""
    return torch.minimum(window.step + 1, self.evaluated - 1).clamp(min=0)


def looking_back_at_a_guess(self, predictions):
    """Planted fault: steps that look back use the guess there instead of the network's prediction."""
    return one_earlier(self, self.guess)


def without_the_unclipped_part(self, one, other, *before):
    """Planted fault: drafts are verified as if r were 0."""
    return self.c * (self.table.bound(one) - self.table.bound(other))


couple, one_earlier = speculative.couple, drafts.Drafts.one_earlier
FAULTS = {
    "halved log-threshold": (speculative, "couple", halved_threshold),
    "missing reflection": (speculative, "couple", no_reflection),
    "a draft that saw D_{j+1}": (drafts.Guesses, "_source", peeking),
}
# Those that only some tables can have.
FAULTS_OF = {
    "sde-dpm-solver-20": {"a guess looked back at": (drafts.Drafts, "one_earlier", looking_back_at_a_guess)},
    "ddim-16:eta=0.5:spacing=trailing": {"the unclipped part forgotten": (Steps, "difference", without_the_unclipped_part)},
}
PLANTED = [(name, fault) for name in TABLES for fault in (*FAULTS, *FAULTS_OF.get(name, {}))]


def plant(monkeypatch, fault: str, name: str = "ddpm") -> None:
    monkeypatch.setattr(*(FAULTS | FAULTS_OF.get(name, {}))[fault])


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("window", [4, 20])
def test_every_decided_step_is_standard_normal_along_the_known_direction(
    table, denoiser, draw, monkeypatch, options, window
):
    condition, noise = draw(range(400), table)
    found = projections(Speculative(table, window, **options), denoiser, condition, noise, monkeypatch)
    assert drafted(found) > 30_000 and len(found[CONTESTED]) > 10_000
    assert distribution_p_value(found) > ALPHA


@pytest.mark.parametrize("options", [VARIANTS[0], VARIANTS[-1], {"ahead": 3}])
@pytest.mark.parametrize("name", TABLES)
def test_every_table_with_noise_is_sampled_from_its_distribution(table_of, make_denoiser, draw, monkeypatch, name, options):
    table = table_of(name)
    condition, noise = draw(range(600), table)
    found = projections(Speculative(table, 8, **options), make_denoiser(table), condition, noise, monkeypatch)
    assert drafted(found) > 300 * (table.steps - 1) and len(found[CONTESTED]) > 1500
    assert distribution_p_value(found) > ALPHA


# A draft that learned nothing: one that is wrong, and one so wrong that hardly a draft is kept.
SCALES = [0.05, 5.0]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["ddpm", *TABLES])
def test_the_worst_trained_draft_does_not_change_the_distribution(
    table_of, make_denoiser, draw, random_draft, monkeypatch, name, scale
):
    table = table_of(name)
    condition, noise = draw(range(600), table)
    guess = noise.initial.roll(1, 0).tanh()
    solver = Speculative(table, 8, draft="trained", model=random_draft(8, scale))
    found = projections(solver, make_denoiser(table), condition, noise, monkeypatch, guess)
    assert drafted(found) > 300 * (table.steps - 1) and len(found[CONTESTED]) > 1500
    assert distribution_p_value(found) > ALPHA


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_of_a_trained_draft_fail_the_projection_test(table, denoiser, draw, random_draft, monkeypatch, fault):
    condition, noise = draw(range(400), table)
    plant(monkeypatch, fault)
    solver = Speculative(table, 20, draft="trained", model=random_draft(8, 0.05))
    assert distribution_p_value(projections(solver, denoiser, condition, noise, monkeypatch)) < ALPHA


@pytest.mark.parametrize(("name", "fault"), PLANTED)
def test_planted_faults_fail_the_projection_test_of_every_table(table_of, make_denoiser, draw, monkeypatch, name, fault):
    table = table_of(name)
    condition, noise = draw(range(600), table)
    plant(monkeypatch, fault, name)
    solver = Speculative(table, 8, draft="picard", data_variance=0.0)
    assert distribution_p_value(projections(solver, make_denoiser(table), condition, noise, monkeypatch)) < ALPHA


def decisions(solver, denoiser, condition, noise, guess, monkeypatch) -> list[tuple]:
    """For every round and step: the round's first step, and the draft and guessed mean m̂ that decided the step."""
    log = []
    verify = Speculation._verify

    def recording(self, window, drafts, clean, z, log_u):
        mean = window.coefficients.mean(drafts.x, drafts.guess, drafts.one_earlier(drafts.guess))
        for env in range(len(condition)):
            for i in range(int(window.width[env])):
                step, first = int(window.step[env, i]), int(self.base[env])
                log.append((env, step, first, drafts.x[env, i].clone(), mean[env, i].clone()))
        return verify(self, window, drafts, clean, z, log_u)

    with monkeypatch.context() as patch, only("torch"):
        patch.setattr(Speculation, "_verify", recording)
        solver.solve(denoiser, condition, noise, guess)
    return log


def foreseen(solver, denoiser, condition, noise, guess, monkeypatch, steps) -> int:
    """The number of decisions on a step that change with new noise for it and later steps; the proof allows none."""
    before = decisions(solver, denoiser, condition, noise, guess, monkeypatch)
    changes = 0
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        other = NoisePath(noise.initial, noise.steps.clone(), noise.uniforms.clone())
        other.steps[:, step:] = torch.randn(other.steps[:, step:].shape, generator=generator, dtype=noise.steps.dtype)
        other.uniforms[:, step:] = 1 - torch.rand(
            other.uniforms[:, step:].shape, generator=generator, dtype=noise.steps.dtype
        )
        after = decisions(solver, denoiser, condition, other, guess, monkeypatch)
        mine, theirs = ([entry for entry in log if entry[1] == step] for log in (before, after))
        for env in range(len(condition)):
            one, two = ([entry for entry in log if entry[0] == env] for log in (mine, theirs))
            same = len(one) == len(two) and all(
                a[2] == b[2] and torch.equal(a[3], b[3]) and torch.equal(a[4], b[4]) for a, b in zip(one, two, strict=True)
            )
            changes += not same
    return changes


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("window", [8, 30])
def test_no_decision_on_a_step_depends_on_its_noise(config, make_denoiser, draw, monkeypatch, options, window):
    """The condition of the proof, bit by bit: the decision on step j does not depend on z_i and u_i with i ≥ j."""
    table = step_table(config, 30)
    condition, noise = draw(range(4), table)
    guess = torch.rand(noise.initial.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    solver = Speculative(table, window, **options)
    assert foreseen(solver, make_denoiser(table), condition, noise, guess, monkeypatch, range(0, 30, 3)) == 0


@pytest.mark.parametrize("name", TABLES)
def test_with_no_table_a_decision_depends_on_its_noise(table_of, make_denoiser, draw, monkeypatch, name):
    table = table_of(name)
    condition, noise = draw(range(4), table)
    guess = torch.rand(noise.initial.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = make_denoiser(table), condition, noise, guess, monkeypatch, range(0, table.steps, max(1, table.steps // 8))
    assert foreseen(Speculative(table, 8), *inputs) == foreseen(Speculative(table, 8, ahead=3), *inputs) == 0
    monkeypatch.setattr(*FAULTS["a draft that saw D_{j+1}"])
    assert foreseen(Speculative(table, 8), *inputs) > 0


def later_secant(recall):
    """Planted fault: guesses with the secant of the next step, which depends on z_j."""

    def recalling(self, *arguments):
        recalled = recall(self, *arguments)
        moved, changed = (torch.cat([d[:, 1:], d[:, -1:]], 1) for d in (recalled.moved, recalled.changed))
        return replace(recalled, moved=moved, changed=changed)

    return recalling


def test_a_secant_of_a_later_step_is_detected(config, make_denoiser, draw, monkeypatch):
    """No statistic of the samples detects this leak; the condition does."""
    table = step_table(config, 30)
    condition, noise = draw(range(4), table)
    monkeypatch.setattr(drafts.Guesses, "recall", later_secant(drafts.Guesses.recall))
    solver = Speculative(table, 8)
    assert foreseen(solver, make_denoiser(table), condition, noise, None, monkeypatch, range(30)) > 0


def gains_of_the_next_step(model, held, made_at, *levels):
    """Planted fault: a model that uses the prediction of the next step, which depends on z_j."""
    return gains_of(model, torch.cat([held[:, 1:], held[:, -1:]], 1), made_at, *levels)


gains_of = drafts.gains_of


@pytest.mark.parametrize("name", ["ddpm-25", *TABLES[2:]])
def test_no_decision_by_a_trained_draft_depends_on_its_noise(table_of, make_denoiser, draw, random_draft, monkeypatch, name):
    table = table_of(name)
    condition, noise = draw(range(4), table)
    guess = torch.rand(noise.initial.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = make_denoiser(table), condition, noise, guess, monkeypatch, range(0, table.steps, max(1, table.steps // 8))
    solver = Speculative(table, 8, draft="trained", model=random_draft(8, 0.05))
    assert foreseen(solver, *inputs) == foreseen(replace(solver, ahead=3), *inputs) == 0
    monkeypatch.setattr(drafts, "gains_of", gains_of_the_next_step)
    assert foreseen(solver, *inputs) > 0


def test_only_a_trained_draft_takes_a_model_and_it_needs_one(table, random_draft):
    for options in ({"draft": "trained"}, {"model": random_draft(8, 0.05)}):
        with pytest.raises(ValueError, match="paradp draft train"):
            Speculative(table, **options)


def test_the_right_posterior_makes_trained_drafts_exact(table, draw):
    """For Gaussian data with one covariance the correction is the Kalman filter's, and every draft is accepted."""
    variance = torch.tensor([0.2, 0.05, 0.01], dtype=torch.float64).repeat(3)[:8]
    basis = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    unclipped = replace(table, clip=None)
    bar = torch.zeros(100, dtype=torch.float64)
    bar[table.timesteps] = table.alpha_bar.double()

    def denoiser(x, t, c):
        b = bar[t][:, None]
        clean = (b.sqrt() * variance / (b * variance + 1 - b) * (x.flatten(1) @ basis)) @ basis.T
        return ((x.flatten(1) - b.sqrt() * clean) / (1 - b).sqrt()).view_as(x)

    class Kalman:
        into, out = basis, basis.T

        def gains(self, held, made_at, snr, snr_held):
            return snr / (1 / variance + snr)

    condition, noise = draw(range(32), table)
    solver = Speculative(unclipped, 20, draft="trained", model=Kalman())
    stats_of = solver.solve(denoiser, condition, noise).stats
    assert (stats_of.rounds == 5).all() and (stats_of.evaluations == 100).all()
    assert (Speculative(unclipped, 20).solve(denoiser, condition, noise).stats.rounds > 5).all()


def test_a_first_guess_changes_the_cost_but_not_the_distribution(table, denoiser, draw, monkeypatch):
    condition, noise = draw(range(400), table)
    guess = Sequential(table).solve(denoiser, *draw(range(1000, 1400), table)).sample
    warm, cold = Speculative(table, 100), Speculative(table, 100, start="cold")
    found = projections(warm, denoiser, condition, noise, monkeypatch, guess)
    assert distribution_p_value(found) > ALPHA and len(found[CONTESTED]) > 10_000
    costs = [solver.solve(denoiser, condition, noise, guess).stats.rounds for solver in (warm, cold)]
    assert not torch.equal(*costs)
    without = warm.solve(denoiser, condition, noise)
    assert torch.equal(without.sample, cold.solve(denoiser, condition, noise, guess).sample)


def test_a_guess_of_another_shape_is_refused(table, denoiser, draw):
    with pytest.raises(ValueError, match="the guess has shape"):
        Speculative(table).solve(denoiser, *draw(range(2), table), torch.zeros(2, 3))


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_fail_the_projection_test(table, denoiser, draw, monkeypatch, fault):
    condition, noise = draw(range(400), table)
    plant(monkeypatch, fault)
    solver = Speculative(table, 20, draft="picard", data_variance=0.0)
    assert distribution_p_value(projections(solver, denoiser, condition, noise, monkeypatch)) < ALPHA


@pytest.fixture(scope="module")
def square():
    """The shipped Square policy, and conditions from along the expert's episodes."""
    policy = load_policy("square", "ddpm")
    return policy, policy.condition(expert_histories(policy.spec, 64, 40_000))


# Below this ‖Δ‖ the network's float32 rounding, which differs with the number of rows in a call, moves e noticeably.
ROUNDING = 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIANTS[1:])
def test_the_shipped_policy_is_sampled_from_its_distribution(square, monkeypatch, options):
    policy, condition = square
    table = policy.solver.table
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(len(condition))], table.steps, (16, 10))
    guess = torch.zeros_like(noise.initial) + condition[:, :1, None].clamp(-1, 1)
    found = projections(Speculative(table, **options), policy.network, condition, noise, monkeypatch, guess, ROUNDING)
    assert drafted(found) > 3000 and len(found[CONTESTED]) > 500
    assert distribution_p_value(found) > ALPHA


@pytest.mark.slow
def test_the_shipped_policy_with_a_random_draft_is_sampled_from_its_distribution(square, random_draft, monkeypatch):
    policy, condition = square
    table = policy.solver.table
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(len(condition))], table.steps, (16, 10))
    solver = Speculative(table, draft="trained", model=random_draft(160, 0.003))
    found = projections(solver, policy.network, condition, noise, monkeypatch, least=ROUNDING)
    assert drafted(found) > 3000 and len(found[CONTESTED]) > 500
    assert distribution_p_value(found) > ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_fail_the_test_on_the_shipped_policy(square, monkeypatch, fault):
    policy, condition = square
    table = policy.solver.table
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(len(condition))], table.steps, (16, 10))
    plant(monkeypatch, fault)
    solver = Speculative(table, draft="picard", data_variance=0.0)
    found = projections(solver, policy.network, condition, noise, monkeypatch, least=ROUNDING)
    assert distribution_p_value(found) < ALPHA


def mixture_samples(solver, denoiser, seed: int, count: int, table) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = NoisePath(
        initial=torch.randn(count, 1, 2, generator=generator),
        steps=torch.randn(count, table.steps, 1, 2, generator=generator),
        uniforms=1 - torch.rand(count, table.steps, generator=generator),
    )
    return solver.solve(denoiser, torch.zeros(count, 1), noise).sample[:, 0]


def two_sample_p_value(one: torch.Tensor, other: torch.Tensor) -> float:
    """Coordinates, their sum, and the weights of the four modes, corrected for their number."""
    p_values = [stats.ks_2samp(one[:, i].numpy(), other[:, i].numpy()).pvalue for i in range(2)]
    p_values.append(stats.ks_2samp(one.sum(1).numpy(), other.sum(1).numpy()).pvalue)
    counts = [torch.bincount((s > 0).long() @ torch.tensor([1, 2]), minlength=4).numpy() for s in (one, other)]
    p_values.append(stats.chi2_contingency(counts).pvalue)
    return min(1.0, len(p_values) * min(p_values))


@pytest.fixture
def short_table(config):
    return step_table(config, 25)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("options", VARIANTS)
def test_samples_of_a_mixture_have_the_sequential_distribution(short_table, make_denoiser, options, seed):
    denoiser = make_denoiser(short_table)
    expected = mixture_samples(Sequential(short_table), denoiser, 100 + seed, 100_000, short_table)
    found = mixture_samples(Speculative(short_table, 10, **options), denoiser, seed, 100_000, short_table)
    assert two_sample_p_value(expected, found) > ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_samples_by_a_random_draft_have_the_sequential_distribution(short_table, make_denoiser, random_draft, scale):
    denoiser = make_denoiser(short_table)
    expected = mixture_samples(Sequential(short_table), denoiser, 100, 100_000, short_table)
    solver = Speculative(short_table, 10, draft="trained", model=random_draft(2, scale))
    assert two_sample_p_value(expected, mixture_samples(solver, denoiser, 0, 100_000, short_table)) > ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_fail_the_mixture_test(short_table, make_denoiser, monkeypatch, fault):
    denoiser = make_denoiser(short_table)
    expected = mixture_samples(Sequential(short_table), denoiser, 100, 100_000, short_table)
    plant(monkeypatch, fault)
    solver = Speculative(short_table, 10, draft="picard", data_variance=0.0)
    with only("torch"):
        assert two_sample_p_value(expected, mixture_samples(solver, denoiser, 0, 100_000, short_table)) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", TABLES)
def test_every_table_gives_the_same_mixture_as_its_sequential_sampler(table_of, make_denoiser, name, seed):
    table = table_of(name)
    denoiser = make_denoiser(table)
    expected = mixture_samples(Sequential(table), denoiser, 100 + seed, 100_000, table)
    found = mixture_samples(Speculative(table, 8), denoiser, seed, 100_000, table)
    assert two_sample_p_value(expected, found) > ALPHA


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fault"), [planted for planted in PLANTED if planted[0] in FAULTS_OF])
def test_planted_faults_fail_the_mixture_test_of_other_solvers(table_of, make_denoiser, monkeypatch, name, fault):
    table = table_of(name)
    denoiser = make_denoiser(table)
    expected = mixture_samples(Sequential(table), denoiser, 100, 100_000, table)
    plant(monkeypatch, fault, name)
    solver = Speculative(table, 8, draft="picard", data_variance=0.0)
    with only("torch"):
        assert two_sample_p_value(expected, mixture_samples(solver, denoiser, 0, 100_000, table)) < ALPHA


def test_acceptance_has_the_probability_of_a_maximal_coupling():
    generator = torch.Generator().manual_seed(0)
    for size in (0.0, 0.5, 1.0, 3.0):
        delta = torch.zeros(100_000, 4, dtype=torch.float64)
        delta[:, 1] = size
        z = torch.randn(delta.shape, generator=generator, dtype=torch.float64)
        log_u = (1 - torch.rand(len(z), generator=generator, dtype=torch.float64)).log()
        kept, reflected = couple(z, delta, log_u)
        expected = 2 * stats.norm.cdf(-size / 2)
        assert abs(kept.double().mean() - expected) < 5.3 * (expected * (1 - expected) / len(z)) ** 0.5 + 1e-12
        assert torch.allclose(reflected.norm(dim=1), z.norm(dim=1))


def test_all_drafts_of_a_constant_network_are_accepted(table, draw):
    """With a constant prediction only the first round can reject, and the sample ends at it as the sequential one does."""
    condition, noise = draw(range(3), table)
    config = {"_class_name": "DDPMScheduler", "num_train_timesteps": 100, "prediction_type": "sample"}
    constant = step_table(config)

    for value in (0.3, 1.7):  # inside and outside the clip

        def denoiser(x, t, c, value=value):
            return torch.full_like(x, value)

        solution = Speculative(constant, window=20).solve(denoiser, condition, noise)
        # The first round knows no prediction; from then on every window is kept whole.
        assert (solution.stats.rounds <= 8).all() and (solution.stats.rounds >= 5).all()
        sequential = Sequential(constant).solve(denoiser, condition, noise).sample
        assert (solution.sample - sequential).abs().max() < 1e-12


def test_clipping_is_part_of_the_distribution(table, denoiser, draw, monkeypatch):
    """A solver that verifies against unclipped predictions draws from another distribution; the test must detect it."""
    condition, noise = draw(range(400), table)
    condition += 0.6  # the modes lie near the clip
    honest = projections(Speculative(table, 20, data_variance=0.0), denoiser, condition, noise, monkeypatch)
    assert distribution_p_value(honest) > ALPHA
    verify = Speculation._verify

    def unclipped(self, window, *verified):
        steps = window.coefficients
        free = replace(steps, table=replace(steps.table, clip=None))
        return verify(self, replace(window, coefficients=free), *verified)

    monkeypatch.setattr(Speculation, "_verify", unclipped)
    assert (
        distribution_p_value(projections(Speculative(table, 20, data_variance=0.0), denoiser, condition, noise, monkeypatch))
        < ALPHA
    )


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("options", [{}, {"draft": "frozen", "data_variance": 0.0}, {"max_rounds": 4}])
@pytest.mark.parametrize("seed", range(4))
def test_a_draft_that_is_not_finite_does_not_spoil_an_exact_state(table, draw, seed, options, backend):
    """The network fails once, at the end of a window that is rejected earlier."""
    condition, noise = draw([seed], table)
    calls = 0

    def fails_once(x, t, c):
        nonlocal calls
        calls += 1
        prediction = 0.5 * torch.sin(4 * x) * (1 + t[:, None, None] / 50)
        if calls == 4:
            prediction[-1] = torch.nan
        return prediction

    with only(backend):
        solution = Speculative(table, 20, **options).solve(fails_once, condition, noise)
    assert calls >= 4 and solution.sample.isfinite().all() and solution.stats.broken.tolist() == [-1]
    assert solution.stats.status.tolist() == [Status.OUT_OF_BUDGET if "max_rounds" in options else Status.CONVERGED]


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("name", ["ddpm-25", "sde-dpm-solver-20", "ddim-16:eta=0.5:spacing=trailing"])
def test_in_a_first_guess_values_that_are_not_finite_count_as_zero(table_of, make_denoiser, draw, name, backend):
    table = table_of(name)
    condition, noise = draw(range(2), table)
    solver, denoiser = Speculative(table, 8), make_denoiser(table)
    part, zero = torch.full_like(noise.initial, 0.7), torch.full_like(noise.initial, 0.7)
    part[:, 1, 1], zero[:, 1, 1] = torch.nan, 0
    for guess, same in ((torch.full_like(part, torch.nan), None), (part, zero)):
        with only(backend):
            found, expected = (solver.solve(denoiser, condition, noise, first) for first in (guess, same))
        assert found.stats.converged.all() and torch.equal(found.sample, expected.sample)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_step_may_use_the_unclipped_prediction_only(table, denoiser, draw, backend):
    """c = 0 and r in its place: the same steps for a prediction within the clip, which is off here."""
    usual = replace(table, clip=None)
    unclipped = replace(usual, c=torch.zeros_like(table.c), r=table.c)
    condition, noise = draw(range(3), table)
    with only(backend):
        expected, found = (Speculative(t, 8).solve(denoiser, condition, noise) for t in (usual, unclipped))
    assert found.stats.converged.all() and found.stats.rounds.tolist() == expected.stats.rounds.tolist()
    assert torch.allclose(found.sample, expected.sample, atol=1e-9)


def test_a_window_of_one_is_sequential(table, denoiser, draw):
    condition, noise = draw(range(3), table)
    solution = Speculative(table, window=1).solve(denoiser, condition, noise)
    assert solution.stats.rounds.tolist() == solution.stats.evaluations.tolist() == [100] * 3


def test_a_round_stays_within_its_limits(table, denoiser, draw, monkeypatch):
    condition, noise = draw(range(16), table)
    verify, reached = Speculation._verify, torch.zeros(16, dtype=torch.int64)

    def watching(self, window, *verified):
        end = torch.where(window.width > 0, window.step[:, 0] + window.width, 0)
        assert ((end <= reached + 3) & (window.width <= 8)).all()
        reached.copy_(torch.maximum(reached, end))
        return verify(self, window, *verified)

    with monkeypatch.context() as patch, only("torch"):
        patch.setattr(Speculation, "_verify", watching)
        limited = Speculative(table, 8, ahead=3).solve(denoiser, condition, noise).stats
    whole = Speculative(table, 8).solve(denoiser, condition, noise)
    assert limited.evaluations.sum() < whole.stats.evaluations.sum() and limited.rounds.sum() > whole.stats.rounds.sum()
    # Where the window does not limit it.
    assert torch.equal(Speculative(table, 8, ahead=8).solve(denoiser, condition, noise).sample, whole.sample)


def test_environments_are_independent_to_the_last_bit(table, denoiser, draw, assert_independent):
    assert_independent(Speculative(table), denoiser, *draw(range(6), table))


def test_the_gain_of_a_gaussian_makes_its_drafts_exact(table, draw):
    """For data N(μ, v) the prediction is linear in x with slope J: once evaluated, a step's guess is its prediction."""
    variance = 0.01
    bar = torch.zeros(100, dtype=torch.float64)
    bar[table.timesteps] = table.alpha_bar

    def denoiser(x, t, c):
        b = bar[t][:, None, None]
        clean = (b.sqrt() * variance * x + (1 - b) * 0.5) / (b * variance + 1 - b)
        return (x - b.sqrt() * clean) / (1 - b).sqrt()

    condition, noise = draw(range(64), table)
    frozen, picard, gained = (
        Speculative(table, 20, draft=draft, data_variance=v).solve(denoiser, condition, noise).stats.rounds.double().mean()
        for draft, v in (("frozen", 0.0), ("picard", 0.0), ("picard", variance))
    )
    assert gained < picard < frozen
    solver, checked = Speculative(table, 20, draft="picard", data_variance=variance), 0
    for one in speculative.rounds_of(solver, denoiser, condition, noise):
        again = one.recalled.own[..., 0] & one.decided & one.window.inside
        assert (one.drafts.guess - one.clean)[again].abs().max() < 1e-9 if again.any() else True
        checked += int(again.sum())
    assert checked > 500


def test_a_row_that_is_not_finite_stays_in_its_environment(table, denoiser, draw):
    condition, noise = draw(range(3), table)
    clean = Speculative(table).solve(denoiser, condition, noise)
    condition[1, 0] = 9

    def poisoned(x, t, c):
        prediction = denoiser(x, t, c)
        prediction[(c[:, 0] > 5) & (t < 50)] = torch.nan
        return prediction

    solution = Speculative(table).solve(poisoned, condition, noise)
    assert solution.stats.converged.tolist() == [True, False, True]
    assert torch.equal(solution.sample[[0, 2]], clean.sample[[0, 2]])


@pytest.mark.parametrize("name", ["DDIMScheduler", "DPMSolverMultistepScheduler"])
def test_tables_without_noise_are_refused(config, name):
    with pytest.raises(ValueError, match="speculative sampling needs"):
        Speculative(step_table({"_class_name": name, "num_train_timesteps": 100}, 15))
