"""Training from images: resumed bit by bit, with images as bytes, within the memory."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from paradp.checkpoints import load_policy, load_trained, save_checkpoint
from paradp.policy import Horizons, RecedingHorizon, UnetConfig
from paradp.policy.data import dataset, layout
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.data.windows import cut_windows, send_windows
from paradp.policy.files import memory
from paradp.policy.identity import digest
from paradp.policy.learning import loop, transfer
from paradp.policy.learning.captured import CapturedStep
from paradp.policy.learning.config import DistillationConfig, TrainingConfig
from paradp.policy.learning.distillation import distill
from paradp.policy.learning.lesson import Lesson
from paradp.policy.learning.state import TrainingState
from paradp.policy.learning.steps import EagerStep
from paradp.policy.learning.training import train
from paradp.policy.networks.vision.config import PixelsConfig, VisionConfig

TINY = VisionConfig(stem=16, keypoints=4)
CONFIG = TrainingConfig(
    steps=6,
    batch_size=8,
    warmup_steps=2,
    save_every=2,
    log_every=2,
    network=UnetConfig(channels=(16, 32)),
    bf16=False,
    vision=TINY,
)
EPISODES = 3


def save(trained, path):
    save_checkpoint(trained, path, "# card")


def ignore(trained, path):
    pass


@pytest.fixture
def seen(tmp_path, info, monkeypatch) -> Demonstrations:
    """Images of two cameras: a bright square on black that moves to the middle."""
    monkeypatch.setattr(layout, "_CHUNK_NUMBERS", 7 * 36 * 40 * 3)
    described = dataclasses.replace(info, observation={"front": (36, 40, 3), "wrist": (36, 40, 3), "position": 2})
    written = Demonstrations.open_or_create(tmp_path / "seen.zarr", described)
    generator = np.random.default_rng(0)
    for seed in range(EPISODES):
        start = generator.uniform(-1, 1, 2)
        position = start * np.linspace(1, 0, 12)[:, None]
        pictures = generator.integers(0, 40, (2, 12, 36, 40, 3), dtype=np.uint8)
        for step, (x, y) in enumerate((15 + 12 * position).round().astype(int)):
            pictures[:, step, y : y + 5, x : x + 5] = 250
        actions = np.repeat(-start[None] / 12, 12, axis=0)
        observations = {"front": pictures[0], "wrist": pictures[1], "position": position}
        written.append(DemonstrationEpisode(observations, actions, actions, seed))
    written.close()
    return Demonstrations.open(tmp_path / "seen.zarr")


@pytest.fixture
def lesson(seen, tmp_path) -> Lesson:
    """The lesson that `train` would make."""
    taken: list[Lesson] = []

    def take(lesson, *others):
        taken.append(lesson)
        return lesson.start

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paradp.policy.learning.training.learn", take)
        train(seen, CONFIG, tmp_path / "lesson", ignore)
    return taken[0]


def test_a_policy_with_images_is_trained_and_used(seen, tmp_path):
    trained = train(seen, CONFIG, tmp_path / "run", save)
    assert trained.spec.vision == dataclasses.replace(TINY, crop=(32, 36))
    again = load_trained(tmp_path / "run/checkpoint")
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor)


def test_a_killed_training_continues_to_the_same_weights(seen, tmp_path):
    """Bit by bit: crops depend only on the step."""

    def interrupted(step, loss):
        if step == 5:
            raise KeyboardInterrupt

    whole = train(seen, CONFIG, tmp_path / "whole", save)
    with pytest.raises(KeyboardInterrupt):
        train(seen, CONFIG, tmp_path / "killed", save, on_step=interrupted)
    resumed = train(seen, CONFIG, tmp_path / "killed", save)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name
    states = [load_file(tmp_path / run / "state.safetensors") for run in ("whole", "killed")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    logs = [[json.loads(line) for line in (tmp_path / run / "metrics.jsonl").open()] for run in ("whole", "killed")]
    assert [one["validation_loss"] for one in logs[0]] == [one["validation_loss"] for one in logs[1]]


def test_batches_crop_at_random_and_validation_in_the_middle(lesson, monkeypatch):
    index, _, noise, places = lesson.batch(8, seed=3)
    assert len(index) == len(noise) == len(places) == 8
    assert torch.equal(places, lesson.batch(8, seed=3)[3]) and not torch.equal(places, lesson.batch(8, seed=4)[3])
    given = []
    encode = lesson.start.network.vision.forward
    monkeypatch.setattr(lesson.start.network.vision, "forward", lambda seen, where=None: given.append(where) or encode(seen))
    lesson.loss(lesson.start.network, *lesson.batch(8, seed=3))
    lesson.validation_loss(lesson.start.network)
    assert torch.equal(given[0], places) and given[1] is None


def test_crops_use_random_numbers_drawn_last(lesson):
    """So a policy without images gets the same batches as before."""
    plain = lesson.objective.draw(lesson.training, 8, torch.Generator().manual_seed(3))
    assert all(torch.equal(one, other) for one, other in zip(plain, lesson.batch(8, seed=3), strict=False))


def test_captured_steps_equal_eager_ones(lesson):
    """Except for a bias before a softmax, whose gradient is only rounding, which AdamW amplifies."""
    states = [TrainingState(copy.deepcopy(lesson.start.network), CONFIG) for _ in range(2)]
    eager, captured = EagerStep(states[0], lesson.loss, False), CapturedStep(states[1], lesson.loss, False)
    for seed in range(4):
        batch = lesson.batch(8, seed)
        assert torch.allclose(eager(*batch), captured(*batch), rtol=1e-4)
    other = dict(states[1].network.named_parameters())
    for name, parameter in states[0].network.named_parameters():
        assert "maps.bias" in name or torch.allclose(parameter, other[name], atol=1e-4), name


def test_a_step_that_cannot_be_captured_runs_eagerly(lesson, monkeypatch, caplog):
    """From the state before the failed capture; only a lack of memory is still an error."""

    def fails(launch, device):
        launch()
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    losses = []
    for way in (transfer.capture, fails):
        monkeypatch.setattr(transfer, "capture", way)
        state = TrainingState(copy.deepcopy(lesson.start.network), CONFIG)
        step = CapturedStep(state, lesson.loss, False)
        losses.append([float(step(*lesson.batch(8, seed))) for seed in range(3)])
    assert losses[0] == losses[1]
    [said] = caplog.messages
    assert said.endswith("is slower: operation not permitted when stream is capturing")

    def exhausted(launch, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(transfer, "capture", exhausted)
    with pytest.raises(torch.OutOfMemoryError):
        CapturedStep(state, lesson.loss, False)(*lesson.batch(8, 0))


def test_pixels_are_used_directly_on_request(seen, tmp_path):
    config = dataclasses.replace(CONFIG, vision=PixelsConfig(), steps=1)
    trained = train(seen, config, tmp_path / "run", ignore)
    assert trained.spec.vision is None and trained.spec.condition_size == 2 * (2 * 36 * 40 * 3 + 2)


def test_a_run_continues_only_with_the_same_encoder(seen, tmp_path):
    train(seen, dataclasses.replace(CONFIG, steps=2), tmp_path / "run", ignore)
    for vision, sentence in {
        dataclasses.replace(TINY, keypoints=5): "keypoints: 4 there, 5 here",
        PixelsConfig(): "vision: resnet there, pixels here",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            train(seen, dataclasses.replace(CONFIG, steps=2, vision=vision), tmp_path / "run", ignore)


def test_a_teacher_keeps_its_own_encoder(seen, tmp_path):
    """Distilling changes the student's encoder, but not the teacher's."""
    teacher = train(seen, dataclasses.replace(CONFIG, steps=1), tmp_path / "teacher", ignore)
    before = copy.deepcopy(teacher.network.vision.state_dict())
    config = DistillationConfig(steps=2, batch_size=8, warmup_steps=1, bf16=False)
    student = distill(teacher, seen, config, tmp_path / "student", ignore)
    assert student.spec.vision == teacher.spec.vision
    assert all(torch.equal(teacher.network.vision.state_dict()[name], tensor) for name, tensor in before.items())
    assert any(not torch.equal(student.network.vision.state_dict()[name], tensor) for name, tensor in before.items())


def test_batch_normalisation_is_not_trained(seen, tmp_path):
    config = dataclasses.replace(CONFIG, vision=dataclasses.replace(TINY, norm="batch"))
    with pytest.raises(ValueError, match="an encoder with batch normalisation cannot be trained"):
        train(seen, config, tmp_path / "run", ignore)
    assert not (tmp_path / "run").exists()


def test_images_stay_uint8_and_are_in_memory_once(seen):
    training, validation = cut_windows(seen, Horizons(), 3)
    assert training.observations["front"] is validation.observations["front"]
    moved = send_windows(torch.device("cpu"), training, validation)
    assert moved[0].observations["front"] is moved[1].observations["front"]
    observations, _ = training.batch(torch.tensor([0, 5]))
    assert observations["front"].dtype == torch.uint8 and observations["front"].shape == (2, 2, 36, 40, 3)
    assert observations["front"].nbytes == 2 * 2 * 36 * 40 * 3


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(seen, tmp_path, monkeypatch):
    needed = EPISODES * 12 * (2 * 36 * 40 * 3 + 8)
    monkeypatch.setattr(memory, "available", lambda: needed - 1)
    monkeypatch.setattr(Demonstrations, "_read", lambda *_: pytest.fail("was read"))
    with pytest.raises(ValueError, match=r"the observations of .*seen\.zarr take 0\.00 GiB of memory, and this machine has"):
        seen.observations()
    monkeypatch.undo()
    monkeypatch.setattr(memory, "available", lambda: needed)
    assert len(seen.observations()) == 3


def test_the_digest_is_computed_in_pieces(seen, monkeypatch):
    """It equals the digest of the whole arrays."""
    observations = seen.observations()
    images = {f"image {key}": observations[key] for key in ("front", "wrist")}
    whole = {
        "observations": observations["position"],
        **images,
        "actions": seen.actions(),
        "episode_ends": seen.episode_ends,
    }
    assert seen.digest() == digest(whole)
    monkeypatch.setattr(dataset, "_PIECE_BYTES", 1)
    monkeypatch.setattr(Demonstrations, "observations", lambda self: pytest.fail("was read whole"))
    assert seen.digest() == digest(whole)


def test_an_image_of_another_size_or_kind_is_refused_in_one_sentence(seen, tmp_path):
    train(seen, dataclasses.replace(CONFIG, steps=1), tmp_path / "run", save)
    controller = RecedingHorizon(load_policy(tmp_path / "run/checkpoint", "ddim-2", engine="eager"))
    controller.reset(0)
    right = {"front": np.zeros((36, 40, 3), np.uint8), "wrist": np.zeros((36, 40, 3), np.uint8), "position": np.zeros(2)}
    assert np.isfinite(controller.act(right).action).all()
    for wrong, sentence in (
        (np.zeros((40, 36, 3), np.uint8), r"'front' has shape \(40, 36, 3\), the policy was trained with \(36, 40, 3\)"),
        (np.zeros((36, 40, 3), np.float32), "'front' is an image and must be of dtype uint8, not float32"),
    ):
        with pytest.raises(ValueError, match=sentence):
            controller.act(right | {"front": wrong})


def test_the_check_of_normalisation_accepts_policies_without_images(spec):
    loop._check_normalisation(spec)
