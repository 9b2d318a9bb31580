"""Runs groups of episodes in one process, and keeps the policy and the simulators between groups."""

from collections.abc import Iterator, Sequence

import torch

from paradp.checkpoints import build_solver, load_policy
from paradp.envs import find_convention, find_task
from paradp.policy import DiffusionPolicy, RecedingHorizon
from paradp.policy.observations import blank
from paradp.policy.processes import spare_garbage_collection
from paradp.rollouts.episodes.captions import Caption
from paradp.rollouts.episodes.config import RolloutConfig
from paradp.rollouts.episodes.environments import EnvironmentConfig, Environments, make_envs, observed_by
from paradp.rollouts.episodes.records import Episode
from paradp.rollouts.episodes.runner import Subscriber, run_episodes
from paradp.rollouts.episodes.video import VideoRecorder
from paradp.rollouts.machine import cores

WARM_UP_PLANS = 2


class GroupRunner:
    """Runs groups of episodes. It reloads the policy or the simulators only if the next group needs different ones."""

    def __init__(self) -> None:
        self._trained: tuple[object, DiffusionPolicy] | None = None
        self._policy: tuple[object, DiffusionPolicy] | None = None
        self._envs: tuple[object, Environments] | None = None
        self._warm: tuple[DiffusionPolicy, Environments] | None = None

    def policy(self, config: RolloutConfig, sha256: str | None = None) -> DiffusionPolicy:
        """The policy of a run.

        Raises:
            ValueError: as `load_policy`; or the weights do not have this digest.
        """
        threads = config.threads or cores()
        torch.set_num_threads(threads)
        wanted = (config.checkpoint_path, sha256, config.device, config.engine, config.precision, threads)
        if self._trained is None or self._trained[0] != wanted:
            name = config.checkpoint or config.task
            loaded = load_policy(name, config.denoises, config.device, sha256, config.engine, config.precision)
            self._trained, self._policy = (wanted, loaded), (config.denoises, loaded)
        if self._policy is None or self._policy[0] != config.denoises:
            trained = self._trained[1]
            solver = build_solver(config.denoises, config.checkpoint_path, trained.device)
            self._policy = config.denoises, trained.with_solver(solver)
        return self._policy[1]

    def run(
        self,
        config: RolloutConfig,
        seeds: Sequence[int],
        sha256: str | None = None,
        subscribers: Sequence[Subscriber] = (),
    ) -> Iterator[Episode]:
        """Runs one group of episodes and yields each as it ends; subscribers are called for every step."""
        policy = self.policy(config, sha256)
        filmed = set(config.seeds[: config.videos]) & set(seeds)
        films: list[Subscriber] = []
        if filmed:
            hz = find_task(config.task).task.control_hz
            films = [VideoRecorder(config.out / "videos", filmed, hz, _caption(config, policy, hz))]
        count = min(config.envs, config.episodes)
        envs = self._environments(_environment(config, policy, bool(filmed)), count, config.threads or cores())
        if self._warm != (policy, envs):
            policy.prepare(envs.num_envs)
            warm_up(policy, envs)
            self._warm = policy, envs
        yield from run_episodes(envs, _controllers(config, policy, envs.num_envs), seeds, [*films, *subscribers])

    def close(self) -> None:
        """Closes the simulators."""
        if self._envs is not None:
            self._envs[1].close()
        self._envs = self._warm = None

    def _environments(self, environment: EnvironmentConfig, count: int, threads: int) -> Environments:
        wanted = environment, count, threads
        if self._envs is None or self._envs[0] != wanted:
            self.close()
            self._envs = wanted, make_envs(*wanted)
        return self._envs[1]


def _environment(config: RolloutConfig, policy: DiffusionPolicy, render: bool) -> EnvironmentConfig:
    return EnvironmentConfig(
        config.task,
        policy.spec.action_convention,
        config.disturbance,
        config.max_steps,
        render,
        observed_by(policy.spec, find_task(config.task).task),
        drawn=False,
    )


def _controllers(config: RolloutConfig, policy: DiffusionPolicy, count: int) -> list[RecedingHorizon]:
    """One controller per environment."""
    hold = find_convention(policy.spec.action_convention).hold
    when, _, blending = config.controller.partition("-")
    return [
        RecedingHorizon(
            policy,
            execute=config.execute,
            ahead=when == "ahead",
            clock=config.clock.start(policy.spec.control_hz),
            hold=hold,
            blending=blending or "replace",  # type: ignore[arg-type]
        )
        for _ in range(count)
    ]


def _caption(config: RolloutConfig, policy: DiffusionPolicy, hz: int) -> Caption:
    horizons = policy.spec.horizons.with_execute(config.execute)
    sampler = f"{config.sampler}" + (f" ({config.chosen})" if config.chosen else "")
    return Caption(config.task, sampler, hz, horizons.execute, horizons.predict - horizons.observe + 1)


def warm_up(policy: DiffusionPolicy, envs: Environments) -> None:
    """Makes some plans and steps before measuring, so that one-time costs (compilation, garbage) do not count as latency."""
    batch = envs.num_envs
    histories = blank(policy.spec, batch, policy.spec.horizons.observe)
    for _ in range(WARM_UP_PLANS):
        policy.plan(histories, [torch.Generator().manual_seed(i) for i in range(batch)])
    observation = envs.reset({0: 0})[0]
    controller = RecedingHorizon(policy)
    for _ in range(policy.spec.horizons.execute):
        observation, _, terminated, truncated, _ = envs.step({0: controller.act(observation).action})[0]
        if terminated or truncated:
            break
    spare_garbage_collection()
