"""Arrays in msgpack: what is sent is what arrives, and nothing hostile is taken for an array."""

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from paradp.policy.serving.wire import pack, unpack

DTYPES = st.sampled_from([np.dtype(name) for name in ("?", "i1", "i8", "u2", "f2", "f4", "f8", ">f4")])


@given(DTYPES.flatmap(lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0))))
def test_arrays_arrive_as_they_were_sent(array):
    back = unpack(pack({"x": array, "deep": [{"er": array}]}))
    for arrived in (back["x"], back["deep"][0]["er"]):
        assert arrived.dtype == array.dtype and arrived.shape == array.shape and arrived.tobytes() == array.tobytes()


def test_the_bytes_are_openpis():
    """Written out once by openpi-client 0.1.2's packer."""
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
def test_what_is_no_message_is_refused(data):
    with pytest.raises(ValueError, match="message"):
        unpack(data)


@given(st.binary(max_size=200))
def test_whatever_arrives_is_a_message_or_a_value_error(data):
    with contextlib.suppress(ValueError):
        assert isinstance(unpack(data), dict)


@pytest.mark.parametrize(
    "value", [np.array([object()]), np.array(["text"]), np.zeros(2, "i4,f4"), 1j, {1, 2}, np.complex64(1)]
)
def test_what_is_no_number_is_not_sent(value):
    with pytest.raises(TypeError):
        pack({"x": value})
