"""CIFAR-10 in its official binary version: records of 3,073 bytes, no header.

A record is one label byte, then 1,024 red, 1,024 green and 1,024 blue bytes, each plane
row by row. A file has 10,000 records; since there is no header, its exact size is the
first check. (The "python version" is a pickle, which can run any code: it is not read.)
Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minidl.backend import Array
from minidl.data.errors import broken

TRAIN_FILES = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
TEST_FILES = ("test_batch.bin",)
RECORD = 1 + 3 * 32 * 32
RECORDS = 10_000
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def read(paths: Sequence[Path | str], records: int = RECORDS) -> tuple[Array, Array]:
    """Images and labels of binary files, one after the other.

    Every file's size and labels are checked before memory for the images is asked for.

    Returns
    -------
    images : uint8 array, shape (N, 32, 32, 3)
    labels : int64 array, shape (N,)
    """
    for path in paths:
        _check_size(path, records)
    labels = np.concatenate([_checked_labels(path, records) for path in paths])
    images = np.empty((len(paths) * records, 32, 32, 3), np.uint8)
    for k, path in enumerate(paths):
        planes = _records(path, records)[:, 1:].reshape(records, 3, 32, 32)
        images[k * records : (k + 1) * records] = planes.transpose(0, 2, 3, 1)
    return images, labels


def _check_size(path, records):
    found = os.path.getsize(path)
    if found != records * RECORD:
        raise broken(path, f"{records * RECORD:,} bytes ({records:,} records of {RECORD:,})", f"{found:,} bytes")


def _checked_labels(path, records):
    labels = _records(path, records)[:, 0].astype(np.int64)
    if labels.max() > 9:
        at = int(np.argmax(labels > 9))
        raise broken(path, "labels 0 to 9", f"label {labels[at]} in record {at}")
    return labels


def _records(path, records):
    raw = np.fromfile(path, np.uint8, count=records * RECORD)
    if raw.size != records * RECORD:
        raise broken(path, f"{records * RECORD:,} bytes", f"{raw.size:,} bytes: it changed while being read")
    return raw.reshape(records, RECORD)
