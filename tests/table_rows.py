"""The drawn table: arithmetic, elementwise functions, reductions."""

import math

import numpy as np
from table_draws import ROWS, Trial, row

import minidl as op
from minidl.gradcheck.rows_calculus import FLAT, PIECEWISE, SMOOTH, gelu_by_tanh

__all__ = ["ROWS"]

# ---------------------------------------------------------------- arithmetic

BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}


@row(*BINARY)
def binary(d, name):
    return Trial(getattr(op, name), d.apart(*d.broadcast(2)), BINARY[name])


@row("div")
def div(d):
    a, b = d.broadcast(2)
    return Trial(op.div, [d.normal(a), d.uniform(0.5, 2, b) * d.one_of(1, -1)], np.divide)


@row("pow")
def pow_(d):
    a, b = d.broadcast(2)
    if d.flag():
        p = d.one_of(2, 3, -1, 0.5, 1)
        return Trial(lambda x: op.pow(x, p), [d.uniform(0.5, 2, a)], lambda x: np.power(x, float(p)))
    return Trial(op.pow, [d.uniform(0.5, 2, a), d.uniform(0.5, 2, b)], np.power)


@row("neg")
def neg(d):
    return Trial(op.neg, [d.normal(d.shape())], np.negative)


@row("where")
def where(d):
    a, b = d.broadcast(2)
    mask = d.rng.random(np.broadcast_shapes(a, b)) < 0.5
    mask.flat[::2], mask.flat[1::2] = True, False  # both sides matter
    if mask.size == 1:
        return Trial(lambda x: op.where(mask, x, 0.0), [d.normal(a)], lambda x: np.where(mask, x, 0.0))
    return Trial(lambda x, y: op.where(mask, x, y), [d.normal(a), d.normal(b)], lambda x, y: np.where(mask, x, y))


@row("clamp")
def clamp(d):
    low, high = d.one_of((-0.12, 0.17), (None, 0.17), (-0.12, None))
    (x,) = d.apart(d.shape())
    return Trial(lambda x: op.clamp(x, low, high), [x / 2], lambda x: np.clip(x, low, high))


@row("lerp")
def lerp(d):
    return Trial(op.lerp, [d.normal(s) for s in d.broadcast(3)], lambda a, b, w: a * (1 - w) + b * w)


# ---------------------------------------------------------------- elementwise

POSITIVE = {"sqrt", "rsqrt", "reciprocal", "log", "log2", "log10"}
INSIDE = {"log1p", "tan"}


@row(*(name for name in SMOOTH if name != "gelu"), *PIECEWISE)
def elementwise(d, name):
    shape = d.shape()
    inputs = d.away_from_zero(shape)
    if name in POSITIVE:
        inputs = d.uniform(0.3, 3, shape)
    elif name in INSIDE:
        inputs = d.uniform(-0.9, 0.9, shape)
    return Trial(getattr(op, name), [np.asarray(inputs)], PIECEWISE.get(name) or SMOOTH[name][1])


@row("gelu")
def gelu(d):
    approximate = d.one_of("none", "tanh")
    reference = {"none": SMOOTH["gelu"][1], "tanh": gelu_by_tanh}[approximate]
    return Trial(lambda x: op.gelu(x, approximate), [np.asarray(d.normal(d.shape()))], reference)


@row(*FLAT)
def flat(d, name):
    x = d.uniform(0.1, 0.4, d.shape()) + d.one_of(0, 1, -2)
    return Trial(getattr(op, name), [np.asarray(x)], FLAT[name])


# ---------------------------------------------------------------- reductions

FOLDS = {
    "sum": lambda x, **o: x.sum(**o),
    "mean": lambda x, **o: x.mean(**o),
    "amax": lambda x, **o: x.max(**o),
    "amin": lambda x, **o: x.min(**o),
    "logsumexp": lambda x, **o: np.log(np.exp(x).sum(**o)),
    "var": lambda x, **o: x.var(ddof=1, **o),
    "std": lambda x, **o: x.std(ddof=1, **o),
}


@row(*FOLDS)
def fold(d, name):
    shape = d.shape(1) if name in ("sum", "logsumexp") else d.full_shape()
    axes, keep = d.axes(shape), d.flag()
    axes = tuple(range(len(shape))) if name == "logsumexp" and axes is None else axes
    x = d.apart(shape)[0] + (0.3 * d.normal(shape) if name in ("sum", "mean", "var", "std") else 0)
    if 0 in shape and name == "logsumexp":
        x = np.ones((2, 2))
        axes = 1
    return Trial(
        lambda x: getattr(op, name)(x, axes, keepdim=keep), [x], lambda x: FOLDS[name](x, axis=axes, keepdims=keep)
    )


@row("prod")
def prod(d):
    shape = d.full_shape()
    axis, keep = d.one_of(None, d.axis(shape)), d.flag()
    x = d.normal(shape) + 1.0
    x.flat[: d.integer(0, 1)] = 0.0
    return Trial(lambda x: op.prod(x, axis, keep), [x], lambda x: np.prod(x, axis=axis, keepdims=keep))


@row("max", "min")
def extreme(d, name):
    shape = d.full_shape()
    axis, keep = d.axis(shape), d.flag()
    if d.flag():
        return Trial(getattr(op, name), d.apart(shape), lambda x: getattr(x, name)())
    return Trial(
        lambda x: getattr(op, name)(x, axis, keep).values, d.apart(shape),
        lambda x: getattr(x, name)(axis=axis, keepdims=keep),
    )


@row("norm")
def norm(d):
    shape, p = d.full_shape(), d.one_of(2, 1, 3, 2.5, math.inf)
    axes, keep = d.axes(shape), d.flag()
    (x,) = d.apart(shape)
    x = np.where(x < 0, x - 0.026, x + 0.1)  # no two magnitudes alike

    def reference(x):
        if p == math.inf:
            return np.abs(x).max(axis=axes, keepdims=keep)
        return (np.abs(x) ** p).sum(axis=axes, keepdims=keep) ** (1 / p)

    return Trial(lambda x: op.norm(x, p, axes, keep), [x], reference)


@row("cumsum")
def cumsum(d):
    shape = d.shape(1)
    axis = d.axis(shape)
    return Trial(lambda x: x.cumsum(axis), [d.normal(shape)], lambda x: x.cumsum(axis))
