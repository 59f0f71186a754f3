"""Layer and local response normalisation on the CPU: each row or pixel is finished while it is in the cache.

Layer normalisation reduces along memory, so its sums may be reordered by the compiler
("reassoc") into as many as a vector has lanes; the machine code fixes the order. Local
response normalisation sums over a window of channels, of values padded with zeros:
``s[c]`` = v[c] + ... + v[c + size - 1], which vectorises over c.
"""

from __future__ import annotations

import math

import numpy as np

from minidl import backend
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, TASK_SIZE, flat, floating, get, own, put
from minidl.kernels.cpu.machine.team import next_task

SUMS = frozenset({"reassoc", "contract", "nsz"})


@jit(fastmath=SUMS)
def _sum(x, start, d, mean, power):
    """Sum of a row's differences from `mean`, or of their squares."""
    total = x.dtype.type(0)
    if power == 1:
        for j in range(start, start + d):
            total += get(x, j) - mean
    else:
        for j in range(start, start + d):
            total += (get(x, j) - mean) * (get(x, j) - mean)
    return total


@jit(fastmath=EXACT)
def _layer_norm(counter, n_tasks, x, weight, bias, eps, rows, y, means, invstds):
    N, d = len(means), len(weight)
    task = next_task(counter)
    while task < n_tasks:
        for n in range(task * rows, min(N, (task + 1) * rows)):
            guess = _sum(x, n * d, d, x.dtype.type(0), 1) / d
            mean = x.dtype.type(guess + _sum(x, n * d, d, x.dtype.type(guess), 1) / d)
            invstd = x.dtype.type(1 / math.sqrt(_sum(x, n * d, d, mean, 2) / d + eps))
            means[n], invstds[n] = mean, invstd
            for j in range(d):
                put(y, n * d + j, (get(x, n * d + j) - mean) * invstd * get(weight, j) + get(bias, j))
        task = next_task(counter)


def _vectors(d, weight, bias, like):
    """`weight` and `bias` as contiguous vectors of `d`; ones and zeros for None."""
    xp = backend.array_module(like)
    weight = np.ones(d, like.dtype) if weight is None else xp.ascontiguousarray(weight).reshape(-1)
    return weight, np.zeros(d, like.dtype) if bias is None else xp.ascontiguousarray(bias).reshape(-1)


@jit(fastmath=SUMS)
def _products(grad, x, weight, start, d, mean, invstd):
    """Sum over a row of the weighted gradient, and of its product with the normalised input."""
    total, dot = x.dtype.type(0), x.dtype.type(0)
    for j in range(d):
        g = get(grad, start + j) * get(weight, j)
        total += g
        dot += g * ((get(x, start + j) - mean) * invstd)
    return total, dot


@jit(fastmath=EXACT)
def _layer_norm_grad(counter, n_tasks, grad, x, weight, means, invstds, rows, dx, sums):
    N, d = len(means), len(weight)
    task = next_task(counter)
    while task < n_tasks:
        dweight, dbias = 2 * task * d, (2 * task + 1) * d
        for j in range(2 * d):
            put(sums, dweight + j, 0)
        for n in range(task * rows, min(N, (task + 1) * rows)):
            mean, invstd = means[n], invstds[n]
            total, dot = _products(grad, x, weight, n * d, d, mean, invstd)
            mean_grad, slope = x.dtype.type(total / d), x.dtype.type(dot / d)
            for j in range(d):
                g, normal = get(grad, n * d + j), (get(x, n * d + j) - mean) * invstd
                put(dx, n * d + j, (g * get(weight, j) - mean_grad - normal * slope) * invstd)
                put(sums, dweight + j, own(sums, dweight + j) + g * normal)
                put(sums, dbias + j, own(sums, dbias + j) + g)
        task = next_task(counter)


class LayerNorm:
    """Form of `minidl.ops.normalisation.LayerNorm`: rows of d numbers, those of the last axes."""

    @staticmethod
    def forward(x, weight, bias, axes, eps):
        """Return the normalised rows; keep the mean and the inverse deviation of each."""
        if not x.size or not floating(x, weight, bias):
            return NotImplemented
        xp = backend.array_module(x)
        x, d = xp.ascontiguousarray(x), math.prod(x.shape[axis] for axis in axes)
        N, rows = x.size // d, max(1, TASK_SIZE // d)
        y = backend.empty(x.shape, x.dtype, like=x)
        mean, invstd = xp.empty(N, x.dtype), xp.empty(N, x.dtype)
        vectors = _vectors(d, weight, bias, x)
        team.run(_layer_norm, -(-N // rows), x.reshape(-1), *vectors, eps, rows, y.reshape(-1), mean, invstd)
        return (y,), (mean, invstd)

    @staticmethod
    def backward(grads, saved, axes, eps):
        """Return the gradients of input, weight and bias."""
        (grad,), (x, weight, bias), (mean, invstd) = grads, saved.inputs, saved.kept
        if not floating(grad, x, weight, bias, mean, invstd):
            return NotImplemented
        d = math.prod(x.shape[axis] for axis in axes)
        rows = max(1, TASK_SIZE // d)
        n = -(-len(mean) // rows)
        dx = backend.empty(x.shape, x.dtype, like=x)
        sums = backend.empty((n, 2, d), x.dtype, like=x)
        both = (backend.array_module(x).ascontiguousarray(array).reshape(-1) for array in (grad, x))
        vector, _ = _vectors(d, weight, bias, x)
        team.run(_layer_norm_grad, n, *both, vector, mean, invstd, rows, dx.reshape(-1), sums.reshape(-1))
        sums = sums.sum(0, dtype=np.float64).astype(x.dtype)
        return dx, *(None if given is None else s.reshape(given.shape) for given, s in zip((weight, bias), sums))


@jit(fastmath=EXACT)
def _window_sums(v, size, C, total):
    """total[c] = v[c] + ... + v[c + size - 1]."""
    for c in range(C):
        put(total, c, get(v, c))
    for shift in range(1, size):
        for c in range(C):
            put(total, c, own(total, c) + get(v, c + shift))


@jit(fastmath=EXACT)
def _divisors(x, i, size, alpha, beta, k, C, squares, base, power):
    """Of a pixel's channels: base = k + alpha * (sum of squares), and power = base ** -beta."""
    for c in range(C):
        squares[c + size // 2] = x[i + c] * x[i + c]
    _window_sums(squares, size, C, base)
    for c in range(C):
        base[c] = k + alpha * base[c]
    if beta == 0.75:  # AlexNet's and GoogLeNet's, which two square roots give
        for c in range(C):
            root = math.sqrt(base[c])
            power[c] = 1 / (root * math.sqrt(root))
    else:
        for c in range(C):
            power[c] = base[c] ** -beta


@jit(fastmath=EXACT)
def _response(counter, n_tasks, x, ldx, pixels, C, size, alpha, beta, k, y):
    squares, base, power = np.zeros(C + size, x.dtype), np.empty(C, x.dtype), np.empty(C, x.dtype)
    rows = max(1, TASK_SIZE // C)
    task = next_task(counter)
    while task < n_tasks:
        for p in range(task * rows, min(pixels, (task + 1) * rows)):
            _divisors(x, p * ldx, size, alpha, beta, k, C, squares, base, power)
            for c in range(C):
                put(y, p * C + c, get(x, p * ldx + c) * own(power, c))
        task = next_task(counter)


@jit(fastmath=EXACT)
def _response_grad(counter, n_tasks, x, ldx, pixels, C, size, alpha, beta, k, grad, ldg, dx):
    squares, base, power = np.zeros(C + size, x.dtype), np.empty(C, x.dtype), np.empty(C, x.dtype)
    shares, total = np.zeros(C + size, x.dtype), np.empty(C, x.dtype)
    rows, slope = max(1, TASK_SIZE // C), 2 * alpha * beta
    task = next_task(counter)
    while task < n_tasks:
        for p in range(task * rows, min(pixels, (task + 1) * rows)):
            i, g = p * ldx, p * ldg
            _divisors(x, i, size, alpha, beta, k, C, squares, base, power)
            for c in range(C):
                shares[c + (size - 1) // 2] = grad[g + c] * x[i + c] * power[c] / base[c]
            _window_sums(shares, size, C, total)
            for c in range(C):
                own_part, others = get(grad, g + c) * own(power, c), slope * get(x, i + c) * own(total, c)
                put(dx, p * C + c, own_part - others)
        task = next_task(counter)


def _run_response(kernel, x, size, alpha, beta, k, *rest):
    N, C, H, W = x.shape
    y = backend.empty_channels_last(x.shape, x.dtype, like=x)
    numbers = (x.dtype.type(number) for number in (alpha / size, beta, k))
    tasks = -(-N * H * W // max(1, TASK_SIZE // C))
    reach = min(size, 2 * C)  # from every channel to all others; what lies beyond is zero
    team.run(kernel, tasks, *flat(x), N * H * W, C, reach, *numbers, *rest, flat(y)[0])
    return y


class LocalResponseNorm:
    """Form of `minidl.ops.normalisation.LocalResponseNorm` for images."""

    @staticmethod
    def forward(x, size, alpha, beta, k):
        """Return the normalised images."""
        if not floating(x) or x.ndim != 4:
            return NotImplemented
        return (_run_response(_response, backend.channels_last(x), size, alpha, beta, k),), ()

    @staticmethod
    def backward(grads, saved, size, alpha, beta, k):
        """Return the gradient of the input."""
        (grad,), (x,) = grads, saved.inputs
        if not floating(grad, x):
            return NotImplemented
        grad, x = backend.channels_last(grad), backend.channels_last(x)
        return (_run_response(_response_grad, x, size, alpha, beta, k, *flat(grad)),)
