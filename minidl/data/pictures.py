"""Pictures that stay on the disk: an index, and the bytes decoded when they are asked for.

`ImageFolder` and `ImageArchive` say where the bytes are; all else stands here: what an
index of them has in common, parts of it, statistics of a sample, batches.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.checks import positive_pair
from minidl.data.dataset import Dataset
from minidl.data.decoded import DecodedCache
from minidl.data.decoding import decode_bytes, decoder, opened, size_and_gray
from minidl.data.download import cache_root
from minidl.data.errors import check
from minidl.data.index import Index
from minidl.tensor import Tensor


class Pictures(Dataset):
    """Base class of data sets of pictures in files: subclasses define `where` and `contents`.

    Attributes
    ----------
    index : Index
    image_size : (height, width)
    channels : 1 or 3
    class_names : list of str
    class_word : str
        The name that classes have in messages.
    block : int
        Pictures that lie together and should be read together: the order of an epoch
        keeps them near each other (see `minidl.data.order`).
    """

    layout = "HWC"
    block = 1
    class_word = "classes"

    index: Index
    image_size: tuple[int, int]
    channels: int
    class_names: list[str]
    cache: DecodedCache | None = None
    dataset: Any = None  # that of which this is a part

    def _look_at(self, index: Index, class_names: Sequence[str], image_size: Any, channels: int | None) -> None:
        """Take the index, and from a sample what size and how many channels pictures are brought to, if not given."""
        check(channels in (None, 1, 3), f"`channels` is {channels!r}; accepted: 1 (gray), 3 (colour) or None")
        self.index, self.class_names = index, list(class_names)
        rows = index.rows(spread(len(index), 100))
        named = zip(rows, index.names(rows))
        sizes, gray = zip(*(size_and_gray(opened(self.contents(row, name), self.where(row, name)))
                            for row, name in named))
        self.image_size = positive_pair(image_size or min(64, int(np.median(np.min(sizes, axis=1)))), "image_size")
        self.channels = channels or (1 if all(gray) else 3)

    def where(self, row: Array, name: str) -> str:
        """The picture's place in words, for messages: a path, or an archive and a member."""
        raise NotImplementedError(f"{type(self).__name__} defines no where")

    def contents(self, row: Array, name: str) -> bytes:
        """The picture's bytes."""
        raise NotImplementedError(f"{type(self).__name__} defines no contents")

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> Array:
        """The labels, int64 of shape (len(self),); of a large set, better by `index.chunks`, part after part."""
        return self.index.labels()

    def stamp(self) -> Any:
        """Sizes and times of the files, where the rows do not have them."""
        return []

    def keep_decoded(self, budget: int) -> None:
        """Keep decoded pictures in the cache folder (``$MINIDL_CACHE``), as many as have room in `budget` bytes.

        The pictures are the same, bit for bit; parts of the set that are made after this share them.
        """
        facts = self.index.digest(("at", "size")), self.stamp(), self.image_size, self.channels, decoder()
        path = cache_root() / "decoded" / hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
        slot = self.image_size[0] * self.image_size[1] * self.channels
        self.cache = DecodedCache(path, slot, len(self), budget)

    def path(self, index: Any) -> str:
        """The place of picture number `index`."""
        rows = self.index.rows([index])
        return self.where(rows[0], self.index.names(rows)[0])

    def __getitem__(self, index: int) -> tuple[Array, int]:
        check(-len(self) <= index < len(self), f"`index` is {index} but the data set has {len(self)} items")
        images, labels = self.batch(np.array([index % len(self)]))
        return images[0], int(labels[0])

    def batch(self, indices: Tensor) -> Any:
        rows = self.index.rows(indices)
        images = np.empty((len(rows), *self.image_size, self.channels), np.uint8)
        for image, row, name in zip(images, rows, self.index.names(rows)):
            if self.cache is None or not self.cache.read(int(row["number"]), image):
                contents = self.contents(row, name)
                image[...] = decode_bytes(contents, self.where(row, name), self.image_size, self.channels)
                if self.cache is not None:
                    self.cache.write(int(row["number"]), image)
        return images, rows["label"].astype(np.int64)

    def part(self, index: Index) -> Any:
        """The same with another index of the same files."""
        other = copy.copy(self)
        other.index, other.dataset = index, self
        return other

    def divided(self, fraction: float, seed: int) -> tuple[Any, Any]:
        """A large and a small part, with the same mix of classes; the small one has this share of the pictures."""
        large, small = self.index.divided(fraction, seed)
        return self.part(large), self.part(small)


def spread(n: int, at_most: int) -> Array:
    """Up to `at_most` of the numbers 0 to n-1, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).astype(np.int64))


def survey(dataset: Dataset, at_most: int = 1000) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Decode up to `at_most` pictures, evenly spread: finds broken ones before training does.

    Returns
    -------
    mean, std : tuples of one float per channel, in units where white is 1
    """
    chosen = spread(len(dataset), at_most)
    parts = np.array_split(chosen, -(-len(chosen) // 16))
    with ThreadPoolExecutor() as workers:  # whole numbers add up to the same in any order
        sums = list(workers.map(lambda part: _sums(dataset.batch(part)[0]), parts))
    pixels, total, squares = (sum(column) for column in zip(*sums))
    mean = total / pixels / 255
    deviation = np.sqrt(np.maximum(squares / pixels / 255**2 - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.maximum(deviation, 1 / 255).tolist())


def _sums(images):
    values = images.reshape(-1, images.shape[-1]).astype(np.int64)
    return len(values), values.sum(axis=0), (values**2).sum(axis=0)
