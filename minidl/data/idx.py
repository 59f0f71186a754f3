"""IDX files, the form of MNIST and Fashion-MNIST: a header of big-endian words, then bytes.

Images: magic 2051, count, rows, columns, then the pixels. Labels: magic 2049, count,
then one byte each. Nothing in a header is believed: sizes are compared with the file
before memory is asked for, and a gzip stream is read to the announced size plus one
byte, so that both a missing and a surplus byte are found. Format: Y. LeCun, C. Cortes,
C. Burges, "The MNIST database".
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np

from minidl.backend import Array
from minidl.data.errors import broken

IMAGES, LABELS = 2051, 2049  # 0x0803 and 0x0801: unsigned bytes, three dimensions and one
CHUNK = 1 << 16


class _Bytes:
    """The contents of a file, gunzipped where it is a gzip file; `read(n)` gives n bytes or what there is."""

    def __init__(self, path, file):
        self.path, self.file = path, file
        self.gzip = zlib.decompressobj(wbits=31) if file.read(2) == b"\x1f\x8b" else None
        file.seek(0)

    def read(self, n):
        if self.gzip is None:
            return self.file.read(n)
        parts, missing = [], n
        while missing and not self.gzip.eof:
            compressed = self.gzip.unconsumed_tail or self.file.read(CHUNK)
            parts.append(self._gunzip(compressed, missing))
            missing -= len(parts[-1])
            if not compressed and not parts[-1]:
                raise broken(self.path, "a whole gzip stream", "the end of the file within it")
        return b"".join(parts)

    def _gunzip(self, compressed, limit):
        try:
            return self.gzip.decompress(compressed, limit)
        except zlib.error as error:
            raise broken(self.path, "intact gzip data", f"a damaged stream ({error})") from None

    def check_end(self):
        """Nothing may follow: not in the stream, not behind it."""
        surplus = self.read(1)
        if self.gzip is not None:
            surplus = surplus or self.gzip.unused_data or self.file.read(1)
        if surplus:
            raise broken(self.path, "the end of the file after the announced data", "more bytes")


def read_images(path: Path | str, size: tuple[int, int] = (28, 28), at_most: int = 60_000) -> Array:
    """Images of an IDX file, plain or gzip.

    Parameters
    ----------
    path : path of the file
    size : (rows, columns) that the images must have
    at_most : int
        Count above which the file is refused.

    Returns
    -------
    uint8 array, shape (N, rows, columns)

    Raises
    ------
    DataError
        Naming the path, what was expected and what was found.
    """
    return _read(path, IMAGES, size, at_most)


def read_labels(path: Path | str, classes: int = 10, at_most: int = 60_000) -> Array:
    """Labels of an IDX file, plain or gzip: int64, shape (N,), each below `classes` (errors as `read_images`)."""
    labels = _read(path, LABELS, (), at_most)
    if labels.max() >= classes:
        at = int(np.argmax(labels >= classes))
        raise broken(path, f"labels 0 to {classes - 1}", f"label {labels[at]} at position {at}")
    return labels.astype(np.int64)


def _read(path, magic, item_shape, at_most):
    largest = at_most * int(np.prod(item_shape)) * 1.001 + 2 * CHUNK
    with open(path, "rb") as file:
        contents = _Bytes(path, file)
        if os.fstat(file.fileno()).st_size > largest:
            raise broken(path, f"a file of at most {largest:,.0f} bytes", f"{os.path.getsize(path):,} bytes")
        count = _read_header(contents, magic, item_shape, at_most)
        _check_file_size(contents, file, count * int(np.prod(item_shape)) + 8 + 4 * len(item_shape))
        data = np.empty((count, *item_shape), np.uint8)
        _fill(contents, memoryview(data).cast("B"))
        contents.check_end()
    return data


def _read_header(contents, magic, item_shape, at_most):
    """Check the header; the number of items that it announces."""
    size = 8 + 4 * len(item_shape)
    header = contents.read(size)
    if len(header) < size:
        raise broken(contents.path, f"a header of {size} bytes", f"{len(header)} bytes")
    found_magic, count, *found_shape = struct.unpack(f">{size // 4}I", header)
    if found_magic != magic:
        raise broken(contents.path, f"magic number {magic}", found_magic)
    if tuple(found_shape) != tuple(item_shape):
        raise broken(contents.path, f"images of {item_shape[0]}x{item_shape[1]}", "x".join(map(str, found_shape)))
    if not 1 <= count <= at_most:
        raise broken(contents.path, f"between 1 and {at_most:,} items", f"a header that announces {count:,}")
    return count


def _check_file_size(contents, file, expected):
    """Can a file of this size hold `expected` bytes? Deflate packs at most 1032 bytes into one, and adds little."""
    found = os.fstat(file.fileno()).st_size
    packed = contents.gzip is not None
    low, high = (expected // 1032, expected + expected // 1000 + CHUNK) if packed else (expected, expected)
    if not low <= found <= high:
        size = f"a gzip file of {low:,} to {high:,} bytes" if packed else f"{expected:,} bytes"
        raise broken(contents.path, size + " (from its header)", f"{found:,} bytes")


def _fill(contents, view):
    """Read until `view` is full."""
    done = 0
    while done < len(view):
        part = contents.read(min(CHUNK * 16, len(view) - done))
        if not part:
            raise broken(contents.path, f"{len(view):,} bytes of data (from its header)", f"{done:,}")
        view[done : done + len(part)] = part
        done += len(part)
