"""A client's session: the keys that it reads, valid numbers, and what ends with an episode."""

import tracemalloc

import msgpack
import numpy as np
import pytest
from vectors import joined

from paradp.policy.serving.sessions import Session
from paradp.policy.serving.wire import MOST_VALUE_BYTES, pack

TEXT = {b"__ndarray__": True, b"data": bytes(40), b"dtype": "<U10", b"shape": [1]}
OBJECTS = {b"__ndarray__": True, b"data": bytes(8), b"dtype": "|O", b"shape": [1]}


def step(at: float) -> dict[str, np.ndarray]:
    return {"position": np.full(2, at, np.float32), "constant": np.zeros(1, np.float32)}


def ask(session: Session, **message):
    """Reads a message and adds it to the history, as after a plan."""
    request = session.read(msgpack.packb(message, default=_packed))
    session.remember(request)
    return request


def _packed(value):
    """Packs a message like openpi's clients."""
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


@pytest.mark.parametrize("yes", [True, np.bool_(True), np.array(True)])
def test_after_a_reset_a_session_equals_a_new_one(spec, yes):
    old, new = Session(spec, seed=5), Session(spec, seed=5)
    for at in (0.1, 0.2, 0.3):
        ask(old, **step(at))
    first, second = ask(old, **step(0.7), **{"paradp/reset": yes}), ask(old, **step(0.8))
    for request, at in ((first, 0.7), (second, 0.8)):
        expected = ask(new, **step(at))
        assert (
            np.array_equal(joined(request.history), joined(expected.history)) and request.noise_seed == expected.noise_seed
        )
    assert np.array_equal(second.history["position"][:, 0], np.float32([0.7, 0.8]))


@pytest.mark.parametrize("no", [False, None, np.bool_(False)])
def test_without_a_reset_earlier_steps_are_remembered(spec, no):
    session = Session(spec)
    ask(session, **step(0.1))
    assert np.array_equal(
        ask(session, **step(0.7), **{"paradp/reset": no}).history["position"][:, 0], np.float32([0.1, 0.7])
    )


def test_a_reset_clears_the_history_even_if_its_message_is_refused(spec):
    session = Session(spec)
    ask(session, **step(0.1))
    with pytest.raises(ValueError, match="'position' is not finite"):
        ask(session, **step(np.nan), **{"paradp/reset": True})
    assert np.array_equal(ask(session, **step(0.7)).history["position"][:, 0], np.float32([0.7, 0.7]))


@pytest.mark.parametrize("reset", [1, 0, "yes", [], {}, 1.0, np.int64(1), np.array([True, True])])
def test_a_reset_must_be_true_or_false(spec, reset):
    session = Session(spec)
    ask(session, **step(0.1))
    with pytest.raises(ValueError, match="paradp/reset must be true or false"):
        ask(session, **step(0.7), **{"paradp/reset": reset})
    assert np.array_equal(ask(session, **step(0.7)).history["position"][:, 0], np.float32([0.1, 0.7]))


@pytest.mark.parametrize("number", [7, np.int8(7), np.int64(7), np.uint64(7), np.array(7), np.array(7, ">u2")])
def test_a_seed_may_be_numpys(spec, number):
    assert ask(Session(spec), **step(0), **{"paradp/noise_seed": number}).noise_seed == 7


@pytest.mark.parametrize(
    "number", [0.5, np.float16(0.5), np.float32(0.5), np.float64(0.5), np.array(0.5), np.array(0.5, ">f4")]
)
def test_a_budget_may_be_numpys(spec, number):
    assert ask(Session(spec), **step(0), **{"paradp/budget": number}).budget == 0.5


@pytest.mark.parametrize("number", [1, np.int64(1), np.array(1, np.uint8)])
def test_a_budget_may_be_a_whole_number(spec, number):
    assert ask(Session(spec), **step(0), **{"paradp/budget": number}).budget == 1.0


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("paradp/noise_seed", [True, np.bool_(True), np.array(True), 7.0, np.float64(7), "7", b"7", [7], np.array([7]), {}]),
        ("paradp/noise_seed", [-1, np.int64(-1), 2**63, np.uint64(2**63), TEXT, OBJECTS]),
        ("paradp/budget", [True, np.bool_(True), np.array(True), "1", b"1", [0.5], np.array([0.5]), {}, TEXT, OBJECTS]),
        ("paradp/budget", [0, -1.0, np.float32(-1), float("nan"), np.float64("inf"), np.array(np.nan)]),
        ("paradp/keep", ["x", 1, True, np.zeros(16, bool), [True] * 16, ["1"] * 16, [None] * 16, TEXT, OBJECTS]),
        ("paradp/guess", ["x", 1, np.zeros((16, 2), bool), [["0", "0"]] * 16, [[0.0]] * 16, np.full((16, 2), np.inf), TEXT]),
        (
            "position",
            ["x", True, np.bool_(True), [True, False], ["1", "2"], [1, None], [[1], [2, 3]], TEXT, OBJECTS, {}, None],
        ),
    ],
)
def test_values_that_are_not_numbers_are_refused_by_name(spec, option, wrong):
    for value in wrong:
        with pytest.raises(ValueError, match=option):
            ask(Session(spec), **(step(0) | {option: value}))


@pytest.mark.parametrize("dtype", ["<c8", "<c16", "<M8[s]", "|S4", "<U4", "|O", "|V8"])
def test_arrays_of_values_that_are_not_numbers_are_refused_by_name(spec, dtype):
    array = {b"__ndarray__": True, b"data": bytes(16), b"dtype": dtype, b"shape": [2]}
    with pytest.raises(ValueError, match="'position' cannot be read: an array's dtype must be one of numbers"):
        ask(Session(spec), **(step(0) | {"position": array}))


@pytest.mark.parametrize(
    "position",
    [
        [0.5, 1],
        [np.float32(0.5), np.int64(1)],
        np.array([0.5, 1.0], ">f8"),
        np.array([0.5, 1], np.float16),
        [np.array(0.5), 1],
    ],
)
def test_observations_may_be_lists_and_of_any_number(spec, position):
    assert np.array_equal(
        ask(Session(spec), **(step(0) | {"position": position})).history["position"][-1], np.float32([0.5, 1])
    )


@pytest.mark.parametrize(
    ("data", "dtype"), [(0.5, "<i8"), (300, "|i1"), (-1, "|u1"), (True, "<i8"), (True, "<f4"), (1, "|b1"), (2**63, "<i8")]
)
def test_a_number_that_does_not_fit_its_dtype_is_refused(spec, data, dtype):
    number = {b"__npgeneric__": True, b"data": data, b"dtype": dtype}
    with pytest.raises(ValueError, match="'paradp/noise_seed' cannot be read"):
        ask(Session(spec), **step(0), **{"paradp/noise_seed": number})


IGNORED = {
    "text": "push the T",
    "an array of text": TEXT,
    "an array of objects": OBJECTS,
    "one a level down": {"told": {"prompt": TEXT}},
    "an array that is none": {b"__ndarray__": True, b"shape": [-1]},
    "a picture": np.zeros((224, 224, 3), np.uint8),
    "a list of 5000": [0.0] * 5000,
    "a map of 5000": {str(i): i for i in range(5000)},
    "a map with odd keys": {1: 2, b"x": 3, (1, 2): 4},
    "an extension": msgpack.ExtType(7, b"x"),
    "a time": msgpack.Timestamp(1, 2),
    "complex numbers": {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<c8", b"shape": [1]},
    "NaN": float("nan"),
    "nothing": None,
}


@pytest.mark.parametrize("value", IGNORED.values(), ids=IGNORED)
@pytest.mark.parametrize("key", ["image", "paradp/unknown", "", 7, b"position", None, "x" * 5000])
def test_ignored_values_may_be_anything(spec, key, value):
    data = msgpack.packb(step(0.5) | {key: value}, default=_packed)
    assert Session(spec).read(data).history["position"][0, 0] == np.float32(0.5)


def test_ignored_values_take_no_memory(spec):
    """Unpacked empty lists take seventy times their size as bytes."""
    hostile = msgpack.packb(step(0.5) | {"x": None}, default=_packed)[:-1] + b"\xdd\x00\x20\x00\x00" + b"\x90" * 2**21
    session = Session(spec)
    tracemalloc.start()
    try:
        session.read(hostile)
        assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    finally:
        tracemalloc.stop()


def test_values_that_are_read_are_limited_in_size(spec):
    lists = [[[]] * 4000] * 100
    with pytest.raises(ValueError, match=rf"'position' cannot be read: it has \d+ bytes, more than {MOST_VALUE_BYTES}"):
        ask(Session(spec), **(step(0) | {"position": lists}))


@pytest.mark.parametrize("data", [b"\xdf\xff\xff\xff\xff", b"\xde\xff\xff" + b"\xa0\xc0" * 65535])
def test_a_map_with_too_many_keys_is_refused(spec, data):
    with pytest.raises(ValueError, match="keys; at most 4096 are read"):
        Session(spec).read(data)


def test_messages_with_openpis_additional_values_pass(spec):
    """The whole observation of a robot with two cameras, for a policy without cameras."""
    picture = np.zeros((224, 224, 3), np.uint8)
    observation = step(0.5) | {"observation/image": picture, "observation/wrist_image": picture, "prompt": "pick it up"}
    assert Session(spec).read(pack(observation)).history["position"][0, 0] == np.float32(0.5)
