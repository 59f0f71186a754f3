"""Random numbers as a function of a key and an index: Philox4x32-10.

There is no hidden state. Number i of the stream (seed, layer, step) is word ``i % 4`` of
a block cipher with ten rounds, whose key is the seed and whose counter holds the block's
number ``i // 4``, the layer and the step. So any device and any number of threads draw
the same bits, and a mask need not be kept: it can be drawn again.

Reference: J. Salmon, M. Moraes, R. Dror and D. Shaw, "Parallel random numbers: as easy
as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import math

from minidl import backend
from minidl.backend import Array
from minidl.dispatch import dispatched

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # golden ratio and sqrt(3) - 1, which Weyl sequences of round keys go on by
ROUNDS = 10
WORD = 0xFFFFFFFF


def philox(counter: tuple[Array, ...], key: tuple[int, int]) -> tuple[Array, ...]:
    """One block: the four 32-bit words of `counter`, enciphered under the two words of `key`.

    Parameters
    ----------
    counter : four arrays of uint64 that hold numbers below 2**32
    key : two ints below 2**32

    Examples
    --------
    >>> import numpy as np
    >>> [hex(int(word)) for word in philox([np.zeros((), np.uint64)] * 4, (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    for r in range(ROUNDS):
        k0, k1 = ((k + r * step) & WORD for k, step in zip(key, KEY_STEPS))
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & WORD, (p0 >> 32) ^ c3 ^ k1, p0 & WORD
    return c0, c1, c2, c3


def split(seed: int, layer: int, step: int) -> tuple[tuple[int, ...], ...]:
    """Key ``(seed, seed's high word)`` and the upper counter words ``(layer, step, step's high word)``.

    `seed` and `step` count modulo 2**64, `layer` modulo 2**32.
    """
    return (seed & WORD, seed >> 32 & WORD), (layer & WORD, step & WORD, step >> 32 & WORD)


@dispatched
def fill_uint32(out: Array, seed: int, layer: int, step: int) -> Array:
    """Fill the C-contiguous uint32 array `out`, of at most 2**34 numbers, with the stream (seed, layer, step).

    Examples
    --------
    >>> import numpy as np
    >>> fill_uint32(np.empty(5, np.uint32), 0, 0, 0)[:4].tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    True
    """
    xp = backend.array_module(out)
    key, upper = split(seed, layer, step)
    block = xp.arange(-(-out.size // 4), dtype=xp.uint64)
    words = philox([block, *(xp.full_like(block, word) for word in upper)], key)
    out.reshape(-1)[...] = xp.stack(words, axis=1).reshape(-1)[: out.size].astype(out.dtype)
    return out


def random_uint32(shape: tuple[int, ...], seed: int, layer: int, step: int, like: Array) -> Array:
    """uint32 array of `shape`, the stream (seed, layer, step) in C order, on the device of the array `like`."""
    return fill_uint32(backend.empty(shape, "uint32", like=like), seed, layer, step)


def uniform(shape: tuple[int, ...], seed: int, layer: int, step: int, like: Array) -> Array:
    """Numbers from [0, 1) in the dtype of the array `like`: 24 random bits each in float32, 53 in float64.

    Examples
    --------
    >>> import numpy as np
    >>> u = uniform((2, 3), 0, 0, 0, like=np.zeros(1, np.float32))
    >>> u.shape, u.dtype.name, bool((0 <= u).all() and (u < 1).all())
    ((2, 3), 'float32', True)
    """
    if like.dtype.itemsize == 4:
        return (random_uint32(shape, seed, layer, step, like) >> 8).astype(like.dtype) * 2.0**-24
    words = random_uint32((*shape, 2), seed, layer, step, like).astype("uint64")
    return ((words[..., 0] >> 5) * 2**26 + (words[..., 1] >> 6)).astype(like.dtype) * 2.0**-53


def normal(shape: tuple[int, ...], seed: int, layer: int, step: int, like: Array) -> Array:
    """Standard normal numbers in the dtype of the array `like`, by the transform of Box and Muller.

    Computed in float64, so devices agree to rounding.

    Examples
    --------
    >>> import numpy as np
    >>> x = normal((10000,), 0, 0, 0, like=np.zeros(1))
    >>> bool(abs(x.mean()) < 0.05), bool(abs(x.std() - 1) < 0.05)
    (True, True)
    """
    xp = backend.array_module(like)
    count = math.prod(shape)
    pairs = random_uint32((-(-count // 2), 2), seed, layer, step, like)
    radius = xp.sqrt(-2 * xp.log((pairs[:, 0] + 1.0) * 2.0**-32))  # from (0, 1]: the logarithm is finite
    angle = pairs[:, 1] * (2.0**-31 * math.pi)
    both = xp.stack([radius * xp.cos(angle), radius * xp.sin(angle)], axis=1)
    return both.reshape(-1)[:count].reshape(shape).astype(like.dtype)
