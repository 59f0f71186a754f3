"""The gradient of a convolution to its weight, on the register tile.

    w'[k, c, u, v] = sum over all pixels of  y'[n, k, i, j] * x[n, c, i + u - p, j + v - p]

is again a matrix product, now with the pixels as its reduction: the tile's rows are 8
adjacent inputs of a window's row (of kw C), its columns 48 output channels, and each
step goes on to the next pixel. Both operands already lie the right way in channels-last.

The work is cut twice. *Chunks* of the images each get a sum of their own, which are
added in order at the end: so the result does not depend on who computed what. Where the
weights are many, *groups* of panels are separate tasks as well, so that a task's part of
the sum stays in the second-level cache. Within a chunk, block after block of up to 512
pixels is added to the chunk's sum:

    for each block of the chunk:                     # rows of x: copied with their border
        for each panel of the group:                 # columns of y': copied side by side
            for each row of the window:
                sum[kw C, 48] += x[pixels, kw C]^T . y'[pixels, 48]

A 1x1 window multiplies each number only so often, and memory would set the pace: x and y'
come from far away, and to copy columns is mostly to wait for them. So each step of a tile asks
for memory that is wanted later: a panel's first tiles for the next panel's columns (tile i for
vector i of every pixel), the others for their share of the next block of x.
"""

from __future__ import annotations


import numpy as np
from numba import literally

from minidl import backend
from minidl.kernels.cpu.convolution.plan import TASKS, layout, part_of_direct, read_bands, rows_of
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.memory import address, copy_bytes, pointer, zero_bytes
from minidl.kernels.cpu.machine.team import next_slot, next_task
from minidl.kernels.cpu.tile.operands import Operand, Panel
from minidl.kernels.cpu.tile.panels import panel
from minidl.kernels.cpu.tile.sweep import Rows, TileSize, sweep
from minidl.kernels.cpu.tile.tile import gather, shape
from minidl.once import once

PIXELS = 512  # per block
# Bytes of the sum that a task works on, by whether x is copied: if not, the next block of x comes to the cache as well.
GROUP = {0: 5 << 16, 1: 1 << 19}
ADDED = 64  # input channels of a panel whose sums are added by one task


@jit
def read_lines(t, stride, down, table):
    """Write how many bytes after the first the lines of part `t` begin to `table`."""
    starts = pointer(table, 0)
    for i in range(t.images):
        for k in range(t.lines):
            starts[i * t.lines + k] = i * stride + k * down


@jit
def copy_line(size, source, step, pixels, count, valid, target):
    """Copy `valid` numbers of each pixel to a row of `count` vectors, the rest of which is zero."""
    width = count * size.lanes * size.bytes
    for _ in range(pixels):
        copy_bytes(target, source, valid * size.bytes)
        zero_bytes(target + valid * size.bytes, width - valid * size.bytes)
        source, target = source + step, target + width


@jit
def read_columns(spec, size, p, t, pixels, grad, skip, count, valid, target):
    """Copy the part's pixels of `grad`, `count` vectors of channels from byte `skip` on, without gaps."""
    literally(spec)
    for line in range(t.images * t.lines):
        i, k = line // t.lines, line % t.lines
        source = grad + (t.image + i) * p.image + (t.top + k) * p.row + skip
        if valid == count * size.lanes:
            gather(spec, count, source, p.pixel, pixels, target)
        else:
            copy_line(size, source, p.pixel, pixels, count, valid, target)
        target += pixels * count * size.lanes * size.bytes


@jit
def add_products(spec, size, r, a, lines, columns, count, start, c, accumulate, floor, edge, ahead, share, wanted, gap):
    """Add the rows `r` of x at `a` times the panel `columns` to the sum at `c`, and ask for what is wanted later.

    That is, of the columns at `wanted`, a vector per tile of pixels `gap` bytes apart; then what is at `ahead`,
    `share` bytes for every pixel.
    """
    literally(spec)
    early = count if r.total >= (count + size.rows) * size.rows else 0  # what is left then divides into whole tiles
    width, left = count * size.lanes, r.total - early * size.rows
    for i in range(early + 1):
        total, near = left, Operand(ahead, 0, share * size.rows // left)
        if i < early:
            total, near = size.rows, Operand(wanted + i * size.lanes * size.bytes, 0, gap)
        part, done = Rows(total, r.overhang, r.stride, r.step, r.runs, r.length), i * size.rows
        target = Operand(c + done * width * size.bytes, width * size.bytes, 0)
        sweep(
            spec, size, part, a + done * r.stride, lines, Panel(columns, count, width), start, target, accumulate,
            floor, edge, near,
        )  # fmt: skip


@once
def _summing(dtype):
    """The kernel that computes each chunk's sum."""
    SPEC, SIZE, EDGE = shape(dtype).spec(kind="rows"), TileSize.of(dtype), TileSize.of(dtype).edge()
    VECTOR, FLOOR = SIZE.lanes * SIZE.bytes, np.dtype(dtype).type(-np.inf)

    @jit
    def sum_chunks(counter, n_tasks, p, g, rows, x, taps, grad, start, sums, groups, blocks, scratch, spare):
        edge = scratch + next_slot(counter) * spare
        vectors = -(-p.channels // SIZE.lanes)
        panels = -(-vectors // SIZE.vectors)
        line_starts = edge + EDGE
        columns = line_starts + p.group * p.band * 64
        band = columns + p.group * p.band * rows.total * SIZE.vectors * VECTOR
        chunks, depth = n_tasks // groups, len(taps) * rows.length * VECTOR
        task = next_task(counter)
        while task < n_tasks:
            group, chunk = task % groups, task // groups
            begin = chunk * blocks // chunks
            for block in range(begin, (chunk + 1) * blocks // chunks):
                t = part_of_direct(p, block, panels)
                a, stride = read_bands(p, g, t, x, band)
                read_lines(t, stride, p.down, line_starts)
                pixels = rows_of(p, t, rows).total
                r = Rows(rows.length, p.copied, SIZE.bytes, rows.stride, t.images * t.lines, pixels)
                j0, j1 = group * panels // groups, (group + 1) * panels // groups
                share = 0 if p.copied else g.channels // (j1 - j0)
                after = part_of_direct(p, block + 1, panels)
                for j in range(j0, j1):
                    first, count = panel(j, panels, vectors)
                    skip, valid = first * VECTOR, min(count * SIZE.lanes, p.channels - first * SIZE.lanes)
                    read_columns(SPEC, SIZE, p, t, pixels, grad, skip, count, valid, columns)
                    then, k = (t, first + count) if j + 1 < j1 else (after, panel(j0, panels, vectors)[0])
                    wanted = grad + then.image * p.image + then.top * p.row + k * VECTOR
                    c = sums + (chunk * vectors + first) * depth
                    for tap in range(len(taps)):
                        add_products(
                            SPEC, SIZE, r, a + taps[tap], line_starts, columns, count, start,
                            c + tap * rows.length * count * VECTOR, block > begin, FLOOR, edge,
                            a + g.image + (j - j0) * share * pixels, share, wanted, p.pixel,
                        )  # fmt: skip
            task = next_task(counter)

    return sum_chunks


@once
def _adding(dtype):
    """The kernel that adds the chunks' sums in order and writes them as weights (K, C, kh, kw)."""
    SIZE, ZERO = TileSize.of(dtype), np.dtype(dtype).type(0)

    @jit
    def add_chunks(counter, n_tasks, sums, chunks, weight, K, C, taps):
        vectors = -(-K // SIZE.lanes)
        panels = -(-vectors // SIZE.vectors)
        source, target = pointer(sums, ZERO), pointer(weight, ZERO)
        task = next_task(counter)
        while task < n_tasks:
            first, count = panel(task % panels, panels, vectors)
            width, begin, skip = count * SIZE.lanes, first * SIZE.lanes, task // panels * ADDED
            rows = min(ADDED, C - skip)
            for tap in range(taps):
                at = begin * taps * C + (tap * C + skip) * width
                for chunk in range(1, chunks):
                    other = at + chunk * vectors * SIZE.lanes * taps * C
                    for i in range(rows * width):
                        source[at + i] += source[other + i]
                for k in range(min(width, K - begin)):
                    to = ((begin + k) * C + skip) * taps + tap
                    for i in range(rows):
                        target[to + i * taps] = source[at + i * width + k]
            task = next_task(counter)

    return add_chunks


def weight_grad(grad, x, weight_shape, stride, padding, dilation):
    """Gradient with respect to the weight (see :mod:`minidl.ops.convolution`) of one group."""
    (K, C, kh, kw), size = weight_shape, TileSize.of(x.dtype)
    (top, _), (left, _) = padding
    weight = backend.empty(weight_shape, x.dtype, like=x)
    plan, band, rows, taps, blocks, spare = layout(
        size, x.shape, x.strides, grad.shape, grad.strides, (kh, kw), stride, (top, left), dilation, block=PIXELS
    )
    vectors = -(-K // size.lanes)
    panels = -(-vectors // size.vectors)
    length = vectors * size.lanes * C * kh * kw
    groups = min(panels, -(-length * size.bytes // GROUP[plan.copied]))
    chunks = min(blocks, -(-TASKS // groups))
    sums = backend.empty((chunks, length), x.dtype, like=x)
    start = np.zeros(size.vectors * size.lanes, x.dtype)
    lines = plan.group * plan.band
    spare += size.edge() + lines * (64 + plan.width * size.vectors * size.lanes * size.bytes)
    scratch = team.scratch(spare, np.uint8)
    team.run(
        _summing(x.dtype), chunks * groups, plan, band, rows, address(x), taps, address(grad), address(start),
        address(sums), groups, blocks, address(scratch), scratch.strides[0],
    )  # fmt: skip
    team.run(_adding(x.dtype), panels * -(-C // ADDED), address(sums), chunks, address(weight), K, C, kh * kw)
    return weight
