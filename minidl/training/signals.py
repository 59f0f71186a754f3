"""Ctrl-C and SIGTERM ask a run to stop at the next place where its state is whole; the second one ends it at once.

A signal may come between any two bytecodes, in the middle of an update of the weights.
So its handler only takes a note, and `check`, called between steps and between batches
of an evaluation, raises `Stopped`. Nothing is noted unless a `Listener` listens.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any

NUMBERS = (signal.SIGINT, signal.SIGTERM)
HINT = b"\nstopping after this step; once more ends at once\n"

_asked = None  # the number of the signal that has come


class Stopped(BaseException):
    """A signal has asked the run to stop; no Exception, so that nothing on the way takes it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.status: int = 128 + number  # the exit status that shells give to a process that a signal has ended


def check() -> None:
    """Raise `Stopped` if a signal has come since a `Listener` started."""
    if _asked is not None:
        raise Stopped(_asked)


def heeded(batches: Iterable[Any]) -> Iterator[Any]:
    """The same batches, with a `check` before each."""
    for batch in batches:
        check()
        yield batch


def asked() -> int:
    """The number of the signal that has come, or 0."""
    return _asked or 0


def ask(number: int) -> None:
    """Take note of signal `number`, as if it had come to this process; 0 is none."""
    global _asked
    _asked = number or None


class Listener:
    """Notes SIGINT and SIGTERM from `start` to `stop`; a signal that the process ignores stays ignored."""

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}

    def start(self) -> None:
        """Begin to listen; outside the main thread, where Python handles no signals, nothing happens."""
        if threading.current_thread() is threading.main_thread():
            for number in NUMBERS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.before[number] = signal.signal(number, _note)

    def stop(self) -> None:
        """Put the former handlers back and forget what has come."""
        global _asked
        while self.before:
            signal.signal(*self.before.popitem())
        _asked = None


def _note(number, frame):
    global _asked
    if _asked is not None:
        os._exit(128 + number)  # a save under way leaves the last checkpoint as it was
    _asked = number
    if os.isatty(2):
        os.write(2, HINT)  # print() could meet a print() that the signal has interrupted
