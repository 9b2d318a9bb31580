"""Trains a diffusion or flow policy on demonstrations."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paradp.policy.choices import Scaling
from paradp.policy.data.dataset import Dataset, largest_step
from paradp.policy.data.episode import DemonstrationInfo
from paradp.policy.data.normalizer import Normalizer, ObservationNormalizer
from paradp.policy.data.windows import TrainingWindows
from paradp.policy.features import observed_features
from paradp.policy.horizons import DEFAULT_HORIZONS, Horizons
from paradp.policy.learning.arithmetic import Arithmetic, Step, measure
from paradp.policy.learning.config import TrainingConfig
from paradp.policy.learning.examples import cut_examples, send_examples, with_memory
from paradp.policy.learning.lesson import Batch, Lesson, TrainedPolicy, draw_batch
from paradp.policy.learning.loop import learn
from paradp.policy.learning.metrics_log import TrainingMetrics
from paradp.policy.learning.ranks import join, own_device
from paradp.policy.learning.starting import check_settings, copied, spec_from
from paradp.policy.networks.building import build_network
from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.networks.network_config import NetworkConfig
from paradp.policy.networks.vision.config import VisionConfig
from paradp.policy.process import check_ends_in_noise, process_of
from paradp.policy.spec import DEFAULT_SCHEDULE, PolicySpec


# Long: three quarters are the arguments and their documentation, which the other trainings refer to.
def train(
    demonstrations: Dataset,
    config: TrainingConfig,
    out: Path,
    save: Callable[[TrainedPolicy, Path], None],
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    init: TrainedPolicy | None = None,
    on_arithmetic: Callable[[Arithmetic], None] = lambda arithmetic: None,
    choose: Callable[[Step, int], Arithmetic] = measure,
    on_start: Callable[[int, TrainedPolicy], None] = lambda step, trained: None,
    on_metrics: Callable[[TrainingMetrics], None] = lambda metrics: None,
    on_memory: Callable[[int], None] = lambda mebibytes: None,
    device: torch.device | str = "cpu",
) -> TrainedPolicy:
    """Trains a policy; writes `metrics.jsonl`, `state.safetensors` and, through `save`, `checkpoint/` into `out`.

    An existing run in `out` is continued from its last state, with the same result as without the interruption.

    Args:
        demonstrations: the training data.
        config: settings of the training.
        out: the run's directory.
        save: writes a checkpoint of the averaged network into a directory.
        on_step: called with the number of steps taken and the last loss, in order; on a GPU for some steps together.
        init: a policy to start from, with its normalisers, instead of random weights; `config` has its `settings_of`,
            and the number of executed steps.
        on_arithmetic: called once, before the first step.
        choose: chooses the number format if the configuration does not; called with a step to try, and the batch size.
        on_start: called once, before the first step, with the number of steps of an earlier process and the policy then.
        on_metrics: called with every line of `metrics.jsonl`, once it is written.
        on_memory: called once if images are streamed, before they are, with the MiB of them that each process holds.
        device: where to compute; a run can be continued on another device. The policy passed to `save` and returned is
            there.

    Raises:
        ValueError: the demonstrations are unusable, `init` does not fit them or the settings, `out` contains another run or
            other files, or another process trains there.
        OSError: `out` cannot be written, for example on a full disk; earlier saves are kept.
    """
    torch.manual_seed(config.seed)
    spec = _spec(demonstrations, config) if init is None else _continued_spec(demonstrations, config, init.spec)
    check_ends_in_noise(process_of(spec.schedule))
    place = own_device(device)
    ranks = join(place)
    config = with_memory(config, demonstrations, out, ranks, place, on_memory)
    training, validation = cut_examples(demonstrations, spec.horizons, config)
    with closing(training):
        start = copied(init, spec) if init else _random_start(spec, training, config.observation_scaling)
        training, validation = send_examples(place, training, validation)
        start.move(place)
        objective = DenoisingObjective(spec, start.observation_normalizer, start.action_normalizer)
        lesson = Lesson(start, objective, training, validation, init)
        return learn(lesson, demonstrations, config, out, save, on_step, on_arithmetic, choose, on_start, on_metrics, ranks)


def _spec(demonstrations: Dataset, config: TrainingConfig) -> PolicySpec:
    """The specification of a policy with random weights."""
    vision = config.vision.fitted(observed_features(demonstrations.info.observation))
    spec = spec_for(demonstrations.info, config.network, config.process.schedule, vision, config.horizons)
    return replace(spec, action_step=tuple(largest_step(demonstrations).tolist()))


def _continued_spec(demonstrations: Dataset, config: TrainingConfig, start: PolicySpec) -> PolicySpec:
    """The specification of a policy that starts from another one.

    Raises:
        ValueError: the other one does not fit the demonstrations, or has other settings.
    """
    check_settings(config, start)
    return spec_from(start, demonstrations, config.execute)


def _random_start(spec: PolicySpec, training: TrainingWindows, scaling: Scaling) -> TrainedPolicy:
    """Random weights, and normalisers fitted to the data: `scaling` is that of observed vectors."""
    scalings = {key: scaling for key, feature in spec.observed.items() if feature.kind == "state"}
    return TrainedPolicy(
        spec,
        build_network(spec),
        ObservationNormalizer.fit(training.observations, spec.observed, scalings),
        Normalizer.fit(training.actions, spec.action),
    )


def spec_for(
    info: DemonstrationInfo,
    network: NetworkConfig,
    schedule: Mapping[str, Any] = DEFAULT_SCHEDULE,
    vision: VisionConfig | None = None,
    horizons: Horizons = DEFAULT_HORIZONS,
) -> PolicySpec:
    """Makes the specification of a policy for these demonstrations."""
    return PolicySpec(
        task=info.task,
        observation=info.observation,
        action=info.action,
        action_low=info.action_low,
        action_high=info.action_high,
        action_convention=info.action_convention,
        control_hz=info.control_hz,
        controller=info.controller,
        schedule=dict(schedule),
        network=network,
        vision=vision,
        horizons=horizons,
    )


class DenoisingObjective:
    """The mean squared error of the network's prediction, on normalised windows."""

    def __init__(self, spec: PolicySpec, observation_normalizer: ObservationNormalizer, action_normalizer: Normalizer):
        self._process = process_of(spec.schedule)
        self._observation_normalizer = observation_normalizer
        self._action_normalizer = action_normalizer

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
        condition = network.encode_observation(self._observation_normalizer.normalize(observations), places)
        clean = self._action_normalizer.normalize(actions)
        noisy = self._process.noised(clean, noise, timestep)
        target = self._process.target(clean, noise, timestep)
        return nn.functional.mse_loss(network(noisy, timestep, condition).float(), target)

    def draw(self, windows: TrainingWindows, size: int, generator: torch.Generator) -> Batch:
        return draw_batch(self._process, windows, size, generator)
