"""Random numbers and dropout's mask: Philox on the device, the bits of every other device.

Block b of the stream (seed, layer, step) is four words. A block of the grid enciphers a tile of counters, and each word
serves one element: dropout draws its mask again in the backward, and nothing is stored.
"""

from __future__ import annotations

from minidl import backend
from minidl.backend import array_module
from minidl.kernels.gpu.tiles import MOST_ELEMENTS, cdiv, ct, kernel, side, takes
from minidl.ops.dropout import threshold
from minidl.philox import KEY_STEPS, MULTIPLIERS, ROUNDS, WORD, split

TILE = 256  # blocks of four words in a tile, at most
M0, M1 = MULTIPLIERS
STEP0, STEP1 = KEY_STEPS


def enciphered(b, k0, k1, c1, c2, c3):
    """The four words of the blocks `b`, a tile of uint64, under the key (k0, k1): see `minidl.philox.philox`."""
    k0, k1 = ct.astype(k0, ct.uint64), ct.astype(k1, ct.uint64)
    c0, c1, c2, c3 = b, b * 0 + ct.astype(c1, ct.uint64), b * 0 + ct.astype(c2, ct.uint64), b * 0 + ct.astype(c3, ct.uint64)
    for _ in range(ROUNDS):
        p0, p1 = c0 * M0, c2 * M1
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & WORD, (p0 >> 32) ^ c3 ^ k1, p0 & WORD
        k0, k1 = (k0 + STEP0) & WORD, (k1 + STEP1) & WORD
    return c0, c1, c2, c3


@kernel
def words(
    out, K0: ct.ScalarInt64, K1: ct.ScalarInt64, C1: ct.ScalarInt64, C2: ct.ScalarInt64, C3: ct.ScalarInt64, T: ct.Constant
):
    """out (uint32): number i of the stream is word i % 4 of block i // 4."""
    b = ct.bid(0) * T + ct.arange(T, dtype=ct.int32)
    w0, w1, w2, w3 = enciphered(ct.astype(b, ct.uint64), K0, K1, C1, C2, C3)
    ct.scatter(out, 4 * b, ct.astype(w0, ct.uint32))
    ct.scatter(out, 4 * b + 1, ct.astype(w1, ct.uint32))
    ct.scatter(out, 4 * b + 2, ct.astype(w2, ct.uint32))
    ct.scatter(out, 4 * b + 3, ct.astype(w3, ct.uint32))


def drop(x, y, i, word, LIMIT: int, SCALE: float):
    """y[i] = x[i] SCALE where the word is at least LIMIT, else 0."""
    ct.scatter(y, i, ct.where(word >= LIMIT, ct.gather(x, i, padding_value=0) * SCALE, 0.0))


@kernel
def dropped(
    x, y, K0: ct.ScalarInt64, K1: ct.ScalarInt64, C1: ct.ScalarInt64, C2: ct.ScalarInt64, C3: ct.ScalarInt64,
    LIMIT: ct.Constant, SCALE: ct.Constant, T: ct.Constant,
):  # fmt: skip
    """y (n,): each number of x (n,) times SCALE if its random number is at least LIMIT, else 0."""
    b = ct.bid(0) * T + ct.arange(T, dtype=ct.int32)
    w0, w1, w2, w3 = enciphered(ct.astype(b, ct.uint64), K0, K1, C1, C2, C3)
    drop(x, y, 4 * b, w0, LIMIT, SCALE)
    drop(x, y, 4 * b + 1, w1, LIMIT, SCALE)
    drop(x, y, 4 * b + 2, w2, LIMIT, SCALE)
    drop(x, y, 4 * b + 3, w3, LIMIT, SCALE)


def _keys(seed, layer, step):
    """The two words of the key, and the upper three of the counter."""
    key, upper = split(seed, layer, step)
    return *key, *upper


def fill_uint32(out, seed, layer, step):
    """Form of `minidl.philox.fill_uint32`."""
    if not 0 < out.size <= MOST_ELEMENTS:
        return NotImplemented
    T = side(cdiv(out.size, 4), TILE)
    words((cdiv(out.size, 4 * T),), out.reshape(-1), *_keys(seed, layer, step), T)
    return out


def dropout_forward(x, p, seed, layer, step):
    """Form of `minidl.ops.dropout.dropout_forward`."""
    if not takes(x):
        return NotImplemented
    ordered = array_module(x).ascontiguousarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)
    y, T = backend.empty(ordered.shape, x.dtype, like=x), side(cdiv(x.size, 4), TILE)
    grid = (cdiv(x.size, 4 * T),)
    dropped(grid, ordered.reshape(-1), y.reshape(-1), *_keys(seed, layer, step), threshold(p), 1 / (1 - p), T)
    return y.transpose(0, 3, 1, 2) if x.ndim == 4 else y
