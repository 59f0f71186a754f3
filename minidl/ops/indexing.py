"""Reading elements by position, and the adjoint: adding to elements by position.

Basic indices (slices, numbers, None, ...) give a view. Advanced ones (arrays, boolean
masks) are turned into flat positions, so that one pair of linear ops serves them all:
`Take` gathers, `Put` adds where positions repeat. `Put` sorts and sums segments, in
place of a scatter-add, so its result has the same bits on every run.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import checks
from minidl.backend import Array, Shape, array_module, device_of, in_order_of
from minidl.ops.promotion import Operand, operand, tensor_of
from minidl.tensor import Function, Tensor


def _is_basic(index):
    return all(map(_is_basic_part, index if isinstance(index, tuple) else (index,)))


def _is_basic_part(part):
    if part is None or part is Ellipsis or isinstance(part, slice):
        return True
    return isinstance(part, (int, np.integer)) and not isinstance(part, bool)


def _raw(index):
    """The index with Tensors replaced by their arrays."""
    if isinstance(index, tuple):
        return tuple(_raw(part) for part in index)
    if not isinstance(index, Tensor):
        return index
    return index.data.astype(bool) if index.dtype == np.uint8 else index.data  # PyTorch's old masks


def _at(array, index):
    """``array[index]``; where the index does not fit, an `IndexError` with the shape in it."""
    try:
        return array[index]
    except IndexError as error:
        raise IndexError(f"`index` does not fit shape {array.shape}: {error}") from None
    except (TypeError, ValueError):
        raise checks.refused("index", index, "numbers, slices, arrays of integers, masks", TypeError) from None


class Slice(Function):
    """A basic index: a view, whose adjoint puts the values into zeros."""

    index: Any
    shape: Shape

    may_alias = True

    def forward(self, x: Array, index: Any) -> float | Array:
        self.index, self.shape = index, x.shape
        return _at(x, index)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return Unslice.apply(grad, self.index, self.shape), None


class Unslice(Function):
    """Adjoint of `Slice`: zeros of `shape` with x at the index."""

    def forward(self, x: Array, index: Any, shape: Shape) -> Array:
        self.index: Any = index
        # A gradient lies in memory as its image does, unless the index dropped or added axes.
        keeps_axes = x.ndim == len(shape)
        y = in_order_of(x, shape, 0) if keeps_axes else array_module(x).zeros(shape, dtype=x.dtype)
        y[index] = x
        return y

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad[self.index], None, None


class Take(Function):
    """Elements of `x` (in C order) at flat `positions`, which are `distinct` if no two are the same."""

    shape: Shape
    distinct: bool

    def forward(self, x: Array, positions: Array, distinct: bool) -> Array:
        self.shape, self.distinct = x.shape, distinct
        self.save_for_backward(positions)
        return x.reshape(-1)[positions]

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (positions,) = self.saved_tensors
        return Put.apply(grad, positions.data, self.distinct, self.shape), None, None


class Put(Function):
    """Zeros of `shape`, to which the elements of `x` are added at flat `positions`."""

    def forward(self, x: Array, positions: Array, distinct: bool, shape: Shape) -> Array:
        self.distinct: bool = distinct
        self.save_for_backward(positions)
        return _sum_at(x, positions, distinct, math.prod(shape)).reshape(shape)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (positions,) = self.saved_tensors
        return Take.apply(grad, positions.data, self.distinct), None, None, None


def _sum_at(x, positions, distinct, size):
    """Sums of the elements of `x` with equal positions: stable sort, then one sum per run.

    Python waits for the device to know how many runs there are; distinct positions need neither sum nor wait.
    """
    xp = array_module(x)
    out = xp.zeros(size, dtype=x.dtype)
    if distinct:
        out[positions] = x
    if distinct or positions.size == 0:
        return out
    flat = positions.reshape(-1)
    order = xp.argsort(flat, kind="stable")
    where = flat[order]
    first = xp.concatenate([xp.ones(1, dtype=bool), where[1:] != where[:-1]])
    starts = xp.flatnonzero(first)
    out[where[starts]] = xp.add.reduceat(x.reshape(-1)[order], starts)
    return out


def getitem(input: Tensor, index: Any) -> Tensor:
    """``input[index]`` with NumPy's rules: slices, numbers, None, ..., integer arrays, boolean masks.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> x[[0, 0, 2]].sum().backward()
    >>> x.grad
    tensor([2., 0., 1.])
    """
    if _is_basic(index):
        return Slice.apply(input, index)
    return Take.apply(input, positions_of(input, _raw(index)), False)


def positions_of(input: Tensor, index: Any) -> Array:
    """Flat C-order positions of the elements that ``input[index]`` selects."""
    return _at(_numbered(input), index)


def _numbered(input):
    xp = array_module(input.data)
    return xp.arange(input.data.size).reshape(input.shape)


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """For every element of `indices`, the element of `input` with that index along `dim` (all in a row when None)."""
    _check_indices(indices, "indices")
    if dim is None:
        input, indices, dim = tensor_of(input).flatten(), indices.flatten(), 0
    axis = checks.axis(dim, tensor_of(input).ndim)
    if input.ndim != indices.ndim or not input.ndim:
        raise ValueError(f"`indices` has shape {indices.shape} but `input` has {input.shape}; accepted: as many axes")
    _check_range(indices, "indices", -input.shape[axis], input.shape[axis])
    return _along(input, indices, axis)


def _along(input, indices, axis):
    positions = array_module(input.data).take_along_axis(_numbered(input), indices.data, axis=axis)
    return Take.apply(input, positions, indices.shape[axis] == 1)


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """PyTorch's ``gather``: like `take_along_dim`, without broadcasting or negative indices.

    Raises
    ------
    TypeError
        If `index` holds no integers.
    ValueError
        If its shape does not fit: it may be shorter than `input` along every axis but `dim`, where it may be longer.
    IndexError
        If it holds a number that is no index. Checked on the CPU only: a GPU would have to be waited for.
    """
    axis = checks.axis(dim, tensor_of(input).ndim)
    _check_indices(index, "index")
    if index.data.size == 0:
        return Take.apply(input, index.data, True)
    if input.ndim == 0 or (index.ndim == 0 and input.ndim == 1):
        return gather(input.reshape(-1), 0, index.reshape(-1)).reshape(index.shape)
    if index.ndim != input.ndim or any(
        n > m for a, (n, m) in enumerate(zip(index.shape, input.shape)) if a != axis
    ):
        raise ValueError(
            f"`index` has shape {index.shape} but `input` has {input.shape}; accepted: as many axes, "
            f"none longer but axis {axis}"
        )
    _check_range(index, "index", 0, input.shape[axis])
    lead = tuple(slice(n) if a != axis else slice(None) for a, n in enumerate(index.shape))
    return _along(input[lead], index, axis)


def _check_indices(indices, name):
    if tensor_of(indices, name).dtype.kind not in "iu":
        raise checks.refused(name, indices.dtype, "a Tensor of integers", TypeError)


def _check_range(indices, name, least, end):
    """Every index is in range. Checked on the CPU only: on a GPU, Python would have to wait for the device."""
    array = indices.data
    if device_of(array) == "cpu" and array.size and not least <= array.min() <= array.max() < end:
        wrong = array[(array < least) | (array >= end)][0]
        raise IndexError(f"`{name}` holds {wrong}; accepted: {least} to {end - 1}")


class SetItem(Function):
    """A copy of `x` with ``x[index]`` replaced by `value`."""

    def forward(self, x: Array, value: float | Array, index: Any) -> Array:
        self.index: Any = index
        y = x.copy(order="K")
        try:
            y[index] = value
        except IndexError as error:
            raise IndexError(f"`index` does not fit shape {x.shape}: {error}") from None
        except (TypeError, ValueError):
            found = f"`value` is {checks.shown(value)} of shape {getattr(value, 'shape', ())}"
            raise ValueError(f"{found}; accepted: {x.dtype} of shape {x[index].shape}") from None
        return y

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        need_x, need_value, _ = self.needs_input_grad
        return (
            SetItem.apply(grad, 0.0, self.index) if need_x else None,
            grad[self.index] if need_value else None,
            None,
        )


def setitem(input: Tensor, index: Any, value: Operand) -> Tensor:
    """``input[index] = value`` in place, with gradients for both (see `Tensor.become`)."""
    value = operand(value, "value")
    if isinstance(value, Tensor):
        place = _at(input.data, _raw(index)).shape
        extra = value.ndim - len(place)  # NumPy allows leading axes of length 1 beyond those of the place
        value = value.reshape(value.shape[extra:]) if extra > 0 and value.shape[:extra] == (1,) * extra else value
    return input.become(SetItem.apply(input, value, _raw(index)))
