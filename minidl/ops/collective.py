"""Sums over the parts of a batch, in one fixed order, wherever the parts are computed.

This process cuts its images into parts; other processes have other parts. `tree_sum` adds
those of this process, `all_sum` adds the results of all processes, and `copies` hands the
total to each part. They are linear: `copies` is the adjoint of `tree_sum`, and `all_sum` is
its own, since each process's loss depends on the arrays of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.ops.creation import full
from minidl.ops.joining import concat, split
from minidl.ops.normalisation import _affine, check_channels
from minidl.tensor import Function, Tensor


class Exchange:
    """Arrays sent to the other parts of a batch and received from them; here a process that works alone.

    Attributes
    ----------
    parts : int
        The number of parts into which this process cuts its images.
    alone : bool
        True if no other process has parts of the batch.
    """

    parts: int = 8
    alone: bool = True

    def sum(self, array: Array) -> Array:
        """The sum of the arrays that all processes give, which is the caller's own."""
        return array.copy()


exchange: Exchange = Exchange()  # `minidl.distributed` puts another in its place


class AllSum(Function):
    """The sum of one array of each process; every process receives it."""

    names: tuple[str, ...] = ("input",)

    def forward(self, x: Array) -> Array:
        return exchange.sum(x)

    def backward(self, gradient: Tensor) -> Tensor:
        return all_sum(gradient)


def all_sum(input: Tensor) -> Tensor:
    """The sum of the `input` of all processes, which all call this in the same order.

    The gradient is the sum of the gradients of all processes, so a loss in one of them
    reaches the `input` of each.
    """
    return AllSum.apply(input)


class TreeSum(Function):
    """The sum of arrays of one shape: 0 and 1, 2 and 3, then those two sums, and so on."""

    def forward(self, *arrays: Array) -> Array:
        self.count: int = len(arrays)
        parts = list(arrays)
        while len(parts) > 1:
            pairs = [left + right for left, right in zip(parts[::2], parts[1::2])]
            parts = pairs + parts[2 * len(pairs) :]
        return parts[0]

    def backward(self, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(copies(gradient, self.count))


class Copies(Function):
    """One array several times: the adjoint of `TreeSum`."""

    def forward(self, x: Array, *, count: int) -> tuple[Array, ...]:
        return tuple(x.copy() for _ in range(count))

    def backward(self, *gradients: Tensor) -> Tensor:
        return tree_sum(gradients)


def tree_sum(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape in the order of a binary tree."""
    return parts[0] if len(parts) == 1 else TreeSum.apply(*parts)


def copies(x: Tensor | None, count: int) -> list[Any]:
    """`x` as `count` tensors, whose gradients are added in the order of `tree_sum`; None as so many None."""
    return [x] * count if x is None or count == 1 else list(Copies.apply(x, count=count))


def total_for_each(parts: Sequence[Tensor], *more: Tensor) -> list[Tensor]:
    """The sum over the parts of all processes, once for each part of this one; `more` is joined to those of a process.

    Each part then goes on alone: what all parts computed from one tensor would, in the
    backward pass, multiply a sum whose terms are other ones for another number of processes.
    """
    own = tree_sum(parts)
    return copies(all_sum(concat([own, *more], dim=0) if more else own), len(parts))


def batch_norm_shared(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, relu: bool = False
) -> tuple[Tensor, Tensor, Tensor, Any]:
    """Batch normalisation by the statistics of the images of all processes.

    The same formula as `minidl.batch_norm_train`, with each sum taken per part, then over
    the parts of this process, then over the processes.

    Returns
    -------
    (output, mean, var, count)
        Statistics (C,) without a gradient, `var` the biased one; `count`, an array of one
        number, is that of the values per channel in all processes.
    """
    check_channels(input, weight=weight, bias=bias)
    N, C, *space = input.shape
    axes, per_channel = (0, *range(2, input.ndim)), (1, C) + (1,) * len(space)
    parts = split(input, [len(part) for part in np.array_split(range(N), max(1, min(exchange.parts, N)))])
    values = full((1,), N * int(np.prod(space)), dtype=input.dtype, device=input.device)
    sums = total_for_each([part.sum(axes) for part in parts], values)
    count = sums[0].data[C:]
    means = [total[:C] / count for total in sums]
    deviations = [part - mean.reshape(per_channel) for part, mean in zip(parts, means)]
    squares = total_for_each([(deviation * deviation).sum(axes) for deviation in deviations])
    variances = [total / count for total in squares]
    scales = [(var + eps).rsqrt() for var in variances]
    weights, biases = copies(weight, len(parts)), copies(bias, len(parts))
    outputs = [
        _affine(deviation * scale.reshape(per_channel), w, b, relu)
        for deviation, scale, w, b in zip(deviations, scales, weights, biases)
    ]
    return concat(outputs, dim=0), means[0].detach(), variances[0].detach(), count
