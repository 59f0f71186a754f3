"""Softmax cross-entropy: a row of logits is read once forward and once backward, and no table of probabilities is kept.

With top = max(x), the loss of a row with label t is log(sum exp(x - top)) - (x[t] - top), weighted by the label's
weight; label smoothing mixes in the mean over all classes as labels. Kept for the backward are two numbers of a row,
top and the logarithm of the sum: the probability of class k is exp(x[k] - top - log_sum).
"""

from __future__ import annotations

from minidl import backend
from minidl.backend import array_module
from minidl.kernels.gpu.reduction import sum_of_rows
from minidl.kernels.gpu.tiles import cdiv, ct, kernel, side, takes

MOST_CLASSES = 4096  # that a block reads at once
TILE = 4096  # logits of a tile


@kernel
def row_losses(
    logits, target, weight, losses, normaliser, IGNORE, SMOOTHING: ct.Constant, TN: ct.Constant, TK: ct.Constant
):
    """losses[n] = (loss, weight of the label), normaliser[n] = (top, log of the sum); nothing for ignored labels."""
    k = ct.arange(TK, dtype=ct.int32)[None, :]
    is_class = k < logits.shape[1]
    x = ct.load(logits, (ct.bid(0), 0), (TN, TK), padding_mode=ct.PaddingMode.NEG_INF)
    label = ct.load(target, (ct.bid(0),), (TN,), padding_mode=ct.PaddingMode.ZERO)[:, None]
    weights = ct.load(weight, (0,), (TK,), padding_mode=ct.PaddingMode.ZERO)[None, :]
    top = ct.max(x, 1, keepdims=True)
    log_sum = ct.log(ct.sum(ct.where(is_class, ct.exp(x - top), 0.0), 1, keepdims=True))
    each = ct.where(is_class, (log_sum - (x - top)) * weights, 0.0)  # the loss if class k were the label
    kept = label != IGNORE
    at_label = (k == label) & kept
    loss = (1.0 - SMOOTHING) * ct.sum(ct.where(at_label, each, 0.0), 1, keepdims=True)
    if SMOOTHING > 0:
        loss = loss + ct.where(kept, ct.sum(each, 1, keepdims=True) * (SMOOTHING / logits.shape[1]), 0.0)
    of_label = ct.sum(ct.where(at_label, weights, 0.0), 1, keepdims=True)
    second = ct.arange(2, dtype=ct.int32)[None, :] == 1
    ct.store(losses, (ct.bid(0), 0), ct.where(second, of_label, loss))
    ct.store(normaliser, (ct.bid(0), 0), ct.where(second, log_sum, top))


@kernel
def row_grads(
    logits, target, weight, normaliser, scale, dlogits, IGNORE, SMOOTHING: ct.Constant, TN: ct.Constant, TK: ct.Constant
):
    """The gradient of the logits: scale[n] times (probability times the sum of the row's targets, less the targets)."""
    k = ct.arange(TK, dtype=ct.int32)[None, :]
    x = ct.load(logits, (ct.bid(0), 0), (TN, TK), padding_mode=ct.PaddingMode.NEG_INF)
    label = ct.load(target, (ct.bid(0),), (TN,), padding_mode=ct.PaddingMode.ZERO)[:, None]
    weights = ct.load(weight, (0,), (TK,), padding_mode=ct.PaddingMode.ZERO)[None, :]
    kept = ct.load(normaliser, (ct.bid(0), 0), (TN, 2), padding_mode=ct.PaddingMode.ZERO)
    second = ct.arange(2, dtype=ct.int32)[None, :] == 1
    top = ct.sum(ct.where(second, 0.0, kept), 1, keepdims=True)
    log_sum = ct.sum(ct.where(second, kept, 0.0), 1, keepdims=True)
    targets = ct.where(k == label, (1.0 - SMOOTHING) * weights, 0.0)
    if SMOOTHING > 0:
        targets = targets + weights * (SMOOTHING / logits.shape[1])
    grads = ct.exp(x - top - log_sum) * ct.sum(targets, 1, keepdims=True) - targets
    share = ct.load(scale, (ct.bid(0),), (TN,), padding_mode=ct.PaddingMode.ZERO)[:, None]
    ignored = 0.0 * log_sum  # NaN where the row holds one, as everywhere
    ct.store(dlogits, (ct.bid(0), 0), ct.where(label == IGNORE, ignored, grads * share))


class CrossEntropy:
    """Form of `minidl.ops.losses.CrossEntropy`; keeps two numbers for each row, and the sum of the weights."""

    @staticmethod
    def forward(logits, target, weight, ignore_index, label_smoothing, reduction):
        """Return the loss, and the rows' (largest logit, log of the sum of exponentials), and the labels' weight."""
        if not _takes(logits, target, weight, ignore_index):
            return NotImplemented
        (N, _), xp = logits.shape, array_module(logits)
        losses, normaliser = (backend.empty((N, 2), logits.dtype, like=logits) for _ in range(2))
        grid, first, last = _arguments(logits, target, weight, ignore_index, label_smoothing)
        row_losses(grid, *first, losses, normaliser, *last)
        sums = sum_of_rows(losses)
        total = sums[0] / sums[1] if reduction == "mean" else sums[0]
        loss = xp.ascontiguousarray(losses[:, 0]) if reduction == "none" else total
        return (loss,), (normaliser, sums[1])

    @staticmethod
    def backward(grads, saved, ignore_index, label_smoothing, reduction):
        """Return the gradient of the logits; a gradient of the weights is left to the definition."""
        (grad,), (logits, target, weight), (normaliser, total_weight) = grads, saved.inputs, saved.kept
        is_weight_wanted = weight is not None and saved.needs_input_grad[2]
        if is_weight_wanted or grad.dtype != logits.dtype or not _takes(logits, target, weight, ignore_index):
            return NotImplemented
        xp = array_module(logits)
        scale = grad / total_weight if reduction == "mean" else grad
        scale = xp.ascontiguousarray(xp.broadcast_to(scale, target.shape))
        dlogits = backend.empty(logits.shape, logits.dtype, like=logits)
        grid, first, last = _arguments(logits, target, weight, ignore_index, label_smoothing)
        row_grads(grid, *first, normaliser, scale, dlogits, *last)
        return dlogits, None, None


def _takes(logits, target, weight, ignore_index):
    """Return whether the kernels take these: labels and what they ignore in 32 bits."""
    labels = target.dtype.kind in "iu" and abs(ignore_index) < 2**31
    return labels and takes(logits, weight) and logits.shape[1] <= MOST_CLASSES


def _arguments(logits, target, weight, ignore_index, smoothing):
    """The grid, and the arguments that both kernels take first and last."""
    (N, K), xp = logits.shape, array_module(logits)
    TK = side(K, MOST_CLASSES)
    TN = side(N, max(1, min(32, TILE // TK)))
    weight = xp.ones(K, logits.dtype) if weight is None else weight
    return (cdiv(N, TN),), (logits, target.astype("int32"), weight), (ignore_index, float(smoothing), TN, TK)
