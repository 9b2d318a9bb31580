"""Somebody else's policy, in their own process, sampled by our solvers: the same object, the same call.

    policy = DiffusionPolicy.from_pretrained(…)   # LeRobot's, in their own script
    parallelize(policy)
    action = policy.select_action(batch)

Nothing of the policy is changed but its function `conditional_sample`, and `undo` gives that back. Observations, queues,
normalisation, weights and their device stay the policy's own.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import nn

from paradp.bridges.fastest import Fastest
from paradp.bridges.sampling import Always, Chooser, Network, Sampling
from paradp.sampler import SamplerChoice
from paradp.sampler.schedules.described import Scheduler

P = TypeVar("P", bound=nn.Module)
NAME = "conditional_sample"


# Long: two thirds say what it does to which objects.
def parallelize(
    policy: P, sampler: str = "auto", scheduler: Scheduler | None = None, shape: Sequence[int] | None = None
) -> P:
    """Samples a live policy by our solvers, in place.

    Args:
        policy: a diffusion policy of LeRobot; or a network that is called as `network(sample, timestep, global_cond=…)`
            with `[n, …]`, `[n]` and `[n, C]`. A network gets a function `conditional_sample(batch_size, global_cond,
            generator, noise)`, which is the one that LeRobot's policies have.
        sampler: how to denoise, such as `para-ddpm:window=8`. `auto` draws from exactly the distribution that the policy
            samples by itself, with whichever way through the same steps is fastest here: measured in the first call for
            a number of rows.
        scheduler: of a network: diffusers' scheduler, which says how it was trained, and with how many steps `auto` samples.
        shape: of a network: that of one sample, such as `(16, 2)`.

    Returns:
        The same object. What its scheduler and number of steps are is read now: after changing them, call this again.

    Raises:
        ValueError: it is neither a policy that is known nor a network with scheduler and shape, or the sampler is unknown
            or does not fit the scheduler.
    """
    model = _model(policy)
    if model is not None:
        if scheduler is not None or shape is not None:
            raise ValueError("scheduler and shape are for a network alone: this policy has its own")
        network: nn.Module = model.unet
        scheduler, steps = model.noise_scheduler, model.num_inference_steps
        shape = (model.config.horizon, model.config.action_feature.shape[0])
    elif scheduler is None or shape is None:
        raise ValueError(
            f"{type(policy).__name__} is no diffusion policy of LeRobot; a network that predicts noise needs scheduler and"
            " shape: parallelize(network, scheduler=DDPMScheduler(…), shape=(16, 2))"
        )
    else:
        network, steps = policy, getattr(scheduler, "num_inference_steps", None)
    choice = SamplerChoice.parse(sampler)
    if choice.measured and choice.name != "auto":
        raise ValueError(
            f"{choice.name} goes by what was measured of a checkpoint: load_policy takes it, parallelize does not"
        )
    chooser: Chooser = Fastest(scheduler, steps) if choice.measured else Always(choice.build(scheduler))
    target = policy if model is None else model
    undo(policy, missing_ok=True)
    setattr(target, NAME, Sampling(Network(network), chooser, tuple(shape)))
    return policy


def undo(policy: P, missing_ok: bool = False) -> P:
    """Gives a policy back the way in which it sampled before `parallelize`.

    Args:
        policy: the object.
        missing_ok: whether it may never have been changed.

    Returns:
        The same object.

    Raises:
        ValueError: it samples in its own way already.
    """
    target = _model(policy) or policy
    if not isinstance(vars(target).get(NAME), Sampling):
        if missing_ok:
            return policy
        raise ValueError(f"this {type(policy).__name__} samples in its own way: parallelize did not change it")
    delattr(target, NAME)
    return policy


def sampling_of(policy: nn.Module) -> Sampling:
    """What samples a policy in place: its sampler, and the statistics of its last samples.

    Raises:
        ValueError: it samples in its own way.
    """
    found = vars(_model(policy) or policy).get(NAME)
    if not isinstance(found, Sampling):
        raise ValueError(f"this {type(policy).__name__} samples in its own way: parallelize did not change it")
    return found


def _model(policy: nn.Module) -> Any:
    """The model in a policy of LeRobot, or that itself; `None` of anything else."""
    parts = ("unet", "noise_scheduler", "num_inference_steps", "config", NAME)
    for one in (policy, getattr(policy, "diffusion", None)):
        if isinstance(one, nn.Module) and all(hasattr(one, part) for part in parts):
            return one
    return None
