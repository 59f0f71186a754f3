"""Questions about elements: the answers are booleans or indices and have no gradient."""

from __future__ import annotations

from minidl.backend import array_module, check_same_device, is_array
from minidl.ops.arithmetic import module_of
from minidl.ops.axes import axes_of, kept_shape
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


def _array(x):
    return x.data if isinstance(x, Tensor) else x


def _make(name, rule):
    def function(input, other):
        a, b = _array(input), _array(other)
        check_same_device(*[(n, x) for n, x in (("input", a), ("other", b)) if is_array(x)])
        return Tensor(rule(module_of(a, b), a, b))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Element-wise {name}, a boolean tensor of the broadcast shape."
    return function


globals().update({name: _make(name, rule) for name, rule in TABLE.items()})


def logical_not(input):
    """True where `input` is False or 0."""
    return Tensor(array_module(input.data).logical_not(input.data))


def isnan(input):
    """True where an element is not a number."""
    return Tensor(array_module(input.data).isnan(input.data))


def isinf(input):
    """True where an element is infinite."""
    return Tensor(array_module(input.data).isinf(input.data))


def isfinite(input):
    """True where an element is neither infinite nor NaN."""
    return Tensor(array_module(input.data).isfinite(input.data))


def argmax(input, dim=None, keepdim=False):
    """Index of the first largest element, over all elements or along `dim`."""
    return _argument("argmax", input, dim, keepdim)


def argmin(input, dim=None, keepdim=False):
    """Index of the first smallest element, over all elements or along `dim`."""
    return _argument("argmin", input, dim, keepdim)


def _argument(name, input, dim, keepdim):
    xp = array_module(input.data)
    index = xp.asarray(getattr(xp, name)(input.data, axis=dim))
    return _wrap(index.reshape(kept_shape(input.shape, axes_of(dim, input.ndim))) if keepdim else index)


def argsort(input, dim=-1, descending=False, stable=True):
    """Indices that sort `input` along `dim`; ties keep their order."""
    xp = array_module(input.data)
    return _wrap(xp.argsort(-input.data if descending else input.data, axis=dim, kind="stable"))


def all(input, dim=None, keepdim=False):
    """Whether all elements are true, over everything or along `dim`."""
    return Tensor(array_module(input.data).all(input.data, axis=dim, keepdims=keepdim))


def any(input, dim=None, keepdim=False):
    """Whether any element is true, over everything or along `dim`."""
    return Tensor(array_module(input.data).any(input.data, axis=dim, keepdims=keepdim))


def allclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether two tensors agree within tolerance, a Python bool."""
    xp = array_module(input.data)
    return bool(xp.allclose(input.data, other.data, rtol=rtol, atol=atol, equal_nan=equal_nan))


def equal(input, other):
    """Whether two tensors have the same shape and elements, a Python bool."""
    return input.shape == other.shape and bool((input.data == other.data).all())
