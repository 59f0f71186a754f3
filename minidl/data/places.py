"""Augmentation on a GPU: the CPU decides which pixel goes where, and one kernel moves, mirrors and normalises bytes.

Crops and flips move rows and columns as wholes. So what they do to a batch is two small tables, the row and the column
that every new one comes from (-1: the border), which the transforms themselves make of their random numbers. Bytes have
256 values, so normalisation is a third table, which the CPU's own arithmetic fills: all devices have the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend
from minidl.backend import Array
from minidl.data.transforms import (
    AlternatingFlip,
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomShift,
    RandomVerticalFlip,
)
from minidl.dispatch import dispatched

if TYPE_CHECKING:
    from minidl.data.random import ImageRandom

MOVES = AlternatingFlip, RandomCrop, RandomHorizontalFlip, RandomShift, RandomVerticalFlip


@dispatched
def looked_up(images: Array, rows: Array, columns: Array, table: Array) -> Array:
    """Rows and columns of `images` by number, and every byte of them by `table`.

    Parameters
    ----------
    images : uint8, shape (N, H, W, C)
    rows, columns : int32, shapes (N, h) and (N, w)
        Where each row and column of the result comes from; -1 for a border of zeros.
    table : float32, shape (256, C)
        The value of every byte in every channel.

    Returns
    -------
    array, float32, shape (N, h, w, C)

    Examples
    --------
    >>> image, table = np.array([[[[10], [20]]]], np.uint8), np.arange(256, dtype=np.float32)[:, None]
    >>> looked_up(image, np.array([[0]]), np.array([[-1, 1, 0]]), table)[0, :, :, 0]
    array([[ 0., 20., 10.]], dtype=float32)
    """
    xp = backend.array_module(images)
    rows, columns = rows[:, :, None], columns[:, None, :]
    pixels = images[xp.arange(len(images))[:, None, None], xp.maximum(rows, 0), xp.maximum(columns, 0)]
    inside = (rows >= 0) & (columns >= 0)
    return xp.ascontiguousarray(table[pixels * inside[..., None], xp.arange(images.shape[3])])


class Placed:
    """A batch of bytes, and what is to become of it on a device.

    Attributes
    ----------
    images : uint8 array, shape (N, H, W, C)
    rows, columns : int32 arrays, see `looked_up`
    normalize : Normalize
    """

    images: Array
    rows: Array
    columns: Array
    normalize: Any

    def __init__(self, images: Array, rows: Array, columns: Array, normalize: Normalize) -> None:
        self.images, self.rows, self.columns, self.normalize = images, rows, columns, normalize

    def on(self, device: str) -> Any:
        """The images (N, h, w, C) on `device`, transformed: float32."""
        images = backend.to_device(self.images, device)
        places = backend.to_device(np.concatenate([self.rows, self.columns], axis=1), device)  # one transfer, not two
        h = self.rows.shape[1]
        return looked_up(images, places[:, :h], places[:, h:], _of_bytes(self.normalize, device))


def placed(transform: Any, images: Array, random: ImageRandom) -> Placed | None:
    """The bytes `images` with what `transform` does to them as tables, or None where tables cannot say it.

    They can where `transform` is a `Compose` of crops and flips with black or mirrored borders, then `Normalize`.

    Examples
    --------
    >>> from minidl.data import Compose, ImageRandom, Normalize, RandomHorizontalFlip
    >>> images = np.zeros((2, 1, 3, 1), np.uint8)
    >>> transform = Compose([RandomHorizontalFlip(p=1), Normalize([0.5], [0.5])])
    >>> placed(transform, images, ImageRandom(0, 0, [0, 1])).columns.tolist()
    [[2, 1, 0], [2, 1, 0]]
    """
    *moves, last = transform.transforms if type(transform) is Compose and transform.transforms else [None]
    if type(last) is not Normalize or not all(map(_is_told_by_tables, moves)):
        return None
    if images.dtype != np.uint8 or images.shape[3:] != (len(last.mean),):
        return None
    N, H, W, _ = images.shape
    rows, columns = (np.broadcast_to(np.arange(size, dtype=np.int32), (N, size)) for size in (H, W))
    for move in moves:
        rows, columns = move.places(rows, columns, random)
    return Placed(images, rows, columns, last)


def _of_bytes(normalize: Normalize, device: str) -> Array:
    """The outcome for every byte in every channel, (256, C), on a device, where it stays."""
    if device not in normalize.rows:
        every = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1).repeat(len(normalize.mean), axis=3)
        normalize.rows[device] = backend.to_device(normalize(every)[:, 0, 0], device)
    return normalize.rows[device]


def _is_told_by_tables(move):
    return type(move) in MOVES and (not isinstance(move, RandomCrop) or not move.options.get("constant_values"))
