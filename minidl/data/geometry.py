"""Rotation, zoom, translation and shear of whole batches: one affine map per image, one gather.

Every output pixel asks where it came from, ``source = A (pixel - centre - shift) + centre``,
and takes the bilinear mix of the four pixels around that place. Coordinates are those
of pixel centres; what lies outside is `fill`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.data.errors import check
from minidl.data.transforms import check_batch, check_random, like


def sample(batch: Array, x: Array, y: Array, fill: float | Sequence[float] = 0) -> Array:
    """Values of `batch` (N, H, W, C) at the places `x`, `y` (N, h, w), in pixels: float32 (N, h, w, C)."""
    N, H, W, C = batch.shape
    padded = np.full((N, H + 2, W + 2, C), fill, np.float32)  # a border, where all that is outside ends up
    padded[:, 1:-1, 1:-1] = batch
    x, y = np.clip(x + 1, 0, W + 1), np.clip(y + 1, 0, H + 1)
    left, top = np.minimum(x.astype(np.int64), W), np.minimum(y.astype(np.int64), H)
    right_share, bottom_share = (x - left).astype(np.float32)[..., None], (y - top).astype(np.float32)[..., None]
    pixels = padded.reshape(-1, C)
    corner = (np.arange(N)[:, None, None] * (H + 2) + top) * (W + 2) + left

    def row(at):
        a, b = np.take(pixels, at, axis=0), np.take(pixels, at + 1, axis=0)
        return a + (b - a) * right_share

    upper, lower = row(corner), row(corner + W + 2)
    return upper + (lower - upper) * bottom_share


def affine(
    batch: Array, angle: Array, shift: Array, scale: Array, shear: Array, fill: float | Sequence[float] = 0
) -> Array:
    """Turn, move, enlarge and shear each image about its centre.

    Parameters
    ----------
    batch : uint8 or float32 array, shape (N, H, W, C)
    angle, shear : arrays, shape (N,)
        Radians; a positive angle turns clockwise on the screen.
    shift : array, shape (N, 2)
        Pixels to the right, pixels down.
    scale : array, shape (N,)
    """
    N, H, W, C = batch.shape
    cos, sin, slope = np.cos(angle) / scale, np.sin(angle) / scale, np.tan(shear)
    across = np.arange(W) - (W - 1) / 2 - shift[:, 0, None, None]  # (N, 1, W)
    down = (np.arange(H) - (H - 1) / 2)[:, None] - shift[:, 1, None, None]  # (N, H, 1)
    cos, sin, slope = cos[:, None, None], sin[:, None, None], slope[:, None, None]
    y = cos * down - sin * across
    x = cos * across + sin * down - slope * y
    return like(batch, sample(batch, x + (W - 1) / 2, y + (H - 1) / 2, fill))


class RandomAffine:
    """A random rotation, translation, zoom and shear of every image, bilinear.

    Parameters
    ----------
    degrees : float or pair
        Range of the angle; one number d means (-d, d).
    translate : pair of floats, optional
        Largest move as a fraction of (width, height).
    scale : pair of floats, optional
        Range of the zoom; 1 keeps the size.
    shear : float or pair, optional
        Range of the horizontal shear in degrees.
    fill : float
    """

    translate: tuple[float, ...]

    def __init__(
        self, degrees: float | tuple[float, float], translate: tuple[float, float] | None = None,
        scale: tuple[float, float] | None = None, shear: float | tuple[float, float] | None = None, fill: float = 0,
    ) -> None:
        self.degrees: tuple[float, ...] = _range("degrees", degrees)
        self.translate = _range("translate", (0, 0) if translate is None else translate, ordered=False)
        self.scale: tuple[float, ...] = _range("scale", (1, 1) if scale is None else scale)
        self.shear: tuple[float, ...] = _range("shear", 0 if shear is None else shear)
        self.fill = fill
        check(all(0 <= t <= 1 for t in self.translate), f"`translate` is {translate!r}; accepted: fractions, 0 to 1")
        check(self.scale[0] > 0, f"`scale` is {scale!r}; accepted: numbers above 0")

    def __call__(self, batch: Any, random: Any = None) -> Any:
        check_random(self, random)
        N, H, W, C = check_batch(batch)
        turn, right, down, zoom, lean = random.uniform(5).astype(np.float64).T
        shift = np.stack([(2 * right - 1) * self.translate[0] * W, (2 * down - 1) * self.translate[1] * H], axis=1)
        angle, shear = (np.deg2rad(_within(r, u)) for r, u in ((self.degrees, turn), (self.shear, lean)))
        return affine(batch, angle, shift, _within(self.scale, zoom), shear, self.fill)


class RandomRotation(RandomAffine):
    """Turn every image about its centre by a random angle from `degrees`."""

    def __init__(self, degrees: float | tuple[float, float], fill: float = 0) -> None:
        super().__init__(degrees, fill=fill)


class RandomZoom(RandomAffine):
    """Enlarge or shrink every image about its centre by a random factor from the range `scale`."""

    def __init__(self, scale: tuple[float, float], fill: float = 0) -> None:
        super().__init__(0, scale=scale, fill=fill)


def _within(limits, uniform):
    low, high = limits
    return low + (high - low) * uniform


def _range(name, value, ordered=True):
    """(-value, value) of a number, or the pair itself."""
    limits = (-value, value) if isinstance(value, (int, float)) else value
    good = isinstance(limits, (tuple, list)) and len(limits) == 2 and all(
        isinstance(v, (int, float)) and np.isfinite(v) for v in limits)
    check(good and (not ordered or limits[0] <= limits[1]),
          f"`{name}` is {value!r}; accepted: a pair of numbers (low, high)" + ("" if ordered else " or fractions"))
    return tuple(limits)
