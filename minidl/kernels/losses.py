"""Softmax cross-entropy, fused: from logits to loss, and back, in one pass each.

These kernels have no plain form here: the definition, made of Tensor operations, is in
``minidl/ops/losses.py`` and runs wherever a kernel returns NotImplemented.
"""

from __future__ import annotations

from minidl.kernels import Kernel


@Kernel
def cross_entropy(logits, target, weight, ignore_index, label_smoothing, reduction):
    """Cross-entropy between rows of logits and class indices, as PyTorch's ``cross_entropy``.

    Parameters
    ----------
    logits : array, shape (N, K)
    target : array of integers, shape (N,)
    weight : array, shape (K,), or None
        Weight of each class.
    ignore_index : int
        Rows with this target count nothing.
    label_smoothing : float
        Share of the target spread evenly over the classes.
    reduction : str
        ``"mean"`` (over the weights of the targets), ``"sum"`` or ``"none"``.

    Returns
    -------
    loss : array, 0-d, or of shape (N,) for ``"none"``
    normaliser : array, shape (N, 2)
        Largest logit of each row, and the logarithm of the sum of exponentials relative to it.
    total_weight : array, 0-d
        Sum of the weights of the targets, by which ``"mean"`` divides.

    Raises
    ------
    IndexError
        If a target is neither `ignore_index` nor from 0 to ``K - 1``.
    """
    return NotImplemented


@Kernel
def cross_entropy_grad(
    grad, logits, target, weight, normaliser, total_weight, ignore_index, label_smoothing, reduction
):
    """Gradient to the logits, given the upstream `grad` of the loss and what `cross_entropy` returned."""
    return NotImplemented
