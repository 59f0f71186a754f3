"""The kernel of all matrix products: C = start + A B, in tasks that share nothing.

A task is a block of rows and columns of C. It goes over the reduction in stretches of `DEPTH`, and in each over panels
of up to three vectors of columns, which all its rows are multiplied with, by tiles of 8, 4, 2 and 1 rows:

    for each stretch of the reduction:
        for each panel of columns:                   # packed: copied to scratch, row after row
            for each tile of 8 rows:                 # continues from C after the first stretch
                C[8 rows, 48 columns] += A . B

Nothing is added in another order than k = 0, 1, 2 ..., so the form of a product, its blocks and the number of threads
are not seen in the bits of the result.

Two things may be copied, by each task for itself, where they would be slow to read from where they lie. A *panel* of B:
always if its last vector is not full, or columns are not adjacent (then by blocks in registers, `transposed`). A *slab*
of A, if the rows of A are adjacent and a step of the reduction is far.

`turned` products are computed as their transpose, C' = B' A': the caller has exchanged A and B, and a task's block is
computed in scratch memory and transposed to its place at the end.
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.memory import copy_bytes, pointer, zero_bytes
from minidl.kernels.cpu.machine.team import next_slot, next_task
from minidl.kernels.cpu.tile.operands import Operand
from minidl.kernels.cpu.tile.panels import panel
from minidl.kernels.cpu.tile.strided import multiply, spec_of, transposed
from minidl.kernels.cpu.tile.sweep import TileSize
from minidl.once import once

DEPTH = 512  # steps of the reduction: a panel of 48 columns takes 96 KiB of the second-level cache


@once
def _packing(dtype):
    """The part that copies a panel of B."""
    SPEC, SIZE, ZERO = spec_of(dtype), TileSize.of(dtype), np.dtype(dtype).type(0)
    LANES, BYTES = SIZE.lanes, SIZE.bytes

    @jit
    def pack(b, b_k, b_n, length, columns, width, target):
        """Copy `columns` columns of B to `target`, whose rows have `width` numbers."""
        row = width * BYTES
        if b_n == BYTES:
            for k in range(length):
                copy_bytes(target + k * row, b + k * b_k, columns * BYTES)
        elif b_k == BYTES:
            for j in range(0, columns, LANES):
                for k in range(0, length, LANES):
                    source = Operand(b + j * b_n + k * BYTES, b_n, BYTES)
                    to = Operand(target + k * row + j * BYTES, row, BYTES)
                    transposed(SPEC, source, min(LANES, columns - j), min(LANES, length - k), to)
        else:
            for k in range(length):
                for j in range(columns):
                    pointer(target + k * row, ZERO)[j] = pointer(b + k * b_k + j * b_n, ZERO)[0]

    return pack


@once
def _multiplying(dtype):
    """The part that computes one task's block of C."""
    SPEC, SIZE, pack = spec_of(dtype), TileSize.of(dtype), _packing(dtype)
    LANES, BYTES, WIDTH = SIZE.lanes, SIZE.bytes, SIZE.lanes * SIZE.vectors

    @jit
    def block(a, a_m, a_k, b, b_k, b_n, c, c_m, start, m, n, K, packed, slab, bench):
        """C begins from the row of numbers at `start`, or from what it holds if that is 0."""
        vectors = -(-n // LANES)
        panels = -(-vectors // SIZE.vectors)
        packing, holding = bench, bench + DEPTH * WIDTH * BYTES
        for k0 in range(0, K, DEPTH):
            length = min(DEPTH, K - k0)
            a_now, a_row, a_step = a + k0 * a_k, a_m, a_k
            if slab:
                for k in range(length):
                    copy_bytes(holding + k * m * BYTES, a_now + k * a_k, m * BYTES)
                a_now, a_row, a_step = holding, BYTES, m * BYTES
            for j in range(panels):
                first, count = panel(j, panels, vectors)
                skip = first * LANES
                columns = min(count * LANES, n - skip)
                b_now, b_step = b + k0 * b_k + skip * b_n, b_k
                if packed or columns < count * LANES:
                    pack(b_now, b_k, b_n, length, columns, count * LANES, packing)
                    b_now, b_step = packing, count * LANES * BYTES
                last, begins, i = columns - (count - 1) * LANES, start != 0 and k0 == 0, 0
                while i < m:
                    rows = SIZE.rows
                    while rows > m - i:
                        rows //= 2
                    to = Operand(c + i * c_m + skip * BYTES, c_m, BYTES)
                    since = Operand(start + skip * BYTES, 0, BYTES) if begins else to
                    a_tile, b_tile = Operand(a_now + i * a_row, a_row, a_step), Operand(b_now, 0, b_step)
                    multiply(SPEC, rows, count, a_tile, b_tile, length, since, to, last)
                    i += rows

    return block


@once
def _turning(dtype):
    """The parts that begin and end a block of C' in scratch memory, whose rows have `width` numbers."""
    SPEC, SIZE, ZERO = spec_of(dtype), TileSize.of(dtype), np.dtype(dtype).type(0)
    LANES, BYTES = SIZE.lanes, SIZE.bytes

    @jit
    def begin(target, width, m, n, bias):
        """Every row of C' begins from its number of `bias`, or (0) from zero."""
        if bias == 0:
            zero_bytes(target, m * width * BYTES)
        else:
            for i in range(m):
                for j in range(n):
                    pointer(target, ZERO)[i * width + j] = pointer(bias, ZERO)[i]

    @jit
    def end(source, width, m, n, c, c_m):
        """Write C' to C, transposed."""
        for p in range(0, m, LANES):
            for q in range(0, n, LANES):
                block = Operand(source + (p * width + q) * BYTES, width * BYTES, BYTES)
                to = Operand(c + q * c_m + p * BYTES, c_m, BYTES)
                transposed(SPEC, block, min(LANES, m - p), min(LANES, n - q), to)

    return begin, end


@once
def kernel_of(dtype):
    """The kernel for `dtype`."""
    SIZE, block, (begin, end) = TileSize.of(dtype), _multiplying(dtype), _turning(dtype)
    LANES, BYTES, WIDTH = SIZE.lanes, SIZE.bytes, SIZE.lanes * SIZE.vectors

    @jit
    def products(
        counter, n_tasks, a, a_m, a_k, b, b_k, b_n, c, c_m, bias, M, N, K, rows, columns, packed, slab, turned, scratch,
    ):  # fmt: skip
        bench = scratch[next_slot(counter)].ctypes.data
        spare = bench + DEPTH * WIDTH * BYTES + (rows * DEPTH * BYTES if slab else 0)
        across = -(-N // columns)
        task = next_task(counter)
        while task < n_tasks:
            i, j = task // across * rows, task % across * columns
            m, n = min(rows, M - i), min(columns, N - j)
            width = -(-n // LANES) * LANES
            start, to, to_row = spare, c + i * c_m + j * BYTES, c_m
            if turned:
                start, to, to_row = 0, spare, width * BYTES
                begin(to, width, m, n, bias + i * BYTES if bias else 0)
            elif bias:
                start = bias + j * BYTES
            else:
                zero_bytes(start, n * BYTES)
            block(a + i * a_m, a_m, a_k, b + j * b_n, b_k, b_n, to, to_row, start, m, n, K, packed, slab, bench)
            if turned:
                end(to, width, m, n, c + j * c_m + i * BYTES, c_m)
            task = next_task(counter)

    return products


def bench_bytes(size, slab, turned, rows, columns):
    """Scratch memory of a thread: a panel, a slab, and a block of C' or a row of zeros."""
    panel_bytes = DEPTH * size.vectors * size.lanes * size.bytes
    wide = -(-columns // size.lanes) * size.lanes
    return panel_bytes + (rows * DEPTH * size.bytes if slab else 0) + (rows if turned else 1) * wide * size.bytes
