"""Initial values, written into a parameter in place; each draw is the next of the random stream.

References: X. Glorot and Y. Bengio, "Understanding the difficulty of training deep
feedforward neural networks", 2010; K. He et al., "Delving Deep into Rectifiers", arXiv
1502.01852.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import backend
from minidl.random import generator
from minidl.tensor import Tensor

GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "conv2d": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


def calculate_gain(nonlinearity: str, param: Any = None) -> float:
    """Factor that keeps the variance through a nonlinearity."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in GAINS:
        raise ValueError(f"`nonlinearity` is {nonlinearity!r}; accepted: leaky_relu, {', '.join(GAINS)}")
    return GAINS[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """Fan-in and fan-out of a weight (out, in, ...): channels times the size of the window."""
    if tensor.ndim < 2:
        raise ValueError(f"`tensor` has shape {tensor.shape}; fan-in and fan-out need at least 2 axes")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _write(tensor, values):
    tensor.data[...] = backend.to_device(values.astype(tensor.dtype), tensor.device)
    tensor.bump_version()
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    tensor.data[...] = val
    tensor.bump_version()
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill with uniform numbers from [a, b)."""
    return _write(tensor, generator().uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill with normal numbers."""
    return _write(tensor, generator().normal(mean, std, tensor.shape))


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """Fill with normal numbers; those outside [a, b] are drawn again.

    Raises
    ------
    ValueError
        If the interval is empty, or more than six deviations from the mean.
    """
    low, high = (a - mean) / std, (b - mean) / std
    if low >= high or low > 6 or high < -6:
        raise ValueError(f"`a` is {a} and `b` is {b}; accepted: an interval within 6 `std` of `mean` {mean}")
    source = generator()
    values = source.standard_normal(tensor.shape)
    outside = (values < low) | (values > high)
    while outside.any():
        values[outside] = source.standard_normal(int(outside.sum()))
        outside = (values < low) | (values > high)
    return _write(tensor, values * std + mean)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform with variance 2 / (fan_in + fan_out) * gain**2."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with variance 2 / (fan_in + fan_out) * gain**2."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor))))


def _fan(tensor, mode):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"`mode` is {mode!r}; accepted: 'fan_in', 'fan_out'")
    return fans(tensor)[mode == "fan_out"]


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Uniform with variance gain**2 / fan."""
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """Normal with variance gain**2 / fan."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """`gain` times a matrix (out, in x window) with orthonormal rows or columns, whichever are fewer.

    A. Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", arXiv
    1312.6120.

    Examples
    --------
    >>> import minidl
    >>> w = orthogonal_(minidl.zeros(2, 5)).data
    >>> (w @ w.T).round(5) + 0
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    fans(tensor)
    rows = tensor.shape[0]
    columns = tensor.data.size // max(rows, 1)
    q, r = np.linalg.qr(generator().standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))  # every orthogonal matrix is equally likely
    return _write(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Identity of as many channels as there are: a window's centre is 1 where output and input channel are the same.

    Raises
    ------
    ValueError
        If `tensor` has no window, or `groups` does not divide its output channels.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.arange(9.0).reshape(1, 1, 3, 3)
    >>> bool((minidl.conv2d(x, dirac_(minidl.zeros(1, 1, 3, 3)), padding=1) == x).all())
    True
    """
    if tensor.ndim not in (3, 4):
        raise ValueError(f"`tensor` has shape {tensor.shape}; accepted: 3 or 4 axes (out, in, window)")
    outputs, inputs = tensor.shape[:2]
    if groups < 1 or outputs % groups:
        raise ValueError(f"`groups` is {groups}, which does not divide the {outputs} output channels")
    values = np.zeros(tensor.shape)
    centre = tuple(size // 2 for size in tensor.shape[2:])
    for k in range(min(outputs // groups, inputs)):
        for group in range(groups):
            values[(group * (outputs // groups) + k, k, *centre)] = 1
    return _write(tensor, values)


def whiten_(tensor: Tensor, images: Tensor, eps: float = 5e-4) -> Tensor:
    """Filters that whiten `images`: their answers are uncorrelated, with variance 1; then the same filters negated.

    The filters are the eigenvectors of the covariance of all patches of the window's size, each divided by the root
    of its eigenvalue. With a ReLU or GELU next, the negated ones keep the other half of the answers. D. Page, "How to
    Train Your ResNet 8: Bag of Tricks", 2019; K. Jordan, arXiv 2404.00498, section 3.2.

    Parameters
    ----------
    tensor : Tensor, shape (out, in, h, w)
        With ``out`` at most 2 in h w; with fewer, the directions with the largest variance.
    images : Tensor, shape (N, in, H, W)
        Normalised, as the network will see them.
    eps : float
        Added to the eigenvalues, so that directions with hardly any variance are not blown up.

    Raises
    ------
    ValueError
        If the shapes do not fit, or `out` is odd or too large.

    Examples
    --------
    >>> import minidl
    >>> images = minidl.Tensor(np.random.default_rng(0).standard_normal((20, 1, 8, 8)))
    >>> answers = minidl.conv2d(images, whiten_(minidl.zeros(8, 1, 2, 2).double(), images, eps=0.0))
    >>> answers.square().mean((0, 2, 3)).data.round(3)
    array([1., 1., 1., 1., 1., 1., 1., 1.])
    """
    out, *window = tensor.shape
    size = math.prod(window)
    if tensor.ndim != 4 or images.ndim != 4 or images.shape[1] != window[0]:
        raise ValueError(f"`images` has shape {images.shape} but `tensor` has {tensor.shape}; accepted: (N, in, H, W)"
                         " and (out, in, h, w)")  # fmt: skip
    if out % 2 or out > 2 * size:
        raise ValueError(f"`tensor` has {out} filters; accepted: an even number, at most {2 * size}")
    values, vectors = np.linalg.eigh(_patch_covariance(backend.to_numpy(images.data), *window[1:]))
    largest = np.argsort(-values, kind="stable")[: out // 2]
    filters = (vectors[:, largest] / np.sqrt(values[largest] + eps)).T.reshape(-1, *window)
    return _write(tensor, np.concatenate([filters, -filters]))


def _patch_covariance(images, h, w):
    """Mean of p p' over all patches p (in, h, w), flattened; the sums have one order, whatever the threads."""
    H, W = images.shape[2] - h + 1, images.shape[3] - w + 1
    parts = [channel[:, i : i + H, j : j + W] for channel in images.swapaxes(0, 1) for i in range(h) for j in range(w)]
    parts = [np.ascontiguousarray(part, np.float64) for part in parts]
    return np.array([[(a * b).mean() for a in parts] for b in parts])
