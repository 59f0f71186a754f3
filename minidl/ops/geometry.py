"""The geometry of windows: strides, paddings and sizes, as every operation on windows reads and checks them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minidl.backend import Array, Shape
from minidl.checks import Ints, Pair, Sides, integer, pair, positive_pair
from minidl.ops.promotion import tensor_of

if TYPE_CHECKING:
    from minidl.tensor.core import Tensor


def paddings(padding: Ints | str, kernel_size: Shape, stride: Pair, dilation: Pair) -> Any:
    """`padding` (number, pair, "same" or "valid") as ((top, bottom), (left, right))."""
    if isinstance(padding, str) and padding == "valid":
        padding = 0
    if isinstance(padding, str) and padding == "same":
        if stride != (1, 1):
            raise ValueError(f"`padding` is 'same' but `stride` is {stride}; 'same' needs stride 1")
        spans = [d * (k - 1) for k, d in zip(kernel_size, dilation)]
        return tuple((span // 2, span - span // 2) for span in spans)
    if isinstance(padding, str):
        raise ValueError(f"`padding` is {padding!r}; accepted: an int, a pair, 'same' or 'valid'")
    height, width = pair(padding, "padding", least=0)
    return (height, height), (width, width)


def stride_or(kernel_size: Pair, stride: Any) -> Pair:
    """`stride` as a pair; the window's size where it is None or ()."""
    default = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    return kernel_size if default else positive_pair(stride, "stride")


def reachable(stride: Pair, size: Shape, padding: Sides) -> Pair:
    """`stride`, or the padded image's own length where that is less: no window begins farther on."""
    return tuple([max(1, min(s, n + sum(p))) for s, n, p in zip(stride, size, padding)])


def on_images(function: Callable[..., Any], input: Tensor, *name: str) -> Tensor:
    """``function(input)`` of images (N, C, H, W), or of one image (C, H, W), whose result has no batch axis either.

    A result may be a tuple, such as values and indices.
    """
    if tensor_of(input, *name).ndim == 4:
        return function(input)
    if input.ndim != 3:
        raise ValueError(f"`input` must have 4 axes (N, C, H, W), or 3 without a batch, found shape {input.shape}")
    out = function(input.unsqueeze(0))
    return tuple([y.squeeze(0) for y in out]) if isinstance(out, tuple) else out.squeeze(0)


def output_size(size: Shape, kernel_size: Shape, stride: Pair, padding: Sides, dilation: Pair) -> Pair:
    """Height and width of a convolution's output for an input of `size` (height, width).

    Examples
    --------
    >>> output_size((32, 32), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    (16, 16)
    """
    axes = zip(size, kernel_size, stride, padding, dilation)
    return tuple([(n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes])


def check_convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, groups: int, in_axis: int, channels: int
) -> None:
    """One clear error for operands whose shapes do not fit."""
    if tensor_of(input).ndim != 4 or tensor_of(weight, "weight").ndim != 4:
        raise ValueError(f"`input` and `weight` must have 4 axes, found shapes {input.shape} and {weight.shape}")
    if 0 in (weight.shape[0], *weight.shape[2:]):
        raise ValueError(f"`weight` has shape {weight.shape}; accepted: at least one channel and a window")
    if input.shape[1] != channels:
        raise ValueError(
            f"`input` has {input.shape[1]} channels but `weight` takes {channels}: "
            f"shapes {input.shape} and {weight.shape}" + (f", groups {groups}" if groups != 1 else "")
        )
    if integer(groups, "groups") < 1 or weight.shape[0] % groups:
        raise ValueError(f"`groups` is {groups}, which does not divide the {weight.shape[0]} channels of `weight`")
    outputs = weight.shape[0] if in_axis == 1 else weight.shape[1] * groups
    if bias is not None and tensor_of(bias, "bias").shape != (outputs,):
        raise ValueError(f"`bias` has shape {bias.shape} but there are {outputs} output channels")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and input.dtype != tensor.dtype:
            raise TypeError(f"`input` is {input.dtype} but `{name}` is {tensor.dtype}; cast one with .to(dtype)")


def check_window(input: Tensor, weight: Tensor, padding: Sides, dilation: Pair) -> None:
    """One clear error for a window that does not fit into the padded image."""
    for name, n, k, p, d in zip(("height", "width"), input.shape[2:], weight.shape[2:], padding, dilation):
        if n + sum(p) < d * (k - 1) + 1:
            raise ValueError(
                f"`input` of {name} {n} with padding {p} is smaller than the window of {name} {d * (k - 1) + 1}: "
                f"shapes {input.shape} and {weight.shape}"
            )


def split(array: Array, groups: int, axis: int) -> list[Array]:
    """`array` as `groups` equal pieces along `axis`."""
    if groups == 1:
        return [array]
    size = array.shape[axis] // groups
    return [array[(slice(None),) * axis + (slice(g * size, (g + 1) * size),)] for g in range(groups)]
