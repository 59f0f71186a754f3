"""The contents of a data set: counts, sizes, pixels, and images that stand in two of its parts.

An image of the test part that also stands in the training part, or nearly so, makes a
network look better than it is. B. Barz and J. Denzler, "Do We Train on Test Data? Purging
CIFAR of Near-Duplicates", J. Imaging 6(6), 2020, found 3.3 % of CIFAR-10's test images so.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.backend import Array
from minidl.data import Resize, ToChannels
from minidl.data.pictures import spread

if TYPE_CHECKING:
    from minidl.data.catalogue import DataSplits
    from minidl.data.dataset import Dataset

PARTS = ("train", "val", "test")
SIDE = 16  # near-duplicates are looked for in gray images of so many pixels
NEAR = 0.99  # correlation from which two images are called near-duplicates
SHOWN = 12  # pairs that are told


def census(splits: DataSplits, most: int = 100_000) -> dict[str, Any]:
    """Everything that is said about a data set.

    Parameters
    ----------
    splits : DataSplits
    most : int
        Images of each part that are looked at, evenly spread; labels are counted in all.

    Returns
    -------
    dict
        ``name``, ``classes``, ``image`` (height, width, channels), ``counts`` (by part, by
        class), ``looked_at`` (images by part), ``pixels`` (by channel), ``duplicates``.

    Examples
    --------
    >>> from minidl import data
    >>> found = census(data.load("digits"), most=200)
    >>> found["counts"]["test"][:3], found["image"], found["duplicates"][0]["between"]
    ([36, 37, 35], [16, 16, 1], ['train', 'val'])
    """
    parts = {name: getattr(splits, name) for name in PARTS}
    indices = {name: spread(len(part), most) for name, part in parts.items()}
    images = {name: parts[name].batch(chosen)[0] for name, chosen in indices.items()}
    K = len(splits.class_names)
    return {
        "name": splits.name,
        "classes": list(splits.class_names),
        "image": list(images["train"].shape[1:]),
        "counts": {name: np.bincount(part.labels, minlength=K).tolist() for name, part in parts.items()},
        "looked_at": {name: len(chosen) for name, chosen in indices.items()},
        "pixels": pixels(images["train"]),
        "duplicates": duplicates(images, indices, parts),
    }


def pixels(images: Array) -> list[dict[str, Any]]:
    """Mean, deviation, range and histogram (32 bins) of the bytes of each channel, in units where white is 1."""
    rows = []
    for c in range(images.shape[-1]):
        counts = np.bincount(images[..., c].ravel(), minlength=256)
        values, total = np.arange(256) / 255, counts.sum()
        mean = (counts * values).sum() / total
        used = np.flatnonzero(counts)
        rows.append({
            "mean": float(mean),
            "std": float(np.sqrt((counts * (values - mean) ** 2).sum() / total)),
            "least": float(values[used[0]]),
            "most": float(values[used[-1]]),
            "histogram": (counts.reshape(32, 8).sum(axis=1) / total).tolist(),
        })  # fmt: skip
    return rows


def class_means(dataset: Dataset, K: int, most: int = 2000) -> Array:
    """The mean image of each class, uint8 (K, H, W, C), over up to `most` evenly spread images; and their numbers."""
    chosen = spread(len(dataset), most)
    images, labels = dataset.batch(chosen)
    counts = np.bincount(labels, minlength=K)
    sums = np.zeros((K, *images.shape[1:]))
    np.add.at(sums, labels, images)
    return np.rint(sums / np.maximum(counts, 1)[:, None, None, None]).astype(np.uint8), counts


def duplicates(images: dict[str, Array], indices: dict[str, Array], parts: Sequence[str]) -> list[dict[str, Any]]:
    """For each two parts, how many images of the second stand in the first as well: exactly, and nearly.

    Returns
    -------
    list of dict
        ``between`` (two parts), ``exact``, ``near`` (counts of images, the exact ones apart),
        ``pairs`` (the most similar: indices, labels, correlation).
    """
    hashes = {name: [hashlib.sha256(image.tobytes()).digest() for image in array] for name, array in images.items()}
    vectors = {name: _vectors(array) for name, array in images.items()}
    rows = []
    for first, second in itertools.combinations(images, 2):
        known = set(hashes[first])
        exact = np.array([digest in known for digest in hashes[second]])
        nearest, correlation = _nearest(vectors[second], vectors[first])
        order = np.argsort(-correlation, kind="stable")[:SHOWN]
        rows.append({
            "between": [first, second],
            "exact": int(exact.sum()),
            "near": int(((correlation >= NEAR) & ~exact).sum()),
            "pairs": [_pair(k, nearest[k], correlation[k], (first, second), indices, parts) for k in order],
        })  # fmt: skip
    return rows


def _pair(k, other, correlation, names, indices, parts):
    first, second = int(indices[names[0]][other]), int(indices[names[1]][k])
    labels = [int(parts[names[0]].labels[first]), int(parts[names[1]].labels[second])]
    return {"indices": [first, second], "labels": labels, "correlation": float(correlation)}


def _vectors(images):
    """Each image in gray and small, its mean taken off, of length 1; one without contrast is all 0."""
    rows = []
    for chunk in np.array_split(images, -(-len(images) // 512)):
        small = Resize(SIDE)(ToChannels(1)(chunk)).reshape(len(chunk), -1).astype(np.float32)
        small -= small.mean(axis=1, keepdims=True)
        length = np.sqrt((small**2).sum(axis=1, keepdims=True))
        rows.append(small / np.where(length > 1e-3, length, np.inf))
    return np.concatenate(rows)


def _nearest(queries, bank):
    """For each query the row of `bank` with the largest correlation, and that correlation."""
    places, values = [], []
    for part in np.array_split(queries, -(-len(queries) // 256)):
        products = part @ bank.T
        places.append(products.argmax(axis=1))
        values.append(products.max(axis=1))
    return np.concatenate(places), np.concatenate(values)
