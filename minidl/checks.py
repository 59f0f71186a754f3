"""Arguments: what is accepted is asked here, and refused in one way: "`name` is X; accepted: Y".

An integer is anything with ``__index__`` (Python's, NumPy's, a tensor of one whole number)
but no truth value; what comes back is Python's int. A wrong kind of value is a
`TypeError`, a wrong value a `ValueError`, an axis that is not there an `IndexError`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from minidl import backend

Ints: TypeAlias = int | Sequence[int]  # one number for all axes, or one for each
TOO_LARGE: tuple[str, ...] = "Maximum allowed", "too big"  # what NumPy says of sizes beyond its addresses
Pair: TypeAlias = tuple[int, int]
Sides: TypeAlias = tuple[Pair, Pair]  # padding: ((top, bottom), (left, right))
MOST = 2**31 - 1  # of a window, a stride, a padding: beyond it addresses no longer fit


def refused(name: str, value: Any, accepted: str, error: type[Exception] = ValueError) -> Exception:
    """The error for an argument, to be raised.

    Examples
    --------
    >>> refused("stride", 0, "numbers >= 1")
    ValueError('`stride` is 0; accepted: numbers >= 1')
    """
    return error(f"`{name}` is {shown(value)}; accepted: {accepted}")


def shown(value: Any) -> str:
    """`value` on one line: numbers, texts and small containers as they are, anything else by its type."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str, np.dtype)):
        return _cut(repr(value))
    if isinstance(value, (tuple, list)) and len(value) <= 8:
        inside = ", ".join(map(shown, value)) + ("," if isinstance(value, tuple) and len(value) == 1 else "")
        return _cut(f"({inside})" if isinstance(value, tuple) else f"[{inside}]")
    return f"of type {type(value).__name__}"


def _cut(text):
    return text if len(text) <= 80 else text[:77] + "..."


# -- numbers


def is_integer(value: Any) -> bool:
    """Return whether `value` is an integer: it has ``__index__``, and is no truth value and no float."""
    if type(value) is int:
        return True
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def integer(value: Any, name: str, least: float | None = None, most: float | None = None) -> int:
    """`value` as an int from `least` to `most`.

    Examples
    --------
    >>> integer(np.int64(3), "dim")
    3
    """
    if type(value) is not int:
        if not is_integer(value):
            raise refused(name, value, _integers(least, most), TypeError)
        value = operator.index(value)
    if (least is not None and value < least) or (most is not None and value > most):
        raise refused(name, value, _integers(least, most))
    return value


def _integers(least, most):
    words = "an integer"
    words += f" >= {least}" if least is not None and most is None else ""
    words += f" from {least} to {most}" if least is not None and most is not None else ""
    return words


def positive_integers(**values: Any) -> list[int]:
    """Refuse the first of the named `values` that is no integer >= 1; the ints, in their order."""
    return [integer(value, name, least=1) for name, value in values.items()]


def number(value: Any, name: str, least: float | None = None, most: float | None = None) -> float:
    """`value`, a real number of Python or NumPy from `least` to `most`, as Python has it."""
    if isinstance(value, np.generic):
        value = value.item()
    words = "a number"
    words += f" >= {least}" if least is not None and most is None else ""
    words += f" from {least} to {most}" if least is not None and most is not None else ""
    if not isinstance(value, Real):
        raise refused(name, value, words, TypeError)
    if isinstance(value, int) and not -(10**308) < value < 10**308:
        raise refused(name, value, "a number that a float can hold")
    if (least is not None and not value >= least) or (most is not None and not value <= most):
        raise refused(name, value, words)
    return value


def probability(value: Any, name: str = "p") -> float:
    """`value` as a number from 0 to 1."""
    if not isinstance(value, (Real, np.generic)):
        raise refused(name, value, "0 to 1", TypeError)
    if not 0 <= value <= 1:
        raise refused(name, value, "0 to 1")
    return float(value)


def flag(value: Any, name: str) -> bool:
    """`value`, a truth value of Python or NumPy, as Python has it.

    Examples
    --------
    >>> flag(2, "keepdim")
    Traceback (most recent call last):
    TypeError: `keepdim` is 2; accepted: True or False
    """
    if value is True or value is False:
        return value
    if not isinstance(value, np.bool_):
        raise refused(name, value, "True or False", TypeError)
    return bool(value)


def choice(value: Any, name: str, choices: Any) -> Any:
    """`value` if it is one of `choices`."""
    if not any(value is c or (type(value) is type(c) and value == c) for c in choices):
        raise refused(name, value, ", ".join(map(repr, choices)))
    return value


# -- pairs and sizes


def integers(values: Any, name: str, accepted: str = "integers") -> tuple[int, ...]:
    """A sequence of integers as a tuple of ints."""
    if isinstance(values, (str, bytes, dict, set)) or not _is_sequence(values) or not all(map(is_integer, values)):
        raise refused(name, values, accepted, TypeError)
    return tuple(map(operator.index, values))


def _is_sequence(values):
    return isinstance(values, (tuple, list, range)) or (hasattr(values, "__iter__") and getattr(values, "ndim", 1) == 1)


def pair(value: Any, name: str, least: float | None = None) -> Pair:
    """`value` as a pair of ints, each at least `least`: a number counts for both axes."""
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int:
        values = value  # what a layer hands on each time
    elif type(value) is int or is_integer(value):
        values = (operator.index(value),) * 2
    else:
        values = integers(value, name, "an int or a pair of ints (height, width)")
        values = values * 2 if len(values) == 1 else values
        if len(values) != 2:
            raise refused(name, value, "an int or a pair of ints (height, width)")
    if least is not None and min(values) < least:
        raise refused(name, value, f"numbers >= {least}")
    if max(values) > MOST:
        raise refused(name, value, "numbers below 2**31")
    return values


def positive_pair(value: Any, name: str) -> Pair:
    """`pair` whose numbers must be at least 1."""
    return pair(value, name, least=1)


def size(arguments: Any, name: str = "size") -> tuple[int, ...]:
    """``(2, 3)`` from the arguments of both ``f(2, 3)`` and ``f((2, 3))``."""
    if len(arguments) == 1 and not is_integer(arguments[0]):
        arguments = arguments[0]
    return integers(arguments, name, "integers, or a tuple of them")


def lengths(arguments: Any, name: str = "size", itemsize: float = 4) -> tuple[int, ...]:
    """`size` of a new array: no length is negative, and its elements of `itemsize` bytes fit into memory."""
    values = size(arguments, name)
    if any(n < 0 for n in values):
        raise refused(name, values, "lengths >= 0")
    if not backend.fits_into_memory(math.prod(values), itemsize):
        raise refused(name, values, "lengths that memory can hold")
    return values


# -- axes


def axis(dim: Any, ndim: int, name: str = "dim") -> int:
    """`dim` of a tensor of `ndim` axes, counted from the front; a 0-d tensor has an axis 0 here, as in PyTorch."""
    if type(dim) is not int:
        dim = integer(dim, name)
    reach = ndim or 1
    if not -reach <= dim < reach:
        found = f"`{name}` is {dim}; accepted for a tensor of {ndim} axes: {-reach} to {reach - 1}"
        raise IndexError(found)
    return dim % reach


def axes(dim: Any, ndim: int, name: str = "dim") -> tuple[int, ...]:
    """`dim` (None for all, an int, or ints that differ) as a sorted tuple of axes, counted from the front."""
    if dim is None:
        return tuple(range(ndim))
    if type(dim) is int or is_integer(dim):
        found = (axis(dim, ndim, name),)
    else:
        found = tuple([axis(d, ndim, name) for d in integers(dim, name, "an integer, a tuple of them, or None")])
    if len(found) > 1 and len(set(found)) < len(found):
        raise refused(name, dim, "each axis once")
    return tuple(sorted(found)) if ndim else ()


# -- dtypes


def dtype(value: Any, name: str = "dtype") -> np.dtype:
    """`value` as a NumPy dtype of numbers in this machine's byte order."""
    try:
        found = np.dtype(value) if value is not None else None
    except (TypeError, ValueError):
        found = None
    if found is None or found.kind not in "biufc" or not found.isnative:
        raise refused(name, value, "a dtype of numbers, such as 'float32'", TypeError)
    return found


def floating_dtype(value: Any, name: str = "dtype") -> np.dtype:
    """`dtype` that is floating-point."""
    found = dtype(value, name)
    if found.kind not in "fc":
        raise refused(name, found, "a floating-point dtype", TypeError)
    return found


def device(value: Any, name: str = "device") -> backend.ArrayKind:
    """The backend's record of the device named `value`; None means the CPU."""
    if value is None:
        value = "cpu"
    if not isinstance(value, str):
        raise refused(name, value, "a device's name, such as 'cpu' or 'cuda'", TypeError)
    return backend.kind_named(value)


def run(function: Any, arrays: Any, options: Any = None, names: Sequence[str] = ("input", "other")) -> Any:
    """``function(*arrays, **options)`` without floating-point warnings; what the library refuses is said in our words.

    Asking first whether the shapes of the arrays, called `names` in messages, broadcast would cost every operation.
    """
    try:
        return backend.quietly(function, *arrays, **(options or {}))
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        explain(error, arrays, names)
        raise


def explain(error: Exception, arrays: Any, names: Sequence[str]) -> None:
    """Raise a clearer error than `error`, which a library raised for `arrays`, where the arrays tell the reason."""
    named = [(name, array) for name, array in zip(names, arrays) if backend.is_array(array)]
    if isinstance(error, MemoryError) or any(words in str(error) for words in TOO_LARGE):
        found = " and ".join(f"`{name}` of shape {array.shape}" for name, array in named)
        raise ValueError(f"{found} give more than memory can hold; accepted: smaller shapes") from None
    if "broadcast" in str(error):
        broadcast(**dict(named))
    if isinstance(error, OverflowError):
        for name, value in zip(names, arrays):
            if isinstance(value, int):
                raise refused(name, value, "integers of 64 bits") from None
    for name, array in named:
        if array.dtype.kind == "c" and isinstance(error, TypeError):
            raise TypeError(f"`{name}` is {array.dtype}; accepted: real numbers") from None


def broadcast(**arrays: Any) -> tuple[int, ...]:
    """The shape that arrays have together; a `ValueError` with their names where they do not broadcast.

    Examples
    --------
    >>> broadcast(x=np.ones((2, 3)), y=np.ones((2, 1)))
    (2, 3)
    """
    try:
        return np.broadcast_shapes(*[array.shape for array in arrays.values()])
    except ValueError:
        found = " but ".join(f"`{name}` has shape {array.shape}" for name, array in arrays.items())
        raise ValueError(f"{found}; accepted: lengths that are equal, or 1, counted from the last axis") from None
