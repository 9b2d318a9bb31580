"""Steps captured on a GPU give the same results as on a CPU; on a CPU they run on their buffers uncaptured."""

import copy
import dataclasses
import json
import math

import pytest
import torch

from paradp.policy import UnetConfig
from paradp.policy.data.windows import cut_windows, send_windows
from paradp.policy.learning import loop
from paradp.policy.learning.arithmetic import Arithmetic, fast_products
from paradp.policy.learning.captured import CapturedStep
from paradp.policy.learning.config import DistillationConfig, TrainingConfig
from paradp.policy.learning.distillation import ConsistencyObjective, distill, student_schedule
from paradp.policy.learning.lesson import Lesson
from paradp.policy.learning.optimiser import OptimiserSettings
from paradp.policy.learning.state import StateFile, TrainingState
from paradp.policy.learning.steps import EagerStep
from paradp.policy.learning.training import DenoisingObjective, train
from paradp.policy.learning.transfer import UnreadLosses
from paradp.policy.networks.building import build_network

STEPS = 20


class Settings(OptimiserSettings):
    """Learning rates that float32 represents exactly, because a captured step reads them from such a tensor."""

    def learning_rate_of(self, step):
        return float(torch.tensor(super().learning_rate_of(step)))


SETTINGS = Settings(STEPS, learning_rate=1e-3, warmup_steps=5, weight_decay=1e-3)
SMALL = UnetConfig(channels=(16, 32))
CONFIG = TrainingConfig(steps=12, batch_size=16, warmup_steps=2, save_every=4, log_every=5, network=SMALL, bf16=False)
ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
DEVICES = ["cpu", pytest.param("cuda", marks=ON_CUDA)]


def ignore(trained, path):
    pass


def lesson_of(kind, trained, demonstrations, device):
    windows = send_windows(device, *cut_windows(demonstrations, trained.spec.horizons, 3))
    # With one channel a group the gradients of some biases are nothing but rounding, which AdamW makes large.
    spec = dataclasses.replace(trained.spec, network=UnetConfig(channels=(16, 32), timestep_embedding=16))
    policy = copy.deepcopy(dataclasses.replace(trained, spec=spec, network=build_network(spec)))
    policy.move(device)
    if kind == "denoising":
        objective = DenoisingObjective(policy.spec, policy.observation_normalizer, policy.action_normalizer)
        return Lesson(policy, objective, *windows, None)
    student = dataclasses.replace(policy.spec, schedule=student_schedule(policy.spec.schedule))
    objective = ConsistencyObjective(policy, student, teacher_steps=3)
    return Lesson(
        dataclasses.replace(policy, spec=student, network=copy.deepcopy(policy.network)), objective, *windows, policy
    )


def begun(lesson):
    return TrainingState(copy.deepcopy(lesson.start.network), SETTINGS)


def taken(kind, lesson, state, until=STEPS):
    """Makes steps; returns their losses."""
    step = kind(state, lesson.loss, bf16=False)
    return [float(step(*lesson.batch(16, seed))) for seed in range(state.step, until)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["denoising", "distillation"])
def test_captured_steps_equal_eager_ones(kind, device, trained, demonstrations):
    """Bit by bit on a CPU, except for the running average, whose formula rounds differently."""
    lesson = lesson_of(kind, trained, demonstrations, torch.device(device))
    one, other = begun(lesson), begun(lesson)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        expected, losses = taken(EagerStep, lesson, one), taken(CapturedStep, lesson, other)
    assert losses == pytest.approx(expected, rel=1e-4 if device == "cuda" else 0)
    assert one.step == other.step == STEPS
    check_equal(one, other, device)
    start, network = lesson.start.network.parameters(), other.network.parameters()
    assert sum(not torch.equal(a, b) for a, b in zip(start, network, strict=True)) > 10


def check_equal(one, other, device="cpu"):
    there, here = one.tensors(), other.tensors()
    assert there.keys() == here.keys()
    for name, tensor in there.items():
        bound = 1e-4 if device == "cuda" else 1e-6 if name.startswith("ema.") else 0
        assert (here[name] - tensor).norm() <= bound * tensor.norm(), name


def test_a_run_continues_with_captured_or_eager_steps(trained, demonstrations, tmp_path):
    """As if a run were continued on another device: the state's file is the same."""
    lesson = lesson_of("denoising", trained, demonstrations, torch.device("cpu"))
    whole = begun(lesson)
    taken(EagerStep, lesson, whole)
    for first, second in ((EagerStep, CapturedStep), (CapturedStep, EagerStep), (CapturedStep, CapturedStep)):
        before, after, file = begun(lesson), begun(lesson), StateFile(tmp_path / "state.safetensors")
        taken(first, lesson, before, 7)
        file.save(before, {}, Arithmetic(False, "as asked for"))
        file.load(after)
        taken(second, lesson, after)
        check_equal(whole, after)


def test_making_room_for_moments_changes_nothing(trained, demonstrations):
    lesson = lesson_of("denoising", trained, demonstrations, torch.device("cpu"))
    state = begun(lesson)
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    state.create_moments()
    after = state.tensors()
    assert len(after) > len(before)
    for name, tensor in after.items():
        assert torch.equal(tensor, before.get(name, torch.zeros_like(tensor))), name


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """The loop of a GPU, on a CPU: captured steps, and losses that are read some steps later."""
    monkeypatch.setattr(loop, "EagerStep", lambda state, loss, bf16, ranks: CapturedStep(state, loss, bf16))
    monkeypatch.setattr(loop, "UnreadLosses", lambda device: UnreadLosses(torch.device("cuda")))


def logged(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_the_loop_of_a_gpu_learns_and_logs_the_same_as_that_of_a_cpu(demonstrations, tmp_path, request):
    def run(out):
        seen = []
        return train(demonstrations, CONFIG, tmp_path / out, ignore, lambda *step: seen.append(step)), seen

    expected, seen = run("cpu")
    request.getfixturevalue("as_on_a_gpu")
    found, reported = run("gpu")
    assert [step for step, _ in reported] == [step for step, _ in seen] == list(range(1, 13))
    assert [loss for _, loss in reported] == pytest.approx([loss for _, loss in seen], rel=1e-4)
    for a, b in zip(expected.network.parameters(), found.network.parameters(), strict=True):
        assert (a - b).norm() <= 1e-4 * a.norm()
    for there, here in zip(logged(tmp_path / "cpu"), logged(tmp_path / "gpu"), strict=True):
        assert {**here, "seconds": 0} == pytest.approx({**there, "seconds": 0}, rel=1e-4)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_killed_training_on_a_gpu_gives_the_same_result_as_an_uninterrupted_one(demonstrations, tmp_path):
    """Bit by bit on a CPU; a GPU sums gradients in a different order every time."""

    def kill(step, loss):
        if step == 10:
            raise KeyboardInterrupt

    whole = train(demonstrations, CONFIG, tmp_path / "whole", ignore)
    with pytest.raises(KeyboardInterrupt):
        train(demonstrations, CONFIG, tmp_path / "killed", ignore, kill)
    steps = []
    resumed = train(demonstrations, CONFIG, tmp_path / "killed", ignore, lambda step, loss: steps.append(step))
    assert steps == [9, 10, 11, 12]
    assert all(torch.equal(a, b) for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True))
    losses = [[line["train_loss"] for line in logged(tmp_path / out)] for out in ("whole", "killed")]
    assert losses[0] == losses[1] and len(losses[0]) == 3


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_loss_that_is_not_finite_is_found_before_anything_is_saved(demonstrations, tmp_path, monkeypatch):
    whole = DenoisingObjective.draw

    def spoilt(objective, windows, size, generator):
        index, timestep, noise = whole(objective, windows, size, generator)
        return index, timestep, noise * (math.nan if generator.initial_seed() == 5 else 1)

    monkeypatch.setattr(DenoisingObjective, "draw", spoilt)
    with pytest.raises(ValueError, match=r"the loss of step 6 is nan; .* keeps the state of the last save"):
        train(demonstrations, CONFIG, tmp_path / "run", ignore)
    assert StateFile(tmp_path / "run/state.safetensors").noted().step == 4


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_distillation_takes_captured_steps_too(demonstrations, trained, tmp_path):
    config = DistillationConfig(steps=6, batch_size=16, warmup_steps=2, save_every=4, log_every=4, bf16=False)
    before = [p.clone() for p in trained.network.parameters()]
    student = distill(trained, demonstrations, config, tmp_path / "run", ignore)
    assert all(torch.equal(a, b) for a, b in zip(before, trained.network.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, student.network.parameters(), strict=True))


def test_fast_products_are_used_on_a_gpu_only_and_end_with_the_training():
    def settings():
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        return matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark

    before = settings()
    with fast_products(torch.device("cpu")):
        assert settings() == before
    with pytest.raises(KeyboardInterrupt), fast_products(torch.device("cuda")):
        assert settings() == (True, True, True)
        raise KeyboardInterrupt
    assert settings() == before


@ON_CUDA
@pytest.mark.parametrize("bf16", [False, True, None])
def test_a_training_on_cuda_is_continued_on_a_cpu(demonstrations, tmp_path, bf16):
    config = dataclasses.replace(CONFIG, bf16=bf16)

    def kill(step, loss):
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(demonstrations, config, tmp_path / "run", ignore, kill, device="cuda")
    steps = []
    train(demonstrations, config, tmp_path / "run", ignore, lambda step, loss: steps.append(step))
    assert steps == [9, 10, 11, 12]
    whole = train(demonstrations, config, tmp_path / "whole", ignore, device="cuda")
    assert all(p.is_cuda and p.isfinite().all() for p in whole.network.parameters())
