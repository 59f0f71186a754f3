"""Which axes an option names: the conventions that reductions and shape ops share."""

from __future__ import annotations

import functools


def numpy_names(function):
    """Accept ``axis`` for ``dim`` and ``keepdims`` for ``keepdim``."""

    @functools.wraps(function)
    def renamed(*args, **options):
        if "axis" in options:
            options["dim"] = options.pop("axis")
        if "keepdims" in options:
            options["keepdim"] = options.pop("keepdims")
        return function(*args, **options)

    return renamed


def axes_of(dim, ndim):
    """`dim` (None, int or ints) as a sorted tuple of non-negative axes."""
    if dim is None:
        return tuple(range(ndim))
    axes = (dim,) if isinstance(dim, int) else tuple(dim)
    for axis in axes:
        if not -ndim <= axis < max(ndim, 1):
            raise IndexError(f"`dim` is {axis}; accepted for a tensor of {ndim} axes: {-ndim} to {ndim - 1}")
    return tuple(sorted({axis % ndim for axis in axes})) if ndim else ()


def kept_shape(shape, axes):
    """`shape` with the reduced axes at length 1."""
    return tuple(1 if axis in axes else length for axis, length in enumerate(shape))
