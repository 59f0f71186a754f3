"""Cases for the ops of calculus: arithmetic, elementwise, reductions, shapes, indexing, products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import minidl as op
from minidl.backend import Array
from minidl.gradcheck.case import Case, apart, away_from_zero, both, normal, uniform
from minidl.tensor import Tensor

LINEAR = ((0, 0),)
SUM = ((0, 0), (0, 1), (1, 1))
PRODUCT = ((0, 0), (1, 1))
PAIR, SQUARE = normal((2, 3), (2, 3)), normal((3, 4))
MASK = np.array([[True, False, True], [False, True, True]])

ARITHMETIC = [
    Case("add", op.add, PAIR, zero_blocks=SUM, reference=np.add),
    Case("add/broadcast", op.add, normal((2, 3), (3,)), zero_blocks=SUM, reference=np.add),
    Case("add/alpha", lambda a, b: op.add(a, b, alpha=3), PAIR, zero_blocks=SUM, reference=lambda a, b: a + 3 * b),
    Case("sub", op.sub, PAIR, zero_blocks=SUM, reference=np.subtract),
    Case("sub/broadcast", op.sub, normal((3,), (2, 1)), zero_blocks=SUM, reference=np.subtract),
    Case("sub/reflected", lambda x: 2 - x, normal((4,)), zero_blocks=LINEAR, reference=lambda x: 2 - x),
    Case("mul", op.mul, PAIR, zero_blocks=PRODUCT, reference=np.multiply),
    Case("mul/broadcast", op.mul, normal((2, 1, 3), (4, 1)), zero_blocks=PRODUCT, reference=np.multiply),
    Case("mul/same", lambda x: x * x, normal((2, 3)), reference=np.square),
    Case("mul/scalar", op.mul, normal((), ()), zero_blocks=PRODUCT, reference=np.multiply),
    Case("div", op.div, both(normal((2, 3)), uniform(0.5, 2, (3,))), reference=np.divide),
    Case("div/reflected", lambda x: 3 / x, uniform(0.5, 2, (4,)), reference=lambda x: 3 / x),
    Case("pow", op.pow, uniform(0.5, 2, (2, 3), (2, 3)), reference=np.power),
    Case("pow/number", lambda x: x**3, normal((2, 3)), reference=lambda x: x**3),
    Case("pow/half", lambda x: x**-0.5, uniform(0.5, 2, (2, 3)), reference=lambda x: x**-0.5),
    Case("pow/base", lambda x: 2.0**x, normal((2, 3)), reference=np.exp2),
    Case("neg", op.neg, normal((2, 3)), zero_blocks=LINEAR, reference=np.negative),
    Case("maximum", op.maximum, apart((2, 3), (3,)), zero_blocks=SUM, reference=np.maximum),
    Case("minimum", op.minimum, apart((2, 3), (3,)), zero_blocks=SUM, reference=np.minimum),
    Case("where", lambda a, b: op.where(MASK, a, b), normal((2, 3), (3,)), zero_blocks=SUM,
         reference=lambda a, b: np.where(MASK, a, b)),
    Case("clamp", lambda x: x.clamp(-0.52, 0.52), apart((5, 6), gap=0.05), zero_blocks=LINEAR,
         reference=lambda x: np.clip(x, -0.52, 0.52)),
    Case("lerp", op.lerp, normal((2, 3), (2, 3), (2, 3)), reference=lambda a, b, w: a + w * (b - a)),
]


def gelu_by_tanh(x: Array) -> Array:
    """GELU when the normal distribution is approximated."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


ANYWHERE, INSIDE, POSITIVE = normal((2, 3)), uniform(-0.9, 0.9, (2, 3)), uniform(0.3, 3, (2, 3))
ERF = np.vectorize(math.erf, otypes=[float])
SMOOTH: dict[str, tuple[Callable[..., Any], Any]] = {
    "square": (ANYWHERE, np.square),
    "sqrt": (POSITIVE, np.sqrt),
    "rsqrt": (POSITIVE, lambda x: x**-0.5),
    "reciprocal": (POSITIVE, np.reciprocal),
    "exp": (ANYWHERE, np.exp),
    "expm1": (ANYWHERE, np.expm1),
    "log": (POSITIVE, np.log),
    "log1p": (INSIDE, np.log1p),
    "log2": (POSITIVE, np.log2),
    "log10": (POSITIVE, np.log10),
    "sin": (ANYWHERE, np.sin),
    "cos": (ANYWHERE, np.cos),
    "tan": (INSIDE, np.tan),
    "arctan": (ANYWHERE, np.arctan),
    "sinh": (ANYWHERE, np.sinh),
    "cosh": (ANYWHERE, np.cosh),
    "tanh": (ANYWHERE, np.tanh),
    "sigmoid": (away_from_zero((2, 3)), lambda x: 1 / (1 + np.exp(-x))),
    "softplus": (away_from_zero((2, 3)), lambda x: np.log(1 + np.exp(x))),
    "silu": (away_from_zero((2, 3)), lambda x: x / (1 + np.exp(-x))),
    "erf": (ANYWHERE, ERF),
    "gelu": (ANYWHERE, lambda x: 0.5 * x * (1 + ERF(x / np.sqrt(2)))),
    "logsigmoid": (away_from_zero((2, 3)), lambda x: -np.log(1 + np.exp(-x))),
    "elu": (away_from_zero((2, 3)), lambda x: np.where(x > 0, x, np.expm1(x))),
}
PIECEWISE: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
}
FLAT: dict[str, Callable[..., Any]] = {"sign": np.sign, "floor": np.floor, "ceil": np.ceil, "round": np.rint}

ELEMENTWISE = (
    [Case(name, getattr(op, name), make, reference=reference) for name, (make, reference) in SMOOTH.items()]
    + [Case(n, getattr(op, n), away_from_zero((3, 4)), zero_blocks=LINEAR, reference=r) for n, r in PIECEWISE.items()]
    + [Case("gelu/tanh", lambda x: op.gelu(x, "tanh"), ANYWHERE, reference=gelu_by_tanh)]
    + [Case(n, getattr(op, n), uniform(0.1, 0.4, (2, 3)), order=1, zero=(0,), reference=r) for n, r in FLAT.items()]
)

CUBE = normal((2, 3, 4))
REDUCTIONS = [
    Case("sum", op.sum, SQUARE, zero_blocks=LINEAR, reference=np.sum),
    Case("sum/axes", lambda x: x.sum((0, 2)), CUBE, zero_blocks=LINEAR, reference=lambda x: x.sum((0, 2))),
    Case("sum/keepdim", lambda x: x.sum(1, keepdim=True), CUBE, zero_blocks=LINEAR,
         reference=lambda x: x.sum(1, keepdims=True)),
    Case("mean", op.mean, SQUARE, zero_blocks=LINEAR, reference=np.mean),
    Case("mean/axis", lambda x: x.mean(-1), CUBE, zero_blocks=LINEAR, reference=lambda x: x.mean(-1)),
    Case("var", op.var, SQUARE, reference=lambda x: x.var(ddof=1)),
    Case("var/axis", lambda x: x.var(1, unbiased=False), CUBE, reference=lambda x: x.var(1)),
    Case("std", lambda x: x.std(1), CUBE, reference=lambda x: x.std(1, ddof=1)),
    Case("prod", op.prod, SQUARE, reference=np.prod),
    Case("prod/axis", lambda x: x.prod(1), CUBE, reference=lambda x: x.prod(1)),
    Case("prod/zero", op.prod, lambda rng: [np.array([2.0, 0.0, -3.0])], reference=np.prod),
    Case("amax", lambda x: x.amax((0, 1)), apart((2, 3, 4)), zero_blocks=LINEAR, reference=lambda x: x.max((0, 1))),
    Case("amin", lambda x: x.amin(1), apart((2, 3, 4)), zero_blocks=LINEAR, reference=lambda x: x.min(1)),
    Case("max", lambda x: x.max(1).values, apart((2, 3)), zero_blocks=LINEAR, reference=lambda x: x.max(1)),
    Case("min", lambda x: x.min(0).values, apart((2, 3)), zero_blocks=LINEAR, reference=lambda x: x.min(0)),
    Case("logsumexp", lambda x: x.logsumexp(1), CUBE, reference=lambda x: np.log(np.exp(x).sum(1))),
    Case("norm", op.norm, SQUARE, reference=lambda x: np.sqrt((x * x).sum())),
    Case("norm/p3", lambda x: x.norm(3, 1), away_from_zero((3, 4)),
         reference=lambda x: (np.abs(x) ** 3).sum(1) ** (1 / 3)),
    Case("norm/p1", lambda x: x.norm(1), away_from_zero((3, 4)), zero_blocks=LINEAR,
         reference=lambda x: np.abs(x).sum()),
    Case("norm/inf", lambda x: x.norm(np.inf), lambda rng: [np.array([[1.0, -3.0], [2.0, 0.5]])], zero_blocks=LINEAR,
         reference=lambda x: np.abs(x).max()),
    Case("cumsum", lambda x: x.cumsum(1), CUBE, zero_blocks=LINEAR, reference=lambda x: x.cumsum(1)),
]


def moving(name: str, function: Callable[..., Any], reference: Any, make: Callable[..., Any] = CUBE) -> Case:
    """A case for an op that moves elements about, and so is linear."""
    return Case(name, function, make, zero_blocks=LINEAR, reference=reference)


PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # and NumPy's names
SHAPES = [
    moving("reshape", lambda x: x.reshape(4, -1), lambda x: x.reshape(4, -1)),
    moving("view", lambda x: x.view(6, 4), lambda x: x.reshape(6, 4)),
    moving("flatten", lambda x: x.flatten(1), lambda x: x.reshape(2, 12)),
    moving("permute", lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    moving("transpose", lambda x: x.transpose(0, 2), lambda x: x.swapaxes(0, 2)),
    moving("squeeze", lambda x: x.squeeze(1), lambda x: x[:, 0], normal((2, 1, 3))),
    moving("unsqueeze", lambda x: x.unsqueeze(-1), lambda x: x[..., None]),
    moving("broadcast_to", lambda x: x.broadcast_to(2, 3, 4), lambda x: np.broadcast_to(x, (2, 3, 4)), normal((3, 1))),
    moving("expand", lambda x: x.expand(5, -1, 3), lambda x: np.broadcast_to(x, (5, 2, 3)), normal((2, 1))),
    moving("sum_to_size", lambda x: x.sum_to_size(3, 1), lambda x: x.sum((0, 2))[:, None]),
    moving("flip", lambda x: x.flip((0, 2)), lambda x: x[::-1, :, ::-1]),
    moving("pad", lambda x: x.pad((1, 2, 0, 1)), lambda x: np.pad(x, ((0, 0), (0, 1), (1, 2)))),
    *[moving(f"pad/{mode}", lambda x, mode=mode: x.pad((2, 1, 0, 2), mode),
             lambda x, name=name: np.pad(x, ((0, 0), (0, 2), (2, 1)), name)) for mode, name in PAD_MODES.items()],
    moving("pad/crop", lambda x: x.pad((-1, 1)), lambda x: np.pad(x[:, :, 1:], ((0, 0), (0, 0), (0, 1)))),
    Case("concat", lambda a, b: op.concat([a, b], 1), normal((2, 3), (2, 4)), zero_blocks=SUM,
         reference=lambda a, b: np.concatenate([a, b], 1)),
    Case("cat", lambda a, b: op.cat([a, b, a]), normal((2, 3), (1, 3)), zero_blocks=SUM,
         reference=lambda a, b: np.concatenate([a, b, a])),
    Case("stack", lambda a, b: op.stack([a, b], 1), PAIR, zero_blocks=SUM,
         reference=lambda a, b: np.stack([a, b], 1)),
    moving("split", lambda x: x.split([1, 3], 2), lambda x: (x[..., :1], x[..., 1:])),
    moving("chunk", lambda x: x.chunk(2, 1), lambda x: (x[:, :2], x[:, 2:])),
    moving("contiguous", lambda x: x.transpose(0, 2).contiguous(), lambda x: x.swapaxes(0, 2)),
    moving("clone", op.clone, np.copy),
    moving("astype", lambda x: x.astype(np.longdouble), np.longdouble),
    moving("to", lambda x: x.to(np.longdouble).to("cpu", np.float64), np.copy),
]

ROWS = np.array([0, 2, 0, 1, 0])
INDEXING = [
    moving("getitem/slice", lambda x: x[1:, ::2], lambda x: x[1:, ::2]),
    moving("getitem/negative", lambda x: x[..., ::-1, None], lambda x: x[..., ::-1, None]),
    moving("getitem/repeated", lambda x: x[ROWS], lambda x: x[ROWS], SQUARE),
    moving("getitem/pair", lambda x: x[ROWS, [1, 1, 1, 3, 0]], lambda x: x[ROWS, [1, 1, 1, 3, 0]], SQUARE),
    moving("getitem/mask", lambda x: x[MASK], lambda x: x[MASK], normal((2, 3))),
    moving("take_along_dim", lambda x: x.take_along_dim(Tensor(ROWS[None] % 3), 1),
           lambda x: np.take_along_axis(x, ROWS[None] % 3, 1), normal((1, 3))),
    moving("gather", lambda x: x.gather(0, Tensor(ROWS.reshape(5, 1))), lambda x: x[ROWS, :1], SQUARE),
    Case("setitem", lambda x, v: _assigned(x, v), normal((3, 4), (4,)), zero_blocks=SUM,
         reference=lambda x, v: np.stack([x[0], v, x[2]])),
]


def _assigned(x, value):
    y = x.clone()
    y[1] = value
    return y


def product(name: str, function: Callable[..., Any], reference: Any, *shapes: Any) -> Case:
    """A case for a product of two inputs, linear in each."""
    return Case(name, function, normal(*shapes), zero_blocks=PRODUCT, reference=reference)


MATMUL = [
    product("matmul", op.matmul, np.matmul, (3, 4), (4, 2)),
    product("matmul/vectors", op.matmul, np.matmul, (4,), (4,)),
    product("matmul/matrix_vector", op.matmul, np.matmul, (3, 4), (4,)),
    product("matmul/vector_matrix", op.matmul, np.matmul, (3,), (3, 4)),
    product("matmul/batch", op.matmul, np.matmul, (2, 3, 4), (2, 4, 2)),
    product("matmul/broadcast", op.matmul, np.matmul, (2, 1, 3, 4), (3, 4, 2)),
    product("linear", op.linear, lambda x, w: x @ w.T, (5, 3), (2, 3)),
    Case("linear/bias", op.linear, normal((2, 2, 3), (4, 3), (4,)), zero_blocks=PRODUCT + ((2, 2), (0, 2), (1, 2)),
         reference=lambda x, w, b: x @ w.T + b),
]

ROWS_OF_CALCULUS = ARITHMETIC + ELEMENTWISE + REDUCTIONS + SHAPES + INDEXING + MATMUL
