"""Messages of a server: the greeting, and a plan for each request. The server writes them, and the client reads them.

A client validates everything: an invalid number, a wrong length or a limit that is not finite is a `ValueError`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from paradp.policy.features import Shape
from paradp.policy.horizons import Horizons
from paradp.policy.plan_stats import STAGES, PlanStats, PlanTiming
from paradp.policy.requests import Chunk
from paradp.policy.serving.observed import announced
from paradp.policy.serving.wire import MOST_VALUE_BYTES
from paradp.policy.spec import Interface
from paradp.policy.values import finite_numbers, flag, whole_number

MOST_BYTES, NOTE = "paradp/max_message_bytes", "paradp/note"
# Longest answer or greeting that a client reads.
MOST_ANSWER_BYTES = 2**20
# Largest length, horizon or rate; and largest count in a plan.
_MOST_LENGTH, _MOST_COUNT = 2**16, 2**31 - 1
# Largest size of the observed images in a message: four cameras of 1920 × 1080, two steps.
_MOST_IMAGE_BYTES = 2**26
_COUNTS = ("batch", "rounds", "evaluations")


def greeting(spec: Interface, sampler: str, most_bytes: int) -> dict[str, Any]:
    """The first message to a client: the policy's interface, and the size limit of messages."""
    horizons = spec.horizons
    return {
        "task": spec.task,
        "observation": announced(spec),
        "action": {"shape": [horizons.predict - horizons.observe + 1, spec.action_size], "dtype": "float32"},
        "action_parts": dict(spec.action),
        "action_convention": spec.action_convention,
        "action_low": list(spec.action_low),
        "action_high": list(spec.action_high),
        "action_step": None if spec.action_step is None else list(spec.action_step),
        "horizons": asdict(horizons),
        "control_hz": spec.control_hz,
        "sampler": sampler,
        MOST_BYTES: most_bytes,
    }


def read_interface(greeting: Mapping[str, Any]) -> Interface:
    """Reads the policy's interface from a server's greeting.

    Raises:
        ValueError: it is invalid.
    """
    try:
        return _interface(greeting)
    except KeyError as error:
        raise ValueError(f"the server's metadata lacks {error}: it is not that of a paradp policy") from error
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"the server's metadata is not that of a paradp policy: {error}") from error


def plan_message(chunk: Chunk, seconds: float, before: float, note: str | None = None) -> dict[str, Any]:
    """The answer to a message.

    Args:
        chunk: the plan.
        seconds: time from the request to this answer.
        before: the same for the session's last request, including sending.
        note: a remark for the client, if any.
    """
    stats = chunk.stats
    answer = {
        "actions": np.ascontiguousarray(chunk.actions),
        "policy_timing": _milliseconds(infer=stats.timing.seconds, **stats.timing.stages),
        "server_timing": _milliseconds(infer=seconds, prev_total=before),
        "paradp/whole": np.ascontiguousarray(chunk.whole),
        "paradp/batch": stats.batch,
        "paradp/rounds": stats.rounds,
        "paradp/evaluations": stats.evaluations,
        "paradp/residual": stats.residual,
        "paradp/converged": stats.converged,
    }
    return answer if note is None else {**answer, NOTE: note}


def read_plan(answer: Mapping[str, Any], spec: Interface) -> Chunk:
    """Reads the plan in a server's answer.

    Raises:
        ValueError: it is invalid.
    """
    try:
        return _plan(answer, spec)
    except KeyError as error:
        raise ValueError(f"the server's answer cannot be read: it lacks {error}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"the server's answer cannot be read: {error}") from error


def _interface(received: Mapping[str, Any]) -> Interface:
    action = {_text(key): _length(key, size) for key, size in received["action_parts"].items()}
    horizons, size = received["horizons"], sum(action.values())
    interface = Interface(
        task=_text(received["task"]),
        observation={_text(key): _shape(key, value["shape"]) for key, value in received["observation"].items()},
        action=action,
        action_low=_limits(received, "action_low", size),
        action_high=_limits(received, "action_high", size),
        action_convention=_text(received["action_convention"]),
        control_hz=_length("control_hz", received["control_hz"]),
        horizons=Horizons(**{name: _length(name, horizons[name]) for name in ("observe", "predict", "execute")}),
        action_step=None if received["action_step"] is None else _limits(received, "action_step", size),
    )
    observed = {"state": 0, "image": 0}
    for feature in interface.observed.values():
        observed[feature.kind] += interface.horizons.observe * feature.size * feature.dtype.itemsize
    longest = max(observed["state"], interface.horizons.predict * 4 * size)
    if longest > MOST_VALUE_BYTES or observed["image"] > _MOST_IMAGE_BYTES:
        raise ValueError(f"its observations or plans take {longest + observed['image']} bytes, more than fit into a message")
    return interface


def _plan(answer: Mapping[str, Any], spec: Interface) -> Chunk:
    horizons, size = spec.horizons, spec.action_size
    return Chunk(
        actions=finite_numbers("actions", answer["actions"], (horizons.predict - horizons.observe + 1, size)),
        whole=finite_numbers("paradp/whole", answer["paradp/whole"], (horizons.predict, size)),
        stats=_stats(answer),
    )


def _stats(answer: Mapping[str, Any]) -> PlanStats:
    """Reads the plan's statistics, as `plan_message` writes them."""
    timing = answer["policy_timing"]
    return PlanStats(
        timing=PlanTiming.of_stages(**{name: _number(f"{name}_ms", timing[f"{name}_ms"]) / 1000 for name in STAGES}),
        **{name: whole_number(name, answer[f"paradp/{name}"], 0, _MOST_COUNT) for name in _COUNTS},
        residual=_number("paradp/residual", answer["paradp/residual"]),
        converged=flag("converged", answer["paradp/converged"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a name is a {type(value).__name__}, not text")
    return value


def _length(name: str, value: object) -> int:
    return whole_number(name, value, 1, _MOST_LENGTH)


def _shape(key: str, shape: list[Any]) -> Shape:
    """Returns the shape of one control step, without the first axis of observed steps."""
    lengths = [_length(key, length) for length in shape[1:]]
    return lengths[0] if len(lengths) == 1 else tuple(lengths)  # type: ignore[return-value]  # checked by the caller


def _number(name: str, value: object) -> float:
    return float(finite_numbers(name, value, (), np.float64))


def _limits(received: Mapping[str, Any], name: str, size: int) -> tuple[float, ...]:
    return tuple(finite_numbers(name, received[name], (size,), np.float64).tolist())


def _milliseconds(**seconds: float) -> dict[str, float]:
    return {f"{name}_ms": 1000 * value for name, value in seconds.items()}
