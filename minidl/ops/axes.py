"""The axes that an option names: the conventions that reductions and shape ops share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from minidl import checks
from minidl.backend import Shape
from minidl.ops.promotion import tensor_of

if TYPE_CHECKING:
    from minidl.tensor.core import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def numpy_names(function: F) -> F:
    """Accept ``axis`` for ``dim`` and ``keepdims`` for ``keepdim``."""

    @functools.wraps(function)
    def renamed(*args, **options):
        if "axis" in options:
            options["dim"] = options.pop("axis")
        if "keepdims" in options:
            options["keepdim"] = options.pop("keepdims")
        return function(*args, **options)

    return renamed


def axes_of(dim: Any, ndim: int) -> Shape:
    """`dim` (None, int or ints) as a sorted tuple of non-negative axes."""
    return checks.axes(dim, ndim)


def reduced(dim: Any, input: Tensor) -> Shape:
    """The axes of a Tensor that `dim` names to a reduction; an empty tuple names all, as None does."""
    axes = checks.axes(dim, tensor_of(input).ndim)
    return axes or tuple(range(input.ndim))


def kept_shape(shape: Shape, axes: Shape) -> Shape:
    """`shape` with the reduced axes at length 1."""
    return tuple([1 if axis in axes else length for axis, length in enumerate(shape)])


def dropped_shape(shape: Shape, axes: Shape) -> Shape:
    """`shape` without the reduced axes."""
    return tuple(length for axis, length in enumerate(shape) if axis not in axes)


def with_axes(input: Tensor, function: Callable[..., Any], drops: bool = False) -> Tensor:
    """``function(input)``, to which a 0-d tensor looks like one of one element; `drops` says that it loses its axis."""
    if input.ndim:
        return function(input)
    out = function(input.reshape(1))
    return out if drops else out.reshape(())
