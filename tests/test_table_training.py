"""Optimisers, schedules, clipping and running statistics against the textbook, one number at a time in float64."""

import math

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.dispatch import using
from minidl.tensor import Tensor

STEPS = 5
SHAPE = (3, 2)


def sgd(w, gradients, lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    buffer = None
    for g in gradients:
        g = (-g if maximize else g) + weight_decay * w
        buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
        w = w - lr * (g + momentum * buffer if nesterov else buffer)
    return w


def adam(w, gradients, lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False, amsgrad=False):
    m = v = largest = 0.0
    for t, g in enumerate(gradients, 1):
        w = w * (1 - lr * weight_decay) if decoupled else w
        g = g if decoupled else g + weight_decay * w
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        largest = max(largest, v)
        second = (largest if amsgrad else v) / (1 - betas[1] ** t)
        w = w - lr * m / (1 - betas[0] ** t) / (math.sqrt(second) + eps)
    return w


def rmsprop(w, gradients, lr=0.1, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    square = mean = buffer = 0.0
    for g in gradients:
        g = g + weight_decay * w
        square, mean = alpha * square + (1 - alpha) * g * g, alpha * mean + (1 - alpha) * g
        slope = g / (math.sqrt(square - mean**2 if centered else square) + eps)
        buffer = momentum * buffer + slope
        w = w - lr * buffer
    return w


OPTIMISERS = {
    "sgd": ("SGD", sgd, dict(lr=0.1)),
    "sgd momentum": ("SGD", sgd, dict(lr=0.1, momentum=0.9, weight_decay=0.2)),
    "sgd dampening": ("SGD", sgd, dict(lr=0.1, momentum=0.9, dampening=0.3)),
    "sgd nesterov": ("SGD", sgd, dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1, maximize=True)),
    "adam": ("Adam", adam, dict(lr=0.1, eps=0.3)),
    "adam decay": ("Adam", adam, dict(lr=0.1, weight_decay=0.3, amsgrad=True, betas=(0.3, 0.6))),
    "adamw": ("AdamW", lambda w, g, **o: adam(w, g, decoupled=True, **o), dict(lr=0.1, weight_decay=0.3)),
    "rmsprop": ("RMSprop", rmsprop, dict(lr=0.1, alpha=0.8, eps=0.1, weight_decay=0.1)),
    "rmsprop centered": ("RMSprop", rmsprop, dict(lr=0.1, alpha=0.6, eps=0.1, centered=True, momentum=0.9)),
}


@pytest.mark.parametrize("forms", ["plain", "fast"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimiser(name, forms):
    kind, formula, options = OPTIMISERS[name]
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(SHAPE), rng.standard_normal((STEPS, *SHAPE))
    w = Tensor(start.copy(), requires_grad=True)
    optimizer = getattr(optim, kind)([w], **options)
    with using(forms):
        for g in gradients:
            w.grad = Tensor(g.copy())
            optimizer.step()
    for index in np.ndindex(SHAPE):
        expected = formula(float(start[index]), [float(g[index]) for g in gradients], **options)
        assert w.data[index] == pytest.approx(expected, rel=1e-12, abs=1e-12)


# The multiple of the base rate in epochs 0 to 7, by hand.
SCHEDULES = {
    "StepLR": (dict(step_size=3, gamma=0.5), [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]),
    "GoogLeNetLR": (dict(step_size=2), [1, 1, 0.96, 0.96, 0.96**2, 0.96**2, 0.96**3, 0.96**3]),
    "MultiStepLR": (dict(milestones=[2, 5, 5], gamma=0.5), [1, 1, 0.5, 0.5, 0.5, 0.125, 0.125, 0.125]),
    "ExponentialLR": (dict(gamma=0.5), [2.0**-k for k in range(8)]),
    "ConstantLR": (dict(factor=0.25, total_iters=3), [0.25, 0.25, 0.25, 1, 1, 1, 1, 1]),
    "LinearLR": (dict(start_factor=0.2, total_iters=4), [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1]),
    "PolynomialLR": (dict(total_iters=4, power=2), [1, 9 / 16, 4 / 16, 1 / 16, 0, 0, 0, 0]),
    "CosineAnnealingLR": (
        dict(T_max=4),
        [1, 0.5 + 0.125**0.5, 0.5, 0.5 - 0.125**0.5, 0, 0.5 - 0.125**0.5, 0.5, 0.5 + 0.125**0.5],
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name):
    options, expected = SCHEDULES[name]
    optimizer = optim.SGD([Tensor(np.ones(1), requires_grad=True)], lr=0.5)
    schedule, found = getattr(optim.lr_scheduler, name)(optimizer, **options), []
    for _ in expected:
        found.append(optimizer.param_groups[0]["lr"] / 0.5)
        optimizer.step()
        schedule.step()
    assert found == pytest.approx(expected, abs=1e-12)


def test_clipping_scales_all_gradients_by_their_common_norm():
    a, b = (Tensor(np.zeros(2), requires_grad=True) for _ in range(2))
    a.grad, b.grad = Tensor(np.array([3.0, 0.0])), Tensor(np.array([0.0, -4.0]))
    norm = nn.utils.clip_grad_norm_([a, b], 1.0)
    assert norm.item() == pytest.approx(5.0)
    np.testing.assert_allclose([a.grad.data, b.grad.data], [[0.6, 0.0], [0.0, -0.8]], rtol=1e-6)


def test_running_statistics():
    layer, rng = nn.BatchNorm2d(2, momentum=0.25), np.random.default_rng(0)
    mean, var = np.zeros(2), np.ones(2)
    for _ in range(3):
        x = rng.standard_normal((2, 2, 1, 2)) + 1
        layer(minidl.tensor(x.astype(np.float32)))
        mean = 0.75 * mean + 0.25 * x.mean((0, 2, 3))
        var = 0.75 * var + 0.25 * x.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), var, rtol=1e-5)
