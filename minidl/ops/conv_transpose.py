"""Transposed convolution: the gradient of a convolution with respect to its input, as an operation of its own."""

from __future__ import annotations

from minidl.checks import Ints, lengths, pair, positive_pair
from minidl.ops.convolution import ConvInputGrad
from minidl.ops.geometry import check_convolution, paddings
from minidl.ops.promotion import tensor_of
from minidl.tensor import Tensor


def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Ints = 1, padding: Ints = 0,
    output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1,
) -> Tensor:
    """Transposed convolution: the gradient of `conv2d` to its input, as PyTorch's ``conv_transpose2d``.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W), or (C, H, W) without a batch
    weight : Tensor, shape (C, K / groups, kh, kw)
    output_padding : int or pair
        Extra rows and columns on one side; less than stride or dilation.

    Returns
    -------
    Tensor, shape (N, K, OH, OW)
        ``OH = (H - 1) * stride - 2 * padding + dilation * (kh - 1) + output_padding + 1``.

    Examples
    --------
    >>> import minidl
    >>> minidl.conv_transpose2d(minidl.ones(1, 1, 2, 2), minidl.ones(1, 1, 2, 2), stride=2).shape
    (1, 1, 4, 4)
    """
    if tensor_of(input).ndim == 3:
        y = conv_transpose2d(input.unsqueeze(0), weight, bias, stride, padding, output_padding, groups, dilation)
        return y.squeeze(0)
    channels = weight.shape[0] if tensor_of(weight, "weight").ndim == 4 else 0
    check_convolution(input, weight, bias, groups, in_axis=0, channels=channels)
    stride, dilation = positive_pair(stride, "stride"), positive_pair(dilation, "dilation")
    extra = pair(output_padding, "output_padding")
    if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(f"`output_padding` is {output_padding}; accepted: 0 to less than stride or dilation")
    padding = paddings(padding, weight.shape[2:], stride, dilation)
    size = tuple(
        (n - 1) * s - sum(p) + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(input.shape[2:], stride, padding, dilation, weight.shape[2:], extra)
    )
    if min(size) < 1:
        raise ValueError(f"`padding` leaves an output of size {size}: shapes {input.shape} and {weight.shape}")
    lengths((input.shape[0], weight.shape[1] * groups, *size), "stride")
    padding, beyond = zip(*map(_beyond_stride, padding, extra, stride))
    output_shape = (input.shape[0], weight.shape[1] * groups, size[0] - beyond[0], size[1] - beyond[1])
    y = ConvInputGrad.apply(
        input, weight, input_shape=output_shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    y = y.pad((0, beyond[1], 0, beyond[0])) if any(beyond) else y
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


def _beyond_stride(padding, extra, stride):
    """Of one axis, the padding and the rows of zeros that stand for `extra` rows of output at the end.

    The convolution whose gradient this is has rows for fewer than `stride` of them. Whole strides more, which a
    dilation allows, are rows that the padding would have cut off, and beyond those zeros.
    """
    before, after = padding
    more = extra - extra % stride
    return (before, max(after - more, 0)), max(more - after, 0)
