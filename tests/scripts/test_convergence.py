"""The bound on Picard's rounds holds where Jacobians are known, and fails if they are assumed smaller."""

import dataclasses

import numpy as np
import pytest
import torch

from paradp.sampler import NoisePath, Picard, SamplerChoice, iterates_of
from paradp.scripts.studies.convergence import HEADER, NORMS_HEADER, draw
from paradp.scripts.studies.lipschitz import NetworkOnTable, bound_on_rounds, contraction, operator_norms, window_matrix

SAMPLERS = ("para-ddpm-20", "para-ddim-12", "para-dpm-solver-12", "para-ddpm-30")
ENVIRONMENTS = 3
SHAPE = (4, 1)


@pytest.fixture
def matrix():
    return 0.6 * torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))[0]


@pytest.fixture
def denoiser(matrix):
    """A denoiser that is linear in the chunk, so that its Jacobian is constant."""
    return lambda x, t, condition: (x.flatten(1) @ matrix.T + condition[:, :1]).reshape(x.shape)


@pytest.fixture
def config():
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": 100,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "sample",
        "clip_sample": False,
    }


def measured(config, sampler, denoiser, iterations=40):
    table = SamplerChoice.parse(sampler).build(config).table
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(ENVIRONMENTS)], table.steps, SHAPE)
    condition = torch.linspace(-0.5, 0.5, ENVIRONMENTS)[:, None]
    network = NetworkOnTable(table, denoiser, condition, SHAPE)
    trajectory = network.trajectory(noise)
    return table, noise, condition, network, trajectory, network.constants(trajectory, iterations)


def test_power_iteration_finds_the_largest_singular_value():
    matrices = torch.randn(5, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = operator_norms(lambda x: torch.einsum("nij,nj->ni", matrices, x), torch.zeros(5, 6, dtype=torch.float64), 500)
    assert torch.allclose(found, torch.linalg.matrix_norm(matrices, 2), rtol=1e-6)


def test_constants_are_those_of_the_steps(config, denoiser, matrix):
    table, *_, constants = measured(config, "para-ddpm-20", denoiser, 400)
    for one in constants:
        assert np.allclose(one.clean, 0.6, rtol=1e-4)
        assert np.allclose(one.pushed, 0.6 * table.c.numpy(), rtol=1e-4)
        identity = torch.eye(4, dtype=torch.float64)
        drift = [
            torch.linalg.matrix_norm((a - 1) * identity + c * matrix.double(), 2)
            for a, c in zip(table.a, table.c, strict=True)
        ]
        assert np.allclose(one.drift, drift, rtol=1e-3)


@pytest.mark.parametrize("split", ["unit", "linear"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_environment_needs_more_rounds_than_the_bound(config, denoiser, sampler, split):
    table, noise, condition, network, trajectory, constants = measured(config, sampler, denoiser)
    for window, tolerance in ((5, 0.01), (12, 0.1), (12, 0.001)):
        solver = Picard(network.table, window, tolerance, split)
        rounds = solver.solve(denoiser, condition, noise).stats.rounds.tolist()
        bounds = [bound_on_rounds(table, one, trajectory, solver, i) for i, one in enumerate(constants)]
        assert all(needed <= most <= table.steps for needed, most in zip(rounds, bounds, strict=True))
        # Taken a hundred times too small, the constants promise what does not come true.
        small = [
            dataclasses.replace(one, clean=one.clean / 100, pushed=one.pushed / 100, drift=one.drift / 100)
            for one in constants
        ]
        promised = [bound_on_rounds(table, one, trajectory, solver, i) for i, one in enumerate(small)]
        assert sum(promised) < sum(bounds)
        if (window, tolerance) == (12, 0.001):
            assert sum(promised) < sum(rounds)


@pytest.mark.parametrize("split", ["unit", "linear"])
def test_a_round_makes_no_error_larger_than_the_matrix_says(config, denoiser, split):
    table, noise, condition, network, trajectory, constants = measured(config, "para-ddpm-20", denoiser)
    iterates = iterates_of(Picard(network.table, 20, 0.0, split), denoiser, condition, noise)
    matrix = window_matrix(table, constants[0], 0, 20, split)
    assert (np.triu(matrix) == 0).all()
    errors = [(states[0].flatten(1) - trajectory.states[0]).norm(dim=1).double().numpy() for states in iterates]
    # The window begins at x_1 after the first round, and so on: only that one is of the whole window.
    assert (errors[1][2:] <= (matrix @ errors[0])[2:] + 1e-5).all() and errors[0].max() > 0.1
    q = contraction(table, constants[0], 0, 20, split)
    scale = table.scale.numpy()
    assert (errors[1][2:] / scale[2:]).max() <= q * (errors[0][1:] / scale[1:]).max() + 1e-4


def test_a_linear_network_is_its_own_tangent(config, denoiser):
    _, noise, condition, network, trajectory, _ = measured(config, "para-ddpm-20", denoiser)
    solver = Picard(network.table, 12, 0.01, "linear")
    tangent, environments = network.linearised(trajectory)
    one, other = solver.solve(denoiser, condition, noise), solver.solve(tangent, environments, noise)
    assert (one.sample - other.sample).abs().max() < 1e-4 and torch.equal(one.stats.rounds, other.stats.rounds)


def test_the_picture_is_drawn_from_the_tables(tmp_path):
    norms = [["shipped", f"{k}–{k + 9}", "0.9 (1.2)", "0.05 (0.07)", "0.06 (0.08)"] for k in range(0, 100, 10)]
    row = ["shipped", "epsilon", "`para-ddpm`", "unit", "9.10 (8.00 to 9.90)", "25.4 (24.0 to 26.0)", "25.1 (24.0 to 26.0)"]
    rows = [[*row, "60.0 (58.0 to 62.0)", "100"]]
    tables = [[HEADER, ["---"] * len(HEADER), *rows], [NORMS_HEADER, ["---"] * len(NORMS_HEADER), *norms]]
    page = tmp_path / "convergence.md"
    page.write_text("\n\n".join("\n".join("| " + " | ".join(line) + " |" for line in table) for table in tables) + "\n")
    left, right = draw(page).axes
    assert page.with_suffix(".png").exists()
    assert left.lines[0].get_ydata().tolist() == [0.05] * 10
    assert {25.4, 25.1, 60.0, 100.0} <= {float(np.ravel(line.get_xdata())[0]) for line in right.lines}
