"""Rows of the table for the ops outside the reading path: products, selecting, tiling, sorting, resampling, losses."""

import numpy as np
from pytorch_rows import ROWS, apart, positive
from pytorch_table import row

__all__ = ["ROWS"]

CUBE, SQUARE, IMAGE = (2, 3, 4), (3, 4), (2, 2, 3, 4)
ROWS_OF_INDICES, PLACES = [2, 0, 2, 1], [[0, 2, 2, 1], [0, 1, 0, 1]]
DISTINCT = [[0, 2, 2, 1], [1, 1, 0, 0]]
MASK = [[True, False, True, True], [False, True, False, True], [True, True, False, False]]

# ---------------------------------------------------------------- products

for name, shapes in {
    "mm": ((3, 4), (4, 2)),
    "bmm": ((2, 3, 4), (2, 4, 2)),
    "mv": ((3, 4), (4,)),
    "dot": ((4,), (4,)),
    "outer": ((3,), (4,)),
}.items():
    row(name, lambda L, a, b, n=name: getattr(L, n)(a, b), *shapes)
for equation, shapes in {
    "ij,jk->ik": ((3, 4), (4, 2)),
    "ij,kj": ((3, 4), (2, 4)),
    "bij,bkj,b->kbi": ((2, 3, 4), (2, 2, 4), (2,)),
    "iij->ji": ((3, 3, 2),),
    "...i,i...->...": ((2, 3), (3, 2)),
    "i,j->": ((3,), (2,)),
}.items():
    row(f"einsum/{equation}", lambda L, *xs, e=equation: L.einsum(e, *xs), *shapes)

# ---------------------------------------------------------------- selecting

row("index_select", lambda L, x, i: L.index_select(x, 1, i), (2, 3), constants=(ROWS_OF_INDICES,))
row("index_add", lambda L, x, y, i: L.index_add(x, 1, i, y, alpha=2), (2, 3), (2, 4), constants=(ROWS_OF_INDICES,))
row("scatter", lambda L, x, y, i: L.scatter(x, 0, i, y), SQUARE, (2, 4), constants=(DISTINCT,))
row("scatter/number", lambda L, x, i: L.scatter(x, 0, i, 2.0), SQUARE, constants=(PLACES,))
row("scatter_add", lambda L, x, y, i: L.scatter_add(x, 0, i, y), SQUARE, (2, 4), constants=(PLACES,))
for reduce in "sum prod mean amax amin".split():
    for kept in (True, False):
        row(f"scatter_reduce/{reduce}_{kept}",
            lambda L, x, y, i, r=reduce, k=kept: L.scatter_reduce(x, 0, i, y, r, include_self=k),
            SQUARE, (2, 4), constants=(PLACES,), make=apart)  # fmt: skip
for reduce in ("prod", "amin"):
    row(f"scatter_reduce/{reduce}_many",
        lambda L, x, y, i, r=reduce: L.scatter_reduce(x, 0, i, y, r, include_self=False), (2,), (7,),
        constants=([0, 1, 0, 0, 1, 0, 0],))  # fmt: skip
for reduce in ("amax", "amin"):
    row(f"scatter_reduce/{reduce}_ties", lambda L, x, y, i, r=reduce: L.scatter_reduce(x, 0, i, y, r), [2.0, 1.0],
        [2.0, 2.0, 1.0, -1.0, -1.0], constants=([0, 0, 0, 1, 1],), order=1)  # fmt: skip
    row(f"scatter_reduce/{reduce}_nan", lambda L, x, y, i, r=reduce: L.scatter_reduce(x, 0, i, y, r), [2.0, np.nan],
        [np.nan, 1.0, np.inf], constants=([0, 0, 1],), order=0)  # fmt: skip
row("scatter/add", lambda L, x, i: L.scatter(x, 0, i, 2.0, reduce="add"), SQUARE, constants=(PLACES,), order=0)
row(
    "scatter/multiply", lambda L, x, i: L.scatter(x, 0, i, 2.0, reduce="multiply"), SQUARE, constants=(PLACES,), order=0
)
row("masked_fill", lambda L, x, m: L.masked_fill(x, m, -np.inf), SQUARE, constants=(MASK,))
row("masked_select", lambda L, x, m: L.masked_select(x, m), (4,), constants=(MASK,))
row("nonzero", lambda L, x: L.nonzero(x > 0), SQUARE, order=0)
for offset in (0, 1, -2, 9):
    row(f"diagonal/{offset}", lambda L, x, k=offset: L.diagonal(x, k, 0, -1), CUBE, order=2 if offset < 9 else 1)
row("diag", lambda L, x: L.diag(x, -1), (3,))
row("diag/matrix", lambda L, x: L.diag(x, 1), SQUARE)

# ---------------------------------------------------------------- tiling and sorting

TILING = {
    "t": lambda L, x: L.t(x[0]),
    "mT": lambda L, x: x.mT,
    "repeat": lambda L, x: x.repeat(2, 1, 3, 1),
    "repeat/none": lambda L, x: x.repeat(2, 0, 3),
    "tile": lambda L, x: L.tile(x, (2, 1)),
    "repeat_interleave": lambda L, x: L.repeat_interleave(x, 2, 1),
    "repeat_interleave/flat": lambda L, x: L.repeat_interleave(x, 3),
    "roll": lambda L, x: L.roll(x, (1, -2), (0, 2)),
    "roll/flat": lambda L, x: L.roll(x, -29),
    "narrow": lambda L, x: L.narrow(x, 2, -3, 2),
    "unbind": lambda L, x: L.unbind(x, 1),
    "tril": lambda L, x: L.tril(x, -1),
    "triu": lambda L, x: L.triu(x, 1),
}
for name, call in TILING.items():
    row(name, call, CUBE)
row("repeat_interleave/each", lambda L, x, n: L.repeat_interleave(x, n, 1), CUBE, constants=([0, 2, 1],))
for indexing in ("ij", "xy"):
    row(f"meshgrid/{indexing}", lambda L, x, y, i=indexing: L.meshgrid(x, y, indexing=i), (3,), (2,))
for name, options in {"sort": {}, "sort/descending": dict(dim=0, descending=True)}.items():
    row(name, lambda L, x, o=options: tuple(L.sort(x, **o)), SQUARE, make=apart)
row("sort/nan", lambda L, x: tuple(L.sort(x, descending=True)), [1.0, np.nan, -np.inf, 3.0], order=1)
row("topk", lambda L, x: tuple(L.topk(x, 2)), SQUARE, make=apart)
row("topk/smallest", lambda L, x: tuple(L.topk(x, 2, 0, largest=False)), SQUARE, make=apart)
row("median", lambda L, x: L.median(x), SQUARE, make=apart)
row("median/dim", lambda L, x: tuple(L.median(x, 1, keepdim=True)), SQUARE, make=apart)
row("median/nan", lambda L, x: L.median(x), [1.0, np.nan, 3.0, 0.0], order=1)

# ---------------------------------------------------------------- arithmetic that rounds

SIGNS = [-7.3, 7.3, -0.4, 0.4], [2.0, -2.0, 3.0, -3.0]
for name in "remainder fmod atan2".split():
    row(name, lambda L, x, y, n=name: getattr(L, n)(x, y), *SIGNS)
row("remainder/operator", lambda L, x: (x % 3, x // 3), SIGNS[0], order=0)
row("floor_divide", lambda L, x, y: L.floor_divide(x, y), *SIGNS, order=0)
row("trunc", lambda L, x: L.trunc(x), [-1.5, -0.4, 0.0, 0.5, 2.5], order=1)
row("cumprod", lambda L, x: L.cumprod(x, 1), SQUARE)
row("cumprod/zeros", lambda L, x: L.cumprod(x, 0), [2.0, 0.0, 3.0, 0.0, 1.0])
row("isclose", lambda L, x: L.isclose(x, x * (1 + 1e-6)), SQUARE, order=0)

# ---------------------------------------------------------------- resampling

for name, shape, options in [
    ("nearest", IMAGE, dict(size=(5, 3))),
    ("nearest/scale", IMAGE, dict(scale_factor=1.6)),
    ("nearest-exact", (1, 2, 5), dict(size=3, mode="nearest-exact")),
    ("linear", (2, 2, 4), dict(size=7, mode="linear")),
    ("bilinear", IMAGE, dict(size=(5, 3), mode="bilinear")),
    ("bilinear/corners", IMAGE, dict(scale_factor=2, mode="bilinear", align_corners=True)),
    ("bicubic", IMAGE, dict(scale_factor=1.6, mode="bicubic")),
    ("bicubic/ratio", IMAGE, dict(scale_factor=1.6, mode="bicubic", recompute_scale_factor=True)),
    ("area", IMAGE, dict(size=(2, 3), mode="area")),
    ("bilinear/smooth", (1, 2, 9, 7), dict(size=(4, 3), mode="bilinear", antialias=True)),
    ("bilinear/smooth_larger", (1, 2, 3, 7), dict(size=(5, 3), mode="bilinear", antialias=True)),
    ("bilinear/smooth_corners", (1, 2, 9, 7), dict(size=(4, 3), mode="bilinear", antialias=True, align_corners=True)),
    ("bicubic/smooth", (1, 2, 9, 7), dict(scale_factor=0.45, mode="bicubic", antialias=True)),
    ("bicubic/smooth_corners", (1, 2, 9, 7), dict(size=(3, 4), mode="bicubic", antialias=True, align_corners=True)),
]:
    row(f"interpolate/{name}", lambda L, x, o=options: L.interpolate(x, **o), shape)
row("pixel_shuffle", lambda L, x: L.pixel_shuffle(x, 2), (2, 8, 2, 3))
row("pixel_unshuffle", lambda L, x: L.pixel_unshuffle(x, 2), (2, 2, 4, 6))


def places(rng, shape):
    """Images as they come; for a grid (N, OH, OW, 2) places in and around them, off the lattice."""
    return rng.uniform(-1.4, 1.4, shape) if shape[-1] == 2 else rng.standard_normal(shape)


for mode in "bilinear nearest bicubic".split():
    for padding in "zeros border reflection".split():
        for corners in (False, True):
            options = dict(mode=mode, padding_mode=padding, align_corners=corners)
            row(f"grid_sample/{mode}_{padding}_{corners}", lambda L, x, g, o=options: L.grid_sample(x, g, **o),
                IMAGE, (2, 3, 2, 2), order=1, make=places)  # fmt: skip

# ---------------------------------------------------------------- attention, activations, losses, normalisation

QKV = (2, 3, 4), (2, 5, 4), (2, 5, 2)
row("scaled_dot_product_attention", lambda L, *x: L.scaled_dot_product_attention(*x), *QKV)
row("scaled_dot_product_attention/causal",
    lambda L, *x: L.scaled_dot_product_attention(*x, is_causal=True, scale=0.3), *QKV)  # fmt: skip
row("scaled_dot_product_attention/mask", lambda L, q, k, v, m: L.scaled_dot_product_attention(q, k, v, m), *QKV,
    constants=([[True, True, False, True, False]] * 3,))  # fmt: skip
row("embedding", lambda L, w, i: L.embedding(i, w, padding_idx=-3), (4, 2), constants=([[0, 1], [1, 3]],))
for name, points in {
    "relu6": [-1.0, 0.0, 3.0, 6.0, 7.0],
    "hardtanh": [-2.0, -1.0, 0.0, 1.0, 2.0],
    "hardswish": [-4.0, -3.0, 0.0, 3.0, 4.0],
    "selu": [-2.0, 0.0, 2.0],
    "glu": [-2.0, 0.0, 2.0, 1.0],
}.items():
    row(name, lambda L, x, n=name: getattr(L, n)(x), points, order=1)
    row(f"{name}/act", lambda L, x, n=name: getattr(L, n)(x), SQUARE, make=apart)
row("prelu", lambda L, x, w: L.prelu(x, w), CUBE, (3,), make=apart)
row("prelu/one", lambda L, x, w: L.prelu(x, w), CUBE, (1,), make=apart)
for reduction in ("mean", "sum", "none"):
    row(f"smooth_l1_loss/{reduction}", lambda L, x, y, r=reduction: L.smooth_l1_loss(x, y, reduction=r, beta=0.7),
        SQUARE, SQUARE)  # fmt: skip
    row(f"huber_loss/{reduction}", lambda L, x, y, r=reduction: L.huber_loss(x, y, reduction=r, delta=0.7),
        SQUARE, SQUARE)  # fmt: skip
row("smooth_l1_loss/zero", lambda L, x, y: L.smooth_l1_loss(x, y, beta=0.0), SQUARE, SQUARE)
CHANCE = dict(make=lambda rng, shape: rng.uniform(0.1, 0.9, shape))
row("binary_cross_entropy", lambda L, x, t: L.binary_cross_entropy(x, t), SQUARE, SQUARE, **CHANCE)
row("binary_cross_entropy/certain", lambda L, x: L.binary_cross_entropy(x, x.detach()), [0.0, 1.0, 0.5], order=0)
for reduction in ("mean", "batchmean", "none"):
    row(f"kl_div/{reduction}", lambda L, x, t, r=reduction: L.kl_div(x, t, reduction=r), SQUARE, SQUARE, make=positive)
row("kl_div/log_target", lambda L, x, t: L.kl_div(x, t, log_target=True), SQUARE, SQUARE)
row("cosine_similarity", lambda L, x, y: L.cosine_similarity(x, y), SQUARE, (1, 4))
row("normalize", lambda L, x: L.normalize(x, p=3.0, dim=0), SQUARE, make=positive)
row("rms_norm", lambda L, x, w: L.rms_norm(x, (3, 4), w, 1e-3), CUBE, SQUARE)

# ---------------------------------------------------------------- sequences

LINE = (2, 3, 7)
row("conv1d", lambda L, x, w, b: L.conv1d(x, w, b, 2, 1), LINE, (4, 3, 3), (4,))
row("conv1d/same", lambda L, x, w: L.conv1d(x, w, padding="same", dilation=2, groups=3), LINE, (3, 1, 3))
row("conv1d/one", lambda L, x, w: L.conv1d(x, w), (3, 7), (4, 3, 3))
row("conv_transpose1d", lambda L, x, w, b: L.conv_transpose1d(x, w, b, 2, 1, 1), (2, 3, 4), (3, 2, 3), (2,))
POOLS = {
    "max_pool1d": lambda L, x: L.max_pool1d(x, 3, 2, 1),
    "max_pool1d/indices": lambda L, x: L.max_pool1d(x, 3, 2, 1, 1, True, True),
    "avg_pool1d": lambda L, x: L.avg_pool1d(x, 3, 2, 1, True, False),
    "adaptive_avg_pool1d": lambda L, x: L.adaptive_avg_pool1d(x, 3),
    "adaptive_max_pool1d": lambda L, x: L.adaptive_max_pool1d(x, 3),
}
for name, call in POOLS.items():
    row(name, call, LINE, make=apart)
