"""Arrays for the benchmarks of single kernels: the same numbers for every engine, drawn from a fixed seed."""

from __future__ import annotations

import numpy as np

# name: (N, H, W, C) of the activations or (rows, columns); floats that have to move per element, both ways:
# batch norm reads x twice and writes y, its backward reads x and dy twice and writes dx; and so on.
ACTIVATIONS = {
    "batch norm + ReLU": (64, 32, 32, 192),
    "max pool 3x3, stride 1": (64, 16, 16, 512),
    "max pool 3x3, stride 2": (64, 32, 32, 480),
    "softmax cross-entropy": (4096, 1000),
}
PARAMETERS = ("SGD with momentum", "Adam")
KERNEL_NAMES = (*ACTIVATIONS, *PARAMETERS)


def convolution_arrays(shape):
    """Input (N, H, W, C), weight (K, C, k, k) and gradient (N, H, W, K) for a shape (N, C, H, K, k)."""
    N, C, H, K, k = shape
    rng = np.random.default_rng([N, C, H, K, k])
    weight = rng.standard_normal((K, C, k, k), np.float32) / np.float32(np.sqrt(C * k * k))
    return rng.standard_normal((N, H, H, C), np.float32), weight, rng.standard_normal((N, H, H, K), np.float32)


def sample(stage, array):
    """What is compared of a result: a gradient to the weight whole, of images the first, the middle and the last."""
    if stage == "weight_grad" or array.ndim != 4:
        return np.array(array)
    N = len(array)
    return np.array(array[[0, N // 2, N - 1]])


def kernel_arrays(name, quick, dtype):
    """The arguments of one of the `KERNEL_NAMES`, by name."""
    rng = np.random.default_rng(len(name))
    draw = lambda *shape: rng.standard_normal(shape, np.float32).astype(dtype)
    if name in PARAMETERS:
        shapes = [(64, 16)] * 3 if quick else parameter_shapes()
        return {f"{letter}{i}": draw(*shape) for i, shape in enumerate(shapes) for letter in "pg"}
    shape = ACTIVATIONS[name] if not quick else tuple(min(n, 8) for n in ACTIVATIONS[name])
    x, C = draw(*shape), shape[-1]
    if name == "softmax cross-entropy":
        return {"x": x, "labels": rng.integers(0, C, len(x))}
    if name == "batch norm + ReLU":
        return {"x": x, "weight": draw(C), "bias": draw(C), "grad": draw(*shape)}
    N, H, W, C = shape
    return {"x": x, "grad": draw(*shape) if name.endswith("1") else draw(N, (H + 1) // 2, (W + 1) // 2, C)}


def parameter_shapes():
    """The shapes of GoogLeNet's parameters."""
    import models

    return [parameter.shape for parameter in models.GoogLeNet("cifar").parameters()]
