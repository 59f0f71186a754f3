"""The division of a convolution into tasks: by its shape alone, never by the number of threads.

A task should find its input in the second-level cache (`BAND` bytes, as rows of one
image or several small images), there should be enough tasks for all threads to be
busy until the end (`TASKS`), and a task should not be so small that copying its
border costs more than it computes.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.description import BAND
from minidl.kernels.cpu.tile.panels import Band, copy_band
from minidl.kernels.cpu.tile.sweep import Rows

SUMMED = 1 << 17  # BAND where tasks cut a sum, of the gradient with respect to the weight: the same on all machines
TASKS = 16  # tasks to aim at


class DirectPlan(NamedTuple):
    """The shape of the work; strides in bytes."""

    images: int  # in all
    group: int  # images per task
    height: int  # of the output
    width: int
    band: int  # output rows per task
    bands: int  # tasks per image
    splits: int  # tasks that share a band, each with some of the panels
    pixels: int  # output pixels of all images (of blocks of pixels, the last one is shorter)
    copied: int  # whether bands are copied
    down: int  # from one output row's windows to those of the next
    channels: int  # output channels
    image: int  # strides of the output: image, row, pixel
    row: int
    pixel: int
    accumulate: int


class Layout(NamedTuple):
    """A plan with what belongs to it."""

    plan: DirectPlan
    band: Band
    rows: Rows  # one line of output pixels, as the tile reads it
    runs: np.ndarray  # where the tile's runs begin, in bytes from a pixel's window
    tasks: int
    spare: int  # bytes that a thread needs for a task's band


@functools.lru_cache(maxsize=4096)
def layout(size, x_shape, x_strides, y_shape, y_strides, kernel, stride, origin, dilation, accumulate=False, block=0):
    """Cut the convolution of an `x` with a window of `kernel` to a `y` into tasks.

    Window (0, 0) begins `origin` rows and columns before the image. `block` limits the output pixels of a task.
    """
    (N, C, H, W), (_, K, OH, OW) = x_shape, y_shape
    (x_n, _, x_h, x_w), (y_n, _, y_h, y_w) = x_strides, y_strides
    channels, pixels, least = C * size.bytes, N * OW, size.rows
    direct = kernel == (1, 1) and origin == (0, 0) and (OH - 1) * stride[0] < H and (OW - 1) * stride[1] < W
    direct = direct and not (block and C < least)  # the gradient with respect to the weight: its rows are channels
    if direct and (OH, OW) == (H, W) and N * H * W >= least and _even(x_shape, x_strides) and _even(y_shape, y_strides):
        pixels, stride = N * H * W, (1, 1)
        x_w, y_w = _pixel(x_shape, x_strides), _pixel(y_shape, y_strides)
        W = OW = _block(pixels, channels, least, block)
        N, H, OH, x_n, y_n, band, group = -(-pixels // W), 1, 1, W * x_w, W * y_w, 1, 1
    else:
        direct = direct and OW >= least
        line = ((OW - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1) * channels
        group, band = _group(N, OH, OW, stride[0] * line, kernel[0], block)
    bands = -(-OH // band)
    tasks = -(-N // group) * bands
    panels = -(-K // (size.lanes * size.vectors))
    splits = 1 if block else min(panels, -(-TASKS // tasks))
    image = Band(H, W, x_n, x_h, x_w, channels, *origin, 0, 0)
    if not direct:
        image = image._replace(rows=(band - 1) * stride[0] + (kernel[0] - 1) * dilation[0] + 1, line=line)
    pixel, row = (x_w, x_h) if direct else (channels, image.line)
    runs, length = _runs(kernel, dilation, row, pixel, C)
    down, copied = stride[0] * row, int(not direct)
    plan = DirectPlan(N, group, OH, OW, band, bands, splits, pixels, copied, down, K, y_n, y_h, y_w, int(accumulate))
    rows = Rows(OW, copied, stride[1] * pixel, 0, len(runs), length)
    spare = group * image.rows * image.line + (least + kernel[1]) * stride[1] * channels + 4096  # read, never used
    return Layout(plan, image, rows, runs, tasks * splits, spare)


def _runs(kernel, dilation, row, pixel, C):
    """Start and length of the adjacent inputs of a window: one run per row, or per pixel if they lie apart."""
    (kh, kw), (dh, dw) = kernel, dilation
    if dw == 1 or kw == 1:
        return np.arange(kh, dtype=np.int64) * (dh * row), kw * C
    starts = np.arange(kh)[:, None] * (dh * row) + np.arange(kw) * (dw * pixel)
    return starts.astype(np.int64).ravel(), C


def _block(pixels, channels, least, block):
    """Pixels per task where rows have no meaning: a multiple of the tile's."""
    wanted = min((SUMMED * 3 // 2 if block else BAND) // channels, block or 1024, -(-pixels // TASKS))
    return max(wanted // least, 4) * least


def _group(N, OH, OW, line, kernel, block):
    """Images per task, and rows of output per task."""
    rows = max(1, (SUMMED if block else BAND) // line, min(OH, 2 * kernel))
    if block:
        rows = min(rows, max(1, block // OW))
    if rows < OH or N < TASKS:
        rows = max(min(OH, 4), min(rows, -(-OH * N // TASKS))) if N < TASKS else rows
        return 1, -(-OH // -(-OH // min(rows, OH)))
    return max(1, min(rows // OH, N // TASKS)), OH


def _pixel(shape, strides):
    """Bytes from one pixel to the next of an array whose pixels are evenly spaced."""
    for axis in (3, 2, 0):
        if shape[axis] > 1:
            return strides[axis]
    return strides[3]


def _even(shape, strides):
    """Return whether all pixels of all images are evenly spaced."""
    N, _, H, W = shape
    pixel = _pixel(shape, strides)
    return (W == 1 or strides[3] == pixel) and (H == 1 or strides[2] == W * pixel) and (
        N == 1 or strides[0] == H * W * pixel
    )  # fmt: skip


class Part(NamedTuple):
    """Work of one task."""

    image: int  # the first one
    images: int
    top: int  # the first output row
    lines: int
    first: int  # the first panel, and the one after the last
    last: int


@jit
def part_of_direct(p, task, panels):
    """The part of the work that is task number `task`."""
    split, rest = task % p.splits, task // p.splits
    top, image = rest % p.bands * p.band, rest // p.bands * p.group
    return Part(
        image, min(p.group, p.images - image), top, min(p.band, p.height - top),
        split * panels // p.splits, (split + 1) * panels // p.splits,
    )  # fmt: skip


@jit
def read_bands(p, g, t, x, band):
    """Copy the input of part `t`; address, and strides from image to image, of what its tiles read."""
    if not p.copied:
        return x + t.image * g.image + t.top * p.down, g.image
    for i in range(t.images):
        copy_band(g, x + (t.image + i) * g.image, t.top * (p.down // g.line), band + i * g.rows * g.line)
    return band, g.rows * g.line


@jit
def rows_of(p, t, r):
    """The rows `r` of one line of output pixels, as many as there are."""
    return Rows(min(r.total, p.pixels - t.image * r.total), r.overhang, r.stride, r.step, r.runs, r.length)
