"""GELU on the CPU, forward and backward in one pass each.

GELU is x P(x), where P(x) is the normal distribution's share below x, and its derivative P(x) + x p(x) with the density
p. For z = |x| / sqrt(2), half of

    erfc(z) = exp(-z^2) t (c0 + c1 t + ... + c8 t^8),   t = 2 / (2 + z)

is the share beyond |x|, and the same exponential is in the density. The coefficients fit erfc(z) exp(z^2) for z up to
14 with a relative error below 4.5e-8 (weighted least squares), less than float32 resolves; for float64 the definition
runs.
"""

from __future__ import annotations

import math

from minidl import backend
from minidl.kernels.cpu.elementwise import _like as like
from minidl.kernels.cpu.exponential import exp
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, TASK_SIZE, alike, get, put
from minidl.kernels.cpu.machine.team import next_task

TAIL = (0.282084331, 0.2824121, 0.242835126, 0.203752388, -0.0291479904, 0.281732209, -0.490405199, 0.286123295,
        -0.059386304)  # fmt: skip
HALF_ROOT = math.sqrt(0.5)
DENSITY = 1 / math.sqrt(2 * math.pi)  # at 0


@jit(fastmath=EXACT, forceinline=True)
def _share(x, bell):
    """The share below `x`, given ``bell = exp(-x^2 / 2)``."""
    number, c = type(x), TAIL
    t = number(2) / (number(2) + abs(x) * number(HALF_ROOT))
    y = number(c[8])
    y = (y * t + number(c[7])) * t + number(c[6])
    y = (y * t + number(c[5])) * t + number(c[4])
    y = (y * t + number(c[3])) * t + number(c[2])
    y = (y * t + number(c[1])) * t + number(c[0])
    tail = y * t * (number(0.5) * bell)
    return tail if x < 0 else number(1) - tail


@jit(fastmath=EXACT)
def _gelu(counter, n_tasks, x, y):
    task = next_task(counter)
    while task < n_tasks:
        for i in range(task * TASK_SIZE, min(len(x), (task + 1) * TASK_SIZE)):
            v = get(x, i)
            put(y, i, v * _share(v, exp(x.dtype.type(-0.5) * v * v)))
        task = next_task(counter)


@jit(fastmath=EXACT)
def _gelu_grad(counter, n_tasks, grad, x, dx):
    number = x.dtype.type
    task = next_task(counter)
    while task < n_tasks:
        for i in range(task * TASK_SIZE, min(len(x), (task + 1) * TASK_SIZE)):
            v = get(x, i)
            bell = exp(number(-0.5) * v * v)
            put(dx, i, get(grad, i) * (_share(v, bell) + v * (number(DENSITY) * bell)))
        task = next_task(counter)


def _run(kernel, x, *others):
    """A new array that lies in memory as `x`, filled by `kernel`; the others are copied where they lie otherwise."""
    if alike(x) is None:
        x = backend.array_module(x).ascontiguousarray(x)
    arrays = [x]
    for other in others:
        if alike(x, other) is None:
            other, given = like(x), other
            other[...] = given
        arrays.insert(0, other)
    arrays.append(like(x))
    team.run(kernel, -(-x.size // TASK_SIZE), *alike(*arrays))
    return arrays[-1]


class Gelu:
    """Forward and backward; nothing is kept but the input."""

    @staticmethod
    def forward(x):
        """Return GELU of `x`, float32 of any size: an image has the same bits in every batch."""
        if x.dtype.char != "f" or not x.size:
            return NotImplemented
        return (_run(_gelu, x),), ()

    @staticmethod
    def backward(grads, saved):
        """Return the gradient with respect to the input."""
        (x,) = saved.inputs
        return (_run(_gelu_grad, x, grads[0]),)
