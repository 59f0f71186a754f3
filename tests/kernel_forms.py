"""The CPU's forms of fused operations as plain functions on arrays, for the tests that hold them to the definitions."""

import math

from minidl.kernels.cpu.losses import CrossEntropy
from minidl.kernels.cpu.normalisation.channels import BatchNormEval, batch_norms_train, batch_norms_train_grad
from minidl.kernels.cpu.normalisation.rows import LayerNorm, LocalResponseNorm
from minidl.ops.fused import Saved


def saved(inputs, kept=()):
    return Saved(list(inputs), list(kept), (True, False, False))


def batch_norm_train(x, weight, bias, eps, relu, out=None):
    return batch_norms_train([x], [weight], [bias], [eps], relu, [out])[0]


def batch_norm_train_grad(grad, x, weight, bias, mean, invstd, relu, out=None):
    return batch_norms_train_grad([grad], [x], [weight], [bias], [mean], [invstd], relu, [out])[0]


def batch_norm_eval(x, weight, bias, mean, var, eps, relu):
    return BatchNormEval.forward(x, mean, var, weight, bias, eps, relu)[0][0]


def layer_norm(x, d, weight, bias, eps):
    (y,), (mean, invstd) = LayerNorm.forward(x, weight, bias, axes_of(x, d), eps)
    return y, mean, invstd


def layer_norm_grad(grad, x, d, weight, bias, mean, invstd):
    return LayerNorm.backward([grad], saved((x, weight, bias), (mean, invstd)), axes_of(x, d), 0.0)


def axes_of(x, d):
    """The last axes of `x` that hold `d` numbers together."""
    first = next(i for i in range(x.ndim, -1, -1) if math.prod(x.shape[i:]) == d)
    return tuple(range(first, x.ndim))


def local_response_norm(x, size, alpha, beta, k):
    return LocalResponseNorm.forward(x, size, alpha, beta, k)[0][0]


def local_response_norm_grad(grad, x, size, alpha, beta, k):
    return LocalResponseNorm.backward([grad], saved((x,)), size, alpha, beta, k)[0]


def cross_entropy(logits, target, weight, ignore_index, label_smoothing, reduction):
    (loss,), kept = CrossEntropy.forward(logits, target, weight, ignore_index, label_smoothing, reduction)
    return loss, *kept


def cross_entropy_grad(grad, logits, target, weight, normaliser, total, ignore_index, label_smoothing, reduction):
    kept = saved((logits, target, weight), (normaliser, total))
    return CrossEntropy.backward([grad], kept, ignore_index, label_smoothing, reduction)[0]
