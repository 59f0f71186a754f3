"""Philox on the CPU: four numbers per block, as many blocks at once as a vector holds."""

from __future__ import annotations

import numpy as np

from minidl import backend, philox
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.doors import door
from minidl.kernels.cpu.machine.flat import EXACT, alike, get, put
from minidl.kernels.cpu.machine.team import next_task
from minidl.ops.dropout import threshold
from minidl.philox import KEY_STEPS, MULTIPLIERS, ROUNDS, WORD

BLOCKS = 1 << 12  # per task
M0, M1 = map(np.uint64, MULTIPLIERS)
W0, W1 = map(np.uint64, KEY_STEPS)
LOW, HALF = np.uint64(WORD), np.uint64(32)


@jit(fastmath=EXACT)
def _philox(block, c1, c2, c3, k0, k1):
    """The four words of one block (uint64 numbers below 2**32)."""
    c0 = np.uint64(block)
    for _ in range(ROUNDS):
        p0, p1 = c0 * M0, c2 * M1
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0, c1, c2, c3


@jit(fastmath=EXACT)
def _fill(counter, n_tasks, out, words):
    c1, c2, c3, k0, k1 = words[0], words[1], words[2], words[3], words[4]
    task = next_task(counter)
    while task < n_tasks:
        full = len(out) // 4
        for b in range(task * BLOCKS, min(full, (task + 1) * BLOCKS)):
            w0, w1, w2, w3 = _philox(b, c1, c2, c3, k0, k1)
            put(out, 4 * b, np.uint32(w0))
            put(out, 4 * b + 1, np.uint32(w1))
            put(out, 4 * b + 2, np.uint32(w2))
            put(out, 4 * b + 3, np.uint32(w3))
        if task == n_tasks - 1:
            last = _philox(full, c1, c2, c3, k0, k1)
            for j in range(len(out) % 4):
                out[4 * full + j] = last[j]
        task = next_task(counter)


def _tasks(size):
    return -(-size // (4 * BLOCKS))


def _words(like, seed, layer, step):
    """The upper counter words and the key, which kernels read from memory: a captured step draws anew each time."""
    words = np.empty(5, np.uint64)
    write_words(words, seed, layer, step)
    return words if door.recorder is None else door.recorder.drawn(words, step, write_words, like)


def write_words(words, seed, layer, step):
    """Write the words of the stream (seed, layer, step) to `words`."""
    key, upper = philox.split(seed, layer, step)
    words[:] = *upper, *key


def fill_uint32(out, seed, layer, step):
    """Form of `minidl.philox.fill_uint32`."""
    if out.dtype != np.uint32 or not out.flags.c_contiguous or out.size == 0:
        return NotImplemented
    team.run(_fill, _tasks(out.size), out.reshape(-1), _words(out, seed, layer, step))
    return out


@jit(fastmath=EXACT)
def _kept(x, i, word, limit, scale):
    value = get(x, i) * scale
    return value if word >= limit else x.dtype.type(0)


@jit(fastmath=EXACT)
def _dropout(counter, n_tasks, x, y, limit, scale, words):
    c1, c2, c3, k0, k1 = words[0], words[1], words[2], words[3], words[4]
    task = next_task(counter)
    while task < n_tasks:
        full = len(x) // 4
        for b in range(task * BLOCKS, min(full, (task + 1) * BLOCKS)):
            w0, w1, w2, w3 = _philox(b, c1, c2, c3, k0, k1)
            put(y, 4 * b, _kept(x, 4 * b, w0, limit, scale))
            put(y, 4 * b + 1, _kept(x, 4 * b + 1, w1, limit, scale))
            put(y, 4 * b + 2, _kept(x, 4 * b + 2, w2, limit, scale))
            put(y, 4 * b + 3, _kept(x, 4 * b + 3, w3, limit, scale))
        if task == n_tasks - 1:
            last = _philox(full, c1, c2, c3, k0, k1)
            for j in range(len(x) % 4):
                put(y, 4 * full + j, _kept(x, 4 * full + j, last[j], limit, scale))
        task = next_task(counter)


def dropout_forward(x, p, seed, layer, step):
    """Form of `minidl.ops.dropout.dropout_forward`."""
    if x.dtype.char not in "fd" or x.size == 0:
        return NotImplemented
    image = x.ndim == 4
    ordered = backend.array_module(x).ascontiguousarray(x.transpose(0, 2, 3, 1) if image else x)
    y = backend.empty(ordered.shape, x.dtype, like=x)
    scale = x.dtype.type(1 / (1 - p))
    limit = np.uint64(threshold(p))
    team.run(_dropout, _tasks(x.size), *alike(ordered, y), limit, scale, _words(x, seed, layer, step))
    return y.transpose(0, 3, 1, 2) if image else y
