"""Arrays for the benchmarks of single kernels: the same numbers for every engine, drawn from a fixed seed."""

from __future__ import annotations

import math

import numpy as np

# (N, H, W, C) of the activations, or (rows, columns)
ACTIVATIONS = {
    "batch norm + ReLU": (64, 32, 32, 192),
    "max pool 3x3, stride 1": (64, 16, 16, 512),
    "max pool 3x3, stride 2": (64, 32, 32, 480),
    "softmax cross-entropy": (4096, 1000),
}
PARAMETERS = ("SGD with momentum", "Adam")
KERNEL_NAMES = (*ACTIVATIONS, *PARAMETERS)
# How many floats have to move per element, forward and backward, if no pass over memory is wasted: batch norm reads
# x twice and writes y, then reads x and dy twice and writes dx. An argmax is a quarter of a float.
TRAFFIC = {
    "batch norm + ReLU": 8,
    "max pool 3x3, stride 1": 4.5,
    "max pool 3x3, stride 2": 2.625,
    "softmax cross-entropy": 3,
    "SGD with momentum": 5,
    "Adam": 7,
}


def convolution_arrays(shape):
    """Input (N, H, W, C), weight (K, C, k, k) and gradient (N, H, W, K) for a shape (N, C, H, K, k)."""
    N, C, H, K, k = shape
    rng = np.random.default_rng([N, C, H, K, k])
    weight = rng.standard_normal((K, C, k, k), np.float32) / np.float32(np.sqrt(C * k * k))
    return rng.standard_normal((N, H, H, C), np.float32), weight, rng.standard_normal((N, H, H, K), np.float32)


def sample(stage, array):
    """The part of a result that is compared: of images the first, the middle and the last, of a weight all."""
    if stage == "weight_grad" or array.ndim != 4:
        return np.array(array)
    N = len(array)
    return np.array(array[[0, N // 2, N - 1]])


def kernel_arrays(name, quick, dtype):
    """The arguments of one of the `KERNEL_NAMES`, by name."""
    rng = np.random.default_rng(len(name))

    def draw(*shape):
        return rng.standard_normal(shape, np.float32).astype(dtype)

    shapes = kernel_shapes(name, quick)
    if name in PARAMETERS:
        return {f"{letter}{i}": draw(*shape) for i, shape in enumerate(shapes) for letter in "pg"}
    shape = shapes[0]
    x, C = draw(*shape), shape[-1]
    if name == "softmax cross-entropy":
        return {"x": x, "labels": rng.integers(0, C, len(x))}
    if name == "batch norm + ReLU":
        weight, bias = draw(C), draw(C)
        return {"x": x, "weight": weight, "bias": bias, "grad": draw(*shape) * clear(x, weight, bias)}
    N, H, W, C = shape
    return {"x": x, "grad": draw(*shape) if name.endswith("1") else draw(N, (H + 1) // 2, (W + 1) // 2, C)}


def clear(x, weight, bias):
    """Mask of the places where a ReLU after batch norm does not depend on rounding; the others get no gradient."""
    x = x.astype(np.float64)  # the same places whatever the benchmark's dtype
    y = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5) * weight + bias
    return np.abs(y) > 1e-5


def moved(name, quick):
    """Bytes that one of the kernels has to move in float32."""
    shapes = kernel_shapes(name, quick)
    return 4 * TRAFFIC[name] * sum(math.prod(shape) for shape in shapes)


def kernel_shapes(name, quick):
    """The shapes of a kernel's activations or parameters."""
    if name in PARAMETERS:
        return [(8, 3, 1, 5), (8,), (4, 8)] if quick else parameter_shapes()
    shape = ACTIVATIONS[name]
    return [tuple(min(n, 8) for n in shape) if quick else shape]


def parameter_shapes():
    """The shapes of GoogLeNet's parameters."""
    import models

    return [parameter.shape for parameter in models.GoogLeNet("cifar").parameters()]
