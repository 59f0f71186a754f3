"""Anything made on first use is made once: threads that ask at the same time wait for the first and get the same thing.

``functools.cache`` calls the function in every thread that comes before the first result is there, and keeps the last
result. That does no harm where equal results are as good as the same one. It does where identity counts: a compiled
kernel is looked up by what it is.

One lock serves all, since making one thing often takes another one. A fork waits for it, or the child would find it
held by a thread that it does not have.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
LOCK = threading.RLock()
_guards = []  # the locks that a fork waits for


def once(make: F) -> F:
    """Let `make` be called once for the same arguments, which have to be hashable and positional.

    Examples
    --------
    >>> @once
    ... def row(n):
    ...     return [n]
    >>> row(3) is row(3)
    True
    """
    made = {}

    @functools.wraps(make)
    def found(*arguments):
        try:
            return made[arguments]
        except KeyError:
            pass  # what `make` raises is no consequence of it
        with LOCK:
            if arguments not in made:
                made[arguments] = make(*arguments)
            return made[arguments]

    return found


def whole_at_fork(lock: Any) -> None:
    """Let every fork wait for `lock`: what it guards is whole in the child, and no thread holds it there.

    Locks are taken in the reverse of the order in which they are named here, LOCK first: as they are by threads
    that hold several of them.
    """
    _guards.append(lock)


def _before_fork():
    for lock in (LOCK, *reversed(_guards)):
        lock.acquire()


def _after_fork():
    for lock in (*_guards, LOCK):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
