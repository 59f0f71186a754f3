"""Tensors of the state between two calls: what a record expects of them.

An eager step between two replays, of a smaller last batch, say, leaves gradients in other arrays than those that the
rows know. Where a tensor alone knows its gradient, nothing can tell in which array it lies: so it is moved to the one
of the record. Of a gradient that others know too, each change has to be made where they look.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minidl.tensor import Tensor
from minidl.tensor.accumulation import references


class Guard(NamedTuple):
    """A tensor of the state, and what it was when the record was made."""

    tensor: Any
    data: Any
    requires_grad: bool
    grad: Any
    is_own: bool  # the gradient was known to the tensor alone

    @classmethod
    def of(cls, tensor):
        """The guard of a tensor as it is now."""
        is_own = is_own_gradient(tensor)
        return cls(tensor, tensor._data, tensor._requires_grad, gradient_of(tensor), is_own)

    def holds(self):
        """Return whether the tensor has the array, the flag and the gradient that it had, and no hook."""
        tensor = self.tensor
        return (
            tensor._data is self.data
            and tensor._requires_grad is self.requires_grad
            and (gradient_of(tensor) is self.grad or self._may_move())
            and not tensor._hooks
        )

    def _may_move(self):
        return self.is_own and is_own_gradient(self.tensor) and _lies_like(gradient_of(self.tensor), self.grad)

    def move(self):
        """Let the array of the record hold the gradient."""
        found = gradient_of(self.tensor)
        if found is not self.grad:
            self.grad[...] = found


def gradient_of(tensor):
    """The array of a tensor's gradient, or None."""
    return None if tensor._grad is None else tensor._grad._data


def is_own_gradient(tensor):
    """Return whether a tensor has a gradient whose array it alone knows, and no view of which is left."""
    return gradient_of(tensor) is not None and tensor._grad_buffer is tensor._grad._data and _known(tensor) in _ALONE


def _known(tensor):
    return references(tensor._grad)


def _lies_like(a, b):
    return a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype


def _alone(make):
    tensor = Tensor(np.empty(1))
    tensor._grad_buffer = make()
    tensor._grad = tensor._around(tensor._grad_buffer)
    return _known(tensor)


# The numbers of references where that is so: of an array with memory of its own, and of a view.
_ALONE = _alone(lambda: np.empty(1)), _alone(lambda: np.empty(1)[:])
