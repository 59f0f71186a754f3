"""Cases for the ops outside the reading path: products by name, sorting, scattering, tiling, resampling, attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.gradcheck.case import Case, apart, away_from_zero, both, normal, uniform
from minidl.ops import (
    activations,
    attention,
    embedding,
    objectives,
    products,
    remainders,
    resampling,
    rescaling,
    sampling,
    scattering,
    selecting,
    sequences,
    sorting,
    tiling,
)
from minidl.random import get_rng_state, manual_seed, set_rng_state
from minidl.tensor import Tensor

LINEAR = ((0, 0),)
SUM = ((0, 0), (0, 1), (1, 1))
PRODUCT = ((0, 0), (1, 1))
CUBE, SQUARE, IMAGE = normal((2, 3, 4)), normal((3, 4)), normal((2, 2, 3, 4))


def linear(name: str, function: Callable[..., Any], reference: Any = None, make: Callable[..., Any] = CUBE) -> Case:
    """A case for a linear op."""
    return Case(name, function, make, zero_blocks=LINEAR, reference=reference)


def product(name: str, function: Callable[..., Any], reference: Any, *shapes: Any) -> Case:
    """A case for a product of two inputs, linear in each."""
    return Case(name, function, normal(*shapes), zero_blocks=PRODUCT, reference=reference)


def einsum(equation: str, *shapes: Any, zero_blocks: Any = PRODUCT) -> Case:
    """A case for one equation, which NumPy reads alike."""
    return Case(f"einsum/{equation}", lambda *xs: products.einsum(equation, *xs), normal(*shapes),
                zero_blocks=zero_blocks, reference=lambda *xs: np.einsum(equation, *xs))


PRODUCTS = [
    product("mm", products.mm, np.matmul, (3, 4), (4, 2)),
    product("bmm", products.bmm, np.matmul, (2, 3, 4), (2, 4, 2)),
    product("mv", products.mv, np.matmul, (3, 4), (4,)),
    product("dot", products.dot, np.dot, (4,), (4,)),
    product("outer", products.outer, np.outer, (3,), (4,)),
    einsum("ij,jk->ik", (3, 4), (4, 2)),
    einsum("bij,bkj->kbi", (2, 3, 4), (2, 2, 4)),
    einsum("i,ij,j->", (3,), (3, 4), (4,), zero_blocks=PRODUCT + ((2, 2),)),
    einsum("iij->ji", (3, 3, 2), zero_blocks=LINEAR),
    einsum("...i,i...->...", (2, 3), (3, 2)),
]

INDEX = Tensor(np.array([2, 0, 2, 1]))
PLACES = Tensor(np.array([[0, 2, 2, 1], [0, 1, 0, 1]]))  # two to one place in the first column and the last
DISTINCT = Tensor(np.array([[0, 2, 2, 1], [1, 1, 0, 0]]))
MASK = Tensor(np.array([[True, False, True], [False, True, True]]))


def reduced(name: str, include_self: bool) -> Callable[..., Any]:
    """`scatter_reduce` of (3, 4) and (2, 4) at `PLACES`."""
    return lambda x, y: scattering.scatter_reduce(x, 0, PLACES, y, name, include_self=include_self)


REDUCE: dict[str, Any] = {"sum": np.sum, "mean": np.mean, "prod": np.prod, "amax": np.max, "amin": np.min}


def _gathered(x, y, name, include_self):
    """The result of `reduced`: the elements that go to each place as a list, reduced by NumPy."""
    result = x.copy()
    for i, j in np.ndindex(x.shape):
        there = list(y[PLACES.data[:, j] == i, j])
        if there:
            result[i, j] = REDUCE[name](there + [x[i, j]] * include_self)
    return result


SELECTING = [
    linear("index_select", lambda x: selecting.index_select(x, 1, INDEX), lambda x: x[:, INDEX.data]),
    Case("index_add", lambda x, y: selecting.index_add(x, 1, INDEX, y, alpha=2), normal((2, 3), (2, 4)),
         zero_blocks=SUM, reference=lambda x, y: _added(x, (slice(None), INDEX.data), 2 * y)),
    Case("scatter", lambda x, y: scattering.scatter(x, 0, DISTINCT, y), normal((3, 4), (2, 4)), zero_blocks=SUM,
         reference=lambda x, y: _written(x, (DISTINCT.data, np.arange(4)), y)),
    linear("scatter/number", lambda x: scattering.scatter(x, 0, PLACES, 2.0),
           lambda x: _written(x, (PLACES.data, np.arange(4)), 2.0), SQUARE),
    Case("scatter/last", lambda x, y: scattering.scatter(x, 0, Tensor(np.array([1, 1, 0])), y), normal((3,), (3,)),
         zero_blocks=SUM, reference=lambda x, y: np.array([y[2], y[1], x[2]])),
    Case("scatter_add", lambda x, y: scattering.scatter_add(x, 0, PLACES, y), normal((3, 4), (2, 4)), zero_blocks=SUM,
         reference=lambda x, y: _added(x, (PLACES.data, np.arange(4)), y)),
    *[Case(f"scatter_reduce/{name}_{kept}", reduced(name, kept), both(apart((3, 4)), apart((2, 4))), zero_blocks=blocks,
           reference=lambda x, y, name=name, kept=kept: _gathered(x, y, name, kept))
      for name, blocks in (("sum", SUM), ("mean", SUM), ("amax", SUM), ("amin", SUM), ("prod", ((0, 0),)))
      for kept in (True, False)],
    Case("scatter_reduce/zeros",
         lambda x, y: scattering.scatter_reduce(x, 0, Tensor(np.array([1, 1, 0, 1, 1])), y, "prod"),
         lambda rng: [np.array([2.0, 0.5]), np.array([3.0, 0.0, 4.0, 0.0, 1.5])], zero_blocks=((0, 0),),
         reference=lambda x, y: np.array([8.0, 0.0])),
    linear("scatter/add", lambda x: scattering.scatter(x, 0, PLACES, 2.0, reduce="add"),
           lambda x: _added(x, (PLACES.data, np.arange(4)), 2.0), SQUARE),
    linear("scatter/multiply", lambda x: scattering.scatter(x, 0, DISTINCT, 2.0, reduce="multiply"),
           lambda x: _written(x, (DISTINCT.data, np.arange(4)), 2 * x[DISTINCT.data, np.arange(4)]), SQUARE),
    linear("masked_fill", lambda x: selecting.masked_fill(x, MASK, 2.0), lambda x: np.where(MASK.data, 2.0, x),
           normal((2, 3))),
    linear("masked_select", lambda x: selecting.masked_select(x, MASK), lambda x: x[MASK.data], normal((2, 3))),
    linear("diagonal", lambda x: selecting.diagonal(x, 1, 0, 2), lambda x: np.diagonal(x, 1, 0, 2)),
    linear("diag", lambda x: selecting.diag(x, -1), lambda x: np.diag(x, -1), normal((3,))),
    linear("diag/matrix", selecting.diag, np.diag, SQUARE),
]


def _added(x, index, values):
    x = x.copy()
    np.add.at(x, index, values)
    return x


def _written(x, index, values):
    x = x.copy()
    x[index] = values
    return x


TILING = [
    linear("t", tiling.t, np.transpose, SQUARE),
    linear("mT", lambda x: x.mT, lambda x: x.swapaxes(-1, -2)),
    linear("repeat", lambda x: tiling.repeat(x, 2, 1, 3), lambda x: np.tile(x, (2, 1, 3)), SQUARE),
    linear("tile", lambda x: tiling.tile(x, 2), lambda x: np.tile(x, 2), SQUARE),
    linear("repeat_interleave", lambda x: tiling.repeat_interleave(x, 2, 1), lambda x: np.repeat(x, 2, 1)),
    linear("repeat_interleave/each", lambda x: tiling.repeat_interleave(x, Tensor(np.array([0, 2, 1])), 1),
           lambda x: np.repeat(x, [0, 2, 1], 1)),
    linear("roll", lambda x: tiling.roll(x, (1, -2), (0, 2)), lambda x: np.roll(x, (1, -2), (0, 2))),
    linear("roll/flat", lambda x: tiling.roll(x, 5), lambda x: np.roll(x, 5)),
    linear("narrow", lambda x: tiling.narrow(x, 2, 1, 2), lambda x: x[..., 1:3]),
    linear("unbind", lambda x: tiling.unbind(x, 1), lambda x: (x[:, 0], x[:, 1], x[:, 2])),
    linear("tril", lambda x: tiling.tril(x, -1), lambda x: np.tril(x, -1)),
    linear("triu", lambda x: tiling.triu(x, 1), lambda x: np.triu(x, 1)),
    Case("meshgrid", lambda x, y: tiling.meshgrid(x, y, indexing="xy"), normal((3,), (2,)), zero_blocks=SUM,
         reference=lambda x, y: tuple(np.meshgrid(x, y))),
]

SORTING = [
    linear("sort", lambda x: sorting.sort(x, 1, descending=True).values, lambda x: -np.sort(-x, 1), apart((2, 4))),
    linear("topk", lambda x: sorting.topk(x, 2, 0).values, lambda x: -np.sort(-x, 0)[:2], apart((4, 3))),
    linear("median", sorting.median, lambda x: np.sort(x, None)[2], apart((2, 3))),
    linear("median/dim", lambda x: sorting.median(x, 1, keepdim=True).values, lambda x: np.median(x, 1, keepdims=True),
           apart((2, 3))),
]


def _apart_from_whole(rng):
    """Dividends and divisors of both signs whose quotients are no whole numbers, nor near one."""
    b = rng.choice([-1.0, 1.0], (2, 3)) * rng.uniform(0.5, 1.5, (2, 3))
    return [b * (rng.integers(-3, 3, (2, 3)) + rng.uniform(0.2, 0.8, (2, 3))), b]


REMAINDERS = [
    Case("remainder", remainders.remainder, _apart_from_whole, zero_blocks=SUM, reference=np.remainder),
    Case("fmod", remainders.fmod, _apart_from_whole, zero_blocks=SUM, reference=np.fmod),
    Case("floor_divide", remainders.floor_divide, _apart_from_whole, order=1, zero=(0, 1), reference=np.floor_divide),
    Case("trunc", remainders.trunc, uniform(-0.9, -0.1, (2, 3)), order=1, zero=(0,), reference=np.trunc),
    Case("atan2", remainders.atan2, away_from_zero((2, 3), (3,)), reference=np.arctan2),
    Case("cumprod", lambda x: remainders.cumprod(x, 1), SQUARE, reference=lambda x: np.cumprod(x, 1)),
    Case("cumprod/zero", lambda x: remainders.cumprod(x, 0), lambda rng: [np.array([2.0, 0.0, -3.0, 1.5])],
         reference=np.cumprod),
]


def resized(mode: str, *shape: Any, **options: Any) -> Case:
    """A case of `interpolate`."""
    name = "_".join(["interpolate/" + mode, *(str(value) for value in options.values())]).replace(" ", "")
    return linear(name, lambda x: resampling.interpolate(x, mode=mode, **options), make=normal(shape))


def sampled(mode: str, padding_mode: str, align_corners: bool = False) -> Case:
    """A case of `grid_sample` whose places stay off the lattice, where the weights have kinks."""
    def make(rng):
        positions = rng.integers(-2, 5, (2, 2, 3, 2)) + rng.uniform(0.1, 0.4, (2, 2, 3, 2))
        lengths = np.array([4, 3])
        places = 2 * positions / (lengths - 1) - 1 if align_corners else (2 * positions + 1) / lengths - 1
        return [rng.standard_normal((2, 2, 3, 4)), places]

    def function(x, grid):
        return sampling.grid_sample(x, grid, mode, padding_mode, align_corners)

    blocks = ((0, 0), (0, 1), (1, 1)) if mode == "nearest" else ((0, 0),)
    return Case(f"grid_sample/{mode}_{padding_mode}", function, make, zero_blocks=blocks,
                zero=(1,) if mode == "nearest" else ())


RESAMPLING = [
    resized("nearest", 2, 2, 3, 4, size=(5, 3)),
    resized("nearest-exact", 1, 2, 4, scale_factor=1.7),
    resized("linear", 2, 2, 4, size=7),
    resized("bilinear", 1, 2, 3, 4, size=(5, 3)),
    resized("bilinear", 1, 2, 3, 4, scale_factor=2, align_corners=True),
    resized("bicubic", 1, 2, 3, 4, scale_factor=1.6),
    resized("area", 1, 2, 5, 4, size=(2, 3)),
    resized("bilinear", 1, 2, 7, 4, size=(3, 5), antialias=True),
    resized("bicubic", 1, 2, 7, 9, scale_factor=0.4, antialias=True),
    linear("pixel_shuffle", lambda x: resampling.pixel_shuffle(x, 2), make=normal((2, 8, 2, 3))),
    linear("pixel_unshuffle", lambda x: resampling.pixel_unshuffle(x, 2), make=normal((2, 2, 4, 6))),
    sampled("bilinear", "zeros"),
    sampled("bilinear", "reflection", align_corners=True),
    sampled("bicubic", "border"),
    sampled("nearest", "zeros"),
]

QKV = normal((2, 3, 4), (2, 5, 4), (2, 5, 2))
SEEN = Tensor(np.array([[True, True, False, True, False], [True] * 5, [False] * 5]))
ATTENTION = [
    Case("scaled_dot_product_attention", attention.scaled_dot_product_attention, QKV, zero_blocks=((2, 2),)),
    Case("scaled_dot_product_attention/causal",
         lambda *x: attention.scaled_dot_product_attention(*x, is_causal=True, scale=0.3), QKV, zero_blocks=((2, 2),)),
    Case("scaled_dot_product_attention/mask",
         lambda *x: attention.scaled_dot_product_attention(*x, attn_mask=SEEN), QKV, zero_blocks=((2, 2),)),
    linear("embedding", lambda w: embedding.embedding(INDEX, w), lambda w: w[INDEX.data], normal((4, 2))),
]

PAIR, CHANCES = apart((3, 4), (3, 4)), uniform(0.1, 0.9, (3, 4), (3, 4))
OBJECTIVES = [
    Case("smooth_l1_loss", lambda x, y: objectives.smooth_l1_loss(x, y, beta=0.18), PAIR,
         reference=lambda x, y: _huber(x - y, 0.18).mean() / 0.18),
    Case("huber_loss", lambda x, y: objectives.huber_loss(x, y, "sum", 0.18), PAIR,
         reference=lambda x, y: _huber(x - y, 0.18).sum()),
    Case("binary_cross_entropy", objectives.binary_cross_entropy, CHANCES, zero_blocks=((1, 1),),
         reference=lambda x, t: -(t * np.log(x) + (1 - t) * np.log(1 - x)).mean()),
    Case("kl_div", lambda x, t: objectives.kl_div(x, t, reduction="batchmean"),
         both(normal((3, 4)), uniform(0.1, 0.9, (3, 4))), zero_blocks=((0, 0),),
         reference=lambda x, t: (t * (np.log(t) - x)).sum() / 3),
    Case("kl_div/log_target", lambda x, t: objectives.kl_div(x, t, log_target=True), normal((3, 4), (3, 4)),
         zero_blocks=((0, 0),), reference=lambda x, t: (np.exp(t) * (t - x)).mean()),
    Case("cosine_similarity", objectives.cosine_similarity, normal((3, 4), (3, 4)),
         reference=lambda a, b: (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)),
    Case("normalize", objectives.normalize, normal((3, 4)), reference=lambda x: x / np.linalg.norm(x, axis=1)[:, None]),
]


def _huber(d, delta):
    return np.where(np.abs(d) < delta, d * d / 2, delta * (np.abs(d) - delta / 2))


SATURATING = [
    linear("hardtanh", lambda x: activations.hardtanh(x, -0.52, 0.52), lambda x: np.clip(x, -0.52, 0.52),
           apart((5, 6))),
    linear("relu6", lambda x: activations.relu6(10 * x), lambda x: np.clip(10 * x, 0, 6), apart((5, 6))),
    Case("hardswish", lambda x: activations.hardswish(5 * x), apart((5, 6)),
         reference=lambda x: 5 * x * np.clip(5 * x + 3, 0, 6) / 6),
    Case("selu", activations.selu, away_from_zero((3, 4)),
         reference=lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    Case("prelu", activations.prelu, away_from_zero((2, 3, 2), (3,)), zero_blocks=PRODUCT,
         reference=lambda x, w: np.where(x > 0, x, w[:, None] * x)),
    Case("glu", lambda x: activations.glu(x, 1), normal((2, 4)),
         reference=lambda x: x[:, :2] / (1 + np.exp(-x[:, 2:]))),
]

LINE = apart((2, 3, 7))
SEQUENCES = [
    Case("conv1d", lambda x, w, b: sequences.conv1d(x, w, b, stride=2, padding=1), normal((2, 3, 7), (4, 3, 3), (4,)),
         zero_blocks=PRODUCT + ((2, 2), (0, 2), (1, 2))),
    Case("conv_transpose1d", lambda x, w: sequences.conv_transpose1d(x, w, stride=2, output_padding=1),
         normal((2, 3, 4), (3, 2, 3)), zero_blocks=PRODUCT),
    linear("max_pool1d", lambda x: sequences.max_pool1d(x, 3, 2, 1), make=LINE),
    linear("avg_pool1d", lambda x: sequences.avg_pool1d(x, 3, 2, 1), make=LINE),
    linear("adaptive_avg_pool1d", lambda x: sequences.adaptive_avg_pool1d(x, 3), make=LINE),
    linear("adaptive_max_pool1d", lambda x: sequences.adaptive_max_pool1d(x, 3), make=LINE),
]


def _dropped(x):
    """With the same channels dropped every time."""
    state = get_rng_state()
    manual_seed(3)
    y = rescaling.dropout2d(x, 0.4)
    set_rng_state(state)
    return y


RESCALING = [
    Case("rms_norm", lambda x, w: rescaling.rms_norm(x, (4,), w, 1e-3), normal((3, 4), (4,)), zero_blocks=((1, 1),),
         reference=lambda x, w: x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-3) * w),
    Case("instance_norm", lambda *x: rescaling.instance_norm_train(*x)[0], normal((2, 3, 4), (3,), (3,)),
         zero_blocks=((1, 1), (1, 2), (2, 2))),
    linear("dropout2d", _dropped, make=IMAGE),
]

ROWS_OF_EVERYDAY = [
    *PRODUCTS, *SELECTING, *TILING, *SORTING, *REMAINDERS, *RESAMPLING, *ATTENTION, *OBJECTIVES, *SATURATING,
    *SEQUENCES, *RESCALING,
]  # fmt: skip
