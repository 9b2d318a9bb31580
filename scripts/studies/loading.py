"""Compares how fast training data with images are loaded: from every format, and by LeRobot's loader."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from paradp.bridges.diffusion_policy_data import DiffusionPolicyData
from paradp.bridges.facts import FILE
from paradp.bridges.lerobot_data.reading import LeRobotData
from paradp.bridges.lerobot_data.writing import export_lerobot
from paradp.policy.data.dataset import StreamedDataset, image_bytes
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.data.streaming import MIB, StreamedWindows, Streaming
from paradp.policy.data.windows import TrainingWindows, cut_windows
from paradp.policy.horizons import Horizons
from paradp.scripts.console import each
from paradp.scripts.report import markdown_table, write_report
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.lerobot_peer import LeRobotPeer
from paradp.scripts.studies.registry import study

DATA = "demos.zarr"  # in the folder of runs
IMAGES, VIDEO = "LeRobotDataset, PNG", "LeRobotDataset, video"
OURS, ZARR2, HELD = "zarr of paradp", "zarr 2 of Diffusion Policy", "zarr of paradp, held in memory"
LEROBOT = "LeRobot's loader"
BATCH = 64


class LoadingPeer(LeRobotPeer):
    """The process with LeRobot."""

    program = "loading_half.py"


# Long: the page is one text.
@study
def study_loading(
    context: Context, episodes: int = 40, workers: int = 2, memory: int = 64, seconds: float = 10.0, repeats: int = 5
) -> None:
    """Writes OUT/TASK-loading.md."""
    source, python = context.runs / DATA, context.lerobot_python
    if python is None or not source.is_dir():
        raise ValueError(
            f"demonstrations with images are needed in {source}, and with --lerobot-python the interpreter of an environment"
            " that has LeRobot"
        )
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, LoadingPeer(python) as peer:
        data = _write(source, Path(folder), episodes, peer)
        ways = {name: _streamed(one, workers, memory, seconds) for name, one in data.items()}
        held, _ = cut_windows(data[OURS], Horizons(), 50)
        ways[HELD] = _reader(held, seconds)
        for name in (IMAGES, VIDEO):
            ways[f"{name}, {LEROBOT}"] = _theirs(peer, str(data[name].path), workers, seconds)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in each("repeats", range(repeats)):
            for name in np.roll(list(ways), repeat).tolist():
                taken[name].append(ways[name]())
        software = ", ".join(f"{name} {number}" for name, number in peer.ask("versions").items())
        held_bytes, steps = image_bytes(data[OURS]), len(data[OURS].actions())
    rows = [[name, f"{median(found):.0f}", f"{min(found):.0f} to {max(found):.0f}"] for name, found in taken.items()]
    shapes = ", ".join(f"{key} {' × '.join(map(str, shape))}" for key, shape in held_shapes(source).items())
    horizons = Horizons()
    body = f"""
Training windows per second, in batches of {BATCH}: {horizons.observe} observations with uint8 images
({shapes}) and {horizons.predict} actions each, with {workers} worker processes for every loader. All formats contain the
same {episodes} episodes ({steps} steps, {held_bytes / MIB:.0f} MiB of images). Medians of {repeats}
measurements of {seconds:g} s in turns, and their range.

{markdown_table(["data", "windows a second", "range"], rows)}

paradp streams: {memory} MiB of images are in memory (`--image-memory`), a block is decoded once per pass, and batches are
drawn from twelve blocks. LeRobot's loader is `LeRobotDataset` in PyTorch's `DataLoader` with shuffling, with the settings of
LeRobot's trainer; it decodes every frame of every window separately. The videos were written by LeRobot and are decoded by
the package that LeRobot chooses here; with FFmpeg installed that may be torchcodec, which was not measured ({software}).
"""
    write_report(context.out / f"{context.task}-loading.md", f"{context.task}: loading training data with images", body)


def held_shapes(source: Path) -> dict[str, tuple[int, ...]]:
    """Height, width and channels of each camera."""
    return dict(Demonstrations.open(source).images().shapes)


def _write(source: Path, folder: Path, episodes: int, peer: LeRobotPeer) -> dict[str, StreamedDataset]:
    """Writes the first episodes in every format."""
    ours = _first(Demonstrations.open(source), folder / "ours.zarr", episodes)
    _write_zarr2(ours, folder / "replay.zarr")
    images, videos = folder / "images", folder / "videos"
    export_lerobot(ours, images)
    peer.ask("video", source=str(images), out=str(videos))
    (videos / FILE).write_text((images / FILE).read_text())
    facts = {
        "task": ours.info.task,
        "control_hz": ours.info.control_hz,
        "action_low": ours.info.action_low,
        "action_high": ours.info.action_high,
    }
    return {
        OURS: ours,
        ZARR2: DiffusionPolicyData.open(folder / "replay.zarr", facts),
        IMAGES: LeRobotData.open(images),
        VIDEO: LeRobotData.open(videos),
    }


def _first(there: Demonstrations, out: Path, episodes: int) -> Demonstrations:
    ends, made = there.episode_ends[:episodes].tolist(), Demonstrations.create(out, there.info)
    vectors, images, actions = there.vectors(), there.images(), there.actions()
    for number, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        seen = {key: np.empty((end - begin, *shape), np.uint8) for key, shape in images.shapes.items()}
        images.fill(begin, end, seen)
        seen |= {key: values[begin:end] for key, values in vectors.items()}
        made.append(DemonstrationEpisode(seen, actions[begin:end], actions[begin:end], number))
    return Demonstrations.open(out)


def _write_zarr2(data: Demonstrations, out: Path) -> None:
    """Writes a group like Diffusion Policy's replay buffer: Blosc with zstd, chunks of about two megabytes."""
    import numcodecs
    import zarr

    group = zarr.open_group(out, mode="w", zarr_format=2)
    arrays = {f"data/{key}": values for key, values in data.observations().items()} | {"data/action": data.actions()}
    for name, values in (arrays | {"meta/episode_ends": data.episode_ends}).items():
        rows = max(1, min(len(values), 2_000_000 * len(values) // values.nbytes))
        made = group.create_array(
            name,
            shape=values.shape,
            chunks=(rows, *values.shape[1:]),
            dtype=values.dtype,
            compressors=numcodecs.Blosc("zstd", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE),
        )
        with zarr.config.set({"array.write_empty_chunks": True}):
            made[:] = values


def _streamed(data: StreamedDataset, workers: int, memory: int, seconds: float) -> Callable[[], float]:
    training, _ = cut_windows(data, Horizons(), 50, data.vectors())
    windows = StreamedWindows(data, training, Streaming(memory * MIB, BATCH, 0, workers))
    return _reader(windows, seconds)


def _reader(windows: TrainingWindows, seconds: float) -> Callable[[], float]:
    """Measures for some seconds; a further call continues with the next step."""
    step = 0

    def measure() -> float:
        nonlocal step
        began, started = step, time.perf_counter()
        while time.perf_counter() < started + seconds:
            windows.turn_to(step)
            windows.batch(windows.draw(BATCH, torch.Generator().manual_seed(step)))
            step += 1
        return BATCH * (step - began) / (time.perf_counter() - started)

    measure()  # the first blocks, which a training waits for once
    return measure


def _theirs(peer: LeRobotPeer, folder: str, workers: int, seconds: float) -> Callable[[], float]:
    horizons = Horizons()

    def measure() -> float:
        return float(
            peer.ask(
                "measure",
                folder=folder,
                batch=BATCH,
                workers=workers,
                observe=horizons.observe,
                predict=horizons.predict,
                seconds=seconds,
            )
        )

    return measure
