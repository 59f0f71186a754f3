"""Errors of data: one error type, one line, with the path in it.

A name that comes from a stranger's disk may hold line breaks or terminal escape
codes, so every path passes through :func:`shown` before it reaches a message.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class DataError(ValueError):
    """Data that cannot be used: missing, broken, or not what was announced."""


def shown(name: Any) -> str:
    """`name` as printable text on one line, anything else escaped.

    Examples
    --------
    >>> from minidl.data.errors import shown
    >>> print(shown("cats\\n\\x1b[31m"))
    cats\\n\\x1b[31m
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(name))


def broken(path: Path | str, expected: str, found: Any) -> DataError:
    """The error for a file that is not what it should be: its path, `expected` and `found`."""
    return DataError(f"{shown(path)}: expected {expected}, found {shown(found)}")


def check_file(path: Path | str, at_most: int) -> None:
    """Raise a `DataError` unless `path` is an ordinary file (no pipe, no device) of at most `at_most` bytes."""
    if not os.path.isfile(path):
        raise broken(path, "a file", "a folder" if os.path.isdir(path) else "none, or something that is not a file")
    if os.path.getsize(path) > at_most:
        raise broken(path, f"at most {at_most:,} bytes", f"{os.path.getsize(path):,} bytes")


def check(condition: bool, message: str) -> None:
    """Raise a `ValueError` with `message` unless `condition` holds (for wrong arguments)."""
    if not condition:
        raise ValueError(message)
