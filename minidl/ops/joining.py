"""Joining tensors and cutting them up: concat is the backward of split, and split of concat."""

from __future__ import annotations

from minidl.backend import array_module, check_same_device
from minidl.ops.axes import axes_of
from minidl.ops.shape import unsqueeze
from minidl.tensor import Function


class Concat(Function):
    def forward(self, *arrays, axis):
        self.axis, self.sizes = axis, [a.shape[axis] for a in arrays]
        return array_module(arrays[0]).concatenate(arrays, axis=axis)

    def backward(self, grad):
        return split(grad, self.sizes, self.axis)


def concat(tensors, dim=0):
    """Join tensors along an axis; their other lengths must agree.

    Examples
    --------
    >>> import minidl
    >>> minidl.concat([minidl.zeros(1, 2), minidl.ones(1, 3)], dim=1)
    tensor([[0., 0., 1., 1., 1.]])
    """
    tensors = tuple(tensors)
    if not tensors:
        raise ValueError("`tensors` is empty; concat() needs at least one")
    axis = axes_of(dim, tensors[0].ndim)[0]
    for i, t in enumerate(tensors):
        check_same_device(("tensors[0]", tensors[0].data), (f"tensors[{i}]", t.data))
        if t.ndim != tensors[0].ndim or any(
            n != m for k, (n, m) in enumerate(zip(t.shape, tensors[0].shape)) if k != axis
        ):
            raise ValueError(
                f"`tensors[{i}]` has shape {t.shape} but `tensors[0]` has {tensors[0].shape}: "
                f"they may differ in axis {axis} only"
            )
    return Concat.apply(*tensors, axis=axis)


cat = concat


def stack(tensors, dim=0):
    """Join tensors of one shape along a new axis."""
    return concat([unsqueeze(t, dim) for t in tensors], dim)


def split(tensor, split_size_or_sections, dim=0):
    """Cut into pieces of a size, or of the given sizes; a tuple of views."""
    axis = axes_of(dim, tensor.ndim)[0]
    length, sizes = tensor.shape[axis], split_size_or_sections
    if isinstance(sizes, int):
        if sizes < 1:
            raise ValueError(f"`split_size_or_sections` is {sizes}; accepted: a size >= 1 or a list of sizes")
        sizes = [min(sizes, length - start) for start in range(0, max(length, 1), sizes)]
    if sum(sizes) != length:
        raise ValueError(f"`split_size_or_sections` adds up to {sum(sizes)} but axis {axis} has length {length}")
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    lead = (slice(None),) * axis
    return tuple(tensor[lead + (slice(end - n, end),)] for n, end in zip(sizes, ends))


def chunk(input, chunks, dim=0):
    """Cut into at most `chunks` pieces of equal length (the last may be shorter)."""
    length = input.shape[axes_of(dim, input.ndim)[0]]
    if chunks < 1:
        raise ValueError(f"`chunks` is {chunks}; accepted: integers >= 1")
    return split(input, -(-length // chunks) if length else [0] * chunks, dim)
