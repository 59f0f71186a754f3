"""Normalisation: batch, layer and local response.

Each is defined here in Tensor operations, line by line as in its paper; the fused
kernels are held to these definitions by the tests.

References: S. Ioffe and C. Szegedy, "Batch Normalization", arXiv 1502.03167; J. Ba et
al., "Layer Normalization", arXiv 1607.06450; A. Krizhevsky et al., "ImageNet
Classification with Deep Convolutional Neural Networks", 2012, section 3.3.
"""

from __future__ import annotations

import math

from minidl import checks
from minidl.kernels import normalisation as kernels
from minidl.ops.fused import Fused
from minidl.ops.promotion import floating, tensor_of


def _per_channel(x, ndim):
    """A vector over channels, shaped to broadcast over (N, C, ...)."""
    return None if x is None else x.reshape((1, -1) + (1,) * (ndim - 2))


def _affine(y, weight, bias, relu):
    y = y if weight is None else y * _per_channel(weight, y.ndim)
    y = y if bias is None else y + _per_channel(bias, y.ndim)
    return y.relu() if relu else y


class BatchNorm(Fused):
    """Normalise every channel by the mean and variance of the batch."""

    @staticmethod
    def definition(x, weight, bias, eps, relu):
        axes = (0,) + tuple(range(2, x.ndim))
        mean = x.mean(axes, keepdim=True)
        deviation = x - mean
        var = (deviation * deviation).mean(axes, keepdim=True)
        y = _affine(deviation * (var + eps).rsqrt(), weight, bias, relu)
        return y, mean.flatten(), var.flatten()

    def fast_forward(self, x, weight, bias, eps, relu):
        if x.ndim != 4:
            return NotImplemented
        result = kernels.batch_norm_train(x, weight, bias, eps, relu)
        if result is NotImplemented:
            return result
        y, mean, invstd, var = result
        self.kept = (mean, invstd)
        return y, mean, var

    def fast_backward(self, grads, inputs, kept, eps, relu):
        x, weight, bias = inputs
        return kernels.batch_norm_train_grad(grads[0], x, weight, bias, *kept, relu)


class BatchNormEval(Fused):
    """Normalise every channel by a given mean and variance: one scale and one shift."""

    @staticmethod
    def definition(x, mean, var, weight, bias, eps, relu):
        scale = (var + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        return (_affine(x, scale, shift, relu),)

    def fast_forward(self, x, mean, var, weight, bias, eps, relu):
        if x.ndim != 4:
            return NotImplemented
        y = kernels.batch_norm_eval(x, weight, bias, mean, var, eps, relu)
        return y if y is NotImplemented else (y,)


class LayerNorm(Fused):
    """Normalise every row over the last axes."""

    @staticmethod
    def definition(x, weight, bias, axes, eps):
        mean = x.mean(axes, keepdim=True)
        deviation = x - mean
        y = deviation * ((deviation * deviation).mean(axes, keepdim=True) + eps).rsqrt()
        y = y if weight is None else y * weight
        return (y if bias is None else y + bias,)

    def fast_forward(self, x, weight, bias, axes, eps):
        self.length = math.prod(x.shape[axis] for axis in axes)
        result = kernels.layer_norm(x, self.length, weight, bias, eps) if x.size else NotImplemented
        if result is NotImplemented:
            return result
        y, *self.kept = result
        return (y,)

    def fast_backward(self, grads, inputs, kept, axes, eps):
        return kernels.layer_norm_grad(grads[0], inputs[0], self.length, *inputs[1:], *kept)


class LocalResponseNorm(Fused):
    """Divide by a power of the mean square over neighbouring channels."""

    @staticmethod
    def definition(x, size, alpha, beta, k):
        C = x.shape[1]
        lead = (0, 0) * (x.ndim - 2)
        squares = (x * x).pad(lead + (size // 2, (size - 1) // 2))
        total = squares[:, :C]
        for shift in range(1, size):
            total = total + squares[:, shift : shift + C]
        return (x * (total * (alpha / size) + k) ** -beta,)

    def fast_forward(self, x, **options):
        y = kernels.local_response_norm(x, **options)
        return y if y is NotImplemented else (y,)

    def fast_backward(self, grads, inputs, kept, **options):
        dx = kernels.local_response_norm_grad(grads[0], inputs[0], **options)
        return dx if dx is NotImplemented else (dx,)


def batch_norm_train(input, weight=None, bias=None, eps=1e-5, relu=False):
    """Batch normalisation by the batch's own statistics, with an optional ReLU behind it.

    Parameters
    ----------
    input : Tensor, shape (N, C, ...)
    weight, bias : Tensor, shape (C,), optional
        Scale and shift after the normalisation.
    eps : float
        Added to the variance.
    relu : bool
        Clip the result at 0.

    Returns
    -------
    (output, mean, var)
        The statistics, shape (C,), carry no gradient; `var` is the biased one.

    Raises
    ------
    ValueError
        With fewer than two values per channel: their variance says nothing.

    Examples
    --------
    >>> import minidl
    >>> y, mean, var = minidl.batch_norm_train(minidl.tensor([[1.0], [3.0]]))
    >>> mean, var
    (tensor([2.]), tensor([1.]))
    """
    C = _check_channels(input, weight=weight, bias=bias)
    if input.data.size <= C:
        count = input.data.size // max(C, 1)
        raise ValueError(f"`input` of shape {input.shape} has {count} value per channel; training needs 2")
    return BatchNorm.apply(input, weight, bias, eps=eps, relu=relu)


def batch_norm_eval(input, mean, var, weight=None, bias=None, eps=1e-5, relu=False):
    """Batch normalisation by given statistics of shape (C,): one scale and one shift per channel."""
    _check_channels(input, mean=mean, var=var, weight=weight, bias=bias)
    return BatchNormEval.apply(input, mean, var, weight, bias, eps=eps, relu=relu)


def _check_channels(input, **vectors):
    if floating(input).ndim < 2:
        raise ValueError(f"`input` must have at least 2 axes (N, C, ...), found shape {input.shape}")
    C = input.shape[1]
    for name, vector in vectors.items():
        if vector is not None and tensor_of(vector, name).shape != (C,):
            raise ValueError(f"`{name}` has shape {vector.shape} but `input` has {C} channels: shape {input.shape}")
    return C


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Normalise over the last axes, which must have `normalized_shape`; scale and shift per element."""
    shape = checks.lengths((normalized_shape,), "normalized_shape")
    if not shape or floating(input).shape[max(input.ndim - len(shape), 0) :] != shape:
        raise ValueError(f"`normalized_shape` is {shape} but `input` has shape {input.shape}")
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and tensor_of(vector, name).shape != shape:
            raise ValueError(f"`{name}` has shape {vector.shape} but `normalized_shape` is {shape}")
    axes = tuple(range(input.ndim - len(shape), input.ndim))
    return LayerNorm.apply(input, weight, bias, axes=axes, eps=eps)


def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """``input / (k + alpha / size * sum of squares over `size` channels) ** beta``, PyTorch's definition.

    Raises
    ------
    ValueError
        If `size` is less than 1 or there is no channel axis.
    """
    size = checks.integer(size, "size", least=1)
    _check_channels(input)
    return LocalResponseNorm.apply(input, size=size, alpha=alpha, beta=beta, k=k)
