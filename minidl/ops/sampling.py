"""Images read at any place: the places are data as well, and have a gradient through the weights.

An output is a weighted sum of the elements around its place, as in ``resampling.py``; bicubic weights are those of
R. Keys there.
"""

from __future__ import annotations

import itertools

from minidl.backend import array_module
from minidl.checks import choice, flag
from minidl.ops.arithmetic import where
from minidl.ops.indexing import Take
from minidl.ops.promotion import tensor_of
from minidl.ops.resampling import TAPS
from minidl.tensor import Tensor


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
    choice(mode, "mode", ("bilinear", "nearest", "bicubic"))
    choice(padding_mode, "padding_mode", ("zeros", "border", "reflection"))
    align_corners = align_corners is not None and flag(align_corners, "align_corners")
    axes = tensor_of(input).ndim, tensor_of(grid, "grid").ndim
    if axes != (4, 4) or grid.shape[3] != 2 or grid.shape[0] != input.shape[0]:
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
