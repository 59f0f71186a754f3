"""Normalisation: batch, layer and local response.

Each is defined here in Tensor operations, line by line as in its paper; differentiating the definition gives the
gradients. A faster form is held to the definition by the tests.

**Batch norm's gradient in six lines** (a prime: the gradient of the loss with respect to). Of n values x of a channel,
with xc = x - mean(x), s = 1 / sqrt(mean(xc^2) + eps) and y = s xc:

    s' = sum(y' xc)                               y = s xc, and s is one number for all values
    (mean(xc^2))' = -1/2 s^3 s'                   since d(v + eps)^(-1/2) = -1/2 (v + eps)^(-3/2) dv
    xc' = s y' + 2/n xc (-1/2 s^3 s')             xc counts in y and in the mean of its squares
        = s (y' - y mean(y' y))                   since s xc = y twice, and sum / n is the mean
    x' = xc' - mean(xc')                          the adjoint of "subtract the mean" is itself
       = s (y' - mean(y') - y mean(y' y))         since mean(y) = 0

An upstream gradient of all ones gives x' = 0: the sum of normalised values does not depend on x. That is why a gradient
check of batch norm needs a random upstream gradient.

References: S. Ioffe and C. Szegedy, "Batch Normalization", arXiv 1502.03167; J. Ba et
al., "Layer Normalization", arXiv 1607.06450; A. Krizhevsky et al., "ImageNet
Classification with Deep Convolutional Neural Networks", 2012, section 3.3.
"""

from __future__ import annotations

from typing import Any

from minidl import checks
from minidl.backend import Shape
from minidl.checks import Ints, flag, number
from minidl.ops.fused import Fused
from minidl.ops.promotion import floating, tensor_of
from minidl.tensor import Tensor


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
    def definition(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, relu: bool) -> tuple[Tensor, ...]:
        axes = (0,) + tuple(range(2, x.ndim))
        mean = x.mean(axes, keepdim=True)
        deviation = x - mean
        var = (deviation * deviation).mean(axes, keepdim=True)
        y = _affine(deviation * (var + eps).rsqrt(), weight, bias, relu)
        return y, mean.flatten(), var.flatten()


class BatchNormEval(Fused):
    """Normalise every channel by a given mean and variance: one scale and one shift."""

    @staticmethod
    def definition(
        x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, relu: bool
    ) -> tuple[Tensor, ...]:
        scale = (var + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        return (_affine(x, scale, shift, relu),)


class LayerNorm(Fused):
    """Normalise every row over the last axes."""

    @staticmethod
    def definition(
        x: Tensor, weight: Tensor | None, bias: Tensor | None, axes: Shape, eps: float
    ) -> tuple[Tensor, ...]:
        mean = x.mean(axes, keepdim=True)
        deviation = x - mean
        y = deviation * ((deviation * deviation).mean(axes, keepdim=True) + eps).rsqrt()
        y = y if weight is None else y * weight
        return (y if bias is None else y + bias,)


class LocalResponseNorm(Fused):
    """Divide by a power of the mean square over neighbouring channels."""

    @staticmethod
    def definition(x: Tensor, size: int, alpha: float, beta: float, k: float) -> tuple[Tensor, ...]:
        C = x.shape[1]
        lead = (0, 0) * (x.ndim - 2)
        before, after = min(size // 2, C), min((size - 1) // 2, C)  # beyond them there are no channels
        squares = (x * x).pad(lead + (before, after))
        total = squares[:, :C]
        for shift in range(1, before + after + 1):
            total = total + squares[:, shift : shift + C]
        return (x * (total * (alpha / size) + k) ** -beta,)


def batch_norm_train(
    input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, relu: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
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
    C = check_channels(input, weight=weight, bias=bias)
    if input.data.size <= C:
        count = input.data.size // max(C, 1)
        raise ValueError(f"`input` of shape {input.shape} has {count} value per channel; training needs 2")
    return BatchNorm.apply(input, weight, bias, eps=float(number(eps, "eps")), relu=flag(relu, "relu"))


def batch_norm_eval(
    input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, relu: bool = False,
) -> Tensor:
    """Batch normalisation by given statistics of shape (C,): one scale and one shift per channel."""
    tensor_of(mean, "mean"), tensor_of(var, "var")
    check_channels(input, mean=mean, var=var, weight=weight, bias=bias)
    return BatchNormEval.apply(input, mean, var, weight, bias, eps=float(number(eps, "eps")), relu=flag(relu, "relu"))


def check_channels(input: Tensor, **vectors: Any) -> int:
    """Number of channels of `input` (N, C, ...); one clear error for vectors (or None) that have not as many."""
    if floating(input).ndim < 2:
        raise ValueError(f"`input` must have at least 2 axes (N, C, ...), found shape {input.shape}")
    C = input.shape[1]
    for name, vector in vectors.items():
        if vector is not None and tensor_of(vector, name).shape != (C,):
            raise ValueError(f"`{name}` has shape {vector.shape} but `input` has {C} channels: shape {input.shape}")
    return C


def layer_norm(
    input: Tensor, normalized_shape: Ints, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise over the last axes, which must have `normalized_shape`; scale and shift per element."""
    shape = checks.lengths((normalized_shape,), "normalized_shape")
    if not shape or floating(input).shape[max(input.ndim - len(shape), 0) :] != shape:
        raise ValueError(f"`normalized_shape` is {shape} but `input` has shape {input.shape}")
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and tensor_of(vector, name).shape != shape:
            raise ValueError(f"`{name}` has shape {vector.shape} but `normalized_shape` is {shape}")
    axes = tuple(range(input.ndim - len(shape), input.ndim))
    return LayerNorm.apply(input, weight, bias, axes=axes, eps=float(number(eps, "eps")))


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """``input / (k + alpha / size * sum of squares over `size` channels) ** beta``, PyTorch's definition.

    Raises
    ------
    ValueError
        If `size` is less than 1 or there is no channel axis.
    """
    number(alpha, "alpha"), number(beta, "beta"), number(k, "k")
    size = min(checks.integer(size, "size", least=1), checks.MOST)
    check_channels(input)
    return LocalResponseNorm.apply(input, size=size, alpha=alpha, beta=beta, k=k)
