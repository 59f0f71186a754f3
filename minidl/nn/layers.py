"""A layer for each op: the module keeps the parameters and options, the op does the work.

Defaults and initial values are PyTorch's.
"""

from __future__ import annotations

import math

import numpy as np

from minidl import ops
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.module import Module, Parameter
from minidl.ops.convolution import pair, positive_pair
from minidl.random import new_layer
from minidl.tensor import Tensor


def _parameter(*shape):
    return Parameter(Tensor(np.empty(shape, dtype=np.float32)))


def _positive(**sizes):
    for name, value in sizes.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"`{name}` is {value!r}; accepted: an integer >= 1")


def _init_like_pytorch(weight, bias):
    """Kaiming uniform with a = sqrt(5): both are uniform within 1 / sqrt(fan_in)."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(init.fans(weight)[0])
        init.uniform_(bias, -bound, bound)


class Identity(Module):
    """Returns its input."""

    def forward(self, x):
        return x


class Linear(Module):
    """``x @ weight.T + bias``: (..., in_features) to (..., out_features).

    Examples
    --------
    >>> import minidl
    >>> minidl.nn.Linear(3, 2)(minidl.ones(5, 3)).shape
    (5, 2)
    """

    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        _positive(in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = _parameter(out_features, in_features)
        self.register_parameter("bias", _parameter(out_features) if bias else None)
        _init_like_pytorch(self.weight, self.bias)

    def forward(self, x):
        return ops.matmul.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Conv2d(Module):
    """Two-dimensional convolution, (N, in_channels, H, W) to (N, out_channels, OH, OW); see `minidl.conv2d`."""

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True
    ):
        super().__init__()
        _positive(in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"`groups` is {groups}, which must divide {in_channels} and {out_channels} channels")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = positive_pair(kernel_size, "kernel_size")
        self.stride, self.dilation = positive_pair(stride, "stride"), positive_pair(dilation, "dilation")
        self.padding = padding if isinstance(padding, str) else pair(padding, "padding")
        self.weight = _parameter(*self._weight_shape())
        self.register_parameter("bias", _parameter(out_channels) if bias else None)
        _init_like_pytorch(self.weight, self.bias)

    def _weight_shape(self):
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def forward(self, x):
        return ops.convolution.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding!r}" if self.padding != (0, 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + ("" if self.bias is not None else ", bias=False")


class ConvTranspose2d(Conv2d):
    """Transposed convolution; see `minidl.conv_transpose2d`."""

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.output_padding = pair(output_padding, "output_padding")

    def _weight_shape(self):
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def forward(self, x):
        return ops.convolution.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )


class MaxPool2d(Module):
    """Largest value in each window; see `minidl.max_pool2d`."""

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode

    def forward(self, x):
        return ops.pooling.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self):
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """Mean of each window; see `minidl.avg_pool2d`."""

    def __init__(
        self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
    ):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.options = (ceil_mode, count_include_pad, divisor_override)

    def forward(self, x):
        return ops.pooling.avg_pool2d(x, self.kernel_size, self.stride, self.padding, *self.options)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Mean over windows chosen to give `output_size`; 1 is global average pooling."""

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, x):
        return ops.pooling.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class _BatchNorm(Module):
    """Batch normalisation with running statistics; `axes` is the number of axes it accepts."""

    axes = ()

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__()
        _positive(num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_parameter("weight", init.ones_(_parameter(num_features)) if affine else None)
        self.register_parameter("bias", init.zeros_(_parameter(num_features)) if affine else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", Tensor(np.zeros(num_features, np.float32)) if tracked else None)
        self.register_buffer("running_var", Tensor(np.ones(num_features, np.float32)) if tracked else None)
        self.register_buffer("num_batches_tracked", Tensor(np.zeros((), np.int64)) if tracked else None)

    def forward(self, x, relu=False):
        self._check(x)
        if not self.training and self.track_running_stats:
            return ops.normalisation.batch_norm_eval(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.eps, relu
            )
        y, mean, var = ops.normalisation.batch_norm_train(x, self.weight, self.bias, self.eps, relu)
        if self.training:
            self.update(mean, var, x.data.size // self.num_features)
        return y

    def update(self, mean, var, count):
        """Move the running statistics towards those of a batch of `count` values per channel."""
        if self.track_running_stats:
            self.num_batches_tracked.data += 1
            momentum = 1.0 / self.num_batches_tracked.data if self.momentum is None else self.momentum
            F.update_running(self.running_mean, self.running_var, mean, var, count, momentum)

    def _check(self, x):
        if x.ndim not in self.axes or x.shape[1] != self.num_features:
            raise ValueError(
                f"`input` of {type(self).__name__}({self.num_features}) has shape {x.shape}; "
                f"accepted: {' or '.join(map(str, self.axes))} axes, {self.num_features} channels"
            )

    def extra_repr(self):
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, C, H, W), per channel."""

    axes = (4,)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of rows (N, C) or sequences (N, C, L), per channel."""

    axes = (2, 3)


class LayerNorm(Module):
    """Normalisation over the last axes of each row; see `minidl.layer_norm`."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.register_parameter("weight", init.ones_(_parameter(*shape)) if elementwise_affine else None)
        self.register_parameter("bias", init.zeros_(_parameter(*shape)) if elementwise_affine and bias else None)

    def forward(self, x):
        return ops.normalisation.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}"


class LocalResponseNorm(Module):
    """Normalisation across neighbouring channels; see `minidl.local_response_norm`."""

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x):
        return ops.normalisation.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class Dropout(Module):
    """Zero each element with probability `p` while training; every layer has its own random stream."""

    def __init__(self, p=0.5):
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"`p` is {p}; accepted: 0 to 1")
        self.p, self.layer = p, new_layer()

    def forward(self, x):
        return ops.dropout.dropout(x, self.p, self.training, layer=self.layer)

    def extra_repr(self):
        return f"p={self.p}"


class Flatten(Module):
    """Join the axes from `start_dim` to `end_dim`."""

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return x.flatten(self.start_dim, self.end_dim)


class Pad2d(Module):
    """Surround images with zeros: (left, right, top, bottom), or one number for all."""

    def __init__(self, padding):
        super().__init__()
        self.padding = (padding,) * 4 if isinstance(padding, int) else tuple(padding)

    def forward(self, x):
        return x.pad(self.padding)


ZeroPad2d = Pad2d
