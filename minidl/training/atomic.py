"""Files that are there whole or not at all, whatever happens while they are written.

The bytes go to a temporary file in the same folder, are flushed to the disk, and take
the place of the old file in one step; then the folder itself is flushed, so that the
step survives a power cut. A reader sees the old file or the new one, never a mix.
T. Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path


def write_bytes(path, data):
    """Replace the file `path` by `data`; an error (disk full, no permission) leaves the old file as it was."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def _flush_folder(folder):
    if os.name == "nt":
        return  # Windows opens no folders, and its rename is written through
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path, text):
    """Replace the file `path` by `text` as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path, value):
    """Replace the file `path` by `value` as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")
