"""The table of calls: arithmetic, elementwise, reductions, shapes, indexing and products (see ``pytorch_table.py``)."""

import numpy as np
from pytorch_table import ROWS, row

__all__ = ["ROWS"]


def positive(rng, shape):
    return rng.uniform(0.3, 2.0, shape)


def apart(rng, shape):
    """No two values nearer than 0.1: no ties, no kinks at 0."""
    size = int(np.prod(shape))
    return (rng.permutation(size) - size / 2 + 0.25).reshape(shape) * 0.1


# ---------------------------------------------------------------- arithmetic

BINARY = {
    "add": lambda L, a, b: L.add(a, b),
    "add_alpha": lambda L, a, b: L.add(a, b, alpha=2.5),
    "sub": lambda L, a, b: L.sub(a, b),
    "sub_alpha": lambda L, a, b: L.sub(a, b, alpha=-1.5),
    "mul": lambda L, a, b: L.mul(a, b),
    "div": lambda L, a, b: L.div(a, b),
    "maximum": lambda L, a, b: L.maximum(a, b),
    "minimum": lambda L, a, b: L.minimum(a, b),
    "max_other": lambda L, a, b: L.max(a, b),
    "lerp_number": lambda L, a, b: L.lerp(a, b, 0.3),
}
for name, call in BINARY.items():
    row(name, call, (2, 3), (2, 3), make=positive)
    row(f"{name}/broadcast", call, (2, 1, 3), (4, 1), make=positive)
    row(f"{name}/0d", call, (), (), make=positive)
    row(f"{name}/empty", call, (0, 3), (3,))
row("pow", lambda L, a, b: L.pow(a, b), (2, 3), (3,), make=positive)
row("lerp", lambda L, a, b, w: L.lerp(a, b, w), (2, 3), (2, 3), (3,))
MASK = [[True, False, True], [False, True, False]]
row("where", lambda L, a, b, c: L.where(c, a, b), (2, 3), (3,), constants=(MASK,))
row("where/number", lambda L, a, c: L.where(c, a, 1.5), (3,), constants=([True, False, True],))
for p in (0, 1, 2, 3, 0.5, -1, -2, 2.5):
    row(f"pow/{p}", lambda L, a, p=p: L.pow(a, p), (2, 3), make=positive)
for p in (0, 1, 2, 3, -2):
    row(f"pow/negative_base_{p}", lambda L, a, p=p: L.pow(a, p), [-2.0, -0.5, 1.5])
for p in (0, 1, 2, 3):
    row(f"pow/zero_base_{p}", lambda L, a, p=p: L.pow(a, p), [0.0, 1.0, -1.0])
row("pow/zero_to_half", lambda L, a: L.pow(a, 0.5), [0.0, 4.0], order=1)
row("pow/base", lambda L, b: 2.0**b, (2, 3))
row("pow/tensor_corners", lambda L, a, b: L.pow(a, b), [0.0, 0.0, 0.0, 2.0], [0.0, 1.0, 2.0, 0.0], order=1)
row("pow/number_zero_base", lambda L, b: 0.0**b, [0.0, 1.0, 2.0], order=1)
row("maximum/ties", lambda L, a, b: L.maximum(a, b), [1.0, 2.0, 3.0], [1.0, 3.0, 3.0])
row("minimum/ties", lambda L, a, b: L.minimum(a, b), [1.0, 2.0, 3.0], [1.0, 3.0, 3.0])
row("maximum/nan", lambda L, a, b: L.maximum(a, b), [1.0, np.nan, 3.0], [np.nan, 3.0, 3.0], order=1)
row("minimum/nan", lambda L, a, b: L.minimum(a, b), [1.0, np.nan, 3.0], [np.nan, 3.0, 3.0], order=1)
for low, high in ((-0.5, 0.5), (None, 0.5), (-0.5, None)):
    row(f"clamp/{low}_{high}", lambda L, a, l=low, h=high: L.clamp(a, l, h), [-1.0, -0.5, 0.0, 0.5, 1.0])
row("clamp/nan", lambda L, a: L.clamp(a, -1.0, 1.0), [np.nan, np.inf, -np.inf, 0.5], order=1)
row("clamp/tensors", lambda L, a, l, h: L.clamp(a, l, h), [-2.0, -1.0, 0.0, 1.0, 2.0], [-1.0] * 5, [1.0] * 5)
row("clamp/low_tensor", lambda L, a, l: L.clamp(a, l), [-2.0, -1.0, 0.0], [-1.0] * 3)

# ---------------------------------------------------------------- element by element

SMOOTH = "square exp expm1 sin cos sinh cosh tanh sigmoid arctan erf"
ABOVE_ZERO = "sqrt rsqrt reciprocal log log1p log2 log10 tan"
for name in SMOOTH.split():
    for tag, shape in {"": (2, 3), "/0d": (), "/empty": (0, 3)}.items():
        row(name + tag, lambda L, x, n=name: getattr(L, n)(x), shape)
for name in ABOVE_ZERO.split():
    row(name, lambda L, x, n=name: getattr(L, n)(x), (2, 3), make=lambda rng, shape: rng.uniform(0.3, 1.4, shape))
for name in "abs relu sign floor ceil round".split():
    row(name, lambda L, x, n=name: getattr(L, n)(x), [-1.5, -0.4, 0.0, 0.5, 1.5, 2.5], order=1)
for name in "softplus silu logsigmoid elu leaky_relu relu".split():
    row(name + "/act", lambda L, x, n=name: getattr(L, n)(x), (3, 4), make=apart)
row("gelu", lambda L, x: L.gelu(x), (3, 4))
row("gelu/tanh", lambda L, x: L.gelu(x, approximate="tanh"), (3, 4))
row("elu/alpha", lambda L, x: L.elu(x, 0.3), (3, 4), make=apart)
row("leaky_relu/slope", lambda L, x: L.leaky_relu(x, 0.2), (3, 4), make=apart)
row("leaky_relu/zero", lambda L, x: L.leaky_relu(x, 0.2), [-1.0, 0.0, 1.0], order=1)
row("elu/zero", lambda L, x: L.elu(x, 0.5), [-1.0, 0.0, 1.0], order=1)
EXTREMES = [-800.0, -40.0, 0.0, 40.0, 800.0]
for name in "sigmoid tanh softplus silu logsigmoid erf gelu".split():
    row(f"{name}/extreme", lambda L, x, n=name: getattr(L, n)(x), EXTREMES, order=1)
row("sqrt/zero", lambda L, x: L.sqrt(x), [0.0, 1.0], order=1)

# ---------------------------------------------------------------- reductions

TIES = [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]
for options in ({}, {"dim": 0}, {"dim": -1, "keepdim": True}, {"dim": (0, 2)}, {"dim": (0, 1), "keepdim": True}):
    tag = "_".join(map(str, options.values())).replace(" ", "") or "all"
    for name in "sum mean amax amin".split():
        row(f"{name}/{tag}", lambda L, x, n=name, o=options: getattr(L, n)(x, **o), (2, 3, 4))
    for correction in (0, 1, 1.5):
        row(
            f"var/{tag}_{correction}",
            lambda L, x, o=options, c=correction: L.var(x, **{"dim": None, **o}, correction=c),
            (2, 3, 4),
        )
    row(f"std/{tag}", lambda L, x, o=options: L.std(x, **{"dim": None, **o}, correction=1), (2, 3, 4))
    if options:
        row(f"logsumexp/{tag}", lambda L, x, o=options: L.logsumexp(x, **o), (2, 3, 4))
for name in "amax amin".split():
    row(f"{name}/ties", lambda L, x, n=name: getattr(L, n)(x, dim=1), TIES)
for name in "max min".split():
    row(f"{name}/all_ties", lambda L, x, n=name: getattr(L, n)(x), TIES)
    row(f"{name}/dim", lambda L, x, n=name: getattr(L, n)(x, 1), (3, 4), make=apart)
    row(f"{name}/keepdim", lambda L, x, n=name: getattr(L, n)(x, dim=0, keepdim=True), (3, 4), make=apart)
    row(f"{name}/all_nan", lambda L, x, n=name: getattr(L, n)(x), [[1.0, np.nan], [np.nan, 2.0]], order=1)
    row(f"{name}/dim_nan", lambda L, x, n=name: getattr(L, n)(x, 1), [[1.0, np.nan], [0.0, 2.0]], order=1)
row("var/one", lambda L, x: L.var(x, dim=None, correction=0), [3.0])
row("logsumexp/infinite", lambda L, x: L.logsumexp(x, 1), [[-np.inf, 0.0], [-np.inf, -np.inf], [np.inf, 0.0]], order=1)
row("logsumexp/large", lambda L, x: L.logsumexp(x, 1), [[1000.0, 999.0], [-1000.0, -1001.0]])
row("prod/all", lambda L, x: L.prod(x), (2, 3))
row("prod/dim", lambda L, x: L.prod(x, dim=1), (2, 3))
row("prod/keepdim", lambda L, x: L.prod(x, dim=0, keepdim=True), (2, 3))
row("prod/one_zero", lambda L, x: L.prod(x), [2.0, 0.0, 3.0])
row("prod/two_zeros", lambda L, x: L.prod(x), [0.0, 0.0, 3.0])
for p in (1, 2, 3, 1.5, np.inf, -np.inf, 0):
    row(f"norm/{p}", lambda L, x, p=p: L.norm(x, p), (2, 3), make=apart)
    row(f"norm/{p}_dim", lambda L, x, p=p: L.norm(x, p, 1), (2, 3), make=apart)
row("norm/zero", lambda L, x: L.norm(x), [0.0, 0.0], order=1)
row("norm/zero_row", lambda L, x: L.norm(x, 2, 1, keepdim=True), [[0.0, 0.0], [3.0, 4.0]], order=1)
for name in "sum mean prod var norm".split():
    row(f"{name}/of_number", lambda L, x, n=name: getattr(L, n)(x) if n != "var" else L.var(x, correction=0), ())
for name in "sum mean prod norm".split():
    row(f"{name}/of_empty", lambda L, x, n=name: getattr(L, n)(x), (0, 3), order=1)
for name in "sum mean amax logsumexp max".split():
    row(f"{name}/of_empty_rows", lambda L, x, n=name: getattr(L, n)(x, 1), (0, 3))
row("max/of_number", lambda L, x: (L.max(x), L.amin(x)), ())
row("sum/of_empty_columns", lambda L, x: L.sum(x, 0), (0, 3))
row("cumsum/empty", lambda L, x: L.cumsum(x, 0), (0, 3))
row("cumsum", lambda L, x: L.cumsum(x, 1), (2, 3, 2))
row("argmax", lambda L, x: (L.argmax(x), L.argmax(x, 1), L.argmin(x, 0, keepdim=True)), (3, 4), order=0, make=apart)
row("argsort", lambda L, x: (L.argsort(x), L.argsort(x, 0, descending=True)), (3, 4), order=0, make=apart)

# ---------------------------------------------------------------- shapes and indexing

CUBE = (2, 3, 4)
SHAPES = {
    "reshape": lambda L, x: x.reshape(4, -1),
    "view": lambda L, x: x.view(6, 4),
    "flatten": lambda L, x: L.flatten(x),
    "flatten/some": lambda L, x: L.flatten(x, 1, 2),
    "permute": lambda L, x: x.permute(2, 0, 1),
    "transpose": lambda L, x: x.transpose(0, -1),
    "squeeze": lambda L, x: x[:, :1].squeeze(),
    "squeeze/dim": lambda L, x: x[:, :1].squeeze(1),
    "squeeze/not": lambda L, x: x.squeeze(0),
    "unsqueeze": lambda L, x: x.unsqueeze(-1),
    "expand": lambda L, x: x[:, :1].expand(5, -1, 3, 4),
    "broadcast_to": lambda L, x: L.broadcast_to(x, (2, 2, 3, 4)),
    "flip": lambda L, x: L.flip(x, (0, 2)),
    "pad": lambda L, x: L.pad(x, (1, 2, 0, 1), value=3.0),
    "pad/reflect": lambda L, x: L.pad(x, (3, 2, 0, 2), mode="reflect"),
    "pad/replicate": lambda L, x: L.pad(x, (0, 5, 4, 1), mode="replicate"),
    "pad/circular": lambda L, x: L.pad(x, (4, 0, 1, 3), mode="circular"),
    "pad/reflect_crop": lambda L, x: L.pad(x, (-1, 2), mode="reflect"),
    "pad/replicate_crop": lambda L, x: L.pad(x, (-2, 1, 1, -1), mode="replicate"),
    "pad/circular_crop": lambda L, x: L.pad(x, (2, -1), mode="circular"),
    "pad/negative": lambda L, x: L.pad(x, (-1, 2, 1, -1)),
    "pad/crop": lambda L, x: L.pad(x, (-1, -2)),
    "cat": lambda L, x: L.cat([x, x[:, :1] * 2, x], 1),
    "concat": lambda L, x: L.concat((x, x), -1),
    "stack": lambda L, x: L.stack([x, x * x], 1),
    "stack/last": lambda L, x: L.stack([x, x * x], -1),
    "split": lambda L, x: L.split(x, 3, 2),
    "split/sizes": lambda L, x: L.split(x, [1, 0, 3], 2),
    "chunk": lambda L, x: L.chunk(x, 3, -1),
    "clone": lambda L, x: x.clone(),
    "index/int": lambda L, x: x[1],
    "index/negative": lambda L, x: x[:, -1],
    "index/slice": lambda L, x: x[:, 1:, ::2],
    "index/none": lambda L, x: x[None, :, 0],
    "index/ellipsis": lambda L, x: x[..., 0],
    "index/list": lambda L, x: x[[0, 0, 1, 0]],
    "index/pairs": lambda L, x: x[[0, 1, 0], [2, 1, 2]],
    "index/split": lambda L, x: x[[0, 1, 1], :, [0, 3, 3]],
    "index/grid": lambda L, x: x[:, [[0, 1], [2, 2]]],
    "index/mask": lambda L, x: x[x > 0],
    "index/row_mask": lambda L, x: x[:, [True, False, True]],
    "index/mixed": lambda L, x: x[1, [0, 2, 2], 1:3],
}
for name, call in SHAPES.items():
    row(name, call, CUBE)
EMPTY = {
    "reshape": lambda L, x: x.reshape(3, 0),
    "flatten": lambda L, x: L.flatten(x),
    "permute": lambda L, x: x.permute(1, 0),
    "pad": lambda L, x: L.pad(x, (1, 1, 2, 0)),
    "flip": lambda L, x: L.flip(x, (0, 1)),
    "cat": lambda L, x: L.cat([x, x], 1),
    "stack": lambda L, x: L.stack([x, x]),
    "split": lambda L, x: L.split(x, 2, 1),
    "chunk": lambda L, x: L.chunk(x, 2, 0),
    "expand": lambda L, x: x.unsqueeze(0).expand(2, 0, 3),
    "slice": lambda L, x: x[:, 1:],
    "index": lambda L, x: x[:, [0, 0, 2]],
    "mask": lambda L, x: x[x > 0],
    "relu": lambda L, x: L.relu(x),
    "softmax": lambda L, x: L.softmax(x, 1),
    "log_softmax": lambda L, x: L.log_softmax(x, 1),
    "where": lambda L, x: L.where(x > 0, x, x * 2),
    "clamp": lambda L, x: L.clamp(x, -1.0, 1.0),
    "layer_norm": lambda L, x: L.layer_norm(x, (3,)),
}
for name, call in EMPTY.items():
    row(f"{name}/of_empty", call, (0, 3))
NUMBER = {
    "reshape": lambda L, x: x.reshape(1, 1),
    "flatten": lambda L, x: L.flatten(x),
    "unsqueeze": lambda L, x: x.unsqueeze(0),
    "squeeze": lambda L, x: x.squeeze(),
    "expand": lambda L, x: x.expand(2, 3),
    "index": lambda L, x: (x[None], x[...]),
    "stack": lambda L, x: L.stack([x, x]),
    "clone": lambda L, x: x.clone(),
    "softmax": lambda L, x: L.softmax(x, 0),
    "relu": lambda L, x: L.relu(x),
    "clamp": lambda L, x: L.clamp(x, -1.0, 1.0),
}
for name, call in NUMBER.items():
    row(f"{name}/of_number", call, ())
row("index/nothing", lambda L, x: x[:, 1:1], (2, 3))
row("index/no_positions", lambda L, x, i: x[i], (2, 3), constants=(np.zeros(0, np.int64),))
I23 = np.array([[0, 2, 1, 2], [1, 1, 0, 2]])
row("gather", lambda L, x, i: L.gather(x, 1, i), (2, 3), constants=(I23,))
row("gather/smaller", lambda L, x, i: L.gather(x, 0, i), (3, 4), constants=(np.array([[0, 2], [1, 1]]),))
row("take_along_dim", lambda L, x, i: L.take_along_dim(x, i, 1), (2, 3), constants=(I23,))
row("one_hot", lambda L, x, i: (L.one_hot(i), L.one_hot(i, 4)), (1,), constants=(np.array([[0, 2], [1, 0]]),), order=0)

# ---------------------------------------------------------------- products

for left, right in [((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((5, 2, 3), (3, 4)),
                    ((0, 3), (3, 4)), ((2, 0), (0, 3)), ((0,), (0,)), ((0, 2, 3), (3, 4)),
                    ((2, 3), (4, 3, 2)), ((2, 1, 2, 3), (3, 3, 2)), ((3,), (2, 3, 4)), ((2, 4, 3), (3,))]:  # fmt: skip
    row(f"matmul/{left}{right}".replace(" ", ""), lambda L, a, b: a @ b, left, right)
row("linear", lambda L, x, w: L.linear(x, w), (5, 3), (4, 3))
row("linear/bias", lambda L, x, w, b: L.linear(x, w, b), (5, 3), (4, 3), (4,))
row("linear/empty", lambda L, x, w, b: L.linear(x, w, b), (0, 3), (4, 3), (4,))
row("linear/empty_batches", lambda L, x, w, b: L.linear(x, w, b), (2, 0, 3), (4, 3), (4,))
row("linear/vector", lambda L, x, w, b: L.linear(x, w, b), (3,), (4, 3), (4,))
row("linear/batches", lambda L, x, w, b: L.linear(x, w, b), (2, 5, 3), (4, 3), (4,))
