"""The largest and the smallest elements over axes, and where they are.

An extreme of a whole tensor shares the gradient among all that tie for it; one along an
axis is the element at an index, and so gives its gradient with respect to the first of them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from minidl import checks
from minidl.backend import Array, Shape, array_module
from minidl.checks import Ints, flag
from minidl.ops.arithmetic import maximum, minimum
from minidl.ops.axes import dropped_shape, kept_shape, numpy_names, reduced
from minidl.ops.indexing import take_along_dim
from minidl.ops.promotion import tensor_of
from minidl.tensor import Function, Tensor


@numpy_names
def amax(input: Tensor, dim: Ints | None = None, keepdim: bool = False) -> Tensor:
    """Largest element over `dim`; tied elements share the gradient evenly; NaN if there is one."""
    return _extremes(input, "max", dim, keepdim)


@numpy_names
def amin(input: Tensor, dim: Ints | None = None, keepdim: bool = False) -> Tensor:
    """Smallest element over `dim`; tied elements share the gradient evenly."""
    return _extremes(input, "min", dim, keepdim)


def _extremes(input, name, dim, keepdim):
    axes = reduced(dim, input)
    flag(keepdim, "keepdim")
    _refuse_empty(input, axes, name)
    return Extreme.apply(input, name, axes, keepdim)


def _refuse_empty(input, axes, name):
    if not math.prod(input.shape[axis] for axis in axes):
        raise IndexError(f"`input` of shape {input.shape} has no {name}; accepted: a length >= 1 along `dim`")


class Extreme(Function):
    """Largest or smallest element over axes; elements that tie share the gradient evenly."""

    def forward(self, x: Array, name: str, axes: Shape, keepdim: bool) -> Array:
        self.kept: Shape = kept_shape(x.shape, axes)
        y = getattr(x, name)(axis=axes, keepdims=True)
        winners = (x == y) | ((x != x) & (y != y))  # a NaN wins, and does not equal itself
        self.save_for_backward(winners * (1 / winners.sum(axis=axes, keepdims=True)).astype(x.dtype))
        return y if keepdim else y.reshape(dropped_shape(x.shape, axes))

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (share,) = self.saved_tensors
        return grad.reshape(self.kept) * share, None, None, None


class ValuesAndIndices(NamedTuple):
    """Result of ``max(dim)`` and ``min(dim)``."""

    values: Tensor
    indices: Tensor


@numpy_names
def max(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Largest element; with `dim` a pair (values, indices); with a second Tensor the larger of each two."""
    return _extreme("max", input, dim, keepdim)


@numpy_names
def min(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Smallest element; with `dim` a pair (values, indices); with a second Tensor the smaller of each two."""
    return _extreme("min", input, dim, keepdim)


def _extreme(name, input, dim, keepdim):
    if isinstance(dim, Tensor):
        return {"max": maximum, "min": minimum}[name](tensor_of(input), dim)
    if dim is None:
        return {"max": amax, "min": amin}[name](input)
    axis = checks.axis(dim, tensor_of(input).ndim)
    flag(keepdim, "keepdim")
    if input.ndim == 0:
        return ValuesAndIndices(input.clone(), Tensor(array_module(input.data).zeros((), dtype="int64")))
    _refuse_empty(input, (axis,), name)
    index = _winners(input.data, name, axis)
    values = take_along_dim(input, index, axis)
    return ValuesAndIndices(values, index) if keepdim else ValuesAndIndices(values.squeeze(axis), index.squeeze(axis))


def _winners(array, name, axis):
    """The positions of the extreme elements of an array along an axis, which stays with length 1."""
    xp, kept = array_module(array), kept_shape(array.shape, (axis,))
    empty = 0 in kept  # NumPy has no position along an empty axis even where none is asked for
    index = xp.zeros(kept, "int64") if empty else getattr(array, f"arg{name}")(axis=axis).reshape(kept)
    return Tensor(index)
