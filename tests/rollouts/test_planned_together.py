"""Groups of episodes run with any kind of policy; batches change plans only by the network's rounding.

That an evaluation is the same to the bit whoever runs it is held by test_evaluation.py and test_ray.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from vectors import scaled

from paradp.checkpoints import find_checkpoint, load_trained, read_info, save_checkpoint
from paradp.policy import Normalizer, UnetConfig
from paradp.policy.learning.training import TrainedPolicy
from paradp.policy.networks.building import build_network
from paradp.rollouts import RolloutConfig
from paradp.rollouts.episodes.group_runner import GroupRunner
from paradp.sampler import SamplerChoice

STEPS = 16
# Pixels, of a board of 512; the rounding of one plan is about 1e-4.
ROUNDING = 0.01


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A small policy of PushT with random weights."""
    torch.manual_seed(0)
    spec = replace(read_info(find_checkpoint("pusht")).spec, network=UnetConfig(channels=(8, 16), timestep_embedding=16))
    half = torch.full((spec.action_size,), 256.0)
    middles = scaled(spec, 256.0, 256.0), Normalizer(half, half.clone())
    save_checkpoint(TrainedPolicy(spec, build_network(spec).eval(), *middles), tmp_path / "policy", "a card")
    return tmp_path / "policy"


def test_plans_in_a_batch_differ_only_by_rounding(checkpoint, tmp_path):
    config = RolloutConfig(
        "pusht", SamplerChoice.parse("ddim-3"), tmp_path, str(checkpoint), 4, threads=1, engine="eager", max_steps=STEPS
    )
    place = GroupRunner()
    alone = [episode for seed in config.seeds for episode in place.run(config, [seed])]
    together = sorted(place.run(replace(config, envs=4), config.seeds), key=lambda episode: episode.seed)
    place.close()
    for one, other in zip(alone, together, strict=True):
        assert (one.seed, one.success, len(one.steps)) == (other.seed, other.success, len(other.steps))
        replans = [[step.replan.stats for step in episode.steps if step.replan] for episode in (one, other)]
        counted = [[(r.rounds, r.evaluations, r.converged) for r in of_one] for of_one in replans]
        assert counted[0] == counted[1]
        assert {r.batch for r in replans[0]} == {1} and {r.batch for r in replans[1]} == {4}
        actions, others = (np.array([step.action for step in episode.steps]) for episode in (one, other))
        assert np.ptp(actions) > 1 and np.abs(actions - others).max() < ROUNDING


@pytest.mark.parametrize(
    ("scheduler", "sampler"), [("FlowMatchEulerDiscreteScheduler", "flow-2"), ("LCMScheduler", "consistency-2")]
)
def test_flows_and_distilled_policies_run_with_their_own_samplers(checkpoint, tmp_path, scheduler, sampler):
    trained = load_trained(checkpoint)
    schedule = {"_class_name": scheduler, "num_train_timesteps": 100}
    if scheduler == "LCMScheduler":
        schedule = trained.spec.schedule | schedule
    save_checkpoint(replace(trained, spec=replace(trained.spec, schedule=schedule)), tmp_path / "other", "a card")
    choice = SamplerChoice.parse(sampler)
    config = RolloutConfig("pusht", choice, tmp_path, str(tmp_path / "other"), 1, threads=1, engine="eager", max_steps=STEPS)
    runner = GroupRunner()
    (episode,) = runner.run(config, [config.seed])
    runner.close()
    assert len(episode.steps) == STEPS
    assert {step.replan.stats.evaluations for step in episode.steps if step.replan} == {2}
