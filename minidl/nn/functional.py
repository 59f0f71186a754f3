"""The stateless functions under PyTorch's ``nn.functional`` names: the ops, and what is put together from them."""

from __future__ import annotations

import math

from minidl.ops import functions
from minidl.ops.arithmetic import where
from minidl.ops.normalisation import batch_norm_eval, batch_norm_train, layer_norm
from minidl.ops.rescaling import instance_norm_train

globals().update(functions)


def batch_norm(
    input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5, relu=False
):
    """Batch normalisation as PyTorch's ``F.batch_norm``; in training the running statistics are updated in place.

    Parameters
    ----------
    input : Tensor, shape (N, C, ...)
    running_mean, running_var : Tensor, shape (C,), or None
        Moving averages; `running_var` is of the unbiased variance.
    weight, bias : Tensor, shape (C,), optional
    training : bool
        Normalise by the batch's statistics (else by the running ones).
    momentum : float
        Weight of the newest batch in the running statistics.
    relu : bool
        Clip at 0 in the same pass (not in PyTorch).
    """
    if not training:
        return batch_norm_eval(input, running_mean, running_var, weight, bias, eps, relu)
    y, mean, var = batch_norm_train(input, weight, bias, eps, relu)
    if running_mean is not None:
        update_running(running_mean, running_var, mean, var, input.data.size // input.shape[1], momentum)
    return y


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalise each of `num_groups` groups of channels of every sample of `input`, (N, C, ...)."""
    N, C = input.shape[:2]
    if num_groups < 1 or C % num_groups:
        raise ValueError(f"`num_groups` is {num_groups}, which must divide the {C} channels of `input` {input.shape}")
    groups = input.reshape(N, num_groups, math.prod(input.shape[1:]) // num_groups)
    y = layer_norm(groups, groups.shape[2], eps=eps).reshape(input.shape)
    per_channel = (1, C) + (1,) * (input.ndim - 2)
    y = y if weight is None else y * weight.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel)


def instance_norm(
    input,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    """Normalise every channel of every image by its own statistics, or by the running ones; options of `batch_norm`."""
    if not use_input_stats:
        return batch_norm_eval(input, running_mean, running_var, weight, bias, eps)
    y, mean, var = instance_norm_train(input, weight, bias, eps)
    if running_mean is not None:
        update_running(running_mean, running_var, mean.mean(0), var.mean(0), math.prod(input.shape[2:]), momentum)
    return y


def softplus(input, beta=1.0, threshold=20.0):
    """``log(1 + exp(beta * input)) / beta``; the input itself where ``beta * input`` exceeds `threshold`."""
    scaled = beta * input
    return where(scaled > threshold, input, functions["softplus"](scaled) / beta)


def update_running(running_mean, running_var, mean, var, count, momentum):
    """Move the running statistics towards a batch's, with the unbiased variance; in place."""
    for running, new in ((running_mean, mean.data), (running_var, var.data * (count / (count - 1)))):
        running.data *= 1 - momentum
        running.data += momentum * new
        running.bump_version()
