"""Files that stay open, and are read and written at any place by any thread."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence

from minidl.data.errors import broken

BINARY = getattr(os, "O_BINARY", 0)  # Windows
MOST_OPEN = 64


class Files:
    """Files by number, each opened when it is used; a process may have few open, so of many some are closed again.

    Parameters
    ----------
    paths : sequence of str
    flags : int
        For `os.open`.
    stamps : sequence of (size, time in nanoseconds), optional
        A file that has another when it is opened is refused with a `DataError`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = Files([folder + "/x"], os.O_RDWR | os.O_CREAT)
    ...     files.write(0, 3, b"abc")
    ...     files.read(0, 4, 9)
    b'bc'
    """

    paths: Sequence[str]
    flags: int
    stamps: Sequence[tuple[int, int]]
    lock: threading.Lock

    def __init__(self, paths: Sequence[str], flags: int = os.O_RDONLY, stamps: Sequence[tuple[int, int]] = ()) -> None:
        self.paths, self.flags, self.stamps, self.lock = paths, flags, stamps, threading.Lock()
        self.open: dict[int, list[int]] = {}  # [descriptor, reads under way] by number, the one used last at the end

    @contextlib.contextmanager
    def _descriptor(self, number):
        """The descriptor of file `number`, which stays open within this context."""
        with self.lock:
            entry = self.open.pop(number, None) or [self._opened(number), 0]
            entry[1] += 1
            self.open[number] = entry
            if len(self.open) > MOST_OPEN:
                self._close_one()
        try:
            yield entry[0]
        finally:
            with self.lock:
                entry[1] -= 1

    def _opened(self, number):
        descriptor = os.open(self.paths[number], self.flags | BINARY, 0o666)
        status = os.fstat(descriptor)
        if self.stamps and (status.st_size, status.st_mtime_ns) != tuple(self.stamps[number]):
            os.close(descriptor)
            raise broken(
                self.paths[number], "the file that was listed", "one of another size or time: it was changed since"
            )
        return descriptor

    def _close_one(self):
        """Close the file that has not been used for the longest time, of those that nothing reads."""
        idle = next((number for number, (_, reads) in self.open.items() if not reads), None)
        if idle is not None:
            os.close(self.open.pop(idle)[0])

    def read(self, number: int, at: int, size: int) -> bytes:
        """Up to `size` bytes at `at` of file `number`."""
        with self._descriptor(number) as descriptor:
            if hasattr(os, "pread"):
                return os.pread(descriptor, size, at)
            with self.lock:  # Windows
                os.lseek(descriptor, at, os.SEEK_SET)
                return os.read(descriptor, size)

    def write(self, number: int, at: int, data: bytes) -> None:
        """Write `data` at `at` of file `number`."""
        with self._descriptor(number) as descriptor, self.lock:
            os.lseek(descriptor, at, os.SEEK_SET)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    def cut(self, number: int, size: int) -> None:
        """Let file `number` be no longer than `size` bytes."""
        with self._descriptor(number) as descriptor:
            if os.fstat(descriptor).st_size > size:
                os.truncate(descriptor, size)

    def __del__(self) -> None:
        for descriptor, _ in self.open.values():
            os.close(descriptor)
