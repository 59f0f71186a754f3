"""The optimisers' updates: one pass over each parameter, its gradient and its averages, and one launch for all of them.

A network has many small parameters, and a launch takes longer than most of them. The kernels take lists of arrays, so
that the updates of a step run as one (`minidl.optim.updates.together`). Learning rate and the number of the step lie on
the device, where a captured step finds new ones when it is replayed; everything else is a constant.
"""

from __future__ import annotations

import math

from minidl.backend import array_module, is_array
from minidl.kernels.gpu.tiles import cdiv, ct, kernel, side, takes
from minidl.optim.updates import later

TILE = 1024  # numbers of a tile, at most


@kernel
def sgd_updates(
    params, grads, buffers, lr, MOMENTUM: ct.Constant, KEEP: ct.Constant, DECAY: ct.Constant, SIGN: ct.Constant,
    BUFFER: ct.Constant, NESTEROV: ct.Constant, FIRST: ct.Constant, T: ct.Constant,
):  # fmt: skip
    """A step of stochastic gradient descent, see `minidl.optim.sgd`; block (b, p) has tile b of parameter p, if any."""
    param, grad, buffer = params[ct.bid(1)], grads[ct.bid(1)], buffers[ct.bid(1)]
    i = ct.bid(0) * T + ct.arange(T, dtype=ct.int32)
    p = ct.gather(param, i, padding_value=0)
    g = ct.gather(grad, i, padding_value=0) * SIGN
    if DECAY != 0:
        g = g + p * DECAY
    if BUFFER:
        b = g if FIRST else ct.gather(buffer, i, padding_value=0) * MOMENTUM + g * KEEP
        ct.scatter(buffer, i, b)
        g = g + b * MOMENTUM if NESTEROV else b
    ct.scatter(param, i, p - g * ct.load(lr, (0,), (1,)))


@kernel
def adam_updates(
    params, grads, averages, squares, steps, lr, BETA1: ct.Constant, BETA2: ct.Constant, LOG1: ct.Constant,
    LOG2: ct.Constant, EPS: ct.Constant, DECAY: ct.Constant, DECOUPLED: ct.Constant, SIGN: ct.Constant, T: ct.Constant,
):  # fmt: skip
    """A step of Adam or AdamW, see `minidl.optim.adam`; 1 - beta^t is 1 - exp(t log beta), in double precision."""
    param, average, square = params[ct.bid(1)], averages[ct.bid(1)], squares[ct.bid(1)]
    i = ct.bid(0) * T + ct.arange(T, dtype=ct.int32)
    p, g = ct.gather(param, i, padding_value=0), ct.gather(grads[ct.bid(1)], i, padding_value=0) * SIGN
    step, rate = ct.load(steps[ct.bid(1)], (0,), (1,)), ct.load(lr, (0,), (1,))
    if DECAY != 0:
        if DECOUPLED:
            p = p * ct.astype(1.0 - rate * DECAY, param.dtype)
        else:
            g = g + p * DECAY
    m = ct.gather(average, i, padding_value=0) * BETA1 + g * (1.0 - BETA1)
    v = ct.gather(square, i, padding_value=0) * BETA2 + g * (1.0 - BETA2) * g
    ct.scatter(average, i, m)
    ct.scatter(square, i, v)
    step_size = ct.astype(rate / (1.0 - ct.exp(step * LOG1)), param.dtype)
    root = ct.astype(ct.sqrt(1.0 - ct.exp(step * LOG2)), param.dtype)
    ct.scatter(param, i, p - m * step_size / (ct.sqrt(v) / root + EPS))


def sgd_update(param, grad, momentum_buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    """Form of `minidl.optim.sgd.sgd_update`."""
    buffer = param if momentum_buffer is None else momentum_buffer
    if is_array(momentum) or is_array(dampening) or not _takes(param, grad, buffer):
        return NotImplemented
    numbers = float(momentum), float(1 - dampening), float(weight_decay), -1.0 if maximize else 1.0
    flags = momentum_buffer is not None, bool(nesterov), bool(first)
    return later(_launch, (sgd_updates, param.dtype, _Rate(lr, param.dtype), numbers, flags), [param, grad, buffer])


def adam_update(
    param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize
):
    """Form of `minidl.optim.adam.adam_update`, without the largest averages of AMSGrad."""
    is_plain = max_exp_avg_sq is not None or is_array(beta1) or is_array(beta2) or not is_array(step)
    if is_plain or min(beta1, beta2) <= 0 or not _takes(param, grad, exp_avg, exp_avg_sq):
        return NotImplemented
    numbers = float(beta1), float(beta2), math.log(beta1), math.log(beta2), float(eps), float(weight_decay)
    flags = bool(decoupled), -1.0 if maximize else 1.0
    arrays = [param, grad, exp_avg, exp_avg_sq, step]
    return later(_launch, (adam_updates, param.dtype, _Rate(lr, "float64"), numbers, flags), arrays)


class _Rate:
    """A learning rate as part of a key: equal numbers are one, and so is one array on the device."""

    def __init__(self, lr, dtype):
        self.lr, self.dtype = lr, dtype
        self.name = id(lr) if is_array(lr) else float(lr)

    def __eq__(self, other):
        return self.name == other.name

    def __hash__(self):
        return hash(self.name)

    def on_device(self, like):
        """An array of one element next to the array `like`."""
        xp = array_module(like)
        return self.lr.astype(self.dtype).reshape(1) if is_array(self.lr) else xp.full(1, self.lr, self.dtype)


def _takes(param, grad, *averages):
    """Return whether the arrays lie alike, without gaps, so that they are read as one long row."""
    alike = all(a.shape == param.shape and a.strides == param.strides for a in averages)
    return alike and takes(param, grad, *averages) and param.flags.c_contiguous


def _launch(updates, kernel, dtype, rate, numbers, flags):
    """Run `kernel` over the arrays of all `updates`."""
    xp = array_module(updates[0][0])
    lists = [[xp.ascontiguousarray(array).reshape(-1) for array in column] for column in zip(*updates)]
    T = side(max(param.size for param in lists[0]), TILE)
    grid = max(cdiv(param.size, T) for param in lists[0]), len(updates)
    kernel(grid, *lists, rate.on_device(updates[0][0]), *numbers, *flags, T)
