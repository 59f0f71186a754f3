"""Grad-CAM: where in an image a network finds its evidence for a class.

R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", arXiv 1610.02391, equations 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from minidl.backend import Array, to_numpy
from minidl.data.transforms import Resize
from minidl.explain.watching import chosen, gradients, watch
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.module import Module


class GradCAM(NamedTuple):
    """Result of `grad_cam`: NumPy arrays, `maps` (N, H, W) from 0 to 1, `classes` (N,), `logits` (N, K)."""

    maps: np.ndarray
    classes: np.ndarray
    logits: np.ndarray
    layer: str


def grad_cam(
    model: Module, images: Tensor | Array, classes: int | Sequence[int] | None = None, layer: str | None = None
) -> GradCAM:
    """Grad-CAM of each image: ``relu(sum over k of a_k * A_k)``, `a_k` the mean of the gradient over channel k.

    Parameters
    ----------
    model : Module
        Returns logits (N, K); its mode and gradients are left as they were.
    images : Tensor or array, shape (N, C, H, W)
        Normalised as the network wants them.
    classes : int or sequence of N ints, optional
        The class explained for each image; the predicted one by default.
    layer : str, optional
        Dotted name of the module whose output A is looked at, (N, channels, h, w). By
        default the last one whose output has more than one place.

    Returns
    -------
    GradCAM
        Maps as large as the images, each scaled so that its largest value is 1; all 0
        where nothing speaks for the class.

    Raises
    ------
    ValueError
        No such layer, one without places, or wrong images or classes.

    Examples
    --------
    >>> import minidl
    >>> from minidl import explain, nn
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 10))
    >>> found = explain.grad_cam(net, minidl.ones(2, 1, 8, 8), classes=3)
    >>> found.maps.shape, found.classes.tolist(), found.layer
    ((2, 8, 8), [3, 3], '1')
    """
    logits, kept = watch(model, images, lambda name, module: layer in (None, name))
    layer, activation = _layer(kept, layer)
    classes = chosen(logits, classes)
    (gradient,) = gradients(logits, classes, [activation])
    maps = heat(to_numpy(activation.data), to_numpy(gradient))
    return GradCAM(scaled(enlarged(maps, images.shape[2:])), classes, to_numpy(logits.data), layer)


def _layer(kept, layer):
    """(name, output) of the layer looked at."""
    found = [(name, output) for name, output in kept if _has_places(output) and (name or layer == "")]
    if not found:
        which = "no module gives" if layer is None else f"`layer` is {layer!r}, which gives no"
        raise ValueError(f"{which} maps (N, channels, h, w) of more than one place, so there is nothing to show")
    return found[-1]


def _has_places(output):
    return isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1


def heat(activation: Array, gradient: Array) -> Array:
    """Equations 1 and 2: arrays (N, C, h, w) to maps (N, h, w)."""
    weights = gradient.mean(axis=(2, 3), keepdims=True)
    return np.maximum((weights * activation).sum(axis=1), 0)


def enlarged(maps: Array, size: tuple[int, int]) -> Array:
    """Maps (N, h, w) at another size (H, W), by bilinear interpolation."""
    return Resize(tuple(size))(np.ascontiguousarray(maps, np.float32)[..., None])[..., 0]


def scaled(maps: Array) -> Array:
    """Maps (N, H, W), each divided by its largest value unless that is 0."""
    largest = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)
