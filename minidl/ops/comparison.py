"""Questions about elements: the answers are truth values, bits or indices and have no gradient."""

from __future__ import annotations

import math
import operator
from builtins import all as all_of
from typing import Any

from minidl import checks
from minidl.backend import array_module, check_same_device
from minidl.checks import Ints, flag
from minidl.ops.axes import dropped_shape, kept_shape, numpy_names, with_axes
from minidl.ops.promotion import BOOL, Operand, module_of, operand, promoted, tensor_of
from minidl.tensor import Tensor, _wrap


def _compared(input, other):
    """The arrays of two operands in one dtype; a number beside a tensor is compared as it is."""
    a, b = tensor_of(input), operand(other)
    if isinstance(b, Tensor):
        if a._data.dtype is not b._data.dtype:
            a, b = promoted(a, b)
        check_same_device(("input", a._data), ("other", b._data))
    return _array(a), _array(b)


def _array(x):
    return x._data if isinstance(x, Tensor) else x


def _compare(rule, input, other):
    return Tensor(checks.run(rule, _compared(input, other)))


def _compare_truth(name, input, other):
    arrays = _compared(input, other)
    return Tensor(checks.run(getattr(module_of(*arrays), name), arrays))


def _combine_bits(rule, name, input, other):
    a, b = map(_array, promoted(input, other))
    if (b if isinstance(a, (int, float, complex)) else a).dtype.kind not in "biu":
        raise TypeError(f"`input` of {name}() has fractions; accepted: integers or bool")
    return Tensor(checks.run(rule, (a, b)))


def eq(input: Operand, other: Operand) -> Tensor:
    """True where input == other."""
    return _compare(operator.eq, input, other)


def ne(input: Operand, other: Operand) -> Tensor:
    """True where input != other."""
    return _compare(operator.ne, input, other)


def lt(input: Operand, other: Operand) -> Tensor:
    """True where input < other."""
    return _compare(operator.lt, input, other)


def le(input: Operand, other: Operand) -> Tensor:
    """True where input <= other."""
    return _compare(operator.le, input, other)


def gt(input: Operand, other: Operand) -> Tensor:
    """True where input > other."""
    return _compare(operator.gt, input, other)


def ge(input: Operand, other: Operand) -> Tensor:
    """True where input >= other."""
    return _compare(operator.ge, input, other)


def logical_and(input: Operand, other: Operand) -> Tensor:
    """True where both operands are true."""
    return _compare_truth("logical_and", input, other)


def logical_or(input: Operand, other: Operand) -> Tensor:
    """True where at least one operand is true."""
    return _compare_truth("logical_or", input, other)


def logical_xor(input: Operand, other: Operand) -> Tensor:
    """True where exactly one operand is true."""
    return _compare_truth("logical_xor", input, other)


def bitwise_and(input: Operand, other: Operand) -> Tensor:
    """Bit by bit, and of integers; the logical one of truth values."""
    return _combine_bits(operator.and_, "bitwise_and", input, other)


def bitwise_or(input: Operand, other: Operand) -> Tensor:
    """Bit by bit, or of integers; the logical one of truth values."""
    return _combine_bits(operator.or_, "bitwise_or", input, other)


def bitwise_xor(input: Operand, other: Operand) -> Tensor:
    """Bit by bit, xor of integers; the logical one of truth values."""
    return _combine_bits(operator.xor, "bitwise_xor", input, other)


def bitwise_not(input: Tensor) -> Tensor:
    """Every bit of integers turned round; of truth values the logical not."""
    if tensor_of(input).dtype.kind not in "biu":
        raise TypeError("`input` of bitwise_not() has fractions; accepted: integers or bool")
    return Tensor(~input.data)


def logical_not(input: Tensor) -> Tensor:
    """True where `input` is False or 0."""
    return Tensor(array_module(tensor_of(input).data).logical_not(input.data))


def isnan(input: Tensor) -> Tensor:
    """True where an element is not a number."""
    return Tensor(array_module(tensor_of(input).data).isnan(input.data))


def isinf(input: Tensor) -> Tensor:
    """True where an element is infinite."""
    return Tensor(array_module(tensor_of(input).data).isinf(input.data))


def isfinite(input: Tensor) -> Tensor:
    """True where an element is neither infinite nor NaN."""
    return Tensor(array_module(tensor_of(input).data).isfinite(input.data))


@numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first largest element, over all elements or along `dim`."""
    return _argument("argmax", input, dim, keepdim)


@numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first smallest element, over all elements or along `dim`."""
    return _argument("argmin", input, dim, keepdim)


def _argument(name, input, dim, keepdim):
    array, xp = tensor_of(input).data, array_module(input.data)
    axis = None if dim is None else checks.axis(dim, array.ndim)
    axes = tuple(range(array.ndim)) if axis is None else (axis,)
    if array.ndim and not all_of(array.shape[a] for a in axes):
        raise IndexError(f"`input` of shape {array.shape} is empty along `dim`; accepted: a length >= 1")
    shape = kept_shape(array.shape, axes) if flag(keepdim, "keepdim") else dropped_shape(array.shape, axes)
    if array.size == 0:
        return _wrap(xp.zeros(shape, dtype="int64"))
    index = getattr(xp, name)(array.reshape(-1) if axis is None or not array.ndim else array, axis=axis)
    return _wrap(xp.asarray(index).reshape(shape))


@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Indices that sort `input` along `dim`; ties keep their order, NaN counts as the largest."""
    flag(descending, "descending"), flag(stable, "stable")
    return with_axes(tensor_of(input), lambda x: _wrap(_order(x.data, checks.axis(dim, x.ndim), descending)))


def _order(array, axis, descending):
    xp = array_module(array)
    if not descending:
        return xp.argsort(array, axis=axis, kind="stable")
    backwards = xp.argsort(xp.flip(array, axis), axis=axis, kind="stable")  # so that ties keep their order
    return xp.flip(array.shape[axis] - 1 - backwards, axis)


@numpy_names
def all(input: Tensor, dim: Ints | None = None, keepdim: bool = False) -> Tensor:
    """Return whether all elements are true, over everything or along `dim`."""
    return _truth("all", input, dim, keepdim)


@numpy_names
def any(input: Tensor, dim: Ints | None = None, keepdim: bool = False) -> Tensor:
    """Return whether any element is true, over everything or along `dim`."""
    return _truth("any", input, dim, keepdim)


def _truth(name, input, dim, keepdim):
    flag(keepdim, "keepdim")
    axes = checks.axes(dim, tensor_of(input).ndim)
    found = getattr(array_module(input.data), name)(input.data.astype(BOOL), axis=axes, keepdims=keepdim)
    return Tensor(found.astype("uint8") if input.dtype == "uint8" else found)  # PyTorch's old masks stay what they are


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Return whether two tensors agree within tolerance, a Python bool."""
    return bool(close(input, other, rtol, atol, equal_nan).all())


def close(input: Tensor, other: Tensor, rtol: float, atol: float, equal_nan: bool) -> Any:
    """The array of truth values, one for each element: whether it is close to the other one."""
    arrays = tensor_of(input).data, tensor_of(other, "other").data
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not 0 <= checks.number(value, name) < math.inf:
            raise checks.refused(name, value, "a number >= 0, and finite")
    options = dict(rtol=float(rtol), atol=float(atol), equal_nan=checks.flag(equal_nan, "equal_nan"))
    return checks.run(array_module(input.data).isclose, arrays, options)


def equal(input: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have the same shape and elements, a Python bool."""
    same_shape = tensor_of(input).shape == tensor_of(other, "other").shape
    return same_shape and bool((input.data == other.data).all())
