"""The optimisers' updates on the CPU: one pass over a parameter, its gradient and its averages.

The same operations in the same order as the plain forms, without fast-math, so that
both give the same bits. What a setting leaves out is a factor of 1 or 0 where that
changes no bit, and a condition that the compiler moves out of the loop elsewhere.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.kernels import optimisers, team
from minidl.kernels.cpu import jit
from minidl.kernels.flat import EXACT, TASK_SIZE, alike, floating, get, own, put
from minidl.kernels.team import next_task


def _run(kernel, arrays, numbers, *flags):
    """Run `kernel` over arrays that lie alike (None stays out), the first of which is the parameter.

    The second, the gradient, is copied where it lies otherwise; for others NotImplemented.
    """
    if not floating(*arrays):
        return NotImplemented
    param, grad, *slots = arrays
    if grad.strides != param.strides:
        laid = np.empty_like(param)
        laid[...] = grad
        grad = laid
    views = alike(param, grad, *(slot for slot in slots if slot is not None))
    if views is None:
        return NotImplemented
    views = iter(views)
    absent = np.empty(1, param.dtype)
    arrays = [absent if array is None else next(views) for array in arrays]
    numbers = [param.dtype.type(number) for number in numbers]
    team.run(kernel, -(-param.size // TASK_SIZE), *arrays, *numbers, *flags)


@jit(fastmath=EXACT)
def _span(task, size):
    """First and last (exclusive) number of a task."""
    return task * TASK_SIZE, min(size, (task + 1) * TASK_SIZE)


@jit(fastmath=EXACT)
def _sgd(counter, n_tasks, param, grad, buffer, lr, momentum, keep, decay, sign, has_buffer, nesterov, first):
    task = next_task(counter)
    while task < n_tasks:
        start, end = _span(task, len(param))
        for i in range(start, end):
            p = own(param, i)
            g = get(grad, i) * sign + p * decay
            if has_buffer:
                b = g if first else own(buffer, i) * momentum + g * keep
                put(buffer, i, b)
                g = g + b * momentum if nesterov else b
            put(param, i, p - g * lr)
        task = next_task(counter)


@optimisers.sgd.register(np.ndarray)
def sgd(param, grad, momentum_buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    numbers = lr, momentum, 1 - dampening, weight_decay, -1 if maximize else 1
    flags = momentum_buffer is not None, bool(nesterov), bool(first)
    return _run(_sgd, [param, grad, momentum_buffer], numbers, *flags)


@jit(fastmath=EXACT)
def _between(start, end, weight, rest, near):
    """`start` moved towards `end` by `weight` = 1 - `rest`, from the nearer side."""
    way = end - start
    return start + way * weight if near else end - way * rest


@jit(fastmath=EXACT)
def _adam(
    counter, n_tasks, param, grad, exp_avg, exp_avg_sq, largest,
    step_size, root, weight, rest, beta2, rest2, eps, decay, shrink, sign, near, amsgrad,
):  # fmt: skip
    task = next_task(counter)
    while task < n_tasks:
        start, end = _span(task, len(param))
        for i in range(start, end):
            p = own(param, i) * shrink
            g = get(grad, i) * sign + p * decay
            m = _between(own(exp_avg, i), g, weight, rest, near)
            v = own(exp_avg_sq, i) * beta2 + g * rest2 * g
            put(exp_avg, i, m)
            put(exp_avg_sq, i, v)
            if amsgrad:
                most = own(largest, i)
                v = v if (v > most) | (v != v) else most
                put(largest, i, v)
            put(param, i, p - m * step_size / (math.sqrt(v) / root + eps))
        task = next_task(counter)


@optimisers.adam.register(np.ndarray)
def adam(
    param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize
):
    root, step_size = (1 - beta2**step) ** 0.5, lr / (1 - beta1**step)
    weight = 1 - beta1
    shrink, decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    numbers = step_size, root, weight, 1 - weight, beta2, 1 - beta2, eps, decay, shrink, -1 if maximize else 1
    flags = bool(weight < 0.5), max_exp_avg_sq is not None
    return _run(_adam, [param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq], numbers, *flags)


@jit(fastmath=EXACT)
def _rmsprop(
    counter, n_tasks, param, grad, square_avg, grad_avg, buffer,
    lr, alpha, weight, rest, eps, decay, momentum, sign, near, centered, has_buffer,
):  # fmt: skip
    task = next_task(counter)
    while task < n_tasks:
        start, end = _span(task, len(param))
        for i in range(start, end):
            p = own(param, i)
            g = get(grad, i) * sign + p * decay
            v = own(square_avg, i) * alpha + g * weight * g
            put(square_avg, i, v)
            if centered:
                m = _between(own(grad_avg, i), g, weight, rest, near)
                put(grad_avg, i, m)
                v = v - m * m
            deviation = math.sqrt(v) + eps
            if has_buffer:
                b = own(buffer, i) * momentum + g / deviation
                put(buffer, i, b)
                put(param, i, p - b * lr)
            else:
                put(param, i, p - g * lr / deviation)
        task = next_task(counter)


@optimisers.rmsprop.register(np.ndarray)
def rmsprop(param, grad, square_avg, grad_avg, momentum_buffer, lr, alpha, eps, weight_decay, momentum, maximize):
    weight = 1 - alpha
    numbers = lr, alpha, weight, 1 - weight, eps, weight_decay, momentum, -1 if maximize else 1
    flags = bool(weight < 0.5), grad_avg is not None, momentum_buffer is not None
    return _run(_rmsprop, [param, grad, square_avg, grad_avg, momentum_buffer], numbers, *flags)


@jit(fastmath=EXACT)
def _lerp(counter, n_tasks, start, end, weight, rest, near):
    task = next_task(counter)
    while task < n_tasks:
        first, last = _span(task, len(start))
        for i in range(first, last):
            put(start, i, _between(own(start, i), get(end, i), weight, rest, near))
        task = next_task(counter)


@optimisers.lerp.register(np.ndarray)
def lerp(start, end, weight):
    weight = start.dtype.type(weight) if hasattr(weight, "dtype") else weight
    return _run(_lerp, [start, end], (weight, 1 - weight), bool(weight < 0.5))
