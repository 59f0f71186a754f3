"""Data sets: things with a length whose items are (image, label), and parts of them.

A data set answers `batch(indices)` besides PyTorch's `__getitem__`: one gather for a
whole batch is much faster than a stack of single items. Images are kept as bytes,
height x width x channels (`layout = "HWC"`), the way files and decoders have them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.data.errors import check
from minidl.data.random import SPLIT, permutation
from minidl.tensor import Tensor


class Dataset:
    """Base class: subclasses define `__len__` and `__getitem__`, and `batch` where they can do better.

    `layout` is ``"HWC"`` where items are images of shape (H, W, C): the loader then
    applies its transforms to them and hands them out as (N, C, H, W). With None,
    items are handed out as they are.
    """

    layout = None

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} defines no __len__")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__")

    def batch(self, indices: Tensor) -> Any:
        """The items at `indices`, each field stacked: a tuple of arrays."""
        return stacked([self[int(index)] for index in indices])


def stacked(items: Sequence[Any]) -> tuple[Array, ...]:
    """Items (tuples of values, or single values) as a tuple of arrays with one row per item."""
    rows = [item if isinstance(item, (tuple, list)) else (item,) for item in items]
    return tuple(np.stack([_array(value) for value in field]) for field in zip(*rows))


def _array(value):
    return value.data if isinstance(value, Tensor) else np.asarray(value)


class TensorDataset(Dataset):
    """Arrays or Tensors with equal first dimension; item i is the tuple of their i-th entries.

    Examples
    --------
    >>> from minidl.data import TensorDataset
    >>> x, y = TensorDataset(np.eye(3), np.arange(3))[1]
    >>> x, int(y)
    (array([0., 1., 0.]), 1)
    """

    def __init__(self, *tensors: Tensor | Array) -> None:
        check(tensors, "`tensors` is empty: TensorDataset takes at least one array")
        self.tensors: tuple[Array, ...] = tuple(_array(t) for t in tensors)
        lengths = [len(t) if t.ndim else None for t in self.tensors]
        check(None not in lengths, "`tensors` holds a 0-d array; each needs a first dimension of items")
        check(len(set(lengths)) == 1, f"`tensors` have different lengths: {lengths}")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        check(-len(self) <= index < len(self), f"`index` is {index} but the data set has {len(self)} items")
        return tuple(t[index] for t in self.tensors)

    def batch(self, indices: Tensor) -> Any:
        return tuple(t[indices] for t in self.tensors)


class ArrayDataset(TensorDataset):
    """Images in memory.

    Parameters
    ----------
    images : uint8 or float32 array, shape (N, H, W, C)
    labels : integer array, shape (N,)
    class_names : list of str, optional
        The default is the labels' numbers as text.
    """

    images: Array

    layout = "HWC"

    def __init__(self, images: Any, labels: Any, class_names: Sequence[str] | None = None) -> None:
        super().__init__(images, labels)
        self.images, labels = self.tensors
        check(self.images.ndim == 4, f"`images` has shape {self.images.shape}; accepted: (N, H, W, C)")
        check(labels.ndim == 1 and labels.dtype.kind in "iu", f"`labels` is {labels.dtype} of shape {labels.shape}; "
              "accepted: whole numbers of shape (N,)")
        self.labels: Array = labels.astype(np.int64)
        self.tensors: tuple[Array, ...] = self.images, self.labels
        self.class_names: list[str] = class_names or [str(c) for c in range(self.labels.max(initial=-1) + 1)]
        check(not len(labels) or 0 <= self.labels.min() and self.labels.max() < len(self.class_names),
              f"`labels` run from {labels.min(initial=0)} to {labels.max(initial=0)} but there are "
              f"{len(self.class_names)} classes")

    def __getitem__(self, index: int) -> tuple[Array, int]:
        image, label = super().__getitem__(index)
        return image, int(label)

    def batch(self, indices: Tensor) -> Any:
        return np.take(self.images, indices, axis=0), self.labels[indices]


class Subset(Dataset):
    """The items of `dataset` at `indices`, in that order."""

    dataset: Dataset
    indices: Array

    def __init__(self, dataset: Any, indices: Tensor) -> None:
        self.dataset, self.indices = dataset, np.asarray(indices, np.int64)
        inside = (self.indices >= 0) & (self.indices < len(dataset))
        check(inside.all(), f"`indices` holds {self.indices[~inside][:1]} but the data set has {len(dataset)} items")
        self.layout: str | None = getattr(dataset, "layout", None)

    @property
    def labels(self) -> Any:
        """Labels of the chosen items, shape (len(self),)."""
        return self.dataset.labels[self.indices]

    @property
    def class_names(self) -> Any:
        """The names of the classes, those of the whole data set."""
        return self.dataset.class_names

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def batch(self, indices: Tensor) -> Any:
        return self.dataset.batch(self.indices[indices])


def stratified_split(labels: Any, fraction: float, seed: int = 0) -> Any:
    """Divide items into a large and a small part with the same mix of classes.

    The small part has ``ceil(fraction * N)`` items. Each class gives its share, rounded
    down, and the classes with the largest remainders one more; each keeps at least one.

    Parameters
    ----------
    labels : integer array, shape (N,)
    fraction : float between 0 and 1
    seed : int

    Returns
    -------
    large, small : sorted int64 arrays of indices

    Examples
    --------
    >>> from minidl.data import stratified_split
    >>> train, test = stratified_split([0, 0, 0, 0, 1, 1, 1, 1], 0.25)
    >>> len(train), len(test)
    (6, 2)
    """
    labels = np.asarray(labels)
    check(labels.size > 0, "`labels` is empty: there is nothing to split")
    check(0 < fraction < 1, f"`fraction` is {fraction!r}; accepted: a number between 0 and 1")
    classes, counts = np.unique(labels, return_counts=True)
    due = quotas(counts, fraction)
    order = permutation(len(labels), seed, purpose=SPLIT)
    small = np.zeros(len(labels), bool)
    for c, quota in zip(classes, due):
        small[order[labels[order] == c][:quota]] = True
    return np.flatnonzero(~small), np.flatnonzero(small)


def quotas(counts: Array, fraction: float) -> Array:
    """Numbers of items that classes of `counts` give to a part of this share (Hare's largest-remainder rule)."""
    total = math.ceil(counts.sum() * fraction - 1e-9)
    exact = counts * (total / counts.sum())
    due = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(due - exact, kind="stable")
    due[by_remainder[: total - due.sum()]] += 1
    due = np.minimum(due, counts - 1)
    check(due.sum() > 0, f"too few items to split: the classes have {counts.tolist()}; at least 2 in one are needed")
    return due
