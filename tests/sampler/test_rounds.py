"""The same rounds from three backends: PyTorch, compiled loops on a CPU, and CUDA graphs."""

import pytest
import torch

from paradp.sampler import Picard, SamplerChoice, Sequential, Speculative, step_table
from paradp.sampler.rounds.backends import BACKENDS, make_rounds, only
from paradp.sampler.rounds.run import Graphs

# Kinds of step: scheduler, its settings, how many steps.
TABLES = {
    "ddpm": ("DDPMScheduler", {}, None),
    "ddim, prediction also unclipped": ("DDIMScheduler", {"clip_sample": True}, 15),
    "dpm-solver, looks back": ("DPMSolverMultistepScheduler", {}, 15),
}
SOLVERS = {
    "sequential": Sequential,
    "unit": lambda table: Picard(table, 8),
    "unit, rolled, budget": lambda table: Picard(table, 8, extension="roll", max_rounds=9),
    "linear": lambda table: Picard(table, 8, 0.03, split="linear"),
    "linear, copied": lambda table: Picard(table, 5, 0.0, split="linear", extension="copy"),
    "anderson": lambda table: Picard(table, 8, 1e-3, anderson=2),
}
DRAFTS = [
    {"draft": "secant"},
    {"draft": "picard"},
    {"draft": "frozen", "data_variance": 0.0},
    {"start": "cold"},
    {"max_rounds": 5},
    {"ahead": 2},
]


def a_table(name: str):
    scheduler, settings, steps = TABLES[name]
    schedule = {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2"}
    return step_table({"_class_name": scheduler} | schedule | settings, steps)


def by_pytorch(solver, *arguments):
    """A solve by PyTorch, without the compiled loops."""
    with only("torch"):
        return solver.solve(*arguments)


def test_the_backend_is_chosen_in_one_place(table, denoiser, draw):
    condition, noise = draw(range(2), table)

    def made(solver, whole=False, noise=noise):
        return type(make_rounds(solver, denoiser, condition, noise, whole)).__module__.split(".")[3]

    for make in SOLVERS.values():
        solver = make(table)
        assert made(solver) == ("torch" if getattr(solver, "anderson", 0) else "numba")
        assert made(solver, whole=True) == "torch"
        with only("torch"):
            assert made(solver) == "torch"

    class Mine(Picard):
        """A solver of another package, with Picard's rounds."""

    assert made(Mine(table)) == "numba"
    with only("numba"), pytest.raises(ValueError, match="none of the backends numba computes the rounds of Picard here"):
        Picard(table, anderson=2).solve(denoiser, condition, noise)
    with pytest.raises(ValueError, match=f"unknown backend 'cuda'; there are: {', '.join(BACKENDS)}"), only("cuda"):
        pass


def assert_same(one, other, within: float = 1e-11):
    for name in ("rounds", "evaluations", "status", "broken"):
        assert torch.equal(getattr(one.stats, name), getattr(other.stats, name)), name
    assert (one.sample - other.sample).abs().max() <= within
    assert (one.stats.residual - other.stats.residual).abs().max() <= within


class Capturable:
    """A denoiser whose rounds are kept, and captured where there is a GPU."""

    def __init__(self, denoiser):
        self.graphs = Graphs()
        self.rows: list[int] = []
        self._denoiser = denoiser

    def __call__(self, x, t, condition):
        self.rows.append(len(x))
        return self._denoiser(x, t, condition)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("kind", SOLVERS)
def test_compiled_loops_compute_the_same_rounds_as_pytorch(make_denoiser, draw, name, kind):
    table = a_table(name)
    solver, denoiser = SOLVERS[kind](table), make_denoiser(table)
    inputs = denoiser, *draw(range(20), table)
    assert_same(solver.solve(*inputs), by_pytorch(solver, *inputs))


@pytest.mark.parametrize("options", DRAFTS)
@pytest.mark.parametrize("name", ["ddpm-25", "sde-dpm-solver-20", "ddim-16:eta=0.5", "ddim-25:eta=1:spacing=linspace"])
def test_compiled_loops_compute_the_speculative_rounds_of_every_table(config, make_denoiser, draw, options, name):
    for clip in (True, False):
        table = SamplerChoice.parse(name).build(config | {"clip_sample": clip}).table
        condition, noise = draw(range(50), table)
        inputs = make_denoiser(table), condition, noise, noise.initial.roll(1, 0).tanh()
        solver = Speculative(table, 8, **options)
        assert_same(solver.solve(*inputs), by_pytorch(solver, *inputs), 1e-9)


@pytest.mark.parametrize("options", [{}, {"ahead": 3}, {"max_rounds": 4}, {"start": "cold"}])
@pytest.mark.parametrize("name", ["ddpm", "ddpm-25", "sde-dpm-solver-20", "ddim-16:eta=0.5"])
def test_compiled_loops_compute_the_rounds_of_trained_drafts(config, make_denoiser, draw, random_draft, options, name):
    table = SamplerChoice.parse(name).build(config).table
    condition, noise = draw(range(50), table)
    inputs = make_denoiser(table), condition, noise, noise.initial.roll(1, 0).tanh()
    solver = Speculative(table, 8, draft="trained", model=random_draft(8, 0.05), **options)
    assert_same(solver.solve(*inputs), by_pytorch(solver, *inputs), 1e-9)
    assert_same(solver.solve(Capturable(inputs[0]), *inputs[1:]), solver.solve(*inputs), 1e-9)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(
    ("scheduler", "settings", "options"),
    [
        ("DDIMScheduler", {"set_alpha_to_one": False}, {"eta": 0.8}),
        (
            "DDIMScheduler",
            {"set_alpha_to_one": False, "timestep_spacing": "trailing"},
            {"eta": 0.8, "clipped_epsilon": True},
        ),
        ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min"}, {"eta": 1.0}),
    ],
)
def test_a_last_step_without_effect_or_with_noise_is_computed(
    config, make_denoiser, draw, scheduler, settings, options, clip
):
    """If the grid ends at 0 but the samples do not, the last step is only a = 1."""
    table = step_table(
        config | {"_class_name": scheduler, "clip_sample": clip} | settings, timesteps=[99, 70, 40, 20, 0], **options
    )
    condition, noise = draw(range(30), table)
    inputs = make_denoiser(table), condition, noise
    solver = Speculative(table, 8)
    assert_same(solver.solve(*inputs), by_pytorch(solver, *inputs), 1e-9)
    assert solver.solve(*inputs).stats.converged.all()


@pytest.mark.parametrize("options", DRAFTS)
@pytest.mark.parametrize("window", [1, 5, 20, 200])
def test_compiled_loops_compute_the_same_speculative_rounds_as_pytorch(table, denoiser, draw, options, window):
    solver = Speculative(table, window, **options)
    condition, noise = draw(range(100), table)
    guess = noise.initial.roll(1, 0).tanh()
    inputs = denoiser, condition, noise, guess
    assert_same(solver.solve(*inputs), by_pytorch(solver, *inputs))


def test_compiled_loops_treat_what_is_not_finite_as_pytorch_does(table, denoiser, draw):
    condition, noise = draw(range(6), table)

    def poisoned(x, t, c):
        prediction = denoiser(x, t, c)
        for env, value in ((1, torch.nan), (4, torch.inf)):
            prediction[(c == condition[env]).all(1) & (t < 50), 0] = value
        return prediction

    for solver in (Sequential(table), Picard(table), Picard(table, split="linear"), Speculative(table)):
        one, other = solver.solve(poisoned, condition, noise), by_pytorch(solver, poisoned, condition, noise)
        fine = torch.tensor([0, 2, 3, 5])
        assert one.stats.status.tolist() == other.stats.status.tolist() == [0, 1, 0, 0, 1, 0]
        assert torch.equal(one.stats.broken, other.stats.broken)
        assert (one.sample[fine] - other.sample[fine]).abs().max() < 1e-11


ALL = {
    **SOLVERS,
    "speculative": lambda table: Speculative(table, 8),
    "speculative, not far ahead": lambda table: Speculative(table, 8, ahead=3),
}


@pytest.mark.parametrize("kind", ALL)
def test_kept_rounds_carry_no_state_from_one_solve_to_the_next(table, denoiser, draw, kind):
    """The rounds that a CUDA graph captures, executed by Python: whole windows, with the same buffers for every solve."""
    solver, capturable = ALL[kind](table), Capturable(denoiser)
    first, second = draw(range(5), table), draw(range(50, 55), table)
    guess = first[1].initial.tanh()
    one = solver.solve(capturable, *first, guess)
    kept = one.sample.clone()
    two = solver.solve(capturable, *second)
    assert torch.equal(one.sample, kept)  # what a solve returns is its caller's
    assert_same(one, solver.solve(denoiser, *first, guess))
    assert_same(two, solver.solve(denoiser, *second))
    assert_same(solver.solve(capturable, *first, guess), one, 0)
    assert len(set(capturable.rows)) == 1  # every call has the same shape


def test_rounds_are_kept_for_each_solver_and_shape(table, denoiser, draw):
    capturable = Capturable(denoiser)
    for count in (3, 5, 3):
        for solver in (Speculative(table, 4), Picard(table, 4)):
            inputs = draw(range(count), table)
            assert_same(solver.solve(capturable, *inputs), solver.solve(denoiser, *inputs))


@pytest.mark.parametrize("name", ["ddpm-25", "sde-dpm-solver-20", "ddim-16:eta=0.5"])
def test_kept_rounds_of_every_table_equal_those_of_python(config, make_denoiser, draw, name):
    table = SamplerChoice.parse(name).build(config).table
    solver, denoiser = Speculative(table, 8, ahead=5), make_denoiser(table)
    capturable = Capturable(denoiser)
    for seeds in (range(5), range(50, 55)):
        inputs = draw(seeds, table)
        assert_same(solver.solve(capturable, *inputs), solver.solve(denoiser, *inputs))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing can be captured")
@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "anderson"])
def test_captured_rounds_give_the_samples_of_the_cpu(table, make_denoiser, draw, kind):
    solver = ALL[kind](table)
    condition, noise = draw(range(5), table)
    on_gpu = type(noise)(*(t.cuda() for t in (noise.initial, noise.steps, noise.uniforms)))
    capturable = Capturable(make_denoiser(table))
    for _ in range(2):
        captured = solver.solve(capturable, condition.cuda(), on_gpu)
        expected = solver.solve(make_denoiser(table), condition, noise)
        assert torch.equal(captured.stats.rounds.cpu(), expected.stats.rounds)
        assert (captured.sample.cpu() - expected.sample).abs().max() < 1e-9


@pytest.mark.parametrize("kind", ALL)
def test_conditions_with_a_gradient_or_in_half_precision_work(table, denoiser, draw, kind):
    """PyTorch computes what cannot be shared with numpy."""
    solver = ALL[kind](table)
    condition, noise = draw(range(2), table)
    expected = solver.solve(denoiser, condition, noise)
    assert_same(solver.solve(denoiser, condition.clone().requires_grad_(), noise), expected, 0)
    if kind == "anderson":
        return  # PyTorch solves no linear systems in half precision
    half = type(noise)(*(t.bfloat16() for t in (noise.initial, noise.steps, noise.uniforms)))
    assert solver.solve(denoiser, condition.bfloat16(), half).sample.dtype == torch.bfloat16
