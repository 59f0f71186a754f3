"""Random numbers as a function of (seed, epoch, image), not of who draws them when.

Philox turns a counter of four 32-bit words and a key of two into four random words
(minidl/philox.py). Here the key is the seed, the counter (image, epoch, draw,
purpose). So every image gets the same augmentation whatever thread decodes it, and the
same order of the images comes out whatever the version of NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.philox import philox
from minidl.tensor import Tensor

ORDER, AUGMENT, SPLIT, BLOCKS, ALWAYS = 1, 2, 3, 4, 5  # purposes, so that no two of them share numbers

_WORD = np.uint64(0xFFFFFFFF)


def words_at(index: int | Array, epoch: int, draw: int | Array, purpose: int, seed: int) -> tuple[Array, ...]:
    """Four random words (arrays of uint64 below 2**32) for each counter (index, epoch, draw, purpose)."""
    counter = [np.asarray(word, np.uint64) & _WORD for word in (index, epoch, draw, purpose)]
    return philox(np.broadcast_arrays(*counter), (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))


def permutation(n: int, seed: int, epoch: int = 0, purpose: int = ORDER, part: int = 0) -> Array:
    """The numbers 0 to n-1 in an order that is a function of (n, seed, epoch, purpose, part).

    Every number draws a random 64-bit ticket; the tickets are sorted.
    """
    high, low, _, _ = words_at(np.arange(n), epoch, part, purpose, seed)
    return np.argsort((high << np.uint64(32)) | low, kind="stable")


class ImageRandom:
    """Uniform random numbers for a batch of images, one row per image.

    Parameters
    ----------
    seed, epoch : int
    indices : integer array, shape (N,)
        The images' places in their data set.

    Examples
    --------
    >>> from minidl.data.random import ImageRandom
    >>> alone = ImageRandom(seed=1, epoch=0, indices=[7]).uniform(2)
    >>> together = ImageRandom(seed=1, epoch=0, indices=[3, 7]).uniform(2)
    >>> bool((alone[0] == together[1]).all())
    True
    """

    purpose: int

    seed: int
    epoch: int

    def __init__(self, seed: int, epoch: int | None, indices: Tensor, purpose: int = AUGMENT) -> None:
        self.seed, self.epoch, self.purpose = seed, epoch, purpose
        self.indices: Array = np.asarray(indices, np.int64)[:, None]
        self.drawn: int = 0

    def of_all_epochs(self) -> ImageRandom:
        """Numbers of the same images that are the same in every epoch."""
        return ImageRandom(self.seed, 0, self.indices[:, 0], ALWAYS)

    def uniform(self, k: int) -> Any:
        """The next `k` numbers of every image: float32, shape (N, k), in [0, 1)."""
        blocks = -(-k // 4)
        draw = np.arange(self.drawn, self.drawn + blocks)
        self.drawn += blocks
        words = np.stack(words_at(self.indices, self.epoch, draw, self.purpose, self.seed), axis=-1)  # (N, blocks, 4)
        words = words.reshape(len(self.indices), 4 * blocks)[:, :k]
        return (words >> np.uint64(8)).astype(np.float32) * np.float32(2**-24)

    def between(self, low: Any, high: Any, k: int = 1) -> Any:
        """The next `k` numbers of every image, float32 in [low, high), shape (N, k)."""
        return np.float32(low) + self.uniform(k) * np.float32(high - low)

    def integers(self, high: Any, k: int = 1) -> Any:
        """The next `k` whole numbers of every image in 0 .. high-1 (`high` one number, or one per column)."""
        return (self.uniform(k) * np.asarray(high)).astype(np.int64)
