"""ONNX operators that move elements, and the lists of numbers among inputs that say where to.

Such a list is an input since the newer opsets and was an attribute before; each operator
takes both. Results are never larger than `MAX_SIZE` elements, since a file says how large.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import minidl
from minidl import backend
from minidl.tensor import Tensor

MAX_SIZE = 1 << 28  # elements: a gigabyte of float32


def check_size(count: int) -> None:
    """Raise a `ValueError` if a result would have more than `MAX_SIZE` elements."""
    if count > MAX_SIZE:
        raise ValueError(f"a result of {count:,} elements; accepted: at most {MAX_SIZE:,}")


def numbers(x: Any) -> list[int] | None:
    """A Tensor of whole numbers, or a list of them, as a list of ints; None stays None."""
    return None if x is None else [int(n) for n in np.ravel(backend.to_numpy(x.data) if isinstance(x, Tensor) else x)]


def reshape(x: Tensor, wanted: Any = None, shape: Any = None, allowzero: int = 0) -> Tensor:
    """A 0 keeps a length (unless `allowzero`), -1 takes what is left."""
    lengths = numbers(wanted if wanted is not None else shape)
    kept = lengths if allowzero else [x.shape[k] if n == 0 else n for k, n in enumerate(lengths)]
    return x.reshape(*kept) if kept else x.reshape(())


def flatten(x: Tensor, axis: int = 1) -> Tensor:
    """Two axes: those before `axis`, and the others."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def squeeze(x: Tensor, wanted: Any = None, axes: Any = None) -> Tensor:
    """Without the named axes of length 1; by default without all of them."""
    axes = numbers(wanted if wanted is not None else axes)
    dropped = {k for k, n in enumerate(x.shape) if n == 1} if axes is None else {k % x.ndim for k in axes}
    if any(x.shape[k] != 1 for k in dropped):
        raise ValueError(f"`axes` is {axes} of shape {x.shape}; accepted: axes of length 1")
    return x.reshape(tuple(n for k, n in enumerate(x.shape) if k not in dropped))


def unsqueeze(x: Tensor, wanted: Any = None, axes: Any = None) -> Tensor:
    """With new axes of length 1, counted in the result."""
    axes = numbers(wanted if wanted is not None else axes)
    ndim = x.ndim + len(axes)
    axes, lengths = {k % ndim for k in axes}, iter(x.shape)
    return x.reshape(tuple(1 if k in axes else next(lengths) for k in range(ndim)))


def transpose(x: Tensor, perm: Any = None) -> Tensor:
    """By default all axes the other way round."""
    return x.permute(*(perm or reversed(range(x.ndim)))) if x.ndim else x


def expand(x: Tensor, shape: Any) -> Tensor:
    """Broadcast with a shape; a length of 1 in it keeps that of `x`."""
    shape = np.broadcast_shapes(x.shape, numbers(shape))
    check_size(math.prod(shape))
    return x.broadcast_to(*shape) if shape else x


def tile(x: Tensor, repeats: Any) -> Tensor:
    """Copies along each axis."""
    check_size(x.numel() * math.prod(numbers(repeats)))
    for axis, count in enumerate(numbers(repeats)):
        x = picked(x, np.tile(np.arange(x.shape[axis]), count), axis)
    return x


def picked(x: Tensor, positions: Any, axis: int) -> Tensor:
    """The elements at `positions`, an array of whole numbers from 0, along `axis`."""
    index = Tensor(backend.to_device(positions, x.device))
    return x[(slice(None),) * axis + (index,)]


def gather(x: Tensor, indices: Any, axis: int = 0) -> Tensor:
    """Elements by number along an axis; negative ones count from its end."""
    axis = axis % x.ndim
    positions = backend.to_numpy(indices.data).astype(np.int64)
    if ((positions < -x.shape[axis]) | (positions >= x.shape[axis])).any():
        raise ValueError(f"`indices` go beyond the {x.shape[axis]} elements of axis {axis}")
    return picked(x, positions % max(x.shape[axis], 1), axis)


def slice_(
    x: Tensor, starts_: Any = None, ends_: Any = None, axes_: Any = None, steps_: Any = None, starts: Any = None,
    ends: Any = None, axes: Any = None,
) -> Tensor:  # fmt: skip
    """Ranges along axes, as Python's; a step may be negative."""
    starts, ends = (numbers(a if a is not None else b) for a, b in ((starts_, starts), (ends_, ends)))
    axes = numbers(axes_ if axes_ is not None else axes) or range(len(starts))
    steps = numbers(steps_) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps):
        n = x.shape[axis]
        end = None if step < 0 and end < -n else end  # beyond the beginning
        x = picked(x, np.arange(n)[start:end:step], axis % x.ndim)
    return x


def split(
    x: Any, sizes: Any = None, axis: int = 0, split: Any = None, num_outputs: Any = None, outputs: Any = None
) -> tuple[Any, ...]:
    """Pieces of given sizes, or as many equal ones as there are outputs, the last of which may be smaller."""
    axis, sizes = axis % x.ndim, numbers(sizes if sizes is not None else split)
    if sizes is None:
        count = num_outputs or outputs
        each, n = -(-x.shape[axis] // count), x.shape[axis]
        sizes = [max(min(each, n - k * each), 0) for k in range(count)]
    if sum(sizes) != x.shape[axis] or min(sizes) < 0:
        raise ValueError(f"`split` is {sizes}, which is not the {x.shape[axis]} elements of axis {axis}")
    ends = np.cumsum(sizes)
    return tuple(picked(x, np.arange(end - size, end), axis) for end, size in zip(ends, sizes))


MODES = {b"reflect": "reflect", b"edge": "edge", b"wrap": "wrap"}


def pad(
    x: Tensor, widths: Any = None, fill: Any = None, axes: Any = None, mode: bytes = b"constant", pads: Any = None,
    value: Any = 0.0,
) -> Tensor:  # fmt: skip
    """Borders, all beginnings first; negative ones cut off."""
    widths, axes = numbers(widths if widths is not None else pads), numbers(axes)
    axes = range(x.ndim) if axes is None else axes
    value = value if fill is None else fill.item()
    for axis, before, after in zip(axes, widths[: len(axes)], widths[len(axes) :]):
        x = _bordered(x, axis % x.ndim, before, after, mode, value)
    return x


def _bordered(x, axis, before, after, mode, value):
    n = x.shape[axis]
    x = picked(x, np.arange(max(-before, 0), n - max(-after, 0)), axis) if min(before, after) < 0 else x
    before, after = max(before, 0), max(after, 0)
    check_size(x.numel() // max(x.shape[axis], 1) * (x.shape[axis] + before + after))
    if not before and not after:
        return x
    if mode in MODES:
        return picked(x, np.pad(np.arange(x.shape[axis]), (before, after), MODES[mode]), axis)
    ends = [x.shape[:axis] + (count,) + x.shape[axis + 1 :] for count in (before, after)]
    borders = [minidl.full(shape, value, dtype=x.dtype, device=x.device) for shape in ends]
    return minidl.concat([borders[0], x, borders[1]], dim=axis)


def shape_of(x: Tensor, start: int = 0, end: Any = None) -> Tensor:
    """The lengths of the axes from `start` to `end`."""
    return Tensor(np.array(x.shape[start:end], np.int64))


def constant(
    value: Any = None, value_float: Any = None, value_floats: Any = None, value_int: Any = None, value_ints: Any = None
) -> Any:
    """A constant; the loader has made a Tensor of `value`."""
    if value is not None:
        return value
    kind = np.float32 if value_float is not None or value_floats is not None else np.int64
    given = [v for v in (value_float, value_floats, value_int, value_ints) if v is not None]
    return Tensor(np.array(given[0], kind))


def constant_of_shape(shape: Any, value: Any = None) -> Tensor:
    """One value everywhere, float32 0 by default."""
    check_size(math.prod(numbers(shape)))
    filling = np.zeros(1, np.float32) if value is None else value.data
    return Tensor(np.full(numbers(shape), filling[0], filling.dtype))


def depth_to_space(x: Tensor, blocksize: int, mode: bytes = b"DCR") -> Tensor:
    """Channels to blocks of pixels."""
    N, C, H, W = x.shape
    b, D = blocksize, C // blocksize**2
    if mode == b"CRD":
        return x.reshape(N, D, b, b, H, W).permute(0, 1, 4, 2, 5, 3).reshape(N, D, H * b, W * b)
    return x.reshape(N, b, b, D, H, W).permute(0, 3, 4, 1, 5, 2).reshape(N, D, H * b, W * b)


def space_to_depth(x: Tensor, blocksize: int, mode: bytes = b"DCR") -> Tensor:
    """Blocks of pixels to channels."""
    N, C, H, W = x.shape
    b, order = blocksize, (0, 1, 3, 5, 2, 4) if mode == b"CRD" else (0, 3, 5, 1, 2, 4)
    return x.reshape(N, C, H // b, b, W // b, b).permute(*order).reshape(N, C * b * b, H // b, W // b)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Reshape": reshape, "Flatten": flatten, "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Transpose": transpose,
    "Expand": expand, "Tile": tile, "Gather": gather, "Slice": slice_, "Split": split, "Pad": pad, "Shape": shape_of,
    "Constant": constant, "ConstantOfShape": constant_of_shape, "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth, "Identity": lambda x: x,
    "Concat": lambda *inputs, axis: minidl.concat(inputs, dim=axis),
}  # fmt: skip
