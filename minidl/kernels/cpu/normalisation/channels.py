"""Batch normalisation on the CPU: a forward reads x twice and writes once, a backward reads grad and x twice each.

The pixels are cut into pieces of fixed size, which are the tasks. Sums over pixels are
those of the pieces, added in order, in float64.

The ReLU's mask is not stored. The backward pass evaluates the forward's expression again,
on the same numbers and without fast-math, and so finds the same signs. It clips
where ``v <= floor``; where no ReLU is wanted, `floor` is NaN, below which nothing lies.

All kernels work on several activations at once (see :mod:`minidl.kernels.cpu.normalisation.parts`).

A result that stays in the caches is written vector after vector of channels (:mod:`.vectors`), a larger one in the
order of its bytes, which is what memory is good at; the bits are the same.
"""

from __future__ import annotations

import numpy as np

from minidl import backend
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.description import FAR
from minidl.kernels.cpu.machine.flat import EXACT, deliver, far, floating, get, own, put, stream, target
from minidl.kernels.cpu.machine.team import next_task
from minidl.kernels.cpu.normalisation.moments import partial, statistics
from minidl.kernels.cpu.normalisation.parts import (
    BEFORE,
    CHANNELS,
    FIRST,
    SECOND,
    THIRD,
    array_of,
    prefetch_pixels,
    joined,
    pieces,
    split,
    table,
)
from minidl.kernels.cpu.normalisation.vectors import STRETCH, input_grad_of_pixels, normalise_pixels

NEAR, LARGE, STREAMED = range(3)  # results that stay in the caches, that do not, and that are streamed past them


@jit(fastmath=EXACT)
def _unclipped(value, v, floor):
    """`value` where the ReLU lets `v` pass, else 0."""
    return floor if v <= floor else value


@jit(fastmath=EXACT)
def _normalise_far(x, ldx, y, ldy, first, n, C, mean, scale, bias, at, floor, row, streamed):
    """Normalise `n` pixels in the order of their bytes, and stream them past the caches where they can be."""
    place = row if streamed else y
    for p in range(first, first + n):
        o = 0 if streamed else p * ldy
        prefetch_pixels(x, ldx, C, p, p + 1)
        for c in range(C):
            v = (get(x, p * ldx + c) - get(mean, at + c)) * get(scale, at + c) + get(bias, at + c)
            put(place, o + c, _unclipped(v, v, floor))
        if streamed:
            stream(y, p * ldy, row, C)


@jit(fastmath=EXACT)
def _normalise(counter, n_tasks, parts, ways, pixels, C, size, mean, scale, bias, floor):
    row, B = np.empty(C, mean.dtype), mean.itemsize
    task = next_task(counter)
    while task < n_tasks:
        for part in range(len(parts)):
            (x, ldx), (y, ldy) = array_of(parts, part, FIRST, floor), array_of(parts, part, SECOND, floor)
            C, at = parts[part, CHANNELS], parts[part, BEFORE]
            ones = mean[at:].ctypes.data, scale[at:].ctypes.data, bias[at:].ctypes.data
            last = min(pixels, (task + 1) * size)
            for p in range(task * size, last, STRETCH):
                n = min(STRETCH, last - p)
                if ways[part] != NEAR:
                    streamed = ways[part] == STREAMED
                    _normalise_far(x, ldx, y, ldy, p, n, C, mean, scale, bias, at, floor, row, streamed)
                else:
                    prefetch_pixels(x, ldx, C, p, p + n)
                    source, place = x.ctypes.data + p * ldx * B, y.ctypes.data + p * ldy * B
                    normalise_pixels(source, ldx * B, place, ldy * B, n, *ones, floor, C)
        task = next_task(counter)


def _floor(relu, dtype):
    return dtype.type(0 if relu else np.nan)


def _constants(means, invstds, weights, biases):
    """Mean, scale and shift over the channels of all parts."""
    invstd = joined(invstds, invstds, 1)
    scale = invstd if all(weight is None for weight in weights) else joined(weights, invstds, 1) * invstd
    return joined(means, invstds, 0), scale, joined(biases, invstds, 0)


def _ways(ys):
    """For each part of a result how it is written: vector after vector of channels only if it stays in the caches."""
    is_large = sum([y.nbytes for y in ys]) >= FAR
    return np.array([STREAMED if far(y) else LARGE if is_large else NEAR for y in ys])


def _apply(xs, means, invstds, weights, biases, relu, outs):
    """The normalised parts."""
    ys = [target(out, x.shape, x.dtype, like=x) for x, out in zip(xs, outs)]
    n, *sizes = pieces(xs)
    constants = *_constants(means, invstds, weights, biases), _floor(relu, xs[0].dtype)
    team.run(_normalise, n, table(xs, ys), _ways(ys), *sizes, *constants)
    return [deliver(y, out) for y, out in zip(ys, outs)]


def batch_norms_train(xs, weights, biases, eps, relu, outs):
    """Normalise each channel by its own statistics, scale, shift, and clip at 0 if `relu`: of several arrays.

    Parameters
    ----------
    xs : list of arrays, shape (N, C, H, W)
        All of the same N, H and W; often slices of one array, and then fastest in its order.
    weights, biases : lists of arrays, shape (C,), or None
        None stands for ones and zeros.
    eps : list of float
        Added to the variance.
    relu : bool
        Let a ReLU follow.
    outs : list of arrays, shape (N, C, H, W), or None
        Memory for `y`, not overlapping the input; may be a slice of channels.

    Returns
    -------
    list of tuples (y, mean, invstd, var)
        `y` has the shape of its input, the others (C,); ``invstd = 1 / sqrt(var + eps)``; `var` is the
        biased variance.
    """
    xs, dtype = [backend.channels_last(x) for x in xs], xs[0].dtype
    mean, var = statistics(xs)
    eps = np.repeat(eps, [x.shape[1] for x in xs])
    vectors = mean.astype(dtype), (1 / np.sqrt(var + eps)).astype(dtype), var.astype(dtype)
    means, invstds, variances = ([*split(vector, xs)] for vector in vectors)
    ys = _apply(xs, means, invstds, weights, biases, relu, outs)
    return list(zip(ys, means, invstds, variances))


def batch_norms_again(xs, weights, biases, means, invstds, relu, outs):
    """The list of `y` that `batch_norms_train` returned with `means` and `invstds`, to the same bits."""
    return _apply([backend.channels_last(x) for x in xs], means, invstds, weights, biases, relu, outs)


@jit(fastmath=EXACT, forceinline=True)
def _grad_sums_of(grad, ldg, x, ldx, start, end, C, mean, scale, bias, at, floor, sums, total, dot):
    """Of a piece of one part: the sum of the gradient behind the ReLU, and of its product with the centred input."""
    for c in range(C):
        put(sums, total + c, 0)
        put(sums, dot + c, 0)
    for p in range(start, end - 1, 2):
        prefetch_pixels(x, ldx, C, p, p + 2)
        prefetch_pixels(grad, ldg, C, p, p + 2)
        for c in range(C):
            m, s, b = get(mean, at + c), get(scale, at + c), get(bias, at + c)
            d0, d1 = get(x, p * ldx + c) - m, get(x, (p + 1) * ldx + c) - m
            h0 = _unclipped(get(grad, p * ldg + c), d0 * s + b, floor)
            h1 = _unclipped(get(grad, (p + 1) * ldg + c), d1 * s + b, floor)
            put(sums, total + c, own(sums, total + c) + (h0 + h1))
            put(sums, dot + c, own(sums, dot + c) + (h0 * d0 + h1 * d1))
    for p in range(end - (end - start) % 2, end):
        for c in range(C):
            d = get(x, p * ldx + c) - get(mean, at + c)
            h = _unclipped(get(grad, p * ldg + c), d * get(scale, at + c) + get(bias, at + c), floor)
            put(sums, total + c, own(sums, total + c) + h)
            put(sums, dot + c, own(sums, dot + c) + h * d)


@jit(fastmath=EXACT)
def _grad_sums(counter, n_tasks, parts, pixels, C, size, mean, scale, bias, floor, sums, row):
    task = next_task(counter)
    while task < n_tasks:
        start, end = task * size, min(pixels, (task + 1) * size)
        for part in range(len(parts)):
            (grad, ldg), (x, ldx) = array_of(parts, part, FIRST, floor), array_of(parts, part, SECOND, floor)
            C, at = parts[part, CHANNELS], parts[part, BEFORE]
            total = 2 * task * row + at
            _grad_sums_of(grad, ldg, x, ldx, start, end, C, mean, scale, bias, at, floor, sums, total, total + row)
        task = next_task(counter)


@jit(fastmath=EXACT)
def _input_grad_far(
    grad, ldg, x, ldx, dx, ldd, first, n, C, mean, scale, bias, at, floor, mean_grad, slope, row, streamed
):  # fmt: skip
    """The gradient with respect to `n` pixels in the order of their bytes, streamed where they can be."""
    place = row if streamed else dx
    for p in range(first, first + n):
        o = 0 if streamed else p * ldd
        prefetch_pixels(x, ldx, C, p, p + 1)
        prefetch_pixels(grad, ldg, C, p, p + 1)
        for c in range(C):  # dx = s (h - mean(h) - d slope): the sixth line of ops/normalisation.py
            s, d = get(scale, at + c), get(x, p * ldx + c) - get(mean, at + c)
            h = _unclipped(get(grad, p * ldg + c), d * s + get(bias, at + c), floor)
            put(place, o + c, ((h - get(mean_grad, at + c)) - d * get(slope, at + c)) * s)
        if streamed:
            stream(dx, p * ldd, row, C)


@jit(fastmath=EXACT)
def _input_grad(counter, n_tasks, parts, ways, pixels, C, size, mean, scale, bias, floor, mean_grad, slope):
    row, B = np.empty(C, mean.dtype), mean.itemsize
    task = next_task(counter)
    while task < n_tasks:
        for part in range(len(parts)):
            (grad, ldg), (x, ldx) = array_of(parts, part, FIRST, floor), array_of(parts, part, SECOND, floor)
            (dx, ldd), C, at = array_of(parts, part, THIRD, floor), parts[part, CHANNELS], parts[part, BEFORE]
            ones = mean[at:].ctypes.data, scale[at:].ctypes.data, bias[at:].ctypes.data
            rest = mean_grad[at:].ctypes.data, slope[at:].ctypes.data
            last = min(pixels, (task + 1) * size)
            for p in range(task * size, last, STRETCH):
                n = min(STRETCH, last - p)
                if ways[part] != NEAR:
                    given = grad, ldg, x, ldx, dx, ldd, p, n, C, mean, scale, bias, at, floor
                    _input_grad_far(*given, mean_grad, slope, row, ways[part] == STREAMED)
                else:
                    prefetch_pixels(x, ldx, C, p, p + n)
                    prefetch_pixels(grad, ldg, C, p, p + n)
                    sources = grad.ctypes.data + p * ldg * B, ldg * B, x.ctypes.data + p * ldx * B, ldx * B
                    place = dx.ctypes.data + p * ldd * B
                    input_grad_of_pixels(*sources, place, ldd * B, n, *ones, floor, *rest, C)
        task = next_task(counter)


def batch_norms_train_grad(grads, xs, weights, biases, means, invstds, relu, outs):
    """Gradients ``(dx, dweight, dbias)`` of `batch_norms_train`, given the upstream `grads`.

    `means` and `invstds` are what the forward pass returned, the other parameters what it was
    given; the ReLU mask is recomputed from the inputs. The gradient of a weight or
    bias of None is None. `outs` takes the `dx`.
    """
    grads, xs = ([backend.channels_last(array) for array in arrays] for arrays in (grads, xs))
    (n, pixels, C, size), dtype = pieces(xs), xs[0].dtype
    sums = partial(2, n, C, like=xs[0])
    constants = pixels, C, size, *_constants(means, invstds, weights, biases), _floor(relu, dtype)
    team.run(_grad_sums, n, table(grads, xs), *constants, sums.ravel(), sums.shape[2])
    total, dot = sums[:, :, :C].sum(0, dtype=np.float64)
    invstd = joined(invstds, invstds, 1)
    dot *= invstd
    means_of = (total / pixels).astype(dtype), (dot * invstd / pixels).astype(dtype)
    dxs = [target(out, x.shape, dtype, like=x) for x, out in zip(xs, outs)]
    team.run(_input_grad, n, table(grads, xs, dxs), _ways(dxs), *constants, *means_of)
    dweights, dbiases = (split(vector.astype(dtype), xs) for vector in (dot, total))
    return [
        (deliver(dx, out), None if weight is None else dweight, None if bias is None else dbias)
        for dx, out, weight, bias, dweight, dbias in zip(dxs, outs, weights, biases, dweights, dbiases)
    ]


class BatchNorm:
    """Form of `minidl.ops.normalisation.BatchNorm` for images."""

    @staticmethod
    def forward(x, weight, bias, eps, relu):
        """Return ``(y, mean, var)``, and keep the mean and the inverse deviation."""
        if x.ndim != 4 or not floating(x, weight, bias):
            return NotImplemented
        ((y, mean, invstd, var),) = batch_norms_train([x], [weight], [bias], [eps], relu, [None])
        return (y, mean, var), (mean, invstd)

    @staticmethod
    def backward(grads, saved, eps, relu):
        """Return the gradients of input, weight and bias."""
        (grad,), (x, weight, bias), (mean, invstd) = grads, saved.inputs, saved.kept
        if not floating(grad, x, weight, bias, mean, invstd):
            return NotImplemented
        return batch_norms_train_grad([grad], [x], [weight], [bias], [mean], [invstd], relu, [None])[0]


class BatchNormEval:
    """Form of `minidl.ops.normalisation.BatchNormEval` for images; its backward is the definition's."""

    @staticmethod
    def forward(x, mean, var, weight, bias, eps, relu):
        """Return the normalised images."""
        if x.ndim != 4 or not floating(x, weight, bias, mean, var):
            return NotImplemented
        invstd = 1 / np.sqrt(var + x.dtype.type(eps))
        return _apply([backend.channels_last(x)], [mean], [invstd], [weight], [bias], relu, [None]), ()

    @staticmethod
    def backward(grads, saved, eps, relu):
        """Leave it to the definition."""
        return NotImplemented
