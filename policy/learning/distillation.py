"""Distils a diffusion policy into a consistency model, which jumps to the end of a trajectory in one evaluation."""

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paradp.policy.data.dataset import Dataset
from paradp.policy.data.windows import TrainingWindows
from paradp.policy.errors import SettingError
from paradp.policy.learning.arithmetic import Arithmetic, Step, measure
from paradp.policy.learning.config import DistillationConfig
from paradp.policy.learning.examples import cut_examples, send_examples, with_memory
from paradp.policy.learning.lesson import Batch, Lesson, TrainedPolicy, draw_batch
from paradp.policy.learning.loop import learn
from paradp.policy.learning.metrics_log import TrainingMetrics
from paradp.policy.learning.ranks import join, own_device
from paradp.policy.learning.starting import copied, spec_from
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.process import Diffusion
from paradp.policy.spec import PolicySpec
from paradp.sampler.schedules.consistency import boundary
from paradp.sampler.schedules.reading import read_settings
from paradp.sampler.schedules.settings import DDPMSettings
from paradp.sampler.schedules.trajectories import ddim_trajectories, follow

# δ of the pseudo-Huber loss, divided by the square root of a sample's size (Song & Dhariwal 2024, §3.3).
_HUBER = 0.00054


# Long: its arguments are those of `train`, and two thirds of it describe them.
def distill(
    teacher: TrainedPolicy,
    demonstrations: Dataset,
    config: DistillationConfig,
    out: Path,
    save: Callable[[TrainedPolicy, Path], None],
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    on_arithmetic: Callable[[Arithmetic], None] = lambda arithmetic: None,
    choose: Callable[[Step, int], Arithmetic] = measure,
    on_start: Callable[[int, TrainedPolicy], None] = lambda step, trained: None,
    on_metrics: Callable[[TrainingMetrics], None] = lambda metrics: None,
    on_memory: Callable[[int], None] = lambda mebibytes: None,
    device: torch.device | str = "cpu",
) -> TrainedPolicy:
    """Distils a diffusion policy into a consistency model (Song et al. 2023).

    The student has the teacher's network and starts with its weights, but always predicts the clean sample, because near
    pure noise other predictions are ill-conditioned. If the teacher also predicts the sample, the student starts with the
    quality of the teacher's single step.

    Args:
        teacher: the policy.
        demonstrations: of the teacher's task; trajectories start at their noisy actions.
        config: settings of the distillation.
        out, save, on_step, on_arithmetic, choose, on_start, on_metrics, on_memory, device: as in `train`, which also says
            how a run in `out` is continued.

    Raises:
        ValueError: the teacher is not a diffusion policy, or does not fit the demonstrations; and as `train`.
        OSError: as `train`.
    """
    torch.manual_seed(config.seed)
    spec = _student_spec(teacher.spec, demonstrations, config.teacher_steps)
    place = own_device(device)
    ranks = join(place)
    config = with_memory(config, demonstrations, out, ranks, place, on_memory)
    training, validation = cut_examples(demonstrations, spec.horizons, config)
    with closing(training):
        training, validation = send_examples(place, training, validation)
        teacher.move(place)
        objective = ConsistencyObjective(teacher, spec, config.teacher_steps)
        start = copied(teacher, spec)
        lesson = Lesson(start, objective, training, validation, teacher)
        return learn(lesson, demonstrations, config, out, save, on_step, on_arithmetic, choose, on_start, on_metrics, ranks)


def _student_spec(teacher: PolicySpec, demonstrations: Dataset, teacher_steps: int) -> PolicySpec:
    """Raises:
    ValueError: the teacher is not a diffusion policy, does not fit the demonstrations, or has fewer timesteps than
        `teacher_steps`.
    """
    schedule = student_schedule(teacher.schedule)
    spec = replace(spec_from(teacher, demonstrations), schedule=schedule)
    timesteps = schedule["num_train_timesteps"]
    if teacher_steps > timesteps:
        message = f"teacher_steps must be at most {timesteps}, the timesteps of the teacher, not {teacher_steps}"
        raise SettingError(message, "teacher_steps")
    return spec


def student_schedule(schedule: dict[str, Any]) -> dict[str, Any]:
    """The scheduler config of a student: diffusers' LCMScheduler with the teacher's noise, predicting the sample.

    Raises:
        ValueError: the teacher was not trained as a diffusion model.
    """
    settings = read_settings(DDPMSettings, schedule)
    kept = ("beta_schedule", "beta_start", "beta_end", "trained_betas")
    noise: dict[str, Any] = {key: schedule[key] for key in kept if key in schedule}
    return {
        "_class_name": "LCMScheduler",
        "num_train_timesteps": settings.num_train_timesteps,
        **noise,
        "rescale_betas_zero_snr": settings.rescale_betas_zero_snr,
        "prediction_type": "sample",
        "clip_sample": settings.clip_sample,
        "clip_sample_range": settings.clip_sample_range,
    }


class ConsistencyObjective:
    """The distance between a network's jump from x_t and the end of the teacher's trajectory from there.

    With f = c_skip x + c_out network(x, t) and Φ(x_t) the end of the teacher's DDIM trajectory from x_t,

        loss = E √(‖f(x_t, t) − Φ(x_t)‖² + δ²) − δ,    δ = 0.00054 √D

    Luhman & Luhman (2021) do the same, only from pure noise. At t = 0, where f(x, 0) = x, the loss is a small constant.

    Args:
        teacher: the policy whose trajectories are followed.
        spec: the student's specification.
        teacher_steps: DDIM steps of the teacher from pure noise to the end.

    Raises:
        ValueError: there are more steps than timesteps of the teacher.
    """

    def __init__(self, teacher: TrainedPolicy, spec: PolicySpec, teacher_steps: int):
        self._teacher = teacher.network.eval().requires_grad_(False)
        self._observation_normalizer, self._action_normalizer = teacher.observation_normalizer, teacher.action_normalizer
        self._process = Diffusion(teacher.spec.schedule)
        device = self._action_normalizer.offset.device
        tables = ddim_trajectories(teacher.spec.schedule, teacher_steps)
        self._trajectories = [table.to(device, torch.float32) for table in tables]
        # Other predictions are divided by nearly 0 close to pure noise, which multiplies bfloat16's rounding.
        self._may_round = read_settings(DDPMSettings, teacher.spec.schedule).prediction_type == "sample"
        self._boundary = torch.stack(boundary(spec.schedule)).to(device, torch.float32)

    def __call__(
        self,
        network: ConditionalNetwork,
        windows: TrainingWindows,
        drawn: Tensor,
        timestep: Tensor,
        noise: Tensor,
        places: Tensor | None = None,
    ) -> Tensor:
        observations, actions = windows.batch(drawn)
        seen = self._observation_normalizer.normalize(observations)
        noisy = self._process.noised(self._action_normalizer.normalize(actions), noise, timestep)
        with torch.no_grad(), nullcontext() if self._may_round else torch.autocast(noisy.device.type, enabled=False):
            # The teacher uses its own image encoder.
            taught = self._teacher.encode_observation(seen, places)
            end = follow(self._trajectories, self._teacher, noisy, timestep, taught)
        jump = self._jump(network, noisy, timestep, network.encode_observation(seen, places))
        difference = (jump - end).flatten(1)
        delta = _HUBER * difference.shape[1] ** 0.5
        return ((difference.square().sum(1) + delta**2).sqrt() - delta).mean()

    def draw(self, windows: TrainingWindows, size: int, generator: torch.Generator) -> Batch:
        return draw_batch(self._process, windows, size, generator)

    def _jump(self, network: nn.Module, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Computes f."""
        skip, out = self._boundary[:, timestep].reshape(2, -1, 1, 1)
        return skip * x + out * network(x, timestep, condition).float()
