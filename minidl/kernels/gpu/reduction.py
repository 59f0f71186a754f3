"""Sums of columns, in two stages: each block sums a share of the rows, and then one block sums the shares in order.

CuPy's own sum over the rows of an image (N H W, C) walks each column on its own, C numbers apart in memory, which can
be a hundred times slower than memory allows. Here a block reads whole tiles of neighbouring columns.
"""

from __future__ import annotations

from minidl import backend
from minidl.kernels.gpu.tiles import cdiv, ct, kernel, rows, side, takes

TR, TC = 32, 64  # rows and columns of a tile, at most
SHARES = 64  # of the rows, at most: fewer than the rows of one block of the second stage


def shares_of(R: int, rows_of_a_tile: int, most: int | None = None) -> tuple[int, int]:
    """Steps, each one tile, in a share of R rows, and the number of shares, at most `most` (default `SHARES`).

    Examples
    --------
    >>> shares_of(10, 32), shares_of(32 * 64 + 1, 32), shares_of(32 * 64 + 1, 32, 2)
    ((1, 1), (2, 33), (33, 2))
    """
    tiles = cdiv(R, rows_of_a_tile)
    steps = cdiv(tiles, SHARES if most is None else most)
    return steps, cdiv(tiles, steps)


@kernel
def column_sums(x, sums, STEPS, TR: ct.Constant, TC: ct.Constant):
    """sums[s, c]: the sum of x[r, c] over the rows r of share s, which has STEPS tiles of TR rows."""
    share, last = ct.bid(1), ct.cdiv(x.shape[0], TR)
    total = ct.zeros((TR, TC), dtype=ct.float64 if x.dtype == ct.float64 else ct.float32)
    for tile in range(share * STEPS, min(share * STEPS + STEPS, last)):
        total = total + ct.load(x, (tile, ct.bid(0)), (TR, TC), padding_mode=ct.PaddingMode.ZERO)
    ct.store(sums, (share, ct.bid(0)), ct.sum(total, 0, keepdims=True).astype(sums.dtype))


def sum_of_rows(x):
    """The sum of the rows of `x` (R, C), in its dtype: (C,)."""
    R, C = x.shape
    tr, tc = side(R, TR), side(C, TC)
    steps, shares = (cdiv(R, tr), 1) if R <= SHARES else shares_of(R, tr)
    sums = backend.empty((shares, C), x.dtype, like=x)
    column_sums((cdiv(C, tc), shares), x, sums, steps, tr, tc)
    return sums[0] if shares == 1 else sum_of_rows(sums)


def sum_forward(x, axes, keepdim):
    """Form of `minidl.ops.reduction.sum_forward`, for sums of the channels of images or the columns of a matrix."""
    is_columns = (x.ndim, tuple(axes)) in ((4, (0, 2, 3)), (2, (0,)))
    if not is_columns or not takes(x):
        return NotImplemented
    sums = sum_of_rows(rows(backend.channels_last(x)) if x.ndim == 4 else x)
    return sums.reshape([1 if axis in axes else n for axis, n in enumerate(x.shape)]) if keepdim else sums
