"""Distilling a diffusion policy into a consistency model, which jumps to the end of a trajectory in one evaluation."""

from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paradp.policy.data.dataset import Dataset, largest_step
from paradp.policy.data.windows import TrainingWindows
from paradp.policy.errors import SettingError
from paradp.policy.learning.arithmetic import Arithmetic, Step, measure
from paradp.policy.learning.config import DistillationConfig
from paradp.policy.learning.examples import cut_examples, send_examples, with_memory
from paradp.policy.learning.lesson import Batch, Lesson, TrainedPolicy, draw_batch
from paradp.policy.learning.loop import learn
from paradp.policy.learning.ranks import own_device
from paradp.policy.learning.training import check_made_for, spec_for
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.process import Diffusion
from paradp.policy.spec import PolicySpec
from paradp.sampler.schedules.consistency import boundary, jumps
from paradp.sampler.schedules.reading import read_settings
from paradp.sampler.schedules.settings import DDPMSettings
from paradp.sampler.table import StepTable

# Of the pseudo-Huber loss, over the square root of a sample's size (Song & Dhariwal 2024, §3.3).
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
    on_start: Callable[[int], None] = lambda step: None,
    device: torch.device | str = "cpu",
) -> TrainedPolicy:
    """Consistency distillation (Song et al. 2023, Algorithm 2) of a diffusion policy.

    The student has the teacher's network and begins with its weights, but predicts the clean sample whatever the teacher
    predicts: near pure noise nothing else is well conditioned. From a teacher that predicts the sample, too, it begins as
    good as that is in one step.

    Args:
        teacher: the policy.
        demonstrations: of the teacher's task; their noisy actions are where trajectories begin.
        config: how.
        out, save, on_step, on_arithmetic, choose, on_start, device: as in `train`, and a run found in `out` is continued as
            there.

    Raises:
        ValueError: the teacher is no diffusion policy or made for other demonstrations; and as `train`.
        OSError: as `train`.
    """
    torch.manual_seed(config.seed)
    spec = _student_spec(teacher.spec, demonstrations, config.skip)
    config = with_memory(config, demonstrations)
    training, validation = cut_examples(demonstrations, spec.horizons, config)
    with closing(training):
        place = own_device(device)
        training, validation = send_examples(place, training, validation)
        teacher.move(place)
        objective = ConsistencyObjective(teacher, spec, config.skip)
        start = replace(teacher, spec=spec, network=deepcopy(teacher.network))
        lesson = Lesson(start, objective, training, validation, teacher)
        return learn(lesson, demonstrations, config, out, save, on_step, on_arithmetic, choose, on_start)


def _student_spec(teacher: PolicySpec, demonstrations: Dataset, skip: int) -> PolicySpec:
    """Raises:
    ValueError: the teacher is no diffusion policy, made for other demonstrations, or has fewer timesteps than are skipped.
    """
    schedule = student_schedule(teacher.schedule)
    spec = spec_for(demonstrations.info, teacher.network, schedule, teacher.vision)
    spec = replace(spec, action_step=tuple(largest_step(demonstrations).tolist()))
    check_made_for(replace(teacher, schedule=schedule), spec)
    timesteps = schedule["num_train_timesteps"]
    if skip > timesteps:
        raise SettingError(f"skip must be at most {timesteps}, the timesteps of the teacher, not {skip}", "skip")
    return spec


def student_schedule(schedule: dict[str, Any]) -> dict[str, Any]:
    """The scheduler config of a student: diffusers' LCMScheduler on the teacher's noise, for a predicted sample.

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
    """How far a network's jump from x_t is from its own jump from a point further along the same trajectory.

    With f = c_skip x + c_out network(x, t), s = t − skip and x_s one DDIM step of the teacher from x_t,

        loss = E √(‖f(x_t, t) − f⁻(x_s, s)‖² + δ²) − δ,    δ = 0.00054 √D

    f⁻ is f without a gradient. (An average of the weights in its place, as Song et al. 2023 take, only carries what is
    learned near the data to the noise more slowly: Song & Dhariwal 2024, §3.2. What is saved is the average.) Where s
    would be below 0 the teacher steps to the clean sample, which f⁻ leaves as it is: that is what anchors all the others.

    Args:
        teacher: the policy whose trajectories are followed.
        spec: the student's.
        skip: timesteps from t to s.
    """

    def __init__(self, teacher: TrainedPolicy, spec: PolicySpec, skip: int):
        self._teacher = teacher.network.eval().requires_grad_(False)
        self._observation_normalizer, self._action_normalizer = teacher.observation_normalizer, teacher.action_normalizer
        self._process = Diffusion(teacher.spec.schedule)
        device = self._action_normalizer.offset.device
        self._jumps: StepTable = jumps(teacher.spec.schedule, skip).to(device, torch.float32)
        self._skip = skip
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
        condition = network.encode_observation(seen, places)
        noisy = self._process.noised(self._action_normalizer.normalize(actions), noise, timestep)
        with torch.no_grad():
            # The teacher looks with its own encoder of images.
            taught = self._teacher.encode_observation(seen, places)
            further, target_timestep = self._follow(noisy, timestep, taught), timestep - self._skip
            jumped = self._jump(network, further, target_timestep.clamp(min=0), condition)
            target = torch.where(target_timestep.reshape(-1, 1, 1) < 0, further, jumped)
        difference = (self._jump(network, noisy, timestep, condition) - target).flatten(1)
        delta = _HUBER * difference.shape[1] ** 0.5
        return ((difference.square().sum(1) + delta**2).sqrt() - delta).mean()

    def draw(self, windows: TrainingWindows, size: int, generator: torch.Generator) -> Batch:
        return draw_batch(self._process, windows, size, generator)

    def _follow(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """One DDIM step of the teacher's."""
        step = self._jumps.at(timestep)
        flat = x.flatten(1)
        clean = step.clean(flat, self._teacher(x, timestep, condition).float().flatten(1))
        return step.mean(flat, clean, None).reshape(x.shape)

    def _jump(self, network: nn.Module, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """f."""
        skip, out = self._boundary[:, timestep].reshape(2, -1, 1, 1)
        return skip * x + out * network(x, timestep, condition).float()
