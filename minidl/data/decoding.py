"""Pictures from bytes: opened through an explicit list of formats, bounded, upright, cut to the middle, resized.

A picture is refused above a pixel cap before it is decoded. JPEG files are decoded at a
reduced scale where that is enough: in the frequency domain fewer coefficients make a
smaller picture, which is cheaper than a large one made smaller. simplejpeg (libjpeg-turbo;
extra ``jpeg``) knows eight scales, Pillow four; where simplejpeg is not installed, or
refuses a file, Pillow decodes it. Two decoders need not agree on the last bit, so
`decoder` names the one that is at work, and a run that is resumed checks it.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.data.errors import broken, check_file

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".gif": "GIF", ".webp": "WEBP"}
MAX_BYTES = 1 << 25
MAX_PIXELS = 1 << 23  # a 4K screen; larger JPEG files are decoded at a reduced scale
GRAY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")
ORIENTATION = 0x0112  # the field of a photo's metadata that says how the camera was held


def is_picture(name: str) -> bool:
    """Return whether a file of this name should hold a picture."""
    return os.path.splitext(name)[1].lower() in FORMATS


@functools.cache
def decoder() -> str:
    """Names and versions of the packages that decode: pictures have the same bits where this is the same.

    Examples
    --------
    >>> from minidl.data.decoding import decoder
    >>> "Pillow" in decoder()
    True
    """
    packages = ("simplejpeg", "Pillow") if _simplejpeg() else ("Pillow",)
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


@functools.cache
def _simplejpeg():
    """The module, or None where it is not installed."""
    if importlib.util.find_spec("simplejpeg") is None:
        return None
    import simplejpeg

    return simplejpeg


def open_picture(path: Path | str, size: tuple[int, int] | None = None) -> Any:
    """A Pillow image, its header read; a JPEG prepared to be decoded at no more than it takes for `size`."""
    return opened(read_file(path), path, size)  # a file would make room for whatever length a chunk claims to have


def opened(contents: bytes, path: Path | str, size: tuple[int, int] | None = None) -> Any:
    """The same of the bytes of a file, whose name `path` is for messages only."""
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


def read_file(path: Path | str) -> bytes:
    """The bytes of the picture file `path`; a `DataError` where it is none, or too large for a picture."""
    check_file(path, MAX_BYTES)
    with open(path, "rb") as file:
        return file.read()


def _reason(error):
    text = str(error).partition("\n")[0]
    return "something else" if type(error).__name__ == "UnidentifiedImageError" else text or type(error).__name__


def decode(path: Path | str, size: tuple[int, int], channels: int) -> Array:
    """The picture at `path` as bytes (height, width, channels): upright, its middle, resized to `size`."""
    return decode_bytes(read_file(path), path, size, channels)


def decode_bytes(contents: bytes, path: Path | str, size: tuple[int, int], channels: int) -> Array:
    """The same of the bytes of a file, whose name `path` is for messages only."""
    from PIL import Image, ImageOps

    with opened(contents, path, size) as image:
        try:
            image = _scaled_jpeg(contents, image, size) or image
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode.startswith("I"):  # 16-bit gray: Pillow's own conversion would clip, not scale
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            elif image.mode not in ("L", "RGB"):
                image = image.convert("RGBA")  # palettes with transparency pass through RGBA without a warning
            image = ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR)
            return np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(*size, channels)
        except Exception as error:
            raise broken(path, "a whole picture", _reason(error)) from None


def _scaled_jpeg(contents, header, size):
    """A JPEG decoded by simplejpeg at the smallest scale that covers `size`; None where Pillow has to do it."""
    from PIL import Image

    simplejpeg = _simplejpeg()
    if simplejpeg is None or header.format != "JPEG" or header.mode not in ("L", "RGB"):
        return None
    least = max(size)  # whichever way up the picture is
    colours = {"L": "GRAY", "RGB": "RGB"}[header.mode]
    try:
        pixels = simplejpeg.decode_jpeg(contents, colours, min_height=least, min_width=least, min_factor=1)
    except ValueError:
        return None  # Pillow forgives more, and has the better words where it does not
    image = Image.fromarray(pixels[..., 0] if header.mode == "L" else pixels)
    image.getexif()[ORIENTATION] = header.getexif().get(ORIENTATION, 1)
    return image


def size_and_gray(image: Any) -> tuple[tuple[int, int], bool]:
    """(width, height) of an opened picture, and whether it has no colours."""
    with image:
        return image.size, image.mode in GRAY_MODES
