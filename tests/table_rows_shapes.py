"""The drawn table: shapes, joining, indexing, products."""

import math

import numpy as np
from table_draws import ROWS, Trial, row

import minidl
import minidl as op
from minidl import Tensor
from minidl.gradcheck.rows_calculus import PAD_MODES

__all__ = ["ROWS"]

# ---------------------------------------------------------------- shapes


@row("reshape", "view")
def reshape(d, name):
    shape = d.shape()
    size = math.prod(shape)
    target = d.one_of((size,), shape[::-1], (1, size), (-1,) if size else (0, 5), (*shape, 1))
    return Trial(lambda x: getattr(op, name)(x, target), [d.normal(shape)], lambda x: x.reshape(target))


@row("flatten")
def flatten(d):
    shape = d.shape(1)
    start = d.integer(0, len(shape) - 1)
    end = d.integer(start, len(shape) - 1)
    target = shape[:start] + (math.prod(shape[start : end + 1]),) + shape[end + 1 :]
    return Trial(
        lambda x: x.flatten(start, end - d.one_of(0, len(shape))), [d.normal(shape)], lambda x: x.reshape(target)
    )


@row("permute")
def permute(d):
    shape = d.shape(1)
    axes = tuple(int(a) for a in d.rng.permutation(len(shape)))
    return Trial(lambda x: x.permute(axes), [d.normal(shape)], lambda x: x.transpose(axes))


@row("transpose")
def transpose(d):
    shape = d.shape(1)
    a, b = d.axis(shape), d.axis(shape)
    return Trial(lambda x: x.transpose(a, b), [d.normal(shape)], lambda x: x.swapaxes(a, b))


@row("squeeze")
def squeeze(d):
    shape = d.shape(1)
    axis = d.one_of(None, d.axis(shape))
    target = tuple(n for i, n in enumerate(shape) if n != 1 or (axis is not None and i != axis % len(shape)))
    return Trial(lambda x: x.squeeze(axis), [d.normal(shape)], lambda x: x.reshape(target))


@row("unsqueeze")
def unsqueeze(d):
    shape = d.shape()
    axis = d.integer(-len(shape) - 1, len(shape))
    return Trial(lambda x: x.unsqueeze(axis), [d.normal(shape)], lambda x: np.expand_dims(x, axis))


@row("broadcast_to", "expand")
def broadcast(d, name):
    small, other = d.broadcast(2)
    target = np.broadcast_shapes(small, other)
    kept = [
        -1 if name == "expand" and i >= len(target) - len(small) and n == small[i - len(target)] else n
        for i, n in enumerate(target)
    ]
    return Trial(
        lambda x: getattr(op, name)(x, *kept) if kept else getattr(op, name)(x, ()),
        [d.normal(small)],
        lambda x: np.broadcast_to(x, target),
    )


@row("sum_to_size")
def sum_to_size(d):
    small, other = d.broadcast(2)
    large = np.broadcast_shapes(small, other)

    def reference(x):
        lead = x.ndim - len(small)
        axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(small) if n == 1)
        return x.sum(axis=axes).reshape(small)

    return Trial(lambda x: x.sum_to_size(small), [d.normal(large)], reference)


@row("flip")
def flip(d):
    shape = d.shape(1)
    axes = d.axes(shape)
    axes = tuple(range(len(shape))) if axes is None else axes
    return Trial(lambda x: x.flip(axes), [d.normal(shape)], lambda x: np.flip(x, axes))


@row("pad")
def pad(d):
    shape = d.full_shape(1)
    widths = [d.pair(-1, 2) for _ in range(d.integer(1, len(shape)))]
    widths = [(0, b) if a + b <= -n else (a, b) for (a, b), n in zip(widths, shape[::-1])]
    mode = d.one_of("constant", *PAD_MODES)
    if mode != "constant":
        shape = tuple(n + 3 for n in shape)
    value = d.one_of(0.0, -1.5) if mode == "constant" else 0.0
    fill = {"constant_values": value} if mode == "constant" else {}

    def reference(x):
        every = [(0, 0)] * (x.ndim - len(widths)) + widths[::-1]
        x = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, every))]
        return np.pad(x, [(max(a, 0), max(b, 0)) for a, b in every], PAD_MODES.get(mode, mode), **fill)

    return Trial(lambda x: x.pad([w for pair in widths for w in pair], mode, value), [d.normal(shape)], reference)


@row("contiguous", "clone", "astype", "to")
def copy(d, name):
    calls = {
        "contiguous": lambda x: x.transpose().contiguous(),
        "clone": lambda x: x.transpose().clone(),
        "astype": lambda x: x.transpose().astype(np.longdouble),
        "to": lambda x: x.transpose().to("cpu").to(np.longdouble).to(np.float64),
    }
    return Trial(calls[name], [d.normal(d.shape())], lambda x: x.T.astype(np.longdouble if name == "astype" else float))


# ---------------------------------------------------------------- joining and indexing


@row("concat", "cat")
def concat(d, name):
    shape = d.full_shape()
    axis = d.axis(shape)
    shapes = [tuple(d.integer(0, 3) if i == axis % len(shape) else n for i, n in enumerate(shape)) for _ in range(3)]
    return Trial(
        lambda *xs: getattr(op, name)(xs, axis), [d.normal(s) for s in shapes], lambda *xs: np.concatenate(xs, axis)
    )


@row("stack")
def stack(d):
    shape = d.shape()
    axis, count = d.integer(-len(shape) - 1, len(shape)), d.integer(1, 3)
    return Trial(
        lambda *xs: op.stack(xs, axis), [d.normal(shape) for _ in range(count)], lambda *xs: np.stack(xs, axis)
    )


@row("split")
def split(d):
    shape = d.full_shape()
    axis, first = d.axis(shape), d.integer(0, 1)
    sizes = [first, shape[axis] - first]
    return Trial(
        lambda x: x.split(d.one_of(sizes, tuple(sizes)), axis),
        [d.normal(shape)],
        lambda x: tuple(np.split(x, [first], axis)),
    )


@row("chunk")
def chunk(d):
    shape = d.full_shape()
    axis, count = d.axis(shape), d.integer(1, 4)
    step = -(-shape[axis] // count)
    return Trial(
        lambda x: x.chunk(count, axis),
        [d.normal(shape)],
        lambda x: tuple(np.split(x, range(step, shape[axis], step), axis)),
    )


@row("take_along_dim", "gather")
def gather(d, name):
    shape = d.full_shape()
    axis = d.axis(shape)
    places = tuple(d.integer(1, 4) if i == axis % len(shape) else n for i, n in enumerate(shape))
    index = d.rng.integers(0, shape[axis], places)
    call = {
        "gather": lambda x: x.gather(axis, Tensor(index)),
        "take_along_dim": lambda x: x.take_along_dim(Tensor(index), axis),
    }
    return Trial(call[name], [d.normal(shape)], lambda x: np.take_along_axis(x, index, axis))


def index_of(d, shape):
    """Something to stand in x[...]: slices, numbers, None, repeated positions, a mask."""
    n = shape[0]
    parts = {
        "slice": lambda: slice(d.integer(-n, n - 1), None, d.one_of(1, 2, -1)),
        "number": lambda: d.integer(-n, n - 1),
        "none": lambda: (None, Ellipsis, slice(0, 1)),
        "positions": lambda: d.rng.integers(-n, n, d.integer(1, 4)),
        "mask": lambda: np.arange(n) % 2 == 0,
    }
    return parts[d.one_of(*parts)]()


@row("getitem")
def getitem(d):
    shape = d.full_shape()
    index = index_of(d, shape)
    return Trial(lambda x: x[index], [d.normal(shape)], lambda x: x[index])


@row("setitem")
def setitem(d):
    shape = d.full_shape(2)
    index = d.one_of(slice(1, None), 0, np.array([1, 0]), np.arange(shape[0]) == 1)

    def assigned(x, v):
        y = minidl.tensor(x.detach() * 0.0, dtype=x.dtype) + x
        y[index] = v
        return y

    def reference(x, v):
        y = x.copy()
        y[index] = v
        return y

    return Trial(assigned, [d.normal(shape), d.normal(shape[1:])], reference)


# ---------------------------------------------------------------- products


@row("matmul")
def matmul(d):
    m, k, n = (d.integer(1, 3) for _ in range(3))
    a, b = d.one_of(
        ((m, k), (k, n)),
        ((k,), (k, n)),
        ((m, k), (k,)),
        ((k,), (k,)),
        ((2, m, k), (k, n)),
        ((2, 1, m, k), (3, k, n)),
        ((0, k), (k, n)),
    )
    return Trial(op.matmul, [d.normal(a), d.normal(b)], np.matmul)


@row("linear")
def linear(d):
    rows, k, n = d.shape(0, 2), d.integer(1, 3), d.integer(1, 3)
    inputs = [d.normal((*rows, k)), d.normal((n, k))] + ([d.normal(n)] if d.flag() else [])
    return Trial(op.linear, inputs, lambda x, w, *b: x @ w.T + (b[0] if b else 0.0))
