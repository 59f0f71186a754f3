"""Questions about elements: the answers are truth values, bits or indices and have no gradient."""

from __future__ import annotations

from builtins import all as all_of

from minidl import checks
from minidl.backend import array_module, check_same_device
from minidl.ops.axes import dropped_shape, kept_shape, numpy_names, with_axes
from minidl.ops.promotion import BOOL, module_of, operand, promoted, tensor_of
from minidl.tensor import Tensor, _wrap

TABLE = {
    "eq": lambda xp, a, b: a == b,
    "ne": lambda xp, a, b: a != b,
    "lt": lambda xp, a, b: a < b,
    "le": lambda xp, a, b: a <= b,
    "gt": lambda xp, a, b: a > b,
    "ge": lambda xp, a, b: a >= b,
    "logical_and": lambda xp, a, b: xp.logical_and(a, b),
    "logical_or": lambda xp, a, b: xp.logical_or(a, b),
    "logical_xor": lambda xp, a, b: xp.logical_xor(a, b),
}
BITWISE = {
    "bitwise_and": lambda xp, a, b: a & b,
    "bitwise_or": lambda xp, a, b: a | b,
    "bitwise_xor": lambda xp, a, b: a ^ b,
}


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


def _make(name, rule):
    def function(input, other):
        a, b = _compared(input, other)
        return Tensor(rule(module_of(a, b), a, b))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Element-wise {name}, a boolean tensor of the broadcast shape."
    return function


globals().update({name: _make(name, rule) for name, rule in TABLE.items()})


def _make_bitwise(name, rule):
    def function(input, other):
        a, b = map(_array, promoted(input, other))
        if (b if isinstance(a, (int, float)) else a).dtype.kind not in "biu":
            raise TypeError(f"`input` of {name}() has fractions; accepted: integers or bool")
        return Tensor(rule(module_of(a, b), a, b))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Bit by bit, {name.partition('_')[2]} of integers; of truth values the logical one."
    return function


globals().update({name: _make_bitwise(name, rule) for name, rule in BITWISE.items()})


def bitwise_not(input):
    """Every bit of integers turned round; of truth values the logical not."""
    if tensor_of(input).dtype.kind not in "biu":
        raise TypeError("`input` of bitwise_not() has fractions; accepted: integers or bool")
    return Tensor(~input.data)


def logical_not(input):
    """True where `input` is False or 0."""
    return Tensor(array_module(tensor_of(input).data).logical_not(input.data))


def isnan(input):
    """True where an element is not a number."""
    return Tensor(array_module(tensor_of(input).data).isnan(input.data))


def isinf(input):
    """True where an element is infinite."""
    return Tensor(array_module(tensor_of(input).data).isinf(input.data))


def isfinite(input):
    """True where an element is neither infinite nor NaN."""
    return Tensor(array_module(tensor_of(input).data).isfinite(input.data))


@numpy_names
def argmax(input, dim=None, keepdim=False):
    """Index of the first largest element, over all elements or along `dim`."""
    return _argument("argmax", input, dim, keepdim)


@numpy_names
def argmin(input, dim=None, keepdim=False):
    """Index of the first smallest element, over all elements or along `dim`."""
    return _argument("argmin", input, dim, keepdim)


def _argument(name, input, dim, keepdim):
    array, xp = tensor_of(input).data, array_module(input.data)
    axis = None if dim is None else checks.axis(dim, array.ndim)
    axes = tuple(range(array.ndim)) if axis is None else (axis,)
    if array.ndim and not all_of(array.shape[a] for a in axes):
        raise IndexError(f"`input` of shape {array.shape} is empty along `dim`; accepted: a length >= 1")
    shape = kept_shape(array.shape, axes) if keepdim else dropped_shape(array.shape, axes)
    if array.size == 0:
        return _wrap(xp.zeros(shape, dtype="int64"))
    index = getattr(xp, name)(array.reshape(-1) if axis is None or not array.ndim else array, axis=axis)
    return _wrap(xp.asarray(index).reshape(shape))


@numpy_names
def argsort(input, dim=-1, descending=False, stable=True):
    """Indices that sort `input` along `dim`; ties keep their order, NaN counts as the largest."""
    return with_axes(tensor_of(input), lambda x: _wrap(_order(x.data, checks.axis(dim, x.ndim), descending)))


def _order(array, axis, descending):
    xp = array_module(array)
    if not descending:
        return xp.argsort(array, axis=axis, kind="stable")
    backwards = xp.argsort(xp.flip(array, axis), axis=axis, kind="stable")  # so that ties keep their order
    return xp.flip(array.shape[axis] - 1 - backwards, axis)


@numpy_names
def all(input, dim=None, keepdim=False):
    """Return whether all elements are true, over everything or along `dim`."""
    return _truth("all", input, dim, keepdim)


@numpy_names
def any(input, dim=None, keepdim=False):
    """Return whether any element is true, over everything or along `dim`."""
    return _truth("any", input, dim, keepdim)


def _truth(name, input, dim, keepdim):
    axes = checks.axes(dim, tensor_of(input).ndim)
    found = getattr(array_module(input.data), name)(input.data.astype(BOOL), axis=axes, keepdims=keepdim)
    return Tensor(found.astype("uint8") if input.dtype == "uint8" else found)  # PyTorch's old masks stay what they are


def allclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Return whether two tensors agree within tolerance, a Python bool."""
    xp = array_module(tensor_of(input).data)
    checks.number(rtol, "rtol", least=0), checks.number(atol, "atol", least=0)
    return bool(xp.allclose(input.data, tensor_of(other, "other").data, rtol=rtol, atol=atol, equal_nan=equal_nan))


def equal(input, other):
    """Return whether two tensors have the same shape and elements, a Python bool."""
    same_shape = tensor_of(input).shape == tensor_of(other, "other").shape
    return same_shape and bool((input.data == other.data).all())
