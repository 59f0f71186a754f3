"""Batch normalisation on the CPU: a forward pass reads twice and writes once, a backward reads 2 x 2 and writes once.

The pixels are cut into pieces of fixed size, which are the tasks. For the statistics, a
piece shifts its values by a first guess of their mean and sums differences and their
squares, so that nothing cancels; the pieces are then merged in order, in float64.

The ReLU's mask is not stored. The backward pass evaluates the forward's expression again,
on the same numbers and without fast-math, and so finds the same signs. It clips
where ``v <= floor``; where no ReLU is wanted, `floor` is NaN, below which nothing lies.
"""

from __future__ import annotations

import numpy as np

from minidl import backend
from minidl.kernels import normalisation, normalisation_rows_cpu, team  # noqa: F401 (registers its kernels)
from minidl.kernels.cpu import jit
from minidl.kernels.flat import EXACT, TASK_SIZE, deliver, flat, floating, get, own, put, target
from minidl.kernels.team import next_task

GUESS = 16  # pixels whose mean is a piece's shift


def _pieces(x):
    """How the pixels of `x` are cut: (number of pieces, pixels, channels, pixels per piece)."""
    N, C, H, W = x.shape
    size = max(1, min(1024, 2 * TASK_SIZE // C))
    return -(-N * H * W // size), N * H * W, C, size


def _partial(rows, n, C, like):
    """Room for `n` pieces' `rows` sums per channel; each row on cache lines of its own, and no two 4 KB apart."""
    return backend.empty((n, rows, (C // 16 + 2) * 16), like.dtype, like=like)


@jit(fastmath=EXACT)
def _moments(counter, n_tasks, x, ldx, pixels, C, size, sums, row):
    """For each piece: the shift, the sum of differences from it, and the sum of their squares."""
    task = next_task(counter)
    while task < n_tasks:
        start, end = task * size, min(pixels, (task + 1) * size)
        guess = min(GUESS, end - start)
        shift, first, second = 3 * task * row, (3 * task + 1) * row, (3 * task + 2) * row
        for c in range(3 * row):
            put(sums, shift + c, 0)
        for p in range(start, start + guess):
            for c in range(C):
                put(sums, shift + c, own(sums, shift + c) + get(x, p * ldx + c))
        for c in range(C):
            put(sums, shift + c, own(sums, shift + c) / guess)
        fours = start + (end - start) // 4 * 4
        for p in range(start, fours, 4):
            i, j, k, l = p * ldx, (p + 1) * ldx, (p + 2) * ldx, (p + 3) * ldx
            for c in range(C):
                m = own(sums, shift + c)
                d0, d1, d2, d3 = get(x, i + c) - m, get(x, j + c) - m, get(x, k + c) - m, get(x, l + c) - m
                put(sums, first + c, own(sums, first + c) + ((d0 + d1) + (d2 + d3)))
                put(sums, second + c, own(sums, second + c) + ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)))
        for p in range(fours, end):
            for c in range(C):
                d = get(x, p * ldx + c) - own(sums, shift + c)
                put(sums, first + c, own(sums, first + c) + d)
                put(sums, second + c, own(sums, second + c) + d * d)
        task = next_task(counter)


@jit(fastmath=EXACT)
def _merge(sums, pixels, C, size):
    """Mean and variance of all pieces together, in float64."""
    shift, first, second = sums[:, 0], sums[:, 1], sums[:, 2]
    mean, var = np.zeros(C), np.zeros(C)
    for k in range(len(sums)):
        n = min(size, pixels - k * size)
        for c in range(C):
            mean[c] += np.float64(shift[k, c]) * n + first[k, c]
    for c in range(C):
        mean[c] /= pixels
    for k in range(len(sums)):
        n = min(size, pixels - k * size)
        for c in range(C):
            rest = np.float64(first[k, c]) / n  # the piece's mean is its shift and this
            away = shift[k, c] + rest - mean[c]
            var[c] += second[k, c] + n * (away * away - rest * rest)
    for c in range(C):
        var[c] = 0 if var[c] < 0 else var[c] / pixels
    return mean, var


def _statistics(x):
    """Mean and biased variance per channel of a channels-last `x`, in float64."""
    n, pixels, C, size = _pieces(x)
    sums = _partial(3, n, C, like=x)
    team.run(_moments, n, *flat(x), pixels, C, size, sums.ravel(), sums.shape[2])
    return _merge(sums, pixels, C, size)


@jit(fastmath=EXACT)
def _unclipped(value, v, floor):
    """`value` where the ReLU lets `v` pass, else 0."""
    return floor if v <= floor else value


@jit(fastmath=EXACT)
def _normalise(counter, n_tasks, x, ldx, y, ldy, pixels, C, size, mean, scale, bias, floor):
    task = next_task(counter)
    while task < n_tasks:
        for p in range(task * size, min(pixels, (task + 1) * size)):
            i, o = p * ldx, p * ldy
            for c in range(C):
                v = (get(x, i + c) - get(mean, c)) * get(scale, c) + get(bias, c)
                put(y, o + c, _unclipped(v, v, floor))
        task = next_task(counter)


def _floor(relu, dtype):
    return dtype.type(0 if relu else np.nan)


def _constants(weight, bias, invstd):
    """Scale and shift per channel, contiguous."""
    scale = invstd if weight is None else weight * invstd
    return scale, np.zeros_like(invstd) if bias is None else np.ascontiguousarray(bias)


def _apply(x, mean, scale, bias, relu, out):
    y = target(out, x.shape, x.dtype, like=x)
    n, *sizes = _pieces(x)
    team.run(_normalise, n, *flat(x), *flat(y), *sizes, mean, scale, bias, _floor(relu, x.dtype))
    return deliver(y, out)


@normalisation.batch_norm_stats.register(np.ndarray)
def batch_norm_stats(x):
    if not floating(x):
        return NotImplemented
    return tuple(value.astype(x.dtype) for value in _statistics(backend.channels_last(x)))


@normalisation.batch_norm_train.register(np.ndarray)
def batch_norm_train(x, weight, bias, eps, relu, out=None):
    if not floating(x, weight, bias):
        return NotImplemented
    x = backend.channels_last(x)
    mean, var = _statistics(x)
    invstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    mean, var = mean.astype(x.dtype), var.astype(x.dtype)
    return _apply(x, mean, *_constants(weight, bias, invstd), relu, out), mean, invstd, var


@normalisation.batch_norm_eval.register(np.ndarray)
def batch_norm_eval(x, weight, bias, mean, var, eps, relu, out=None):
    if not floating(x, weight, bias, mean, var):
        return NotImplemented
    scale, bias = _constants(weight, bias, 1 / np.sqrt(var + x.dtype.type(eps)))
    return _apply(backend.channels_last(x), np.ascontiguousarray(mean), scale, bias, relu, out)


@jit(fastmath=EXACT)
def _grad_sums(counter, n_tasks, grad, ldg, x, ldx, pixels, C, size, mean, scale, bias, floor, sums, row):
    """For each piece: the sum of the gradient behind the ReLU, and of its product with the centred input."""
    task = next_task(counter)
    while task < n_tasks:
        total, dot = 2 * task * row, (2 * task + 1) * row
        for c in range(2 * row):
            put(sums, total + c, 0)
        start, end = task * size, min(pixels, (task + 1) * size)
        for p in range(start, end - 1, 2):
            for c in range(C):
                m, s, b = get(mean, c), get(scale, c), get(bias, c)
                d0, d1 = get(x, p * ldx + c) - m, get(x, (p + 1) * ldx + c) - m
                h0 = _unclipped(get(grad, p * ldg + c), d0 * s + b, floor)
                h1 = _unclipped(get(grad, (p + 1) * ldg + c), d1 * s + b, floor)
                put(sums, total + c, own(sums, total + c) + (h0 + h1))
                put(sums, dot + c, own(sums, dot + c) + (h0 * d0 + h1 * d1))
        for p in range(end - (end - start) % 2, end):
            for c in range(C):
                d = get(x, p * ldx + c) - get(mean, c)
                h = _unclipped(get(grad, p * ldg + c), d * get(scale, c) + get(bias, c), floor)
                put(sums, total + c, own(sums, total + c) + h)
                put(sums, dot + c, own(sums, dot + c) + h * d)
        task = next_task(counter)


@jit(fastmath=EXACT)
def _input_grad(
    counter, n_tasks, grad, ldg, x, ldx, dx, ldd, pixels, C, size, mean, scale, bias, floor, mean_grad, slope
):
    task = next_task(counter)
    while task < n_tasks:
        for p in range(task * size, min(pixels, (task + 1) * size)):
            g, i, o = p * ldg, p * ldx, p * ldd
            for c in range(C):
                d = get(x, i + c) - get(mean, c)
                h = _unclipped(get(grad, g + c), d * get(scale, c) + get(bias, c), floor)
                put(dx, o + c, ((h - get(mean_grad, c)) - d * get(slope, c)) * get(scale, c))
        task = next_task(counter)


@normalisation.batch_norm_train_grad.register(np.ndarray)
def batch_norm_train_grad(grad, x, weight, bias, mean, invstd, relu, out=None):
    if not floating(grad, x, weight, bias, mean, invstd):
        return NotImplemented
    grad, x = backend.channels_last(grad), backend.channels_last(x)
    n, pixels, C, size = _pieces(x)
    sums = _partial(2, n, C, like=x)
    both = *flat(grad), *flat(x)
    constants = pixels, C, size, mean, *_constants(weight, bias, invstd), _floor(relu, x.dtype)
    team.run(_grad_sums, n, *both, *constants, sums.ravel(), sums.shape[2])
    total, dot = sums.sum(0, dtype=np.float64)[:, :C]
    dot *= invstd
    means = (total / pixels).astype(x.dtype), (dot * invstd / pixels).astype(x.dtype)
    dx = target(out, x.shape, x.dtype, like=x)
    team.run(_input_grad, n, *both, *flat(dx), *constants, *means)
    dweight, dbias = (v.astype(x.dtype) if w is not None else None for v, w in ((dot, weight), (total, bias)))
    return deliver(dx, out), dweight, dbias
