"""The element-wise passes that every training step makes over whole activations."""

from __future__ import annotations

from minidl import backend
from minidl.kernels import Kernel


@Kernel
def relu(x):
    """``max(x, 0)``; NaN stays NaN. Keeps the memory order of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return backend.array_module(x).maximum(x, 0)


@Kernel
def relu_grad(grad, y):
    """`grad` where the ReLU's output `y` is not 0 or less, else 0.

    Examples
    --------
    >>> import numpy as np
    >>> relu_grad(np.array([3.0, 4.0]), np.array([0.0, 2.0]))
    array([0., 4.])
    """
    return backend.array_module(grad).where(y <= 0, 0, grad)
