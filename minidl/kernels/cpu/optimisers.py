"""The optimisers' updates on the CPU: one pass over a parameter, its gradient and its averages.

The same operations in the same order as the plain forms, without fast-math, so that
both give the same bits, of infinities too. What a setting leaves out is a factor of 1
(never of 0: 0 * inf is NaN), or a condition that the compiler moves out of the loop.

A network has many small parameters. The kernels take a table of addresses, so that the
updates of a step run as one, where they may wait for each other (`minidl.optim.updates.together`).
"""

from __future__ import annotations

import math
from ctypes import addressof, c_char

import numpy as np
from numba import carray

from minidl import backend
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
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
    if dtype not in FLOATS or not param.size:
        return NotImplemented
    if not (param.flags.c_contiguous or alike(param)):
        return NotImplemented
    if not all([a is None or a.flags.writeable for a in [param, *averages]]):
        return NotImplemented
    if any([a is not None and (a.strides != strides or a.shape != shape or a.dtype != dtype) for a in arrays]):
        return NotImplemented
    later(_launch, (kernel, dtype, flags), (arrays, numbers))


def _launch(updates, kernel, dtype, flags):
    """Run `kernel` over the arrays of all `updates`; a row of its table, a task, is a number of elements and places.

    The last place is that of the update's numbers: they are read from memory, where a captured step writes them anew.
    """
    table = np.array([[arrays[0].size, *map(_place, arrays)] for arrays, _ in updates])
    if len(updates) > 1 and not _apart(table, dtype.itemsize):
        return [_launch([update], kernel, dtype, flags) for update in updates]
    numbers = _numbers([numbers for _, numbers in updates], dtype)
    table = np.column_stack([table, address(numbers) + np.arange(len(updates)) * numbers.strides[0]])
    tasks = -(-table[:, 0] // TASK_SIZE)
    ends = tasks.cumsum()
    table = table.repeat(tasks, axis=0)
    done = (np.arange(ends[-1]) - (ends - tasks).repeat(tasks)) * TASK_SIZE
    table[:, 0] = np.minimum(table[:, 0] - done, TASK_SIZE)
    table[:, 1:-1] += done[:, None] * dtype.itemsize
    team.run(kernel, len(table), table, dtype.type(0), *flags)


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


def _place(array):
    """The address of `array`, 0 for None; the first way is the quicker one, which many small arrays feel."""
    if array is None:
        return 0
    if type(array) is np.ndarray and door.recorder is None and array.flags.c_contiguous and array.flags.writeable:
        return addressof(c_char.from_buffer(array))
    return address(array)


def _apart(table, itemsize):
    """Return whether no two of the arrays share memory, so that their updates may run side by side."""
    starts = table[:, 1:].ravel()
    order = starts.argsort()[(starts == 0).sum() :]
    ends = starts + table[:, 0].repeat(table.shape[1] - 1) * itemsize
    return (ends[order[:-1]] <= starts[order[1:]]).all()


@jit(forceinline=True)
def _array(table, task, column, zero):
    """The array of a task in a column of its table, of numbers like `zero`; columns count from 1, -1 holds the numbers."""
    return carray(pointer(table[task, column], zero), 1)


@jit(fastmath=EXACT)
def _sgd(counter, n_tasks, table, zero, has_decay, has_buffer, nesterov, first):
    task = next_task(counter)
    while task < n_tasks:
        param = _array(table, task, 1, zero)
        grad = _array(table, task, 2, zero)
        buffer = _array(table, task, 3, zero)
        n = _array(table, task, -1, zero)
        lr, momentum, keep, decay, sign = n[0], n[1], n[2], n[3], n[4]
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
def _adam(counter, n_tasks, table, zero, has_decay, near, amsgrad):
    task = next_task(counter)
    while task < n_tasks:
        param = _array(table, task, 1, zero)
        grad = _array(table, task, 2, zero)
        exp_avg = _array(table, task, 3, zero)
        exp_avg_sq = _array(table, task, 4, zero)
        largest = _array(table, task, 5, zero)
        n = _array(table, task, -1, zero)
        step_size, root, weight, rest, beta2 = n[0], n[1], n[2], n[3], n[4]
        rest2, eps, decay, shrink, sign = n[5], n[6], n[7], n[8], n[9]
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
    """Form of `minidl.optim.adam.adam_update`."""
    root, step_size = (1 - beta2**step) ** 0.5, lr / (1 - beta1**step)
    weight = 1 - beta1
    shrink, decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    numbers = step_size, root, weight, 1 - weight, beta2, 1 - beta2, eps, decay, shrink, -1 if maximize else 1
    flags = bool(decay != 0), bool(weight < 0.5), max_exp_avg_sq is not None
    return _run(_adam, [param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq], numbers, *flags)


@jit(fastmath=EXACT)
def _rmsprop(counter, n_tasks, table, zero, has_decay, near, centered, has_buffer):
    task = next_task(counter)
    while task < n_tasks:
        param = _array(table, task, 1, zero)
        grad = _array(table, task, 2, zero)
        square_avg = _array(table, task, 3, zero)
        grad_avg = _array(table, task, 4, zero)
        buffer = _array(table, task, 5, zero)
        n = _array(table, task, -1, zero)
        lr, alpha, weight, rest = n[0], n[1], n[2], n[3]
        eps, decay, momentum, sign = n[4], n[5], n[6], n[7]
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
    """Form of `minidl.optim.rmsprop.rmsprop_update`."""
    weight = 1 - alpha
    numbers = lr, alpha, weight, 1 - weight, eps, weight_decay, momentum, -1 if maximize else 1
    flags = bool(weight_decay != 0), bool(weight < 0.5), grad_avg is not None, momentum_buffer is not None
    return _run(_rmsprop, [param, grad, square_avg, grad_avg, momentum_buffer], numbers, *flags)


@jit(fastmath=EXACT)
def _lerp(counter, n_tasks, table, zero):
    task = next_task(counter)
    while task < n_tasks:
        start = _array(table, task, 1, zero)
        end = _array(table, task, 2, zero)
        n = _array(table, task, -1, zero)
        weight, rest, near = n[0], n[1], n[2] != 0
        for i in range(table[task, 0]):
            put(start, i, _between(own(start, i), get(end, i), weight, rest, near))
        task = next_task(counter)


def lerp(start, end, weight):
    """Form of `minidl.optim.updates.lerp`."""
    weight = scalar(weight, start)
    return _run(_lerp, [start, end], (weight, 1 - weight, weight < 0.5))
