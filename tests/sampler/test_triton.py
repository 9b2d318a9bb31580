"""Rounds with Triton kernels equal those of PyTorch and of the compiled loops.

On a CPU by Triton's interpreter (`TRITON_INTERPRET=1 pytest tests/sampler/test_triton.py`), on a GPU compiled.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paradp.sampler import NoisePath, Picard, SamplerChoice, Sequential, Speculative, Status, mixture_denoiser, step_table
from paradp.sampler.rounds.backends import make_rounds, only
from paradp.sampler.rounds.captured import Graphs
from paradp.sampler.rounds.windows import PerStep

pytest.importorskip("triton", reason="Triton is not installed: it comes with PyTorch for GPUs")
from triton.runtime import JITFunction

from paradp.sampler.rounds import launching
from paradp.sampler.rounds import triton as backend
from paradp.sampler.rounds.triton import picard_kernels
from paradp.sampler.rounds.triton import speculative_kernels as kernels
from paradp.sampler.rounds.triton.sequential import take_step

COMPILED = isinstance(kernels.draft, JITFunction)
interpreted = pytest.mark.skipif(COMPILED, reason="on a CPU kernels run with TRITON_INTERPRET=1 alone")
on_gpu = pytest.mark.skipif(COMPILED is False or not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(autouse=True, scope="module")
def scalars_are_indices():
    """Triton 3.6 interprets a loop's bounds as arrays of one element, which NumPy does not take for integers from 2.5 on."""
    from triton.runtime import interpreter

    original = interpreter._patch_lang_tensor

    def patched(tensor, scope):
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_patch_lang_tensor", patched)
        yield


SCHEDULE = {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "epsilon"}
DDPM = {"_class_name": "DDPMScheduler", **SCHEDULE}
GRID = [99, 80, 70, 55, 40, 20, 7, 0]
# Kinds of step. Without an end at ᾱ = 1 the last step has a = 1 and nothing else; with `sigma_min` it adds noise.
TABLES = {
    "ddpm": (DDPM, {}),
    "sde-dpm-solver, looks back": (DDPM | {"_class_name": "DPMSolverMultistepScheduler"}, {"eta": 1.0}),
    "ddim, prediction also unclipped": (DDPM | {"_class_name": "DDIMScheduler"}, {"eta": 0.7}),
    "last step does nothing": (DDPM | {"_class_name": "DDIMScheduler", "set_alpha_to_one": False}, {"eta": 0.8}),
    "last step adds noise": (
        DDPM | {"_class_name": "DPMSolverMultistepScheduler", "final_sigmas_type": "sigma_min"},
        {"eta": 1.0},
    ),
    "predicts samples": (DDPM | {"prediction_type": "sample"}, {}),
}
WITHOUT_NOISE = {
    "ddim": (DDPM | {"_class_name": "DDIMScheduler"}, {}),
    "dpm-solver, looks back": (DDPM | {"_class_name": "DPMSolverMultistepScheduler"}, {}),
}
DRAFTS = st.fixed_dictionaries(
    {
        "draft": st.sampled_from(["secant", "picard", "frozen"]),
        "data_variance": st.sampled_from([0.0, 0.01, 0.3]),
        "start": st.sampled_from(["previous", "cold"]),
        "max_rounds": st.sampled_from([None, 1, 3]),
        "ahead": st.sampled_from([None, 1, 2, 5]),
    }
)
ITERATIONS = st.fixed_dictionaries(
    {
        "split": st.sampled_from(["unit", "linear"]),
        "extension": st.sampled_from([None, "copy", "roll"]),
        "tolerance": st.sampled_from([0.0, 1e-3, 0.03, 0.3]),
        "max_rounds": st.sampled_from([None, 1, 3]),
    }
)
WINDOWS = st.sampled_from([1, 3, 5, 20])


def a_table(name: str, clip: float | None):
    config, options = (TABLES | WITHOUT_NOISE)[name]
    bounds = {"clip_sample": clip is not None, "clip_sample_range": clip or 1.0}
    return step_table(config | bounds, timesteps=GRID, **options)


@st.composite
def solves(draw, tables=TABLES):
    """A table and the arguments of a solve: samples of any shape, with or without a guess."""
    table = a_table(draw(st.sampled_from(sorted(tables))), draw(st.sampled_from([None, 1.0, 0.7])))
    batch, shape = draw(st.integers(1, 3)), draw(st.sampled_from([(1, 1), (4, 2), (3, 3), (5, 7)]))
    seed = draw(st.integers(0, 10**6))
    noise = NoisePath.draw([noise_of(seed + i) for i in range(batch)], table.steps, shape, dtype=torch.float64)
    condition = torch.rand(batch, 3, generator=noise_of(seed), dtype=torch.float64)
    guess = torch.randn(batch, *shape, generator=noise_of(seed), dtype=torch.float64) if draw(st.booleans()) else None
    return table, (condition, noise, guess)


def noise_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_same(one, other, within: float = 1e-9):
    for name in ("rounds", "evaluations", "status", "broken"):
        assert torch.equal(getattr(one.stats, name), getattr(other.stats, name)), name
    assert (one.sample - other.sample).abs().max() <= within
    assert (one.stats.residual - other.stats.residual).abs().max() <= within


def by(backend: str, solver, *arguments):
    with only(backend):
        return solver.solve(*arguments)


class Whole:
    """A denoiser whose rounds are kept, whole, and captured where there is a GPU."""

    def __init__(self, denoiser):
        self.graphs = Graphs()
        self._denoiser = denoiser

    def __call__(self, x, t, condition):
        return self._denoiser(x, t, condition)


@interpreted
@settings(max_examples=25)
@given(solves(), WINDOWS, DRAFTS)
def test_kernels_compute_the_same_speculative_rounds_as_both_other_backends(drawn, window, options):
    table, inputs = drawn
    assert_the_same_by_all(Speculative(table, window, **options), inputs)


@interpreted
@settings(max_examples=20)
@given(solves(TABLES | WITHOUT_NOISE), WINDOWS, ITERATIONS)
def test_kernels_compute_the_same_iterations_as_both_other_backends(drawn, window, options):
    table, inputs = drawn
    assert_the_same_by_all(Picard(table, window, **options), inputs)


@interpreted
@settings(max_examples=10)
@given(solves(TABLES | WITHOUT_NOISE))
def test_kernels_compute_the_same_steps_as_both_other_backends(drawn):
    table, inputs = drawn
    assert_the_same_by_all(Sequential(table), inputs)


@interpreted
@pytest.mark.parametrize("make", [Sequential, lambda table: Picard(table, 4, 0.0), lambda table: Speculative(table, 4)])
def test_kernels_pass_fractional_timesteps_to_the_network(make):
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 100, "shift": 3.0}
    # With noise, which speculation needs and flows do not have.
    table = replace(step_table(flow, 7), sigma=torch.full((7,), 0.1, dtype=torch.float64))
    noise = NoisePath.draw([noise_of(s) for s in range(2)], 7, (4, 2), dtype=torch.float64)

    def network(x, t, condition):
        assert torch.isin(t, table.timesteps).all()
        return torch.tanh(x * (1 + t[:, None, None] / 100))

    assert table.timesteps.is_floating_point()
    assert_the_same_by_all(make(table), (torch.zeros(2, 1), noise, None), network)


def assert_the_same_by_all(solver, inputs, denoiser=None):
    denoiser = denoiser or mixture_denoiser(solver.table)
    found = by("triton", solver, denoiser, *inputs)
    assert_same(found, by("torch", solver, denoiser, *inputs))
    assert_same(by("triton", solver, Whole(denoiser), *inputs), found, 0)
    pytest.importorskip("numba")
    assert_same(found, by("numba", solver, denoiser, *inputs))


@interpreted
def test_kernels_treat_what_is_not_finite_as_pytorch_does():
    table = a_table("ddpm", 1.0)
    noise = NoisePath.draw([noise_of(s) for s in range(6)], table.steps, (4, 2), dtype=torch.float64)
    condition = torch.rand(6, 3, generator=noise_of(0), dtype=torch.float64)
    denoiser = mixture_denoiser(table)

    def poisoned(x, t, c):
        prediction = denoiser(x, t, c)
        for env, value in ((1, torch.nan), (4, torch.inf)):
            prediction[(c == condition[env]).all(1) & (t < 50), 0] = value
        return prediction

    for solver in (Sequential(table), Picard(table, 4), Picard(table, 4, split="linear"), Speculative(table, 4)):
        one, other = (by(name, solver, poisoned, condition, noise) for name in ("triton", "torch"))
        fine = torch.tensor([0, 2, 3, 5])
        assert one.stats.status.tolist() == other.stats.status.tolist() == [0, 1, 0, 0, 1, 0]
        assert torch.equal(one.stats.broken, other.stats.broken)
        assert (one.sample[fine] - other.sample[fine]).abs().max() < 1e-11


@interpreted
def test_kernels_do_not_keep_values_of_drafts_that_are_not_finite():
    """A bad first guess drafts states where the network fails, only in the first rounds."""
    table = a_table("ddpm", None)
    noise = NoisePath.draw([noise_of(s) for s in range(3)], table.steps, (4, 2), dtype=torch.float64)
    condition, denoiser, failed = torch.zeros(3, 3, dtype=torch.float64), mixture_denoiser(table), []

    def fails_far_away(x, t, c):
        far = (x.abs() > 6).flatten(1).any(1)
        failed.append(bool(far.any()))
        return torch.where(far[:, None, None], torch.inf, denoiser(x, t, c))

    for guess, budget in ((300.0, None), (300.0, 2), (torch.nan, None)):
        solver, first = Speculative(table, 5, max_rounds=budget), torch.full_like(noise.initial, guess)
        one, other = (by(name, solver, fails_far_away, condition, noise, first) for name in ("triton", "torch"))
        assert (one.stats.status == (Status.OUT_OF_BUDGET if budget else Status.CONVERGED)).all()
        assert_same(one, other)
    assert any(failed)


@interpreted
@settings(max_examples=8)
@given(solves(), st.one_of(DRAFTS, ITERATIONS))
def test_a_round_of_kernels_after_the_end_changes_nothing(drawn, options):
    table, inputs = drawn
    kind = Speculative if "draft" in options else Picard
    solver = kind(table, 5, **options | {"max_rounds": None})
    with only("triton"):
        rounds = make_rounds(solver, mixture_denoiser(table), *inputs[:2], True)
    rounds.load(*inputs)
    while not rounds.arrived():
        rounds.advance()
    state = vars(rounds) | vars(getattr(rounds, "guesses", rounds))
    state = {name: value.all if isinstance(value, PerStep) else value for name, value in state.items()}
    state = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    before = {name: value.clone() for name, value in state.items()}
    own = {"exact", "kept", "evaluated"} if kind is Speculative else {"states", "clean", "furthest", "residual"}
    assert {"base", "rounds", "evaluations"} | own <= before.keys()
    rounds.advance()
    assert all(torch.equal(before[name], state[name]) for name in before)


def test_kernels_are_chosen_where_they_support_the_solver(random_draft):
    """On a CPU only in the interpreter; never for trained drafts, Anderson steps, half precision or very large samples."""
    table = a_table("ddpm", 1.0)

    def made(solver, shape=(4, 2), dtype=torch.float64):
        noise = NoisePath.draw([noise_of(0)], table.steps, shape, dtype=dtype)
        with only("triton", "torch"):
            rounds = make_rounds(solver, mixture_denoiser(table), torch.zeros(1, 3), noise, True)
        return type(rounds).__module__.split(".")[3]

    for solver in (Sequential(table), Picard(table), Speculative(table)):
        assert made(solver) == ("torch" if COMPILED else "triton")
    assert made(Speculative(table, draft="trained", model=random_draft(8, 0.05))) == "torch"
    assert made(Picard(table, anderson=2)) == "torch"
    assert made(Speculative(table), dtype=torch.bfloat16) == "torch"
    assert made(Speculative(table), shape=(4, 2048)) == "torch"


@pytest.mark.parametrize(
    ("version", "compiler", "headers", "missing"),
    [
        ("3.10.0", True, True, None),
        ("3.6.0", False, True, "a C compiler"),
        ("3.6.0", True, False, "Python's C headers"),
        ("3.2.1", True, True, "Triton 3.3 or later"),
    ],
)
def test_unsupported_cases_of_the_kernels_are_reported_once(
    tmp_path, monkeypatch, caplog, version, compiler, headers, missing
):
    monkeypatch.setattr("triton.__version__", version)
    if headers:
        (tmp_path / "Python.h").touch()
    backend.lacking.cache_clear()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(launching.shutil, "which", lambda name: f"/bin/{name}" if compiler else None)
    monkeypatch.setattr(launching.sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
    found = [backend.lacking() for _ in range(2)]
    backend.lacking.cache_clear()
    assert found == [missing, missing]
    assert len(caplog.messages) == (missing is not None)
    assert missing is None or f"need {missing}: PyTorch computes" in caplog.text


@pytest.mark.skipif(not COMPILED, reason="what is interpreted is not compiled")
@pytest.mark.parametrize(("size", "kind", "ones"), [(1, "*fp64", True), (160, "*fp32", False), (4096, "*fp32", False)])
def test_kernels_compile_for_a_gpu_without_one(size, kind, ones):
    """Also with numbers of steps that are 1, which Triton compiles as constants."""
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    whole = {"counts", "timesteps", "evaluated", "base", "furthest", "rounds", "evaluations", "t"}
    picard = (picard_kernels.read, picard_kernels.enter, picard_kernels.iterate, picard_kernels.complete)
    for kernel in (kernels.draft, kernels.verify, kernels.move, kernels.conclude, *picard, take_step):
        for flags in (False, True):
            values = {name: flags for name in kernel.arg_names if name.isupper()}
            values |= {"SIZE": size, "BLOCK": 1 << (size - 1).bit_length()}
            values |= {"STEPS": 128, "WIDTH": 32, "OUT_OF_BUDGET": 2, "NOT_FINITE": 1, "CONVERGED": 0}
            values = {name: value for name, value in values.items() if name in kernel.arg_names}
            kinds = {name: "*i64" if name in whole else kind for name in kernel.arg_names}
            counts = [name for name in ("steps", "width", "ahead", "batch", "k") if name in kinds]
            kinds |= {name: "i32" for name in counts} | {name: "*i8" for name in ("unsound", "holds") if name in kinds}
            values |= {name: 1 for name in counts if ones and name != "k"}
            kinds |= {name: "constexpr" for name in values}
            constants = {(kernel.arg_names.index(name),): value for name, value in values.items()}
            source = ASTSource(kernel, kinds, constants)
            assert "ptx" in compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm


def on_device(inputs, dtype):
    condition, noise, guess = inputs
    parts = (noise.initial, noise.steps, noise.uniforms)
    moved = type(noise)(*(part.to("cuda", dtype) for part in parts))
    return condition.to("cuda", dtype), moved, None if guess is None else guess.to("cuda", dtype)


@on_gpu
@settings(max_examples=12)
@given(solves(), WINDOWS, DRAFTS)
def test_kernels_compute_the_same_rounds_as_pytorch_on_a_gpu(drawn, window, options):
    table, inputs = drawn
    solver, denoiser, inputs = (
        Speculative(table, window, **options),
        mixture_denoiser(table),
        on_device(inputs, torch.float64),
    )
    found = by("triton", solver, denoiser, *inputs)
    assert_same(found, by("torch", solver, denoiser, *inputs))


@on_gpu
@settings(max_examples=12)
@given(solves(TABLES | WITHOUT_NOISE), WINDOWS, ITERATIONS)
def test_kernels_compute_the_same_iterations_as_pytorch_on_a_gpu(drawn, window, options):
    table, inputs = drawn
    inputs, denoiser = on_device(inputs, torch.float64), mixture_denoiser(table)
    for solver in (Picard(table, window, **options), Sequential(table)):
        assert_same(by("triton", solver, denoiser, *inputs), by("torch", solver, denoiser, *inputs))


@on_gpu
@pytest.mark.parametrize(
    ("name", "options", "shape", "dtype"),
    [
        ("ddpm", {}, (16, 10), torch.float32),
        ("ddpm", {}, (4, 2), torch.float64),
        ("ddpm", {"draft": "frozen"}, (16, 10), torch.float64),
        ("ddpm", {"draft": "picard", "ahead": 5}, (16, 100), torch.float32),
        ("sde-dpm-solver-20", {}, (16, 10), torch.float64),
        ("sde-dpm-solver-20", {"max_rounds": 5}, (16, 10), torch.float32),
    ],
)
def test_captured_kernels_give_the_samples_of_pytorch(name, options, shape, dtype):
    """In rare ties, single precision decides a step differently."""
    table = SamplerChoice.parse(name).build(DDPM | {"clip_sample": True}).table
    solver, denoiser = Speculative(table, 20, **options), mixture_denoiser(table)
    whole = Whole(denoiser)
    for seed in range(0, 24, 8):
        noise = NoisePath.draw([noise_of(seed + i) for i in range(8)], table.steps, shape, dtype=dtype)
        condition = torch.rand(8, 3, generator=noise_of(seed), dtype=dtype)
        guess = torch.randn(8, *shape, generator=noise_of(seed), dtype=dtype)
        inputs = on_device((condition, noise, guess), dtype)
        captured = by("triton", solver, whole, *inputs)
        eager, expected = (by(backend, solver, denoiser, *inputs) for backend in ("triton", "torch"))
        if dtype == torch.float64:
            assert_same(captured, eager)
            assert_same(captured, expected, 1e-8)
            continue
        alike = (captured.stats.rounds == expected.stats.rounds) & (eager.stats.rounds == expected.stats.rounds)
        assert alike.sum() >= 6
        for other in (eager, expected):
            apart = (captured.sample - other.sample).flatten(1).abs().amax(1)
            assert apart[alike].median() < 1e-3
