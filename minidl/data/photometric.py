"""Changes of colour and missing patches: what an image shows stays where it is.

References: T. DeVries and G. Taylor, "Improved regularization of convolutional neural
networks with cutout", arXiv 1708.04552; Z. Zhong et al., "Random erasing data
augmentation", arXiv 1708.04896.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.checks import Ints, positive_pair, probability
from minidl.data.errors import check
from minidl.data.transforms import check_batch, check_random, like


def grayscale(values: Array) -> Array:
    """Luma (ITU-R BT.601) of float images (N, H, W, 3): shape (N, H, W, 1)."""
    r, g, b = (values[..., c] for c in range(3))
    return (np.float32(0.299) * r + np.float32(0.587) * g + np.float32(0.114) * b)[..., None]


def turn_hue(values: Array, turns: Array) -> Array:
    """Colours of float images in 0..1 moved round the colour circle by `turns`, shape (N, 1, 1).

    Through hue h (in sixths of the circle), saturation and value v; back by
    ``v - chroma * clip(min(k, 4 - k), 0, 1)`` with k = n + h modulo 6, n = 5, 3, 1 for r, g, b.
    """
    r, g, b = (values[..., c] for c in range(3))
    v = values.max(axis=-1)
    chroma = v - values.min(axis=-1)
    safe = np.where(chroma > 0, chroma, np.float32(1))
    sixths = np.select([v == r, v == g], [(g - b) / safe, (b - r) / safe + 2], (r - g) / safe + 4)
    k = (np.array([5, 3, 1], np.float32) + (sixths + 6 * turns)[..., None]) % 6
    return v[..., None] - chroma[..., None] * np.clip(np.minimum(k, 4 - k), 0, 1)


class ToChannels:
    """Gray images in colour, or coloured ones in gray, as `channels` says; others as they are.

    Examples
    --------
    >>> from minidl.data import ToChannels
    >>> ToChannels(1)(np.full((1, 2, 2, 3), 7, np.uint8)).shape
    (1, 2, 2, 1)
    """

    def __init__(self, channels: int | None) -> None:
        check(channels in (1, 3), f"`channels` is {channels!r}; accepted: 1 (gray), 3 (colour)")
        self.channels = channels

    def __call__(self, batch: Any, random: Any = None) -> Any:
        N, H, W, C = check_batch(batch)
        check(C in (1, 3), f"`batch` has {C} channels; accepted: 1 or 3")
        if C == self.channels:
            return batch
        return like(batch, grayscale(batch.astype(np.float32))) if C == 3 else np.repeat(batch, 3, axis=-1)


class ColorJitter:
    """Random brightness, contrast, saturation and hue for every image, in this order.

    Parameters
    ----------
    brightness, contrast, saturation : float
        A value d draws a factor from [max(0, 1 - d), 1 + d]; 0 leaves it alone.
    hue : float
        At most this part of the colour circle either way, 0 to 0.5.

    Images with other than three channels have no saturation and hue: these are left alone.
    """

    brightness: tuple[float, float]
    contrast: tuple[float, float]
    saturation: tuple[float, float]
    hue: tuple[float, float]

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
    ) -> None:
        for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            check(value >= 0, f"`{name}` is {value!r}; accepted: 0 or more")
        check(0 <= hue <= 0.5, f"`hue` is {hue!r}; accepted: 0 to 0.5")
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue

    def __call__(self, batch: Any, random: Any = None) -> Any:
        check_random(self, random)
        N, H, W, C = check_batch(batch)
        white = np.float32(255 if batch.dtype == np.uint8 else 1)
        factors = [random.between(max(0, 1 - d), 1 + d)[..., None, None]
                   for d in (self.brightness, self.contrast, self.saturation)]
        turns = random.between(-self.hue, self.hue)[..., None]
        values = batch.astype(np.float32) / white
        if self.brightness:
            values = np.clip(values * factors[0], 0, 1)
        if self.contrast:
            gray = grayscale(values) if C == 3 else values
            values = _blended(values, gray.mean(axis=(1, 2, 3), keepdims=True), factors[1])
        if self.saturation and C == 3:
            values = _blended(values, grayscale(values), factors[2])
        if self.hue and C == 3:
            values = turn_hue(values, turns)
        return like(batch, values * white)


def _blended(values, neutral, factor):
    """`values` moved away from (factor > 1) or towards (factor < 1) `neutral`, held to 0..1."""
    return np.clip(neutral + (values - neutral) * factor, 0, 1)


def erase(
    batch: Array, top: Array, left: Array, height: Array, width: Array, fill: float | Sequence[float] = 0
) -> Array:
    """A copy of `batch` with a rectangle of each image replaced by `fill` (a number, or one per channel)."""
    N, H, W, C = batch.shape
    rows, columns = np.arange(H), np.arange(W)
    rows = (rows >= top[:, None]) & (rows < (top + height)[:, None])
    columns = (columns >= left[:, None]) & (columns < (left + width)[:, None])
    erased = batch.copy()
    erased[rows[:, :, None] & columns[:, None, :]] = fill
    return erased


class Cutout:
    """Replace a square of side `size` around a random pixel; near the border part of it falls outside."""

    size: tuple[int, int]
    fill: float | Sequence[float]

    def __init__(self, size: Ints, fill: float = 0) -> None:
        self.size, self.fill = positive_pair(size, "size"), fill

    def __call__(self, batch: Any, random: Any = None) -> Any:
        check_random(self, random)
        N, H, W, C = check_batch(batch)
        h, w = self.size
        row, column = random.integers((H, W), 2).T
        return erase(batch, row - h // 2, column - w // 2, h, w, self.fill)


class RandomErasing:
    """With probability `p`, replace a rectangle with a share of the image from `scale` and a height/width from `ratio`.

    A drawn rectangle that is too long for the image is cut to fit (torchvision draws again).
    """

    p: float
    scale: tuple[float, float]
    ratio: tuple[float, float]
    value: float | Sequence[float]

    def __init__(
        self, p: float = 0.5, scale: tuple[float, float] = (0.02, 0.33), ratio: tuple[float, float] = (0.3, 3.3),
        value: Any = 0,
    ) -> None:
        probability(p)
        check(0 <= scale[0] <= scale[1] <= 1, f"`scale` is {scale!r}; accepted: (low, high) within 0 to 1")
        check(0 < ratio[0] <= ratio[1], f"`ratio` is {ratio!r}; accepted: (low, high) above 0")
        self.p, self.scale, self.ratio, self.value = p, scale, ratio, value

    def __call__(self, batch: Any, random: Any = None) -> Any:
        check_random(self, random)
        N, H, W, C = check_batch(batch)
        chosen, area, shape, row, column = random.uniform(5).astype(np.float64).T
        area = H * W * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        ratio = np.exp(np.log(self.ratio[0]) + shape * np.log(self.ratio[1] / self.ratio[0]))
        h = np.minimum(np.rint(np.sqrt(area * ratio)), H).astype(np.int64) * (chosen < self.p)
        w = np.minimum(np.rint(np.sqrt(area / ratio)), W).astype(np.int64)
        top, left = (row * (H - h + 1)).astype(np.int64), (column * (W - w + 1)).astype(np.int64)
        return erase(batch, top, left, h, w, self.value)
