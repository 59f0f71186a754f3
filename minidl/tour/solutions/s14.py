"""Chapter 14: chunks of a fixed size, each sum at its own place, added in order."""

import numpy as np


def dot(a, b, threads, run):
    """The sum of a * b, float32, the same bits for every number of threads."""
    size = 4096
    starts = range(0, len(a), size)
    sums = np.zeros(len(starts), np.float32)

    def task(k, start):
        def work():
            sums[k] = (a[start : start + size] * b[start : start + size]).sum()
        return work

    run([task(k, start) for k, start in enumerate(starts)], threads)
    total = np.float32(0)
    for part in sums:
        total += part
    return total


def mistake(a, b, threads, run):
    """A part per thread."""
    sums = []

    def task(x, y):
        return lambda: sums.append((x * y).sum())

    run([task(x, y) for x, y in zip(np.array_split(a, threads + 1), np.array_split(b, threads + 1))], threads)
    return np.sum(sums, dtype=np.float32)
