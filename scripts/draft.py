"""`paradp draft`: trains a draft for a policy, so that speculative samplers need fewer rounds."""

from pathlib import Path
from typing import TYPE_CHECKING

from paradp.policy.wording import counted
from paradp.scripts.call import PolicyName, Positive, Seed
from paradp.scripts.console import doing, loading, progress, say
from paradp.scripts.datasets import open_data
from paradp.scripts.places import INSTEAD, check_device, check_folder, check_simulator, checkpoint_named
from paradp.scripts.train import check_data

if TYPE_CHECKING:
    from paradp.policy import PolicySpec
    from paradp.policy.observations import Observation

# Observations to plan from if no demonstrations are given: the expert's episodes, from a seed that nothing else uses.
_OBSERVATIONS, _EXPERT_SEED, _EVERY = 2000, 3_000_000, 5
# Of demonstrations, more than a training of minutes visits. 4000 of two images of 84 by 84 pixels take 340 MB.
_RECORDED = 4000


# Long: its parameters are the command's options, and its docstring is their help.
def train(
    policy: PolicyName, data: Path | None = None, minutes: Positive = 5.0, seed: Seed = 0, device: str = "cpu"
) -> None:
    """Train a draft for a policy: speculative samplers with draft=trained then need fewer rounds.

    The draft is a small network that improves the guesses of speculative sampling. It changes the cost of a plan, but not
    its distribution. It is written into the checkpoint's directory, as draft.safetensors and draft.json, and only works with
    these weights: a policy that is trained further needs a new draft.

        paradp draft train runs/train/checkpoint --data demos/square.zarr
        paradp rollout square --checkpoint runs/train/checkpoint \\
            --sampler speculative-ddpm:window=50:draft=trained

    Args:
        policy: a pretrained policy's name or a checkpoint's directory.
        data: zarr group of demonstrations whose observations to plan from; by default observations of the task's scripted
            expert.
        minutes: duration of the training, on an otherwise idle machine.
        seed: seed of weights, noise and batches.
        device: cpu or cuda; several, as in cuda:0,cuda:1, share the rows of the policy's calls.
    """
    path = checkpoint_named(policy)
    check_device(device)
    check_folder(path, "the policy's directory")
    with loading("PyTorch"):
        from paradp.checkpoints import checkpoint_digest, load_policy, read_info, write_draft
        from paradp.policy.learning.draft import train_draft
        from paradp.policy.networks.draft import draft_config, draft_cost, network_cost
        from paradp.policy.observations import how_many
    if data is not None:
        check_data(data, read_info(path).spec.task)
    digest = checkpoint_digest(path)
    loaded = load_policy(path, "ddpm", device, digest)
    spec, config = loaded.spec, draft_config(loaded.spec)
    say(f"a draft of {draft_cost(spec, config) / network_cost(spec):.1%} of the policy's multiply-adds a row")
    if data is None:
        with doing(f"running the expert of {spec.task}"):
            histories = _of_expert(spec)
    else:
        histories = _of_demonstrations(data, spec, seed)
    seconds = 60 * minutes
    with progress(f"training a draft, {counted(how_many(histories), 'observation')}, seconds", round(seconds)) as report:
        draft, training = train_draft(
            loaded, histories, seconds, seed, lambda spent, note: report(round(spent), note), config
        )
    if checkpoint_digest(path) != digest:
        raise ValueError(f"the checkpoint {path} has changed during the training; train its draft again")
    write_draft(draft, training, path, digest)
    say(
        f"{path / 'draft.safetensors'}: {training.rounds:.1f} rounds per plan instead of {training.rounds_before:.1f},"
        f" at window 50; use it as speculative-ddpm:window=50:draft=trained"
    )


def _of_expert(spec: "PolicySpec") -> "Observation":
    try:
        check_simulator(spec.task)
        from paradp.rollouts.expert_histories import expert_histories

        return expert_histories(spec, _OBSERVATIONS, _EXPERT_SEED, _EVERY)
    except ValueError as error:
        raise ValueError(f"{error}; {INSTEAD}") from error


def _of_demonstrations(path: Path, spec: "PolicySpec", seed: int) -> "Observation":
    """Returns histories, for each feature `[N, To, …]`, from demonstrations with the policy's observations."""
    from paradp.policy.data.dataset import step_count
    from paradp.policy.data.histories import recorded_histories

    demonstrations = open_data(path, spec.task)
    return recorded_histories(demonstrations, spec, min(_RECORDED, step_count(demonstrations)), seed)
