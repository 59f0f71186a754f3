"""The products between Winograd's transforms: M[e] = V[e] U[e] at the 36 points, by the register tile.

U, the transformed weight, is as a rule made before: it serves many tiles. Of a 3x3 window it has four times the
numbers of the weight. Where there are few tiles, those of one image, fetching them takes longer than multiplying: the
transformed weights of a network are more than a third-level cache holds, the weights are not. There `multiply_late`
reads the weights as they are and transforms some input channels of a panel at a time, which is an eighth of the
products' work. The sums go on where they stopped, in the same order, so both ways give the same bits.
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.cpu.convolution.winograd_tiles import PANEL, POINTS, ROWS, SLACK, round_up, width_of
from minidl.kernels.cpu.convolution.winograd_transform import transform
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.memory import address
from minidl.kernels.cpu.tile.operands import Operand, Reduction
from minidl.kernels.cpu.tile.tile import tile

GROUP = 2 * PANEL  # output channels whose products are held before their last transform
DEPTH = 64  # input channels whose U is held at a time, in the second-level cache next to V
U_PLANE = DEPTH * PANEL * 4 + SLACK


@jit(inline="always")
def round_up_to_panel(channels):
    """`channels`, rounded up to whole panels."""
    return (channels + PANEL - 1) // PANEL * PANEL


@jit(inline="always")
def multiply(wide, narrow, p, count, begin, end, V, U, M, zeros):
    """M[e] = V[e] U[e] for `count` tiles, and output channels `begin` to `end` of one group, at all 36 points."""
    group, none = begin // GROUP * GROUP, -np.float32(np.inf)
    channels = round_up_to_panel(min(GROUP, p.K - group))
    for e in range(POINTS):
        B = U + (group * POINTS + e * channels + begin - group) * p.C * 4
        for k in range(begin, end, PANEL):
            for row in range(0, count, ROWS):
                A = Operand(V + e * p.v_plane + row * p.v_row, p.v_row, 0)
                out = Operand(M + e * p.m_plane + (row * GROUP + k - begin) * 4, GROUP * 4, 0)
                if width_of(p.K, k) == PANEL:
                    tile(wide, A, Reduction(zeros, 1, p.C), B, Operand(zeros, 0, 0), out, none)
                else:
                    tile(narrow, A, Reduction(zeros, 1, p.C), B, Operand(zeros, 0, 0), out, none)
            B += p.C * PANEL * 4


@jit(inline="always")
def transform_late(G3, p, k, first, last, taps, U, source, target):
    """U = G g G^T of the input channels from `first` to `last`, for the panel that begins at output channel `k`."""
    width, count, area = width_of(p.K, k), min(PANEL, p.K - k), p.window * p.window
    for e in range(area):
        source[e] = taps + (k * p.C * area + e * PANEL) * 4
    for e in range(POINTS):
        target[e] = U + e * U_PLANE
    for c in range(first, last):
        transform(G3, source.ctypes.data, c * area * PANEL * 4, target.ctypes.data, (c - first) * width * 4, count)


@jit(inline="always")
def multiply_late(wide, narrow, G3, p, count, begin, end, V, taps, U, M, zeros, source, target):
    """As `multiply`, from the weights as they are: for some input channels at a time, which add to the sums."""
    none = -np.float32(np.inf)
    for k in range(begin, end, PANEL):
        for c in range(0, p.C, DEPTH):
            depth = min(DEPTH, p.C - c)
            transform_late(G3, p, k, c, c + depth, taps, U, source, target)
            for e in range(POINTS):
                B = U + e * U_PLANE
                for row in range(0, count, ROWS):
                    A = Operand(V + e * p.v_plane + row * p.v_row + c * 4, p.v_row, 0)
                    out = Operand(M + e * p.m_plane + (row * GROUP + k - begin) * 4, GROUP * 4, 0)
                    start = out if c > 0 else Operand(zeros, 0, 0)
                    if width_of(p.K, k) == PANEL:
                        tile(wide, A, Reduction(zeros, 1, depth), B, start, out, none)
                    else:
                        tile(narrow, A, Reduction(zeros, 1, depth), B, start, out, none)


def taps_of(weight):
    """The weight as `transform_late` reads it, [panel][C][tap][PANEL]; begins where `aligned` says."""
    K, C, r, s = weight.shape
    found = np.zeros(round_up(K, PANEL) * C * r * s + 16, np.float32)
    panels = found[(aligned(found) - address(found)) // 4 :][: found.size - 16]
    turned = np.zeros((round_up(K, PANEL), C, r * s), np.float32)
    turned[:K] = weight.reshape(K, C, r * s)
    panels.reshape(-1, C, r * s, PANEL)[...] = turned.reshape(-1, PANEL, C, r * s).transpose(0, 2, 3, 1)
    return found


def aligned(array):
    """The first address of `array` that begins a cache line."""
    return round_up(address(array), 64)
