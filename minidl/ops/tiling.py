"""Repeating, shifting, cutting and masking along axes, made of the ops of ``shape.py`` and ``joining.py``."""

from __future__ import annotations

import operator
from typing import Any

from minidl import checks
from minidl.backend import array_module, to_numpy
from minidl.checks import Ints
from minidl.ops.arithmetic import where
from minidl.ops.joining import concat
from minidl.ops.promotion import tensor_of
from minidl.ops.selecting import index_select
from minidl.tensor import Tensor


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a vector or a scalar stays as it is."""
    if tensor_of(input).ndim > 2:
        raise ValueError(f"`input` of t() has shape {input.shape}; accepted: at most 2 axes")
    return input.transpose()


def matrix_transpose(input: Tensor) -> Tensor:
    """The last two axes swapped: what ``x.mT`` gives."""
    if tensor_of(input).ndim < 2:
        raise ValueError(f"`input` of mT has shape {input.shape}; accepted: at least 2 axes")
    return input.transpose(-2, -1)


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The tensor as often as `repeats` says along each axis, new leading axes first.

    Examples
    --------
    >>> import minidl
    >>> minidl.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    repeats = checks.size(repeats, "repeats")
    lead = len(repeats) - tensor_of(input).ndim
    if lead < 0 or any(n < 0 for n in repeats):
        raise ValueError(f"`repeats` is {repeats} for shape {input.shape}; accepted: a number >= 0 for every axis")
    shape = (1,) * lead + input.shape
    apart = input.reshape(tuple(n for length in shape for n in (1, length)))
    many = apart.broadcast_to(tuple(n for pair in zip(repeats, shape) for n in pair))
    return many.reshape(tuple(n * length for n, length in zip(repeats, shape)))


def tile(input: Tensor, *dims: Any) -> Tensor:
    """`repeat` with 1 for the leading axes that `dims` leaves out."""
    dims = checks.size(dims, "dims")
    return repeat(input, (1,) * (tensor_of(input).ndim - len(dims)) + dims)


def repeat_interleave(
    input: Tensor, repeats: int | Tensor, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Every slice along `dim` as often as `repeats` says, a number or one for each; flattened first without `dim`."""
    tensor_of(input)
    input, dim = (input.reshape(-1), 0) if dim is None else (input, checks.axis(dim, input.ndim))
    lead, length, rest = input.shape[:dim], input.shape[dim], input.shape[dim + 1 :]
    xp = array_module(input.data)
    if not isinstance(repeats, Tensor) and checks.is_integer(repeats):
        count = checks.integer(repeats, "repeats", least=0)
        checks.lengths((*input.shape, count), "repeats")
        many = input.unsqueeze(dim + 1).broadcast_to((*lead, length, count, *rest))
        return many.reshape(*lead, length * count, *rest)
    if isinstance(repeats, Tensor):
        counts = repeats.data.reshape(-1)
    else:
        counts = xp.asarray(checks.integers(repeats, "repeats", "integers >= 0"), dtype="int64")
    if counts.size not in (1, length) or counts.dtype.kind not in "iu":
        raise checks.refused("repeats", repeats, f"an integer >= 0, or one for each of {length} slices")
    counts = to_numpy(xp.broadcast_to(counts, (length,))).tolist()
    if min(counts, default=0) < 0:
        raise ValueError(f"`repeats` holds {min(counts)}; accepted: integers >= 0")
    checks.lengths((sum(counts), *lead, *rest), "repeats")
    index = [i for i, count in enumerate(counts) for _ in range(count)]
    if output_size is not None and checks.integer(output_size, "output_size") != len(index):
        raise ValueError(f"`output_size` is {output_size} but `repeats` makes {len(index)} slices")
    return index_select(input, dim, Tensor(xp.asarray(index, dtype="int64")))


def roll(input: Tensor, shifts: Ints, dims: Ints | None = None) -> Tensor:
    """Every slice moved on by `shifts` along `dims`, the last ones to the front; flattened meanwhile without `dims`."""
    shifts = checks.size((shifts,), "shifts") if not checks.is_integer(shifts) else (shifts,)
    tensor_of(input)
    if dims is None or (isinstance(dims, (tuple, list)) and not dims):
        if len(shifts) != 1:
            raise ValueError(f"`shifts` is {shifts}; accepted without `dims`: one number")
        return roll(input.reshape(-1), shifts, 0).reshape(input.shape)
    dims = (dims,) if checks.is_integer(dims) else checks.integers(dims, "dims")
    if len(dims) != len(shifts):
        raise ValueError(f"`shifts` is {shifts} and `dims` {dims}; accepted: as many of the one as of the other")
    for shift, dim in zip(shifts, dims):
        if not input.ndim:
            raise IndexError(f"`dims` is {dims}; a tensor of 0 axes has none to roll along")
        axis = checks.axis(dim, input.ndim, "dims")
        if input.data.size:
            n = input.shape[axis]
            cut = n - checks.integer(shift, "shifts") % n
            input = concat([narrow(input, axis, cut, n - cut), narrow(input, axis, 0, cut)], axis)
    return input


def narrow(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """The `length` slices along `dim` from `start` on, a view."""
    if tensor_of(input).ndim == 0:
        raise ValueError("`input` of narrow() has no axes; accepted: at least 1 axis")
    axis, start, length = checks.axis(dim, input.ndim), checks.integer(start, "start"), checks.integer(length, "length")
    n = input.shape[axis]
    first = start + n if start < 0 else start
    if not 0 <= first <= n or not 0 <= length <= n - first:
        raise IndexError(f"`start` is {start} and `length` {length}; axis {axis} has {n} slices")
    return input[(slice(None),) * axis + (slice(first, first + length),)]


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Every slice along `dim`, without that axis: a tuple of views."""
    if tensor_of(input).ndim == 0:
        raise ValueError("`input` of unbind() has no axes; accepted: at least 1 axis")
    axis = checks.axis(dim, input.ndim)
    return tuple(input[(slice(None),) * axis + (i,)] for i in range(input.shape[axis]))


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements of each matrix on and below a diagonal, 0 above."""
    return _triangle(input, diagonal, operator.le)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements of each matrix on and above a diagonal, 0 below."""
    return _triangle(input, diagonal, operator.ge)


def _triangle(input, diagonal, inside):
    if tensor_of(input).ndim < 2:
        raise ValueError(f"`input` has shape {input.shape}; accepted: at least 2 axes")
    diagonal = checks.integer(diagonal, "diagonal", -checks.MOST, checks.MOST)
    xp = array_module(input.data)
    rows, columns = (xp.arange(n) for n in input.shape[-2:])
    zero = Tensor(xp.zeros((), dtype=input.dtype))
    return where(Tensor(inside(columns - rows[:, None], diagonal)), input, zero)


def meshgrid(*tensors: Tensor, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of the points of a grid: of n vectors, n tensors of n axes.

    ``indexing="xy"`` swaps the first two axes, as pictures have them.
    """
    tensors = tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    checks.choice(indexing, "indexing", ("ij", "xy"))
    tensors = [tensor_of(x, f"tensors[{i}]") for i, x in enumerate(tensors)]
    if not tensors or any(x.ndim > 1 for x in tensors):
        raise ValueError(f"`tensors` have the shapes {[x.shape for x in tensors]}; accepted: one vector or more")
    order = [1, 0, *range(2, len(tensors))] if indexing == "xy" and len(tensors) > 1 else [*range(len(tensors))]
    shape = tuple(tensors[i].data.size for i in order)
    return tuple(
        x.reshape((1,) * order.index(i) + (-1,) + (1,) * (len(tensors) - 1 - order.index(i))).broadcast_to(shape)
        for i, x in enumerate(tensors)
    )
