"""Cases for the ops of networks: convolution, pooling, normalisation, softmax, losses, dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minidl as op
from minidl.gradcheck.case import Case, apart, away_from_zero, both, normal, uniform
from minidl.ops.dropout import Dropout
from minidl.tensor import Tensor

LINEAR = ((0, 0),)
PRODUCT = ((0, 0), (1, 1))
AFFINE = PRODUCT + ((2, 2), (0, 2), (1, 2))


def bound(name: str, *fixed: Any, **options: Any) -> Callable[..., Any]:
    """The op with its trailing arguments and options filled in."""
    return lambda *inputs: getattr(op, name)(*inputs, *fixed, **options)


def convolution(
    variant: Any, x: tuple[int, ...], weight: tuple[int, ...], bias: bool = False, name: str = "conv2d", **options: Any
) -> Case:
    """A case of `conv2d` or `conv_transpose2d` from the shapes of its operands."""
    outputs = weight[0] if name == "conv2d" else weight[1] * options.get("groups", 1)
    shapes = (x, weight) + (((outputs,),) if bias else ())
    return Case(f"{name}/{variant}", bound(name, **options), normal(*shapes), zero_blocks=AFFINE if bias else PRODUCT)


CONVOLUTION = [
    convolution("1x1", (2, 3, 4, 4), (4, 3, 1, 1), bias=True),
    convolution("1x1_stride", (2, 3, 5, 4), (4, 3, 1, 1), stride=2),
    convolution("3x3", (2, 3, 5, 4), (2, 3, 3, 3), bias=True, padding=1),
    convolution("3x3_stride", (1, 2, 6, 5), (3, 2, 3, 3), stride=2, padding=1),
    convolution("3x3_valid", (1, 2, 5, 5), (2, 2, 3, 3)),
    convolution("5x5", (1, 2, 6, 6), (2, 2, 5, 5), padding=2),
    convolution("7x7_stride", (1, 3, 9, 9), (2, 3, 7, 7), stride=2, padding=3),
    convolution("even_same", (1, 2, 5, 4), (2, 2, 2, 4), padding="same"),
    convolution("oblong", (1, 2, 5, 6), (2, 2, 1, 3), stride=(1, 2), padding=(0, 1)),
    convolution("dilation", (1, 2, 7, 6), (2, 2, 3, 2), dilation=2, padding=(2, 1)),
    convolution("groups", (2, 4, 4, 4), (6, 2, 3, 3), bias=True, padding=1, groups=2),
    convolution("depthwise", (1, 3, 4, 5), (3, 1, 3, 3), groups=3, padding=1),
    convolution("stride2", (1, 3, 3, 3), (3, 2, 3, 3), bias=True, name="conv_transpose2d", stride=2, padding=1,
                output_padding=1),
    convolution("groups", (1, 4, 3, 2), (4, 2, 2, 3), name="conv_transpose2d", groups=2, dilation=2),
    Case("im2col", bound("im2col", 3, 2, 1), normal((1, 2, 5, 4)), zero_blocks=LINEAR),
    Case("col2im", bound("col2im", (1, 2, 5, 4), 2, 1, 1), normal((30, 8)), zero_blocks=LINEAR),
    Case("unfold", bound("unfold", (2, 3), padding=1), normal((1, 2, 3, 4)), zero_blocks=LINEAR),
    Case("fold", bound("fold", (3, 4), 2, 1, 1), normal((1, 8, 20)), zero_blocks=LINEAR),
]

IMAGE = (2, 3, 5, 6)


def pooling(variant: Any, *fixed: Any, name: str = "max_pool2d", **options: Any) -> Case:
    """A case of a pooling op: distinct values, so that no maximum is tied."""
    return Case(name + variant, bound(name, *fixed, **options), apart(IMAGE), zero_blocks=LINEAR)


POOLING = [
    pooling("", 2),
    pooling("/overlapping", 3, 2, 1),
    pooling("/same", 3, 1, 1),
    pooling("/ceil", 3, 2, ceil_mode=True),
    pooling("/dilation", 2, 1, dilation=2),
    pooling("/oblong", (1, 3), (2, 1), (0, 1)),
    pooling("", 2, name="avg_pool2d"),
    pooling("/overlapping", 3, 2, 1, name="avg_pool2d"),
    pooling("/ceil", 3, 2, 1, name="avg_pool2d", ceil_mode=True, count_include_pad=False),
    pooling("/divisor", 3, 1, name="avg_pool2d", divisor_override=5),
    pooling("", (2, 3), name="adaptive_avg_pool2d"),
    pooling("/uneven", (3, 4), name="adaptive_avg_pool2d"),
    pooling("", name="global_avg_pool2d"),
    pooling("", (2, 3), name="adaptive_max_pool2d"),
    pooling("/uneven", (3, 4), name="adaptive_max_pool2d"),
]

CHANNELS = normal((3, 2, 4, 3), (2,), (2,))


def _batch_norm(*inputs, **options):
    return op.batch_norm_train(*inputs, **options)[0]


def _relu_inputs(rng):
    """Inputs of a batch norm with ReLU behind it whose outputs stay away from 0."""
    x = away_from_zero((3, 2, 4, 3), margin=1.0)(rng)[0]
    return [x, rng.uniform(0.5, 1.5, 2), 0.2 * rng.standard_normal(2)]


NORMALISATION = [
    Case("batch_norm_train", _batch_norm, CHANNELS),
    Case("batch_norm_train/rows", _batch_norm, normal((6, 3), (3,), (3,))),
    Case("batch_norm_train/plain", _batch_norm, normal((3, 2, 3, 2))),
    Case("batch_norm_train/relu", lambda *x: _batch_norm(*x, relu=True), _relu_inputs),
    Case("batch_norm_eval", op.batch_norm_eval,
         both(normal((2, 3, 2, 2), (3,)), uniform(0.5, 2, (3,)), normal((3,), (3,)))),
    Case("layer_norm", lambda x, w, b: op.layer_norm(x, (3, 4), w, b), normal((2, 3, 4), (3, 4), (3, 4))),
    Case("layer_norm/plain", bound("layer_norm", 5), normal((4, 5))),
    Case("local_response_norm", bound("local_response_norm", 5, alpha=0.3), normal((2, 6, 2, 2))),
    Case("local_response_norm/even", bound("local_response_norm", 2, alpha=0.3, beta=0.5, k=2.0), normal((1, 5, 2, 3))),
]

LABELS = np.array([2, 0, 1, 2])
SPARSE_LABELS = np.array([2, -100, 1, 0])
PIXEL_LABELS = np.array([[[0, 2], [1, 1]], [[2, 2], [0, 1]]])
WEIGHT = np.array([0.5, 2.0, 1.25])
PROBABILITIES = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])


def loss(
    name: str, target: Any, variant: Any = "", make: Callable[..., Any] = normal((4, 3)), zero_blocks: Any = (),
    reference: Any = None, **options: Any,
) -> Case:  # fmt: skip
    """A case of a loss whose target is fixed."""
    function = getattr(op, name)
    return Case(name + variant, lambda x: function(x, Tensor(target), **options), make, zero_blocks=zero_blocks,
                reference=reference)


def _log_softmax(x, axis):
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


LOSSES = [
    Case("softmax", bound("softmax", 1), normal((3, 4)), reference=lambda x: np.exp(_log_softmax(x, 1))),
    Case("softmax/axis0", bound("softmax", 0), normal((3, 2, 2)), reference=lambda x: np.exp(_log_softmax(x, 0))),
    Case("log_softmax", bound("log_softmax", -1), normal((3, 4)), reference=lambda x: _log_softmax(x, -1)),
    loss("cross_entropy", LABELS, reference=lambda x: -_log_softmax(x, 1)[np.arange(4), LABELS].mean()),
    loss("cross_entropy", LABELS, "/sum", reduction="sum"),
    loss("cross_entropy", LABELS, "/none", reduction="none"),
    loss("cross_entropy", LABELS, "/smoothing", label_smoothing=0.1),
    loss("cross_entropy", SPARSE_LABELS, "/ignore",
         reference=lambda x: -_log_softmax(x, 1)[[0, 2, 3], [2, 1, 0]].mean()),
    loss("cross_entropy", LABELS, "/weight", weight=Tensor(WEIGHT), label_smoothing=0.2),
    loss("cross_entropy", PIXEL_LABELS, "/pixels", make=normal((2, 3, 2, 2))),
    loss("cross_entropy", PROBABILITIES, "/probabilities", label_smoothing=0.1),
    Case("cross_entropy/learned_weight", lambda x, w: op.cross_entropy(x, Tensor(LABELS), w, reduction="sum"),
         both(normal((4, 3)), uniform(0.5, 2, (3,))), zero_blocks=((1, 1),)),
    loss("nll_loss", LABELS, zero_blocks=LINEAR, reference=lambda x: -x[np.arange(4), LABELS].mean()),
    loss("nll_loss", SPARSE_LABELS, "/weight", zero_blocks=LINEAR, weight=Tensor(WEIGHT)),
    Case("mse_loss", op.mse_loss, normal((4, 3), (4, 3)), reference=lambda x, y: ((x - y) ** 2).mean()),
    Case("mse_loss/none", bound("mse_loss", reduction="none"), normal((4, 3), (4, 3)),
         reference=lambda x, y: (x - y) ** 2),
    Case("l1_loss", op.l1_loss, apart((4, 3), (4, 3)), zero_blocks=((0, 0), (0, 1), (1, 1)),
         reference=lambda x, y: np.abs(x - y).mean()),
    Case("binary_cross_entropy_with_logits", op.binary_cross_entropy_with_logits,
         both(away_from_zero((4, 3)), uniform(0.1, 0.9, (4, 3))), zero_blocks=((1, 1),),
         reference=lambda x, t: -(t * np.log(1 / (1 + np.exp(-x))) + (1 - t) * np.log(1 / (1 + np.exp(x)))).mean()),
    loss("binary_cross_entropy_with_logits", PROBABILITIES, "/weights", make=away_from_zero((4, 3)),
         weight=Tensor(WEIGHT), pos_weight=Tensor(WEIGHT), reduction="sum"),
    Case("dropout", lambda x: Dropout.apply(x, 0.4, (7, 1, 3)), normal((4, 5)), zero_blocks=LINEAR),
]

ROWS_OF_LAYERS = CONVOLUTION + POOLING + NORMALISATION + LOSSES
