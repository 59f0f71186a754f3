"""Occlusion: how much the probability of a class falls when a part of the image is covered.

M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks",
arXiv 1311.2901, section 4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import minidl
from minidl import backend
from minidl.backend import Array
from minidl.explain.watching import as_images, chosen, evaluation_mode
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.module import Module


class Occlusion(NamedTuple):
    """Result of `occlusion`: `falls` (H, W), from -1 to 1; the class, and its probability with nothing covered."""

    falls: np.ndarray
    class_index: int
    probability: float
    window: int


def occlusion(
    model: Module, image: Tensor | Array, class_index: int | None = None, window: int | None = None,
    stride: int | None = None, fill: float = 0.0, batch_size: int = 64,
) -> Occlusion:  # fmt: skip
    """The fall of a class's probability under a square that covers each place in turn.

    Parameters
    ----------
    model : Module
        Returns logits.
    image : Tensor or array, shape (C, H, W) or (1, C, H, W)
        Normalised as the network wants it.
    class_index : int, optional
        The predicted class by default.
    window, stride : int, optional
        Side of the square and its step, in pixels; by default a quarter of the shorter
        side of the image, and half of the window.
    fill : float
        Value of the covered pixels; 0 is the mean of the training images.
    batch_size : int
        Covered images per forward.

    Returns
    -------
    Occlusion
        At each pixel the mean fall over the squares that cover it; above 0 where the
        pixel speaks for the class.

    Raises
    ------
    ValueError
        A window larger than the image, or a stride that would leave pixels out.

    Examples
    --------
    >>> import minidl
    >>> from minidl import explain, nn
    >>> explain.occlusion(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), minidl.ones(1, 8, 8)).falls.shape
    (8, 8)
    """
    image = as_images(model, image if image.ndim == 4 else image[None]).data
    N, C, H, W = image.shape
    if N != 1:
        raise ValueError(f"`image` holds {N} images; accepted: one")
    window = max(1, min(H, W) // 4) if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    if not 1 <= window <= min(H, W) or not 1 <= stride <= window:
        raise ValueError(f"`window` is {window} and `stride` {stride}; accepted: 1 <= stride <= window <= {min(H, W)}")
    places = [(top, left) for top in starts(H, window, stride) for left in starts(W, window, stride)]
    with evaluation_mode(model), minidl.no_grad():
        logits = model(Tensor(image))
        class_index = int(chosen(logits, class_index)[0])
        whole = backend.to_numpy(minidl.softmax(logits, 1).data)[0, class_index].item()
        parts = [places[k : k + batch_size] for k in range(0, len(places), batch_size)]
        rows = [minidl.softmax(model(Tensor(_covered(image, part, window, fill))), 1).data for part in parts]
    falls = whole - np.concatenate([backend.to_numpy(row[:, class_index]) for row in rows])
    return Occlusion(_spread(falls, places, window, (H, W)), class_index, whole, window)


def starts(length: int, window: int, stride: int) -> list[int]:
    """Starts of the windows along an axis; the last one ends at the edge."""
    return sorted({*range(0, length - window + 1, stride), length - window})


def _covered(image, places, window, fill):
    copies = backend.array_module(image).repeat(image, len(places), axis=0)
    for k, (top, left) in enumerate(places):
        copies[k, :, top : top + window, left : left + window] = fill
    return copies


def _spread(falls, places, window, size):
    """The mean fall at each pixel."""
    total, count = np.zeros(size), np.zeros(size)
    for fall, (top, left) in zip(falls, places):
        area = slice(top, top + window), slice(left, left + window)
        total[area] += fall
        count[area] += 1
    return (total / count).astype(np.float32)
