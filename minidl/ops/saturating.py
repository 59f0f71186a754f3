"""Activations made of other ops: those of mobile networks, with learned slopes, and with gates."""

from __future__ import annotations

from minidl import checks
from minidl.backend import array_module
from minidl.ops.arithmetic import where
from minidl.ops.elementwise import elu
from minidl.ops.tiling import narrow
from minidl.tensor import Tensor

SELU = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946  # alpha and scale, arXiv 1706.02515


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`input` limited to [min_val, max_val]; derivative 0 at the limits and beyond."""
    if min_val > max_val:
        raise ValueError(f"`min_val` is {min_val} and `max_val` {max_val}; accepted: a smaller and a larger number")
    x = input.data
    inside = (x > min_val) & (x < max_val)
    limited = array_module(x).clip(x, min_val, max_val).astype(x.dtype)
    return where(inside | (x != x), input, Tensor(limited))


def relu6(input: Tensor) -> Tensor:
    """min(max(input, 0), 6) (A. Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010)."""
    return hardtanh(input, 0, 6)


def hardswish(input: Tensor) -> Tensor:
    """``input * relu6(input + 3) / 6`` (A. Howard et al., "Searching for MobileNetV3", arXiv 1905.02244)."""
    x = input.data
    return where(x <= -3, input * 0, where(x >= 3, input, input * (input + 3) / 6))


def selu(input: Tensor) -> Tensor:
    """`elu` scaled to keep mean 0 and variance 1 (G. Klambauer et al., arXiv 1706.02515)."""
    alpha, scale = SELU
    return scale * elu(input, alpha)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """`input` where positive, ``weight * input`` elsewhere: one learned slope, or one for each channel, axis 1.

    Reference: K. He et al., "Delving Deep into Rectifiers", arXiv 1502.01852.
    """
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.data.size not in (1, channels):
        raise ValueError(f"`weight` has shape {weight.shape}; accepted: 1 slope or {channels}, `input` is {input.shape}")
    slopes = weight.reshape((1, -1) + (1,) * (input.ndim - 2)) if input.ndim > 1 else weight.reshape(())
    return where(input.data > 0, input, slopes * input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """One half of the slices along `dim` times the sigmoid of the other (Y. Dauphin et al., arXiv 1612.08083)."""
    if input.ndim == 0:
        raise ValueError("`input` of glu() has no axes; accepted: at least 1 axis")
    axis = checks.axis(dim, input.ndim)
    half, odd = divmod(input.shape[axis], 2)
    if odd:
        raise ValueError(f"`input` has shape {input.shape}; accepted: an even number of slices along axis {axis}")
    return narrow(input, axis, 0, half) * narrow(input, axis, half, half).sigmoid()
