"""Samples a live policy of another program with our solvers: the object and its calls stay the same.

    policy = DiffusionPolicy.from_pretrained(…)   # LeRobot's, in their own script
    parallelize(policy)
    action = policy.select_action(batch)

Only the policy's sampling function is replaced: `conditional_sample`, or `_get_action_trajectory` in robomimic. `undo`
restores it. Observations, queues, normalisation, weights and their device stay as they are. On a CPU, wide convolutions of
its network are computed as matrix products while it samples.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import nn

from paradp.bridges.fastest import Fastest
from paradp.bridges.live import NAME, Live, find_live
from paradp.bridges.sampling import Always, Chooser, Network, Sampling
from paradp.sampler import SamplerChoice
from paradp.sampler.schedules.described import Scheduler

P = TypeVar("P")


# Long: two thirds are documentation.
def parallelize(
    policy: P, sampler: str = "auto", scheduler: Scheduler | None = None, shape: Sequence[int] | None = None
) -> P:
    """Makes a live policy sample with our solvers, in place.

    Args:
        policy: a diffusion policy of LeRobot; one of Diffusion Policy or robomimic whose observations are a global condition
            (for a transformer, `obs_as_cond`); or a network that is called as `network(sample, timestep, global_cond=…)`
            with `[n, …]`, `[n]` and `[n, C]`. A network gets a function `conditional_sample(batch_size, global_cond,
            generator, noise)`, like the one of LeRobot's policies.
        sampler: how to denoise, such as `para-ddpm:window=8`. `auto` draws from exactly the distribution of the policy's
            own steps, in the way that is fastest on this machine: it measures at the first call for each batch size.
        scheduler: for a network only: diffusers' scheduler of its training, also with the number of steps for `auto`.
        shape: for a network only: the shape of one sample, such as `(16, 2)`.

    Returns:
        The same object. Its scheduler and number of steps are read now: call this again after changing them.

    Raises:
        ValueError: the object is neither a supported policy nor a network with scheduler and shape, or the sampler is
            unknown or does not fit the scheduler.
    """
    live = find_live(policy)
    if live is not None:
        if scheduler is not None or shape is not None:
            raise ValueError("scheduler and shape are for a network alone: this policy has its own")
    elif scheduler is None or shape is None or not isinstance(policy, nn.Module):
        raise ValueError(
            f"{type(policy).__name__} is not a diffusion policy of LeRobot, Diffusion Policy or robomimic; a network that"
            " predicts noise needs scheduler and shape: parallelize(network, scheduler=DDPMScheduler(…), shape=(16, 2))"
        )
    else:
        steps = getattr(scheduler, "num_inference_steps", None)
        live = Live(policy, NAME, Network(policy), scheduler, steps, tuple(shape), lambda sampling: sampling)
    choice = SamplerChoice.parse(sampler)
    if choice.measured and choice.name != "auto":
        raise ValueError(f"{choice.name} needs measurements of a checkpoint: use load_policy instead of parallelize")
    own = live.scheduler
    chooser: Chooser = Fastest(own, live.steps) if choice.measured else Always(choice.build(own))
    undo(policy, missing_ok=True)
    target, name = _place(policy)
    setattr(target, name, live.function(Sampling(live.network, chooser, live.shape, vars(target).get(name))))
    return policy


def undo(policy: P, missing_ok: bool = False) -> P:
    """Restores the sampling function that a policy had before `parallelize`.

    Args:
        policy: the object.
        missing_ok: do not raise if the policy was not changed.

    Returns:
        The same object.

    Raises:
        ValueError: the policy was not changed by `parallelize`.
    """
    target, name = _place(policy)
    sampling = _sampling(target, name)
    if sampling is None:
        if missing_ok:
            return policy
        raise ValueError(f"this {type(policy).__name__} samples in its own way: parallelize did not change it")
    delattr(target, name)
    if sampling.replaced is not None:
        setattr(target, name, sampling.replaced)
    return policy


def sampling_of(policy: Any) -> Sampling:
    """Returns the `Sampling` that `parallelize` installed, with its sampler and the statistics of the last call.

    Raises:
        ValueError: the policy was not changed by `parallelize`.
    """
    found = _sampling(*_place(policy))
    if found is None:
        raise ValueError(f"this {type(policy).__name__} samples in its own way: parallelize did not change it")
    return found


def _place(policy: Any) -> tuple[Any, str]:
    """Returns the object whose sampling function was replaced, and the function's name."""
    live = find_live(policy)
    target, name = (policy, NAME) if live is None else (live.target, live.name)
    # The wrapper of torch.compile sets attributes of the module inside, but does not have them itself.
    return getattr(target, "_orig_mod", target), name


def _sampling(target: Any, name: str) -> Sampling | None:
    found = vars(target).get(name)
    found = getattr(found, "sampling", found)
    return found if isinstance(found, Sampling) else None
