"""A disk that becomes full at any write: nothing finished is lost, and the same call continues."""

import errno
import itertools
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from vectors import joined

from paradp.checkpoints import load_trained, save_checkpoint
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.files import tensor_writing
from paradp.policy.learning.training import TrainingConfig, train
from paradp.policy.networks.unet_config import UnetConfig
from paradp.rollouts.episodes.directory import RunDirectory
from paradp.rollouts.episodes.records import Episode, StepRecord

SMALL = UnetConfig(channels=(8, 16))
CONFIG = TrainingConfig(steps=4, batch_size=8, warmup_steps=1, save_every=2, log_every=1, network=SMALL, bf16=False)


class FullDisk:
    """Counts writes by `pathlib` and safetensors, and lets them fail after a number of them.

    The write that finds the disk full leaves the first half of its bytes behind, as a real one would.

    Args:
        patch: pytest's monkeypatch.
        writes: how many succeed; all by default.
    """

    def __init__(self, patch, writes: int | None = None):
        self.written = 0
        self._writes = writes
        really_open, really_save = Path.open, tensor_writing.save_file
        disk = self

        def opens(path, mode="r", *args, **kwargs):
            file = really_open(path, mode, *args, **kwargs)
            if not set(mode) & set("wax+"):
                return file
            really_write = file.write

            def write(content):
                if disk.is_full():
                    really_write(content[: len(content) // 2])
                    file.flush()
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # the system names no file
                return really_write(content)

            return _File(file, write)

        def save(tensors, path, metadata=None):
            really_save(tensors, path, metadata)
            if disk.is_full():
                os.truncate(path, os.path.getsize(path) // 2)
                raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

        patch.setattr(Path, "open", opens)
        patch.setattr(tensor_writing, "save_file", save)

    def is_full(self) -> bool:
        self.written += 1
        return self._writes is not None and self.written > self._writes


class _File:
    """A file with a replaced `write`."""

    def __init__(self, file, write):
        self._file = file
        self.write = write

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


def fails(call, writes: int) -> bool:
    """Whether a call finds the disk full after this many writes; it must raise an OSError that names the file."""
    with pytest.MonkeyPatch.context() as patch:
        disk = FullDisk(patch, writes)
        try:
            call()
        except OSError as error:
            assert "No space left on device" in str(error) and tempfile.gettempdir() in str(error), error
            return True
        assert disk.written <= writes
        return False


def save(trained, path):
    save_checkpoint(trained, path, "card")


def logged(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_training_goes_on_from_what_it_saved(demonstrations, tmp_path):
    whole = train(demonstrations, CONFIG, tmp_path / "whole", save)
    for writes in itertools.count():
        out = tmp_path / str(writes)
        if not fails(lambda out=out: train(demonstrations, CONFIG, out, save), writes):
            break
        steps, saved = [], (out / "state.safetensors").exists()
        if (out / "checkpoint").exists():
            load_trained(out / "checkpoint")
        again = train(demonstrations, CONFIG, out, save, lambda step, loss, steps=steps: steps.append(step))
        assert steps == [1, 2, 3, 4] or (saved and steps in ([3, 4], []))
        for a, b in zip(whole.network.parameters(), again.network.parameters(), strict=True):
            assert torch.equal(a, b)
        assert logged(out) == logged(tmp_path / "whole")
        load_trained(out / "checkpoint")
        assert not [path for path in out.rglob("*partial*")]
    # The state, three files of a checkpoint beside its weights, and the log: twice and four times.
    assert writes >= 2 * 5 + 4


def test_demonstrations_keep_the_episodes_before(demonstrations, info):
    def episode(seed: int, steps: int) -> DemonstrationEpisode:
        actions = np.full((steps, 2), seed, np.float32)
        return DemonstrationEpisode({"position": actions, "constant": actions[:, :1]}, actions, actions, seed)

    path, kept = demonstrations.path, 6
    before = joined(demonstrations.observations())
    demonstrations.close()
    for writes in itertools.count():
        writer = Demonstrations.open_or_create(path, info)
        full = fails(lambda writer=writer, n=writes: writer.append(episode(100 + n, 40)), writes)
        assert len(Demonstrations.open(path)) == kept + (not full)
        assert np.array_equal(joined(Demonstrations.open(path).observations())[: len(before)], before)
        if not full:
            break
        # The same writer goes on when there is room again, or another does.
        if writes % 2:
            writer.close()
            writer = Demonstrations.open_or_create(path, info)
        writer.append(episode(writes, 7))
        kept += 1
        there = Demonstrations.open(path)
        assert there.seeds[-1] == writes and (there.actions()[-7:] == writes).all() and len(there) == kept
        before = joined(there.observations())
        assert (before[-7:] == writes).all()
        writer.close()
    # Rows and length of six arrays.
    assert writes >= 12


def test_a_run_keeps_its_episodes(tmp_path):
    steps = [StepRecord(i, 0.0, False, 0.1, None, (0.0, 0.0)) for i in range(3)]
    episodes = [Episode(seed, 0.0, False, 0.0, 1.0, steps) for seed in range(3)]

    def run(directory: RunDirectory) -> None:
        with directory.open({"task": "reach"}, range(3)):
            for episode in episodes:
                if episode.seed not in directory.seeds():
                    directory.add(episode)

    for writes in itertools.count():
        directory = RunDirectory(tmp_path / str(writes))
        if not fails(lambda directory=directory: run(directory), writes):
            break
        # The first write says what the run is of.
        assert directory.episodes(range(3)) == episodes[: max(0, writes - 1)]
        run(directory)
        assert directory.episodes(range(3)) == episodes
    assert writes == 4 and directory.episodes(range(3)) == episodes
