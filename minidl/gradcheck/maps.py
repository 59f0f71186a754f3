"""A function to be checked as a map from arrays to arrays, and its gradient as another such map.

The gradient of f is a function too: ``(inputs, upstream) -> gradients``. So the second derivative is
checked by checking the first derivative of :class:`GradientMap`, the third by nesting it once more,
and nothing in the checker knows what order it is working at.

Evaluations repeat exactly: before each one the random streams and a module's buffers are put back.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl import backend
from minidl.backend import Array
from minidl.random import get_rng_state, set_rng_state
from minidl.tensor import Function, Tensor, grad, set_grad_enabled


class Map:
    """Leaves (Tensors) to outputs; `call(record)` computes the outputs from the leaves as they are."""

    def __init__(
        self, name: str, call: Callable[..., Any], leaves: list[Tensor], names: list[str],
        buffers: Sequence[Tensor] = (),
    ) -> None:  # fmt: skip
        self.name: str = name
        self.call: Callable[..., Any] = call
        self.leaves: list[Tensor] = leaves
        self.names: list[str] = names
        self.buffers: list[tuple[Tensor, Array]] = [(buffer, buffer.data.copy()) for buffer in buffers]
        self.random_state: dict[str, Any] = get_rng_state()
        self.active: list[int] | None = None  # which outputs can be differentiated; known after the first call

    def outputs(self, record: bool = True) -> list[Tensor]:
        """The differentiable outputs, with or without their graph."""
        if self.active is None:
            self.active = [i for i, y in enumerate(self._all(True)) if isinstance(y, Tensor) and y.requires_grad]
        result = self._all(record)
        return [result[i] for i in self.active]

    def _all(self, record):
        set_rng_state(self.random_state)
        for buffer, values in self.buffers:
            buffer.data[...] = values
        with set_grad_enabled(record):
            result = self.call(record)
        return result if isinstance(result, (tuple, list)) else (result,)

    def place(self, arrays: list[Array]) -> None:
        """Give the leaves new values."""
        for leaf, array in zip(self.leaves, arrays):
            leaf.data = array
            leaf.bump_version()

    def evaluate(self, arrays: list[Array]) -> list[Array]:
        """The outputs at `arrays`, as arrays; the leaves are put back."""
        before = [leaf.data for leaf in self.leaves]
        try:
            self.place(arrays)
            return [y.data for y in self.outputs(record=False)]
        finally:
            self.place(before)

    def gradients(self, upstream: list[Array], create_graph: bool = False) -> list[Tensor]:
        """Gradients by backward: one Tensor or None per leaf, for the arrays `upstream`, one per output."""
        outputs = self.outputs()
        if not outputs:
            return [None] * len(self.leaves)
        return list(grad(outputs, self.leaves, upstream, create_graph=create_graph, allow_unused=True))


class GradientMap(Map):
    """(leaves of `inner`, upstream gradients) -> gradients of the leaves."""

    def __init__(self, inner: GradientMap | Map, upstream: list[Array]) -> None:
        self.inner = inner
        self.upstream: list[Tensor] = [Tensor(u, requires_grad=True) for u in upstream]
        suffix = [f"[{i}]" for i in range(len(upstream))] if len(upstream) > 1 else [""]
        prime = "upstream" if not isinstance(inner, GradientMap) else "upstream'"
        names = list(inner.names) + [prime + s for s in suffix]
        super().__init__(inner.name, self._gradients, inner.leaves + self.upstream, names)

    def _gradients(self, record):
        with set_grad_enabled(True):
            outputs = self.inner.outputs()
        return grad(outputs, self.inner.leaves, self.upstream, create_graph=record, materialize_grads=True)


def is_module(f: Callable[..., Any]) -> bool:
    """Return whether `f` has parameters of its own, as an nn.Module does."""
    return hasattr(f, "named_parameters") and callable(f)


def map_of(
    f: Callable[..., Any], inputs: Sequence[Tensor], name: str | None = None, dtype: DTypeLike = np.float64
) -> Map:
    """`f` with `inputs` as a :class:`Map` in precision `dtype`.

    Differentiated are the inputs that require grad or, where none does, all floating-point arrays
    and Tensors; and the parameters of `f` if it is a module (they keep the precision `dtype` until
    the caller puts them back).
    """
    call = f.apply if isinstance(f, type) and issubclass(f, Function) else f
    asked = [isinstance(x, Tensor) and x.requires_grad for x in inputs]
    wanted = asked if any(asked) else [_is_floating(x) for x in inputs]
    arguments = [_leaf(x, dtype) if want else _fixed(x) for x, want in zip(inputs, wanted)]
    names = [n for n, want in zip(argument_names(f, len(inputs)), wanted) if want]
    leaves = [x for x, want in zip(arguments, wanted) if want]
    buffers = ()
    if is_module(f):
        trained = [(n, p) for n, p in f.named_parameters() if p.requires_grad]
        for _, parameter in trained:
            parameter.data = _copy(parameter.data, dtype)
        names, leaves = names + [n for n, _ in trained], leaves + [p for _, p in trained]
        buffers = list(f.buffers())
    if not leaves:
        raise TypeError("`inputs` holds nothing to differentiate; accepted: floating-point arrays or Tensors")
    return Map(name or name_of(f), lambda record: call(*arguments), leaves, names, buffers)


def name_of(f: Callable[..., Any]) -> str:
    """Name of `f` in messages."""
    return getattr(f, "__name__", None) or type(f).__name__


def argument_names(f: Callable[..., Any], count: int) -> list[str]:
    """The first `count` parameter names of `f`, invented where it has none."""
    if isinstance(f, type) and issubclass(f, Function):
        f = f.forward
    target = f.forward if is_module(f) else f
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    plain = plain[1:] if plain[:1] in (["self"], ["ctx"]) else plain
    return (plain + [f"inputs[{i}]" for i in range(len(plain), count)])[:count]


def _is_floating(x):
    return isinstance(x, (Tensor, float)) and np.dtype(getattr(x, "dtype", float)).kind == "f" or (
        backend.is_array(x) and x.dtype.kind == "f"
    )


def _copy(array, dtype):
    """A copy in the same memory order."""
    return array.astype(dtype, order="K", copy=True)


def _leaf(x, dtype):
    array = x.data if isinstance(x, Tensor) else x if backend.is_array(x) else np.asarray(x)
    return Tensor(_copy(array, dtype), requires_grad=True)


def _fixed(x):
    return x.detach() if isinstance(x, Tensor) else x
