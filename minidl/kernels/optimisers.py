"""The updates of the optimisers: parameters and their running averages, changed in place.

Written in the order of PyTorch's arithmetic. A learning rate may be a 0-d array on the
parameter's device, so that a schedule needs no transfer and a recorded step can be
replayed.
"""

from __future__ import annotations

import contextlib
import threading

from minidl import backend
from minidl.kernels import Kernel


class _Waiting(threading.local):
    updates = None  # {(launch, key): [what to launch]} inside `together`


_waiting = _Waiting()


@contextlib.contextmanager
def together():
    """Let the updates inside the block wait for its end, where many small ones run as one.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> with together():
    ...     sgd(w, np.array([4.0]), None, 0.125, 0, 0, 0, False, False, False)
    >>> w
    array([0.5])
    """
    before, _waiting.updates = _waiting.updates, {}
    try:
        yield
    finally:
        updates, _waiting.updates = _waiting.updates, before
        for (launch, key), waiting in updates.items():
            launch(waiting, *key)


def later(launch, key, update):
    """Do ``launch([update], *key)``; inside `together` at its end, with all updates of that key."""
    if _waiting.updates is None:
        launch([update], *key)
    else:
        _waiting.updates.setdefault((launch, key), []).append(update)


def _scalar(value, like):
    """A Python number as it is; a 0-d array in the dtype of `like`, lest it widen the arithmetic."""
    return value.astype(like.dtype) if hasattr(value, "astype") else value


def _gradient(param, grad, weight_decay, maximize):
    """The gradient to descend: negated to climb, with the L2 penalty's."""
    grad = -grad if maximize else grad
    return grad + param * weight_decay if weight_decay != 0 else grad


@Kernel
def sgd(param, grad, momentum_buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    """One step of stochastic gradient descent; `momentum_buffer` may be None, and is only written if `first`.

    Examples
    --------
    >>> import numpy as np
    >>> w, buffer = np.array([1.0]), np.array([2.0])
    >>> sgd(w, np.array([4.0]), buffer, 0.1, 0.5, 0, 0, False, False, False)
    >>> w, buffer
    (array([0.5]), array([5.]))
    """
    grad = _gradient(param, grad, weight_decay, maximize)
    if momentum_buffer is not None:
        if first:
            momentum_buffer[...] = grad
        else:
            momentum_buffer *= momentum
            momentum_buffer += grad * (1 - dampening)
        grad = grad + momentum_buffer * momentum if nesterov else momentum_buffer
    param -= grad * _scalar(lr, param)


@Kernel
def adam(
    param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize
):
    """Step number `step` (from 1) of Adam; of AdamW if `decoupled`; of AMSGrad with a `max_exp_avg_sq`.

    Examples
    --------
    >>> import numpy as np
    >>> w, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> adam(w, np.array([3.0]), m, v, None, 1, 0.1, 0.9, 0.999, 0.0, 0, False, False)
    >>> w.round(6)
    array([0.9])
    """
    xp = backend.array_module(param)
    if decoupled and weight_decay != 0:
        param *= _scalar(1 - lr * weight_decay, param)
        weight_decay = 0
    grad = _gradient(param, grad, weight_decay, maximize)
    lerp(exp_avg, grad, 1 - beta1)
    exp_avg_sq *= beta2
    exp_avg_sq += grad * (1 - beta2) * grad
    if max_exp_avg_sq is not None:
        xp.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
        exp_avg_sq = max_exp_avg_sq
    root = _scalar((1 - beta2**step) ** 0.5, param)
    step_size = _scalar(lr / (1 - beta1**step), param)
    param -= exp_avg * step_size / (xp.sqrt(exp_avg_sq) / root + eps)


@Kernel
def rmsprop(param, grad, square_avg, grad_avg, momentum_buffer, lr, alpha, eps, weight_decay, momentum, maximize):
    """One step of RMSprop; centered with a `grad_avg`, with momentum if there is a `momentum_buffer`.

    Examples
    --------
    >>> import numpy as np
    >>> w, square = np.array([1.0]), np.array([16.0])
    >>> rmsprop(w, np.array([4.0]), square, None, None, 0.1, 0.5, 0.0, 0, 0, False)
    >>> w, square
    (array([0.9]), array([16.]))
    """
    xp = backend.array_module(param)
    grad = _gradient(param, grad, weight_decay, maximize)
    square_avg *= alpha
    square_avg += grad * (1 - alpha) * grad
    variance = square_avg
    if grad_avg is not None:
        lerp(grad_avg, grad, 1 - alpha)
        variance = square_avg - grad_avg * grad_avg
    deviation = xp.sqrt(variance) + eps
    if momentum_buffer is None:
        param -= grad * _scalar(lr, param) / deviation
    else:
        momentum_buffer *= momentum
        momentum_buffer += grad / deviation
        param -= momentum_buffer * _scalar(lr, param)


@Kernel
def lerp(start, end, weight):
    """Move `start` towards `end` by the share `weight`, a number or 0-d array, from the nearer side.

    Examples
    --------
    >>> import numpy as np
    >>> average = np.array([1.0])
    >>> lerp(average, np.array([3.0]), 0.25)
    >>> average
    array([1.5])
    """
    weight = _scalar(weight, start)
    way = end - start
    from_start, from_end = start + way * weight, end - way * (1 - weight)
    if backend.is_array(weight):  # its value stays on the device
        start[...] = backend.array_module(start).where(weight < 0.5, from_start, from_end)
    else:
        start[...] = from_start if weight < 0.5 else from_end
