"""The optimisers' updates on the CPU: one pass over a parameter, its gradient and its averages.

The same operations in the same order as the plain forms, without fast-math, so that
both give the same bits, of infinities too. What a setting leaves out is a factor of 1
(never of 0: 0 * inf is NaN), or a condition that the compiler moves out of the loop.

A network has many small parameters. The kernels take a table of addresses, so that the
updates of a step run as one, where they may wait for each other (`minidl.optim.updates.together`).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numba import carray

from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, TASK_SIZE, alike, get, own, put
from minidl.kernels.cpu.machine.memory import address, pointer
from minidl.kernels.cpu.machine.team import next_task
from minidl.optim.updates import later

FLOATS = np.dtype(np.float32), np.dtype(np.float64)


def _run(kernel, arrays, numbers, *flags):
    """Run `kernel` over arrays that lie alike (None stays out), the first of which is the parameter.

    The second, the gradient, is copied where it lies otherwise; for others NotImplemented.
    """
    param, grad, *averages = arrays
    shape, strides, dtype = param.shape, param.strides, param.dtype
    if grad.strides != strides and grad.dtype == dtype:
        arrays[1] = np.empty_like(param)
        arrays[1][...] = grad
    if dtype not in FLOATS or not param.size:
        return NotImplemented
    if not (param.flags.c_contiguous or alike(param)):
        return NotImplemented
    if not all([a is None or a.flags.writeable for a in [param, *averages]]):
        return NotImplemented
    if any([a is not None and (a.strides != strides or a.shape != shape or a.dtype != dtype) for a in arrays]):
        return NotImplemented
    later(_launch, (kernel, dtype, tuple(map(float, numbers)), flags), arrays)


def _launch(updates, kernel, dtype, numbers, flags):
    """Run `kernel` over the arrays of all `updates`; a row of its table, a task, is a number of elements and places."""
    places = tuple([(a[0].size, *[0 if x is None else address(x) for x in a]) for a in updates])
    table = _table(places, dtype.itemsize)
    if table is None:
        return [_launch([arrays], kernel, dtype, numbers, flags) for arrays in updates]
    team.run(kernel, len(table), table, *map(dtype.type, numbers), *flags)


@lru_cache(maxsize=8)
def _table(places, itemsize):
    """The table of tasks for arrays at these places, None if some share memory. From step to step they are the same."""
    table = np.array(places)
    if len(places) > 1 and not _apart(table, itemsize):
        return None
    tasks = -(-table[:, 0] // TASK_SIZE)
    ends = tasks.cumsum()
    table = table.repeat(tasks, axis=0)
    done = (np.arange(ends[-1]) - (ends - tasks).repeat(tasks)) * TASK_SIZE
    table[:, 0] = np.minimum(table[:, 0] - done, TASK_SIZE)
    table[:, 1:] += done[:, None] * itemsize
    return table


def _apart(table, itemsize):
    """Return whether no two of the arrays share memory, so that their updates may run side by side."""
    starts = table[:, 1:].ravel()
    order = starts.argsort()[(starts == 0).sum() :]
    ends = starts + table[:, 0].repeat(table.shape[1] - 1) * itemsize
    return (ends[order[:-1]] <= starts[order[1:]]).all()


@jit(forceinline=True)
def _array(table, task, column, zero):
    return carray(pointer(table[task, column], zero), 1)


@jit(fastmath=EXACT)
def _sgd(counter, n_tasks, table, lr, momentum, keep, decay, sign, has_decay, has_buffer, nesterov, first):
    task = next_task(counter)
    while task < n_tasks:
        param = _array(table, task, 1, lr)
        grad = _array(table, task, 2, lr)
        buffer = _array(table, task, 3, lr)
        for i in range(table[task, 0]):
            p = own(param, i)
            g = get(grad, i) * sign
            g = g + p * decay if has_decay else g
            if has_buffer:
                b = g if first else own(buffer, i) * momentum + g * keep
                put(buffer, i, b)
                g = g + b * momentum if nesterov else b
            put(param, i, p - g * lr)
        task = next_task(counter)


def sgd_update(param, grad, momentum_buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    numbers = lr, momentum, 1 - dampening, weight_decay, -1 if maximize else 1
    flags = bool(weight_decay != 0), momentum_buffer is not None, bool(nesterov), bool(first)
    return _run(_sgd, [param, grad, momentum_buffer], numbers, *flags)


@jit(fastmath=EXACT)
def _between(start, end, weight, rest, near):
    """`start` moved towards `end` by `weight` = 1 - `rest`, from the nearer side."""
    way = end - start
    return start + way * weight if near else end - way * rest


@jit(fastmath=EXACT)
def _adam(
    counter, n_tasks, table,
    step_size, root, weight, rest, beta2, rest2, eps, decay, shrink, sign, has_decay, near, amsgrad,
):  # fmt: skip
    task = next_task(counter)
    while task < n_tasks:
        param = _array(table, task, 1, eps)
        grad = _array(table, task, 2, eps)
        exp_avg = _array(table, task, 3, eps)
        exp_avg_sq = _array(table, task, 4, eps)
        largest = _array(table, task, 5, eps)
        for i in range(table[task, 0]):
            p = own(param, i) * shrink
            g = get(grad, i) * sign
            g = g + p * decay if has_decay else g
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


def adam_update(
    param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize
):
    root, step_size = (1 - beta2**step) ** 0.5, lr / (1 - beta1**step)
    weight = 1 - beta1
    shrink, decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    numbers = step_size, root, weight, 1 - weight, beta2, 1 - beta2, eps, decay, shrink, -1 if maximize else 1
    flags = bool(decay != 0), bool(weight < 0.5), max_exp_avg_sq is not None
    return _run(_adam, [param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq], numbers, *flags)


@jit(fastmath=EXACT)
def _rmsprop(
    counter, n_tasks, table,
    lr, alpha, weight, rest, eps, decay, momentum, sign, has_decay, near, centered, has_buffer,
):  # fmt: skip
    task = next_task(counter)
    while task < n_tasks:
        param = _array(table, task, 1, eps)
        grad = _array(table, task, 2, eps)
        square_avg = _array(table, task, 3, eps)
        grad_avg = _array(table, task, 4, eps)
        buffer = _array(table, task, 5, eps)
        for i in range(table[task, 0]):
            p = own(param, i)
            g = get(grad, i) * sign
            g = g + p * decay if has_decay else g
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


def rmsprop_update(param, grad, square_avg, grad_avg, momentum_buffer, lr, alpha, eps, weight_decay, momentum, maximize):
    weight = 1 - alpha
    numbers = lr, alpha, weight, 1 - weight, eps, weight_decay, momentum, -1 if maximize else 1
    flags = bool(weight_decay != 0), bool(weight < 0.5), grad_avg is not None, momentum_buffer is not None
    return _run(_rmsprop, [param, grad, square_avg, grad_avg, momentum_buffer], numbers, *flags)


@jit(fastmath=EXACT)
def _lerp(counter, n_tasks, table, weight, rest, near):
    task = next_task(counter)
    while task < n_tasks:
        start = _array(table, task, 1, weight)
        end = _array(table, task, 2, weight)
        for i in range(table[task, 0]):
            put(start, i, _between(own(start, i), get(end, i), weight, rest, near))
        task = next_task(counter)


def lerp(start, end, weight):
    weight = start.dtype.type(weight) if hasattr(weight, "dtype") else weight
    return _run(_lerp, [start, end], (weight, 1 - weight), bool(weight < 0.5))
