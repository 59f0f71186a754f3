"""Winograd's convolution on the CPU: forward and gradient with respect to the input, windows 3x3 and 5x5.

Written out plainly (:mod:`minidl.kernels.cpu.convolution.winograd`), the transformed image is 2.25 times
the image and the products before the last transform as much again: memory would eat what
the arithmetic saves. So the tiles are taken in blocks, and everything between image and
image stays in one core's cache:

    V[e]  (block, C)         = B^T d B        the block's tiles at point e = 0..35
    M[e]  (block, 2 panels)  = V[e] U[e]      36 products by the register tile, for a few K at a time
    out                      = A^T M A        + bias, relu, straight into its place

U = G g G^T is made once per call, in the order in which the products will read it: then
the processor's prefetcher brings it from the outer cache in time. For an image or a few the weights of a network cannot
stay there, and the products make it as they go (:mod:`.winograd_products`). A *panel* has, in all
Winograd files, two vectors of output channels. A task is one block of tiles (for
small images also one part of the output channels), so no two tasks write the same pixel
and nothing depends on the number of threads.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from minidl import backend
from minidl.backend import is_constant
from minidl.kernels.cpu.convolution.winograd import TILE
from minidl.kernels.cpu.convolution.winograd_products import (
    GROUP,
    U_PLANE,
    aligned,
    multiply,
    multiply_late,
    round_up_to_panel,
    taps_of,
)  # fmt: skip
from minidl.kernels.cpu.convolution.winograd_tiles import (
    PANEL,
    POINTS,
    ROWS,
    SHAPE,
    SLACK,
    TABLES,
    channels_last_result,
    find_pixels,
    pixel_stride,
    place,
    round_up,
    takes,
    transform_inputs,
    width_of,
    zeros_for,
)  # fmt: skip
from minidl.kernels.cpu.convolution.winograd_transform import spec, transform, transform_out
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import deliver
from minidl.kernels.cpu.machine.kept import kept
from minidl.kernels.cpu.machine.launch import Launch
from minidl.kernels.cpu.machine.memory import address
from minidl.kernels.cpu.machine.team import next_slot, next_task
from minidl.kernels.cpu.tile.operands import Operand, Reduction
from minidl.kernels.cpu.tile.tile import tile

BLOCK = 32  # tiles of a block at most; twice that for many channels, whose U has to come from afar
TASKS = 4  # fewer blocks than this: the output channels are divided too, though each part transforms the input
INPUTS = 8  # input channels of one task when the weight is transformed
FEW = 64  # tiles up to which constant 3x3 weights are transformed late (see :mod:`.winograd_products`)


class WinogradPlan(NamedTuple):
    """Shapes of one convolution, and how it is divided: what a kernel needs besides the arrays."""

    C: int
    H: int
    W: int
    x_pixel: int  # bytes from pixel to pixel
    K: int
    OH: int
    OW: int
    out_pixel: int
    top: int
    left: int
    window: int
    m: int  # outputs per tile and axis
    rows: int  # tiles
    cols: int
    tiles: int
    block: int
    parts: int  # of the output channels
    v_row: int  # bytes
    v_plane: int
    m_plane: int
    late: int  # whether weights are transformed where they are used


@functools.lru_cache(maxsize=4096)
def plan(x_shape, x_pixel, y_shape, y_pixel, window, top, left):
    """The plan for a convolution, decided by shapes alone; `x_pixel` and `y_pixel` are bytes from pixel to pixel."""
    (N, C, H, W), (_, K, OH, OW) = x_shape, y_shape
    m = TILE[window]
    rows, cols = -(-OH // m), -(-OW // m)
    tiles = N * rows * cols
    most = BLOCK if C <= 256 else 2 * BLOCK
    block = round_up(-(-tiles // -(-tiles // most)), ROWS)
    parts = min(-(-K // PANEL), -(-TASKS // -(-tiles // block)))
    v_row = 4 * round_up(C, 16)
    return WinogradPlan(C, H, W, x_pixel, K, OH, OW, y_pixel, top, left, window, m, rows, cols, tiles,
                block, parts, v_row, block * v_row + SLACK, 4 * block * GROUP + SLACK, 0)  # fmt: skip


def _weight_kernel(G3, G5):
    @jit
    def transform_weight(counter, n_tasks, p, weight, out_step, in_step, flip, U, scratch, tables):
        """U[group][point][panel][C][width] from the weight, its window turned round where `flip` is 1."""
        slot = next_slot(counter)
        taps, source, target = scratch[slot], tables[slot], tables[slot, TABLES // 2 :]
        area = p.window * p.window
        for e in range(area):
            source[e] = taps.ctypes.data + e * PANEL * 4
        task = next_task(counter)
        while task < n_tasks:
            for k in range(0, p.K, PANEL):
                group, width, count = k // GROUP * GROUP, width_of(p.K, k), min(PANEL, p.K - k)
                channels = round_up_to_panel(min(GROUP, p.K - group))
                first = U + (group * POINTS + k - group) * p.C * 4
                for c in range(task * INPUTS, min(p.C, (task + 1) * INPUTS)):
                    for o in range(count):
                        w = (k + o) * out_step + c * in_step
                        for e in range(area):
                            taps[e * PANEL + o] = weight[w + (area - 1 - e if flip else e)]
                    for e in range(POINTS):
                        target[e] = first + (e * channels * p.C + c * width) * 4
                    if p.window == 3:
                        transform(G3, source.ctypes.data, 0, target.ctypes.data, 0, count)
                    else:
                        transform(G5, source.ctypes.data, 0, target.ctypes.data, 0, count)
            task = next_task(counter)

    return transform_weight


@jit(inline="always")
def transform_outputs(AT3, AT5, p, out, first, last, begin, end, M, bias, floor, accumulate, nowhere, source, target):
    """out = A^T M A + bias for the output channels from `begin` to `end`; pixels over the edge go `nowhere`."""
    count, s, d, b = min(end, p.K) - begin, source.ctypes.data, target.ctypes.data, bias + begin * 4
    for e in range(POINTS):
        source[e] = M + e * p.m_plane
    for t in range(first, last):
        n, row, col = place(p, t)
        image, at = out + n * p.OH * p.OW * p.out_pixel + begin * 4, (t - first) * GROUP * 4
        find_pixels(target, image, p.OH, p.OW, p.out_pixel, row, col, p.m, nowhere)
        if p.window == 3:
            transform_out(AT3, s, at, d, 0, count, b, floor, accumulate)
        else:
            transform_out(AT5, s, at, d, 0, count, b, floor, accumulate)


@jit(inline="always")
def part_of_winograd(p, part):
    """The first output channel of a part: parts share the panels evenly."""
    return part * round_up_to_panel(p.K) // PANEL // p.parts * PANEL


def _kernel(wide, narrow, BT, AT3, AT5, G3):
    @jit
    def convolve(counter, n_tasks, x, out, scratch, tables, p, U, bias, accumulate, zeros, floor):
        """One block of tiles, and one part of the output channels, per task."""
        slot = next_slot(counter)
        source, target = tables[slot], tables[slot, TABLES // 2 :]
        V = (scratch[slot].ctypes.data + 63) // 64 * 64
        M = V + POINTS * p.v_plane
        nowhere = M + POINTS * p.m_plane
        late = nowhere + GROUP * 4
        task = next_task(counter)
        while task < n_tasks:
            first = task // p.parts * p.block
            last = min(p.tiles, first + p.block)
            transform_inputs(BT, p, x, first, last, p.C, V, zeros, source, target)
            begin, stop = part_of_winograd(p, task % p.parts), part_of_winograd(p, task % p.parts + 1)
            while begin < stop:
                end = min(stop, (begin // GROUP + 1) * GROUP)
                if p.late:
                    multiply_late(
                        wide, narrow, G3, p, last - first, begin, end, V, U, late, M, zeros, source, target
                    )
                else:
                    multiply(wide, narrow, p, last - first, begin, end, V, U, M, zeros)
                transform_outputs(
                    AT3, AT5, p, out, first, last, begin, end, M, bias, floor, accumulate, nowhere, source, target
                )
                begin = end
            task = next_task(counter)

    return convolve


_transform_weight = _weight_kernel(spec("G", 4, 3), spec("G", 2, 5))
convolve = _kernel(
    SHAPE.spec(ROWS, 2), SHAPE.spec(ROWS, 1), spec("BT", 4, 3), spec("AT", 4, 3), spec("AT", 2, 5), spec("G", 4, 3)
)  # B^T of F(4, 3) and F(2, 5) are the same


def prepare_forward(x, weight, bias, stride, padding, dilation, relu, out):
    """Launch of the forward convolution from arrays like `x` to such as `out`, both channels-last.

    Examples
    --------
    >>> x, weight = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5), np.ones((1, 1, 3, 3), np.float32)
    >>> y, valid = np.empty((1, 1, 3, 3), np.float32), ((0, 0), (0, 0))
    >>> prepare_forward(x, weight, None, (1, 1), valid, (1, 1), False, y)(address(x), address(y))
    >>> y[0, 0].round(3)
    array([[ 54.,  63.,  72.],
           [ 99., 108., 117.],
           [144., 153., 162.]], dtype=float32)
    """
    C, r, s = weight.shape[1:]
    if not (takes(x, weight, (r, s), stride, dilation) and backend.is_channels_last(out)):
        return NotImplemented
    return _launch(x, weight, (C * r * r, r * r, 0), padding, bias, 0.0 if relu else -np.inf, out, False)


def input_grad(
    grad, weight, input_shape, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), out=None, accumulate=False
):
    """Gradient of `conv2d` with respect to its input: `grad` (N, K, OH, OW) -> `input_shape`.

    It is added to `out` where `accumulate`. It is the convolution of `grad` with the weight whose window is turned
    round and whose channels are exchanged, which here is only another way of reading it.

    Examples
    --------
    >>> grad, weight = np.ones((1, 1, 1, 1), np.float32), np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> input_grad(grad, weight, (1, 1, 3, 3))[0, 0].round(3) + 0
    array([[0., 1., 2.],
           [3., 4., 5.],
           [6., 7., 8.]], dtype=float32)
    """
    K, C, r, s = weight.shape
    if not takes(grad, weight, (r, s), stride, dilation):
        return NotImplemented
    padding = tuple((r - 1 - before, r - 1 - after) for before, after in padding)
    grad, x = backend.channels_last(grad), channels_last_result(input_shape, out, accumulate, like=grad)
    _launch(grad, weight, (r * r, C * r * r, 1), padding, None, -np.inf, x, accumulate)(address(grad), address(x))
    return deliver(x, out)


def _launch(x, weight, steps, padding, bias, floor, y, accumulate):
    """From arrays like `x` to such as `y`; `steps` says how to read the weight: output, input, turned round."""
    p = plan(x.shape, pixel_stride(x), y.shape, pixel_stride(y), weight.shape[2], padding[0][0], padding[1][0])
    zeros = zeros_for(max(p.C, p.K))
    bias = zeros if bias is None else backend.array_module(bias).ascontiguousarray(bias, np.float32)
    if p.window == 3 and p.tiles <= FEW and not steps[-1] and is_constant(weight):
        p, U = p._replace(late=1), kept(weight, "taps", taps_of, (weight,))
    else:
        U = kept(weight, steps, _transformed, (weight, steps, p))
    late = POINTS * U_PLANE // 4 if p.late else 0
    scratch = [(POINTS * (p.v_plane + p.m_plane) // 4 + GROUP + 16 + late, np.float32), (TABLES, np.int64)]
    return Launch(convolve, -(-p.tiles // p.block) * p.parts, scratch, p, aligned(U), address(bias),
                  int(accumulate), address(zeros), np.float32(floor), owned=(U, bias, zeros))  # fmt: skip


def _transformed(weight, steps, p):
    """U = G g G^T in the order of the products; begins where `aligned` says."""
    weight = backend.array_module(weight).ascontiguousarray(weight)
    U = backend.empty((POINTS * round_up(p.K, PANEL) * p.C + 16,), np.float32, like=weight)
    scratch, tables = team.scratch(POINTS * PANEL, np.float32), team.scratch(TABLES, np.int64)
    team.run(_transform_weight, -(-p.C // INPUTS), p, weight.reshape(-1), *steps, aligned(U), scratch, tables)
    return U
