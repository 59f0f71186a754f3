"""Softmax cross-entropy on the CPU: one pass over a row while it is in the cache.

The sums over a row may be reordered by the compiler ("reassoc") into as many as a vector
has lanes; the machine code fixes the order. They are taken in float64, and so is the sum over rows: a mean of losses
that overflows in the definition's float32 is finite here.
"""

from __future__ import annotations

import math

import numpy as np

from minidl import backend
from minidl.kernels.cpu.exponential import exp, largest
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, floating, get, put
from minidl.kernels.cpu.machine.team import next_task

TASK_SIZE = 1 << 14  # logits per task; each costs an exponential
SUMS = frozenset({"reassoc"})


@jit(fastmath=SUMS)
def _sum_of_exponentials(x, start, K, top):
    """Sum of exp(x - top) over a row."""
    total = 0.0
    for i in range(start, start + K):
        total += exp(get(x, i) - top)
    return total


@jit(fastmath=SUMS)
def _smooth_loss(x, start, K, top, log_total, weight):
    """Sum of the weighted losses that the classes of a row have as labels."""
    total = 0.0
    for k in range(K):
        total += get(weight, k) * (log_total - (get(x, start + k) - top))
    return total


@jit(fastmath=EXACT)
def _row_losses(counter, n_tasks, logits, target, weight, ignore, smoothing, rows, loss, normaliser, row_weight):
    N, K = len(target), len(weight)
    task = next_task(counter)
    while task < n_tasks:
        for n in range(task * rows, min(N, (task + 1) * rows)):
            top = largest(logits, n * K, (n + 1) * K)
            log_total = math.log(_sum_of_exponentials(logits, n * K, K, top))
            normaliser[n, 0], normaliser[n, 1] = top, log_total
            loss[n] = row_weight[n] = 0.0
            t = target[n]
            if t != ignore:
                row_weight[n] = weight[t]
                loss[n] = (1 - smoothing) * weight[t] * (log_total - (logits[n * K + t] - top))
                if smoothing:
                    loss[n] += smoothing / K * _smooth_loss(logits, n * K, K, top, log_total, weight)
        task = next_task(counter)


@jit(fastmath=EXACT)
def _row_grads(counter, n_tasks, logits, target, weight, ignore, smoothing, rows, scale, normaliser, dlogits):
    N, K = len(target), len(weight)
    number = logits.dtype.type
    all_weights = weight.sum()
    task = next_task(counter)
    while task < n_tasks:
        for n in range(task * rows, min(N, (task + 1) * rows)):
            t, top, log_total = target[n], normaliser[n, 0], normaliser[n, 1]
            if t == ignore:
                dlogits[n * K : (n + 1) * K] = 0 * log_total  # NaN where the row holds one, as everywhere
                continue
            # Of the targets' distribution: its sum, which every probability is multiplied by, and its entries.
            total = number(scale[n] * ((1 - smoothing) * weight[t] + smoothing / K * all_weights))
            share = number(scale[n] * (smoothing / K))
            for k in range(K):
                probability = exp(get(logits, n * K + k) - top - log_total)
                put(dlogits, n * K + k, probability * total - share * get(weight, k))
            dlogits[n * K + t] -= scale[n] * (1 - smoothing) * weight[t]
        task = next_task(counter)


def _arguments(logits, target, weight, ignore_index, smoothing):
    """Number of tasks, and the arguments that both kernels take first."""
    (N, K), xp = logits.shape, backend.array_module(logits)
    rows = max(1, TASK_SIZE // K)
    weight = np.ones(K, logits.dtype) if weight is None else xp.ascontiguousarray(weight)
    target = xp.ascontiguousarray(target, dtype=np.int64)
    logits = xp.ascontiguousarray(logits).reshape(-1)
    return -(-N // rows), logits, target, weight, ignore_index, float(smoothing), rows


def _require_classes(target, ignore_index, K):
    """Raise an IndexError unless every label names a class."""
    team.call(_check_targets, target, ignore_index, K, quick=(_check_quickly, target, ignore_index, K))


@jit
def _check_quickly(target, ignore_index, K):
    """Raise an error where `_check_targets` does."""
    for label in target:
        if label != ignore_index and (label < 0 or label >= K):
            raise IndexError("`target`")


def _check_targets(target, ignore_index, K):
    """Look at the values, so called by `team.call`."""
    if target.dtype == np.int64:  # as a rule
        try:
            return _check_quickly(target, ignore_index, K)
        except IndexError:
            pass  # said in words below
    wrong = (target != ignore_index) & ((target < 0) | (target >= K))
    if wrong.any():
        raise IndexError(f"`target` holds {target[wrong][0]}; accepted: 0 to {K - 1}, or `ignore_index` {ignore_index}")


class CrossEntropy:
    """Loss and gradient of a batch of rows; keeps two numbers for each row, and the sum of the weights."""

    @staticmethod
    def forward(logits, target, weight, ignore_index, label_smoothing, reduction):
        """Return the loss, and (largest logit, log of the sum of exponentials relative to it), total weight."""
        if not floating(logits, weight) or target.dtype.kind not in "iu":
            return NotImplemented
        (N, K), xp = logits.shape, backend.array_module(logits)
        _require_classes(target, ignore_index, K)
        n, *arguments = _arguments(logits, target, weight, ignore_index, label_smoothing)
        loss, row_weight, normaliser = xp.empty(N), xp.empty(N), xp.empty((N, 2), logits.dtype)
        team.run(_row_losses, n, *arguments, loss, normaliser, row_weight)
        total = row_weight.sum()
        if reduction != "none":
            with np.errstate(invalid="ignore"):  # all rows ignored: the mean is NaN, as in PyTorch
                loss = loss.sum() / (total if reduction == "mean" else 1)
        return (xp.asarray(loss, logits.dtype),), (normaliser, xp.asarray(total, logits.dtype))

    @staticmethod
    def backward(grads, saved, ignore_index, label_smoothing, reduction):
        """Return the gradient of the logits; a gradient of the weights is left to the definition."""
        (grad,), (logits, target, weight), (normaliser, total_weight) = grads, saved.inputs, saved.kept
        is_weight_wanted = weight is not None and saved.needs_input_grad[2]
        if is_weight_wanted or not floating(grad, logits, weight) or target.dtype.kind not in "iu":
            return NotImplemented
        _require_classes(target, ignore_index, logits.shape[1])  # again: they may have been changed since the forward
        n, *arguments = _arguments(logits, target, weight, ignore_index, label_smoothing)
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = grad / total_weight if reduction == "mean" else grad
        scale = backend.array_module(logits).ascontiguousarray(np.broadcast_to(scale, target.shape), dtype=logits.dtype)
        dlogits = backend.empty(logits.shape, logits.dtype, like=logits)
        team.run(_row_grads, n, *arguments, scale, normaliser, dlogits.reshape(-1))
        return dlogits, None, None
