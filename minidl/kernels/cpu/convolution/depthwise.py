"""Depthwise convolution: every channel has a window of its own.

    y[n, c, i, j] = sum over u, v of  w[c, u, v] * x[n, c, s i + d u - p, s j + d v - p]

With as many groups as channels (A. Howard et al., "MobileNets", 2017, arXiv 1704.04861)
there is no matrix product to be had, and a group alone is one number in every
pixel. But the channels of a pixel are adjacent: so all groups are computed together, a
vector of channels at a time (:mod:`.lanes`), straight from `x`. There is so little
arithmetic to a number that a copy with a padded border would cost as much again. Instead
windows are cut where they leave the image: rows as they come, columns by a table
of *stretches*, neighbouring windows that are cut in the same way. For 6 pixels, a window
of 3 and padding 1:

    pixel 0: columns 1 and 2       pixels 1 to 4: all three       pixel 5: columns 0 and 1

The gradient with respect to the input is the same convolution of `grad` with windows turned round
(one per phase where there is a stride). The gradient with respect to the weight sums over pixels, and
a task is a *chunk* of the lines of all images with a sum of its own; sums are added in
order, so that the result does not depend on who computed what.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from minidl import backend
from minidl.kernels.cpu.convolution.direct import parts_of
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.launch import Launch
from minidl.kernels.cpu.machine.memory import LINE, address, zero_bytes
from minidl.kernels.cpu.machine.team import next_task
from minidl.kernels.cpu.tile.lanes import ROWS, LanesSize, multiply_all, prefetch_bytes, spec_of
from minidl.kernels.cpu.tile.operands import Count, Operand, Window
from minidl.once import once

FAR = 1 << 25  # bytes of both arrays that processors with a good deal of cache do not keep
TASK = 1 << 17  # bytes that a task of the forward convolution writes
CHUNKS = 16  # at most, of the gradient with respect to the weight


class DepthwisePlan(NamedTuple):
    """The shape of the work. Strides are in bytes: from image to image, row to row, pixel to pixel."""

    images: int
    channels: int
    height: int
    window: int  # rows of it
    columns: int
    lines: int  # rows of the output
    stride: int
    origin: int
    dilation: int
    stride_across: int
    origin_across: int
    dilation_across: int
    x_image: int
    x_row: int
    x_pixel: int
    y_image: int
    y_row: int
    y_pixel: int
    far: int  # whether `x` and `y` are more than caches hold, so that the next row should be asked for
    step: int  # from one place of the window to the next, in packed weights: an odd number of cache lines


def plan_of(x, y, window, stride, origin, dilation):
    """The plan of a convolution of arrays like `x` to such as `y`."""
    down, across = zip(stride, origin, dilation)
    strides = [step for array in (x, y) for step in (array.strides[0], *array.strides[2:])]
    far = int(x.nbytes + y.nbytes > FAR)
    step = (x.shape[1] * x.itemsize // LINE | 1) + 2  # cache lines: were they a power of two, they would share few sets
    return DepthwisePlan(
        len(x), x.shape[1], x.shape[2], *window, y.shape[2], *down, *across, *strides, far, step * LINE
    )


@functools.lru_cache(maxsize=1024)
def stretches(size, count, window, stride, origin, dilation, most):
    """Neighbouring windows of an axis that see the same columns: rows (first, number <= most, columns from, to).

    Examples
    --------
    >>> stretches(6, 6, 3, 1, 1, 1, 8).tolist()
    [[0, 1, 1, 3], [1, 4, 0, 3], [5, 1, 0, 2]]
    """
    seen = []
    for j in range(count):
        left = j * stride - origin
        first, last = inside(left, size, window, dilation)
        if seen and seen[-1][2:] == [first, last]:
            seen[-1][1] += 1
        else:
            seen.append([j, 1, first, last])
    return np.array([part for stretch in seen for part in _cut(*stretch, most)])


def _cut(begin, number, first, last, most):
    """A stretch in pieces of `most` windows at most, as even as can be."""
    pieces = -(-number // most)
    ends = [begin + i * number // pieces for i in range(pieces + 1)]
    return [(a, b - a, first, last) for a, b in zip(ends, ends[1:])]


@jit
def inside(start, size, window, dilation):
    """The rows (or columns) of a window at `start` that lie in an image of `size`: from the first to before the last.

    Examples
    --------
    >>> inside(-1, 4, 3, 1), inside(-3, 2, 3, 2), inside(5, 3, 3, 1)
    ((1, 3), (2, 3), (0, 0))
    """
    first = min(window, max(0, -(start // dilation)))
    return first, max(first, min(window, -((start - size) // dilation)))


@jit
def prefetch_below(p, column, top, pixels):
    """Ask for the rows of `x` that the next row of windows sees and this one, at `top`, does not."""
    for row in range(top + (p.window - 1) * p.dilation + 1, top + (p.window - 1) * p.dilation + 1 + p.stride):
        prefetch_bytes(column + row * p.x_row, pixels * p.stride_across * p.x_pixel)


@once
def kernel_of(dtype):
    """The forward kernel for `dtype`."""
    SPEC, SIZE = spec_of(dtype), LanesSize.of(dtype)

    @jit
    def depthwise(counter, n_tasks, x, y, p, table, packed, start, add, floor):
        down, across = p.dilation * p.x_row, p.dilation_across * p.x_pixel
        task = next_task(counter)
        while task < n_tasks:
            for line in range(task * p.images * p.lines // n_tasks, (task + 1) * p.images * p.lines // n_tasks):
                n, i = divmod(line, p.lines)
                top = i * p.stride - p.origin
                u, end = inside(top, p.height, p.window, p.dilation)
                for s in range(len(table)):
                    j, pixels, v, last = table[s]
                    left = j * p.stride_across - p.origin_across + v * p.dilation_across
                    column = x + n * p.x_image + left * p.x_pixel
                    target = y + n * p.y_image + i * p.y_row + j * p.y_pixel
                    if p.far:
                        prefetch_below(p, column, top, pixels)
                        prefetch_bytes(target + p.y_row, pixels * p.y_pixel)
                    seen = Window(column + (top + u * p.dilation) * p.x_row, p.stride_across * p.x_pixel, down, across)
                    weights = Window(packed + (u * p.columns + v) * p.step, 0, p.columns * p.step, p.step)
                    y_tile = Operand(target, p.y_pixel, 0)
                    first = y_tile if add else Operand(start, 0, 0)
                    multiply_all(
                        SPEC, SIZE, p.channels, pixels, seen, weights, Count(end - u, last - v), first, y_tile, floor,
                    )  # fmt: skip
            task = next_task(counter)

    return depthwise


def launch(x, weight, out, stride, origin, dilation, bias=None, relu=False, accumulate=False):
    """Launch that writes (or adds) the convolution of `x` with `weight` (C, kh, kw) to `out`, as the direct one."""
    plan, size = plan_of(x, out, weight.shape[1:], stride, origin, dilation), LanesSize.of(x.dtype)
    table = stretches(x.shape[3], out.shape[3], weight.shape[2], stride[1], origin[1], dilation[1], ROWS)
    xp = backend.array_module(x)
    packed, start = xp.zeros((weight[0].size, plan.step // size.bytes), x.dtype), xp.zeros(len(weight), x.dtype)
    packed[:, : len(weight)] = weight.reshape(len(weight), -1).T
    if bias is not None:
        start[: len(bias)] = bias
    lines = plan.images * plan.lines
    tasks = min(lines, -(-out.size * size.bytes // TASK))
    return Launch(
        kernel_of(x.dtype), tasks, [], plan, table, address(packed), address(start), accumulate,
        x.dtype.type(0 if relu else -np.inf), owned=(packed, start),
    )  # fmt: skip


def prepare_forward(x, weight, bias, stride, padding, dilation, relu, out):
    """Forward convolution (see :mod:`minidl.ops.convolution`), from arrays like `x` to such as `out`."""
    (top, _), (left, _) = padding
    return launch(x, weight[:, 0], out, stride, (top, left), dilation, bias, relu)


def input_grad(grad, weight, input_shape, stride, padding, dilation, out, accumulate):
    """Gradient with respect to the input, one convolution of stride 1 per phase."""
    for part, taps, origin, steps in parts_of(out, weight[:, 0], stride, padding, dilation, accumulate):
        run = launch(grad, taps, part, (1, 1), origin, steps, accumulate=accumulate)
        run(address(grad), address(part))
    return out


@once
def _summing(dtype):
    """The kernel that computes each chunk's sum."""
    SPEC, SIZE = spec_of(dtype), LanesSize.of(dtype)
    FLOOR = np.dtype(dtype).type(-np.inf)

    @jit
    def sum_chunks(counter, n_tasks, x, grad, p, table, sums):
        across = p.dilation_across * p.x_pixel
        task = next_task(counter)
        while task < n_tasks:
            total = sums + task * p.window * p.columns * p.step
            zero_bytes(total, p.window * p.columns * p.step)
            for line in range(task * p.images * p.lines // n_tasks, (task + 1) * p.images * p.lines // n_tasks):
                n, i = divmod(line, p.lines)
                top = i * p.stride - p.origin
                first, last = inside(top, p.height, p.window, p.dilation)
                for u in range(first, last):
                    row = x + n * p.x_image + (top + u * p.dilation) * p.x_row
                    for s in range(len(table)):
                        j, pixels, begin, end = table[s]
                        for v in range(begin, end, ROWS):
                            left = j * p.stride_across - p.origin_across + v * p.dilation_across
                            place = Operand(total + (u * p.columns + v) * p.step, p.step, 0)
                            seen = Window(row + left * p.x_pixel, across, 0, p.stride_across * p.x_pixel)
                            slopes = Window(grad + n * p.y_image + i * p.y_row + j * p.y_pixel, 0, 0, p.y_pixel)
                            multiply_all(
                                SPEC, SIZE, p.channels, min(ROWS, end - v), seen, slopes, Count(1, pixels), place,
                                place, FLOOR,
                            )  # fmt: skip
            task = next_task(counter)

    return sum_chunks


def weight_grad(grad, x, weight_shape, stride, padding, dilation):
    """Gradient with respect to the weight (see :mod:`minidl.ops.convolution`)."""
    C, _, kh, kw = weight_shape
    (top, _), (left, _) = padding
    plan = plan_of(x, grad, (kh, kw), stride, (top, left), dilation)
    table = stretches(x.shape[3], grad.shape[3], kw, stride[1], left, dilation[1], grad.shape[3])
    chunks = min(CHUNKS, plan.images * plan.lines)
    sums = backend.empty((chunks, kh * kw, plan.step // x.itemsize), x.dtype, like=x)
    team.run(_summing(x.dtype), chunks, address(x), address(grad), plan, table, address(sums))
    weight = backend.empty(weight_shape, x.dtype, like=x)
    weight.reshape(C, kh * kw)[...] = added(sums)[:, :C].T
    return weight


def added(sums):
    """The chunks' sums, added in their order into the first."""
    for chunk in sums[1:]:
        sums[0] += chunk
    return sums[0]
