"""Observations that a policy was not trained on are refused with a sentence, locally and on a server."""

import numpy as np
import pytest
import torch
from vectors import joined

from paradp.policy.errors import described
from paradp.policy.observations import read_observation

GOOD = {"position": np.array([0.5, -1.0]), "constant": np.zeros(1)}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.array([1, 2], complex), "not of dtype complex128"),
        (np.array([1, 2], object), "not of dtype object"),
        (np.array(["1.0", "2.0"]), "not of dtype <U3"),
        (["1.0", "2.0"], "one of its values is '1.0'"),
        ([b"1", b"2"], "one of its values is a bytes"),
        (np.array([True, False]), "not of dtype bool"),
        (np.array([1, 2], "datetime64[s]"), "not of dtype datetime64"),
        (np.zeros(2, [("x", "f4")]), "not of dtype"),
        ([1, None], "one of its values is None"),
        (torch.zeros(2, dtype=torch.complex64), "not of dtype complex64"),
        ("12", "not a str"),
        (None, "not a NoneType"),
        ({"x": 1}, "not a dict"),
        (1j, "not a complex"),
        (True, "not a bool"),
        ([[1, 2], [3]], "one of its values is a list"),
        (torch.zeros(2, requires_grad=True), "not a Tensor"),
    ],
    ids=str,
)
def test_values_that_are_not_real_arrays_are_refused_and_not_converted(spec, value, said):
    with pytest.raises(ValueError, match=f"^'position' must be an array of numbers[,;] {said}"):
        read_observation(spec, GOOD | {"position": value})


@pytest.mark.parametrize("value", [[1, -2], (1.0, -2.0), np.array([1, -2], np.int8), np.array([1, -2], np.float64),
                                   torch.tensor([1.0, -2.0]), np.float16([1, -2])], ids=str)  # fmt: skip
def test_real_numbers_of_any_kind_are_read(spec, value):
    read = read_observation(spec, GOOD | {"position": value})
    assert joined(read).dtype == np.float32 and joined(read).tolist() == [1, -2, 0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [[1e300, 0], [np.inf, 0], [np.nan, 0], np.array([1e39, 0], np.longdouble)], ids=str)
def test_numbers_beyond_float32_count_as_not_finite(spec, value):
    with pytest.raises(ValueError, match="the observation's 'position' is not finite"):
        read_observation(spec, GOOD | {"position": value})


@pytest.mark.parametrize("observation", [None, [1, 2, 3], np.zeros(3)], ids=str)
def test_an_observation_is_a_mapping(spec, observation):
    with pytest.raises(ValueError, match="an observation must map keys to arrays of numbers; this is a"):
        read_observation(spec, observation)


def test_a_read_observation_does_not_change_with_its_source(spec):
    position = np.array([0.5, -1.0], np.float32)
    read = read_observation(spec, GOOD | {"position": position})
    position[:] = 9
    assert joined(read).tolist() == [0.5, -1.0, 0.0]


@pytest.mark.parametrize(
    ("error", "text"),
    [(TimeoutError(), "TimeoutError"), (ValueError("  "), "ValueError"), (KeyError("a"), "KeyError: 'a'"),
     (ValueError("a sentence"), "a sentence"), (OSError(2, "No such file"), "No such file"),
     (OSError(2, "No such file", "a.txt"), "a.txt: No such file"),
     (OSError(18, "Other disk", "a", None, "b"), "a → b: Other disk"),
     (MemoryError(), "MemoryError"), (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero")],
)  # fmt: skip
def test_the_text_of_an_error_is_never_empty(error, text):
    assert described(error) == text
