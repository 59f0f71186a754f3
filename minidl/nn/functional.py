"""The stateless functions under PyTorch's ``nn.functional`` names: the ops, and batch norm with running statistics."""

from __future__ import annotations

from minidl.ops import functions
from minidl.ops.normalisation import batch_norm_eval, batch_norm_train

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


def update_running(running_mean, running_var, mean, var, count, momentum):
    """Move the running statistics towards a batch's, with the unbiased variance; in place."""
    for running, new in ((running_mean, mean.data), (running_var, var.data * (count / (count - 1)))):
        running.data *= 1 - momentum
        running.data += momentum * new
        running.bump_version()
