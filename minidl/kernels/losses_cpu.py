"""Softmax cross-entropy on the CPU: one pass over a row while it is in the cache."""

from __future__ import annotations

import math

import numpy as np

from minidl import backend
from minidl.kernels import losses, team
from minidl.kernels.cpu import jit
from minidl.kernels.flat import EXACT, floating
from minidl.kernels.team import next_task

TASK_SIZE = 1 << 12  # logits per task; each costs an exponential


@jit(fastmath=EXACT)
def _row_losses(counter, n_tasks, logits, target, weight, ignore, smoothing, rows, loss, normaliser, row_weight):
    N, K = logits.shape
    task = next_task(counter)
    while task < n_tasks:
        for n in range(task * rows, min(N, (task + 1) * rows)):
            top, total = logits[n, 0], 0.0
            for k in range(1, K):
                top = logits[n, k] if not logits[n, k] <= top else top
            for k in range(K):
                total += math.exp(logits[n, k] - top)
            log_total = math.log(total)
            normaliser[n, 0], normaliser[n, 1] = top, log_total
            loss[n] = row_weight[n] = 0.0
            t = target[n]
            if t != ignore:
                row_weight[n] = weight[t]
                loss[n] = (1 - smoothing) * weight[t] * (log_total - (logits[n, t] - top))
                if smoothing:
                    for k in range(K):
                        loss[n] += smoothing / K * weight[k] * (log_total - (logits[n, k] - top))
        task = next_task(counter)


@jit(fastmath=EXACT)
def _row_grads(counter, n_tasks, logits, target, weight, ignore, smoothing, rows, scale, normaliser, dlogits):
    N, K = logits.shape
    all_weights = weight.sum()
    task = next_task(counter)
    while task < n_tasks:
        for n in range(task * rows, min(N, (task + 1) * rows)):
            t = target[n]
            if t == ignore:
                dlogits[n] = 0
                continue
            # Of the targets' distribution: its sum, which every probability is multiplied by, and its entries.
            total = (1 - smoothing) * weight[t] + smoothing / K * all_weights
            for k in range(K):
                probability = math.exp(logits[n, k] - normaliser[n, 0] - normaliser[n, 1])
                dlogits[n, k] = scale[n] * (probability * total - smoothing / K * weight[k])
            dlogits[n, t] -= scale[n] * (1 - smoothing) * weight[t]
        task = next_task(counter)


def _arguments(logits, target, weight, ignore_index, smoothing):
    """How many tasks there are, and what both kernels take first."""
    N, K = logits.shape
    rows = max(1, TASK_SIZE // K)
    weight = np.ones(K, logits.dtype) if weight is None else np.ascontiguousarray(weight)
    target = np.ascontiguousarray(target, dtype=np.int64)
    return -(-N // rows), np.ascontiguousarray(logits), target, weight, ignore_index, float(smoothing), rows


def _check_targets(target, ignore_index, K):
    wrong = (target != ignore_index) & ((target < 0) | (target >= K))
    if wrong.any():
        raise IndexError(f"`target` holds {target[wrong][0]}; accepted: 0 to {K - 1}, or `ignore_index` {ignore_index}")


@losses.cross_entropy.register(np.ndarray)
def cross_entropy(logits, target, weight, ignore_index, label_smoothing, reduction):
    if not floating(logits, weight) or target.dtype.kind not in "iu":
        return NotImplemented
    N, K = logits.shape
    _check_targets(target, ignore_index, K)
    n, *arguments = _arguments(logits, target, weight, ignore_index, label_smoothing)
    loss, row_weight, normaliser = np.empty(N), np.empty(N), np.empty((N, 2), logits.dtype)
    team.run(_row_losses, n, *arguments, loss, normaliser, row_weight)
    total = row_weight.sum()
    if reduction != "none":
        with np.errstate(invalid="ignore"):  # all rows ignored: the mean is NaN, as in PyTorch
            loss = loss.sum() / (total if reduction == "mean" else 1)
    return np.asarray(loss, logits.dtype), normaliser, np.asarray(total, logits.dtype)


@losses.cross_entropy_grad.register(np.ndarray)
def cross_entropy_grad(
    grad, logits, target, weight, normaliser, total_weight, ignore_index, label_smoothing, reduction
):
    if not floating(grad, logits, weight) or target.dtype.kind not in "iu":
        return NotImplemented
    n, *arguments = _arguments(logits, target, weight, ignore_index, label_smoothing)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = grad / total_weight if reduction == "mean" else grad
    scale = np.ascontiguousarray(np.broadcast_to(scale, target.shape), dtype=logits.dtype)
    dlogits = backend.empty(logits.shape, logits.dtype, like=logits)
    team.run(_row_grads, n, *arguments, scale, normaliser, dlogits)
    return dlogits
