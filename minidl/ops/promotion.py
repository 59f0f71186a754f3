"""The operands of an operation, and the dtype of what they give together: PyTorch's promotion.

The kinds are ordered: bool < integer < floating. The highest kind among the operands
decides. Among those that have it, tensors with axes are asked first, then 0-d tensors,
then plain numbers, Python's and NumPy's alike: so a number never changes the precision of
the tensor beside it. A number alone counts as float32, int64 or bool.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from minidl import backend
from minidl.backend import Array
from minidl.checks import refused
from minidl.tensor import Tensor

Operand: TypeAlias = Tensor | float | np.ndarray | np.generic  # a side of an operation; a float may be an int
KINDS = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}
DTYPES: dict[type, str] = {bool: "bool", int: "int64", float: "float32", complex: "complex64"}  # of a number alone
NUMBERS: dict[type, np.dtype] = {kind: np.dtype(name) for kind, name in DTYPES.items()}
BOOL: np.dtype = NUMBERS[bool]
FLOAT: np.dtype = NUMBERS[float]  # what integers become where a result has a fraction


def tensor_of(value: Any, name: str = "input") -> Tensor:
    """`value` if it is a Tensor; every operation asks its main operand for it first."""
    if not isinstance(value, Tensor):
        raise _no_tensor(value, name)
    return value


def floating(value: Any, name: str = "input") -> Tensor:
    """`value` if it is a Tensor of floating-point numbers."""
    if tensor_of(value, name)._data.dtype.kind not in "fc":
        raise refused(name, value.dtype, "a floating-point Tensor, such as one made with .float()", TypeError)
    return value


def _no_tensor(value, name):
    found = f"`{name}` is of type {type(value).__name__}"
    if isinstance(value, (int, float, list, tuple, np.ndarray, np.generic)) or backend.is_array(value):
        return TypeError(f"{found}; accepted: a Tensor, such as minidl.tensor({name})")
    return TypeError(f"{found}; accepted: a Tensor")


def operand(value: Any, name: str = "other") -> Tensor | float:
    """`value` as one side of an operation: a Tensor, a Python number, or an array as a Tensor."""
    if isinstance(value, Tensor) or type(value) in NUMBERS:
        return value
    if isinstance(value, np.generic) and value.dtype.kind in KINDS:
        return value.item() if value.dtype.kind != "f" else float(value)
    if backend.is_array(value):
        return Tensor(value)
    if isinstance(value, (float, int)):  # an enumeration, say
        return float(value) if isinstance(value, float) else int(value)
    raise TypeError(f"`{name}` is of type {type(value).__name__}; accepted: a Tensor or a number")


def is_operand(value: object) -> bool:
    """Return whether `value` can stand on one side of an operation: a Tensor, a number or an array."""
    return isinstance(value, (Tensor, int, float, complex, np.generic)) or backend.is_array(value)


def operands(a: Any, b: Any) -> Sequence[Any]:
    """Both operands of an operation, of one dtype; a number stays one, and takes the dtype of the tensor beside it."""
    if isinstance(a, Tensor):
        if isinstance(b, Tensor):
            if a._data.dtype is b._data.dtype:
                return a, b
        elif type(b) in (float, int) and a._data.dtype.kind == "f":
            return a, b
    elif isinstance(b, Tensor) and type(a) in (float, int) and b._data.dtype.kind == "f":
        return a, b
    return promoted(a, b)


def promoted(*values: Any, names: Sequence[str] = ("input", "other")) -> Sequence[Any]:
    """The operands in the dtype of their result (see the top of the file)."""
    values = [operand(value, name) for value, name in zip(values, names)]
    if not any(isinstance(value, Tensor) for value in values):
        raise TypeError(f"{_and(names)} are {_and(values, repr)}; accepted: at least one Tensor")
    dtype = result_dtype(*values)
    return [value.astype(dtype) if isinstance(value, Tensor) else _number(value, dtype) for value in values]


def _number(value, dtype):
    """A number as Python has it, such that beside an array of `dtype` it has that dtype; integers wrap round."""
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        if not -(2**63) <= value < 2**63:
            raise refused("other", value, "integers of 64 bits")
        return int(np.array(value, np.int64).astype(dtype))
    return value


def result_dtype(*values: Tensor | float) -> np.dtype:
    """The dtype that Tensors and Python numbers have together.

    Examples
    --------
    >>> result_dtype(Tensor(np.zeros(2, np.int64)), 0.5), result_dtype(Tensor(np.zeros(2, np.float16)), 0.5)
    (dtype('float32'), dtype('float16'))
    """
    ranks = [], [], []  # tensors with axes, 0-d tensors, numbers
    for value in values:
        if isinstance(value, Tensor):
            ranks[value.ndim == 0].append(value.dtype)
        else:
            ranks[2].append(NUMBERS[type(value)])
    found = [functools.reduce(_common, rank) for rank in ranks if rank]
    return max(found, key=lambda dtype: KINDS[dtype.kind])  # the first of equals


def _common(a, b):
    """The dtype of two tensors that have the same say."""
    if KINDS[a.kind] != KINDS[b.kind]:
        return max(a, b, key=lambda dtype: KINDS[dtype.kind])
    dtype = np.promote_types(a, b)
    if KINDS[dtype.kind] != KINDS[a.kind]:
        raise TypeError(f"the operands are {a} and {b}, which no integer dtype holds both; cast one with .to(dtype)")
    return dtype


def module_of(*arrays: Array | float) -> Any:
    """The array namespace of the first operand that is an array."""
    for array in arrays:
        if not isinstance(array, (float, int)):
            return backend.array_module(array)
    raise TypeError(f"`input` and `other` are {_and(arrays, repr)}; accepted: at least one Tensor")


def _and(values, write="`{}`".format):
    return " and ".join(map(write, values))
