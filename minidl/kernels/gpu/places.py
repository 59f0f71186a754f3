"""Augmentation of bytes: crops, flips and normalisation, told by tables, in one kernel."""

from __future__ import annotations

from minidl import backend
from minidl.kernels.gpu.tiles import MOST_ELEMENTS, cdiv, ct, kernel, side

TILE = 1024  # numbers of the result in a tile, at most


@kernel
def placed_bytes(
    images, rows, columns, table, out, HEIGHT: ct.Constant, WIDTH: ct.Constant, C: ct.Constant, T: ct.Constant
):
    """out (N HEIGHT WIDTH C) = table (256, C) of images (N, H, W, C) at rows (N, HEIGHT) and columns (N, WIDTH)."""
    place = ct.bid(0) * T + ct.arange(T, dtype=ct.int32)
    c, j, i, n = place % C, place // C % WIDTH, place // (C * WIDTH) % HEIGHT, place // (C * WIDTH * HEIGHT)
    row, column = ct.gather(rows, (n, i), padding_value=0), ct.gather(columns, (n, j), padding_value=0)
    byte = ct.gather(images, (n, row, column, c), padding_value=0)  # also where a row or column is -1
    ct.scatter(out, place, ct.gather(table, (ct.astype(byte, ct.int32), c), padding_value=0))


def looked_up(images, rows, columns, table):
    """Form of `minidl.data.places.looked_up`."""
    N, C, (h, w) = images.shape[0], images.shape[3], (rows.shape[1], columns.shape[1])
    if images.dtype.char != "B" or not 0 < N * h * w * C <= MOST_ELEMENTS or images.size > MOST_ELEMENTS:
        return NotImplemented
    out = backend.empty((N, h, w, C), table.dtype, like=images)
    T = side(out.size, TILE)
    placed_bytes((cdiv(out.size, T),), images, rows, columns, table, out.reshape(-1), h, w, C, T)
    return out
