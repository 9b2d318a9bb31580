"""LeRobot's diffusion policy, sampled by paradp, with real-time chunking by inpainting."""

from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from torch import Tensor

from lerobot_policy_paradp.configuration_paradp import ParadpConfig
from paradp.bridges import parallelize, sampling_of
from paradp.bridges.left_over import from_left_over

# Settings that always come from the command line, never from a checkpoint.
_OF_THIS_RUN = {"device", "use_amp", "pretrained_path", "pretrained_revision", "push_to_hub", "repo_id", "private", "tags"}
# Settings that always come from the checkpoint, because its weights depend on them.
_OF_THE_WEIGHTS = {"input_features", "output_features"}


class ParadpPolicy(DiffusionPolicy):  # type: ignore[misc]  # LeRobot is not installed where types are checked
    """LeRobot's diffusion policy with the sampler that its configuration names."""

    config_class = ParadpConfig
    name = "paradp"

    def __init__(self, config: ParadpConfig, **kwargs: Any):
        super().__init__(config, **kwargs)
        parallelize(self, config.sampler)

    @classmethod
    def from_pretrained(
        cls, pretrained_name_or_path: str | Path, *, config: ParadpConfig | None = None, **kwargs: Any
    ) -> "ParadpPolicy":
        """Loads a checkpoint of this policy or of LeRobot's diffusion policy.

        Args:
            pretrained_name_or_path: a folder, or a name on the Hub.
            config: settings from the command line. Those that it leaves at their defaults are taken from the checkpoint.

        Raises:
            ValueError: it is a checkpoint of another policy.
        """
        asked = {name: kwargs[name] for name in ("revision", "cache_dir", "local_files_only", "token") if name in kwargs}
        stored = PreTrainedConfig.from_pretrained(pretrained_name_or_path, **asked)
        if not isinstance(stored, DiffusionConfig):
            raise ValueError(
                f"{pretrained_name_or_path} is a policy of type {stored.type!r}; paradp samples diffusion policies"
            )
        if config is not None or not isinstance(stored, ParadpConfig):
            config = _filled(config or ParadpConfig(device=stored.device), stored)
        return super().from_pretrained(pretrained_name_or_path, config=config or stored, **kwargs)  # type: ignore[no-any-return]

    def supports_rtc(self) -> bool:
        """True: the next chunk is sampled such that it continues the unexecuted rest of the last one."""
        return True

    @torch.no_grad()
    def predict_action_chunk(
        self,
        batch: dict[str, Tensor],
        noise: Tensor | None = None,
        inference_delay: int | None = None,
        prev_chunk_left_over: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Plans the actions from the current observation on, before the postprocessor.

        Args:
            batch: observations of one step `[B, …]` or of all observed steps `[B, To, …]`. A single step is repeated To
                times, as at the start of an episode: LeRobot's real-time loop passes only the latest one.
            noise: the starting noise `[B, H, A]`; by default it is drawn.
            inference_delay: number of the unexecuted actions that will be executed before this chunk arrives.
            prev_chunk_left_over: the unexecuted rest of the last chunk, `[T, A]` or `[B, T, A]`.
            kwargs: ignored; LeRobot passes more arguments to other policies.

        Returns:
            `[B, n_action_steps, A]`; in real-time chunking all predicted actions, because the next chunk may be late.
        """
        seen = self._seen(batch)
        condition = self.diffusion._prepare_global_conditioning(seen)
        config, rows, known = self.config, len(condition), None
        past, in_real_time = config.n_obs_steps - 1, inference_delay is not None and self._is_real_time
        if in_real_time and prev_chunk_left_over is not None:
            shape = (rows, config.horizon, config.action_feature.shape[0])
            known = from_left_over(prev_chunk_left_over.to(condition.device), inference_delay or 0, shape, past)
        chunk = sampling_of(self)(rows, global_cond=condition, noise=noise, known=known)
        if known is not None:  # samplers with a tolerance match these only approximately
            chunk = torch.where(known[1].unsqueeze(2) == 1, known[0].to(chunk.dtype), chunk)
        return chunk[:, past:] if in_real_time else chunk[:, past : past + config.n_action_steps]

    @property
    def _is_real_time(self) -> bool:
        """Whether a new chunk replaces the unexecuted rest of the last one; otherwise LeRobot appends it."""
        rtc = getattr(self.config, "rtc_config", None)
        return rtc is None or bool(rtc.enabled)

    def _seen(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the observation `[B, To, …]`: from the queues if `select_action` filled them, else from the batch."""
        config = self.config
        if any(len(queue) for key, queue in self._queues.items() if key != ACTION):
            return {key: torch.stack(list(queue), 1) for key, queue in self._queues.items() if key != ACTION}
        seen = {key: batch[key] for key in config.input_features if key in batch}
        if seen[OBS_STATE].ndim == 2:
            steps = config.n_obs_steps
            seen = {key: one.unsqueeze(1).expand(-1, steps, *one.shape[1:]) for key, one in seen.items()}
        # LeRobot's data loader leaves out the axis of steps for a video of which only one is observed.
        seen |= {key: seen[key].unsqueeze(1) for key in config.image_features if seen[key].ndim == 4}
        if config.image_features:
            seen[OBS_IMAGES] = torch.stack([seen[key] for key in config.image_features], dim=-4)
        return seen


def _filled(config: ParadpConfig, stored: DiffusionConfig) -> ParadpConfig:
    """Returns a configuration, with its default values replaced by the checkpoint's."""
    for one in fields(stored):
        default = getattr(config, one.name) == _default(one)
        if one.name in _OF_THE_WEIGHTS or (default and one.name not in _OF_THIS_RUN):
            setattr(config, one.name, getattr(stored, one.name))
    return config


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()
