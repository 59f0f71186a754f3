"""Whole rows, images and channels made larger or smaller: normalisation without the batch, dropout of channels.

References: D. Ulyanov et al., "Instance Normalization", arXiv 1607.08022; B. Zhang and R. Sennrich, "Root Mean
Square Layer Normalization", arXiv 1910.07467.
"""

from __future__ import annotations

import numpy as np

from minidl.checks import Ints
from minidl.ops.creation import ones
from minidl.ops.dropout import dropout
from minidl.ops.normalisation import batch_norm_train, check_channels
from minidl.ops.promotion import tensor_of
from minidl.random import GENERAL
from minidl.tensor import Tensor


def rms_norm(input: Tensor, normalized_shape: Ints, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """Divide by the root of the mean square over the last axes, which must have `normalized_shape`.

    `eps` is added to the mean square; None takes the dtype's precision.
    """
    shape = (normalized_shape,) if hasattr(normalized_shape, "__index__") else tuple(normalized_shape)
    if not shape or tensor_of(input).shape[len(input.shape) - len(shape) :] != shape:
        raise ValueError(f"`normalized_shape` is {shape} but `input` has shape {input.shape}")
    if weight is not None and tensor_of(weight, "weight").shape != shape:
        raise ValueError(f"`weight` has shape {weight.shape} but `normalized_shape` is {shape}")
    axes = tuple(range(input.ndim - len(shape), input.ndim))
    eps = float(np.finfo(input.dtype).eps) if eps is None else eps
    y = input * ((input * input).mean(axes, keepdim=True) + eps).rsqrt()
    return y if weight is None else y * weight


def instance_norm_train(
    input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise every channel of every image by its own mean and variance: each counts as a channel of one batch.

    Returns the output, and mean and biased variance, shape (N, C), without gradient.
    """
    check_channels(input, weight=weight, bias=bias)
    if input.ndim < 3:
        raise ValueError(f"`input` has shape {input.shape}; accepted: (N, C, L), (N, C, H, W), ...")
    N, C = input.shape[:2]
    y, mean, var = batch_norm_train(input.reshape(1, N * C, *input.shape[2:]), eps=eps)
    y, per_channel = y.reshape(input.shape), (1, C) + (1,) * (input.ndim - 2)
    y = y if weight is None else y * weight.reshape(per_channel)
    return (y if bias is None else y + bias.reshape(per_channel)), mean.reshape(N, C), var.reshape(N, C)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, layer: int = GENERAL) -> Tensor:
    """Zero whole channels of (N, C, H, W) with probability `p` and divide the others by ``1 - p``; see `dropout`."""
    if tensor_of(input).ndim not in (3, 4):
        raise ValueError(f"`input` has shape {input.shape}; accepted: (N, C, H, W) or (C, H, W)")
    if not training:
        return input
    shape = input.shape[:-2] + (1, 1)
    return input * dropout(ones(shape, dtype=input.dtype, device=input.device), p, training, layer)
