"""Somebody else's policy, in their own process, sampled by our solvers: the same object, the same call.

    policy = DiffusionPolicy.from_pretrained(…)   # LeRobot's, in their own script
    parallelize(policy)
    action = policy.select_action(batch)

Nothing of the policy is changed but the function that samples, `conditional_sample` (robomimic's is called
`_get_action_trajectory`), and `undo` gives that back. Observations, queues, normalisation, weights and their device stay the
policy's own.
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


# Long: two thirds say what it does to which objects.
def parallelize(
    policy: P, sampler: str = "auto", scheduler: Scheduler | None = None, shape: Sequence[int] | None = None
) -> P:
    """Samples a live policy by our solvers, in place.

    Args:
        policy: a diffusion policy of LeRobot; one of Diffusion Policy or robomimic whose observations are a global condition
            (or of a transformer, `obs_as_cond`); or a network that is called as `network(sample, timestep, global_cond=…)`
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
    live = find_live(policy)
    if live is not None:
        if scheduler is not None or shape is not None:
            raise ValueError("scheduler and shape are for a network alone: this policy has its own")
    elif scheduler is None or shape is None or not isinstance(policy, nn.Module):
        raise ValueError(
            f"{type(policy).__name__} is no diffusion policy of LeRobot, Diffusion Policy or robomimic; a network that"
            " predicts noise needs scheduler and shape: parallelize(network, scheduler=DDPMScheduler(…), shape=(16, 2))"
        )
    else:
        steps = getattr(scheduler, "num_inference_steps", None)
        live = Live(policy, NAME, Network(policy), scheduler, steps, tuple(shape), lambda sampling: sampling)
    choice = SamplerChoice.parse(sampler)
    if choice.measured and choice.name != "auto":
        raise ValueError(
            f"{choice.name} goes by what was measured of a checkpoint: load_policy takes it, parallelize does not"
        )
    own = live.scheduler
    chooser: Chooser = Fastest(own, live.steps) if choice.measured else Always(choice.build(own))
    undo(policy, missing_ok=True)
    setattr(live.target, live.name, live.function(Sampling(live.network, chooser, live.shape)))
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
    target, name = _place(policy)
    if _sampling(target, name) is None:
        if missing_ok:
            return policy
        raise ValueError(f"this {type(policy).__name__} samples in its own way: parallelize did not change it")
    delattr(target, name)
    return policy


def sampling_of(policy: Any) -> Sampling:
    """What samples a policy in place: its sampler, and the statistics of its last samples.

    Raises:
        ValueError: it samples in its own way.
    """
    found = _sampling(*_place(policy))
    if found is None:
        raise ValueError(f"this {type(policy).__name__} samples in its own way: parallelize did not change it")
    return found


def _place(policy: Any) -> tuple[Any, str]:
    """The object that has the function that samples, and the function's name."""
    live = find_live(policy)
    return (policy, NAME) if live is None else (live.target, live.name)


def _sampling(target: Any, name: str) -> Sampling | None:
    found = vars(target).get(name)
    found = getattr(found, "sampling", found)
    return found if isinstance(found, Sampling) else None
