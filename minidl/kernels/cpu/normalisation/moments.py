"""Mean and variance of channels on the CPU: one pass over memory, in which little cancels.

The pixels are cut into pieces of fixed size, which are the tasks. A piece shifts its values
by a first guess of their mean and sums differences and their squares. The guess is the mean
of a few pixels spread over the piece: a variance loses digits only where they are far from
all others, by the square of that distance in standard deviations. The pieces are then merged
in order, in float64 (T. Chan, G. Golub and R. LeVeque, "Updating formulae and a
pairwise algorithm for computing sample variances", 1979).

Of a channel with values that are not finite, or so large that their sums or squares overflow, both are computed
again in the definition's own steps: there the order decides what comes out, an infinity or NaN.
"""

from __future__ import annotations

import numpy as np

from minidl import backend
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import EXACT, get, own, put
from minidl.kernels.cpu.machine.team import next_task
from minidl.kernels.cpu.normalisation.parts import BEFORE, CHANNELS, FIRST, array_of, pieces, prefetch_pixels, table

GUESS = 16  # pixels, evenly spread, whose mean is a piece's shift


def partial(rows, n, C, like):
    """Room for `n` pieces' `rows` sums per channel; each row on cache lines of its own, and no two 4 KB apart."""
    return backend.empty((n, rows, (C // 16 + 2) * 16), like.dtype, like=like)


@jit(fastmath=EXACT, forceinline=True)
def _moments_of(x, ldx, start, end, C, sums, shift, first, second):
    """Of a piece of one part: the shift, the sum of differences from it, and the sum of their squares."""
    guess = min(GUESS, end - start)
    for c in range(C):
        put(sums, shift + c, 0)
        put(sums, first + c, 0)
        put(sums, second + c, 0)
    for k in range(guess):
        p = start + (2 * k + 1) * (end - start) // (2 * guess)  # the middle of each of `guess` stretches
        for c in range(C):
            put(sums, shift + c, own(sums, shift + c) + get(x, p * ldx + c))
    for c in range(C):
        put(sums, shift + c, own(sums, shift + c) / guess)
    fours = start + (end - start) // 4 * 4
    for p in range(start, fours, 4):
        i, j, k, l = p * ldx, (p + 1) * ldx, (p + 2) * ldx, (p + 3) * ldx
        prefetch_pixels(x, ldx, C, p, p + 4)
        for c in range(C):
            m = own(sums, shift + c)
            d0, d1, d2, d3 = get(x, i + c) - m, get(x, j + c) - m, get(x, k + c) - m, get(x, l + c) - m
            put(sums, first + c, own(sums, first + c) + ((d0 + d1) + (d2 + d3)))
            put(sums, second + c, own(sums, second + c) + ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)))
    for p in range(fours, end):
        for c in range(C):
            d = get(x, p * ldx + c) - own(sums, shift + c)
            put(sums, first + c, own(sums, first + c) + d)
            put(sums, second + c, own(sums, second + c) + d * d)


@jit(fastmath=EXACT)
def _moments(counter, n_tasks, parts, zero, pixels, size, sums, row):
    task = next_task(counter)
    while task < n_tasks:
        start, end = task * size, min(pixels, (task + 1) * size)
        for part in range(len(parts)):
            (x, ldx), at = array_of(parts, part, FIRST, zero), 3 * task * row + parts[part, BEFORE]
            _moments_of(x, ldx, start, end, parts[part, CHANNELS], sums, at, at + row, at + 2 * row)
        task = next_task(counter)


@jit(fastmath=EXACT)
def _merge(sums, pixels, C, size, mean, var):
    """Write mean and variance of all pieces together, in float64."""
    shift, first, second = sums[:, 0], sums[:, 1], sums[:, 2]
    mean[:] = 0
    var[:] = 0
    for k in range(len(sums)):
        n = min(size, pixels - k * size)
        for c in range(C):
            mean[c] += np.float64(shift[k, c]) * n + first[k, c]
    for c in range(C):
        mean[c] /= pixels
    for k in range(len(sums)):
        n = min(size, pixels - k * size)
        for c in range(C):
            rest = np.float64(first[k, c]) / n  # the piece's mean is its shift and this
            away = shift[k, c] + rest - mean[c]
            var[c] += second[k, c] + n * (away * away - rest * rest)
    for c in range(C):
        var[c] = 0 if var[c] < 0 else var[c] / pixels


def statistics(xs):
    """Mean and biased variance per channel of channels-last parts, in float64, one part's behind the other's."""
    n, pixels, C, size = pieces(xs)
    sums = partial(3, n, C, like=xs[0])
    team.run(_moments, n, table(xs), sums.dtype.type(0), pixels, size, sums.ravel(), sums.shape[2])
    mean, var = (backend.empty((C,), np.float64, like=xs[0]) for _ in range(2))
    numbers = sums, pixels, C, size, mean, var
    team.call(_settle, xs, *numbers, quick=(_settle_finite, *numbers))
    return mean, var


@jit(fastmath=EXACT)
def _settle_finite(sums, pixels, C, size, mean, var):
    """`_settle` where all variances are finite, else an error."""
    _merge(sums, pixels, C, size, mean, var)
    for c in range(C):
        if not np.isfinite(var[c]):
            raise ArithmeticError("a variance that is not finite")


def _settle(xs, sums, pixels, C, size, mean, var):
    """Write mean and variance, and look whether they are finite; reads values, so called by `team.call`."""
    _merge(sums, pixels, C, size, mean, var)
    if not np.isfinite(var).all():
        _as_defined(xs, mean, var)


def _as_defined(xs, mean, var):
    """Compute anew the channels in which a value or a square of a difference is not finite, as the definition does."""
    ends = np.cumsum([x.shape[1] for x in xs])
    with np.errstate(over="ignore", invalid="ignore"):
        for c in np.flatnonzero(~np.isfinite(var)):
            part = int(ends.searchsorted(c, "right"))
            values = xs[part][:, c - ends[part]]  # counted from the part's end
            mean[c] = values.mean()
            deviation = values - values.dtype.type(mean[c])
            var[c] = (deviation * deviation).mean()
