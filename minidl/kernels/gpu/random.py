"""Random numbers and dropout's mask: Philox on the device, the bits of every other device.

Block b of the stream (seed, layer, step) is four words. A block of the grid enciphers a tile of counters, and each
word serves one element: dropout draws its mask again in the backward, and nothing is stored. The key is read from
memory, not passed by value: so a captured step draws anew each time.
"""

from __future__ import annotations

import numpy as np

from minidl import backend
from minidl.backend import array_module
from minidl.kernels.gpu.tiles import MOST_ELEMENTS, cdiv, ct, kernel, side, takes
from minidl.ops.dropout import threshold
from minidl.philox import KEY_STEPS, MULTIPLIERS, ROUNDS, WORD, philox, split

TILE = 256  # blocks of four words in a tile, at most
KEY = 8  # numbers of a key in memory, of which five count: so a row of a table is aligned like an array of its own
M0, M1 = MULTIPLIERS
STEP0, STEP1 = KEY_STEPS


class Draw(int):
    """The step of a draw in a captured step, whose key lies in `words`, an array of the device; see `key_words`."""

    words = None
    is_read = False  # by a kernel; what else made of this number would be of the captured call for good


def key_words(seed, layer, step):
    """The two words of the key, and the upper three of the counter, as they lie in memory."""
    key, upper = split(seed, layer, step)
    return np.array([*key, *upper] + [0] * (KEY - 5), np.uint64)


def _key(seed, layer, step, like):
    """The array of `key_words` on the device of the array `like`."""
    if type(step) is Draw:
        step.is_read = True
        return step.words
    return backend.to_device(key_words(seed, layer, step), backend.device_of(like))


def word_at(key, i: int):
    """Number i of a key, as a tile."""
    return ct.load(key, (i,), (1,))


def enciphered(b, key):
    """The four words of the blocks `b`, a tile of uint64, under `key`: see `minidl.philox.philox`."""
    k0, k1 = word_at(key, 0), word_at(key, 1)
    c0, c1, c2, c3 = b, b * 0 + word_at(key, 2), b * 0 + word_at(key, 3), b * 0 + word_at(key, 4)
    for _ in range(ROUNDS):
        p0, p1 = c0 * M0, c2 * M1
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & WORD, (p0 >> 32) ^ c3 ^ k1, p0 & WORD
        k0, k1 = (k0 + STEP0) & WORD, (k1 + STEP1) & WORD
    return c0, c1, c2, c3


@kernel
def words(out, key, T: ct.Constant):
    """out (uint32): number i of the stream is word i % 4 of block i // 4."""
    b = ct.bid(0) * T + ct.arange(T, dtype=ct.int32)
    w0, w1, w2, w3 = enciphered(ct.astype(b, ct.uint64), key)
    ct.scatter(out, 4 * b, ct.astype(w0, ct.uint32))
    ct.scatter(out, 4 * b + 1, ct.astype(w1, ct.uint32))
    ct.scatter(out, 4 * b + 2, ct.astype(w2, ct.uint32))
    ct.scatter(out, 4 * b + 3, ct.astype(w3, ct.uint32))


def drop(x, y, i, word, LIMIT: int, SCALE: float):
    """y[i] = x[i] SCALE where the word is at least LIMIT, else 0."""
    ct.scatter(y, i, ct.where(word >= LIMIT, ct.gather(x, i, padding_value=0) * SCALE, 0.0))


@kernel
def dropped(x, y, key, LIMIT: ct.Constant, SCALE: ct.Constant, T: ct.Constant):
    """y (n,): each number of x (n,) times SCALE if its random number is at least LIMIT, else 0."""
    b = ct.bid(0) * T + ct.arange(T, dtype=ct.int32)
    w0, w1, w2, w3 = enciphered(ct.astype(b, ct.uint64), key)
    drop(x, y, 4 * b, w0, LIMIT, SCALE)
    drop(x, y, 4 * b + 1, w1, LIMIT, SCALE)
    drop(x, y, 4 * b + 2, w2, LIMIT, SCALE)
    drop(x, y, 4 * b + 3, w3, LIMIT, SCALE)


def fill_uint32(out, seed, layer, step):
    """Form of `minidl.philox.fill_uint32`."""
    if not 0 < out.size <= MOST_ELEMENTS:
        return NotImplemented
    T = side(cdiv(out.size, 4), TILE)
    words((cdiv(out.size, 4 * T),), out.reshape(-1), _key(seed, layer, step, out), T)
    return out


def probe():
    """Compile and launch a kernel, and look at its numbers: an error where this machine cannot."""
    kind = backend.kind_named("cuda")
    found = kind.to_numpy(fill_uint32(kind.empty(4, "uint32"), 0, 0, 0))
    wanted = np.array(philox([np.zeros(1, np.uint64)] * 4, (0, 0)), np.uint32)[:, 0]
    if not np.array_equal(found, wanted):
        raise RuntimeError(f"a kernel's numbers are {found.tolist()} in place of {wanted.tolist()}")


def dropout_forward(x, p, seed, layer, step):
    """Form of `minidl.ops.dropout.dropout_forward`."""
    if not takes(x):
        return NotImplemented
    ordered = array_module(x).ascontiguousarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)
    y, T = backend.empty(ordered.shape, x.dtype, like=x), side(cdiv(x.size, 4), TILE)
    grid = (cdiv(x.size, 4 * T),)
    dropped(grid, ordered.reshape(-1), y.reshape(-1), _key(seed, layer, step, x), threshold(p), 1 / (1 - p), T)
    return y.transpose(0, 3, 1, 2) if x.ndim == 4 else y
