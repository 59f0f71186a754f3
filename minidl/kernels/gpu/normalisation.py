"""Batch norm, with the ReLU behind it, in passes over the image: two forward and two backward.

The statistics of a channel come from all blocks. A block takes a share of the pixels, tile by tile, and keeps the mean
and the sum of squared deviations so far; two such pairs make one (`joined` here, Chan's formula):

    n = n1 + n2,  d = mean2 - mean1,  mean = mean1 + d n2 / n,  squares = squares1 + squares2 + d^2 n1 n2 / n

which does not subtract large numbers that are nearly equal, as mean(x^2) - mean(x)^2 would. One more block for each
tile of channels joins the shares. Backward needs two sums over the pixels, of y' and of y' y-hat, before the gradient
can be written (`minidl.ops.normalisation` derives it):

    x' = scale s (y' - mean(y') - y-hat mean(y' y-hat)),   y-hat = (x - mean) s,   s = 1 / sqrt(var + eps)

with y' = 0 where the ReLU clipped, which is computed again from x rather than stored.

Reference: T. Chan, G. Golub and R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", 1979.
"""

from __future__ import annotations

from minidl import backend
from minidl.backend import array_module
from minidl.kernels.gpu.reduction import SHARES, shares_of, sum_of_rows
from minidl.kernels.gpu.tiles import cdiv, ct, kernel, rows, side, takes

TP, TC = 16, 64  # pixels and channels of a tile, at most


@kernel
def moments(x, means, squares, STEPS, TP: ct.Constant, TC: ct.Constant):
    """means[s, c] and squares[s, c]: mean of share s of the rows of x (P, C), and sum of squared deviations from it."""
    share, channels, last = ct.bid(1), ct.bid(0), ct.cdiv(x.shape[0], TP)
    count = ct.zeros((1, 1), dtype=means.dtype)
    mean = ct.zeros((1, TC), dtype=means.dtype)
    square = ct.zeros((1, TC), dtype=means.dtype)
    for tile in range(share * STEPS, min(share * STEPS + STEPS, last)):
        inside = (tile * TP + ct.arange(TP, dtype=ct.int32) < x.shape[0])[:, None]
        values = ct.load(x, (tile, channels), (TP, TC), padding_mode=ct.PaddingMode.ZERO)
        more = ct.sum(inside.astype(means.dtype), 0, keepdims=True)
        center = ct.sum(values, 0, keepdims=True) / more
        deviation = ct.where(inside, values - center, 0.0)
        step = center - mean
        mean = mean + step * (more / (count + more))
        square = (
            square + ct.sum(deviation * deviation, 0, keepdims=True) + step * step * (count * more / (count + more))
        )
        count = count + more
    ct.store(means, (share, channels), mean)
    ct.store(squares, (share, channels), square)


@kernel
def joined(means, squares, mean, var, invstd, P, SHARE, EPS: ct.Constant, TS: ct.Constant, TC: ct.Constant):
    """Mean, variance and inverse deviation of each channel from those of shares of SHARE of the P pixels."""
    first = ct.arange(TS, dtype=ct.int32) * SHARE
    count = ct.minimum(ct.maximum(P - first, 0), SHARE).astype(means.dtype)[:, None]  # the last one may be shorter
    each = ct.load(means, (0, ct.bid(0)), (TS, TC), padding_mode=ct.PaddingMode.ZERO)
    square = ct.load(squares, (0, ct.bid(0)), (TS, TC), padding_mode=ct.PaddingMode.ZERO)
    total = ct.sum(count, 0, keepdims=True)
    center = ct.sum(each * count, 0, keepdims=True) / total
    step = each - center
    variance = ct.sum(ct.where(count > 0, square + step * step * count, 0.0), 0, keepdims=True) / total
    ct.store(mean, (ct.bid(0),), center.reshape((TC,)))
    ct.store(var, (ct.bid(0),), variance.reshape((TC,)))
    ct.store(invstd, (ct.bid(0),), (1.0 / ct.sqrt(variance + EPS)).reshape((TC,)))


def per_channel(vector, TC):
    """The tile's part of a vector over channels, as a row."""
    return ct.load(vector, (ct.bid(1),), (TC,), padding_mode=ct.PaddingMode.ZERO)[None, :]


@kernel
def normalised(x, y, mean, invstd, weight, bias, RELU: ct.Constant, TP: ct.Constant, TC: ct.Constant):
    """y = (x - mean) invstd weight + bias, clipped at 0 from below if RELU; x and y (P, C)."""
    values = ct.load(x, (ct.bid(0), ct.bid(1)), (TP, TC), padding_mode=ct.PaddingMode.ZERO)
    values = (values - per_channel(mean, TC)) * per_channel(invstd, TC)
    values = values * per_channel(weight, TC) + per_channel(bias, TC)
    if RELU:
        values = ct.where(values < 0, 0.0, values)
    ct.store(y, (ct.bid(0), ct.bid(1)), values.astype(y.dtype))


def passed(grads, scaled, weight, bias, RELU: int):
    """The gradient before the ReLU: 0 where scaled * weight + bias was clipped."""
    return ct.where(scaled * weight + bias > 0, grads, 0.0) if RELU else grads


@kernel
def grad_sums(x, grad, sums, mean, invstd, weight, bias, STEPS, RELU: ct.Constant, TP: ct.Constant, TC: ct.Constant):
    """sums[s, 0, c] and sums[s, 1, c]: of y' and of y' y-hat over the rows of share s."""
    share, channels, last = ct.bid(0), ct.bid(1), ct.cdiv(x.shape[0], TP)
    total = ct.zeros((TP, TC), dtype=sums.dtype)
    dot = ct.zeros((TP, TC), dtype=sums.dtype)
    for tile in range(share * STEPS, min(share * STEPS + STEPS, last)):
        values = ct.load(x, (tile, channels), (TP, TC), padding_mode=ct.PaddingMode.ZERO)
        grads = ct.load(grad, (tile, channels), (TP, TC), padding_mode=ct.PaddingMode.ZERO)  # past the end: adds 0
        scaled = (values - per_channel(mean, TC)) * per_channel(invstd, TC)
        grads = passed(grads, scaled, per_channel(weight, TC), per_channel(bias, TC), RELU)
        total, dot = total + grads, dot + grads * scaled
    ct.store(sums, (share, 0, channels), ct.sum(total, 0).reshape((1, 1, TC)))
    ct.store(sums, (share, 1, channels), ct.sum(dot, 0).reshape((1, 1, TC)))


@kernel
def input_grad(
    x, grad, dx, mean, invstd, weight, bias, sums, P, RELU: ct.Constant, TP: ct.Constant, TC: ct.Constant
):
    """dx (P, C) from the two sums over all pixels, sums (2, C)."""
    values = ct.load(x, (ct.bid(0), ct.bid(1)), (TP, TC), padding_mode=ct.PaddingMode.ZERO)
    grads = ct.load(grad, (ct.bid(0), ct.bid(1)), (TP, TC), padding_mode=ct.PaddingMode.ZERO)
    both = ct.load(sums, (0, ct.bid(1)), (2, TC), padding_mode=ct.PaddingMode.ZERO) / P
    which = ct.arange(2, dtype=ct.int32)[:, None]
    of_grads = ct.sum(ct.where(which == 0, both, 0.0), 0, keepdims=True)
    of_dot = ct.sum(ct.where(which == 1, both, 0.0), 0, keepdims=True)
    scaled = (values - per_channel(mean, TC)) * per_channel(invstd, TC)
    grads = passed(grads, scaled, per_channel(weight, TC), per_channel(bias, TC), RELU)
    values = (grads - of_grads - scaled * of_dot) * per_channel(invstd, TC) * per_channel(weight, TC)
    ct.store(dx, (ct.bid(0), ct.bid(1)), values.astype(dx.dtype))


def _tiles(x):
    """Pixels, channels, and the sides of a tile of images `x`."""
    N, C, H, W = x.shape
    return N * H * W, C, side(N * H * W, TP), side(C, TC)


def _vectors(weight, bias, C, like):
    """Scale and shift as arrays: 1 and 0 where there is none."""
    xp = array_module(like)
    return xp.ones(C, like.dtype) if weight is None else weight, xp.zeros(C, like.dtype) if bias is None else bias


def _normalise(x, mean, invstd, weight, bias, relu, out=None):
    """The normalised images of channels-last `x`."""
    P, C, tp, tc = _tiles(x)
    y = backend.empty_channels_last(x.shape, x.dtype, like=x) if out is None else out
    normalised(
        (cdiv(P, tp), cdiv(C, tc)), rows(x), rows(y), mean, invstd, *_vectors(weight, bias, C, x), bool(relu), tp, tc
    )
    return y


def _train(x, weight, bias, eps, relu, out):
    """The normalised images, and mean, inverse deviation and variance of every channel."""
    x = backend.channels_last(x)
    P, C, tp, tc = _tiles(x)
    steps, shares = shares_of(P, tp)
    means, squares = (backend.empty((shares, C), x.dtype, like=x) for _ in range(2))
    moments((cdiv(C, tc), shares), rows(x), means, squares, steps, tp, tc)
    mean, var, invstd = (backend.empty(C, x.dtype, like=x) for _ in range(3))
    joined((cdiv(C, tc),), means, squares, mean, var, invstd, P, steps * tp, float(eps), side(shares, SHARES), tc)
    return _normalise(x, mean, invstd, weight, bias, relu, out), mean, invstd, var


def _train_grad(grad, x, weight, bias, mean, invstd, relu, out):
    """The gradients of images, weight and bias."""
    grad, x = backend.channels_last(grad), backend.channels_last(x)
    P, C, tp, tc = _tiles(x)
    steps, shares = shares_of(P, tp)
    vectors = mean, invstd, *_vectors(weight, bias, C, x)
    sums = backend.empty((shares, 2, C), x.dtype, like=x)
    grad_sums((shares, cdiv(C, tc)), rows(x), rows(grad), sums, *vectors, steps, bool(relu), tp, tc)
    sums = sum_of_rows(sums.reshape(shares, 2 * C)).reshape(2, C)
    dx = backend.empty_channels_last(x.shape, x.dtype, like=x) if out is None else out
    input_grad((cdiv(P, tp), cdiv(C, tc)), rows(x), rows(grad), rows(dx), *vectors, sums, P, bool(relu), tp, tc)
    return dx, None if weight is None else sums[1], None if bias is None else sums[0]


# Lists of images, as the layers of a block side by side have them (`minidl.kernels.cpu.blocks.training`).


def batch_norms_train(xs, weights, biases, eps, relu, outs):
    """For each of the images (output, mean, inverse deviation, variance); outputs go to `outs` where there is one."""
    return [_train(*each[:4], relu, each[4]) for each in zip(xs, weights, biases, eps, outs)]


def batch_norms_again(xs, weights, biases, means, invstds, relu, outs):
    """The outputs of `batch_norms_train` once more, to the same bits."""
    rest = zip(means, invstds, weights, biases)
    return [_normalise(backend.channels_last(x), *each, relu, out) for x, each, out in zip(xs, rest, outs)]


def batch_norms_train_grad(grads, xs, weights, biases, means, invstds, relu, outs):
    """For each of the images the gradients of (images, weight, bias); those of images go to `outs`."""
    return [_train_grad(*each[:6], relu, each[6]) for each in zip(grads, xs, weights, biases, means, invstds, outs)]


class BatchNorm:
    """Form of `minidl.ops.normalisation.BatchNorm` for images."""

    @staticmethod
    def forward(x, weight, bias, eps, relu):
        """Return ``(y, mean, var)``, and keep the mean and the inverse deviation."""
        if x.ndim != 4 or not takes(x, weight, bias):
            return NotImplemented
        y, mean, invstd, var = _train(x, weight, bias, eps, relu, None)
        return (y, mean, var), (mean, invstd)

    @staticmethod
    def backward(grads, saved, eps, relu):
        """Return the gradients of input, weight and bias."""
        (grad,), (x, weight, bias), (mean, invstd) = grads, saved.inputs, saved.kept
        if not takes(grad, x, weight, bias, mean, invstd):
            return NotImplemented
        return _train_grad(grad, x, weight, bias, mean, invstd, relu, None)


class BatchNormEval:
    """Form of `minidl.ops.normalisation.BatchNormEval` for images; its backward is the definition's."""

    @staticmethod
    def forward(x, mean, var, weight, bias, eps, relu):
        """Return the normalised images."""
        if x.ndim != 4 or not takes(x, weight, bias, mean, var):
            return NotImplemented
        invstd = 1 / array_module(x).sqrt(var + eps)
        return (_normalise(backend.channels_last(x), mean, invstd, weight, bias, relu),), ()

    @staticmethod
    def backward(grads, saved, eps, relu):
        """Leave it to the definition."""
        return NotImplemented
