"""Pooling over windows of an image.

Max pooling remembers which cell of its window won; the backward scatters with that
index and the backward of the backward gathers with it. Average pooling is linear, and
comes with its adjoint.
"""

from __future__ import annotations

from minidl.backend import array_module
from minidl.kernels import pooling as kernels
from minidl.ops.convolution import pair, positive_pair
from minidl.ops.padding import Pick
from minidl.tensor import Function, Tensor


class MaxPool2d(Function):
    def forward(self, x, **geometry):
        ceil_mode = geometry.pop("ceil_mode")
        y, argmax = kernels.max_pool2d(x, ceil_mode=ceil_mode, **geometry)
        self.geometry, self.shape = geometry, x.shape
        self.save_for_backward(argmax)
        return y, argmax

    def backward(self, grad, _):
        (argmax,) = self.saved_tensors
        return MaxPoolScatter.apply(grad, argmax.data, input_shape=self.shape, **self.geometry)


class MaxPoolScatter(Function):
    def forward(self, grad, argmax, input_shape, **geometry):
        self.geometry = geometry
        self.save_for_backward(argmax)
        return kernels.max_unpool_scatter(grad, argmax, input_shape, **geometry)

    def backward(self, outer):
        (argmax,) = self.saved_tensors
        return MaxPoolGather.apply(outer, argmax.data, **self.geometry), None


class MaxPoolGather(Function):
    def forward(self, x, argmax, **geometry):
        self.geometry, self.shape = geometry, x.shape
        self.save_for_backward(argmax)
        return kernels.max_pool_gather(x, argmax, **geometry)

    def backward(self, outer):
        (argmax,) = self.saved_tensors
        return MaxPoolScatter.apply(outer, argmax.data, input_shape=self.shape, **self.geometry), None


class AvgPool2d(Function):
    def forward(self, x, **options):
        self.options, self.shape = options, x.shape
        return kernels.avg_pool2d(x, **options)

    def backward(self, grad):
        return AvgPool2dGrad.apply(grad, input_shape=self.shape, **self.options)


class AvgPool2dGrad(Function):
    def forward(self, grad, input_shape, ceil_mode, **options):
        self.options = dict(options, ceil_mode=ceil_mode)  # the kernel sees it in the shape of `grad`
        return kernels.avg_pool2d_grad(grad, input_shape, **options)

    def backward(self, outer):
        return AvgPool2d.apply(outer, **self.options)


class AdaptiveAvgPool2d(Function):
    def forward(self, x, output_size):
        self.output_size, self.shape = output_size, x.shape
        return kernels.adaptive_avg_pool2d(x, output_size)

    def backward(self, grad):
        return AdaptiveAvgPool2dGrad.apply(grad, self.shape, self.output_size), None


class AdaptiveAvgPool2dGrad(Function):
    def forward(self, grad, input_shape, output_size):
        self.output_size = output_size
        return kernels.adaptive_avg_pool2d_grad(grad, input_shape)

    def backward(self, outer):
        return AdaptiveAvgPool2d.apply(outer, self.output_size), None, None


def _check_image(input):
    if input.ndim != 4:
        raise ValueError(f"`input` must have 4 axes (N, C, H, W), found shape {input.shape}")


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Largest value in each window, as PyTorch's ``max_pool2d``; the first of equals wins.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W)
    kernel_size, stride, padding, dilation : int or pair
        `stride` is `kernel_size` when None; the padding never wins.
    ceil_mode : bool
        Let a last window hang over the edge.
    return_indices : bool
        Return also the flat index ``h * W + w`` of each winner, as PyTorch does.

    Returns
    -------
    Tensor, shape (N, C, OH, OW), or a pair of them

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([[[[1.0, 2.0], [4.0, 3.0]]]], requires_grad=True)
    >>> minidl.max_pool2d(x, 2).sum().backward()
    >>> x.grad
    tensor([[[[0., 0.],
              [1., 0.]]]])
    """
    _check_image(input)
    kernel_size = positive_pair(kernel_size, "kernel_size")
    geometry = dict(
        kernel_size=kernel_size,
        stride=kernel_size if stride is None else positive_pair(stride, "stride"),
        padding=pair(padding, "padding"),
        dilation=positive_pair(dilation, "dilation"),
    )
    y, argmax = MaxPool2d.apply(input, ceil_mode=ceil_mode, **geometry)
    return (y, _flat_indices(input, argmax, geometry)) if return_indices else y


def _flat_indices(input, argmax, geometry):
    """The window-local winners as indices into the H * W pixels of their image."""
    xp = array_module(argmax.data)
    taps = argmax.data.astype(xp.int64)
    (_, kw), (sh, sw) = geometry["kernel_size"], geometry["stride"]
    (ph, pw), (dh, dw) = geometry["padding"], geometry["dilation"]
    rows, columns = (xp.arange(n) for n in argmax.shape[2:])
    h = rows.reshape(-1, 1) * sh - ph + taps // kw * dh
    w = columns * sw - pw + taps % kw * dw
    return Tensor(h * input.shape[3] + w)


def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """Mean of each window, as PyTorch's ``avg_pool2d``; the parameters of `max_pool2d`.

    Parameters
    ----------
    count_include_pad : bool
        Count the padding's zeros in the mean.
    divisor_override : int, optional
        Divide each sum by this number instead.
    """
    _check_image(input)
    if divisor_override is not None and divisor_override == 0:
        raise ValueError("`divisor_override` is 0; accepted: any other number")
    kernel_size = positive_pair(kernel_size, "kernel_size")
    return AvgPool2d.apply(
        input,
        kernel_size=kernel_size,
        stride=kernel_size if stride is None else positive_pair(stride, "stride"),
        padding=pair(padding, "padding"),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )


def adaptive_avg_pool2d(input, output_size):
    """Mean over windows chosen so that the result has `output_size` (int or pair; None keeps an axis)."""
    return AdaptiveAvgPool2d.apply(input, _output_size(input, output_size))


def _output_size(input, wanted):
    _check_image(input)
    wanted = (wanted, wanted) if isinstance(wanted, int) or wanted is None else tuple(wanted)
    return positive_pair(tuple(n if m is None else m for n, m in zip(input.shape[2:], wanted)), "output_size")


def adaptive_max_pool2d(input, output_size, return_indices=False):
    """Largest value in windows chosen so that the result has `output_size`, as PyTorch's ``adaptive_max_pool2d``.

    Windows differ in size where the division leaves a rest: each is stretched to the largest
    one by repeating its last row and column, and an ordinary pooling follows.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W)
    output_size : int or pair
        None keeps an axis.
    return_indices : bool
        Return also the flat index ``h * W + w`` of each winner.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.arange(9.0).reshape(1, 1, 3, 3)
    >>> minidl.adaptive_max_pool2d(x, 2)
    tensor([[[[4., 5.],
              [7., 8.]]]])
    """
    size, W = _output_size(input, output_size), input.shape[3]
    rows, columns = (_stretched(n, count) for n, count in zip(input.shape[2:], size))
    for axis, places in ((2, rows), (3, columns)):
        input = input if len(places) == input.shape[axis] else Pick.apply(input, places, axis)
    window = tuple(n // count for n, count in zip(input.shape[2:], size))
    if not return_indices:
        return max_pool2d(input, window)
    y, winners = max_pool2d(input, window, return_indices=True)
    xp = array_module(winners.data)
    row, column = winners.data // len(columns), winners.data % len(columns)
    return y, Tensor(xp.asarray(rows)[row] * W + xp.asarray(columns)[column])


def _stretched(size, count):
    """The positions of `count` adaptive bins over an axis of `size`, each as long as the longest.

    Examples
    --------
    >>> _stretched(5, 3)
    (0, 1, 1, 1, 2, 3, 3, 4, 4)
    """
    bins = kernels.adaptive_bins(size, count)
    longest = max(end - start for start, end in bins)
    return tuple(min(start + i, end - 1) for start, end in bins for i in range(longest))


def global_avg_pool2d(input):
    """Mean over height and width: (N, C, H, W) -> (N, C, 1, 1)."""
    return adaptive_avg_pool2d(input, 1)
