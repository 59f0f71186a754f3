"""The backward walk: gradients flow from the youngest node to the oldest.

Let L be a number that was computed from x by way of y = f(x). The chain rule says

    dL/dx_j = sum over i of dL/dy_i * dy_i/dx_j,        in short        x' = J^T y',

where J, with J_ij = dy_i/dx_j, is the Jacobian of f. A prime means the gradient of L with respect to what it
stands at, here and in the whole package. No node builds J, which is as large as x times y: `Function.backward`
computes the product J^T y' alone, the vector-Jacobian product. Where x is used twice, by y and by z, L changes by
y'^T J_y dx + z'^T J_z dx, so x' is the sum of what arrives on both ways.

Age is a topological order, since a node is always younger than what it was computed from; so a heap of the nodes
at which gradients wait is all that the walk needs. ``.grad`` is written after the whole walk, so an error half-way
leaves it as it was. This file knows tensors by their attributes only, so that the
file of Tensor can import it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minidl import backend
from minidl.tensor.accumulation import LARGE, accumulate
from minidl.tensor.assignment import Assigned, as_array
from minidl.tensor.hooks import run_hooks
from minidl.tensor.mode import _state, is_grad_enabled
from minidl.tensor.observer import observers, the_observer
from minidl.tensor.records import fields_of_edge

if TYPE_CHECKING:
    from minidl.tensor.core import Tensor


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor, ...]:
    """Gradients of `outputs` with respect to `inputs`, without touching any ``.grad``.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensor
    grad_outputs : Tensor or sequence, optional
        Upstream gradients; may be omitted for one-element outputs.
    retain_graph, create_graph : bool
        As in `Tensor.backward`.
    allow_unused : bool
        Return None for an input that the outputs do not depend on, instead of raising.
    materialize_grads : bool
        Return zeros instead of that None.

    Returns
    -------
    tuple of Tensor

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor(3.0, requires_grad=True)
    >>> dy, = minidl.grad(x * x * x, x, create_graph=True)
    >>> minidl.grad(dy, x)
    (tensor(18.),)
    """
    outputs, inputs = _as_tuple(outputs), _as_tuple(inputs)
    grad_outputs = (None,) * len(outputs) if grad_outputs is None else _as_tuple(grad_outputs)
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"`grad_outputs` has {len(grad_outputs)} entries for {len(outputs)} outputs")
    found = _walk(outputs, grad_outputs, inputs, retain_graph, create_graph)
    result = [found[id(x)][1] for x in inputs]
    for position, gradient in enumerate(result):
        if gradient is None and materialize_grads:
            result[position] = _zeros(inputs[position])
        elif gradient is None and not allow_unused:
            raise RuntimeError(
                f"`inputs[{position}]` of shape {inputs[position].shape} is not part of the graph of `outputs`; "
                "allow_unused=True returns None for it"
            )
    return tuple(result)


def backward(output: Tensor, gradient: Any, retain_graph: bool | None, create_graph: bool, inputs: Any) -> None:
    """`Tensor.backward`: add the gradient of `output` to ``.grad`` of its leaves, or of `inputs`."""
    targets = None if inputs is None else _as_tuple(inputs)
    found = _walk([output], [gradient], targets, retain_graph, create_graph)
    for tensor, gradient in found.values():
        if gradient is not None:
            accumulate(tensor, gradient, create_graph)


def _walk(outputs, grad_outputs, targets, retain_graph, create_graph):
    """Walk the graph back from `outputs`; {id: (tensor, gradient)} of the targets, or of all leaves if None."""
    walk = _Walk(targets)
    for output, gradient in zip(outputs, grad_outputs):
        walk.start(output, gradient)
    retain_graph = create_graph if retain_graph is None else retain_graph
    before = _state.grad_enabled, _state.walking
    _state.grad_enabled, _state.walking = create_graph, True
    try:
        walk.run(retain_graph)
    finally:
        _state.grad_enabled, _state.walking = before  # no call is made here, in which Ctrl-C could come first
    return walk.found


class _Walk:
    """One backward pass: the gradients that wait at nodes, and those that have arrived."""

    def __init__(self, targets):
        self.found = {}
        self.heap = []
        self.waiting = {}  # node -> gradients of its outputs, None where none arrived yet
        self.leaf_only = targets is None
        self.wanted = {}  # (id of node, output index) -> tensors whose gradient is a target
        self.targets = targets or ()
        self.useful = None
        self.output = None  # one of the tensors that the walk begins at
        for x in self.targets:
            if not x.requires_grad:
                raise RuntimeError(f"a gradient was asked for a tensor of shape {x.shape} that does not require grad")
            self.found[id(x)] = (x, None)
            if x.node is not None:
                self.wanted.setdefault((id(x.node), x.index), []).append(x)

    def start(self, output, gradient):
        """Put the upstream gradient at `output`."""
        if not output.requires_grad:
            raise RuntimeError(f"backward from a tensor of shape {output.shape} that does not require grad")
        if gradient is None:
            if output.data.size != 1:
                raise RuntimeError(f"`gradient` may be left out for one-element tensors only, found {output.shape}")
            gradient = backend.array_module(output.data).ones_like(output.data)
        gradient = gradient if isinstance(gradient, Assigned) else _as_tensor(gradient, output)
        backend.check_same_device(("the tensor", output.data), ("gradient", gradient.data))
        if gradient.shape != output.shape:
            raise ValueError(f"`gradient` has shape {gradient.shape} but the tensor has {output.shape}")
        self.output = output
        self.deliver(fields_of_edge(output), gradient)

    def deliver(self, edge, gradient):
        """Add `gradient` to the sum that waits at the node or leaf of `edge`."""
        node, index, leaf, shape, dtype = edge
        array = gradient._data
        if array.shape != shape:
            gradient = gradient.sum_to_size(shape)
        if array.dtype is not dtype and array.dtype != dtype:
            gradient = gradient.to(dtype)
        if node is None:
            known = self.found.get(id(leaf))
            if known is not None or self.leaf_only:
                self.found[id(leaf)] = leaf, gradient if not known or known[1] is None else _sum(known[1], gradient)
            return
        slots = self.waiting.get(node)
        if slots is None:
            slots = self.waiting[node] = [None] * len(node.output_kinds)
            heapq.heappush(self.heap, (-node.order, node))
        slots[index] = gradient if slots[index] is None else _sum(slots[index], gradient)

    def run(self, retain_graph):
        """Visit the nodes, youngest first."""
        if not self.leaf_only:
            self.useful = _useful_nodes([node for _, node in self.heap], self.targets)
        while self.heap:
            node = heapq.heappop(self.heap)[1]
            self.visit(node, self.waiting.pop(node), retain_graph)
        for key, (leaf, gradient) in self.found.items():
            if leaf._hooks and gradient is not None:
                self.found[key] = (leaf, run_hooks(leaf._hooks, gradient))

    def visit(self, node, grads, retain_graph):
        if node._hooks:
            for index, hooks in node._hooks.items():
                if grads[index] is not None:
                    grads[index] = run_hooks(hooks, grads[index])
        if self.wanted:
            for index, gradient in enumerate(grads):
                for x in self.wanted.get((id(node), index), ()):
                    self.found[id(x)] = (x, gradient)
        if self.useful is not None and node not in self.useful:
            return
        if len(grads) > 1:
            grads = _fill(grads, node.output_kinds)
        results = node.backward(*grads)
        if observers and (observer := the_observer()):
            observer.backward(node, grads, results)
        if not retain_graph:
            node.release()
        results, edges = results if type(results) is tuple else (results,), node._edges
        if len(results) != len(edges):
            raise RuntimeError(f"{node.name}.backward returned {len(results)} gradients for {len(edges)} inputs")
        del grads  # freed before the next ones are added
        for edge, gradient in zip(edges, results):
            if edge is not None and gradient is not None:
                self.deliver(edge, gradient if isinstance(gradient, Assigned) else _as_tensor(gradient, self.output))


def _useful_nodes(roots, targets):
    """The nodes from which a target can be reached; nodes older than all targets are not searched."""
    target_ids = {id(x) for x in targets if x.node is None}
    target_nodes = {x.node for x in targets if x.node is not None}
    oldest = -1 if target_ids else min(node.order for node in target_nodes)
    seen, stack = set(roots), list(roots)
    while stack:
        for node, *_ in filter(None, stack.pop()._edges):
            if node is not None and node not in seen and node.order >= oldest:
                seen.add(node)
                stack.append(node)
    useful = set()
    for node in sorted(seen, key=lambda n: n.order):
        edges = filter(None, node._edges)
        if any(above in useful or above in target_nodes or id(leaf) in target_ids for above, _, leaf, *_ in edges):
            useful.add(node)
    return useful


def _fill(grads, kinds):
    """Zeros for the outputs at which no gradient arrived; None for those that have none."""
    given = next(g for g in grads if g is not None)
    return [_zeros(given, *kind) if g is None and kind else g for g, kind in zip(grads, kinds)]


def _sum(a, b):
    """The sum of two gradients of one tensor; without the cost of an operation where no graph is wanted."""
    if _state.grad_enabled:
        return a + b
    x = a._data  # a large sum goes to memory used before: the system zeroes pages of new memory at their first touch
    out = backend.in_order_of(x, x.shape) if x.nbytes >= LARGE and 0 not in x.strides else None
    return _as_tensor(backend.array_module(x).add(x, b._data, out=out), a)


def _zeros(like, shape=None, dtype=None):
    shape, dtype = like.shape if shape is None else shape, dtype or like._data.dtype
    return like._around(backend.array_module(like._data).zeros(shape, dtype))


def _as_tensor(value, like):
    return like._around(as_array(value))


def _as_tuple(value):
    return (value,) if isinstance(value, Assigned) else tuple(value)
