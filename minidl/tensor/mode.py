"""The state of each thread: operations are recorded or not, a backward walk is under way or not."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])


class _State(threading.local):
    grad_enabled = True
    walking = False


_state = _State()


class GradMode(contextlib.ContextDecorator):
    """Context manager or decorator that records the graph inside, or does not."""

    def __init__(self, mode: bool) -> None:
        self.mode: bool = bool(mode)
        self.before: list[bool] = []

    def __enter__(self) -> GradMode:
        self.before.append(_state.grad_enabled)
        _state.grad_enabled = self.mode
        return self

    def __exit__(self, *exception: object) -> None:
        _state.grad_enabled = self.before.pop()

    def _recreate_cm(self) -> GradMode:
        return GradMode(self.mode)  # a decorated function may run in several threads at once


class set_grad_enabled(GradMode):
    """`GradMode` that holds from the call on, with or without ``with``.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([1.0, 2.0], requires_grad=True)
    >>> with minidl.set_grad_enabled(False):
    ...     (x * 2).requires_grad
    False
    """

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        self.outer: bool = _state.grad_enabled
        _state.grad_enabled = self.mode

    def __enter__(self) -> GradMode:
        super().__enter__()
        self.before[-1] = self.outer
        return self

    def __call__(self, function: F) -> F:
        _state.grad_enabled = self.outer  # a decorator switches the mode when the function is called, not before
        return super().__call__(function)


@overload
def no_grad(function: F) -> F: ...
@overload
def no_grad(function: None = None) -> GradMode: ...
def no_grad(function: Any = None) -> Any:
    """Context manager or decorator under which no graph is recorded.

    Examples
    --------
    >>> import minidl
    >>> @minidl.no_grad()
    ... def double(x):
    ...     return x * 2
    >>> double(minidl.tensor(1.0, requires_grad=True)).requires_grad
    False
    """
    return GradMode(False) if function is None else GradMode(False)(function)


@overload
def enable_grad(function: F) -> F: ...
@overload
def enable_grad(function: None = None) -> GradMode: ...
def enable_grad(function: Any = None) -> Any:
    """Context manager or decorator under which the graph is recorded again."""
    return GradMode(True) if function is None else GradMode(True)(function)


def is_grad_enabled() -> bool:
    """True while the operations of this thread are recorded."""
    return _state.grad_enabled


def is_walking() -> bool:
    """True while this thread walks a graph: an operation that runs now belongs to a backward."""
    return _state.walking
