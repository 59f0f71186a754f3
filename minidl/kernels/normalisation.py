"""Normalisation, fused: each pass over the memory does all that can be done with it.

These kernels have no plain form here: their definition is made of Tensor operations in
``minidl/ops/normalisation.py``, and runs wherever a kernel returns NotImplemented.
Channel statistics are merged from those of fixed pieces by the formula of T. Chan,
G. Golub and R. LeVeque, "Updating formulae and a pairwise algorithm for computing
sample variances", 1979.
"""

from __future__ import annotations

from minidl.kernels import Kernel


@Kernel
def batch_norm_stats(x):
    """Mean and (biased) variance of each channel of `x`, shape (N, C, H, W): two arrays of shape (C,)."""
    return NotImplemented


@Kernel
def batch_norm_train(x, weight, bias, eps, relu, out=None):
    """Normalise each channel of `x` by its own statistics, scale, shift, and clip at 0 if `relu`.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    weight, bias : array, shape (C,), or None
        None stands for ones and zeros.
    eps : float
        Added to the variance.
    relu : bool
        Whether a ReLU follows.
    out : array, shape (N, C, H, W), optional
        Where to write `y`, not overlapping `x`; may be a slice of channels.

    Returns
    -------
    y : array, shape (N, C, H, W)
    mean, invstd, var : arrays, shape (C,)
        ``invstd = 1 / sqrt(var + eps)``; `var` is the biased variance.
    """
    return NotImplemented


@Kernel
def batch_norm_train_grad(grad, x, weight, bias, mean, invstd, relu, out=None):
    """Gradients ``(dx, dweight, dbias)`` of `batch_norm_train`, given the upstream `grad`.

    `mean` and `invstd` are what the forward pass returned, the other parameters what it was
    given; where the ReLU clipped is worked out again from `x`. The gradient of a `weight` or
    `bias` of None is None. `out` takes `dx`.
    """
    return NotImplemented


@Kernel
def batch_norm_eval(x, weight, bias, mean, var, eps, relu, out=None):
    """Normalise each channel of `x` by a given `mean` and `var`; else like `batch_norm_train`, returns `y`."""
    return NotImplemented


@Kernel
def layer_norm(x, d, weight, bias, eps):
    """Normalise rows of the last `d` numbers of a C-contiguous `x`; `weight` and `bias` hold `d` numbers or are None.

    Returns ``(y, mean, invstd)``, the last two with one number per row.
    """
    return NotImplemented


@Kernel
def layer_norm_grad(grad, x, d, weight, bias, mean, invstd):
    """Gradients ``(dx, dweight, dbias)`` of `layer_norm`; None for a `weight` or `bias` of None."""
    return NotImplemented


@Kernel
def local_response_norm(x, size, alpha, beta, k):
    """``x / (k + alpha / size * s) ** beta``, with ``s`` the sum of squares over `size` neighbouring channels."""
    return NotImplemented


@Kernel
def local_response_norm_grad(grad, x, size, alpha, beta, k):
    """Gradient of `local_response_norm` to its input."""
    return NotImplemented
