"""Joining tensors and cutting them up: concat is the backward of split, and split of concat."""

from __future__ import annotations

from collections.abc import Sequence

from minidl import checks
from minidl.backend import Array, array_module, check_same_device, in_order_of
from minidl.checks import Ints
from minidl.ops.promotion import result_dtype, tensor_of
from minidl.ops.shape import unsqueeze
from minidl.tensor import Function, Tensor


class Concat(Function):
    """Arrays joined along an axis; the gradient is cut up at the same places."""

    axis: int
    sizes: list[int]

    def forward(self, *arrays: Array, axis: int) -> Array:
        self.axis, self.sizes = axis, [a.shape[axis] for a in arrays]
        shape = *arrays[0].shape[:axis], sum(self.sizes), *arrays[0].shape[axis + 1 :]
        return array_module(arrays[0]).concatenate(arrays, axis=axis, out=in_order_of(arrays[0], shape))

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return split(grad, self.sizes, self.axis)


def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along an axis; their other lengths must agree.

    Examples
    --------
    >>> import minidl
    >>> minidl.concat([minidl.zeros(1, 2), minidl.ones(1, 3)], dim=1)
    tensor([[0., 0., 1., 1., 1.]])
    """
    tensors = _several(tensors)
    dtype = result_dtype(*tensors)
    tensors = [t for t in tensors if t.shape != (0,)] or tensors  # which fits beside any shape, as in PyTorch
    axis = checks.axis(dim, tensors[0].ndim)
    for i, t in enumerate(tensors):
        if t.ndim == 0:
            raise ValueError(f"`tensors[{i}]` is 0-d; accepted: tensors with axes; stack() joins numbers")
        check_same_device(("tensors[0]", tensors[0].data), (f"tensors[{i}]", t.data))
        if t.ndim != tensors[0].ndim or any(
            n != m for k, (n, m) in enumerate(zip(t.shape, tensors[0].shape)) if k != axis
        ):
            raise ValueError(
                f"`tensors[{i}]` has shape {t.shape} but `tensors[0]` has {tensors[0].shape}: "
                f"they may differ in axis {axis} only"
            )
    return Concat.apply(*[t.astype(dtype) for t in tensors], axis=axis)


def _several(tensors):
    """A sequence of Tensors as a tuple, not empty."""
    if not isinstance(tensors, (tuple, list)) and not hasattr(tensors, "__next__"):
        raise checks.refused("tensors", tensors, "a tuple or list of Tensors", TypeError)
    tensors = tuple(tensors)
    if not tensors:
        raise ValueError("`tensors` is empty; accepted: at least one Tensor")
    return tuple([tensor_of(t, f"tensors[{i}]") for i, t in enumerate(tensors)])


cat = concat


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis."""
    tensors = _several(tensors)
    axis = checks.axis(dim, tensors[0].ndim + 1)
    for i, t in enumerate(tensors):
        if t.shape != tensors[0].shape:
            raise ValueError(f"`tensors[{i}]` has shape {t.shape} but `tensors[0]` has {tensors[0].shape}")
    dtype = result_dtype(*tensors)  # before the new axis: 0-d tensors have less say
    return concat([unsqueeze(t.astype(dtype), axis) for t in tensors], axis)


def split(tensor: Tensor, split_size_or_sections: Ints, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut into pieces of a size, or of the given sizes; a tuple of views."""
    axis = _axis(dim, tensor)
    length, sizes = tensor.shape[axis], split_size_or_sections
    if checks.is_integer(sizes):
        least = 0 if length == 0 else 1
        step = checks.integer(sizes, "split_size_or_sections", least)
        sizes = [min(step, length - start) for start in range(0, length, step)] if length else [0]
    sizes = checks.integers(sizes, "split_size_or_sections", "a size >= 1 or a list of sizes")
    if sum(sizes) != length or min(sizes, default=0) < 0:
        raise ValueError(f"`split_size_or_sections` adds up to {sum(sizes)} but axis {axis} has length {length}")
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    lead = (slice(None),) * axis
    return tuple(tensor[lead + (slice(end - n, end),)] for n, end in zip(sizes, ends))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut into at most `chunks` pieces of equal length (the last may be shorter)."""
    length, chunks = tensor_of(input).shape[_axis(dim, input)], checks.integer(chunks, "chunks", least=1)
    return split(input, -(-length // chunks) if length else [0] * chunks, dim)


def _axis(dim, input):
    """The axis of a Tensor that is to be cut."""
    if tensor_of(input).ndim == 0:
        raise ValueError("`input` is 0-d; accepted: a tensor with an axis to cut")
    return checks.axis(dim, input.ndim)
