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
def batch_norms_train(xs, weights, biases, eps, relu, outs):
    """Normalise each channel by its own statistics, scale, shift, and clip at 0 if `relu`: of several arrays.

    Parameters
    ----------
    xs : list of arrays, shape (N, C, H, W)
        All of the same N, H and W; often slices of one array, and then fastest in its order.
    weights, biases : lists of arrays, shape (C,), or None
        None stands for ones and zeros.
    eps : list of float
        Added to the variance.
    relu : bool
        Whether a ReLU follows.
    outs : list of arrays, shape (N, C, H, W), or None
        Where to write `y`, not overlapping the input; may be a slice of channels.

    Returns
    -------
    list of tuples (y, mean, invstd, var)
        `y` has the shape of its input, the others (C,); ``invstd = 1 / sqrt(var + eps)``; `var` is the
        biased variance.
    """
    return NotImplemented


@Kernel
def batch_norms_again(xs, weights, biases, means, invstds, relu, outs):
    """The list of `y` that `batch_norms_train` returned with `means` and `invstds`, to the same bits."""
    return NotImplemented


@Kernel
def batch_norms_train_grad(grads, xs, weights, biases, means, invstds, relu, outs):
    """Gradients ``(dx, dweight, dbias)`` of `batch_norms_train`, given the upstream `grads`.

    `means` and `invstds` are what the forward pass returned, the other parameters what it was
    given; where the ReLU clipped is worked out again from the inputs. The gradient of a weight or
    bias of None is None. `outs` takes the `dx`.
    """
    return NotImplemented


def batch_norm_train(x, weight, bias, eps, relu, out=None):
    """`batch_norms_train` of one array: ``(y, mean, invstd, var)``, or NotImplemented."""
    result = batch_norms_train([x], [weight], [bias], [eps], relu, [out])
    return result if result is NotImplemented else result[0]


def batch_norm_train_grad(grad, x, weight, bias, mean, invstd, relu, out=None):
    """`batch_norms_train_grad` of one array: ``(dx, dweight, dbias)``, or NotImplemented."""
    result = batch_norms_train_grad([grad], [x], [weight], [bias], [mean], [invstd], relu, [out])
    return result if result is NotImplemented else result[0]


@Kernel
def batch_norm_eval(x, weight, bias, mean, var, eps, relu, out=None):
    """Normalise each channel of `x` by a given `mean` and `var`; else like `batch_norms_train`, returns `y`."""
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
