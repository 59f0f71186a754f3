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
from minidl.kernels.cpu.tile.operands import Operand, Reduction
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
    """The numbers of tiles of `rows`, and of ``rows - 1``, that cover `total`; a rest comes last, in a tile of `rows`.

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
def sweep(spec, size, r, a, offsets, panel, start, c, accumulate, floor, edge, ahead):
    """Multiply the rows `r` at `a` with a panel into the rows of `c`, and prefetch what is `ahead`.

    Starts from the row of numbers at `start` or, with `accumulate`, adds to `c`; `edge` is a scratch tile. `c` and
    `ahead` are Operands, the others addresses; ``offsets[r]`` is where run r of the reduction begins.
    """
    literally(spec)
    wide, narrow = divide(r.total, size.rows)
    width, reduction = panel.vectors * size.lanes, Reduction(offsets, r.runs, r.length)
    near, done, i = ahead.address, 0, 0
    while done < r.total:
        rows = size.rows - 1 if wide <= i < wide + narrow else size.rows
        missing = max(0, done + rows - r.total)
        back = 0 if r.overhang else missing  # a last tile that may not hang over ends with the last row
        part, target = a + (done - back) * r.stride, Operand(c.address + (done - back) * c.row, c.row, 0)
        whole = panel.valid == width and missing == 0
        first = target if whole and accumulate else Operand(start, 0, 0)
        tiles(
            spec, rows, panel.vectors, Operand(part, r.stride, r.step), reduction, panel.address, first,
            target if whole else Operand(edge, width * size.bytes, 0), floor, Operand(near, 0, ahead.step),
        )  # fmt: skip
        near += r.runs * r.length * ahead.step
        if not whole:
            keep(size, edge, width, back, rows - missing + back, target, panel.valid, accumulate, floor)
        done, i = done + rows - missing, i + 1


@jit
def keep(size, edge, width, first, last, c, valid, accumulate, floor):
    """Copy rows `first` to `last` of the scratch tile, `valid` columns, to `c`, or add them."""
    for i in range(first, last):
        source = pointer(edge + i * width * size.bytes, floor)
        target = pointer(c.address + i * c.row, floor)
        for j in range(valid):
            target[j] = target[j] + source[j] if accumulate else source[j]
