"""Rows of semantics: one expression that runs on minidl and on PyTorch alike, and what it gives, written out."""

import numpy as np
import pytest

import minidl


def pytorch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def plain(result):
    """Values and dtype of a result of either library: (list, name), a tuple of them, or a Python value."""
    if isinstance(result, tuple):
        return tuple(map(plain, result))
    if not hasattr(result, "tolist"):
        return result
    result = result.detach()
    return result.tolist(), str(result.dtype).removeprefix("torch.")


def assert_same(found, expected):
    """Equal structure, dtypes and shapes; numbers to rounding, NaN equal to NaN."""
    if isinstance(expected, tuple) and expected and not isinstance(expected[-1], str):
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            assert_same(a, b)
    elif isinstance(expected, tuple) and expected:
        (values, dtype), (wanted, wanted_dtype) = found, expected
        assert dtype == wanted_dtype
        assert np.shape(values) == np.shape(wanted)
        np.testing.assert_allclose(values, wanted, rtol=2e-6, atol=1e-7)
    else:
        assert found == expected


def check(row, library):
    """Run a row on `library` and compare with what is written in it."""
    function, *expected = row
    assert_same(plain(function(library)), expected[0] if len(expected) == 1 else tuple(expected))


def check_refused(row):
    """A row (function, message, ...) is refused in one line that holds the message, and by an error of the user's."""
    function, message, *_ = row
    with pytest.raises((TypeError, ValueError, IndexError, RuntimeError, ZeroDivisionError)) as error:
        function(minidl)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
