"""Dropout: zero a random share of the elements and scale up the rest.

The mask is a function of a key (seed, layer, step) through Philox4x32-10, so the node
keeps the key and not the mask, and every device draws the same one. Dropout is linear:
its backward is dropout of the gradient with the same key.

Reference: N. Srivastava et al., "Dropout", JMLR 15, 2014.
"""

from __future__ import annotations

from minidl import backend
from minidl.backend import Array, Shape
from minidl.checks import flag, integer, probability
from minidl.dispatch import dispatched
from minidl.ops.axes import with_axes
from minidl.ops.promotion import floating, tensor_of
from minidl.philox import WORD, random_uint32
from minidl.random import GENERAL, next_key
from minidl.tensor import Function, Tensor


def threshold(p: float) -> int:
    """The smallest 32-bit number whose element dropout keeps."""
    return min(round(p * 2**32), WORD)


def dropout_mask(shape: Shape, p: float, seed: int, layer: int, step: int, like: Array) -> Array:
    """Boolean array of `shape`, False with probability `p`: what `dropout_forward` keeps.

    The numbers of an image ``(N, C, H, W)`` are drawn in the order ``(n, h, w, c)``, those of
    any other shape in C order, whatever the strides.
    """
    order = (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else shape
    keep = random_uint32(order, seed, layer, step, like) >= threshold(p)
    return keep.transpose(0, 3, 1, 2) if len(shape) == 4 else keep


@dispatched
def dropout_forward(x: Array, p: float, seed: int, layer: int, step: int) -> Array:
    """Zero each element of `x` with probability `p` < 1 and multiply the others by ``1 / (1 - p)``.

    `dropout_mask` decides which ones, so the same key on the gradient is the backward pass.

    Examples
    --------
    >>> import numpy as np
    >>> dropout_forward(np.ones(4), 0.5, 0, 0, 0)
    array([0., 2., 2., 2.])
    """
    xp = backend.array_module(x)
    keep = dropout_mask(x.shape, p, seed, layer, step, like=x)
    return xp.where(keep, x * (1 / (1 - p)), 0)


class Dropout(Function):
    """y = x m / (1 - p), with the mask m drawn from the key; linear in x, so the backward is the same op on y'."""

    p: float
    key: tuple[int, int, int]

    def forward(self, x: Array, p: float, key: tuple[int, int, int]) -> Array:
        self.p, self.key = p, key
        return dropout_forward(x, p, *key)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return Dropout.apply(grad, self.p, self.key), None, None


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, layer: int = GENERAL
) -> Tensor:
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
    if not flag(training, "training") or p == 0.0:
        return tensor_of(input)
    if p == 1.0:
        y = floating(input) * 0.0
    else:
        y = with_axes(floating(input), lambda x: Dropout.apply(x, p, next_key(integer(layer, "layer"))))
    return input.become(y) if flag(inplace, "inplace") else y
