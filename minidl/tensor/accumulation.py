"""Accumulation: a gradient is added to ``.grad`` of the tensor that asked for it.

The first gradient is copied into a buffer that the tensor keeps, so that its address stays from step to step while
no other reference to it is alive.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from minidl import backend
from minidl.tensor.assignment import Assigned

if TYPE_CHECKING:
    from minidl.tensor.core import Tensor

_lock = threading.RLock()  # a leaf may be part of graphs that several threads walk at once


def _renew_lock():
    """Make a new lock: the thread that held the old one does not exist in the child of a fork."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def accumulate(tensor: Tensor, gradient: Tensor, create_graph: bool) -> None:
    """Add `gradient` to ``tensor.grad``; as an operation of the graph, or else in place."""
    with _lock:
        if create_graph:
            tensor._grad = gradient.clone() if tensor._grad is None else tensor._grad + gradient
        elif tensor._grad is None:
            tensor._grad = tensor._around(_own_copy(tensor, gradient.data))
        else:
            tensor.grad.data += gradient.data
            tensor.grad.bump_version()


def zero_gradients(tensors: Iterable[Tensor], set_to_none: bool) -> None:
    """Drop ``.grad`` of every tensor, or fill what is there with zeros if `set_to_none` is false."""
    for tensor in tensors:
        if set_to_none:
            tensor.grad = None
        elif tensor.grad is not None:
            tensor.grad = tensor.grad.detach()  # the graph of the gradients, if there is one, ends here
            tensor.grad.data[...] = 0
            tensor.grad.bump_version()


def _own_copy(tensor, array):
    """`array` in the gradient buffer of the tensor; in a new one if the last is in use."""
    if tensor._grad_buffer is None or _holders(tensor) > _ALONE or tensor._grad_buffer.dtype != array.dtype:
        tensor._grad_buffer = backend.array_module(array).empty_like(array)
    buffer = tensor._grad_buffer
    buffer[...] = array
    return buffer


def _holders(tensor):
    """The number of references to a tensor's gradient buffer."""
    return sys.getrefcount(tensor._grad_buffer)


_probe = Assigned()
_probe._grad_buffer = np.empty(0)
_ALONE = _holders(_probe)  # those that asking adds
