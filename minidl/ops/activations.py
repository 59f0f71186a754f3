"""Activations made of other operations: smooth ones, those of mobile networks, with learned slopes, and with gates."""

from __future__ import annotations

import math

from minidl import checks
from minidl.backend import array_module, quietly
from minidl.checks import choice, flag, number
from minidl.ops.arithmetic import where
from minidl.ops.elementwise import erf, softplus
from minidl.ops.fused import Fused
from minidl.ops.promotion import floating, tensor_of
from minidl.ops.tiling import narrow
from minidl.tensor import Tensor

SELU = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946  # alpha and scale, arXiv 1706.02515


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input where positive, negative_slope * input elsewhere."""
    flag(inplace, "inplace")
    y = where(floating(input) > 0, input, input * number(negative_slope, "negative_slope"))
    return input.become(y) if inplace else y


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where positive, alpha * (exp(input) - 1) elsewhere (Clevert et al., arXiv 1511.07289)."""
    flag(inplace, "inplace")
    positive = floating(input) > 0
    y = where(positive, input, number(alpha, "alpha") * where(positive, 0.0, input).expm1())
    return input.become(y) if inplace else y


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input * sigmoid(input) (Elfwing et al., arXiv 1702.03118)."""
    flag(inplace, "inplace")
    y = floating(input) * input.sigmoid()
    return input.become(y) if inplace else y


class Gelu(Fused):
    """`input` times the share of the normal distribution that lies below it."""

    @staticmethod
    def definition(x: Tensor) -> tuple[Tensor, ...]:
        return (0.5 * x * (1 + erf(x * math.sqrt(0.5))),)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Gaussian error linear unit (Hendrycks and Gimpel, arXiv 1606.08415).

    Parameters
    ----------
    input : Tensor
    approximate : str
        ``"none"``: input times the normal distribution's share below it. ``"tanh"``: nearly that, by tanh.

    Raises
    ------
    ValueError
        If `approximate` is anything else.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    >>> minidl.gelu(x).sum().backward()
    >>> x.grad
    tensor([-0.0833,  0.5   ,  1.0833])
    """
    choice(approximate, "approximate", ("none", "tanh"))
    floating(input)
    if approximate == "none":
        return Gelu.apply(input)
    inner = math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)
    return 0.5 * input * (1 + inner.tanh())


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(input)) without overflow."""
    return -softplus(-floating(input))


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`input` limited to [min_val, max_val]; derivative 0 at the limits and beyond."""
    number(min_val, "min_val"), number(max_val, "max_val")
    if not min_val <= max_val:
        raise ValueError(f"`min_val` is {min_val} and `max_val` {max_val}; accepted: a smaller and a larger number")
    x = tensor_of(input).data
    inside = ((input > min_val) & (input < max_val)).data
    limited = quietly(array_module(x).clip, x, min_val, max_val).astype(x.dtype)
    return where(inside | (x != x), input, Tensor(limited))


def relu6(input: Tensor) -> Tensor:
    """min(max(input, 0), 6) (A. Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010)."""
    return hardtanh(input, 0, 6)


def hardswish(input: Tensor) -> Tensor:
    """``input * relu6(input + 3) / 6`` (A. Howard et al., "Searching for MobileNetV3", arXiv 1905.02244)."""
    x = tensor_of(input).data
    return where(x <= -3, input * 0, where(x >= 3, input, input * (input + 3) / 6))


def selu(input: Tensor) -> Tensor:
    """`elu` scaled to keep mean 0 and variance 1 (G. Klambauer et al., arXiv 1706.02515)."""
    alpha, scale = SELU
    return scale * elu(input, alpha)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """`input` where positive, ``weight * input`` elsewhere: one learned slope, or one for each channel, axis 1.

    Reference: K. He et al., "Delving Deep into Rectifiers", arXiv 1502.01852.
    """
    channels = input.shape[1] if tensor_of(input).ndim > 1 else 1
    if tensor_of(weight, "weight").ndim > 1 or weight.data.size not in (1, channels):
        raise ValueError(f"`weight` has shape {weight.shape}; accepted: 1 slope or {channels} for {input.shape}")
    slopes = weight.reshape((1, -1) + (1,) * (input.ndim - 2)) if input.ndim > 1 else weight.reshape(())
    return where(input.data > 0, input, slopes * input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """One half of the slices along `dim` times the sigmoid of the other (Y. Dauphin et al., arXiv 1612.08083)."""
    if tensor_of(input).ndim == 0:
        raise ValueError("`input` of glu() has no axes; accepted: at least 1 axis")
    axis = checks.axis(dim, input.ndim)
    half, odd = divmod(input.shape[axis], 2)
    if odd:
        raise ValueError(f"`input` has shape {input.shape}; accepted: an even number of slices along axis {axis}")
    return narrow(input, axis, 0, half) * narrow(input, axis, half, half).sigmoid()
