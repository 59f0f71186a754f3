"""minidl: a small deep-learning engine on NumPy and CuPy, differentiable to any order.

>>> import minidl
>>> x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4., 6.])
"""

from minidl.ops import functions as _functions
from minidl.random import get_rng_state, manual_seed, set_rng_state
from minidl import nn, optim
from minidl.tensor import (
    Function,
    Tensor,
    enable_grad,
    grad,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
    tensor,
)

__version__ = "0.1.0"

globals().update(_functions)
