"""Moving elements about without changing them.

Every op here is linear, and each is the backward of another: reshape of reshape,
permute of permute, broadcast of sum, flip of flip.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import checks
from minidl.backend import Array, Shape, array_module, device_of, is_device_name, to_device
from minidl.checks import Ints
from minidl.ops.promotion import tensor_of
from minidl.tensor import Function, Tensor


class Reshape(Function):
    """The same elements in another shape; backward gives the gradient the old one."""

    may_alias = True

    def forward(self, x: Array, shape: Shape) -> Array:
        self.shape: Shape = x.shape
        return x.reshape(shape)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.reshape(self.shape), None


class Permute(Function):
    """The axes in another order; backward puts them back."""

    may_alias = True

    def forward(self, x: Array, axes: Shape) -> Array:
        self.inverse: Shape = tuple(sorted(range(len(axes)), key=axes.__getitem__))
        return x.transpose(axes)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.permute(self.inverse), None


class BroadcastTo(Function):
    """Repetition along axes; its adjoint is the sum over them."""

    may_alias = True

    def forward(self, x: Array, shape: Shape) -> Array:
        self.shape: Shape = x.shape
        return array_module(x).broadcast_to(x, shape)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.sum_to_size(self.shape), None


class Flip(Function):
    """The elements in reverse along axes; its own inverse and adjoint."""

    may_alias = True

    def forward(self, x: Array, axes: Shape) -> Array:
        self.axes: Shape = axes
        return array_module(x).flip(x, axes)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return flip(grad, self.axes), None


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape; one length may be -1.

    Raises
    ------
    ValueError
        If the number of elements does not fit.
    """
    shape, count = checks.size(shape, "shape"), tensor_of(input)._data.size
    known = math.prod([n for n in shape if n != -1])
    fits = count == known if -1 not in shape else known and count % known == 0
    if not fits or shape.count(-1) > 1 or min(shape, default=0) < -1:
        raise ValueError(f"`shape` is {shape} but the tensor has {input.data.size} elements in shape {input.shape}")
    return Reshape.apply(input, shape)


def view(input: Tensor, *shape: Any) -> Tensor:
    """PyTorch's name for `reshape`; copies where the memory does not allow a view."""
    return reshape(input, *shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the axes from `start_dim` to `end_dim` into one."""
    ndim = tensor_of(input).ndim
    start, end = checks.axis(start_dim, ndim, "start_dim"), checks.axis(end_dim, ndim, "end_dim")
    if ndim == 0:
        return reshape(input, 1)
    if start > end:
        raise ValueError(f"`start_dim` is {start_dim} but `end_dim` is {end_dim}: nothing lies between them")
    return reshape(input, input.shape[:start] + (math.prod(input.shape[start : end + 1]),) + input.shape[end + 1 :])


def permute(input: Tensor, *dims: Any) -> Tensor:
    """The axes in another order, without a copy."""
    ndim = tensor_of(input).ndim
    dims = checks.size(dims, "dims")
    axes = tuple([checks.axis(d, ndim, "dims") for d in dims])
    if sorted(axes) != list(range(ndim)):
        raise ValueError(f"`dims` is {dims}; accepted: each axis of a {ndim}-d tensor once")
    return Permute.apply(input, axes)


def transpose(input: Tensor, dim0: int | None = None, dim1: int | None = None) -> Tensor:
    """Swap two axes; without arguments reverse all of them, as NumPy does."""
    if (dim0 is None) != (dim1 is None):
        raise TypeError(f"transpose() swaps `dim0` and `dim1`, found {checks.shown(dim0)} and {checks.shown(dim1)}")
    axes = list(range(tensor_of(input).ndim))
    if dim0 is None:
        return Permute.apply(input, tuple(reversed(axes)))
    a, b = checks.axis(dim0, input.ndim, "dim0"), checks.axis(dim1, input.ndim, "dim1")
    if axes:
        axes[a], axes[b] = axes[b], axes[a]
    return Permute.apply(input, tuple(axes))


def squeeze(input: Tensor, dim: Ints | None = None) -> Tensor:
    """Drop axes of length 1: all of them, or those of `dim` that have it."""
    axes = checks.axes(dim, tensor_of(input).ndim)
    return reshape(input, tuple(n for axis, n in enumerate(input.shape) if n != 1 or axis not in axes))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Insert an axis of length 1 at `dim`."""
    axis = checks.axis(dim, tensor_of(input).ndim + 1)
    return reshape(input, input.shape[:axis] + (1,) + input.shape[axis:])


def broadcast_to(input: Tensor, *shape: Any) -> Tensor:
    """Repeat along axes of length 1, and new leading axes, without a copy."""
    shape = checks.lengths(shape, "shape", itemsize=2**-10)  # a view, whose elements share their memory
    lead = len(shape) - tensor_of(input).ndim
    if lead < 0 or any(n != 1 and n != m for n, m in zip(input.shape, shape[lead:])):
        raise ValueError(f"`shape` is {shape}, which a tensor of shape {input.shape} does not broadcast to")
    return BroadcastTo.apply(input, shape)


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """`broadcast_to` with -1 for "as it is"."""
    sizes = checks.size(sizes, "sizes")
    lead = len(sizes) - tensor_of(input).ndim
    if lead < 0 or -1 in sizes[:lead]:
        raise ValueError(f"`sizes` is {sizes} for a tensor of shape {input.shape}; -1 may stand for its axes only")
    return broadcast_to(input, tuple(input.shape[i - lead] if n == -1 else n for i, n in enumerate(sizes)))


def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """Sum over the axes that broadcasting to this shape would have added: the adjoint of `broadcast_to`."""
    size = checks.lengths(size, itemsize=2**-10)
    lead = tensor_of(input).ndim - len(size)
    if lead < 0 or any(n != 1 and n != m for n, m in zip(size, input.shape[lead:])):
        raise checks.refused("size", size, f"a shape that broadcasts to {input.shape}")
    axes = tuple(range(lead)) + tuple(
        lead + i for i, n in enumerate(size) if n == 1 and input.shape[lead + i] != 1
    )
    out = input.sum(axes, keepdim=True) if axes else input
    return out.reshape(size) if lead else out


def flip(input: Tensor, *axes: Any, dims: Ints | None = None) -> Tensor:
    """Reverse the order of the elements along `dims`: ``flip(x, 0, 1)``, ``flip(x, (0, 1))``, ``flip(x, dims=0)``."""
    dims = dims if not axes else axes[0] if len(axes) == 1 else axes
    if dims is None:
        raise checks.refused("dims", dims, "an integer or several", TypeError)
    return Flip.apply(input, checks.axes(dims, tensor_of(input).ndim, "dims"))


def contiguous(input: Tensor) -> Tensor:
    """A tensor whose memory lies in C order: itself if it is so already."""
    return input if tensor_of(input).data.flags.c_contiguous else clone(input, order="C")


class Clone(Function):
    """A copy in new memory; the gradient passes unchanged."""

    def forward(self, x: Array, order: str) -> Array:
        return x.copy(order=order)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, None


def clone(input: Tensor, order: str = "K") -> Tensor:
    """A copy of the values that gradients pass through."""
    return Clone.apply(tensor_of(input), checks.choice(order, "order", ("C", "F", "A", "K")))


class Cast(Function):
    """The values as another dtype; the gradient is cast back."""

    def forward(self, x: Array, dtype: np.dtype) -> Array:
        self.dtype: np.dtype = x.dtype
        return x.astype(dtype)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.astype(self.dtype), None


def astype(input: Tensor, dtype: Any) -> Tensor:
    """The values as another dtype; gradients are cast back."""
    dtype = checks.dtype(dtype)
    return input if tensor_of(input)._data.dtype == dtype else Cast.apply(input, dtype)


class Transfer(Function):
    """The values on another device; the gradient goes back."""

    def forward(self, x: Array, device: str) -> Array:
        self.device: str = device_of(x)
        return to_device(x, device)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return to(grad, self.device), None


def to(
    input: Tensor, *targets: Any, device: str | None = None, dtype: Any = None, copy: bool = False,
    non_blocking: bool = False, memory_format: Any = None,
) -> Tensor:
    """On another device and/or as another dtype; itself if nothing changes, unless a `copy` is asked for.

    Parameters
    ----------
    input : Tensor
    *targets : str, dtype or Tensor
        A device's name, a dtype, or a Tensor whose device and dtype are wanted; then `non_blocking` and `copy`.
    device, dtype : optional
        The same by name.
    copy : bool
        Return new memory in any case.
    non_blocking, memory_format : optional
        PyTorch's, without effect: transfers follow the device's order of work, and layout is the kernels' affair.

    Examples
    --------
    >>> import minidl
    >>> minidl.ones(2).to("float64").dtype
    dtype('float64')
    """
    out, flags = tensor_of(input), [t for t in targets if isinstance(t, bool)]
    copy, targets = copy or flags[1:2] == [True], [t for t in targets if not isinstance(t, bool)]
    wanted = [part for t in targets for part in ((t.device, t.dtype) if isinstance(t, Tensor) else (t,))]
    for target in (*wanted, device, dtype):
        if is_device_name(target):
            out = out if out.device == target.partition(":")[0] else Transfer.apply(out, target)
        elif target is not None:
            out = astype(out, checks.dtype(target, "to"))
    return clone(out) if copy and out is input else out
