"""A row of tiles: how products of any size are made of tiles of two sizes.

`sweep` multiplies `total` rows of A with one panel of B. Tiles of `rows` and ``rows - 1``
cover most totals exactly (8 and 7: 14, 15, 16, 21 ... and everything from 42). What is
left over, and panels whose last vector is not full, are computed by a whole tile into
a scratch tile, from which the valid part is copied: the tile itself knows no edges.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import literally

from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.memory import pointer
from minidl.kernels.cpu.tile.tile import shape, tiles


class TileSize(NamedTuple):
    """The numbers of a tile's `Shape` that kernels compute with."""

    rows: int
    vectors: int
    lanes: int
    bytes: int  # of one number

    @classmethod
    @functools.cache
    def of(cls, dtype):
        """The size for `dtype` on this processor."""
        tile = shape(dtype)
        return cls(tile.rows, tile.vectors, tile.lanes, np.dtype(dtype).itemsize)

    def edge(self):
        """Bytes of a scratch tile."""
        return self.rows * self.vectors * self.lanes * self.bytes


class Rows(NamedTuple):
    """The rows of A that a sweep multiplies, and how the tile reduces them; strides in bytes."""

    total: int
    overhang: bool  # whether rows beyond `total` may be read (and are thrown away)
    stride: int
    step: int
    runs: int
    length: int


@jit
def divide(total, rows):
    """Number of tiles of `rows`, then of ``rows - 1``, cover `total`; what is left over comes last, in a tile of `rows`.

    Examples
    --------
    >>> divide(30, 8), divide(17, 8)
    ((2, 2), (2, 0))
    """
    tiles = -(-total // rows)
    if tiles * (rows - 1) <= total:
        return total - tiles * (rows - 1), tiles * rows - total
    return total // rows, 0


@jit
def sweep(spec, size, r, a, a_runs, b, count, valid, start, c, c_row, accumulate, floor, edge, ahead, ahead_step):
    """Multiply the rows `r` at `a` with the panel at `b`, of `count` vectors, into `valid` columns of the rows at `c`.

    Starts from the row of numbers at `start` or, with `accumulate`, adds to `c`; `edge` is a scratch tile.
    """
    literally(spec)
    wide, narrow = divide(r.total, size.rows)
    width, done, i = count * size.lanes, 0, 0
    while done < r.total:
        rows = size.rows - 1 if wide <= i < wide + narrow else size.rows
        missing = max(0, done + rows - r.total)
        back = 0 if r.overhang else missing  # a last tile that may not hang over ends with the last row
        a_tile, c_tile = a + (done - back) * r.stride, c + (done - back) * c_row
        if valid == width and missing == 0:
            s, s_row, d, d_row = (c_tile if accumulate else start), (c_row if accumulate else 0), c_tile, c_row
        else:
            s, s_row, d, d_row = start, 0, edge, width * size.bytes
        tiles(
            spec, rows, count, a_tile, r.stride, r.step, a_runs, r.runs, r.length, b, s, s_row, d, d_row, floor,
            ahead, ahead_step,
        )  # fmt: skip
        ahead += r.runs * r.length * ahead_step
        if d == edge:
            keep(size, edge, width, back, rows - missing + back, c_tile, c_row, valid, accumulate, floor)
        done, i = done + rows - missing, i + 1


@jit
def keep(size, edge, width, first, last, c, c_row, valid, accumulate, floor):
    """Copy rows `first` to `last` of the scratch tile, `valid` columns, to `c`, or add them."""
    for i in range(first, last):
        source = pointer(edge + i * width * size.bytes, floor)
        target = pointer(c + i * c_row, floor)
        for j in range(valid):
            target[j] = target[j] + source[j] if accumulate else source[j]
