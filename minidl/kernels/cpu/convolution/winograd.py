"""Winograd's convolution: fewer multiplications for small windows (Lavin & Gray, arXiv 1509.09308).

A filter `g` of `r` taps slid over `n = m + r - 1` inputs `d` gives `m` outputs

    y[i] = sum_j g[j] d[i + j]                                   (1)

and costs `m r` multiplications. `n` are enough. To see why, forget the sliding for a
moment and multiply two polynomials, a of m coefficients and g of r. Their product has
n coefficients, so its values at n points determine it, and a value of the product is
one multiplication of values: *evaluate a and g at n points, multiply point by point,
interpolate*. With point p the evaluations are sums `sum_j g[j] p^j`, that is, products
with fixed matrices: rows of powers. The point "infinity" takes the leading coefficient.

Equation (1) is the transpose of that product. For fixed g the polynomial product is
linear in a, a matrix of n rows and m columns with g shifted down the diagonal;
equation (1) is the same matrix, transposed, applied to d. Transposing a product of
matrices reverses it, so interpolation comes first and evaluation last:

    y = A^T [ (G g) * (B^T d) ]                                  F(m, r)

    A^T  (m, n)   column p: the powers of p
    G    (n, r)   row p: the powers of p, divided by prod_{q != p} (p - q)
    B^T  (n, n)   row p: the coefficients of prod_{q != p} (x - q)

(the last two are Lagrange's interpolation, transposed; for infinity the product runs
over all finite points). In two dimensions the same is done to the rows and to the
columns: `F(m x m, r x r)` takes `n^2` multiplications where (1) takes `m^2 r^2`, 36
against 144 for F(4x4, 3x3). And where there are C input and K output channels, the
multiplication at each of the n^2 points, over all T tiles of the image, is a matrix
product `(T, C) x (C, K)`: all the arithmetic is in n^2 plain products.

One family, n = 6, serves six convolutions, because B^T depends on the points alone:

    forward and gradient with respect to the input   3x3: F(4, 3)    5x5: F(2, 5)
    gradient with respect to the weight              3x3: F(3, 4)    5x5: F(5, 2)

(the gradient with respect to the weight slides the output's gradient, a tile of m, over the same
tile of n inputs and gives r results).

**The points.** In exact arithmetic any will do; in float32 their powers decide the
error. The points usually printed, 0, +-1, +-2, infinity, lose a factor of 2.2 in the
root mean square error, and 3.6 in the largest, against the 0, +-2/3, +-3/2, infinity
used here: magnitudes close to 1 on either side, and reciprocal, so that B^T holds ones
where (2/3)^2 (3/2)^2 stands.

**What it costs.** All outputs of a tile are made of all its inputs: an infinity or NaN
spreads over its tile, and the infinity may become NaN. The sums overflow for inputs
beyond about 1e36. The fast kernels take float32 only.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from minidl.backend import array_module

POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))  # and infinity
TILE = {3: 4, 5: 2}  # window -> outputs per tile and axis, so that a tile takes 6 inputs


class Matrices(NamedTuple):
    """The three matrices of F(m, r), as tuples of rows of fractions."""

    AT: tuple
    G: tuple
    BT: tuple


@lru_cache(maxsize=None)
def matrices(m, r, points=POINTS):
    """The matrices of F(m, r) for the first ``m + r - 2`` of the `points`, and infinity.

    Examples
    --------
    Lavin and Gray's F(2, 3), up to the signs of two rows:

    >>> AT, G, BT = matrices(2, 3, points=(Fraction(0), Fraction(1), Fraction(-1)))
    >>> for row in BT: print(*row)
    -1 0 1 0
    0 1 1 0
    0 -1 1 0
    0 -1 0 1
    >>> for row in G: print(*row)
    -1 0 0
    1/2 1/2 1/2
    1/2 -1/2 1/2
    0 0 1
    >>> for row in AT: print(*row)
    1 1 1 0
    0 1 -1 1
    """
    n = m + r - 1
    if len(points) < n - 1:
        raise ValueError(f"F({m}, {r}) needs {n - 1} points beside infinity, `points` has {len(points)}")
    points = points[: n - 1]
    others = [points[:i] + points[i + 1 :] for i in range(n - 1)]
    A = [_powers(p, m) for p in points] + [_infinity(m)]
    G = [_powers(p, r, _product(p - q for q in rest)) for p, rest in zip(points, others)] + [_infinity(r)]
    BT = [_from_roots(rest, n) for rest in others] + [_from_roots(points, n)]
    return Matrices(tuple(zip(*A)), tuple(G), tuple(BT))


def _powers(p, count, divisor=1):
    return tuple(p**j / divisor for j in range(count))


def _infinity(count):
    """The value at infinity: the leading coefficient."""
    return (Fraction(0),) * (count - 1) + (Fraction(1),)


def _product(factors):
    result = Fraction(1)
    for factor in factors:
        result *= factor
    return result


def _from_roots(roots, size):
    """Coefficients of ``prod (x - root)``, the constant first, filled up with zeros to `size`."""
    c = [Fraction(1)]
    for root in roots:
        c = [low - root * high for low, high in zip([Fraction(0)] + c, c + [Fraction(0)])]
    return tuple(c + [Fraction(0)] * (size - len(c)))


def _both_sides(matrix, x):
    """``M x M^T`` over the first two axes of `x`."""
    xp = array_module(x)
    M = xp.asarray(np.array(matrix, dtype=np.float64), dtype=x.dtype)
    return xp.einsum("ia,ab...,jb->ij...", M, x, M)


def _tiles(x, size, step, rows, cols):
    """The overlapping tiles of `x` (N, C, H, W): array (size, size, N, C, rows, cols)."""
    xp = array_module(x)
    N, C, H, W = x.shape
    d = xp.empty((size, size, N, C, rows, cols), x.dtype)
    for i in range(size):
        for j in range(size):
            d[i, j] = x[:, :, i : i + step * rows : step, j : j + step * cols : step]
    return d


def _fit(x, top, left, H, W):
    """`x` moved down by `top` and right by `left`, then cut or filled with zeros to H x W."""
    xp = array_module(x)
    N, C, h, w = x.shape
    y = xp.zeros((N, C, H, W), x.dtype)
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + h, H), min(left + w, W)
    if y1 > y0 and x1 > x0:
        y[:, :, y0:y1, x0:x1] = x[:, :, y0 - top : y1 - top, x0 - left : x1 - left]
    return y


def conv2d(x, weight, padding=((0, 0), (0, 0))):
    """Convolution of stride 1 by F(m x m, r x r), the textbook's way: (N, K, OH, OW).

    Parameters
    ----------
    x : array (N, C, H, W)
    weight : array (K, C, r, r)
        Any `r` up to 6; 3 and 5 take the tiles of the fast kernels (`TILE`).
    padding : ((top, bottom), (left, right))
        Zeros on each side; fewer than none cuts.

    Examples
    --------
    >>> x = np.arange(25.0).reshape(1, 1, 5, 5)
    >>> conv2d(x, np.ones((1, 1, 3, 3)))[0, 0].round(9)
    array([[ 54.,  63.,  72.],
           [ 99., 108., 117.],
           [144., 153., 162.]])
    """
    (N, C, H, W), (K, _, r, _) = x.shape, weight.shape
    OH, OW = H + sum(padding[0]) - r + 1, W + sum(padding[1]) - r + 1
    m = TILE.get(r, 7 - r)
    AT, G, BT = matrices(m, r)
    V = _both_sides(BT, _input_tiles(x, m, r, OH, OW, padding))  # (6, 6, N, C, rows, cols)
    U = _both_sides(G, weight.transpose(2, 3, 0, 1))  # (6, 6, K, C)
    M = array_module(x).einsum("ijkc,ijncyx->ijnkyx", U, V)
    Y = _both_sides(AT, M).transpose(2, 3, 4, 0, 5, 1)  # (N, K, rows, m, cols, m)
    return Y.reshape(N, K, Y.shape[2] * m, Y.shape[4] * m)[:, :, :OH, :OW]


def conv2d_input_grad(grad, weight, input_shape, padding=((0, 0), (0, 0))):
    """Gradient of `conv2d` to its input: `grad` convolved with the weight turned round, channels exchanged.

    Examples
    --------
    >>> conv2d_input_grad(np.ones((1, 1, 1, 1)), np.arange(9.0).reshape(1, 1, 3, 3), (1, 1, 3, 3)).round(9)[0, 0]
    array([[0., 1., 2.],
           [3., 4., 5.],
           [6., 7., 8.]])
    """
    r = weight.shape[2]
    turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return conv2d(grad, turned, tuple((r - 1 - before, r - 1 - after) for before, after in padding))


def conv2d_weight_grad(grad, x, weight_shape, padding=((0, 0), (0, 0))):
    """Gradient of `conv2d` to its weight by F(r x r, m x m): (K, C, r, r).

    Examples
    --------
    >>> conv2d_weight_grad(np.ones((1, 1, 1, 1)), np.arange(9.0).reshape(1, 1, 3, 3), (1, 1, 3, 3)).round(9)[0, 0]
    array([[0., 1., 2.],
           [3., 4., 5.],
           [6., 7., 8.]])
    """
    (N, K, OH, OW), r = grad.shape, weight_shape[2]
    m = TILE.get(r, 7 - r)
    AT, G, BT = matrices(r, m)
    V = _both_sides(BT, _input_tiles(x, m, r, OH, OW, padding))  # (6, 6, N, C, rows, cols)
    rows, cols = V.shape[4:]
    D = _both_sides(G, _tiles(_fit(grad, 0, 0, m * rows, m * cols), m, m, rows, cols))  # (6, 6, N, K, rows, cols)
    M = array_module(x).einsum("ijnkyx,ijncyx->ijkc", D, V)
    return _both_sides(AT, M).transpose(2, 3, 0, 1)


def _input_tiles(x, m, r, OH, OW, padding):
    """The overlapping tiles of `x` for an output of OH x OW; the last may hang over the edge."""
    rows, cols = -(-OH // m), -(-OW // m)
    image = _fit(x, padding[0][0], padding[1][0], m * rows + r - 1, m * cols + r - 1)
    return _tiles(image, m + r - 1, m, rows, cols)
