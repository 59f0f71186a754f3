"""Files that are there whole or not at all, whatever happens while they are written.

The bytes go to a temporary file in the same folder, are flushed to the disk, and take
the place of the old file in one step; then the folder itself is flushed, so that the
step survives a power cut. A reader sees the old file or the new one, never a mix.
T. Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.

A process that is killed while it writes leaves its temporary file, ``.NAME.PID.tmp``;
the next save removes it (`remove_leftovers`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the file `path` by `data`.

    Raises
    ------
    OSError
        With `path` as its file name (disk full, no permission, no such folder); the file is the old one, whole, or
        the new one, whole.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write_through(temporary, data)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _write_through(path, data):
    """Write all bytes, in as many pieces as the system takes them, and wait until the disk has them."""
    descriptor = os.open(path, NEW_FILE, 0o666)
    try:
        rest = memoryview(data).cast("B")
        while rest:
            written = os.write(descriptor, rest)
            if written == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            rest = rest[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder):
    if os.name == "nt":
        return  # Windows opens no folders, and its rename is written through
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove the file `path`."""
    os.unlink(path)


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Remove the temporary files that killed writers of files `name` have left; for the folder's only writer."""
    for path in Path(folder).glob(f".{name}.*.tmp"):
        remove(path)


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text` as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace the file `path` by `value` as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")
