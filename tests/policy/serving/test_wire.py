"""Arrays in msgpack arrive as they were sent, and nothing hostile is accepted as an array."""

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from paradp.policy.serving.wire import Message, pack, unpack

DTYPES = st.sampled_from([np.dtype(name) for name in ("?", "i1", "i8", "u2", "f2", "f4", "f8", ">f4")])


@given(DTYPES.flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0))))
def test_arrays_arrive_as_they_were_sent(array):
    back = unpack(pack({"x": array, "deep": [{"er": array}]}))
    for arrived in (back["x"], back["deep"][0]["er"]):
        assert arrived.dtype == array.dtype and arrived.shape == array.shape and arrived.tobytes() == array.tobytes()


def test_encoded_bytes_equal_those_of_openpi():
    """Recorded once with openpi-client 0.1.2's packer."""
    sent = {"a": np.arange(3, dtype=np.int16), "n": np.float32(0.5)}
    assert pack(sent) == bytes.fromhex(
        "82a16184c40b5f5f6e6461727261795f5fc3c40464617461c406000001000200c4056474797065a33c6932c4057368617065"
        "9103a16e83c40d5f5f6e7067656e657269635f5fc3c40464617461cb3fe0000000000000c4056474797065a33c6634"
    )


def array(**changes) -> dict:
    return {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": [2]} | changes


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        (array(**{}) | {b"dtype": "|O"}, "dtype must be one of numbers"),
        (array() | {b"dtype": "<U2"}, "dtype must be one of numbers"),
        (array() | {b"dtype": "f4,f4"}, "dtype must be one of numbers"),
        (array() | {b"dtype": "(2,)f4"}, "dtype must be one of numbers"),
        (array() | {b"dtype": 7}, "dtype must be one of numbers"),
        (array() | {b"shape": [3]}, r"shape \(3,\) and dtype <f4 has 8 bytes"),
        (array() | {b"shape": [2**62, 2**62]}, "8 bytes"),
        (array() | {b"shape": [-1]}, "whole numbers from 0"),
        (array() | {b"shape": [1.0]}, "whole numbers from 0"),
        (array() | {b"shape": [True, 2]}, "whole numbers from 0"),
        (array() | {b"shape": [1] * 9}, "at most 8"),
        (array() | {b"shape": None}, "at most 8"),
        (array() | {b"data": "text"}, "data is a str"),
        ({b"__npgeneric__": True, b"data": [1], b"dtype": "<f4"}, "a number's data is a list"),
        ({b"__npgeneric__": True, b"data": 1, b"dtype": "O"}, "dtype must be one of numbers"),
    ],
)
def test_hostile_arrays_are_refused(value, wrong):
    with pytest.raises(ValueError, match=wrong):
        unpack(msgpack.packb({"x": value}))


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81", msgpack.packb([1]), msgpack.packb(None), b"\x91" * 5000, b"{}"])
def test_an_invalid_message_is_refused(data):
    with pytest.raises(ValueError, match="message"):
        unpack(data)


def empties(count: int) -> bytes:
    """A list of lists of empty lists, this many in total."""
    inner = b"\xdc" + (4000).to_bytes(2, "big") + b"\x90" * 4000
    return b"\xdc" + (count // 4000).to_bytes(2, "big") + inner * (count // 4000)


MAPS = b"\x9a" + 10 * (b"\xde\x0f\xa0" + b"\xa0\x90" * 4000)
NESTED_ARRAYS = msgpack.packb([array() | {b"dtype": "|u1", b"data": bytes(40_000), b"shape": [40_000]}])


@pytest.mark.parametrize(
    ("value", "times"),
    [(empties(256_000), 1), (empties(8_000), 5), (MAPS, 9), (NESTED_ARRAYS, 1)],
    ids=["lists", "several lists", "maps of one key", "arrays in a list"],
)
def test_a_message_of_very_many_small_values_is_refused(value, times):
    """Unpacked, they would take seventy times their bytes, and seconds during which other clients get no answer."""
    entries = b"".join(b"\xa1" + bytes([ord("a") + i]) + value for i in range(times))
    with pytest.raises(ValueError, match=r"'.' cannot be read: more than 32768 values of the message are in lists and maps"):
        unpack(bytes([0x80 + times]) + entries)


def test_of_a_duplicate_key_only_the_last_value_is_read():
    assert unpack(bytes([0x85]) + (b"\xa1x" + empties(8_000)) * 4 + b"\xa1x\x01") == {"x": 1}


def test_only_named_maps_are_opened():
    opened = ("observation", "observation/images", "images")
    sent = {
        "observation": {"images": {"front": 1, "deep": {"er": 2}}, "observation": {"x": 3}},
        "other": {"x": 4},
        "images": 5,
    }
    message = Message(pack(sent), opened)
    assert message.names == [
        "observation/images/front",
        "observation/images/deep",
        "observation/observation",
        "other",
        "images",
    ]
    assert message.value("observation/images/front") == 1 and message.value("observation/images/deep") == {"er": 2}
    with pytest.raises(ValueError, match="'other' cannot be read: it has 4 bytes, more than 3"):
        message.value("other", 3)
    with pytest.raises(ValueError, match="the message cannot be read"):
        Message(b"\x81" + pack({"observation": 0})[1:13] + b"\xde\xff\xff", opened)


def test_normal_messages_are_below_the_limit_of_values():
    sent = {"guess": [[0.5] * 30] * 64, "x": [[1, 2, 3]] * 4, "picture": np.zeros(2**17, np.uint8)}
    back = unpack(pack(sent | {"other": np.zeros(2**21 - 2**18, np.uint8)}), sent.keys())
    assert back["guess"] == sent["guess"] and back["x"] == sent["x"] and back["picture"].size == 2**17
    # What nobody reads may be as long as it likes.
    assert unpack(b"\x82\xa1y" + empties(1_000_000) + b"\xa1x\x01", {"x"}) == {"x": 1}


@pytest.mark.parametrize("read", [{"x"}, {"y"}], ids=["ignored", "read"])
def test_values_nested_too_deeply_are_refused_in_a_sentence(read):
    with pytest.raises(ValueError, match="cannot be read: lists or maps in it are nested too deeply"):
        unpack(b"\x81\xa1y" + b"\x91" * 100_000 + b"\x90", read)


def test_a_hostile_array_in_a_list_is_refused_as_any_other():
    with pytest.raises(ValueError, match="'x' cannot be read: an array's dtype must be one of numbers"):
        unpack(msgpack.packb({"x": [array() | {b"dtype": "O"}, 1.0]}))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_value_error(data):
    with contextlib.suppress(ValueError):
        assert isinstance(unpack(data), dict)


@pytest.mark.parametrize(
    "value", [np.array([object()]), np.array(["text"]), np.zeros(2, "i4,f4"), 1j, {1, 2}, np.complex64(1)]
)
def test_values_that_are_not_numbers_are_not_sent(value):
    with pytest.raises(TypeError):
        pack({"x": value})
