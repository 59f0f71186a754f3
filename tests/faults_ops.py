"""Seeded faults in the calculus: one wrong line in a backward or a definition."""

import math
from types import SimpleNamespace

import numpy as np
from faults import after, changed, drawn, fault, first, instead, node_type, reference

from minidl import Tensor
from minidl.ops import (
    arithmetic, convolution, dropout, elementwise, functions, indexing, joining, losses, matmul, normalisation, pooling,
    reduction, shape,
)  # fmt: skip
from minidl.tensor import walk


def backward(place, name, kind, wrong, check=None):
    """A fault whose backward is ``wrong(right, node, *gradients)``."""
    fault(place, name, instead(kind, "backward", wrong), check or drawn(place))


def slope(place, name, wrong):
    """A fault in an elementwise op: ``wrong(gradient, saved)``."""
    backward(place, name, node_type(place), lambda right, node, g: wrong(g, *node.saved_tensors))


# ---------------------------------------------------------------- arithmetic and elementwise

backward("sub", "sign of the second operand", arithmetic.Sub, lambda right, node, g: (g, g))
backward("mul", "the two gradients swapped", arithmetic.Mul, lambda right, node, g: right(node, g)[::-1])
fault("div", "divisor not squared", after(arithmetic.Div, "backward", lambda r, node, g: (r[0], r[1] * node.saved_tensors[1])),
      drawn("div"))  # fmt: skip
fault("pow", "exponent not lowered", instead(arithmetic, "_power_slope", lambda right, a, b: b * a**b), drawn("pow"))
backward("maximum", "gradient to the smaller", arithmetic.Maximum, lambda right, node, g: right(node, g)[::-1])
backward("maximum", "a tie counted twice", arithmetic.Maximum, lambda right, node, g: tuple(
    g * Tensor((a >= b).astype(g.dtype)) for a, b in [[t.data for t in node.saved_tensors], [t.data for t in node.saved_tensors][::-1]]
), reference("maximum/ties"))  # fmt: skip
backward("where", "both sides get the gradient", arithmetic.Where, lambda right, node, g: (None, g, g))
backward("clamp", "gradient passes outside", arithmetic.Clamp, lambda right, node, g: (g, None, None))
slope("tanh", "y in place of y squared", lambda g, y: g * (1 - y))
slope("sigmoid", "factor 1 - y missing", lambda g, y: g * y)
slope("sqrt", "factor 2 missing", lambda g, y: g / y)
slope("cos", "sign", lambda g, x: g * x.sin())
slope("log10", "factor log 10 missing", lambda g, x: g / x)
slope("square", "second derivative lost", lambda g, x: g * (2 * x.detach()))
backward("relu", "gradient passes below 0", elementwise.Relu, lambda right, node, g: g)
backward("relu", "mask missing in the second derivative", elementwise.ReluGrad, lambda right, node, g: (g, None))
fault("gelu", "a constant with too few digits", lambda monkeypatch: monkeypatch.setattr(
    elementwise, "math", SimpleNamespace(pi=3.1416, sqrt=math.sqrt)), first("gelu"))  # fmt: skip

# ---------------------------------------------------------------- reductions, shapes, indexing, products

fault("mean", "divided by N - 1", instead(reduction, "_count", lambda right, *a: right(*a) - 1), first("mean"))
backward("sum", "1/N too much", reduction.Sum, lambda right, node, g: changed(0, lambda d: d * 0.5)(right(node, g)))
backward("prod", "quotient in place of the product of the others", reduction.Prod, lambda right, node, g: (
    (g if node.keepdim else g.unsqueeze(node.axis)) * node.saved_tensors[0].prod(node.axis, True) / node.saved_tensors[0], None, None))
backward("amax", "every tied element gets all", reduction.Extreme, lambda right, node, g: (
    g.reshape(node.kept) * (node.saved_tensors[0] > 0), None, None, None), reference("amax/ties"))  # fmt: skip
backward("logsumexp", "softmax not normalised", reduction.LogSumExp, lambda right, node, g: (
    g.reshape(node.kept) * node.saved_tensors[0].exp(), None, None))  # fmt: skip
backward("cumsum", "adjoint runs the same way", reduction.Cumsum, lambda right, node, g: (g.cumsum(node.axis), None))
backward("permute", "permuted again, not back", shape.Permute, lambda right, node, g: (
    g.permute(sorted(range(g.ndim), key=node.inverse.__getitem__)), None))  # fmt: skip
backward("flip", "not flipped back", shape.Flip, lambda right, node, g: (g, None))
backward("pad", "crop off by one", shape.Pad, lambda right, node, g: (
    g[tuple(slice(min(a + 1, a + b), min(a + 1, a + b) + n) for n, (a, b) in zip(node.shape, node.widths))], None, None))
backward("broadcast_to", "mean in place of the sum", shape.BroadcastTo, lambda right, node, g: (
    g.sum_to_size(node.shape) * (max(1, int(np.prod(node.shape))) / max(1, g.data.size)), None))  # fmt: skip
backward("concat", "pieces in the wrong order", joining.Concat, lambda right, node, g: (
    right(node, g)[::-1] if len(set(node.sizes)) == 1 else right(node, g)), drawn("stack"))  # fmt: skip


def overwritten(right, x, positions, distinct, size):
    """Repeated positions keep the last value."""
    out = np.zeros(size, x.dtype)
    out[positions] = x
    return out


fault("getitem", "dropped += at repeated positions", instead(indexing, "_sum_at", overwritten), drawn("gather"))
backward("setitem", "gradient to what was overwritten", indexing.SetItem, lambda right, node, g: (g, *right(node, g)[1:]))
backward("matmul", "right operand not transposed", matmul.MatMul, lambda right, node, g: (
    g @ node.saved_tensors[1] if node.saved_tensors[1].shape[-1] == node.saved_tensors[1].shape[-2] else right(node, g)[0],
    right(node, g)[1]))  # fmt: skip
backward("linear", "weight gradient transposed", matmul.Linear, lambda right, node, g: changed(
    1, lambda d: d.transpose() if d.shape[0] == d.shape[1] else d)(right(node, g)))  # fmt: skip

# ---------------------------------------------------------------- convolution and pooling

square = lambda d: d.transpose(0, 1) if d.shape[0] == d.shape[1] else d  # noqa: E731
backward("conv2d", "weight gradient transposed", convolution.Conv2d,
         lambda right, node, g: changed(1, square)(right(node, g)))  # fmt: skip
backward("conv2d", "bias gradient of one image only", convolution.Conv2d,
         lambda right, node, g: (*right(node, g)[:2], g[:1].sum((0, 2, 3))))  # fmt: skip
backward("conv2d", "sign in the second derivative", convolution.ConvWeightGrad,
         lambda right, node, g: changed(1, lambda d: -d)(right(node, g)))  # fmt: skip
backward("conv2d", "second derivative to the weight lost", convolution.ConvInputGrad,
         lambda right, node, g: changed(1, lambda d: d * 0.0)(right(node, g)))  # fmt: skip
fault("conv2d", "'same' for even windows pads on the wrong side", after(
    convolution, "paddings", lambda r, padding, *a: tuple(p[::-1] for p in r) if padding == "same" else r), first("conv2d"))
fault("conv_transpose2d", "output padding beyond the stride lost", instead(
    convolution, "_beyond_stride", lambda right, p, extra, stride: (right(p, extra, stride)[0][::-1], right(p, extra, stride)[1])),
    first("conv_transpose2d"))  # fmt: skip
backward("avg_pool2d", "1/N missing", pooling.AvgPool2d, lambda right, node, g: right(node, g) * float(np.prod(node.options["kernel_size"])))
backward("max_pool2d", "second derivative of another window", pooling.MaxPoolScatter,
         lambda right, node, g: changed(0, lambda d: d.flip(3))(right(node, g)))  # fmt: skip
backward("adaptive_avg_pool2d", "gradient to the mirrored pixel", pooling.AdaptiveAvgPool2d,
         lambda right, node, g: changed(0, lambda d: d.flip(2))(right(node, g)))  # fmt: skip

# ---------------------------------------------------------------- normalisation, losses, dropout


def outside_the_root(right, x, weight, bias, eps, relu):
    axes = (0,) + tuple(range(2, x.ndim))
    deviation = x - x.mean(axes, keepdim=True)
    var = (deviation * deviation).mean(axes, keepdim=True)
    y = normalisation._affine(deviation / (var.sqrt() + eps), weight, bias, relu)
    return y, var.flatten(), var.flatten()


fault("batch_norm_train", "eps outside the root", instead(normalisation.BatchNorm, "definition", outside_the_root),
      first("batch_norm_train"))  # fmt: skip
fault("batch_norm_train", "statistics held constant in the backward", instead(
    normalisation.BatchNorm, "definition", lambda right, x, *a, **o: _constant_statistics(x, *a, **o)), first("batch_norm_train"))


def _constant_statistics(x, weight, bias, eps, relu):
    axes = (0,) + tuple(range(2, x.ndim))
    mean, var = x.detach().mean(axes, keepdim=True), x.detach().var(axes, unbiased=False, keepdim=True)
    y = normalisation._affine((x - mean) * (var + eps).rsqrt(), weight, bias, relu)
    return y, mean.flatten(), var.flatten()


fault("batch_norm_eval", "shift not scaled", instead(
    normalisation.BatchNormEval, "definition", lambda right, x, mean, var, weight, bias, eps, relu: right(
        x, mean * (var + eps).sqrt(), var, weight, bias, eps, relu)), first("batch_norm_eval"))  # fmt: skip
fault("layer_norm", "variance divided by n - 1", instead(
    normalisation.LayerNorm, "definition", lambda right, x, weight, bias, axes, eps: right(
        x * ((x.data.size / _rows(x, axes) - 1) / (x.data.size / _rows(x, axes))) ** 0.5, weight, bias, axes, eps)),
    first("layer_norm"))  # fmt: skip


def _rows(x, axes):
    return int(np.prod([n for axis, n in enumerate(x.shape) if axis not in axes]))


fault("local_response_norm", "even window leans to the wrong side", instead(
    normalisation.LocalResponseNorm, "definition", lambda right, x, **o: (right(x.flip(1), **o)[0].flip(1),)),
    first("local_response_norm"))  # fmt: skip
fault("local_response_norm", "alpha not divided by the size", instead(
    normalisation.LocalResponseNorm, "definition", lambda right, x, size, alpha, **o: right(
        x, size=size, alpha=alpha * size, **o)), first("local_response_norm"))  # fmt: skip
backward("softmax", "projection missing", losses.Softmax, lambda right, node, g: (node.saved_tensors[0] * g, None))
backward("log_softmax", "softmax without the sum of the upstream", losses.LogSoftmax,
         lambda right, node, g: (g - node.saved_tensors[0].exp(), None))  # fmt: skip
fault("cross_entropy", "label smoothing off by K", instead(
    losses, "_cross_entropy_of_indices", lambda right, logits, target, weight, ignore, s, reduction: right(
        logits, target, weight, ignore, s * (1 - 1 / logits.shape[1]), reduction)), first("cross_entropy"))  # fmt: skip
fault("cross_entropy", "weighted mean divided by the number of rows", instead(
    losses, "_cross_entropy_of_indices", lambda right, logits, target, weight, ignore, s, reduction: right(
        logits, target, weight, ignore, s, "sum") / float((target.data != ignore).sum()) if reduction == "mean"
    else right(logits, target, weight, ignore, s, reduction)), first("cross_entropy"))  # fmt: skip
fault("cross_entropy", "ignored rows count in the mean", instead(
    losses, "_at_labels", lambda right, *a: (right(*a)[0], right(*a)[1] * 0.0 + 1.0, right(*a)[2])), first("cross_entropy"))
backward("dropout", "another mask in the backward", dropout.Dropout, lambda right, node, g: (
    dropout.Dropout.apply(g, node.p, (node.key[0], node.key[1], node.key[2] + 1)), None, None))  # fmt: skip
backward("dropout", "not scaled in the backward", dropout.Dropout, lambda right, node, g: changed(
    0, lambda d: d * (1 - node.p))(right(node, g)))  # fmt: skip
fault("graph", "of several uses the last one's gradient only", instead(
    walk, "_sum", lambda right, a, b: b), drawn("lerp"))  # fmt: skip
