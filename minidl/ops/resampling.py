"""Images of another size, and images read at any place.

Along each axis an output is a weighted sum of a few inputs: 1 nearest, 2 linear, 4 cubic. Which ones is known
before the data is, so `interpolate` is made of the linear `Pick`, whose adjoint adds in a fixed order; in
`grid_sample` places are data as well, and have a gradient through the weights.

Reference: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29, 1981.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.backend import Array, array_module
from minidl.checks import Ints, positive_pair
from minidl.ops.arithmetic import where
from minidl.ops.average_pooling import adaptive_avg_pool2d
from minidl.ops.indexing import Take
from minidl.ops.padding import Pick
from minidl.ops.promotion import tensor_of
from minidl.ops.sequences import adaptive_avg_pool1d
from minidl.tensor import Tensor

CUBIC = -0.75  # the free constant of cubic convolution


def linear_weights(t: Tensor | Array) -> list[Tensor | Array]:
    """Weights of the elements before and after a place, `t` beyond the first."""
    return [1 - t, t]


def cubic_weights(t: Array) -> list[Array]:
    """Weights of two elements before and two after a place, `t` beyond the second."""

    def near(d):
        return ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1

    def far(d):
        return ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


# kind: (first element relative to the place rounded down, the weights)
TAPS: dict[str, tuple[int, Callable[..., Any]]] = {"linear": (0, linear_weights), "cubic": (-1, cubic_weights)}
# mode: (number of image axes or None for any, kind of taps)
MODES: dict[str, tuple[int | None, str]] = {
    "nearest": (None, "nearest"),
    "nearest-exact": (None, "nearest-exact"),
    "linear": (1, "linear"),
    "bilinear": (2, "linear"),
    "bicubic": (2, "cubic"),
    "area": (None, "area"),
}


def interpolate(
    input: Tensor, size: Ints | None = None, scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:
    """Images of another size, as PyTorch's ``interpolate``.

    Parameters
    ----------
    input : Tensor, shape (N, C, L) or (N, C, H, W)
    size : int or sequence of int, optional
        The output's lengths.
    scale_factor : float or sequence of float, optional
        Instead of `size`: how many times as long.
    mode : str
        ``"nearest"``, ``"nearest-exact"``, ``"linear"`` (one axis), ``"bilinear"``, ``"bicubic"``, ``"area"``.
    align_corners : bool, optional
        Lay the outermost elements on each other, rather than their outer edges.
    recompute_scale_factor : bool, optional
        Scale by the ratio of the lengths, which are whole, rather than by `scale_factor`.
    antialias : bool
        False: smoothing before shrinking is not there.

    Raises
    ------
    ValueError
        If the options do not fit each other or `input`.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([[[0.0, 4.0]]], requires_grad=True)
    >>> minidl.interpolate(x, size=4, mode="linear")
    tensor([[[0., 1., 3., 4.]]], grad_fn=<Add>)
    """
    axes = tensor_of(input).ndim - 2
    _check_mode(input, mode, align_corners, antialias)
    size, scales = _sizes(input, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        return (adaptive_avg_pool1d if axes == 1 else adaptive_avg_pool2d)(input, size)
    kind = MODES[mode][1]
    for axis, n, m, scale in zip(range(2, 2 + axes), input.shape[2:], size, scales):
        input = _resized(input, axis, kind, _places(n, m, scale, kind, align_corners))
    return input


def _check_mode(input, mode, align_corners, antialias):
    if mode not in MODES:
        raise ValueError(f"`mode` is {mode!r}; accepted: {', '.join(map(repr, MODES))}")
    needed, kind = MODES[mode]
    if input.ndim not in ((3, 4) if needed is None else (needed + 2,)):
        raise ValueError(f"`input` has shape {input.shape}; accepted for `mode` {mode!r}: (N, C, L) or (N, C, H, W)")
    if input.data.size == 0 and 0 in input.shape[1:]:
        raise ValueError(f"`input` has shape {input.shape}; accepted: lengths of 1 or more after the first")
    if align_corners is not None and kind not in TAPS:
        raise ValueError(f"`align_corners` is {align_corners} for `mode` {mode!r}, which takes none")
    if antialias:
        raise ValueError("`antialias` is True; accepted: False, smooth before shrinking")


def _sizes(input, size, scale_factor, recompute):
    """The output's lengths, and for each axis the factor to compute places by, None for the ratio of lengths."""
    lengths = input.shape[2:]
    if (size is None) == (scale_factor is None):
        raise ValueError(f"`size` is {size} and `scale_factor` {scale_factor}; accepted: one of the two")
    given = size if scale_factor is None else scale_factor
    given = tuple(given) if isinstance(given, (tuple, list)) else (given,) * len(lengths)
    if len(given) != len(lengths):
        raise ValueError(f"`size` or `scale_factor` has {len(given)} numbers; accepted: {len(lengths)} or one for all")
    if scale_factor is None:
        if recompute:
            raise ValueError("`recompute_scale_factor` is True but `size` is given, which settles it")
        scales = (None,) * len(lengths)
    else:
        scales = (None,) * len(lengths) if recompute else tuple(map(float, given))
        given = tuple(math.floor(n * float(factor)) for n, factor in zip(lengths, given))
    if min(given) < 1:
        raise ValueError(f"the output would have lengths {given}; accepted: `size` or `scale_factor` for 1 or more")
    return given, scales


def _places(n, m, scale, kind, align_corners):
    """Places of the `m` outputs along an axis of `n`, as floats; for nearest taps rounded down already."""
    i = np.arange(m, dtype=np.float64)
    ratio = n / m if scale is None else 1 / scale
    if kind == "nearest":
        return np.minimum(np.floor(i * np.float32(ratio)), n - 1)
    if kind == "nearest-exact":
        return np.minimum(np.floor((i + 0.5) * np.float32(ratio)), n - 1)
    if align_corners:
        return i * ((n - 1) / (m - 1) if m > 1 else 0)
    places = ratio * (i + 0.5) - 0.5
    return np.maximum(places, 0) if kind == "linear" else places


def _resized(x, axis, kind, places):
    n = x.shape[axis]
    below = np.floor(places).astype(int)
    if kind not in TAPS:
        return x if below.tolist() == list(range(n)) else Pick.apply(x, tuple(below.tolist()), axis)
    first, weights = TAPS[kind]
    total, shape = None, (-1,) + (1,) * (x.ndim - 1 - axis)
    for tap, weight in enumerate(weights(places - below), first):
        positions = tuple(np.clip(below + tap, 0, n - 1).tolist())
        weight = Tensor(array_module(x.data).asarray(weight.tolist(), dtype=x.dtype)).reshape(shape)
        part = Pick.apply(x, positions, axis) * weight
        total = part if total is None else total + part
    return total


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels to finer pixels: (..., C * r * r, H, W) to (..., C, H * r, W * r) (Shi et al., arXiv 1609.05158)."""
    r = positive_pair(upscale_factor, "upscale_factor")[0]
    if tensor_of(input).ndim < 3 or input.shape[-3] % (r * r):
        raise ValueError(f"`input` has shape {input.shape}; accepted for `upscale_factor` {r}: (..., C * {r * r}, H, W)")
    *lead, C, H, W = input.shape
    k = len(lead)
    apart = input.reshape(*lead, C // (r * r), r, r, H, W)
    return apart.permute(*range(k), k, k + 3, k + 1, k + 4, k + 2).reshape(*lead, C // (r * r), H * r, W * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """The inverse of `pixel_shuffle`: (..., C, H * r, W * r) to (..., C * r * r, H, W)."""
    r = positive_pair(downscale_factor, "downscale_factor")[0]
    if tensor_of(input).ndim < 3 or input.shape[-1] % r or input.shape[-2] % r:
        raise ValueError(f"`input` has shape {input.shape}; its height and width must be multiples of {r}")
    *lead, C, H, W = input.shape
    k = len(lead)
    apart = input.reshape(*lead, C, H // r, r, W // r, r)
    return apart.permute(*range(k), k, k + 2, k + 4, k + 1, k + 3).reshape(*lead, C * r * r, H // r, W // r)


def _unnormalised(places, n, align_corners):
    """From -1 ... 1 to positions along an axis of `n`."""
    return (places + 1) * ((n - 1) / 2) if align_corners else ((places + 1) * n - 1) / 2


def _reflected(places, n, align_corners):
    """Mirrored back and forth at the outermost elements, or at their outer edges."""
    low, span = (0, n - 1) if align_corners else (-0.5, n)
    if span == 0:
        return places * 0
    distance = (places - low).abs()
    turns = (distance.detach() / span).floor()
    extra = distance - turns * span
    return where(turns.data % 2 == 0, extra, span - extra) + low


def _into(places, n, padding_mode, align_corners):
    """Places brought into an axis of `n` as the padding mode has it; those of zeros stay outside."""
    if padding_mode == "zeros":
        return places
    places = _reflected(places, n, align_corners) if padding_mode == "reflection" else places
    return places.clamp(0, n - 1)


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """Images read at the places that a grid names, as PyTorch's ``grid_sample``.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W)
    grid : Tensor, shape (N, OH, OW, 2)
        For every output its place (x, y); -1 and 1 are the image's edges.
    mode : str
        ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
    padding_mode : str
        Outside lie ``"zeros"``, the ``"border"``'s elements, or the image's ``"reflection"``.
    align_corners : bool, optional
        Take -1 and 1 for the middles of the outermost pixels, rather than their outer edges.

    Returns
    -------
    Tensor, shape (N, C, OH, OW)

    References
    ----------
    M. Jaderberg et al., "Spatial Transformer Networks", arXiv 1506.02025.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> minidl.grid_sample(x, minidl.zeros(1, 1, 1, 2))
    tensor([[[[2.5]]]])
    """
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"`mode` is {mode!r}; accepted: 'bilinear', 'nearest', 'bicubic'")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(f"`padding_mode` is {padding_mode!r}; accepted: 'zeros', 'border', 'reflection'")
    if tensor_of(input).ndim != 4 or tensor_of(grid, "grid").ndim != 4 or grid.shape[3] != 2 or grid.shape[0] != input.shape[0]:
        raise ValueError(
            f"`input` has shape {input.shape} and `grid` {grid.shape}; accepted: (N, C, H, W) and (N, OH, OW, 2)"
        )
    if input.dtype != grid.dtype:
        raise TypeError(f"`input` is {input.dtype} but `grid` is {grid.dtype}; cast one with .to(dtype)")
    if 0 in input.shape[1:]:
        raise ValueError(f"`input` has shape {input.shape}; accepted: lengths of 1 or more after the first")
    columns, rows = (_taps(grid[..., i], input.shape[3 - i], mode, padding_mode, align_corners) for i in (0, 1))
    total = None
    for (row, row_weight), (column, column_weight) in itertools.product(rows, columns):
        part = _read(input, row, column) * (row_weight * column_weight).unsqueeze(1)
        total = part if total is None else total + part
    return total


def _taps(places, n, mode, padding_mode, align_corners):
    """For each tap along an axis the positions, whole numbers in an array, and the weights, a Tensor."""
    places = _unnormalised(places, n, align_corners)
    xp = array_module(places.data)
    if mode != "bicubic":
        places = _into(places, n, padding_mode, align_corners)
    if mode == "nearest":
        nearest = xp.rint(places.data)
        return [(nearest, Tensor(_is_inside(nearest, n).astype(places.dtype)))]
    below = xp.floor(places.data)
    first, weights = TAPS["cubic" if mode == "bicubic" else "linear"]
    taps = []
    for tap, weight in enumerate(weights(places - Tensor(below)), first):
        position = below + tap
        if mode == "bicubic" and padding_mode != "zeros":
            position = xp.rint(_into(Tensor(position), n, padding_mode, align_corners).data)
        taps.append((position, where(_is_inside(position, n), weight, 0.0)))
    return taps


def _is_inside(positions, n):
    return (positions >= 0) & (positions <= n - 1)


def _read(input, row, column):
    """The elements of (N, C, H, W) at rows and columns (N, OH, OW), whatever lies there where these are outside."""
    N, C, H, W = input.shape
    xp = array_module(input.data)
    pixel = xp.where(_is_inside(row, H) & _is_inside(column, W), row * W + column, 0).astype("int64")
    images = xp.arange(N * C).reshape(N, C, 1, 1) * (H * W)
    return Take.apply(input, images + pixel[:, None], False)
