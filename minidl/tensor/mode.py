"""Whether operations are recorded: one switch per thread."""

from __future__ import annotations

import contextlib
import threading


class _State(threading.local):
    grad_enabled = True


_state = _State()


class set_grad_enabled(contextlib.ContextDecorator):
    """Context manager (or decorator): record the graph inside, or do not.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([1.0, 2.0], requires_grad=True)
    >>> with minidl.set_grad_enabled(False):
    ...     (x * 2).requires_grad
    False
    """

    def __init__(self, mode):
        self.mode = bool(mode)
        self.before = []

    def __enter__(self):
        self.before.append(_state.grad_enabled)
        _state.grad_enabled = self.mode
        return self

    def __exit__(self, *exception):
        _state.grad_enabled = self.before.pop()


def no_grad():
    """Context manager or decorator under which no graph is recorded."""
    return set_grad_enabled(False)


def enable_grad():
    """Context manager or decorator under which the graph is recorded again."""
    return set_grad_enabled(True)


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return _state.grad_enabled
