"""Records observations, commands and plans of a robot for the viewer of Rerun (rerun.io). No other file imports Rerun.

| entity, under `episode_SEED` | content at each control step |
| --- | --- |
| `observation/KEY` | an image; `observation/KEY/0` and so on: the numbers of a vector |
| `action/NAME/0` … | the command to the robot |
| `plan/0/NAME/0` …, to `plan/2` | the last three plans, each action at the control step for which it was planned |
| `plan/path` | the planned path in two or three dimensions, one for each hand |
| `solver/rounds`, `evaluations`, `residual`, `converged`, `lateness` | statistics of a plan, when it took effect |
| `milliseconds/encode`, `denoise`, `decode` | durations of a plan's parts |

The timelines are `step`, from 0 in every episode, and `time` in seconds.
"""

import io
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paradp.policy.control.controller import HasAction, Replan
from paradp.policy.errors import described
from paradp.policy.observations import Observation
from paradp.policy.spec import Interface
from paradp.policy.wording import counted
from paradp.rollouts.episodes.records import Episode, StepRecord

# Converts actions `[n, A]` to the commanded path: `[n, 2]`, or `[n, 3]` for each hand, side by side.
PathOf = Callable[[np.ndarray], np.ndarray]
# Largest number of control steps in the queue to the disk, and number of plans shown together.
MOST_WAITING, PLANS = 256, 3
# Number of episodes with their own page in the viewer; the data of the others are in the file as well.
MOST_TABS = 12
# JPEG quality of recorded images.
_QUALITY = 90
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Step:
    episode: str
    step: int
    observation: Observation
    action: np.ndarray | None
    replan: Replan | None


class RerunRecording:
    """Writes a recording in a separate thread.

    Args:
        path: the file, `….rrd`.
        control_hz: control steps per second.
        parts: name → length of each part of an action, in order.
        path_of: converts actions to the commanded path, see `PathOf`; `None` if there is no path.
        wait: `step` waits for a slow disk. A control loop must not wait: without `wait`, steps are dropped and counted.

    Raises:
        ModuleNotFoundError: Rerun is not installed.
        OSError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        control_hz: float,
        parts: Mapping[str, int],
        path_of: PathOf | None = None,
        wait: bool = True,
    ):
        self._stream = _Stream(path)
        self._hz, self._parts, self._path_of, self._wait = control_hz, dict(parts), path_of, wait
        self._steps: queue.Queue[_Step | None] = queue.Queue(MOST_WAITING)
        self._plans: dict[str, int] = {}
        self._episodes: dict[str, Any] = {}
        self._left_out = 0
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._write, name="recording", daemon=True)
        self._thread.start()

    def step(
        self,
        episode: str,
        step: int,
        observation: Observation,
        action: np.ndarray | None = None,
        replan: Replan | None = None,
    ) -> None:
        """Records a control step; the arrays may be changed afterwards.

        Args:
            episode: the episode's name.
            step: index of the control step in the episode, from 0.
            observation: the observation.
            action: the command, if there was one.
            replan: the plan that took effect in this step, if any.
        """
        seen = {key: np.array(value) for key, value in observation.items()}
        one = _Step(episode, step, seen, None if action is None else np.array(action), replan)
        try:
            self._steps.put(one, block=self._wait)
        except queue.Full:
            self._left_out += 1

    def close(self) -> None:
        """Writes the rest and closes the file.

        Raises:
            OSError: steps or plans could not be recorded.
        """
        self._steps.put(None)
        self._thread.join()
        self._stream.close()
        if self._left_out:
            _LOG.warning("%s could not be recorded in time", counted(self._left_out, "control step"))
        if self._failure is not None:
            raise OSError(f"the recording is not complete: {described(self._failure)}") from self._failure

    def _write(self) -> None:
        while (one := self._steps.get()) is not None:
            if self._failure is None:
                try:
                    self._write_step(one)
                except Exception as error:  # any error of Rerun or Pillow: the loop continues
                    self._failure = error

    def _write_step(self, one: _Step) -> None:
        stream, root = self._stream, [f"episode_{one.episode}"]
        if one.episode not in self._episodes and len(self._episodes) < MOST_TABS:
            cameras = [key for key, value in one.observation.items() if _is_image(value)]
            self._episodes[one.episode] = stream.tab(root[0], cameras, list(self._parts), self._path_of is not None)
            stream.arrange(list(self._episodes.values()))
        stream.at(one.step, one.step / self._hz)
        for key, value in one.observation.items():
            if _is_image(value):
                stream.image([*root, "observation", key], value)
            else:
                for i, number in enumerate(value.ravel()):
                    stream.number([*root, "observation", key, i], number)
        if one.action is not None:
            for name, number in self._named(one.action[None]):
                stream.number([*root, "action", *name], number[0])
        if one.replan is not None:
            self._write_plan(root, one.step, one.replan)

    def _write_plan(self, root: list[str], step: int, replan: Replan) -> None:
        stats, stream = replan.stats, self._stream
        for name in ("rounds", "evaluations", "residual", "converged"):
            stream.number([*root, "solver", name], getattr(stats, name))
        stream.number([*root, "solver", "lateness"], replan.lateness)
        for name, seconds in stats.timing.stages.items():
            stream.number([*root, "milliseconds", name], 1000 * seconds)
        if replan.actions is None:
            return
        if self._path_of is not None:
            stream.path([*root, "plan", "path"], self._path_of(replan.actions))
        place = self._plans[root[0]] = (self._plans.get(root[0], -1) + 1) % PLANS
        steps = step - replan.ago + np.arange(len(replan.actions))
        for named, numbers in self._named(replan.actions):
            stream.numbers([*root, "plan", place, *named], steps, steps / self._hz, numbers)

    def _named(self, actions: np.ndarray) -> Iterator[tuple[list[Any], np.ndarray]]:
        """Yields the name and the values of each dimension of actions `[n, A]`."""
        columns = iter(actions.T)
        for name, size in self._parts.items():
            yield from (([name, i], next(columns)) for i in range(size))


def _is_image(value: np.ndarray) -> bool:
    return value.dtype == np.uint8 and value.ndim == 3


class _Stream:
    """Imports Rerun, under one set of names: they changed with 0.23, and 0.22 is the last version for numpy 1."""

    def __init__(self, path: Path):
        import rerun

        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb"):  # Rerun says less about a place where nothing can be written
            pass
        self._rerun: Any = rerun
        self._new = hasattr(rerun, "Scalars")
        make = rerun.RecordingStream if self._new else rerun.new_recording
        self._recording: Any = make(application_id="paradp", make_default=False)
        self._recording.save(path)

    def at(self, step: int, seconds: float) -> None:
        if self._new:
            self._recording.set_time("step", sequence=step)
            self._recording.set_time("time", duration=seconds)
        else:
            self._recording.set_time_sequence("step", step)
            self._recording.set_time_seconds("time", seconds)

    def image(self, entity: list[Any], pixels: np.ndarray) -> None:
        from PIL import Image

        if pixels.shape[-1] not in (1, 3):
            self._recording.log(entity, self._rerun.Tensor(pixels))
            return
        written = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(written, "JPEG", quality=_QUALITY)
        self._recording.log(entity, self._rerun.EncodedImage(contents=written.getvalue(), media_type="image/jpeg"))

    def number(self, entity: list[Any], value: float) -> None:
        self._recording.log(entity, (self._rerun.Scalars if self._new else self._rerun.Scalar)(float(value)))

    def path(self, entity: list[Any], points: np.ndarray) -> None:
        size = points.shape[-1]
        if size == 2:
            self._recording.log(entity, self._rerun.LineStrips2D([points]))
        elif size % 3 == 0:
            self._recording.log(entity, self._rerun.LineStrips3D(np.split(points, size // 3, axis=-1)))

    def numbers(self, entity: list[Any], steps: np.ndarray, seconds: np.ndarray, values: np.ndarray) -> None:
        """Logs one number at each of several times."""
        rerun, where = self._rerun, self._rerun.new_entity_path(entity)
        if self._new:
            times = [rerun.TimeColumn("step", sequence=steps), rerun.TimeColumn("time", duration=seconds)]
            columns = rerun.Scalars.columns(scalars=values)
        else:
            times = [rerun.TimeSequenceColumn("step", steps), rerun.TimeSecondsColumn("time", seconds)]
            columns = rerun.Scalar.columns(scalar=values)
        rerun.send_columns(where, times, columns, recording=self._recording)

    def tab(self, root: str, cameras: list[str], parts: list[str], path: bool) -> Any:
        """The viewer's layout of an episode: cameras, each part of the action with its plans, and the plans' statistics."""
        import rerun.blueprint as views

        def at(*parts: Any) -> str:
            return str(self._rerun.new_entity_path([root, *parts]))

        shown = [views.Spatial2DView(origin=at("observation", key), name=key) for key in cameras]
        for name in parts:
            entities = [at("action", name), *(at("plan", place, name) for place in range(PLANS))]
            shown.append(views.TimeSeriesView(contents=[f"{entity}/**" for entity in entities], name=name))
        figures = {"rounds": at("solver", "rounds"), "milliseconds": at("milliseconds"), "observation": at("observation")}
        shown += [views.TimeSeriesView(contents=[f"{entity}/**"], name=name) for name, entity in figures.items()]
        if path:
            shown.append(views.Spatial3DView(contents=[at("plan", "path")], name="path of the plan"))
        return views.Grid(*shown, name=root)

    def arrange(self, tabs: list[Any]) -> None:
        import rerun.blueprint as views

        self._recording.send_blueprint(views.Blueprint(views.Tabs(*tabs), collapse_panels=True))

    def close(self) -> None:
        self._recording.flush()
        self._recording.disconnect()


class RecordedEpisodes:
    """A subscriber that records the episodes of a run; the file appears with the first control step.

    Args:
        path: the file.
        spec: the policy's specification.
        path_of: see `RerunRecording`.
    """

    def __init__(self, path: Path, spec: Interface, path_of: PathOf | None):
        self._make = partial(RerunRecording, path, spec.control_hz, spec.action, path_of)
        self._recording: RerunRecording | None = None

    def on_command(self, seed: int, step: int, observation: Observation, command: HasAction) -> None:
        """Records a control step."""
        self._recording = self._recording or self._make()
        self._recording.step(str(seed), step, observation, command.action, getattr(command, "replan", None))

    def on_step(self, seed: int, record: StepRecord, render: Callable[[], np.ndarray]) -> None: ...

    def on_episode(self, episode: Episode) -> None: ...

    def close(self) -> bool:
        """Writes the rest; returns whether there is a recording.

        Raises:
            OSError: steps or plans could not be recorded.
        """
        if self._recording is not None:
            self._recording.close()
        return self._recording is not None
