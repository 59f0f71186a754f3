"""Observers: objects to which every operation is reported as it runs.

Finding the first NaN, tracing a network for export and locating a wrong gradient all need to see the operations of
a program that is not written for them. ``with observe(observer):`` reports those of the calling thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from minidl.tensor.core import Tensor
    from minidl.tensor.function import Function

observers: dict[int, Observer] = {}  # by thread; empty as a rule, and an operation looks no further then


class Observer:
    """The callbacks of `observe`; a subclass overrides those it needs."""

    def forward(self, node: Function, inputs: tuple[Any, ...], outputs: list[Tensor]) -> None:
        """A `Function` has run its forward.

        Parameters
        ----------
        node : Function
            The call; its keyword arguments are ``node.options``. It is part of a graph if it is the `node`
            of an output.
        inputs : tuple
            As they were passed to `Function.apply`: Tensors, and options by position.
        outputs : list of Tensor
        """

    def backward(self, node: Function, grads: list[Tensor | None], results: Any) -> None:
        """The walk has run a node's backward.

        Parameters
        ----------
        node : Function
        grads : list of Tensor or None
            Gradients with respect to the outputs.
        results : Tensor or tuple of (Tensor or None)
            The gradients with respect to the inputs that the backward returned.
        """


O = TypeVar("O", bound=Observer)


@contextlib.contextmanager
def observe(observer: O) -> Iterator[O]:
    """Report the operations of this thread to `observer` alone until the context ends.

    Examples
    --------
    >>> import minidl
    >>> from minidl.tensor import Observer, observe
    >>> class Names(Observer):
    ...     def forward(self, node, inputs, outputs):
    ...         print(node.name)
    >>> with observe(Names()):
    ...     y = minidl.ones(2).exp().sum()
    Exp
    Sum
    """
    thread = get_ident()
    outer = observers.get(thread)
    observers[thread] = observer
    try:
        yield observer
    finally:
        if outer is None:
            del observers[thread]
        else:
            observers[thread] = outer


def the_observer() -> Observer | None:
    """The observer of this thread, or None."""
    return observers.get(get_ident())
