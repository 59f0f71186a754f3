"""The rest of the table: convolution, pooling, normalisation, losses. Importing it brings all rows."""

import numpy as np
import pytorch_rows_everyday  # noqa: F401 (adds its rows)
from pytorch_rows import ROWS, apart
from pytorch_table import row

__all__ = ["ROWS"]

# ---------------------------------------------------------------- convolution

CONVOLUTIONS = {  # input, weight, options
    "1x1": ((2, 3, 4, 5), (4, 3, 1, 1), {}),
    "1x1_stride": ((2, 3, 5, 4), (4, 3, 1, 1), dict(stride=2)),
    "1x1_padding": ((1, 2, 3, 3), (2, 2, 1, 1), dict(padding=1)),
    "3x3": ((2, 3, 5, 4), (4, 3, 3, 3), {}),
    "3x3_padding": ((2, 3, 5, 4), (4, 3, 3, 3), dict(padding=1)),
    "3x3_stride": ((2, 3, 6, 5), (4, 3, 3, 3), dict(stride=2, padding=1)),
    "5x5": ((1, 2, 6, 7), (3, 2, 5, 5), dict(padding=2)),
    "7x7_stride": ((1, 3, 11, 9), (2, 3, 7, 7), dict(stride=2, padding=3)),
    "pairs": ((1, 2, 6, 7), (3, 2, 2, 3), dict(stride=(1, 2), padding=(2, 0), dilation=(1, 2))),
    "same": ((1, 2, 5, 6), (3, 2, 3, 5), dict(padding="same")),
    "same_dilation": ((1, 2, 7, 6), (2, 2, 3, 3), dict(padding="same", dilation=2)),
    "valid": ((1, 2, 5, 6), (3, 2, 3, 3), dict(padding="valid")),
    "dilation": ((1, 2, 8, 7), (3, 2, 3, 3), dict(dilation=(2, 3), padding=2)),
    "groups": ((2, 4, 4, 4), (6, 2, 3, 3), dict(groups=2, padding=1)),
    "groups_1x1": ((2, 4, 3, 3), (6, 2, 1, 1), dict(groups=2)),
    "depthwise": ((1, 3, 5, 5), (6, 1, 3, 3), dict(groups=3, stride=2, padding=1)),
    "one_pixel": ((2, 3, 1, 1), (4, 3, 3, 3), dict(padding=1)),
    "stride_beyond": ((1, 2, 7, 7), (3, 2, 2, 2), dict(stride=3)),
    "padding_beyond": ((1, 2, 2, 2), (3, 2, 3, 3), dict(padding=3)),
    "line": ((2, 3, 1, 9), (4, 3, 1, 3), dict(padding=(0, 1))),
    "whole": ((2, 3, 4, 4), (5, 3, 4, 4), {}),
    "no_images": ((0, 3, 4, 4), (5, 3, 3, 3), dict(padding=1)),
    "no_images_1x1": ((0, 3, 4, 4), (5, 3, 1, 1), {}),
}
for name, (x, w, options) in CONVOLUTIONS.items():
    row(f"conv2d/{name}", lambda L, x, w, b, o=options: L.conv2d(x, w, b, **o), x, w, w[:1])
row("conv2d/no_bias", lambda L, x, w: L.conv2d(x, w, padding=1), (2, 3, 4, 4), (2, 3, 3, 3))

TRANSPOSED = {
    "plain": ((2, 3, 4, 3), (3, 2, 3, 3), {}),
    "stride": ((1, 3, 3, 4), (3, 2, 3, 3), dict(stride=2, padding=1, output_padding=1)),
    "pairs": ((1, 2, 3, 4), (2, 3, 2, 3), dict(stride=(1, 3), padding=(0, 1), output_padding=(0, 2))),
    "dilation": ((1, 2, 3, 3), (2, 2, 3, 2), dict(dilation=2)),
    "groups": ((1, 4, 3, 2), (4, 2, 2, 3), dict(groups=2, stride=2)),
    "depthwise": ((1, 3, 3, 3), (3, 1, 2, 2), dict(groups=3, stride=2)),
    "no_images": ((0, 3, 3, 3), (3, 2, 2, 2), dict(stride=2)),
}
for name, (x, w, options) in TRANSPOSED.items():
    outputs = (w[1] * options.get("groups", 1),)
    row(f"conv_transpose2d/{name}", lambda L, x, w, b, o=options: L.conv_transpose2d(x, w, b, **o), x, w, outputs)
row("unfold", lambda L, x: L.unfold(x, (2, 3), dilation=(1, 2), padding=1, stride=2), (2, 3, 5, 6))
row("fold", lambda L, x: L.fold(x, (4, 5), (2, 3), padding=(0, 1), stride=(1, 2)), (2, 18, 9))

# ---------------------------------------------------------------- pooling

IMAGE = (2, 3, 7, 6)
MAX_POOLS = {
    "2": dict(kernel_size=2),
    "3_2": dict(kernel_size=3, stride=2),
    "3_2_1": dict(kernel_size=3, stride=2, padding=1),
    "3_1_1": dict(kernel_size=3, stride=1, padding=1),
    "ceil": dict(kernel_size=3, stride=2, ceil_mode=True),
    "ceil_2": dict(kernel_size=2, stride=2, ceil_mode=True),
    "ceil_padding": dict(kernel_size=2, stride=3, padding=1, ceil_mode=True),
    "pairs": dict(kernel_size=(2, 3), stride=(1, 2), padding=(1, 0)),
    "dilation": dict(kernel_size=2, stride=1, dilation=(2, 3)),
    "dilation_ceil": dict(kernel_size=3, stride=2, padding=1, dilation=2, ceil_mode=True),
    "stride_beyond": dict(kernel_size=1, stride=2),
    "whole": dict(kernel_size=(7, 6)),
}
for name, options in MAX_POOLS.items():
    row(f"max_pool2d/{name}", lambda L, x, o=options: L.max_pool2d(x, **o), IMAGE, make=apart)
    row(f"max_pool2d/{name}_indices", lambda L, x, o=options: L.max_pool2d(x, **o, return_indices=True), IMAGE,
        order=1, make=apart)  # fmt: skip
for name, call in {
    "max_pool2d": lambda L, x: L.max_pool2d(x, 3, 2, 1),
    "avg_pool2d": lambda L, x: L.avg_pool2d(x, 3, 2, 1),
    "adaptive_avg_pool2d": lambda L, x: L.adaptive_avg_pool2d(x, 2),
    "local_response_norm": lambda L, x: L.local_response_norm(x, 3),
}.items():
    row(f"{name}/no_images", call, (0, 3, 5, 5))
NAN = np.where(np.arange(16) % 7 == 3, np.nan, np.arange(16.0)).reshape(1, 1, 4, 4)
row("max_pool2d/ties", lambda L, x: L.max_pool2d(x, 2), np.array([[[[1.0, 1, 2, 2], [1, 1, 0, 2]]]]))
row("max_pool2d/ties_overlapping", lambda L, x: L.max_pool2d(x, 3, 1, 1), np.ones((1, 1, 4, 4)))
row("max_pool2d/nan", lambda L, x: L.max_pool2d(x, 2), NAN, order=1)
row("max_pool2d/nan_overlapping", lambda L, x: L.max_pool2d(x, 3, 1, 1), NAN, order=1)
row("max_pool2d/infinite", lambda L, x: L.max_pool2d(x, 2, padding=1), np.full((1, 1, 2, 2), -np.inf), order=1)

AVERAGE_POOLS = {
    "2": dict(kernel_size=2),
    "3_2_1": dict(kernel_size=3, stride=2, padding=1),
    "3_1_1": dict(kernel_size=3, stride=1, padding=1, count_include_pad=False),
    "ceil": dict(kernel_size=3, stride=2, ceil_mode=True),
    "ceil_padding": dict(kernel_size=3, stride=2, padding=1, ceil_mode=True),
    "ceil_padding_without": dict(kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
    "ceil_2_3": dict(kernel_size=2, stride=3, padding=1, ceil_mode=True),
    "divisor": dict(kernel_size=3, stride=2, padding=1, divisor_override=5),
    "divisor_ceil": dict(kernel_size=2, ceil_mode=True, divisor_override=3, count_include_pad=False),
    "divisor_negative": dict(kernel_size=2, divisor_override=-2),
    "pairs": dict(kernel_size=(2, 3), stride=(1, 2), padding=(1, 0)),
    "whole": dict(kernel_size=(7, 6)),
}
for name, options in AVERAGE_POOLS.items():
    row(f"avg_pool2d/{name}", lambda L, x, o=options: L.avg_pool2d(x, **o), IMAGE)
for size in (1, 2, 3, 7, 9, (3, 2), (None, 1), (5, None)):
    row(f"adaptive_avg_pool2d/{size}".replace(" ", ""), lambda L, x, s=size: L.adaptive_avg_pool2d(x, s), IMAGE)
    row(f"adaptive_max_pool2d/{size}".replace(" ", ""), lambda L, x, s=size: L.adaptive_max_pool2d(x, s), IMAGE,
        make=apart)  # fmt: skip
row("adaptive_max_pool2d/indices", lambda L, x: L.adaptive_max_pool2d(x, (3, 4), return_indices=True), IMAGE,
    order=1, make=apart)  # fmt: skip
row("adaptive_max_pool2d/ties", lambda L, x: L.adaptive_max_pool2d(x, 2), np.ones((1, 1, 3, 3)))
row("adaptive_max_pool2d/nan", lambda L, x: L.adaptive_max_pool2d(x, 3), NAN, order=1)

# ---------------------------------------------------------------- normalisation


def batch_norm_training(L, x, *affine):
    if hasattr(L, "batch_norm_train"):
        return L.batch_norm_train(x, *affine, eps=1e-3)[0]
    return L.batch_norm(x, None, None, *affine, training=True, eps=1e-3)


def batch_norm_inference(L, x, mean, var, *affine):
    var = var * var  # positive
    if hasattr(L, "batch_norm_eval"):
        return L.batch_norm_eval(x, mean, var, *affine, eps=1e-3)
    mean, var = (s.reshape(1, -1, *[1] * (x.ndim - 2)) for s in (mean, var))
    y = (x - mean) / (var + 1e-3).sqrt()  # PyTorch gives its statistics no gradient
    return y if not affine else y * affine[0].reshape(mean.shape) + affine[1].reshape(mean.shape)


for x in ((6, 3), (4, 3, 5), (2, 3, 4, 5), (2, 16, 3, 3)):
    c = x[1:2]
    tag = "x".join(map(str, x))
    row(f"batch_norm_train/{tag}", batch_norm_training, x, c, c, tolerance=1e-9, single=1e-4)
    row(f"batch_norm_train/{tag}_plain", batch_norm_training, x, tolerance=1e-9, single=1e-4)
    row(f"batch_norm_eval/{tag}", batch_norm_inference, x, c, c, c, c, tolerance=1e-9, single=1e-4)
    row(f"batch_norm_eval/{tag}_plain", batch_norm_inference, x, c, c, tolerance=1e-9, single=1e-4)
row("layer_norm", lambda L, x, w, b: L.layer_norm(x, (5,), w, b), (2, 3, 5), (5,), (5,), tolerance=1e-9, single=1e-4)
row("layer_norm/two", lambda L, x, w, b: L.layer_norm(x, (3, 5), w, b, 1e-3), (2, 3, 5), (3, 5), (3, 5), single=1e-4)
row("layer_norm/plain", lambda L, x: L.layer_norm(x, (3, 5)), (2, 3, 5), tolerance=1e-9, single=1e-4)
for size in (1, 2, 3, 5, 9):
    row(f"local_response_norm/{size}", lambda L, x, s=size: L.local_response_norm(x, s, 0.3, 0.6, 1.7), (2, 6, 3, 2))
row("local_response_norm/defaults", lambda L, x: L.local_response_norm(x, 5), (2, 7, 2, 2))
row("local_response_norm/3d", lambda L, x: L.local_response_norm(x, 3, 0.5), (2, 4, 5))

# ---------------------------------------------------------------- softmax and losses

for dim in (0, 1, -1):
    row(f"softmax/{dim}", lambda L, x, d=dim: L.softmax(x, d), (2, 3, 4))
    row(f"log_softmax/{dim}", lambda L, x, d=dim: L.log_softmax(x, d), (2, 3, 4))
row("softmax/extreme", lambda L, x: L.softmax(x, 1), [[1000.0, 0.0, -1000.0], [-np.inf, 0.0, 1.0]], order=1)
row("log_softmax/extreme", lambda L, x: L.log_softmax(x, 1), [[1000.0, 0.0, -1000.0], [-1e4, -1e4, -1e4]])

LABELS, MASKED = np.array([0, 2, 3, 1, 2]), np.array([0, -100, 3, 1, -100])
GRID = np.array([[[0, 3], [1, 2]], [[2, 2], [0, 3]]])
WEIGHT = np.array([0.5, 2.0, 1.0, 0.1])
LOSS_OPTIONS = {
    "": {},
    "smooth": dict(label_smoothing=0.1),
    "all_smooth": dict(label_smoothing=1.0),
    "ignore": dict(ignore_index=2),
    "ignore_smooth": dict(ignore_index=2, label_smoothing=0.2),
}
for reduction in ("mean", "sum", "none"):
    for name, options in LOSS_OPTIONS.items():
        options = dict(options, reduction=reduction)
        tag = f"{name}_{reduction}"

        def index_loss(L, x, target, o=options):
            return L.cross_entropy(x, target, **o)

        def weighted_loss(L, x, target, weight, o=options):
            return L.cross_entropy(x, target, weight.to(x.dtype), **o)

        row(f"cross_entropy/{tag}", index_loss, (5, 4), constants=(LABELS,))
        row(f"cross_entropy/{tag}_weight", weighted_loss, (5, 4), constants=(LABELS, WEIGHT))
        row(f"cross_entropy/{tag}_grid", weighted_loss, (2, 4, 2, 2), constants=(GRID, WEIGHT))
        if "ignore" not in name:
            soft = np.random.default_rng(0).dirichlet(np.ones(4), 5)
            maps = np.moveaxis(np.random.default_rng(1).dirichlet(np.ones(4), (2, 3)), -1, 1)
            row(f"cross_entropy/{tag}_soft", index_loss, (5, 4), soft)
            row(f"cross_entropy/{tag}_soft_weight", lambda L, x, t, w, o=options: weighted_loss(L, x, t, w, o),
                (5, 4), soft, constants=(WEIGHT,))  # fmt: skip
            row(f"cross_entropy/{tag}_soft_maps", index_loss, (2, 4, 3), maps)
            row(f"nll_loss/{tag}", lambda L, x, t, r=reduction: L.nll_loss(x, t, reduction=r), (5, 4),
                constants=(LABELS,))  # fmt: skip
    row(f"cross_entropy/masked_{reduction}", lambda L, x, t, r=reduction: L.cross_entropy(x, t, reduction=r), (5, 4),
        constants=(MASKED,))  # fmt: skip
    row(f"nll_loss/masked_{reduction}",
        lambda L, x, t, w, r=reduction: L.nll_loss(x, t, w.to(x.dtype), ignore_index=-100, reduction=r), (5, 4),
        constants=(MASKED, WEIGHT))  # fmt: skip
    row(f"nll_loss/grid_{reduction}", lambda L, x, t, r=reduction: L.nll_loss(x, t, reduction=r), (2, 4, 2, 2),
        constants=(GRID,))  # fmt: skip
    row(f"mse_loss/{reduction}", lambda L, x, t, r=reduction: L.mse_loss(x, t, reduction=r), (2, 3), (2, 3))
    row(f"l1_loss/{reduction}", lambda L, x, t, r=reduction: L.l1_loss(x, t, reduction=r), (2, 3), (2, 3))
    for pos in (False, True):

        def yes_or_no(L, x, t, w, p, r=reduction, pos=pos):
            name = "binary_cross_entropy_with_logits"
            options = dict(pos_weight=p.to(x.dtype)) if pos else dict(weight=w.to(x.dtype))
            return getattr(L, name)(x, t, reduction=r, **options)

        row(f"binary_cross_entropy_with_logits/{reduction}_{pos}", yes_or_no, (4, 3),
            np.random.default_rng(2).uniform(size=(4, 3)),
            constants=(np.array([1.0, 0.5, 2.0]), np.array([0.7, 3.0, 1.0])))  # fmt: skip
for reduction in ("mean", "sum", "none"):
    row(f"cross_entropy/no_rows_{reduction}", lambda L, x, t, r=reduction: L.cross_entropy(x, t, reduction=r), (0, 3),
        constants=(np.zeros(0, np.int64),), order=1)  # fmt: skip
    row(f"mse_loss/no_rows_{reduction}", lambda L, x, t, r=reduction: L.mse_loss(x, t, reduction=r), (0, 3), (0, 3),
        order=1)  # fmt: skip
row("cross_entropy/all_ignored", lambda L, x, t: L.cross_entropy(x, t), (2, 3),
    constants=(np.array([-100, -100]),), order=1)  # fmt: skip
row("cross_entropy/extreme", lambda L, x, t: L.cross_entropy(x, t), [[1000.0, -1000.0, 0.0]],
    constants=(np.array([1]),))  # fmt: skip
row("binary_cross_entropy_with_logits/extreme", lambda L, x, t: L.binary_cross_entropy_with_logits(x, t),
    [-1000.0, 1000.0, 0.0], [0.0, 0.0, 1.0], order=1)  # fmt: skip
