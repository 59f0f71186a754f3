"""Windows that slide over an image for pooling: how many there are, and what each of their cells sees.

Every plain form of pooling is a loop over the window's cells ("taps"), never over pixels: what one tap sees of all
windows is a strided slice of the padded image.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minidl import backend
from minidl.backend import Array, Shape
from minidl.checks import Pair, is_integer, positive_pair, refused
from minidl.tensor import Tensor


MOST_BINS: int = 2**16  # along an axis, of adaptive pooling: they are listed one by one


def pooled_size(size: int, kernel: int, stride: int, padding: Pair, dilation: int = 1, ceil_mode: bool = False) -> int:
    """Number of windows along one axis, as PyTorch counts them.

    With `ceil_mode` a last window may hang over the edge, provided that it starts inside
    the image or its left padding.

    Examples
    --------
    >>> pooled_size(6, 3, 2, 0), pooled_size(6, 3, 2, 0, ceil_mode=True)
    (2, 3)
    """
    reach = dilation * (kernel - 1) + 1
    if min(kernel, stride, dilation) < 1:
        raise ValueError(f"`kernel_size`, `stride`, `dilation`: {kernel}, {stride}, {dilation}; accepted: numbers >= 1")
    if not 0 <= padding <= reach // 2:
        raise ValueError(f"`padding` is {padding}; accepted: 0 to {reach // 2}, half the window's reach of {reach}")
    spare = size + 2 * padding - reach
    count = (spare + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    if count < 1:
        raise ValueError(f"a window reaching over {reach} does not fit `x` of size {size} with `padding` {padding}")
    return count


def pooled_shape(
    shape: Shape, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1), ceil_mode: bool = False
) -> Shape:
    """Shape ``(N, C, OH, OW)`` of the pooled image; all arguments but the last are pairs."""
    N, C, H, W = shape
    OH, OW = (
        pooled_size(*axis, ceil_mode=ceil_mode) for axis in zip((H, W), kernel_size, stride, padding, dilation)
    )
    return N, C, OH, OW


def padded(
    shape: Shape, fill: float, pooled: Shape, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair,
    like: Array,
) -> tuple[Array, Any]:  # fmt: skip
    """An image of `fill` large enough for every window, and the index of the true image in it."""
    N, C, *image = shape
    reach = (
        max(pad + size, (count - 1) * step + gap * (kernel - 1) + 1)
        for pad, size, count, step, gap, kernel in zip(padding, image, pooled[2:], stride, dilation, kernel_size)
    )
    canvas = backend.empty_channels_last((N, C, *reach), like.dtype, like=like)
    canvas[...] = fill
    inside = (..., *(slice(pad, pad + size) for pad, size in zip(padding, image)))
    return canvas, inside


def taps(canvas: Array, pooled: Shape, kernel_size: Pair, stride: Pair, dilation: Pair) -> Iterator[Array]:
    """For each cell of the window, row by row, the slice of `canvas` it sees: shape ``(N, C, OH, OW)``."""
    for i in range(kernel_size[0]):
        for j in range(kernel_size[1]):
            h, w = i * dilation[0], j * dilation[1]
            yield canvas[:, :, h : h + pooled[2] * stride[0] : stride[0], w : w + pooled[3] * stride[1] : stride[1]]


def deliver(value: Array, out: Array | None, accumulate: bool = False) -> Array:
    """`value` itself, or written into (with `accumulate`: added to) `out`."""
    if out is None:
        return value
    if accumulate:
        out += value
    else:
        out[...] = value
    return out


def adaptive_bins(size: int, count: int) -> list[Pair]:
    """PyTorch's `count` bins over `size` pixels, as pairs (start, end): floor and ceiling of equal parts.

    Examples
    --------
    >>> adaptive_bins(5, 2)
    [(0, 3), (2, 5)]
    """
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def adaptive_size(input: Tensor, wanted: Any) -> Pair:
    """The (height, width) that `wanted` asks for, an int or a pair in which None keeps an axis of `input`."""
    accepted = "an int, None, or a pair of them (height, width)"
    if 0 in input.shape[1:]:
        raise ValueError(f"`input` has shape {input.shape}; accepted: pixels and channels")
    if wanted is None or is_integer(wanted):
        wanted = (wanted, wanted)
    if not isinstance(wanted, (tuple, list)) or len(wanted) != 2:
        raise refused("output_size", wanted, accepted)
    found = positive_pair(tuple(n if m is None else m for n, m in zip(input.shape[2:], wanted)), "output_size")
    if max(found) > MOST_BINS:
        raise refused("output_size", found, f"numbers up to {MOST_BINS}")
    return found
