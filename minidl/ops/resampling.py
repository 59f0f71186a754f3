"""Images of another size.

Along each axis an output is a weighted sum of a few inputs: 1 nearest, 2 linear, 4 cubic; more where smoothing comes
before shrinking. Which ones is known before the data is, so `interpolate` is made of the linear `Pick`, whose adjoint
adds in a fixed order. Images read at places that are data stand in ``sampling.py``.

Reference: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29, 1981.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.backend import Array, array_module
from minidl.checks import MOST, Ints, choice, flag, integer, lengths, number, positive_pair, shown
from minidl.ops.average_pooling import adaptive_avg_pool2d
from minidl.ops.padding import Pick
from minidl.ops.promotion import tensor_of
from minidl.ops.sequences import adaptive_avg_pool1d
from minidl.tensor import Tensor

CUBIC, CUBIC_SMOOTH = -0.75, -0.5  # the free constant of cubic convolution, PyTorch's without and with smoothing


def linear_weights(t: Tensor | Array) -> list[Tensor | Array]:
    """Weights of the elements before and after a place, `t` beyond the first."""
    return [1 - t, t]


def near(d: Array, a: float = CUBIC) -> Array:
    """Keys's weight of an element at a distance `d` of at most 1."""
    return ((a + 2) * d - (a + 3)) * d * d + 1


def far(d: Array, a: float = CUBIC) -> Array:
    """Keys's weight of an element at a distance `d` from 1 to 2."""
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a


def cubic_weights(t: Array) -> list[Array]:
    """Weights of two elements before and two after a place, `t` beyond the second."""
    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def triangle(d: Array) -> Array:
    """The linear kernel at the distances `d`."""
    return np.maximum(1 - d, 0)


def keys(d: Array) -> Array:
    """The cubic kernel at the distances `d`."""
    return np.where(d < 1, near(d, CUBIC_SMOOTH), np.where(d < 2, far(d, CUBIC_SMOOTH), 0))


# kind: (first element relative to the place rounded down, the weights)
TAPS: dict[str, tuple[int, Callable[..., Any]]] = {"linear": (0, linear_weights), "cubic": (-1, cubic_weights)}
# kind: (how far the kernel reaches, the kernel)
KERNELS: dict[str, tuple[int, Callable[..., Any]]] = {"linear": (1, triangle), "cubic": (2, keys)}
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
        Smooth before shrinking, for ``"bilinear"`` and ``"bicubic"``: the kernel is stretched over all the inputs that
        an output stands for.

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
    flag(antialias, "antialias")
    axes = tensor_of(input).ndim - 2
    _check_mode(input, mode, align_corners, antialias)
    size, scales = _sizes(input, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        return (adaptive_avg_pool1d if axes == 1 else adaptive_avg_pool2d)(input, size)
    kind = MODES[mode][1]
    for axis, n, m, scale in zip(range(2, 2 + axes), input.shape[2:], size, scales):
        if antialias:
            input = _weighted(input, axis, _smooth_taps(n, m, scale, kind, align_corners))
        else:
            input = _resized(input, axis, kind, _places(n, m, scale, kind, align_corners))
    return input


def _check_mode(input, mode, align_corners, antialias):
    needed, kind = MODES[choice(mode, "mode", tuple(MODES))]
    if input.ndim not in ((3, 4) if needed is None else (needed + 2,)):
        raise ValueError(f"`input` has shape {input.shape}; accepted for `mode` {mode!r}: (N, C, L) or (N, C, H, W)")
    if input.data.size == 0 and 0 in input.shape[1:]:
        raise ValueError(f"`input` has shape {input.shape}; accepted: lengths of 1 or more after the first")
    if align_corners is not None and flag(align_corners, "align_corners") in (True, False) and kind not in TAPS:
        raise ValueError(f"`align_corners` is {align_corners} for `mode` {mode!r}, which takes none")
    if antialias and (needed != 2):
        raise ValueError(f"`antialias` is True for `mode` {mode!r}; accepted for 'bilinear' and 'bicubic'")


def _sizes(input, size, scale_factor, recompute):
    """The output's lengths, and for each axis the factor to compute places by, None for the ratio of lengths."""
    sides = input.shape[2:]
    if (size is None) == (scale_factor is None):
        raise ValueError(f"`size` is {shown(size)} and `scale_factor` {shown(scale_factor)}; accepted: one of the two")
    name, given = ("size", size) if scale_factor is None else ("scale_factor", scale_factor)
    given = tuple(given) if isinstance(given, (tuple, list)) else (given,) * len(sides)
    given = tuple([integer(n, name) if scale_factor is None else number(n, name, 0, MOST) for n in given])
    recompute = recompute is not None and flag(recompute, "recompute_scale_factor")
    if len(given) != len(sides):
        raise ValueError(f"`size` or `scale_factor` has {len(given)} numbers; accepted: {len(sides)} or one for all")
    if scale_factor is None:
        if recompute:
            raise ValueError("`recompute_scale_factor` is True but `size` is given, which settles it")
        scales = (None,) * len(sides)
    else:
        scales = (None,) * len(sides) if recompute else tuple(map(float, given))
        given = tuple(math.floor(n * float(factor)) for n, factor in zip(sides, given))
    if min(given) < 1:
        raise ValueError(f"the output would have lengths {given}; accepted: `size` or `scale_factor` for 1 or more")
    lengths((*input.shape[:2], *given), name)
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
    return _weighted(x, axis, [(np.clip(below + i, 0, n - 1), w) for i, w in enumerate(weights(places - below), first)])


def _weighted(x, axis, taps):
    """The sum of elements of `x` along an axis times weights: each tap has a position and a weight for every output."""
    total, shape = None, (-1,) + (1,) * (x.ndim - 1 - axis)
    for positions, weight in taps:
        weight = Tensor(array_module(x.data).asarray(weight.tolist(), dtype=x.dtype)).reshape(shape)
        part = Pick.apply(x, tuple(positions.tolist()), axis) * weight
        total = part if total is None else total + part
    return total


def _smooth_taps(n, m, scale, kind, align_corners):
    """Positions and weights along an axis of `n` whose kernel is as wide as `ratio` elements, or 1 if that is more."""
    ratio = n / m if scale is None else 1 / scale
    if align_corners:
        ratio = (n - 1) / (m - 1) if m > 1 else 0
    reach, kernel = KERNELS[kind]
    stretch = max(ratio, 1)
    centres = ratio * (np.arange(m) + 0.5)  # in units in which element i covers i to i + 1
    first = np.maximum(np.floor(centres - reach * stretch + 0.5), 0).astype(int)
    end = np.minimum(np.floor(centres + reach * stretch + 0.5), n).astype(int)
    positions = first + np.arange((end - first).max())[:, None]
    weights = kernel(np.abs(positions + 0.5 - centres) / stretch) * (positions < end)
    return list(zip(np.minimum(positions, n - 1), weights / weights.sum(axis=0)))


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels to finer pixels: (..., C * r * r, H, W) to (..., C, H * r, W * r) (Shi et al., arXiv 1609.05158)."""
    r = positive_pair(upscale_factor, "upscale_factor")[0]
    if tensor_of(input).ndim < 3 or input.shape[-3] % (r * r):
        raise ValueError(f"`input` has shape {input.shape}; accepted for `upscale_factor` {r}: (..., C * {r**2}, H, W)")
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
