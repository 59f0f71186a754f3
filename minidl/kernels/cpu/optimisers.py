"""The optimisers' updates on the CPU: one pass over a parameter, its gradient and its averages.

The same operations in the same order as the plain forms, without fast-math, so that
both give the same bits, of infinities too. What a setting leaves out is a factor of 1
(never of 0: 0 * inf is NaN), or a condition that the compiler moves out of the loop.

A network has many small parameters. The kernels take a table of addresses, so that the
updates of a step run as one, where they may wait for each other (`minidl.optim.updates.together`).
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numba import carray

from minidl import backend
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.description import PASS
from minidl.kernels.cpu.machine.doors import door
from minidl.kernels.cpu.machine.flat import EXACT, TASK_SIZE, alike, get, own, put
from minidl.kernels.cpu.machine.memory import address, pointer
from minidl.kernels.cpu.machine.team import next_task
from minidl.optim.updates import later, scalar

FLOATS = np.dtype(np.float32), np.dtype(np.float64)


def _run(kernel, arrays, numbers, *flags):
    """Run `kernel` over arrays that lie alike (None stays out), the first of which is the parameter.

    The second, the gradient, is copied where it lies otherwise; for others NotImplemented.
    """
    param, grad, *averages = arrays
    if door.recorder is not None:
        door.recorder.check_known(arrays)
    shape, strides, dtype = param.shape, param.strides, param.dtype
    if grad.strides != strides and grad.dtype == dtype:
        arrays[1] = np.empty_like(param)
        arrays[1][...] = grad
    if dtype not in FLOATS or not param.size or not param.flags.writeable:
        return NotImplemented
    if not (param.flags.c_contiguous or alike(param)):
        return NotImplemented
    for a in arrays[1:]:
        if a is not None and (a.strides != strides or a.shape != shape or a.dtype != dtype):
            return NotImplemented
    for a in averages:
        if a is not None and not a.flags.writeable:
            return NotImplemented
    later(_launch, (kernel, dtype, flags), (arrays, numbers))


def _launch(updates, kernel, dtype, flags):
    """Run `kernel` over the arrays of all `updates`.

    Their numbers are read from memory, where a captured step writes them anew.
    """
    places = tuple([(arrays[0].size, *[0 if a is None else address(a) for a in arrays]) for arrays, _ in updates])
    numbers = [numbers for _, numbers in updates]
    table, share = _table(places, dtype.itemsize, len(numbers[0]))
    if table is None:
        return [_launch([update], kernel, dtype, flags) for update in updates]
    numbers = _numbers(numbers, dtype)
    team.run(kernel, -(-len(table) // share), table, share, address(numbers), dtype.type(0), *flags)


@functools.lru_cache(maxsize=32)
def _table(places, itemsize, n_numbers):
    """The table of updates that lie at `places`, and how many rows of it are a task; None if they must take turns.

    A row is a number of elements, the addresses of the arrays, and at which byte the update's numbers begin. Parameters
    and averages stay where they are, so the table of one step serves the next.
    """
    table = np.array(places)
    if len(places) > 1 and not _apart(table, itemsize):
        return None, 0
    total = table[:, 0].sum()
    table = np.column_stack([table, np.arange(len(places)) * n_numbers * itemsize])
    rows = -(-table[:, 0] // TASK_SIZE)
    ends = rows.cumsum()
    table = table.repeat(rows, axis=0)
    done = (np.arange(ends[-1]) - (ends - rows).repeat(rows)) * TASK_SIZE
    table[:, 0] = np.minimum(table[:, 0] - done, TASK_SIZE)
    table[:, 1:-1] += done[:, None] * itemsize
    return table, len(table) if total <= PASS else max(1, len(table) * TASK_SIZE // int(total))


def _numbers(rows, dtype):
    """The numbers of all updates, a row for each; some may be 0-d arrays."""
    if door.recorder is None:
        return np.array(rows, dtype)
    arrays = {(i, j): n for i, row in enumerate(rows) for j, n in enumerate(row) if backend.is_array(n)}
    numbers = np.array([[0 if (i, j) in arrays else n for j, n in enumerate(row)] for i, row in enumerate(rows)], dtype)
    if not arrays:
        return numbers
    table = backend.empty(numbers.shape, dtype, like=next(iter(arrays.values())))
    table[...] = numbers
    for place, array in arrays.items():
        table[place] = array
    return table


def _apart(table, itemsize):
    """Return whether no two of the arrays share memory, so that their updates may run side by side."""
    starts = table[:, 1:].ravel()
    order = starts.argsort()[(starts == 0).sum() :]
    ends = starts + table[:, 0].repeat(table.shape[1] - 1) * itemsize
    return (ends[order[:-1]] <= starts[order[1:]]).all()


@jit(forceinline=True)
def _array(table, row, column, zero):
    """The array of a row in a column of the table, of numbers like `zero`; columns count from 1."""
    return carray(pointer(table[row, column], zero), 1)


@jit(forceinline=True)
def _of_update(numbers, table, row, zero):
    """The numbers of the update that a row belongs to."""
    return carray(pointer(numbers + table[row, -1], zero), 1)


@jit(fastmath=EXACT)
def _sgd(counter, n_tasks, table, rows, numbers, zero, has_decay, has_buffer, nesterov, first):
    task = next_task(counter)
    while task < n_tasks:
        for row in range(task * rows, min(len(table), (task + 1) * rows)):
            param = _array(table, row, 1, zero)
            grad = _array(table, row, 2, zero)
            buffer = _array(table, row, 3, zero)
            n = _of_update(numbers, table, row, zero)
            lr, momentum, keep, decay, sign = n[0], n[1], n[2], n[3], n[4]
            for i in range(table[row, 0]):
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
    """Form of `minidl.optim.sgd.sgd_update`."""
    numbers = lr, momentum, 1 - dampening, weight_decay, -1 if maximize else 1
    flags = bool(weight_decay != 0), momentum_buffer is not None, bool(nesterov), bool(first)
    return _run(_sgd, [param, grad, momentum_buffer], numbers, *flags)


@jit(fastmath=EXACT)
def _between(start, end, weight, rest, near):
    """`start` moved towards `end` by `weight` = 1 - `rest`, from the nearer side."""
    way = end - start
    return start + way * weight if near else end - way * rest


@jit(fastmath=EXACT)
def _adam(counter, n_tasks, table, rows, numbers, zero, has_decay, near, amsgrad):
    task = next_task(counter)
    while task < n_tasks:
        for row in range(task * rows, min(len(table), (task + 1) * rows)):
            param = _array(table, row, 1, zero)
            grad = _array(table, row, 2, zero)
            exp_avg = _array(table, row, 3, zero)
            exp_avg_sq = _array(table, row, 4, zero)
            largest = _array(table, row, 5, zero)
            n = _of_update(numbers, table, row, zero)
            step_size, root, weight, rest, beta2 = n[0], n[1], n[2], n[3], n[4]
            rest2, eps, decay, shrink, sign = n[5], n[6], n[7], n[8], n[9]
            for i in range(table[row, 0]):
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
    """Form of `minidl.optim.adam.adam_update`."""
    xp = backend.array_module(param)
    root, step_size = xp.sqrt(1 - beta2**step), lr / (1 - beta1**step)
    weight = 1 - beta1
    shrink, decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    numbers = step_size, root, weight, 1 - weight, beta2, 1 - beta2, eps, decay, shrink, -1 if maximize else 1
    flags = bool(decay != 0), bool(weight < 0.5), max_exp_avg_sq is not None
    return _run(_adam, [param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq], numbers, *flags)


@jit(fastmath=EXACT)
def _rmsprop(counter, n_tasks, table, rows, numbers, zero, has_decay, near, centered, has_buffer):
    task = next_task(counter)
    while task < n_tasks:
        for row in range(task * rows, min(len(table), (task + 1) * rows)):
            param = _array(table, row, 1, zero)
            grad = _array(table, row, 2, zero)
            square_avg = _array(table, row, 3, zero)
            grad_avg = _array(table, row, 4, zero)
            buffer = _array(table, row, 5, zero)
            n = _of_update(numbers, table, row, zero)
            lr, alpha, weight, rest = n[0], n[1], n[2], n[3]
            eps, decay, momentum, sign = n[4], n[5], n[6], n[7]
            for i in range(table[row, 0]):
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


def rmsprop_update(
    param, grad, square_avg, grad_avg, momentum_buffer, lr, alpha, eps, weight_decay, momentum, maximize
):
    """Form of `minidl.optim.rmsprop.rmsprop_update`."""
    weight = 1 - alpha
    numbers = lr, alpha, weight, 1 - weight, eps, weight_decay, momentum, -1 if maximize else 1
    flags = bool(weight_decay != 0), bool(weight < 0.5), grad_avg is not None, momentum_buffer is not None
    return _run(_rmsprop, [param, grad, square_avg, grad_avg, momentum_buffer], numbers, *flags)


@jit(fastmath=EXACT)
def _lerp(counter, n_tasks, table, rows, numbers, zero):
    task = next_task(counter)
    while task < n_tasks:
        for row in range(task * rows, min(len(table), (task + 1) * rows)):
            start = _array(table, row, 1, zero)
            end = _array(table, row, 2, zero)
            n = _of_update(numbers, table, row, zero)
            weight, rest, near = n[0], n[1], n[2] != 0
            for i in range(table[row, 0]):
                put(start, i, _between(own(start, i), get(end, i), weight, rest, near))
        task = next_task(counter)


def lerp(start, end, weight):
    """Form of `minidl.optim.updates.lerp`."""
    weight = scalar(weight, start)
    return _run(_lerp, [start, end], (weight, 1 - weight, weight < 0.5))
