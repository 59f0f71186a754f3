"""The stateless functions under PyTorch's ``nn.functional`` names: the ops, and functions composed of them."""

from __future__ import annotations

import math

from minidl import checks
from minidl.backend import quietly
from minidl.ops import elementwise
from minidl.ops.activations import (
    elu,
    gelu,
    glu,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    prelu,
    relu6,
    selu,
    silu,
)  # fmt: skip
from minidl.ops.arithmetic import where
from minidl.ops.attention import scaled_dot_product_attention
from minidl.ops.average_pooling import adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d
from minidl.ops.conv_transpose import conv_transpose2d
from minidl.ops.convolution import conv2d
from minidl.ops.dropout import dropout
from minidl.ops.elementwise import relu, sigmoid, tanh
from minidl.ops.embedding import embedding
from minidl.ops.im2col import fold, unfold
from minidl.ops.losses import (
    cross_entropy,
    l1_loss,
    log_softmax,
    mse_loss,
    nll_loss,
    softmax,
)  # fmt: skip
from minidl.ops.matmul import linear
from minidl.ops.max_pooling import adaptive_max_pool2d, max_pool2d
from minidl.ops.normalisation import batch_norm_eval, batch_norm_train, layer_norm, local_response_norm
from minidl.ops.objectives import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cosine_similarity, huber_loss, kl_div, normalize,
    smooth_l1_loss,
)  # fmt: skip
from minidl.ops.padding import pad
from minidl.ops.promotion import floating, tensor_of
from minidl.ops.resampling import interpolate, pixel_shuffle, pixel_unshuffle
from minidl.ops.rescaling import dropout2d, instance_norm_train, rms_norm
from minidl.ops.sampling import grid_sample
from minidl.ops.selecting import one_hot
from minidl.ops.sequences import (
    adaptive_avg_pool1d,
    adaptive_max_pool1d,
    avg_pool1d,
    conv1d,
    conv_transpose1d,
    max_pool1d,
)  # fmt: skip
from minidl.tensor import Tensor

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "avg_pool1d",
    "avg_pool2d", "batch_norm", "binary_cross_entropy", "binary_cross_entropy_with_logits", "conv1d", "conv2d",
    "conv_transpose1d", "conv_transpose2d", "cosine_similarity", "cross_entropy", "dropout", "dropout2d", "elu",
    "embedding", "fold", "gelu", "global_avg_pool2d", "glu", "grid_sample", "group_norm", "hardswish", "hardtanh",
    "huber_loss", "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear",
    "local_response_norm", "log_softmax", "logsigmoid", "max_pool1d", "max_pool2d", "mse_loss", "nll_loss",
    "normalize", "one_hot", "pad", "pixel_shuffle", "pixel_unshuffle", "prelu", "relu", "relu6", "rms_norm",
    "scaled_dot_product_attention", "selu", "sigmoid", "silu", "smooth_l1_loss", "softmax", "softplus", "tanh",
    "unfold",
]  # fmt: skip


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5, relu: bool = False,
) -> Tensor:
    """Batch normalisation as PyTorch's ``F.batch_norm``; in training the running statistics are updated in place.

    Parameters
    ----------
    input : Tensor, shape (N, C, ...)
    running_mean, running_var : Tensor, shape (C,), or None
        Moving averages; `running_var` is of the unbiased variance.
    weight, bias : Tensor, shape (C,), optional
    training : bool
        True to normalise by the statistics of the batch, False by the running ones.
    momentum : float
        Weight of the newest batch in the running statistics.
    relu : bool
        Apply ReLU in the same pass (not in PyTorch).
    """
    checks.flag(training, "training"), checks.flag(relu, "relu")
    checks.number(momentum, "momentum"), checks.number(eps, "eps")
    if not training:
        for name, statistic in (("running_mean", running_mean), ("running_var", running_var)):
            tensor_of(statistic, name)
        return batch_norm_eval(input, running_mean, running_var, weight, bias, eps, relu)
    y, mean, var = batch_norm_train(input, weight, bias, eps, relu)
    if running_mean is not None:
        update_running(running_mean, running_var, mean, var, input.data.size // input.shape[1], momentum)
    return y


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise every group of channels of every sample of `input`, (N, C, ...), by its own statistics."""
    checks.number(eps, "eps")
    if floating(input).ndim < 2:
        raise ValueError(f"`input` must have at least 2 axes (N, C, ...), found shape {input.shape}")
    N, C = input.shape[:2]
    if checks.integer(num_groups, "num_groups") < 1 or C % num_groups:
        raise ValueError(f"`num_groups` is {num_groups}, which must divide the {C} channels of `input` {input.shape}")
    groups = input.reshape(N, num_groups, math.prod(input.shape[1:]) // num_groups)
    y = layer_norm(groups, groups.shape[2], eps=eps).reshape(input.shape)
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and tensor_of(vector, name).shape != (C,):
            raise ValueError(f"`{name}` has shape {vector.shape} but `input` has {C} channels: shape {input.shape}")
    per_channel = (1, C) + (1,) * (input.ndim - 2)
    y = y if weight is None else y * weight.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise every channel of every image by its own statistics, or by the running ones, as `batch_norm` does."""
    checks.flag(use_input_stats, "use_input_stats"), checks.number(momentum, "momentum"), checks.number(eps, "eps")
    if not checks.flag(use_input_stats, "use_input_stats"):
        return batch_norm_eval(input, running_mean, running_var, weight, bias, eps)
    y, mean, var = instance_norm_train(input, weight, bias, eps)
    if running_mean is not None:
        update_running(running_mean, running_var, mean.mean(0), var.mean(0), math.prod(input.shape[2:]), momentum)
    return y


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * input)) / beta``; the input itself where ``beta * input`` exceeds `threshold`."""
    checks.number(threshold, "threshold")
    scaled = checks.number(beta, "beta") * floating(input)
    return where(scaled > threshold, input, elementwise.softplus(scaled) / beta)


def update_running(
    running_mean: Tensor, running_var: Tensor, mean: Tensor, var: Tensor, count: int, momentum: float
) -> None:
    """Move the running statistics towards those of a batch, with the unbiased variance; in place."""
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        if floating(running, name).shape != mean.shape:
            raise ValueError(f"`{name}` has shape {running.shape} but there are {mean.shape[0]} channels")
    for running, new in ((running_mean, mean.data), (running_var, var.data * (count / (count - 1)))):
        quietly(_move, running.data, new, momentum)
        running.bump_version()


def _move(running, new, momentum):
    running *= 1 - momentum
    running += momentum * new
