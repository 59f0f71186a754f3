"""Surrounding with more elements: a constant, or elements from within.

Both are linear: the adjoint of a constant's frame crops, that of picked elements adds
them where they came from. Positions along an axis are plain numbers, known without the
device, so the sums are taken in a fixed order and Python does not wait for a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidl import checks
from minidl.backend import Array, Shape, array_module, in_order_of
from minidl.checks import Pair
from minidl.ops.promotion import tensor_of
from minidl.tensor import Function, Tensor


class Pad(Function):
    """Surround with a constant; backward crops. Keeps the memory order of `x`."""

    widths: tuple[Pair, ...]
    shape: Shape

    def forward(self, x: Array, widths: tuple[Pair, ...], value: float) -> Array:
        self.widths, self.shape = widths, x.shape
        y = in_order_of(x, tuple(n + a + b for n, (a, b) in zip(x.shape, widths)), value)
        y[_inside(widths, x.shape)] = x
        return y

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad[_inside(self.widths, self.shape)], None, None


def _inside(widths, shape):
    return tuple(slice(a, a + n) for n, (a, _) in zip(shape, widths))


class Pick(Function):
    """The slices of `x` at `positions` along `axis`, each as often as it stands there."""

    positions: Shape
    axis: int
    size: int

    def forward(self, x: Array, positions: Array, axis: int) -> Array:
        self.positions, self.axis, self.size = positions, axis, x.shape[axis]
        return array_module(x).take(x, array_module(x).asarray(positions, dtype=int), axis=axis)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return PutBack.apply(grad, self.positions, self.axis, self.size), None, None


class PutBack(Function):
    """The slices of `x` along `axis` added to `positions` along an axis of `size` zeros."""

    positions: Shape
    axis: int

    def forward(self, x: Array, positions: Array, axis: int, size: int) -> Array:
        self.positions, self.axis = positions, axis
        xp, lead = array_module(x), (slice(None),) * axis
        y = xp.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), dtype=x.dtype)
        for sources, targets in _rounds(positions):
            y[lead + (xp.asarray(targets),)] += x[lead + (xp.asarray(sources),)]
        return y

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return Pick.apply(grad, self.positions, self.axis), None, None, None


def _rounds(positions):
    """Indices into `positions` and what stands there: first occurrences, second ones, and so on.

    Examples
    --------
    >>> _rounds((1, 0, 1))
    [([0, 1], [1, 0]), ([2], [1])]
    """
    seen, rounds = {}, []
    for i, position in enumerate(positions):
        nth = seen[position] = seen.get(position, -1) + 1
        if nth == len(rounds):
            rounds.append(([], []))
        rounds[nth][0].append(i)
        rounds[nth][1].append(position)
    return rounds


# mode: (from a position outside an axis of length n to the one inside that it repeats, the widest frame, its words)
MODES: dict[str, tuple[Any, ...]] = {
    "reflect": (lambda i, n: n - 1 - abs(n - 1 - abs(i)), lambda n: n - 1, "less than the length"),
    "replicate": (lambda i, n: min(max(i, 0), n - 1), lambda n: float("inf") if n else 0, "an axis that is not empty"),
    "circular": (lambda i, n: i % n, lambda n: n, "at most the length"),
}


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Surround with a constant or with elements from within, as PyTorch's ``pad``; negative widths crop.

    Parameters
    ----------
    input : Tensor
    pad : sequence of int
        (left, right, top, bottom, ...) from the last axis on.
    mode : str
        ``"constant"``; ``"reflect"`` mirrors at the outermost element; ``"replicate"`` repeats it;
        ``"circular"`` goes on at the other end.
    value : float
        The constant; None is 0.

    Raises
    ------
    ValueError
        If widths or mode do not fit, or a frame is too wide for the mode.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = x.pad((2, 1), mode="reflect")
    >>> y.sum().backward()
    >>> y, x.grad
    (tensor([3., 2., 1., 2., 3., 2.], grad_fn=<Pick>), tensor([1., 3., 2.]))
    """
    checks.choice(mode, "mode", ("constant", *MODES))
    pad = checks.integers(pad, "pad", "a tuple of integers")
    if len(pad) % 2 or len(pad) > 2 * tensor_of(input).ndim:
        raise ValueError(f"`pad` has {len(pad)} widths; accepted: two for each of up to {input.ndim} axes")
    pairs = [tuple(pad[i : i + 2]) for i in range(0, len(pad), 2)]
    widths = [(0, 0)] * (input.ndim - len(pairs)) + pairs[::-1]
    if any(n + a + b < 0 for n, (a, b) in zip(input.shape, widths)):
        raise checks.refused("pad", pad, f"widths that leave something of shape {input.shape}")
    checks.lengths((tuple([n + a + b for n, (a, b) in zip(input.shape, widths)]),), "pad")
    if mode in ("constant", "circular") and any(w < 0 for pair in widths for w in pair):
        input = input[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(input.shape, widths))]
        widths = [(max(a, 0), max(b, 0)) for a, b in widths]
    if mode == "constant":
        return Pad.apply(input, tuple(widths), 0 if value is None else checks.number(value, "value"))
    if value is not None and checks.number(value, "value"):
        raise ValueError(f"`value` is {value} with `mode` {mode!r}; accepted: a value for 'constant' only")
    for axis, (before, after) in enumerate(widths):
        input = _framed(input, axis, before, after, mode) if before or after else input
    return input


def _framed(input, axis, before, after, mode):
    inside, widest, words = MODES[mode]
    n = input.shape[axis]
    if max(before, after) > widest(n):
        found = f"`pad` is {(before, after)} for axis {axis} of length {n}"
        raise ValueError(f"{found}; accepted for `mode` {mode!r}: {words}")
    return Pick.apply(input, tuple(inside(i, n) for i in range(-before, n + after)), axis)
