"""Training on more images than fit into memory: the same windows for the same seed, in bounded memory, and resumed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from paradp.checkpoints import save_checkpoint
from paradp.policy import Horizons, UnetConfig
from paradp.policy.data import layout, streaming
from paradp.policy.data.dataset import image_bytes
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.data.histories import recorded_histories
from paradp.policy.data.streaming import AHEAD, HELD, MIB, StreamedWindows, Streaming, held_windows
from paradp.policy.data.windows import cut_windows
from paradp.policy.learning import examples
from paradp.policy.learning.config import TrainingConfig
from paradp.policy.learning.examples import with_memory
from paradp.policy.learning.ranks import Ranks
from paradp.policy.learning.state import STATE, StateFile
from paradp.policy.learning.training import spec_for, train
from paradp.policy.networks.vision.config import VisionConfig

CPU = torch.device("cpu")
SHAPES = {"front": (24, 32, 3), "wrist": (12, 10, 3)}
LENGTHS = (150, 1, 40, 130, 210, 99)
CONFIG = TrainingConfig(
    steps=6,
    batch_size=8,
    warmup_steps=2,
    save_every=2,
    log_every=2,
    network=UnetConfig(channels=(16, 32)),
    bf16=False,
    vision=VisionConfig(stem=16, keypoints=4, resize=(32, 32), separate=True),
    validation_every=3,
    image_memory=1,
)


@pytest.fixture
def stored(tmp_path, info, monkeypatch) -> Demonstrations:
    """Demonstrations whose images encode their step in the first pixels; more than a megabyte."""
    monkeypatch.setattr(layout, "_CHUNK_NUMBERS", 20 * 24 * 32 * 3)
    described = dataclasses.replace(info, observation={"front": SHAPES["front"], "position": 2, "wrist": SHAPES["wrist"]})
    written, rng, step = Demonstrations.open_or_create(tmp_path / "stored.zarr", described), np.random.default_rng(0), 0
    for seed, length in enumerate(LENGTHS):
        images = {key: rng.integers(0, 256, (length, *shape), np.uint8) for key, shape in SHAPES.items()}
        for i in range(length):
            for values in images.values():
                values[i, 0, :2, 0] = divmod(step + i, 256)
        position = (np.arange(step, step + length)[:, None] * [1.0, -1.0]).astype(np.float32)
        step += length
        written.append(DemonstrationEpisode({**images, "position": position}, position / 1000, position / 1000, seed))
    written.close()
    return Demonstrations.open(tmp_path / "stored.zarr")


def streamed(data: Demonstrations, workers: int = 0, seed: int = 0) -> StreamedWindows:
    training, _ = cut_windows(data, Horizons(), 3, data.vectors())
    return StreamedWindows(data, training, Streaming(MIB, 8, seed, workers))


def batches(windows: StreamedWindows, steps) -> list[torch.Tensor]:
    found = []
    for step in steps:
        windows.turn_to(step)
        found.append(windows.draw(8, torch.Generator().manual_seed(step)))
    return found


def test_drawn_windows_equal_those_of_the_data_set(stored):
    windows = streamed(stored)
    whole, _ = cut_windows(stored, Horizons(), 3)
    assert windows.chunk == whole.chunk and len(windows) == len(whole)
    for drawn in batches(windows, (0, 1, 9, 40, 200)):
        observations, actions = windows.batch(drawn)
        now = observations["position"][:, -1, 0].long()
        index = torch.searchsorted(whole.observed[:, -1].contiguous(), now)
        expected, chunks = whole.batch(index)
        assert list(observations) == list(expected) == ["front", "position", "wrist"]
        assert torch.equal(actions, chunks)
        for key, values in expected.items():
            assert observations[key].dtype == values.dtype and torch.equal(observations[key], values), key


def test_the_rows_of_a_batch_can_be_divided_among_processes(stored):
    """Among the processes of one training."""
    windows = streamed(stored)
    [drawn] = batches(windows, [3])
    whole, actions = windows.batch(drawn)
    for rank in range(2):
        part, of_part = windows.batch(drawn[rank::2])
        assert torch.equal(of_part, actions[rank::2])
        assert all(torch.equal(part[key], values[rank::2]) for key, values in whole.items())


def test_a_batch_depends_on_its_step_alone(stored):
    """Not on the number of workers or the first step; another seed gives other batches."""
    steps = range(40)
    alone, two, late, other = streamed(stored), streamed(stored, workers=2), streamed(stored), streamed(stored, seed=1)
    try:
        expected = batches(alone, steps)
        assert all(torch.equal(*pair) for pair in zip(expected, batches(two, steps), strict=True))
        assert all(torch.equal(*pair) for pair in zip(expected[27:], batches(late, range(27, 40)), strict=True))
        assert torch.equal(batches(late, [2])[0], expected[2])
        assert not torch.equal(batches(other, [5])[0], expected[5])
    finally:
        two.close()


def test_a_pass_visits_every_block_and_about_every_window_once(stored):
    windows = streamed(stored)
    blocks = len(windows._blocks)
    assert blocks > HELD + AHEAD
    assert Counter(windows._block(place) for place in range(blocks)) == dict.fromkeys(windows._blocks, 1)
    assert [windows._block(place) for place in range(blocks)] != [windows._block(blocks + place) for place in range(blocks)]
    steps = blocks * windows._steps_a_turn
    seen = [windows.batch(drawn)[0]["position"][:, -1, 0] for drawn in batches(windows, range(4 * steps))]
    drawn = Counter(torch.cat(seen).long().tolist())
    # Drawn with replacement, four times on average: e⁻⁴ of them are left out.
    assert 3 < np.mean([drawn[int(row)] for row in windows._observed[:, -1]]) < 5
    assert sum(drawn[int(row)] == 0 for row in windows._observed[:, -1]) < 0.1 * len(windows)


def test_validation_holds_some_windows_of_its_own_episodes(stored):
    _, validation = cut_windows(stored, Horizons(), 3, stored.vectors())
    _, whole = cut_windows(stored, Horizons(), 3)
    held = held_windows(stored, validation, 200_000)
    per_window = 2 * sum(np.prod(shape) for shape in SHAPES.values())
    assert len(held) == 200_000 // per_window and sum(held.observations[key].nbytes for key in SHAPES) <= 200_000
    observations, actions = held.batch(torch.arange(len(held)))
    index = torch.searchsorted(whole.observed[:, -1].contiguous(), observations["position"][:, -1, 0].long())
    expected, chunks = whole.batch(index)
    assert torch.equal(actions, chunks) and all(torch.equal(observations[key], expected[key]) for key in expected)


def test_histories_are_drawn_without_reading_all_images(stored, monkeypatch):
    spec = spec_for(stored.info, CONFIG.network, vision=CONFIG.vision)
    everything, steps = stored.observations(), stored.observations()["position"][:, 0].tolist()
    monkeypatch.setattr(Demonstrations, "observations", lambda self: pytest.fail("read all images"))
    found = recorded_histories(stored, spec, 100, seed=3)
    assert list(found) == list(spec.observation) and len({*found["position"][:, -1, 0]}) == 100
    rows = np.array([steps.index(step) for step in found["position"][..., 0].flat]).reshape(100, 2)
    starts = {0, *np.cumsum(LENGTHS)[:-1].tolist()}
    assert all(before == (now if now in starts else now - 1) for before, now in rows)
    for key, values in found.items():
        assert np.array_equal(values, everything[key][rows]), key


MEASURED = """
import sys
from pathlib import Path

import torch

from paradp.policy import Horizons
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.streaming import MIB, StreamedWindows, Streaming
from paradp.policy.data.windows import cut_windows


def taken(process):
    lines = dict(line.split(":") for line in Path(f"/proc/{process}/status").read_text().splitlines() if ":" in line)
    return [int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssShmem")]


if __name__ == "__main__":
    data = Demonstrations.open(Path(sys.argv[1]))
    training, _ = cut_windows(data, Horizons(), 50, data.vectors())
    before = taken("self")[0]
    windows = StreamedWindows(data, training, Streaming(32 * MIB, 64, 0, 1))
    most = 0
    for step in range(len(windows._blocks) * windows._steps_a_turn):
        windows.turn_to(step)
        windows.batch(windows.draw(64, torch.Generator().manual_seed(step)))
        [worker] = windows._loader._pool._processes
        most = max(most, taken(worker)[0])
    print(taken("self")[0] - before, taken("self")[1], most)
    windows.close()
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured by Linux's /proc")
def test_streaming_stays_within_its_memory(tmp_path, info):
    """160 MB of images in 32 MiB: the shared memory stays below this limit, and the worker needs little more."""
    described = dataclasses.replace(info, observation={"front": (96, 96, 3), "position": 2})
    written, rng = Demonstrations.open_or_create(tmp_path / "large.zarr", described), np.random.default_rng(0)
    for seed in range(12):
        images, position = rng.integers(0, 256, (480, 96, 96, 3), np.uint8), rng.normal(size=(480, 2))
        written.append(DemonstrationEpisode({"front": images, "position": position}, position, position, seed))
    written.close()
    assert image_bytes(written) > 150 * MIB
    program = tmp_path / "measure.py"
    program.write_text(MEASURED)
    done = subprocess.run([sys.executable, program, tmp_path / "large.zarr"], capture_output=True, text=True, check=True)
    grown, shared, worker = map(float, done.stdout.split())
    assert shared <= 33 and grown < 24 and worker < 200, done.stdout


def test_a_killed_training_continues_to_the_same_weights(stored, tmp_path, monkeypatch):
    assert image_bytes(stored) > MIB

    def save(trained, path):
        save_checkpoint(trained, path, "# card")

    def interrupted(step, loss):
        if step == 5:
            raise KeyboardInterrupt

    made = []
    monkeypatch.setattr(examples, "StreamedWindows", lambda *arguments: made.append(StreamedWindows(*arguments)) or made[-1])
    whole = train(stored, CONFIG, tmp_path / "whole", save)
    with pytest.raises(KeyboardInterrupt):
        train(stored, CONFIG, tmp_path / "killed", save, on_step=interrupted)
    resumed = train(stored, CONFIG, tmp_path / "killed", save)
    assert len(made) == 3 and all(windows._loader._pool is None for windows in made)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name
    states = [load_file(tmp_path / run / "state.safetensors") for run in ("whole", "killed")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    logs = [[json.loads(line) for line in (tmp_path / run / "metrics.jsonl").open()] for run in ("whole", "killed")]
    assert [one["validation_loss"] for one in logs[0]] == [one["validation_loss"] for one in logs[1]]
    with pytest.raises(ValueError, match="image_memory: 1 there, None here"):
        train(stored, dataclasses.replace(CONFIG, image_memory=2), tmp_path / "whole", save)


PLAIN = dataclasses.replace(CONFIG, image_memory=None)


@pytest.mark.parametrize("before, later", ((1, 2**36), (2**36, 1)), ids=("streamed", "held"))
def test_the_same_command_continues_with_any_free_memory(stored, tmp_path, monkeypatch, before, later):
    said = []

    def interrupted(step, loss):
        if step == 3:
            raise KeyboardInterrupt

    def begun(free, **more):
        monkeypatch.setattr(examples, "available", lambda: free)
        return train(stored, PLAIN, tmp_path / "run", lambda trained, path: None, on_memory=said.append, **more)

    with pytest.raises(KeyboardInterrupt):
        begun(before, on_step=interrupted)
    begun(later)
    assert said == ([1, 1] if before == 1 else [])
    assert StateFile(tmp_path / "run" / STATE).noted().identity.get("image_memory") == (1 if before == 1 else None)


class Told(Ranks):
    """Two processes on this machine; the first has decided, unless this is the first."""

    size = here = 2

    def __init__(self, *decided):
        self.decided = decided

    def agree(self, decide):
        return self.decided[0] if self.decided else decide()


def chosen(data, monkeypatch, out, needed, free, ranks) -> int | None:
    monkeypatch.setattr(examples, "image_bytes", lambda data: needed)
    monkeypatch.setattr(examples, "available", lambda: free)
    said = []
    found = with_memory(PLAIN, data, out, ranks, CPU, said.append).image_memory
    assert said == [found] * (found is not None)
    return found


@pytest.mark.parametrize(
    "needed, free, alone, of_two",
    (
        (2**36, None, None, None),
        (2**36, 2**35, 2**14, 2**13),
        (2**36, 2**35 - 1, 2**13, 2**12),
        (2**36, 2**35 + 2**33, 2**14, 2**13),
        (80 * 2**30, 200 * 2**30, None, None),
        (80 * 2**30, 199 * 2**30, None, 2**15),
        (80 * 2**30, 100 * 2**30, None, 2**14),
        (80 * 2**30, 99 * 2**30, 2**15, 2**14),
    ),
)
def test_images_are_streamed_if_they_do_not_fit(stored, monkeypatch, tmp_path, needed, free, alone, of_two):
    """With a margin for the training itself, and in each of two processes."""
    assert chosen(stored, monkeypatch, tmp_path, needed, free, Ranks()) == alone
    assert chosen(stored, monkeypatch, tmp_path, needed, free, Told()) == of_two


@pytest.mark.parametrize("free, streamed", ((2**37, False), (2**36, True)))
def test_images_are_streamed_if_they_do_not_fit_into_the_gpu(stored, monkeypatch, tmp_path, free, streamed):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**40))
    monkeypatch.setattr(examples, "image_bytes", lambda data: 2**36)
    monkeypatch.setattr(examples, "available", lambda: 2**40)
    found = with_memory(PLAIN, stored, tmp_path, Ranks(), torch.device("cuda"))
    assert (found.image_memory is not None) == streamed


def test_processes_of_one_training_use_the_first_ones_choice(stored, monkeypatch, tmp_path):
    assert chosen(stored, monkeypatch, tmp_path, 2**36, 2**35, Told(2**10)) == 2**10
    assert chosen(stored, monkeypatch, tmp_path, 2**36, 2**35, Told(None)) is None
    assert chosen(stored, monkeypatch, tmp_path, 2**36, 2**40, Told(2**10)) == 2**10


def test_a_limit_that_fits_all_images_has_no_effect(stored, tmp_path):
    assert with_memory(dataclasses.replace(CONFIG, image_memory=2), stored, tmp_path, Ranks(), CPU).image_memory is None
    assert with_memory(CONFIG, stored, tmp_path, Ranks(), CPU).image_memory == 1


def test_too_little_memory_is_refused(stored, monkeypatch):
    training, _ = cut_windows(stored, Horizons(), 3, stored.vectors())
    with pytest.raises(ValueError, match=r"image_memory must be at least 1 MiB for images of 2664 bytes a step"):
        StreamedWindows(stored, training, Streaming(MIB // 4, 8, 0, 0))
    monkeypatch.setattr(streaming, "check_fits", lambda needed, what: pytest.fail(what))
    with pytest.raises(pytest.fail.Exception, match=r"the images that are held \(image_memory\)"):
        StreamedWindows(stored, training, Streaming(MIB, 8, 0, 0))


def test_a_damaged_image_ends_the_training_in_one_sentence(stored, tmp_path):
    place = next((tmp_path / "stored.zarr/data/obs/front/c").iterdir()) / "0/0/0"
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 255
    place.write_bytes(content)
    windows = streamed(stored, workers=1)
    try:
        with pytest.raises(ValueError, match=r"stored\.zarr is damaged: data/obs/front cannot be read"):
            batches(windows, range(200))
    finally:
        windows.close()


@pytest.mark.parametrize("noticed", (False, True), ids=("at once", "noticed"))
def test_a_worker_that_dies_is_named(stored, noticed):
    """Whether its death is noticed while waiting for a block or when requesting one."""
    windows = streamed(stored, workers=1)
    try:
        windows.turn_to(0)
        pool = windows._loader._pool
        for process in pool._processes.values():
            process.kill()
        if noticed:
            pool._executor_manager_thread.join(60)
        with pytest.raises(OSError, match="a process that reads images died"):
            batches(windows, range(200))
    finally:
        windows.close()


def test_a_worker_that_hangs_ends_with_its_training(stored):
    windows = streamed(stored, workers=1)
    windows.turn_to(0)
    [worker] = windows._loader._pool._processes.values()
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        windows.close()
        assert wait([worker.sentinel], 20)
    finally:
        worker.kill()
