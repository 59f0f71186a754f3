"""Accumulation: a gradient is added to ``.grad`` of the tensor that asked for it.

The first gradient is copied into a buffer that the tensor keeps, so that its address stays from step to step while
no other reference to it is alive. Of a large one on the CPU the array itself becomes the buffer, where the walk alone
knows it and it lies as the tensor does: to copy it would take as long as to compute with it.
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

LARGE = 1 << 16  # bytes of a gradient from which copying it costs more than asking who knows it
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
            if tensor._data.nbytes >= LARGE and references(gradient) in _ALONE and _lies_like(gradient, tensor):
                tensor._grad_buffer = gradient.data
                tensor._grad = tensor._around(gradient.data)
            else:
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
    if tensor._grad_buffer is None or _holders(tensor) > _UNUSED or tensor._grad_buffer.dtype != array.dtype:
        tensor._grad_buffer = backend.array_module(array).empty_like(array)
    buffer = tensor._grad_buffer
    buffer[...] = array
    return buffer


def _holders(tensor):
    """The number of references to a tensor's gradient buffer."""
    return sys.getrefcount(tensor._grad_buffer)


_probe = Assigned()
_probe._grad_buffer = np.empty(0)
_UNUSED = _holders(_probe)  # those that asking adds


def references(gradient: Tensor) -> tuple[int, int, int] | None:
    """The numbers of references to a gradient, its array, and the array whose memory that is a view of; else None."""
    array = gradient._data
    if type(array) is not np.ndarray:
        return None
    base = array.base
    if base is None or backend.pool.owns(array):
        return sys.getrefcount(gradient), sys.getrefcount(array), 0
    if type(base) is not np.ndarray or not (base.base is None or backend.pool.owns(base)):
        return None
    return sys.getrefcount(gradient), sys.getrefcount(array), sys.getrefcount(base)


def _probed(tensor, gradient, create_graph):
    """The count that `references` finds from within a function like `accumulate`."""
    return references(gradient)


def _lies_like(gradient, tensor):
    """Return whether the array of a gradient can be a buffer of the tensor's."""
    array, own = gradient._data, tensor._data
    return array.strides == own.strides and array.dtype == own.dtype and array.flags.writeable


def _fresh(array):
    gradient = Assigned()
    gradient._data = array
    return gradient


_ALONE = []  # the numbers where the walk alone knows the gradient: of an array with memory of its own, and of a view
for _tensor, _gradient in ((None, _fresh(np.empty(1))), (None, _fresh(np.empty(1)[:]))):
    _ALONE.append(_probed(_tensor, _gradient, False))
