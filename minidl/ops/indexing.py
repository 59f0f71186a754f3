"""Reading elements by position, and the adjoint: adding to elements by position.

Basic indices (slices, numbers, None, ...) give a view. Advanced ones (arrays, boolean
masks) are turned into flat positions, so that one pair of linear ops serves them all:
`Take` gathers, `Put` adds where positions repeat. `Put` sorts and sums segments, in
place of a scatter-add, so its result has the same bits on every run.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.backend import array_module, full_in_order_of
from minidl.ops.arithmetic import operand
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
    return index.data if isinstance(index, Tensor) else index


class Slice(Function):
    """A basic index: a view, whose adjoint puts the values into zeros."""

    may_alias = True

    def forward(self, x, index):
        self.index, self.shape = index, x.shape
        return x[index]

    def backward(self, grad):
        return Unslice.apply(grad, self.index, self.shape), None


class Unslice(Function):
    def forward(self, x, index, shape):
        self.index = index
        # A gradient lies in memory as its image does, unless the index dropped or added axes.
        keeps_axes = x.ndim == len(shape)
        y = full_in_order_of(x, shape, 0) if keeps_axes else array_module(x).zeros(shape, dtype=x.dtype)
        y[index] = x
        return y

    def backward(self, grad):
        return grad[self.index], None, None


class Take(Function):
    """Elements of `x` (in C order) at flat `positions`, which are `distinct` if no two are the same."""

    def forward(self, x, positions, distinct):
        self.shape, self.distinct = x.shape, distinct
        self.save_for_backward(positions)
        return x.reshape(-1)[positions]

    def backward(self, grad):
        (positions,) = self.saved_tensors
        return Put.apply(grad, positions.data, self.distinct, self.shape), None, None


class Put(Function):
    """Zeros of `shape`, to which the elements of `x` are added at flat `positions`."""

    def forward(self, x, positions, distinct, shape):
        self.distinct = distinct
        self.save_for_backward(positions)
        return _sum_at(x, positions, distinct, math.prod(shape)).reshape(shape)

    def backward(self, grad):
        (positions,) = self.saved_tensors
        return Take.apply(grad, positions.data, self.distinct), None, None, None


def _sum_at(x, positions, distinct, size):
    """Sums of the elements of `x` with equal positions: stable sort, then one sum per run.

    How many runs there are, the CPU has to wait for; distinct positions need neither sum nor wait.
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


def getitem(input, index):
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


def positions_of(input, index):
    """Flat C-order positions of the elements that ``input[index]`` selects."""
    return _numbered(input)[index]


def _numbered(input):
    xp = array_module(input.data)
    return xp.arange(input.data.size).reshape(input.shape)


def take_along_dim(input, indices, dim):
    """For every element of `indices`, the element of `input` with that index along `dim`."""
    positions = array_module(input.data).take_along_axis(_numbered(input), indices.data, axis=dim)
    return Take.apply(input, positions, indices.shape[dim] == 1)


def gather(input, dim, index):
    """PyTorch's ``gather``: like `take_along_dim`, without broadcasting."""
    lead = tuple(slice(n) if axis != dim % input.ndim else slice(None) for axis, n in enumerate(index.shape))
    return take_along_dim(input[lead], index, dim)


class SetItem(Function):
    """A copy of `x` with ``x[index]`` replaced by `value`."""

    def forward(self, x, value, index):
        self.index = index
        y = x.copy(order="K")
        y[index] = value
        return y

    def backward(self, grad):
        need_x, need_value, _ = self.needs_input_grad
        return (
            SetItem.apply(grad, 0.0, self.index) if need_x else None,
            grad[self.index] if need_value else None,
            None,
        )


def setitem(input, index, value):
    """``input[index] = value`` in place, with gradients for both (see `Tensor.become`)."""
    value = operand(value)
    if isinstance(value, Tensor):
        place = input.data[_raw(index)].shape
        extra = value.ndim - len(place)  # NumPy allows leading axes of length 1 beyond those of the place
        value = value.reshape(value.shape[extra:]) if extra > 0 and value.shape[:extra] == (1,) * extra else value
    return input.become(SetItem.apply(input, value, _raw(index)))


def one_hot(tensor, num_classes=-1):
    """1 at each label, 0 elsewhere: shape ``(*tensor.shape, num_classes)``, int64.

    -1 classes means the largest label + 1, for which the device is waited for.
    """
    xp = array_module(tensor.data)
    num_classes = int(tensor.max()) + 1 if num_classes == -1 else num_classes
    return Tensor((tensor.data[..., None] == xp.arange(num_classes)).astype(xp.int64))
