"""Several activations in one pass: the parts of a block, say, that lie side by side in memory.

Where activations are slices of one array, a kernel should visit the same pixels of each
before it goes on to others. That is the order of their bytes, and a processor fetches
memory ahead of its use: of a slice that is read alone, much would be the neighbours'.

A kernel takes a table with a row for each part: its channels, how many channels came before
it (its place in vectors over the channels of all), and address and `ld` (see :mod:`.flat`)
of each of its arrays.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from minidl import backend
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, TASK_SIZE, pixel, prefetch
from minidl.kernels.cpu.machine.memory import address, pointer

CHANNELS, BEFORE, FIRST, SECOND, THIRD = 0, 1, 2, 4, 6  # columns; two for each array of a part
AHEAD = 6  # pixels: how far a slice's channels are asked for, since a processor only guesses what is next to them


def table(*arrays):
    """The table of parts, from a list of each part's first arrays, one of their second arrays, ...

    Examples
    --------
    >>> joint = np.zeros((1, 2, 2, 5)).transpose(0, 3, 1, 2)
    >>> table([joint[:, :3], joint[:, 3:]])[:, [CHANNELS, BEFORE, FIRST + 1]]
    array([[3, 0, 5],
           [2, 3, 5]])
    """
    rows, before = [], 0
    for part in zip(*arrays):
        channels = part[0].shape[1]
        rows.append([channels, before, *(number for x in part for number in (address(x), pixel(x)))])
        before += channels
    return np.array(rows)


@jit(forceinline=True)
def array_of(parts, part, column, zero):
    """An array of a part, of numbers like `zero`, and its ld."""
    return carray(pointer(parts[part, column], zero), 1), parts[part, column + 1]


@jit(fastmath=EXACT, forceinline=True)
def prefetch_pixels(x, ldx, C, first, last):
    """Prefetch the pixels that lie AHEAD of some, where no prefetcher guesses them."""
    if ldx > C:
        for p in range(first + AHEAD, last + AHEAD):
            prefetch(x, p * ldx, p * ldx + C)


def pieces(xs):
    """Pieces that the pixels of all parts are cut into: (number of pieces, pixels, channels, pixels per piece)."""
    (N, _, H, W), C = xs[0].shape, sum(x.shape[1] for x in xs)
    size = max(1, min(1024, 2 * TASK_SIZE // C))
    return -(-N * H * W // size), N * H * W, C, size


def joined(vectors, like, value):
    """One vector over the channels of all parts; `value` stands for the numbers of a vector that is None."""
    given = [np.full(old.shape, value, old.dtype) if vector is None else vector for vector, old in zip(vectors, like)]
    return backend.array_module(given[0]).ascontiguousarray(given[0]) if len(given) == 1 else np.concatenate(given)


def split(vector, xs):
    """The parts' shares of a vector over all channels."""
    ends = np.cumsum([x.shape[1] for x in xs])
    return [vector[end - x.shape[1] : end] for x, end in zip(xs, ends)]
