"""ONNX operators of images: convolution, pooling, normalisation, by minidl's operations.

Padding is put on or cut off first, whatever its form; the operations themselves run
without it. Signals of one axis are images of height 1. Volumes are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minidl
from minidl import backend
from minidl.nn import functional as F
from minidl.onnx.shapes import check_size
from minidl.tensor import Tensor


def _spatial(function):
    """Let `function`, for images (N, C, H, W), take signals (N, C, L) too."""

    def run(x, *inputs, **attributes):
        axes = x.ndim - 2
        if axes not in (1, 2):
            raise NotImplementedError(f"{axes} spatial axes; accepted: 1 or 2")
        if axes == 2:
            return function(x, *inputs, **attributes)
        numbers = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0}
        for name, neutral in numbers.items():
            if name in attributes:
                attributes[name] = [neutral, *attributes[name]]
        if "output_shape" in attributes:
            attributes["output_shape"] = [1, *attributes["output_shape"]]
        if "pads" in attributes:
            start, end = attributes["pads"]
            attributes["pads"] = [0, start, 0, end]
        raised = [w.unsqueeze(2) if w is not None and w.ndim == 3 else w for w in inputs]
        y = function(x.unsqueeze(2), *raised, **attributes)
        return tuple(part.squeeze(2) for part in y) if isinstance(y, tuple) else y.squeeze(2)

    return run


def padding(
    sizes: Any, window: int, strides: Any, dilations: Any, pads: Any = None, auto_pad: bytes = b"NOTSET"
) -> list[tuple[int, int]]:
    """[(before, after)] of each axis, from `pads` or from the rule `auto_pad`."""
    if auto_pad in (b"NOTSET", b"VALID"):
        pads = pads if pads and auto_pad == b"NOTSET" else [0] * 2 * len(sizes)
        return list(zip(pads[: len(sizes)], pads[len(sizes) :]))
    out = []
    for n, k, s, d in zip(sizes, window, strides, dilations):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        small, large = total // 2, total - total // 2
        out.append((small, large) if auto_pad == b"SAME_UPPER" else (large, small))
    return out


def padded(x: Tensor, widths: Any, value: Any = 0.0) -> Tensor:
    """`x` with constant `value` around its last two axes; negative widths cut off."""
    (top, bottom), (left, right) = widths
    check_size(x.shape[0] * x.shape[1] * (x.shape[2] + top + bottom) * (x.shape[3] + left + right))
    return x.pad((left, right, top, bottom), value=value) if any((top, bottom, left, right)) else x


@_spatial
def conv(
    x: Tensor, weight: Tensor, bias: Any = None, kernel_shape: Any = None, strides: Any = (1, 1),
    dilations: Any = (1, 1), pads: Any = None, group: int = 1, auto_pad: bytes = b"NOTSET",
) -> Tensor:  # fmt: skip
    """Convolution; the window is that of `weight`."""
    widths = padding(x.shape[2:], weight.shape[2:], strides, dilations, pads, auto_pad)
    return minidl.conv2d(padded(x, widths), weight, bias, tuple(strides), 0, tuple(dilations), group)


@_spatial
def conv_transpose(
    x: Tensor, weight: Tensor, bias: Any = None, kernel_shape: Any = None, strides: Any = (1, 1),
    dilations: Any = (1, 1), pads: Any = None, group: int = 1, auto_pad: bytes = b"NOTSET",
    output_padding: Any = (0, 0), output_shape: tuple[int, ...] | None = None,
) -> Tensor:  # fmt: skip
    """Transposed convolution: what `pads` names is cut off the whole result, `output_padding` is put to its end."""
    full = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(x.shape[2:], strides, dilations, weight.shape[2:])]
    if output_shape is None and auto_pad in (b"SAME_UPPER", b"SAME_LOWER"):
        output_shape = [n * s for n, s in zip(x.shape[2:], strides)]
    if output_shape is not None:
        cut = [f + e - n for f, e, n in zip(full, output_padding, output_shape)]
        halves = [(c // 2, c - c // 2) if auto_pad == b"SAME_UPPER" else (c - c // 2, c // 2) for c in cut]
    else:
        halves = padding(full, full, strides, dilations, pads, auto_pad)
    y = minidl.conv_transpose2d(x, weight, None, tuple(strides), 0, 0, group, tuple(dilations))
    y = padded(y, [(-before, extra - after) for (before, after), extra in zip(halves, output_padding)])
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)


def _pool_padding(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode):
    """(padding that counts as padding, what a last window reaches beyond it on each axis)."""
    widths = padding(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    beyond = []
    for n, k, s, d, (before, after) in zip(x.shape[2:], kernel_shape, strides, dilations, widths):
        room = n + before + after - (d * (k - 1) + 1)
        steps = -(-room // s) if ceil_mode else room // s
        steps -= steps * s >= n + before  # a window must begin inside
        beyond.append((0, max(steps * s - room, 0)))
    return widths, beyond


@_spatial
def max_pool(
    x: Tensor, kernel_shape: Any, strides: Any = (1, 1), dilations: Any = (1, 1), pads: Any = None,
    auto_pad: bytes = b"NOTSET", ceil_mode: int = 0, storage_order: int = 0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Largest value of each window, and its place in the whole of `x`, row by row or column by column."""
    widths, beyond = _pool_padding(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    N, C, H, W = x.shape
    kind, least = x.dtype, -np.inf if x.dtype.kind == "f" else float(np.iinfo(x.dtype).min)
    wide = x if x.dtype.kind == "f" else x.astype("float64")
    around = padded(padded(wide, widths, least), beyond, least)
    y, places = minidl.max_pool2d(around, tuple(kernel_shape), tuple(strides), 0, tuple(dilations), return_indices=True)
    row, column = (p - before for p, (before, _) in zip(divmod(places.data, around.shape[3]), widths))
    image = backend.array_module(x.data).arange(N * C).reshape(N, C, 1, 1) * (H * W)
    place = column * H + row if storage_order else row * W + column
    return y.astype(kind), Tensor(image + place)


@_spatial
def average_pool(
    x: Tensor, kernel_shape: Any, strides: Any = (1, 1), dilations: Any = (1, 1), pads: Any = None,
    auto_pad: bytes = b"NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
) -> Tensor:  # fmt: skip
    """Mean of each window: its sum over the number of its places that count."""
    widths, beyond = _pool_padding(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    ones = minidl.ones_like(x[:1, :1].detach())
    ones = padded(padded(ones, widths, float(count_include_pad)), beyond)
    sums, counts = (_window_sums(part, kernel_shape, strides, dilations) for part in
                    (padded(padded(x, widths), beyond), ones))
    return sums / counts


def _window_sums(x, window, strides, dilations):
    """A convolution of each channel with ones."""
    N, C, H, W = x.shape
    ones = minidl.ones(1, 1, *window, dtype=x.dtype, device=x.device)
    y = minidl.conv2d(x.reshape(N * C, 1, H, W), ones, None, tuple(strides), 0, tuple(dilations))
    return y.reshape(N, C, *y.shape[2:])


def batch_norm(
    x: Tensor, scale: Any, bias: Any, mean: Any, var: Any, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, spatial: int = 1,
) -> Any:  # fmt: skip
    """Normalisation by given statistics; in training mode by the batch's, which move the given ones."""
    if not training_mode:
        return F.batch_norm(x, mean, var, scale, bias, eps=epsilon)
    y, batch_mean, batch_var = minidl.batch_norm_train(x, scale, bias, epsilon)
    moved = (old * momentum + new * (1 - momentum) for old, new in ((mean, batch_mean), (var, batch_var)))
    return (y, *moved)


def instance_norm(x: Tensor, scale: Any, bias: Any, epsilon: float = 1e-5) -> Tensor:
    """Every channel of every image by its own mean and deviation."""
    return F.group_norm(x, x.shape[1], scale, bias, epsilon)


def group_norm(x: Tensor, scale: Any, bias: Any, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1) -> Tensor:
    """Groups of channels; scale and shift per channel, or before opset 21 per group."""
    scale, bias = (v if len(v) == x.shape[1] else _repeated(v, x.shape[1] // num_groups) for v in (scale, bias))
    return F.group_norm(x, num_groups, scale, bias, epsilon)


def _repeated(vector, times):
    return vector.reshape(-1, 1).expand(len(vector), times).reshape(-1)


def layer_norm(
    x: Tensor, scale: Any = None, bias: Any = None, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalisation over the axes from `axis` on; also the mean and the inverse of the deviation."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = x.mean(axes, keepdim=True)
    inverse = 1 / (((x - mean) ** 2).mean(axes, keepdim=True) + epsilon).sqrt()
    y = (x - mean) * inverse
    y = y if scale is None else y * scale
    return y if bias is None else y + bias, mean, inverse


def lrn(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: Any = 1.0) -> Tensor:
    """Local response normalisation; of an even number of channels, the further one is above."""
    return minidl.local_response_norm(x, size, alpha, beta, bias) if size % 2 else _even_lrn(x, size, alpha, beta, bias)


def _even_lrn(x, size, alpha, beta, bias):
    C, before = x.shape[1], (size - 1) // 2
    squares = (x * x).pad((0, 0) * (x.ndim - 2) + (before, size - 1 - before))
    total = sum(squares[:, shift : shift + C] for shift in range(size))
    return x * (total * (alpha / size) + bias) ** -beta


def dropout(
    x: Tensor, share: Any = None, training: Any = None, ratio: float = 0.5, seed: int | None = None
) -> tuple[Tensor, Tensor]:
    """Nothing is dropped; the mask of what is kept is true everywhere."""
    dropped = ratio if share is None else share.item()
    if training is not None and training.item() and dropped:
        raise NotImplementedError("it is in training mode; accepted: networks for prediction")
    return x, minidl.ones_like(x.detach()).astype("bool")


def _all_places(x):
    return tuple(range(2, x.ndim))


OPERATORS: dict[str, Callable[..., Any]] = {
    "Conv": conv, "ConvTranspose": conv_transpose, "MaxPool": max_pool, "AveragePool": average_pool,
    "BatchNormalization": batch_norm, "InstanceNormalization": instance_norm, "GroupNormalization": group_norm,
    "LayerNormalization": layer_norm, "LRN": lrn, "Dropout": dropout,
    "GlobalAveragePool": lambda x: x.mean(_all_places(x), keepdim=True),
    "GlobalMaxPool": lambda x: x.amax(_all_places(x), keepdim=True),
}  # fmt: skip
