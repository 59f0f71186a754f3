"""Seeded faults in the calculus: one wrong line in a backward or a definition."""

import math
from types import SimpleNamespace

import numpy as np
import test_autograd
from faults import after, changed, drawn, fault, first, instead, node_type, reference, test_of

from minidl import Tensor, backend
from minidl.ops import (
    activations,
    arithmetic,
    elementwise,
    extremes,
    indexing,
    joining,
    matmul,
    padding,
    reduction,
    resampling,
    scattering,
    shape,
)
from minidl.tensor import accumulation, walk


def backward(place, name, kind, wrong, check=None):
    """A fault whose backward is ``wrong(right, node, *gradients)``."""
    fault(place, name, instead(kind, "backward", wrong), check or drawn(place))


def slope(place, name, wrong):
    """A fault in an elementwise op: ``wrong(gradient, saved)``."""
    backward(place, name, node_type(place), lambda right, node, g: wrong(g, *node.saved_tensors))


# ---------------------------------------------------------------- arithmetic and elementwise

backward("sub", "sign of the second operand", arithmetic.Sub, lambda right, node, g: (g, g))
backward("mul", "the two gradients swapped", arithmetic.Mul, lambda right, node, g: right(node, g)[::-1])
fault(
    "div",
    "divisor not squared",
    after(arithmetic.Div, "backward", lambda r, node, g: (r[0], r[1] * node.saved_tensors[1])),
    drawn("div"),
)
fault("pow", "exponent not lowered", instead(arithmetic, "_power_slope", lambda right, a, b: b * a**b), drawn("pow"))
backward("maximum", "gradient to the smaller", arithmetic.Maximum, lambda right, node, g: right(node, g)[::-1])
backward(
    "maximum",
    "a tie counted twice",
    arithmetic.Maximum,
    lambda right, node, g: tuple(
        g * Tensor((a >= b).astype(g.dtype))
        for a, b in [[t.data for t in node.saved_tensors], [t.data for t in node.saved_tensors][::-1]]
    ),
    reference("maximum/ties"),
)
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
fault(
    "gelu",
    "a constant with too few digits",
    lambda monkeypatch: monkeypatch.setattr(activations, "math", SimpleNamespace(pi=3.1416, sqrt=math.sqrt)),
    first("gelu"),
)

# ---------------------------------------------------------------- reductions, shapes, indexing, products

fault("mean", "divided by N - 1", instead(reduction, "_count", lambda right, *a: right(*a) - 1), first("mean"))
backward("sum", "1/N too much", reduction.Sum, lambda right, node, g: changed(0, lambda d: d * 0.5)(right(node, g)))
backward(
    "prod",
    "quotient in place of the product of the others",
    reduction.Prod,
    lambda right, node, g: (
        (g if node.keepdim else g.unsqueeze(node.axis))
        * node.saved_tensors[0].prod(node.axis, True)
        / node.saved_tensors[0],
        None,
        None,
    ),
)
backward(
    "amax",
    "every tied element gets all",
    extremes.Extreme,
    lambda right, node, g: (g.reshape(node.kept) * (node.saved_tensors[0] > 0), None, None, None),
    reference("amax/ties"),
)
backward(
    "logsumexp",
    "softmax not normalised",
    reduction.LogSumExp,
    lambda right, node, g: (g.reshape(node.kept) * node.saved_tensors[0].exp(), None, None),
)
backward("cumsum", "adjoint runs the same way", reduction.Cumsum, lambda right, node, g: (g.cumsum(node.axis), None))
backward(
    "permute",
    "permuted again, not back",
    shape.Permute,
    lambda right, node, g: (g.permute(sorted(range(g.ndim), key=node.inverse.__getitem__)), None),
)
backward("flip", "not flipped back", shape.Flip, lambda right, node, g: (g, None))
backward(
    "pad",
    "crop off by one",
    padding.Pad,
    lambda right, node, g: (
        g[tuple(slice(min(a + 1, a + b), min(a + 1, a + b) + n) for n, (a, b) in zip(node.shape, node.widths))],
        None,
        None,
    ),
)
fault(
    "pad",
    "an element that is repeated gets one gradient only",
    after(padding, "_rounds", lambda rounds, positions: rounds[:1]),
    first("pad"),
)
backward(
    "broadcast_to",
    "mean in place of the sum",
    shape.BroadcastTo,
    lambda right, node, g: (g.sum_to_size(node.shape) * (max(1, int(np.prod(node.shape))) / max(1, g.data.size)), None),
)
backward(
    "concat",
    "pieces in the wrong order",
    joining.Concat,
    lambda right, node, g: right(node, g)[::-1] if len(set(node.sizes)) == 1 else right(node, g),
    drawn("stack"),
)


def overwritten(right, x, positions, distinct, size):
    """Repeated positions keep the last value."""
    out = np.zeros(size, x.dtype)
    out[positions] = x
    return out


fault("getitem", "dropped += at repeated positions", instead(indexing, "_sum_at", overwritten), drawn("gather"))
backward(
    "setitem", "gradient to what was overwritten", indexing.SetItem, lambda right, node, g: (g, *right(node, g)[1:])
)
backward(
    "matmul",
    "right operand not transposed",
    matmul.MatMul,
    lambda right, node, g: (
        g @ node.saved_tensors[1]
        if node.saved_tensors[1].shape[-1] == node.saved_tensors[1].shape[-2]
        else right(node, g)[0],
        right(node, g)[1],
    ),
)
backward(
    "linear",
    "weight gradient transposed",
    matmul.Linear,
    lambda right, node, g: changed(1, lambda d: d.transpose() if d.shape[0] == d.shape[1] else d)(right(node, g)),
)
fault(
    "graph",
    "a gradient that others know becomes the buffer",
    instead(accumulation, "references", lambda right, gradient: accumulation._ALONE[0]),
    test_of(test_autograd.test_a_large_gradient_is_not_copied_unless_something_else_knows_it),
)
fault(
    "graph", "of several uses the last one's gradient only", instead(walk, "_sum", lambda right, a, b: b), drawn("lerp")
)
fault(
    "graph",
    "a sum of gradients overwrites a term",
    instead(backend, "in_order_of", lambda right, x, *a: x if x.flags.writeable else right(x, *a)),
    test_of(test_autograd.test_a_sum_of_large_gradients_is_new_memory, False),
)


# ---------------------------------------------------------------- what meets in one place, and smoothing


def scattered(name, row, inject, forms="plain"):
    """A fault in `scatter_reduce` that its row has to notice."""
    fault("scatter_reduce", name, inject, reference(f"scatter_reduce/{row}", forms))


def counted_once_more(right, a, b, **options):
    return right(a, b + 1, **options)


def first_pairs_only(right, place, most):
    return right(place, min(most, 2))


scattered("itself counted though it is left out", "mean_False", instead(scattering, "div", counted_once_more))
scattered("the third factor of a place lost", "prod_many", instead(scattering, "_pairs", first_pairs_only))
scattered("the third candidate of a place lost", "amin_many", instead(scattering, "_pairs", first_pairs_only))
scattered("ties do not share", "amin_ties", after(scattering.ExtremeAt, "backward", changed(1, lambda g: g * 2)))
scattered("itself kept though it is left out", "prod_False", instead(scattering, "masked_fill", lambda right, x, *a: x))
scattered("a NaN loses", "amax_nan", instead(scattering, "array_module", lambda right, x: _fmax(right(x))))


class _fmax:
    """NumPy whose `maximum` prefers numbers to NaN."""

    def __init__(self, xp):
        self.xp = xp
        self.maximum = xp.fmax

    def __getattr__(self, name):
        return getattr(self.xp, name)


def smoothed(name, row, inject):
    """A fault in smoothing before shrinking that its row has to notice."""
    fault("interpolate", name, inject, reference(f"interpolate/{row}"))


smoothed("a kernel that is not stretched", "bilinear/smooth",
         lambda patch: patch.setitem(resampling.KERNELS, "linear",
                                     (1, lambda d: resampling.triangle(2 * d))))  # fmt: skip
smoothed(
    "the cubic constant of the other kind", "bicubic/smooth",
    instead(resampling, "near", lambda right, d, a=0: right(d)),
)
smoothed("corners forgotten", "bilinear/smooth_corners",
         instead(resampling, "_smooth_taps",
                 lambda right, n, m, scale, kind, corners: right(n, m, scale, kind, None)))  # fmt: skip
