"""The doors through which work on arrays passes, and who looks on: the recorder of a captured step, as a rule none.

Two doors see all of it: the calls of kernels (:mod:`.team`), and those of NumPy on arrays that are recorded
(:mod:`minidl.kernels.cpu.capture`). A recorder belongs to one thread.
"""

from __future__ import annotations

import threading


class _Door(threading.local):
    recorder = None


door = _Door()


def unrecorded(function, *args):
    """``function(*args)``, which no replay runs again: what it makes of constants stays as it is."""
    return function(*args) if door.recorder is None else door.recorder.aside(function, *args)
