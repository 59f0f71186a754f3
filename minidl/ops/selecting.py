"""Picking elements out and putting elements in, along an axis or under a mask (to single places: ``scattering.py``).

Everything is one of the linear pair `Take` and `Put` (see ``indexing.py``) at positions that are worked out
here, so repeated positions are added in a fixed order, by a stable sort and a sum over each run.
"""

from __future__ import annotations

from typing import Any

from minidl import checks
from minidl.backend import array_module, quietly
from minidl.ops.arithmetic import where
from minidl.ops.indexing import Put, Take, _check_indices, _check_range, _numbered, positions_of
from minidl.ops.promotion import operand, tensor_of
from minidl.tensor import Tensor


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` along `dim` at the positions `index`, a tensor of integers (n,)."""
    return Take.apply(input, _slices(input, dim, index), False)


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """`input` with the slices of ``alpha * source`` added at the positions `index` along `dim`.

    Examples
    --------
    >>> import minidl
    >>> index, source = minidl.tensor([0, 0, 2]), minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> minidl.index_add(minidl.zeros(3), 0, index, source)
    tensor([3., 0., 3.], grad_fn=<Add>)
    """
    positions = _slices(input, dim, index)
    if tensor_of(source, "source").shape != positions.shape:
        raise ValueError(f"`source` has shape {source.shape}; `index` and `input` need {positions.shape}")
    _check_dtype("source", source, input)
    if not (isinstance(alpha, int) and alpha == 1):
        source = source * checks.number(alpha, "alpha")
    return input + Put.apply(source, positions, False, input.shape)


def _slices(input, dim, index):
    """Flat positions of the slices at `index` along `dim`."""
    if tensor_of(index, "index").ndim > 1:
        raise ValueError(f"`index` has shape {index.shape}; accepted: one axis of integers")
    axis = checks.axis(dim, tensor_of(input).ndim)
    _check_index(index, input.shape[axis] if input.ndim else 1)
    flat = index.data.reshape(-1)
    return array_module(input.data).take(_numbered(input), flat, axis=axis) if input.ndim else flat.reshape(())


def _check_index(index, size):
    """Integers within an axis. Checked on the CPU only: on a GPU, Python would have to wait for the device."""
    if index.dtype.kind not in "iu":
        raise TypeError(f"`index` is of dtype {index.dtype}; accepted: integers")
    if index.device == "cpu" and index.data.size:
        low, high = index.data.min(), index.data.max()
        if low < 0 or high >= size:
            raise IndexError(f"`index` holds {low if low < 0 else high}; accepted: 0 to {size - 1}")


def _check_dtype(name, tensor, input):
    if tensor_of(tensor, name).dtype != input.dtype:
        raise TypeError(f"`{name}` is {tensor.dtype} but `input` is {input.dtype}; cast one with .to(dtype)")


def masked_fill(input: Tensor, mask: Tensor, value: Tensor | float) -> Tensor:
    """`input` with `value`, a number or a 0-d tensor, wherever `mask` is true."""
    _check_mask(mask)
    tensor_of(input)
    value = operand(value, "value")
    if isinstance(value, Tensor):
        if value.ndim:
            raise ValueError(f"`value` has shape {value.shape}; accepted: a number or a 0-d tensor")
        if value.dtype.kind == "c" and input.dtype.kind != "c":
            raise TypeError(f"`value` is {value.dtype}, which {input.dtype} cannot hold")
        value = value.astype(input.dtype)
    elif isinstance(value, complex) and input.dtype.kind != "c":
        raise TypeError(f"`value` is {value!r}, which {input.dtype} cannot hold")
    elif input.dtype.kind in "iu" and not (abs(value) < 2**63 and value == int(value)):
        raise TypeError(f"`value` is {value!r}, which {input.dtype} cannot hold")
    else:
        value = checks.number(value, "value") if isinstance(value, int) else value
        value = Tensor(quietly(array_module(input.data).full, (), value, dtype=input.dtype))
    return where(mask, value, input)


def _check_mask(mask):
    if tensor_of(mask, "mask").dtype != bool:
        raise TypeError(f"`mask` is of dtype {mask.dtype}; accepted: bool")


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements of `input` where `mask` is true, one after another: shape (n,). Python waits for the device."""
    _check_mask(mask)
    shape = checks.broadcast(input=tensor_of(input), mask=mask)
    chosen = array_module(mask.data).broadcast_to(mask.data, shape)
    input = input.broadcast_to(shape)
    return Take.apply(input, positions_of(input, chosen), True)


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Indices of the elements that are not 0: (count, axes), or a tensor for each axis. Python waits for the device."""
    checks.flag(as_tuple, "as_tuple")
    xp = array_module(tensor_of(input).data)
    found = xp.nonzero(input.data.reshape(input.shape or (1,)))
    if as_tuple:
        return tuple(Tensor(index) for index in found)
    return Tensor(xp.stack(found, axis=1)[:, : input.ndim])


def diagonal(input: Tensor, offset: int = 0, dim1: int | None = 0, dim2: int = 1) -> Tensor:
    """The elements whose indices along two axes differ by `offset`, as a new last axis."""
    if tensor_of(input).ndim < 2:
        raise ValueError(f"`input` has shape {input.shape}; accepted: at least 2 axes")
    a, b = checks.axis(dim1, input.ndim, "dim1"), checks.axis(dim2, input.ndim, "dim2")
    if a == b:
        raise ValueError(f"`dim1` and `dim2` are both axis {a}; accepted: two different ones")
    others = [axis for axis in range(input.ndim) if axis not in (a, b)]
    numbered = _numbered(input).transpose((*others, a, b))
    rows, columns = _on_diagonal(array_module(input.data), input.shape[a], input.shape[b], offset)
    return Take.apply(input, numbered[(Ellipsis, rows, columns)], True)


def _on_diagonal(xp, height, width, offset):
    """Rows and columns of the elements of a diagonal."""
    first = max(-checks.integer(offset, "offset", -checks.MOST, checks.MOST), 0)
    rows = xp.arange(first, first + max(min(height - first, width - max(offset, 0)), 0))
    return rows, rows + offset


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector as the diagonal of a matrix of zeros; of a matrix its diagonal.

    Examples
    --------
    >>> import minidl
    >>> minidl.diag(minidl.tensor([1, 2]), 1)
    tensor([[0, 1, 0],
            [0, 0, 2],
            [0, 0, 0]])
    """
    if tensor_of(input).ndim == 2:
        return _diagonal_of_matrix(input, diagonal)
    if input.ndim != 1:
        raise ValueError(f"`input` has shape {input.shape}; accepted: a vector or a matrix")
    side = input.shape[0] + abs(diagonal)
    rows, columns = _on_diagonal(array_module(input.data), side, side, diagonal)
    return Put.apply(input, side * rows + columns, True, (side, side))


_diagonal_of_matrix = diagonal


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 at each label, 0 elsewhere: shape ``(*tensor.shape, num_classes)``, int64.

    -1 classes means the largest label + 1, for which Python waits for the device.

    Raises
    ------
    IndexError
        If a label is negative or names no class (looked at on the CPU only).

    Examples
    --------
    >>> import minidl
    >>> minidl.one_hot(minidl.tensor([1, 0]))
    tensor([[0, 1],
            [1, 0]])
    """
    _check_indices(tensor, "tensor")
    num_classes, xp = checks.integer(num_classes, "num_classes", least=-1), array_module(tensor.data)
    if num_classes == -1:
        if tensor.data.size == 0:
            raise ValueError("`num_classes` is -1 but `tensor` is empty; accepted: a number of classes")
        num_classes = int(tensor.max()) + 1
    checks.lengths((*tensor.shape, num_classes), "num_classes")
    _check_range(tensor, "tensor", 0, num_classes)
    return Tensor((tensor.data[..., None] == xp.arange(num_classes)).astype(xp.int64))
