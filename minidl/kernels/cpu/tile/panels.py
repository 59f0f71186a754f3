"""Weights as panels, and images as bands: the two things that are copied before the tile runs.

**Panels.** The output channels are dealt out in vectors, and these to panels of up to
three (`Shape.vectors`) of nearly equal width: 13 vectors are 3 + 3 + 3 + 2 + 2. Panel j
holds, for every step of the reduction, the weights of its channels side by side,

    packed[j] : (kh kw C, vectors * lanes)

so that the tile reads it from one end to the other. Channels that fill up the last
vector weigh zero.

**Bands.** The rows of one padded image, or of a few, that a task needs, without gaps
between pixels: a copy that stays in the second-level cache and costs one load and store
per number against kh kw K multiplications. A 1x1 window needs none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidl import backend
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.kept import kept
from minidl.kernels.cpu.machine.memory import address, copy_bytes, pointer, zero_bytes
from minidl.kernels.cpu.machine.team import next_task
from minidl.kernels.cpu.tile.sweep import TileSize
from minidl.once import once

BLOCK = 16  # input channels packed at a time: what is read and written stays in the first-level cache


class Band(NamedTuple):
    """The layout in which a task reads its images; strides and lengths in bytes."""

    height: int  # of the image
    width: int
    image: int  # stride from one image to the next
    row: int
    pixel: int
    channels: int  # bytes of one pixel's channels
    top: int  # rows of zeros above the image; fewer than none: rows left out
    left: int
    rows: int  # rows of the band
    line: int  # bytes of one row of the band


@jit
def copy_band(g, x, first, target):
    """Write the band that starts at padded row `first` of the image at `x` to `target`."""
    left = max(g.left, 0) * g.channels
    skipped = max(-g.left, 0)
    wanted = min((g.width - skipped) * g.channels, g.line - left)
    for i in range(first - g.top, first - g.top + g.rows):
        if i < 0 or i >= g.height or wanted <= 0:
            zero_bytes(target, g.line)
        else:
            zero_bytes(target, left)
            copy_pixels(g, x + i * g.row + skipped * g.pixel, wanted, target + left)
            zero_bytes(target + left + wanted, g.line - left - wanted)
        target += g.line


@jit
def copy_pixels(g, source, count, target):
    """Write `count` bytes of channels, pixel after pixel, to `target`."""
    if g.pixel == g.channels:
        copy_bytes(target, source, count)
    else:
        for done in range(0, count, g.channels):
            copy_bytes(target + done, source, g.channels)
            source += g.pixel


@jit
def panel(j, panels, vectors):
    """First vector of panel `j`, and how many it has, when `panels` share `vectors`."""
    width, wider = vectors // panels, vectors % panels
    return j * width + min(j, wider), width + (1 if j < wider else 0)


@once
def _packer(dtype):
    """The kernel that packs weights of `dtype`."""
    SIZE, ZERO = TileSize.of(dtype), np.dtype(dtype).type(0)

    @jit
    def pack(counter, n_tasks, weight, o, c, u, v, K, C, U, V, packed):
        vectors = -(-K // SIZE.lanes)
        task = next_task(counter)
        while task < n_tasks:
            first, count = panel(task, n_tasks, vectors)
            skip, width = first * SIZE.lanes, count * SIZE.lanes
            base = packed + skip * U * V * C * SIZE.bytes
            for block in range(0, C, BLOCK):
                for k in range(width):
                    for tap in range(U * V):
                        source = weight + (skip + k) * o + block * c + tap // V * u + tap % V * v
                        target = pointer(base + ((tap * C + block) * width + k) * SIZE.bytes, ZERO)
                        for i in range(min(BLOCK, C - block)):
                            target[i * width] = pointer(source + i * c, ZERO)[0] if skip + k < K else ZERO
            task = next_task(counter)

    return pack


def panels_of(weight):
    """`pack`, once for weights that cannot change."""
    return kept(weight, "panels", pack, (weight,))


def pack(weight):
    """Weights (K, C, kh, kw), with any strides, as panels (see the module's text): a flat array."""
    (K, C, U, V), size = weight.shape, TileSize.of(weight.dtype)
    vectors = -(-K // size.lanes)
    packed = backend.empty((vectors * size.lanes * C * U * V,), weight.dtype, like=weight)
    panels, kernel = -(-vectors // size.vectors), _packer(weight.dtype)
    team.run(kernel, panels, address(weight), *weight.strides, K, C, U, V, address(packed))
    return packed
