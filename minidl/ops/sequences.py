"""One-dimensional convolution and pooling: a sequence (N, C, L) is an image of height 1."""

from __future__ import annotations

from typing import Any

from minidl import checks
from minidl.checks import Ints
from minidl.ops.average_pooling import adaptive_avg_pool2d, avg_pool2d
from minidl.ops.conv_transpose import conv_transpose2d
from minidl.ops.convolution import conv2d
from minidl.ops.max_pooling import adaptive_max_pool2d, max_pool2d
from minidl.ops.promotion import tensor_of
from minidl.tensor import Tensor


def single(value: Ints, name: str) -> int:
    """The number of an option of a sequence: an int, or a tuple of one."""
    accepted = "an int, or one in a tuple"
    values = (value,) if checks.is_integer(value) else checks.integers(value, name, accepted)
    if len(values) != 1:
        raise checks.refused(name, value, accepted)
    return values[0]


def _image(input):
    """(N, C, L), or (C, L) without a batch, as an image of height 1."""
    if tensor_of(input).ndim not in (2, 3):
        raise ValueError(f"`input` has shape {input.shape}; accepted: (N, C, L) or (C, L)")
    return (input if input.ndim == 3 else input.unsqueeze(0)).unsqueeze(2)


def _sequence(image, input):
    """The image of height 1 that came of `input` as a sequence again."""
    sequence = image.squeeze(2)
    return sequence if input.ndim == 3 else sequence.squeeze(0)


def _kernel(weight):
    if tensor_of(weight, "weight").ndim != 3:
        raise ValueError(f"`weight` has shape {weight.shape}; accepted: 3 axes")
    return weight.unsqueeze(2)


def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1, padding: Ints = 0, dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of sequences, (N, C, L) with (K, C / groups, k) to (N, K, OL); the options of `conv2d`.

    Examples
    --------
    >>> import minidl
    >>> minidl.conv1d(minidl.tensor([[[1.0, 2.0, 4.0]]]), minidl.tensor([[[-1.0, 1.0]]]))
    tensor([[[1., 2.]]])
    """
    padding = padding if isinstance(padding, str) else (0, single(padding, "padding"))
    stride, dilation = single(stride, "stride"), single(dilation, "dilation")
    y = conv2d(_image(input), _kernel(weight), bias, (1, stride), padding, (1, dilation), groups)
    return _sequence(y, input)


def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1, padding: Ints = 0,
    output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1,
) -> Tensor:
    """Transposed convolution of sequences, (N, C, L) with (C, K / groups, k) to (N, K, OL); see `conv_transpose2d`."""
    stride, dilation = (1, single(stride, "stride")), (1, single(dilation, "dilation"))
    padding, extra = (0, single(padding, "padding")), (0, single(output_padding, "output_padding"))
    y = conv_transpose2d(_image(input), _kernel(weight), bias, stride, padding, extra, groups, dilation)
    return _sequence(y, input)


def _window(kernel_size, stride, padding):
    kernel_size = single(kernel_size, "kernel_size")
    stride = kernel_size if stride is None or stride == () else single(stride, "stride")
    return (1, kernel_size), (1, stride), (0, single(padding, "padding"))


def max_pool1d(
    input: Tensor, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:
    """Largest value in each window of a sequence (N, C, L); see `max_pool2d`."""
    window = *_window(kernel_size, stride, padding), (1, single(dilation, "dilation"))
    found = max_pool2d(_image(input), *window, ceil_mode, return_indices)
    return tuple(_sequence(y, input) for y in found) if return_indices else _sequence(found, input)


def avg_pool1d(
    input: Tensor, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of each window of a sequence (N, C, L); see `avg_pool2d`."""
    y = avg_pool2d(_image(input), *_window(kernel_size, stride, padding), ceil_mode, count_include_pad)
    return _sequence(y, input)


def adaptive_avg_pool1d(input: Tensor, output_size: Ints) -> Tensor:
    """Mean over windows of a sequence chosen so that `output_size` remain; see `adaptive_avg_pool2d`."""
    return _sequence(adaptive_avg_pool2d(_image(input), (1, single(output_size, "output_size"))), input)


def adaptive_max_pool1d(input: Tensor, output_size: Ints, return_indices: bool = False) -> Any:
    """Largest value in windows chosen so that `output_size` remain; see `adaptive_max_pool2d`."""
    found = adaptive_max_pool2d(_image(input), (1, single(output_size, "output_size")), return_indices)
    return tuple(_sequence(y, input) for y in found) if return_indices else _sequence(found, input)
