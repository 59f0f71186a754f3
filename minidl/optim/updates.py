"""Arithmetic that the updates of several optimisers share; all of it changes arrays in place.

Operations are in PyTorch's order. A learning rate may be a 0-d array on the device of the parameter, so that a
schedule needs no transfer, and a step that was recorded (a CUDA graph, say) can be replayed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from minidl import backend
from minidl.backend import Array
from minidl.dispatch import dispatched


class _Waiting(threading.local):
    updates = None  # {(launch, key): [what to launch]} inside `together`


_waiting = _Waiting()


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Context that defers updates to its end, where many small ones run as one.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> with together():
    ...     lerp(w, np.array([3.0]), 0.25)
    >>> w
    array([1.5])
    """
    before, _waiting.updates = _waiting.updates, {}
    try:
        yield
    finally:
        updates, _waiting.updates = _waiting.updates, before
        for (launch, key), waiting in updates.items():
            if waiting:  # Ctrl-C may have come before its first update
                launch(waiting, *key)


def later(launch: Callable[..., Any], key: tuple[Any, ...], update: list[Array | None]) -> None:
    """Call ``launch([update], *key)``; inside `together`, at its end, with all updates of that key."""
    if _waiting.updates is None:
        launch([update], *key)
    else:
        _waiting.updates.setdefault((launch, key), []).append(update)


def scalar(value: float, like: Array) -> Any:
    """A Python number as it is; a 0-d array in the dtype of `like`, so that it does not widen the arithmetic."""
    return value.astype(like.dtype) if hasattr(value, "astype") else value


def gradient_to_descend(param: Array, grad: Array, weight_decay: float, maximize: bool) -> Array:
    """The gradient to descend: negated to maximise, plus that of the L2 penalty."""
    grad = -grad if maximize else grad
    return grad + param * weight_decay if weight_decay != 0 else grad


@dispatched
def lerp(start: Array, end: Array, weight: float | Array) -> None:
    """Move `start` towards `end` by the share `weight`, a number or 0-d array; from the nearer end, to round less.

    Examples
    --------
    >>> import numpy as np
    >>> average = np.array([1.0])
    >>> lerp(average, np.array([3.0]), 0.25)
    >>> average
    array([1.5])
    """
    weight = scalar(weight, start)
    way = end - start
    from_start, from_end = start + way * weight, end - way * (1 - weight)
    if backend.is_array(weight):  # its value stays on the device
        start[...] = backend.array_module(start).where(weight < 0.5, from_start, from_end)
    else:
        start[...] = from_start if weight < 0.5 else from_end
