"""The drawn table: normalisation, softmax, losses, dropout."""

import numpy as np
from table_draws import ROWS, Trial, row

import minidl as op
from minidl import Tensor
from minidl.ops.dropout import Dropout

__all__ = ["ROWS"]

# ---------------------------------------------------------------- normalisation


def affine(d, shape):
    """Weight and bias of `shape`, or nothing."""
    return [d.uniform(0.5, 1.5, shape), d.normal(shape)] if d.flag() else []


def along(v, ndim):
    """A vector over channels beside an array of `ndim` axes."""
    return v.reshape((1, -1) + (1,) * (ndim - 2))


@row("batch_norm_train")
def batch_norm_train(d):
    shape = (d.integer(3, 4), d.integer(1, 3), *d.full_shape(0, 2))
    eps = d.one_of(1e-5, 1e-2, 0.5)

    def reference(x, w=None, b=None):
        axes = (0, *range(2, x.ndim))
        y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
        return y if w is None else y * along(w, x.ndim) + along(b, x.ndim)

    x = d.apart(shape)[0] * 4 / shape[1] + 0.2 * d.normal(shape)
    return Trial(lambda *a: op.batch_norm_train(*a, eps=eps)[0], [x, *affine(d, shape[1])], reference)


@row("batch_norm_eval")
def batch_norm_eval(d):
    shape = (d.integer(1, 2), d.integer(1, 3), *d.full_shape(0, 2))
    eps, C = d.one_of(1e-5, 1e-2, 0.5), shape[1]

    def reference(x, mean, var, w=None, b=None):
        y = (x - along(mean, x.ndim)) / np.sqrt(along(var, x.ndim) + eps)
        return y if w is None else y * along(w, x.ndim) + along(b, x.ndim)

    inputs = [d.normal(shape), d.normal(C), d.uniform(0.5, 2, C), *affine(d, C)]
    return Trial(lambda *a: op.batch_norm_eval(*a, eps=eps), inputs, reference)


@row("layer_norm")
def layer_norm(d):
    lead, inner = d.full_shape(0, 2), (*d.full_shape(0, 1), 3)
    eps, axes = d.one_of(1e-5, 0.1), tuple(range(-len(inner), 0))

    def reference(x, w=1.0, b=0.0):
        return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps) * w + b

    x = d.apart(lead + inner)[0] + 0.2 * d.normal(lead + inner)
    return Trial(lambda x, *a: op.layer_norm(x, inner, *a, eps=eps), [x, *affine(d, inner)], reference)


@row("local_response_norm")
def local_response_norm(d):
    shape = (d.integer(1, 2), d.integer(1, 5), *d.full_shape(0, 2))
    size, alpha, beta, k = d.integer(1, 6), d.one_of(0.1, 0.5), d.one_of(0.5, 0.75), d.one_of(1.0, 2.0)

    def reference(x):
        y = np.empty_like(x)
        for c in range(x.shape[1]):
            near = x[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
            y[:, c] = x[:, c] / (k + alpha / size * (near**2).sum(1)) ** beta
        return y

    return Trial(lambda x: op.local_response_norm(x, size, alpha, beta, k), [d.normal(shape)], reference)


# ---------------------------------------------------------------- softmax, losses, dropout


def log_softmax(x, axis):
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


@row("softmax", "log_softmax")
def softmax(d, name):
    shape = d.full_shape()
    axis = d.axis(shape)
    wanted = np.exp if name == "softmax" else np.array
    return Trial(lambda x: getattr(op, name)(x, axis), [d.normal(shape)], lambda x: wanted(log_softmax(x, axis)))


def reduced(values, reduction, count=None):
    """Sum, mean (over `count`) or all of them."""
    total = values.sum()
    return {"sum": total, "mean": total / (values.size if count is None else count), "none": values}[reduction]


def labelled(d, name):
    """Labels, class weights (or None), what to ignore, and the reduction of a loss of N rows and K classes."""
    N, K = d.integer(2, 4), d.integer(2, 3)
    labels = d.rng.integers(0, K, N)
    ignored = d.one_of(-100, K + 3)
    labels[d.integer(1, N) :] = ignored if d.flag() else labels[0]
    weight = d.uniform(0.5, 2, K) if d.flag() else None
    return N, K, labels, weight, ignored, d.one_of("mean", "sum", "none")


@row("cross_entropy", "nll_loss")
def label_loss(d, name):
    N, K, labels, weight, ignored, reduction = labelled(d, name)
    s = d.one_of(0.0, 0.1, 0.9) if name == "cross_entropy" else 0.0
    w = np.ones(K) if weight is None else weight

    def reference(x):
        log_p, kept = (log_softmax(x, 1) if name == "cross_entropy" else x), labels != ignored
        values = np.zeros(N)
        for n in np.flatnonzero(kept):
            share = np.full(K, s / K)
            share[labels[n]] += 1 - s
            values[n] = -(share * w * log_p[n]).sum()
        return reduced(values, reduction, w[labels[kept]].sum())

    options = dict(weight=None if weight is None else Tensor(weight), ignore_index=ignored, reduction=reduction)
    options |= dict(label_smoothing=s) if s else {}
    return Trial(lambda x: getattr(op, name)(x, Tensor(labels), **options), [d.normal((N, K))], reference)


@row("mse_loss", "l1_loss")
def distance(d, name):
    shape, reduction = d.shape(), d.one_of("mean", "sum", "none")
    reduction = "sum" if 0 in shape else reduction
    gap = {"mse_loss": np.square, "l1_loss": np.abs}[name]
    return Trial(
        lambda x, y: getattr(op, name)(x, y, reduction=reduction),
        d.apart(shape, shape),
        lambda x, y: reduced(gap(x - y), reduction),
    )


@row("binary_cross_entropy_with_logits")
def binary_loss(d):
    shape, reduction = d.full_shape(), d.one_of("mean", "sum", "none")
    weight, positive = (d.uniform(0.5, 2, shape[-1]) if d.flag() else None for _ in range(2))
    options = dict(
        weight=None if weight is None else Tensor(weight),
        reduction=reduction,
        pos_weight=None if positive is None else Tensor(positive),
    )

    def reference(x, t):
        p = 1 / (1 + np.exp(-x))
        values = -(t * np.log(p) * (1 if positive is None else positive) + (1 - t) * np.log(1 - p))
        return reduced(values * (1 if weight is None else weight), reduction)

    return Trial(
        lambda x, t: op.binary_cross_entropy_with_logits(x, t, **options),
        [d.away_from_zero(shape), d.uniform(0.1, 0.9, shape)],
        reference,
    )


def philox_words(count, key):
    """`count` words of Philox4x32-10 with the 128-bit key schedule of minidl's streams, one number at a time."""
    from minidl.philox import philox, split

    low, upper = split(*key)
    blocks = [
        [int(w) for w in philox([np.array(c, np.uint64) for c in (i, *upper)], low)] for i in range(-(-count // 4))
    ]
    return np.array(sum(blocks, []))[:count]


@row("dropout")
def dropout(d):
    shape, p = d.full_shape(2, 4), d.one_of(0.25, 0.5)
    size = int(np.prod(shape))
    keys = ((d.integer(0, 99), d.integer(0, 3), step) for step in range(100))
    key = next(k for k in keys if (philox_words(size, k) >= p * 2**32).any())

    def reference(x):
        order = (0, 2, 3, 1) if x.ndim == 4 else tuple(range(x.ndim))
        last = x.transpose(order)
        kept = np.where(philox_words(size, key).reshape(last.shape) >= p * 2**32, last / (1 - p), 0.0)
        return kept.transpose(np.argsort(order))

    return Trial(lambda x: Dropout.apply(x, p, key), [d.normal(shape)], reference)
