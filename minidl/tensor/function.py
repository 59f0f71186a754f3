"""`Function`: one operation; each call of it makes one node of the graph.

For y = f(x) with the Jacobian J, ``forward`` computes y from x, and ``backward`` the vector-Jacobian product
x' = J^T y' from y' (``walk.py`` says why that is enough). For the cube of every element, J is diagonal with
3 x_i**2 at (i, i), so the product is 3 x**2 * y'.

A node points at the nodes of its inputs, never at its outputs, so that a graph has no
cycle and dies with its last tensor, by reference counting alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import backend
from minidl.backend import quiet
from minidl.checks import explain
from minidl.tensor.core import Tensor, _wrap
from minidl.tensor.hooks import Hooks
from minidl.tensor.mode import _state, no_grad
from minidl.tensor.observer import observers, the_observer
from minidl.tensor.records import Edge, SavedArray, Version, fields_of_edge

_order = itertools.count()
_FREED = object()
_NUMBER = np.generic  # NumPy's form of 0-d results


class Function:
    """One differentiable operation; an instance is one call of it, a node of the graph.

    Subclasses define ``forward``, which takes and returns arrays, and ``backward``,
    which takes the gradients of the outputs as Tensors and returns, computed with Tensor
    operations, one gradient for each *positional* argument of ``apply``: None where it is no
    Tensor or needs none. Keyword arguments are options and get none. PyTorch's spelling with
    ``@staticmethod`` and ``ctx`` works too: the instance is the context, and ``forward``
    takes and returns Tensors.

    The walk sums a gradient of the broadcast shape to the shape of the input, and casts it to the dtype.

    Examples
    --------
    >>> import minidl
    >>> class Cube(minidl.Function):
    ...     def forward(self, x):
    ...         self.save_for_backward(x)
    ...         return x ** 3
    ...     def backward(self, grad):
    ...         x, = self.saved_tensors
    ...         return grad * 3 * x ** 2
    >>> x = minidl.tensor(2.0, requires_grad=True)
    >>> g, = minidl.grad(Cube.apply(x), x, create_graph=True)
    >>> minidl.grad(g, x)
    (tensor(12.),)
    """

    names: tuple[str, ...] = ("input", "other")  # of the inputs, in messages
    may_alias: bool = False  # True if the output can be a view of the first input
    needs_input_grad: tuple[bool, ...] = ()  # for each input, True if its gradient is needed; known before forward runs
    _takes_tensors: bool = False
    _is_ours: bool = False
    _saved: Any = ()
    output_kinds: Sequence[tuple[Any, ...] | None] = (None,)  # (shape, dtype) of each output, None without a gradient
    _hooks: dict[int, Hooks] | None = None
    _not_differentiable: tuple[Any, ...] = ()
    options: dict[str, Any]  # the keyword arguments of `apply`, for an observer
    order: int  # age: a node is younger than those that it was computed from

    def __init_subclass__(cls, **options: Any) -> None:
        """Make PyTorch's static ``forward(ctx, ...)`` a method, whose ``self`` is the context."""
        super().__init_subclass__(**options)
        cls._is_ours = cls.__module__.startswith("minidl.")
        for name in ("forward", "backward"):
            method = cls.__dict__.get(name)
            if isinstance(method, staticmethod):
                setattr(cls, name, method.__func__)
            if name == "forward" and method is not None:
                cls._takes_tensors = isinstance(method, staticmethod)

    def forward(self, *arrays: Any, **options: Any) -> Any:
        """The operation on arrays."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def backward(self, *grads: Any, **_: Any) -> Any:
        """The gradients with respect to the inputs, from those with respect to the outputs, as Tensors."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward(): it cannot be differentiated")

    @property
    def name(self) -> str:
        """The name of the operation in messages and pictures."""
        return type(self).__name__

    @property
    def hooks(self) -> dict[int, Hooks]:
        """Hooks by the index of the output."""
        if self._hooks is None:
            self._hooks = {}
        return self._hooks

    def save_for_backward(self, *arrays: Any) -> None:
        """Keep inputs, outputs or other arrays of the forward for the backward."""
        self._saved = arrays

    def save_factors(self, a: Any, b: Any) -> None:
        """Keep each factor of a product, the first two inputs, only if the gradient of the other one needs it."""
        needs = self.needs_input_grad
        self._saved = (a if needs[1] else None, b if needs[0] else None)

    def mark_non_differentiable(self, *arrays: Any) -> None:
        """Exclude outputs of the forward, such as an argmax, from differentiation."""
        self._not_differentiable = arrays

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Run ``forward`` on the arrays of `inputs` and record the call if a gradient is needed.

        Arguments that are not Tensors reach ``forward`` as they are.
        """
        node, recording = cls(), _state.grad_enabled
        arrays, needs = [], []
        for x in inputs:
            is_tensor = isinstance(x, Tensor)
            arrays.append(x._data if is_tensor else x)
            needs.append(is_tensor and recording and x._requires_grad)
        if len(arrays) > 1:
            _check_pairs(inputs, arrays)
        node.needs_input_grad = tuple(needs)
        result = node._run(inputs, arrays, options)
        many = type(result) is tuple
        outputs = [_output(y, inputs, arrays) for y in result] if many else [_output(result, inputs, arrays)]
        if cls.may_alias:
            _link_versions(inputs[0], outputs)
        if True in needs:
            node._record(inputs, result if many else (result,), outputs)
        if observers and (observer := the_observer()):
            node.options = options
            observer.forward(node, inputs, outputs)
        return tuple(outputs) if many else outputs[0]

    def _run(self, inputs, arrays, options):
        """The result of ``forward``; a user's own runs as it is, the engine's without NumPy's warnings and words."""
        if self._takes_tensors:
            return self._forward_tensors(inputs, options)
        if not self._is_ours:
            return self.forward(*arrays, **options)
        try:
            return quiet().run(self.forward, *arrays, **options)
        except (TypeError, ValueError, OverflowError, MemoryError) as error:
            explain(error, arrays, self.names)
            raise

    def _forward_tensors(self, inputs, options):
        """Run a forward in PyTorch's spelling, which takes, returns and saves Tensors."""
        with no_grad():
            result = self.forward(*inputs, **options)
        self._saved, self._not_differentiable = map(_arrays, (self._saved, self._not_differentiable))
        return _arrays(result) if isinstance(result, (tuple, list)) else _arrays([result])[0]

    def _record(self, inputs, results, outputs):
        self.order = next(_order)
        self._edges = []
        for x, need in zip(inputs, self.needs_input_grad):
            self._edges.append(fields_of_edge(x) if need else None)
        excluded = self._not_differentiable
        for index, out in enumerate(outputs):
            if out._data.dtype.kind in "fc" and not (excluded and _is_one_of(results[index], excluded)):
                out._requires_grad, out.node, out.index = True, self, index
        if len(outputs) > 1:
            self.output_kinds = [(y._data.shape, y._data.dtype) if y._requires_grad else None for y in outputs]
        if self._saved:
            self._saved = [_saved(array, inputs, results, outputs) for array in self._saved]
        if excluded:
            self._not_differentiable = ()

    @property
    def edges(self) -> list[Edge | None]:
        """For each input, the :class:`Edge` that its gradient follows, or None if it needs none."""
        return [None if fields is None else Edge._make(fields) for fields in self._edges]

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The saved arrays as Tensors in their place in the graph; an error if one was changed since, or freed."""
        saved = self._saved  # read once: another thread may free it
        if saved is _FREED:
            raise RuntimeError(
                f"{self.name}: the graph was freed by an earlier backward; "
                "pass retain_graph=True to the first one to walk it twice"
            )
        return tuple([self._restored(*entry) for entry in saved])

    def _restored(self, value, node, index, version, changes):
        """The Tensor of one `SavedArray`."""
        if version is None:
            return value
        if version.changes != changes:
            raise RuntimeError(
                f"{self.name}: a tensor of shape {value.shape} that was saved for backward has been changed "
                f"in place since (version {version.changes}, saved at {changes}); clone it before the change"
            )
        if isinstance(value, Tensor):
            return value
        out = _wrap(value)
        if index is not None and _state.grad_enabled:
            out._requires_grad, out.index, out._shared_version = True, index, version
            out.node = self if node is None else node
        return out

    def keep_copy_of(self, tensor: Tensor) -> None:
        """Copy what was saved of `tensor`, which is about to be overwritten by this node's own output (``x *= y``)."""
        version = tensor._version_record()
        self._saved = [
            one._replace(value=one.value.copy(), version=Version(), changes=0) if one.version is version else one
            for one in map(SavedArray._make, self._saved)
        ]

    def release(self) -> None:
        """Free the saved arrays; the walk calls it unless the graph is retained."""
        if self._saved:
            self._saved = _FREED


def _arrays(values):
    return tuple([x._data if isinstance(x, Tensor) else x for x in values])


def _is_one_of(array, arrays):
    return any(array is other for other in arrays)


def _check_pairs(inputs, arrays):
    """One device for all inputs, and one array object per tensor: `save_for_backward` goes by identity."""
    if len(arrays) == 2 and type(arrays[0]) is type(arrays[1]) and arrays[0] is not arrays[1]:
        return  # the common case, at once
    tensors = [i for i, x in enumerate(inputs) if isinstance(x, Tensor)]
    for k, i in enumerate(tensors):
        if type(arrays[i]) is not type(arrays[tensors[0]]):
            backend.check_same_device((f"input {tensors[0]}", arrays[tensors[0]]), (f"input {i}", arrays[i]))
        for j in tensors[:k]:
            if arrays[i] is arrays[j] and inputs[i] is not inputs[j]:
                inputs[i]._data = arrays[i] = arrays[i].view()


def _output(array, inputs, arrays):
    """Wrap what a forward returned; an input that it returned as it is becomes a view of it."""
    for given in arrays:
        if array is given:
            return _alias(next(x for x, a in zip(inputs, arrays) if a is array))
    return _wrap(np.asarray(array) if isinstance(array, _NUMBER) else array)


def _alias(x):
    out = _wrap(x._data.view())
    _link_versions(x, [out])
    return out


def _saved(array, inputs, results, outputs):
    """The fields of the `SavedArray` that leads an array back to its tensor."""
    for x in inputs:
        if isinstance(x, Tensor) and x._data is array:
            version = x._shared_version or x._version_record()
            if x.node is None:
                return x if x._requires_grad else array, None, None, version, version.changes
            return array, x.node, x.index, version, version.changes
    for index, (result, out) in enumerate(zip(results, outputs)):
        if result is array:
            version = out._version_record()
            return out._data, None, index if out._requires_grad else None, version, version.changes
    return _wrap(array) if backend.is_array(array) else array, None, None, None, 0


def _link_versions(base, outputs):
    """Make a view and its base share their version."""
    version = base._version_record()
    version.has_views = True
    for out in outputs:
        out._shared_version, out._is_view = version, True
