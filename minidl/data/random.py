"""Random numbers as a function of (seed, epoch, image), not of who draws them when.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
turns a counter of four 32-bit words and a key of two into four random words. Here
the key is the seed, the counter (image, epoch, draw, purpose). So every image gets
the same augmentation whatever thread decodes it, and the same order of the images
comes out whatever the version of NumPy.
"""

from __future__ import annotations

import numpy as np

ORDER, AUGMENT, SPLIT = 1, 2, 3  # purposes, so that no two of them share numbers

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox4x32(counter, key):
    """Ten Philox rounds: four words of `counter` (integer arrays that broadcast), two of `key`.

    Returns
    -------
    array of uint32, shape ``(4,) + broadcast shape of the counter``

    Examples
    --------
    >>> from minidl.data.random import philox4x32
    >>> [hex(word) for word in philox4x32((0, 0, 0, 0), (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(word, np.uint64) & _LOW for word in counter))
    k0, k1 = (int(word) for word in key)
    for _ in range(10):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = (product1 >> _SHIFT) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> _SHIFT) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF, (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)


def key_of(seed):
    """The two key words of a seed, any integer."""
    return seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF


def permutation(n, seed, epoch=0, purpose=ORDER):
    """The numbers 0 to n-1 in an order that is a function of (n, seed, epoch, purpose).

    Every number draws a random 64-bit ticket; the tickets are sorted.
    """
    high, low, _, _ = philox4x32((np.arange(n), epoch, 0, purpose), key_of(seed))
    tickets = (high.astype(np.uint64) << _SHIFT) | low
    return np.argsort(tickets, kind="stable")


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

    def __init__(self, seed, epoch, indices):
        self.key, self.epoch = key_of(seed), epoch
        self.indices = np.asarray(indices, np.int64)[:, None]
        self.drawn = 0

    def uniform(self, k):
        """The next `k` numbers of every image: float32, shape (N, k), in [0, 1)."""
        blocks = -(-k // 4)
        draw = np.arange(self.drawn, self.drawn + blocks)
        self.drawn += blocks
        words = philox4x32((self.indices, self.epoch, draw, AUGMENT), self.key)  # (4, N, blocks)
        words = words.transpose(1, 2, 0).reshape(len(self.indices), 4 * blocks)[:, :k]
        return (words >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)

    def between(self, low, high, k=1):
        """The next `k` numbers of every image, float32 in [low, high), shape (N, k)."""
        return np.float32(low) + self.uniform(k) * np.float32(high - low)

    def integers(self, high, k=1):
        """The next `k` whole numbers of every image in 0 .. high-1 (`high` one number, or one per column)."""
        return (self.uniform(k) * np.asarray(high)).astype(np.int64)
