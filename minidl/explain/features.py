"""A network's first and last view of an image: the filters of its first convolution, its last features.

Images whose last features point the same way look alike to the network, whatever their
classes, so the nearest training images say what an answer rests on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import minidl
from minidl import backend, nn
from minidl.backend import Array
from minidl.explain.watching import as_images, evaluation_mode
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.module import Module


class Neighbours(NamedTuple):
    """Result of `nearest`: for each query, indices (N, k) and cosines (N, k), the nearest first."""

    indices: np.ndarray
    cosines: np.ndarray


def first_filters(model: Module) -> tuple[str, Array]:
    """(dotted name, weights) of the first convolution, weights a NumPy array (filters, channels, kh, kw).

    Examples
    --------
    >>> import models
    >>> from minidl import explain
    >>> name, filters = explain.first_filters(models.create("cnn"))
    >>> name, filters.shape
    ('features.0', (32, 3, 3, 3))
    """
    for name, module in model.named_modules():
        if type(module) is nn.Conv2d:
            return name, backend.to_numpy(module.weight.data)
    raise ValueError(f"`model` is a {type(model).__name__} without a convolution, so it has no filters to show")


def last_features(model: Module, images: Tensor | Array) -> Array:
    """The input of the last `Linear` that `model` calls, for each image: a NumPy array (N, features).

    Parameters
    ----------
    model : Module
    images : Tensor or array, shape (N, C, H, W)
    """
    inputs = []
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_pre_hook(lambda module, given: inputs.append(given[0])) for module in linear]
    try:
        with evaluation_mode(model), minidl.no_grad():
            model(as_images(model, images))
    finally:
        for handle in handles:
            handle.remove()
    if not inputs:
        raise ValueError(f"`model` is a {type(model).__name__} that calls no Linear, so it has no last features")
    return backend.to_numpy(inputs[-1].data)


def nearest(queries: Array, bank: Array, k: int = 5) -> Neighbours:
    """The `k` rows of `bank` that point most nearly in the direction of each row of `queries`.

    Parameters
    ----------
    queries, bank : float arrays, shapes (N, features) and (M, features)
    k : int
        At most M are returned. Of equals, the earlier comes first.

    Examples
    --------
    >>> nearest(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [3.0, 0.0], [1.0, 1.0]]), k=2).indices
    array([[1, 2]])
    """
    cosines = minidl.linear(_directions(queries), _directions(bank)).data
    indices = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return Neighbours(indices, np.take_along_axis(cosines, indices, axis=1))


def _directions(rows):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return Tensor(rows / np.where(norms > 0, norms, 1))
