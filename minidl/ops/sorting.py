"""Sorting and what follows from it: the order has no gradient, the sorted values are gathered by it."""

from __future__ import annotations

from typing import Any

from minidl import checks
from minidl.backend import array_module
from minidl.ops.comparison import argsort, isnan
from minidl.ops.extremes import ValuesAndIndices
from minidl.ops.indexing import Take, _numbered
from minidl.ops.promotion import tensor_of
from minidl.ops.tiling import narrow
from minidl.tensor import Tensor


def _taken(input, indices, axis):
    """Distinct elements along an axis, and where they were."""
    if not input.ndim:
        return ValuesAndIndices(input.clone(), indices)
    positions = array_module(input.data).take_along_axis(_numbered(input), indices.data, axis=axis)
    return ValuesAndIndices(Take.apply(input, positions, True), indices)


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> ValuesAndIndices:
    """A pair (values, indices), ordered along `dim`; equal elements keep their order, NaN counts as the largest.

    Examples
    --------
    >>> import minidl
    >>> minidl.sort(minidl.tensor([3.0, 1.0, 2.0]))
    ValuesAndIndices(values=tensor([1., 2., 3.]), indices=tensor([1, 2, 0]))
    """
    checks.flag(descending, "descending"), checks.flag(stable, "stable")
    return _taken(input, argsort(input, dim, descending), checks.axis(dim, input.ndim))


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesAndIndices:
    """The `k` largest elements along `dim` (or smallest), in order, as a pair (values, indices)."""
    checks.flag(largest, "largest"), checks.flag(sorted, "sorted")
    axis, k = checks.axis(dim, tensor_of(input).ndim), checks.integer(k, "k")
    n = input.shape[axis] if input.ndim else 1
    if not 0 <= k <= n:
        raise ValueError(f"`k` is {k}; accepted: 0 to {n}, the length of axis {axis}")
    order = argsort(input, axis, descending=largest)
    return _taken(input, narrow(order, axis, 0, k) if input.ndim else order.reshape(1)[:k].reshape(()), axis)


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, the lower one of two; with `dim` a pair (values, indices). A NaN is the middle of all.

    Examples
    --------
    >>> import minidl
    >>> minidl.median(minidl.tensor([4.0, 1.0, 3.0, 2.0]))
    tensor(2.)
    """
    checks.flag(keepdim, "keepdim")
    if dim is None:
        if tensor_of(input).data.size == 0:
            raise ValueError(f"`input` of shape {input.shape} has no elements, and so no median")
        return median(input.reshape(-1), 0).values
    xp, axis = array_module(input.data), checks.axis(dim, input.ndim)
    if input.ndim == 0:
        return sort(input, dim)
    n = input.shape[axis]
    if n == 0:
        raise IndexError(f"`dim` is {dim}, an axis of length 0 in shape {input.shape}, which has no median")
    order = argsort(input, axis)
    middle, last = narrow(order, axis, (n - 1) // 2, 1), None
    if input.dtype.kind == "f":
        missing = isnan(input).data
        last = xp.expand_dims(missing.argmax(axis=axis), axis)
        middle = Tensor(xp.where(missing.any(axis=axis, keepdims=True), last, middle.data))
    found = _taken(input, middle, axis)
    return found if keepdim else ValuesAndIndices(*(x.squeeze(axis) for x in found))
