"""Distillation of a policy, and training of a flow."""

import dataclasses
import json

import pytest
import torch
from torch import nn
from vectors import staged

from paradp.checkpoints import load_policy, load_trained, save_checkpoint
from paradp.policy import Normalizer
from paradp.policy.data.normalizer import ObservationNormalizer
from paradp.policy.data.windows import cut_windows
from paradp.policy.learning.config import DistillationConfig, TrainingConfig
from paradp.policy.learning.distillation import ConsistencyObjective, distill, student_schedule
from paradp.policy.learning.training import DenoisingObjective, spec_for, train
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.observations import blank
from paradp.policy.process import process_of
from paradp.policy.process_config import DiffusionConfig, FlowConfig
from paradp.sampler import NoisePath, SamplerChoice
from paradp.sampler.schedules.trajectories import ddim_trajectories, follow

SMALL, WIDER = UnetConfig(channels=(8, 16)), UnetConfig(channels=(16, 32))
CONFIG = DistillationConfig(steps=12, batch_size=16, warmup_steps=2, save_every=4, log_every=4, bf16=False)
TRAINING = TrainingConfig(steps=12, batch_size=16, warmup_steps=2, save_every=4, log_every=4, network=SMALL, bf16=False)
FLOW = dataclasses.replace(TRAINING, process=FlowConfig())


def ignore(trained, path):
    pass


def keep(trained, path):
    save_checkpoint(trained, path, "card")


@pytest.fixture
def teacher(demonstrations, tmp_path):
    config = dataclasses.replace(TRAINING, process=DiffusionConfig("sample"))
    return train(demonstrations, config, tmp_path / "teacher", ignore)


class ToTheEnd(nn.Module):
    """The exact consistency function of a teacher: takes all of its steps."""

    def __init__(self, teacher, steps):
        super().__init__()
        self._teacher = teacher.network
        tables = ddim_trajectories(teacher.spec.schedule, steps)
        self._tables = [table.to(torch.device("cpu"), torch.float32) for table in tables]

    def encode_observation(self, observation, places=None):
        return self._teacher.encode_observation(observation, places)

    def forward(self, x, t, condition):
        return follow(self._tables, self._teacher, x, t, condition)


def sampled(policy, steps, demonstrations):
    """Normalised chunks for every window, always from the same noise."""
    windows, _ = cut_windows(demonstrations, policy.spec.horizons, 2)
    sampler = "consistency-1" if policy.spec.process == "consistency" else f"ddim-{steps}:spacing=sine"
    solver = SamplerChoice.parse(sampler).build(policy.spec.schedule)
    observations, _ = windows.batch(torch.arange(len(windows)))
    condition = policy.network.encode_observation(policy.observation_normalizer.normalize(observations))
    path = NoisePath.draw([torch.Generator().manual_seed(i) for i in range(len(windows))], solver.table.steps, windows.chunk)
    with torch.no_grad():
        return solver.solve(policy.network, condition, path).sample


def test_a_student_has_the_horizons_of_its_teacher(demonstrations, tmp_path):
    horizons = {"observe": 1, "predict": 8, "execute": 4}
    teacher = train(demonstrations, dataclasses.replace(TRAINING, steps=1, **horizons), tmp_path / "teacher", ignore)
    student = distill(teacher, demonstrations, dataclasses.replace(CONFIG, steps=1), tmp_path / "student", ignore)
    assert dataclasses.asdict(student.spec.horizons) == horizons


@pytest.mark.parametrize("steps", [1, 4])
def test_a_network_that_follows_the_teacher_to_the_end_has_no_loss(demonstrations, teacher, steps):
    """The loss is 0 only for the teacher's own trajectories."""
    spec = dataclasses.replace(teacher.spec, schedule=student_schedule(teacher.spec.schedule))
    objective = ConsistencyObjective(teacher, spec, steps)
    windows, _ = cut_windows(demonstrations, spec.horizons, 2)
    exact = ToTheEnd(teacher, steps)
    late = ToTheEnd(teacher, steps)
    late.forward = lambda x, t, condition: exact(x, t, condition) + 0.05 * (t > 50).reshape(-1, 1, 1)
    # A student leaves what has timestep 0 as it is, where the teacher would take one step more.
    timestep = torch.arange(1, 100)
    index = torch.arange(len(timestep)) % len(windows)
    noise = torch.randn(len(timestep), *windows.chunk, generator=torch.Generator().manual_seed(0))
    loss, later = (float(objective(network, windows, index, timestep, noise)) for network in (exact, late))
    assert loss < 1e-3 and later > 0.01


def test_a_teacher_of_noise_is_followed_in_full_precision(demonstrations, tmp_path):
    """At the last timestep its rounding would be multiplied by 2000."""
    teacher = train(demonstrations, TRAINING, tmp_path / "teacher", ignore)
    spec = dataclasses.replace(teacher.spec, schedule=student_schedule(teacher.spec.schedule))
    objective = ConsistencyObjective(teacher, spec, 4)
    windows, _ = cut_windows(demonstrations, spec.horizons, 2)
    exact = ToTheEnd(teacher, 4)
    precise = ToTheEnd(teacher, 4)
    precise.forward = torch.autocast("cpu", enabled=False)(precise.forward)
    timestep = torch.full((len(windows),), 99)
    noise = torch.randn(len(windows), *windows.chunk, generator=torch.Generator().manual_seed(0))
    batch = windows, torch.arange(len(windows)), timestep, noise
    with torch.autocast("cpu", torch.bfloat16):
        loss, rounded = (float(objective(network, *batch)) for network in (precise, exact))
    assert loss < 1e-3 and rounded > 0.01


# From a teacher that predicts the noise the student must first learn what its outputs mean.
@pytest.mark.parametrize(("prediction", "steps"), [("sample", 150), ("epsilon", 300)])
def test_a_student_jumps_closer_to_the_end_than_its_teacher_and_is_a_normal_checkpoint(
    demonstrations, tmp_path, prediction, steps
):
    """It neither stays where it starts nor forgets the data."""
    fast = {"steps": steps, "batch_size": 32, "learning_rate": 3e-3}
    taught = dataclasses.replace(TRAINING, network=WIDER, process=DiffusionConfig(prediction), **fast)
    teacher = train(demonstrations, taught, tmp_path / "teacher", ignore)
    config = dataclasses.replace(CONFIG, **fast)
    before = [p.clone() for p in teacher.network.parameters()]
    student = distill(teacher, demonstrations, config, tmp_path / "run", keep)
    sources = ((teacher, 8), (teacher, 1), (student, 1))
    ends, first, jumps = (sampled(policy, steps, demonstrations) for policy, steps in sources)
    assert (jumps - ends).square().mean() < 0.5 * (first - ends).square().mean()
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.network.parameters(), strict=True))
    assert student.spec.process == "consistency" and teacher.spec.process == "diffusion"
    assert load_trained(tmp_path / "run/checkpoint").spec == student.spec
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == steps


def test_a_killed_distillation_gives_the_same_result_as_an_uninterrupted_one(demonstrations, teacher, tmp_path):
    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 7:
            raise Killed

    whole = distill(teacher, demonstrations, CONFIG, tmp_path / "whole", ignore)
    with pytest.raises(Killed):
        distill(teacher, demonstrations, CONFIG, tmp_path / "killed", ignore, kill)
    resumed = distill(teacher, demonstrations, CONFIG, tmp_path / "killed", ignore)
    assert all(torch.equal(a, b) for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"another configuration or other data \(teacher_steps: 8 there, 9 here\)"):
        distill(teacher, demonstrations, dataclasses.replace(CONFIG, teacher_steps=9), tmp_path / "whole", ignore)
    other = dataclasses.replace(teacher, network=whole.network)
    with pytest.raises(ValueError, match=r"another configuration or other data \(init: "):
        distill(other, demonstrations, CONFIG, tmp_path / "whole", ignore)
    with pytest.raises(ValueError, match="network: not noted there"):
        train(demonstrations, TRAINING, tmp_path / "whole", ignore)


def test_what_cannot_be_distilled_is_refused(demonstrations, teacher, tmp_path):
    student = distill(teacher, demonstrations, dataclasses.replace(CONFIG, steps=1), tmp_path / "student", ignore)
    flow = train(demonstrations, dataclasses.replace(FLOW, steps=1), tmp_path / "flow", ignore)
    for policy, message in ((student, "the network was distilled"), (flow, "the network was trained by flow matching")):
        with pytest.raises(ValueError, match=message):
            distill(policy, demonstrations, CONFIG, tmp_path / "again", ignore)
    with pytest.raises(ValueError, match="teacher_steps must be at most 100"):
        distill(teacher, demonstrations, dataclasses.replace(CONFIG, teacher_steps=101), tmp_path / "again", ignore)
    with pytest.raises(ValueError, match="teacher_steps must be from 1"):
        dataclasses.replace(CONFIG, teacher_steps=0)
    assert not (tmp_path / "again").exists()


def test_each_policy_takes_its_own_samplers(demonstrations, teacher, tmp_path):
    distill(teacher, demonstrations, dataclasses.replace(CONFIG, steps=1), tmp_path / "student", keep)
    train(demonstrations, dataclasses.replace(FLOW, steps=1), tmp_path / "flow", keep)
    history = blank(teacher.spec, 1, 2)
    for name, takes, refuses in (
        ("student", ("consistency-1", "speculative-consistency-4"), ("ddpm", "auto", "flow-4")),
        ("flow", ("flow-1", "flow-100", "para-flow-10"), ("ddim-10", "auto-fast", "consistency-1")),
    ):
        for sampler in takes:
            policy = load_policy(tmp_path / name / "checkpoint", sampler, engine="eager")
            assert policy.plan(history, [torch.Generator().manual_seed(0)]).stats.converged.all()
        for sampler in refuses:
            with pytest.raises(ValueError, match=f"^{sampler}: the network was"):
                load_policy(tmp_path / name / "checkpoint", sampler, engine="eager")


def test_a_flow_learns_the_quantity_that_its_sampler_expects(demonstrations, info):
    """If a network predicts the exact velocity, the step table must get the exact clean sample from it."""
    spec = spec_for(info, FLOW.network, FLOW.process.schedule)
    windows, _ = cut_windows(demonstrations, spec.horizons, 2)
    normalizers = (
        ObservationNormalizer.fit(windows.observations, spec.observed),
        Normalizer.fit(windows.actions, spec.action),
    )
    objective = DenoisingObjective(spec, *normalizers)
    index, timestep, noise = objective.draw(windows, 64, torch.Generator().manual_seed(0))
    clean = normalizers[1].normalize(windows.batch(index)[1])
    table = process_of(spec.schedule).table
    seen = []

    @staged
    def network(noisy, t, condition):
        seen.append(noisy)
        return noise - clean

    assert objective(network, windows, index, timestep, noise) == 0
    time = (timestep / 100).reshape(-1, 1, 1)
    assert torch.equal(seen[0], (1 - time) * clean + time * noise)
    step = table.at((table.timesteps == timestep[:, None]).long().argmax(1))
    read = step.clean(seen[0].double().flatten(1), (noise - clean).double().flatten(1))
    assert (read.reshape(clean.shape) - clean).abs().max() < 1e-6
    assert timestep.min() >= 1 and timestep.max() <= 100 and timestep.float().mean() > 52


def test_a_flow_is_trained_saved_and_loaded(demonstrations, tmp_path):
    losses = []
    config = dataclasses.replace(FLOW, steps=320, batch_size=32, learning_rate=3e-3)
    flow = train(demonstrations, config, tmp_path / "run", keep, lambda step, loss: losses.append(loss))
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])
    assert load_trained(tmp_path / "run/checkpoint").spec == flow.spec and flow.spec.process == "flow"
    assert flow.spec.timesteps == 101
