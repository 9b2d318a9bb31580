"""What an evaluation finds does not depend on who runs it; what is planned together differs by rounding alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from paradp.checkpoints import find_checkpoint, read_info, save_checkpoint
from paradp.policy import Normalizer, UnetConfig
from paradp.policy.networks import build_network
from paradp.policy.training import TrainedPolicy
from paradp.rollouts import RolloutConfig, config
from paradp.rollouts.backends import InProcess, Local
from paradp.rollouts.evaluation import Grid, evaluate
from paradp.sampler import SamplerChoice

# All else in a table is an outcome.
TIMES = ["seconds", "began", "simulation", "replan_seconds", "replan_encode", "replan_denoise", "replan_decode"]
STEPS = 16
# Pixels, of a board of 512; a plan's rounding is about 1e-4.
ROUNDING = 0.01


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A small policy of PushT with random weights."""
    torch.manual_seed(0)
    spec = replace(read_info(find_checkpoint("pusht")).spec, network=UnetConfig(channels=(8, 16), timestep_embedding=16))
    seen = Normalizer(torch.full((spec.observation_size,), 256.0), torch.full((spec.observation_size,), 256.0))
    acted = Normalizer(torch.full((spec.action_size,), 256.0), torch.full((spec.action_size,), 256.0))
    path = tmp_path_factory.mktemp("policy") / "checkpoint"
    save_checkpoint(TrainedPolicy(spec, build_network(spec).eval(), seen, acted), path, "a card")
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Latencies, which are measured in whole episodes, are not what is looked at here."""
    monkeypatch.setattr(config, "EPISODES_ALONE", 1)


def grid(checkpoint: Path, out: Path, envs: int) -> Grid:
    choices = (SamplerChoice.parse("ddim-3"),)
    base = RolloutConfig(
        "pusht", choices[0], out, str(checkpoint), episodes=4, envs=envs, threads=1, engine="eager", max_steps=STEPS
    )
    return Grid(base, choices)


def outcomes(out: Path, name: str) -> pd.DataFrame:
    table = pd.read_parquet(out / f"{name}.parquet")
    return table.drop(columns=[column for column in TIMES if column in table])


def test_this_process_and_two_workers_find_the_same(checkpoint, tmp_path):
    evaluate(grid(checkpoint, tmp_path / "here", 2), backend=InProcess())
    evaluate(grid(checkpoint, tmp_path / "workers", 2), backend=Local(2))
    for name in ("episodes", "steps"):
        pd.testing.assert_frame_equal(
            outcomes(tmp_path / "here", name), outcomes(tmp_path / "workers", name), check_exact=True
        )


def test_what_is_planned_together_differs_by_rounding_alone(checkpoint, tmp_path):
    evaluate(grid(checkpoint, tmp_path / "alone", 1), backend=InProcess())
    evaluate(grid(checkpoint, tmp_path / "together", 4), backend=InProcess())
    alone, together = (outcomes(tmp_path / name, "steps") for name in ("alone", "together"))
    # Groups of four end as they will; within an episode, steps are in order.
    alone, together = (table.sort_values(["cell", "seed", "step"], ignore_index=True) for table in (alone, together))
    for column in ("cell", "seed", "step", "success", "held", "replan_rounds", "replan_evaluations", "replan_converged"):
        assert alone[column].equals(together[column]), column
    actions = [np.stack(table["action"].to_numpy()) for table in (alone, together)]
    assert np.ptp(actions[0]) > 0 and np.abs(actions[0] - actions[1]).max() < ROUNDING
    assert set(together["replan_batch"].dropna()) == {4} and set(alone["replan_batch"].dropna()) == {1}
