"""Dropout: zero a random share of the elements and scale up the rest.

The mask is a function of a key (seed, layer, step) through Philox4x32-10, so the node
keeps the key and not the mask, and every device draws the same one. Dropout is linear:
its backward is dropout of the gradient with the same key.

Reference: N. Srivastava et al., "Dropout", JMLR 15, 2014.
"""

from __future__ import annotations

from minidl.checks import probability
from minidl.kernels import random as kernels
from minidl.ops.axes import with_axes
from minidl.ops.promotion import floating, tensor_of
from minidl.random import GENERAL, next_key
from minidl.tensor import Function


class Dropout(Function):
    def forward(self, x, p, key):
        self.p, self.key = p, key
        return kernels.dropout(x, p, *key)

    def backward(self, grad):
        return Dropout.apply(grad, self.p, self.key), None, None


def dropout(input, p=0.5, training=True, inplace=False, layer=GENERAL):
    """Zero each element with probability `p` and divide the others by ``1 - p``.

    Parameters
    ----------
    p : float
        From 0 to 1.
    training : bool
        Return `input` as it is when False.
    inplace : bool
        Write the result over `input` (see `Tensor.become`).
    layer : int
        The random stream to draw from; every `nn.Dropout` has its own.

    Raises
    ------
    ValueError
        If `p` is not a probability.
    """
    p = probability(p)
    if not training or p == 0.0:
        return tensor_of(input)
    if p == 1.0:
        y = floating(input) * 0.0
    else:
        y = with_axes(floating(input), lambda x: Dropout.apply(x, p, next_key(layer)))
    return input.become(y) if inplace else y
