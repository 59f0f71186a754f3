"""Image folders: one folder per class, indexed at once, decoded when asked for.

The index holds file names and labels only, so 100,000 pictures cost a few megabytes.
A picture is opened through an explicit list of formats, refused above a pixel cap
before it is decoded, cut to the middle and resized to the common size. JPEG files are
decoded at a reduced scale where that is enough.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.checks import positive_pair
from minidl.data.dataset import Dataset
from minidl.data.errors import DataError, broken, check, check_file, shown
from minidl.tensor import Tensor

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".gif": "GIF", ".webp": "WEBP"}
MAX_BYTES = 1 << 25
MAX_PIXELS = 1 << 23  # a 4K screen; larger JPEG files are decoded at a reduced scale
GRAY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")


class ImageFolder(Dataset):
    """The pictures in ``root/CLASS/*``.

    Parameters
    ----------
    root : path
    image_size : int or (height, width), optional
        The size that every picture is brought to; the default is the median shorter side of a
        sample of the pictures, at most 64.
    channels : 1 or 3, optional
        The default is 1 where all pictures of a sample are gray.
    class_names : list of str, optional
        Folders to take; the default is all, sorted by name.

    Attributes
    ----------
    labels : int64 array, shape (N,)
    class_names : list of str

    Raises
    ------
    DataError
        No folder, no class folders, a class without pictures.
    """

    image_size: tuple[int, int]

    layout = "HWC"

    def __init__(
        self, root: str | os.PathLike[str], image_size: int | None = None, channels: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        check(channels in (None, 1, 3), f"`channels` is {channels!r}; accepted: 1 (gray), 3 (colour) or None")
        self.root: str = os.fspath(root)
        self.class_names: list[str] = class_folders(self.root) if class_names is None else list(class_names)
        if not self.class_names:
            raise broken(self.root, "one folder of pictures per class", "no folders")
        names = [pictures(os.path.join(self.root, c), required=class_names is None) for c in self.class_names]
        self.names: list[str] = list(itertools.chain.from_iterable(names))
        self.labels: Array = np.repeat(np.arange(len(names)), [len(n) for n in names])
        if not self.names:
            raise broken(self.root, f"pictures ({', '.join(FORMATS)}) in the class folders", "none")
        sizes, gray = zip(*(_size_and_gray(self.path(i)) for i in spread(len(self), 100)))
        self.image_size = positive_pair(image_size or min(64, int(np.median(np.min(sizes, axis=1)))), "image_size")
        self.channels: int = channels or (1 if all(gray) else 3)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: Tensor) -> Any:
        """The path of picture number `index`."""
        return os.path.join(self.root, self.class_names[self.labels[index]], self.names[index])

    def __getitem__(self, index: int) -> tuple[Array, int]:
        return decode(self.path(index), self.image_size, self.channels), int(self.labels[index])

    def batch(self, indices: Tensor) -> Any:
        images = np.empty((len(indices), *self.image_size, self.channels), np.uint8)
        for k, index in enumerate(indices):
            images[k] = decode(self.path(index), self.image_size, self.channels)
        return images, self.labels[indices]


def _entries(folder):
    """Visible entries of `folder`, sorted by name."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith((".", "__"))), key=lambda e: e.name)


def class_folders(root: Path | str) -> list[str]:
    """Names of the folders in `root`, sorted; hidden ones are left out."""
    if not os.path.isdir(root):
        raise DataError(f"{shown(root)}: there is no such folder")
    return [entry.name for entry in _entries(root) if entry.is_dir()]


def pictures(folder: Path | str, required: bool = True) -> list[str]:
    """Names of the picture files in `folder`, sorted; hidden files and other endings are left out."""
    if not required and not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries
                       if not e.name.startswith(".") and os.path.splitext(e.name)[1].lower() in FORMATS)
    if required and not names:
        raise broken(folder, f"pictures ({', '.join(FORMATS)})", "none")
    return names


def spread(n: int, at_most: int) -> Array:
    """Up to `at_most` of the numbers 0 to n-1, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).astype(np.int64))


def open_picture(path: Path | str, size: tuple[int, int] | None = None) -> Any:
    """A Pillow image, its header read; a JPEG prepared to be decoded at no more than it takes for `size`."""
    return _opened(_bytes(path), path, size)  # a file would make room for whatever length a chunk claims to have


def _opened(contents, path, size=None):
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(contents), formats=sorted(set(FORMATS.values())))
        if size is not None and image.format == "JPEG":
            image.draft(None, (2 * size[1], 2 * size[0]))
    except Exception as error:  # decoders raise nearly anything on broken files
        raise broken(path, f"a picture ({', '.join(FORMATS)})", _reason(error)) from None
    if image.width * image.height > MAX_PIXELS:
        found = f"{image.width}x{image.height}"
        image.close()
        raise broken(path, f"at most {MAX_PIXELS:,} pixels", found)
    return image


def _bytes(path):
    check_file(path, MAX_BYTES)
    with open(path, "rb") as file:
        return file.read()


def _reason(error):
    text = str(error).partition("\n")[0]
    return "something else" if type(error).__name__ == "UnidentifiedImageError" else text or type(error).__name__


def decode(path: Path | str, size: tuple[int, int], channels: int) -> Array:
    """The picture at `path` as bytes (height, width, channels): upright, its middle, resized to `size`."""
    return decode_bytes(_bytes(path), path, size, channels)


def decode_bytes(contents: bytes, path: Path | str, size: tuple[int, int], channels: int) -> Array:
    """The same of the bytes of a file, whose name `path` is for messages only."""
    from PIL import Image, ImageOps

    with _opened(contents, path, size) as image:
        try:
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode.startswith("I"):  # 16-bit gray: Pillow's own conversion would clip, not scale
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            elif image.mode not in ("L", "RGB"):
                image = image.convert("RGBA")  # palettes with transparency pass through RGBA without a warning
            image = ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR)
            return np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(*size, channels)
        except Exception as error:
            raise broken(path, "a whole picture", _reason(error)) from None


def _size_and_gray(path):
    with open_picture(path) as image:
        return image.size, image.mode in GRAY_MODES


def survey(dataset: Dataset, at_most: int = 1000) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Decode up to `at_most` pictures, evenly spread: finds broken ones before training does.

    Returns
    -------
    mean, std : tuples of one float per channel, in units where white is 1
    """
    chosen = spread(len(dataset), at_most)
    parts = np.array_split(chosen, -(-len(chosen) // 16))
    with ThreadPoolExecutor() as workers:  # whole numbers add up to the same in any order
        sums = list(workers.map(lambda part: _sums(dataset.batch(part)[0]), parts))
    pixels, total, squares = (sum(column) for column in zip(*sums))
    mean = total / pixels / 255
    deviation = np.sqrt(np.maximum(squares / pixels / 255**2 - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.maximum(deviation, 1 / 255).tolist())


def _sums(images):
    values = images.reshape(-1, images.shape[-1]).astype(np.int64)
    return len(values), values.sum(axis=0), (values**2).sum(axis=0)
