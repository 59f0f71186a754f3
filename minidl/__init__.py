"""minidl: a small deep-learning engine on NumPy and CuPy, differentiable to any order.

>>> import minidl
>>> x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4., 6.])
"""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from numpy import float16, float32, float64, int8, int16, int32, int64, uint8

from minidl import nn, optim
from minidl.captured import CaptureError, CaptureWarning, capture
from minidl.graph import draw_graph
from minidl.ops.activations import (
    elu, gelu, glu, hardswish, hardtanh, leaky_relu, logsigmoid, prelu, relu6, selu, silu,
)  # fmt: skip
from minidl.ops.arithmetic import add, clamp, div, maximum, minimum, mul, neg, pow, sub, where
from minidl.ops.attention import scaled_dot_product_attention
from minidl.ops.comparison import (
    all, allclose, any, argmax, argmin, argsort, bitwise_and, bitwise_not, bitwise_or, bitwise_xor, eq, equal, ge,
    gt, isfinite, isinf, isnan, le, logical_and, logical_not, logical_or, logical_xor, lt, ne,
)  # fmt: skip
from minidl.ops.average_pooling import adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d
from minidl.ops.conv_transpose import conv_transpose2d
from minidl.ops.convolution import conv2d
from minidl.ops.creation import (
    arange, empty, eye, from_numpy, full, full_like, linspace, ones, ones_like, rand, rand_like, randint, randn,
    randn_like, randperm, zeros, zeros_like,
)  # fmt: skip
from minidl.ops.dropout import dropout
from minidl.ops.elementwise import (
    abs, arctan, ceil, cos, cosh, erf, exp, expm1, floor, log, log10, log1p, log2, reciprocal, relu, rsqrt,
    sigmoid, sign, sin, sinh, softplus, sqrt, square, tan, tanh,
)  # fmt: skip
from minidl.ops.embedding import embedding
from minidl.ops.extremes import amax, amin, max, min
from minidl.ops.im2col import col2im, fold, im2col, unfold
from minidl.ops.indexing import gather, take_along_dim
from minidl.ops.joining import cat, chunk, concat, split, stack
from minidl.ops.losses import (
    cross_entropy, l1_loss, log_softmax, mse_loss, nll_loss, softmax,
)  # fmt: skip
from minidl.ops.matmul import linear, matmul
from minidl.ops.max_pooling import adaptive_max_pool2d, max_pool2d
from minidl.ops.normalisation import batch_norm_eval, batch_norm_train, layer_norm, local_response_norm
from minidl.ops.objectives import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cosine_similarity, huber_loss, kl_div, normalize,
    smooth_l1_loss,
)  # fmt: skip
from minidl.ops.padding import pad
from minidl.ops.products import bmm, dot, einsum, mm, mv, outer
from minidl.ops.reduction import cumsum, logsumexp, mean, norm, prod, std, sum, var
from minidl.ops.remainders import atan2, cumprod, floor_divide, fmod, isclose, lerp, remainder, round, trunc
from minidl.ops.resampling import interpolate, pixel_shuffle, pixel_unshuffle
from minidl.ops.rescaling import dropout2d, rms_norm
from minidl.ops.sampling import grid_sample
from minidl.ops.scattering import scatter, scatter_add, scatter_reduce
from minidl.ops.selecting import (
    diag, diagonal, index_add, index_select, masked_fill, masked_select, nonzero, one_hot,
)  # fmt: skip
from minidl.ops.sequences import (
    adaptive_avg_pool1d, adaptive_max_pool1d, avg_pool1d, conv1d, conv_transpose1d, max_pool1d,
)  # fmt: skip
from minidl.ops.shape import (
    astype, broadcast_to, clone, contiguous, expand, flatten, flip, permute, reshape, squeeze, sum_to_size, to,
    transpose, unsqueeze, view,
)  # fmt: skip
from minidl.ops.sorting import median, sort, topk
from minidl.ops.tiling import meshgrid, narrow, repeat, repeat_interleave, roll, t, tile, tril, triu, unbind
from minidl.random import get_rng_state, manual_seed, set_rng_state
from minidl.tensor import (
    Function,
    Tensor,
    enable_grad,
    grad,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
    tensor,
)

if _TYPE_CHECKING:
    from minidl import cuda, data, gradcheck, training
    from minidl.anomaly import detect_anomaly
    from minidl.cuda import Device as device
    from minidl.gradcheck import check_gradients
    from minidl.precision import autocast, bfloat16, get_float32_matmul_precision, set_float32_matmul_precision
    from minidl.training.weights import load, save

__version__ = "0.1.0"

__all__ = [
    # tensors and their derivatives
    "Function", "Tensor", "enable_grad", "grad", "is_grad_enabled", "no_grad", "set_grad_enabled", "tensor",
    "check_gradients", "detect_anomaly", "draw_graph",
    # steps that are replayed
    "capture", "CaptureError", "CaptureWarning",
    # dtypes
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8",
    # weights in files
    "load", "save",
    # random numbers
    "get_rng_state", "manual_seed", "set_rng_state",
    # packages
    "data", "gradcheck", "nn", "optim", "training",
    # the GPU
    "cuda", "device", "autocast", "bfloat16", "get_float32_matmul_precision", "set_float32_matmul_precision",
    # arithmetic
    "add", "sub", "mul", "div", "pow", "neg", "maximum", "minimum", "where", "clamp", "lerp",
    # elementwise
    "abs", "square", "sqrt", "rsqrt", "reciprocal", "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos",
    "tan", "arctan", "sinh", "cosh", "tanh", "sigmoid", "softplus", "erf", "sign", "floor", "ceil", "round", "relu",
    "leaky_relu", "elu", "silu", "gelu", "logsigmoid",
    # comparison
    "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or",
    "bitwise_xor", "bitwise_not", "logical_not", "isnan", "isinf", "isfinite", "argmax", "argmin", "argsort", "all",
    "any", "allclose", "equal",
    # reduction
    "sum", "mean", "var", "std", "prod", "logsumexp", "norm", "cumsum",
    # extremes
    "amax", "amin", "max", "min",
    # shape
    "reshape", "view", "flatten", "permute", "transpose", "squeeze", "unsqueeze", "broadcast_to", "expand",
    "sum_to_size", "flip", "contiguous", "clone", "astype", "to",
    # padding
    "pad",
    # joining
    "concat", "cat", "stack", "split", "chunk",
    # indexing
    "take_along_dim", "gather", "one_hot",
    # matmul
    "matmul", "linear",
    # convolution
    "conv2d", "conv_transpose2d", "im2col", "col2im", "unfold", "fold",
    # pooling
    "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "global_avg_pool2d",
    # normalisation
    "batch_norm_train", "batch_norm_eval", "layer_norm", "local_response_norm",
    # losses
    "softmax", "log_softmax", "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "binary_cross_entropy_with_logits",
    # dropout
    "dropout",
    # products
    "mm", "bmm", "mv", "dot", "outer", "einsum",
    # selecting
    "index_select", "index_add", "masked_fill", "masked_select", "nonzero", "diagonal", "diag",
    # scattering
    "scatter", "scatter_add", "scatter_reduce",
    # tiling
    "t", "repeat", "tile", "repeat_interleave", "roll", "narrow", "unbind", "tril", "triu", "meshgrid",
    # sorting
    "sort", "topk", "median",
    # remainders
    "remainder", "fmod", "floor_divide", "trunc", "atan2", "cumprod", "isclose",
    # resampling
    "interpolate", "pixel_shuffle", "pixel_unshuffle",
    # sampling
    "grid_sample",
    # attention
    "scaled_dot_product_attention",
    # objectives
    "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "kl_div", "cosine_similarity", "normalize",
    # activations
    "hardtanh", "relu6", "hardswish", "selu", "prelu", "glu",
    # sequences
    "conv1d", "conv_transpose1d", "max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d",
    # rescaling
    "rms_norm", "dropout2d",
    # embedding
    "embedding",
    # creation
    "zeros", "ones", "full", "empty", "arange", "linspace", "eye", "randn", "rand", "randint", "randperm", "zeros_like",
    "ones_like", "full_like", "randn_like", "rand_like", "from_numpy",
]  # fmt: skip

# Loaded at first use, so that `import minidl` stays quick: name -> (module, attribute or None for the module)
_LAZY = {
    "cuda": ("minidl.cuda", None),
    "device": ("minidl.cuda", "Device"),
    "data": ("minidl.data", None),
    "gradcheck": ("minidl.gradcheck", None),
    "training": ("minidl.training", None),
    "check_gradients": ("minidl.gradcheck", "check_gradients"),
    "detect_anomaly": ("minidl.anomaly", "detect_anomaly"),
    "autocast": ("minidl.precision", "autocast"),
    "bfloat16": ("minidl.precision", "bfloat16"),
    "get_float32_matmul_precision": ("minidl.precision", "get_float32_matmul_precision"),
    "set_float32_matmul_precision": ("minidl.precision", "set_float32_matmul_precision"),
    "load": ("minidl.training.weights", "load"),
    "save": ("minidl.training.weights", "save"),
}


def __getattr__(name: str) -> _Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'minidl' has no attribute '{name}'")
    module_name, attribute = _LAZY[name]
    module = _importlib.import_module(module_name)
    return module if attribute is None else getattr(module, attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
