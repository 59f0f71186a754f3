"""A cache of decoded pictures: a file with a slot per picture, as many as a budget of bytes has room for.

What fits is kept: the first pictures of the index, whatever order an epoch has; the
others are decoded each time. A slot counts once the checksum of its pixels stands in a
second file, so a slot that a crash has left half-written, or that the disk has spoilt,
is decoded again. The pixels are those that decoding gives, bit for bit: the file's name
is a digest of the pictures' names, sizes and times, their size in pixels, and the decoder.

The file is read and written at its places rather than mapped: the system's page cache is
the same, but a full disk is an error that can be caught, where a map would end the process.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

from minidl.backend import Array
from minidl.data.errors import check
from minidl.data.files import Files

MARK = struct.Struct("<Q")
WHOLE = 1 << 32  # added to the checksum of a slot that is there
PIXELS, MARKS = 0, 1


class DecodedCache:
    """Slots for decoded pictures in the files ``NAME.pixels`` and ``NAME.marks``.

    Parameters
    ----------
    path : Path
        Of the files, without their endings; the folder is made.
    slot : int
        Bytes of a picture.
    pictures : int
        How many there are.
    budget : int
        Bytes that the files may take; what an earlier budget held beyond it is given back.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = DecodedCache(Path(folder) / "photos", slot=4, pictures=10, budget=50)
    ...     image = np.arange(4, dtype=np.uint8)
    ...     cache.write(1, image)
    ...     cache.write(9, image)
    ...     found, lost = np.zeros(4, np.uint8), np.zeros(4, np.uint8)
    ...     cache.slots, cache.read(1, found), cache.read(9, lost), found.tolist()
    (4, True, False, [0, 1, 2, 3])
    """

    slot: int
    slots: int
    files: Files

    def __init__(self, path: Path, slot: int, pictures: int, budget: int) -> None:
        self.slot, self.slots = slot, min(pictures, budget // (slot + MARK.size))
        path.parent.mkdir(parents=True, exist_ok=True)
        self.files = Files([f"{path}.pixels", f"{path}.marks"], os.O_RDWR | os.O_CREAT)
        for number, length in ((PIXELS, slot), (MARKS, MARK.size)):
            self.files.cut(number, self.slots * length)

    def read(self, number: int, image: Array) -> bool:
        """Fill `image` with picture `number` and return True, where it is kept."""
        if number >= self.slots:
            return False
        mark = self.files.read(MARKS, number * MARK.size, MARK.size)
        if len(mark) < MARK.size or not (wanted := MARK.unpack(mark)[0]):
            return False
        pixels = self.files.read(PIXELS, number * self.slot, self.slot)
        if len(pixels) < self.slot or wanted != WHOLE + zlib.crc32(pixels):
            return False
        memoryview(image).cast("B")[:] = pixels
        return True

    def write(self, number: int, image: Array) -> None:
        """Keep picture `number`, where there is a slot for it; a full disk ends the keeping."""
        if number < self.slots:
            pixels = image.tobytes()
            try:
                self.files.write(PIXELS, number * self.slot, pixels)
                self.files.write(MARKS, number * MARK.size, MARK.pack(WHOLE + zlib.crc32(pixels)))
            except OSError:
                self.slots = 0


def bytes_of(text: Any) -> int:
    """Bytes from a number, or from text such as 500m or 1.5g.

    Examples
    --------
    >>> bytes_of("1.5k"), bytes_of(7)
    (1536, 7)
    """
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([kmgt]?)b?", str(text).strip().lower())
    check(found is not None, f"`cache` is {text!r}; accepted: bytes, as in 0, 500m or 4g")
    number, unit = found.groups()
    return int(float(number) * 1024 ** " kmgt".index(unit or " "))
