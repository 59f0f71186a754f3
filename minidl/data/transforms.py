"""Transforms of whole batches: size, crop, flip, and the step from bytes to normalised floats.

A transform is called as ``transform(batch, random)`` with images of shape (N, H, W, C),
bytes or float32, and an `ImageRandom` that gives every image its own numbers. It
returns a new batch and leaves the old one as it was. Names and settings are
torchvision's. Crops and flips are one gather for the batch; resizing follows Pillow
(a triangle as wide as the larger of the two pixel grids, so it does not alias).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend
from minidl.backend import Array
from minidl.checks import Ints, pair, positive_pair, probability
from minidl.data.errors import check

if TYPE_CHECKING:
    from minidl.data.random import ImageRandom


def check_batch(batch: Array) -> tuple[int, ...]:
    """The shape (N, H, W, C) of `batch`, or a `ValueError` that says what it is instead."""
    check(getattr(batch, "ndim", 0) == 4 and batch.dtype in (np.uint8, np.float32),
          f"`batch` is {getattr(batch, 'dtype', type(batch).__name__)} of shape {getattr(batch, 'shape', ())}; "
          "accepted: uint8 or float32 images of shape (N, H, W, C)")
    return batch.shape


def check_random(transform: object, random: ImageRandom | None) -> None:
    """A random transform called without its source of random numbers is a mistake, not "do nothing"."""
    name = type(transform).__name__
    check(random is not None, f"{name} needs `random`: call it as transform(batch, ImageRandom(...))")


def like(batch: Array, values: Array) -> Array:
    """Computed float `values` in the type of `batch`: bytes are rounded and held to 0..255."""
    if batch.dtype == np.uint8:
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return values.astype(np.float32, copy=False)


class Compose:
    """Transforms one after the other.

    Examples
    --------
    >>> from minidl.data import Compose, ImageRandom, RandomCrop, RandomHorizontalFlip
    >>> augment = Compose([RandomCrop(32, padding=4), RandomHorizontalFlip()])
    >>> batch = np.zeros((2, 32, 32, 3), np.uint8)
    >>> augment(batch, ImageRandom(seed=0, epoch=0, indices=[0, 1])).shape
    (2, 32, 32, 3)
    """

    def __init__(self, transforms: Any) -> None:
        self.transforms: list[Callable[..., Any]] = list(transforms)
        for t in self.transforms:
            check(callable(t), f"`transforms` holds {t!r}; accepted: functions of (batch, random)")

    def __call__(self, batch: Any, random: Any = None) -> Any:
        for transform in self.transforms:
            batch = transform(batch, random)
        return batch


def to_float(batch: Array) -> Array:
    """`batch` as float32, C-ordered: bytes scaled to 0..1, floats as they are."""
    if batch.dtype == np.uint8:
        return np.multiply(batch, np.float32(1 / 255), dtype=np.float32,
                           out=backend.empty(batch.shape, np.float32, like=batch))
    return np.ascontiguousarray(batch, np.float32)


class ToFloat:
    """Scale bytes to float32 in 0..1 (torchvision's ``ToDtype(float32, scale=True)``)."""

    def __call__(self, batch: Any, random: Any = None) -> Any:
        check_batch(batch)
        return to_float(batch)


class Normalize:
    """``(image - mean) / std`` per channel, in units where white is 1: bytes are divided by 255 on the way.

    Parameters
    ----------
    mean, std : sequences of one float per channel
    """

    mean: Array
    std: Array
    rows: dict[Any, Any]

    def __init__(self, mean: Any, std: Any) -> None:
        self.rows = {}
        self.mean, self.std = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_1d(np.asarray(std, np.float64))
        check(self.mean.ndim == 1 and self.mean.shape == self.std.shape,
              f"`mean` has shape {self.mean.shape} but `std` has {self.std.shape}; accepted: one number per channel")
        check((self.std > 0).all(), f"`std` is {std!r}; every entry must be above 0")

    def __call__(self, batch: Any, random: Any = None) -> Any:
        N, H, W, C = check_batch(batch)
        check(C == len(self.mean), f"`batch` has {C} channels but `mean` has {len(self.mean)}")
        xp = backend.array_module(batch)
        out = backend.empty((N, H, W, C), np.float32, like=batch)
        scale, shift = self._rows(W, 255 if batch.dtype == np.uint8 else 1, backend.device_of(batch))
        rows = out.reshape(N * H, W * C)  # three channels would make a short inner loop
        xp.multiply(xp.ascontiguousarray(batch).reshape(N * H, W * C), scale, out=rows, dtype=np.float32)
        rows += shift
        return out

    def _rows(self, W, unit, device):
        """Factors and summands of one row of W pixels, on a device."""
        if (W, unit, device) not in self.rows:
            rows = 1 / (unit * self.std), -self.mean / self.std
            rows = [np.tile(row.astype(np.float32), W) for row in rows]
            self.rows[W, unit, device] = tuple(backend.to_device(row, device) for row in rows)
        return self.rows[W, unit, device]


def _taps(size, new_size):
    """Pillow's triangle filter: which old pixels (new_size, T) make up a new one, with what weights."""
    scale = size / new_size
    reach = max(scale, 1.0)
    centre = (np.arange(new_size) + 0.5) * scale
    first = np.maximum(np.floor(centre - reach + 0.5), 0)
    index = first[:, None] + np.arange(int(np.ceil(reach)) * 2 + 1)
    weight = np.maximum(1 - np.abs(index + 0.5 - centre[:, None]) / reach, 0) * (index < size)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.minimum(index, size - 1).astype(np.int64), weight.astype(np.float32)


def _resized(values, axis, new_size):
    """float32 `values` with another size along `axis`: a weighted sum of one gather per tap."""
    if values.shape[axis] == new_size:
        return values
    index, weight = _taps(values.shape[axis], new_size)
    along = [1] * values.ndim
    along[axis] = new_size
    used = np.flatnonzero(weight.any(axis=0))
    return sum(np.take(values, index[:, t], axis=axis) * weight[:, t].reshape(along) for t in used)


class Resize:
    """Resize every image to `size` (height, width), or a square of side `size`, by bilinear interpolation.

    Unlike torchvision's, which keeps the proportions when given one number: a batch has one size.
    """

    def __init__(self, size: Ints) -> None:
        self.size: tuple[int, int] = positive_pair(size, "size")

    def __call__(self, batch: Any, random: Any = None) -> Any:
        check_batch(batch)
        values = batch.astype(np.float32)
        for axis, size in zip((1, 2), self.size):
            values = _resized(values, axis, size)
        return like(batch, values)


class CenterCrop:
    """The middle `size` (height, width) of every image."""

    def __init__(self, size: Ints) -> None:
        self.size: tuple[int, int] = positive_pair(size, "size")

    def __call__(self, batch: Any, random: Any = None) -> Any:
        N, H, W, C = check_batch(batch)
        h, w = self.size
        check(h <= H and w <= W, f"`size` is {self.size} but the images are only {(H, W)}")
        top, left = round((H - h) / 2), round((W - w) / 2)
        return batch[:, top : top + h, left : left + w]


class RandomCrop:
    """A random `size` (height, width) window of every image, after a border of `padding` pixels.

    Parameters
    ----------
    size : int or pair
    padding : int or pair (vertical, horizontal)
    fill : int or float
        The pixels of the border.
    padding_mode : "constant", "edge" or "reflect"
    """

    size: tuple[int, int]
    padding: tuple[int, int]
    options: dict[str, Any]

    modes: tuple[str, ...] = ("constant", "edge", "reflect")

    def __init__(self, size: Ints, padding: Ints = 0, fill: float = 0, padding_mode: str = "constant") -> None:
        self.size, self.padding = positive_pair(size, "size"), pair(padding or 0, "padding", least=0)
        check(padding_mode in self.modes, f"`padding_mode` is {padding_mode!r}; accepted: {', '.join(self.modes)}")
        self.options = {"mode": padding_mode} | ({"constant_values": fill} if padding_mode == "constant" else {})

    def __call__(self, batch: Any, random: Any = None) -> Any:
        """Cut one window from each image of `batch` after padding, at random places."""
        old, (p, q) = check_batch(batch)[1:3], self.padding
        h, w = size = self._size(old)
        top, left = self._corners(random, old, size)
        padded = np.pad(batch, ((0, 0), (p, p), (q, q), (0, 0)), **self.options) if p or q else batch
        return windows(padded, top, left, h, w)

    def _corners(self, random, old, size):
        """The top and the left of each image's window of `size` in images of size `old`, after padding."""
        check_random(self, random)
        wide = old[0] + 2 * self.padding[0], old[1] + 2 * self.padding[1]
        free = [n - k + 1 for n, k in zip(wide, size)]  # places where a window fits
        check(min(free) > 0, f"`size` is {size} but the padded images are only {wide}")
        return random.integers(free, 2).T

    def places(self, rows: Array, columns: Array, random: Any) -> tuple[Array, Array]:
        """The places that rows and columns come from after the crop, of those before it; -1 at a constant border."""
        old = rows.shape[1], columns.shape[1]
        size = self._size(old)
        options = self.options | ({"constant_values": -1} if self.options["mode"] == "constant" else {})
        padded = [np.pad(table, ((0, 0), (p, p)), **options) for table, p in zip((rows, columns), self.padding)]
        corners = self._corners(random, old, size)
        rows, columns = (np.take_along_axis(t, c[:, None] + np.arange(n), 1) for t, c, n in zip(padded, corners, size))
        return rows, columns

    def _size(self, old):
        return self.size


def windows(batch: Array, top: Array, left: Array, h: int, w: int) -> Array:
    """The h x w window at (`top`, `left`) of each image, in one gather: pixels of a row lie together, so C joins W."""
    N, H, W, C = batch.shape
    rows = np.ascontiguousarray(batch).reshape(N, H, W * C)
    views = np.lib.stride_tricks.sliding_window_view(rows, (h, w * C), axis=(1, 2))
    return views[np.arange(N), top, left * C].reshape(N, h, w, C)


class RandomShift(RandomCrop):
    """Move every image by up to `pixels` whole pixels up or down, left or right; `fill` comes in at the edge."""

    def __init__(self, pixels: int, fill: float = 0, padding_mode: str = "constant") -> None:
        super().__init__(1, pair(pixels, "pixels", least=0), fill, padding_mode)

    def _size(self, old):
        return old


class RandomHorizontalFlip:
    """Mirror each image left to right with probability `p`."""

    axis = 2

    def __init__(self, p: float = 0.5) -> None:
        probability(p)
        self.p = p

    def __call__(self, batch: Any, random: Any = None) -> Any:
        check_random(self, random)
        check_batch(batch)
        chosen = self.choose(random)
        flipped = batch.copy()
        flipped[chosen] = np.flip(batch[chosen], self.axis)
        return flipped

    def places(self, rows: Array, columns: Array, random: Any) -> tuple[Array, Array]:
        """The places that rows and columns come from after the flip, of where they came from before."""
        check_random(self, random)
        chosen, tables = self.choose(random)[:, None], [rows, columns]
        tables[self.axis - 1] = np.where(chosen, tables[self.axis - 1][:, ::-1], tables[self.axis - 1])
        return tables[0], tables[1]

    def choose(self, random: Any) -> Any:
        """Return which images are mirrored, a bool for each."""
        return random.uniform(1)[:, 0] < self.p


class AlternatingFlip(RandomHorizontalFlip):
    """Mirror each image left to right in every other epoch; which half begins mirrored is random.

    Two epochs in a row show every image both ways, where coin tosses show half of the images the same way twice. K.
    Jordan, arXiv 2404.00498, section 3.6.
    """

    def __init__(self) -> None:
        super().__init__()

    def choose(self, random: Any) -> Any:
        first = random.of_all_epochs().uniform(1)[:, 0] < self.p
        return first ^ bool(random.epoch % 2)


class RandomVerticalFlip(RandomHorizontalFlip):
    """Turn each image upside down with probability `p`."""

    axis = 1
