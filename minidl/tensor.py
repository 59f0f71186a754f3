"""Reverse-mode automatic differentiation: `Tensor`, `Function` and the backward walk.

A :class:`Tensor` is an array with a memory of where it came from. A :class:`Function`
is one operation; each call of it makes one node of the graph, which points at the
nodes of its inputs. :func:`grad` and :meth:`Tensor.backward` walk the nodes from the
newest to the oldest, which is a topological order, since a node is always younger
than what it was computed from.

Backward rules are written with Tensor operations, so a gradient can itself be
differentiated, to any order (``create_graph=True``). This file knows no operation:
``minidl/ops`` gives Tensor its operators and methods when it is imported.

References: A. Griewank and A. Walther, *Evaluating Derivatives*, SIAM 2008, chapter 3;
A. Paszke et al., "Automatic differentiation in PyTorch", 2017.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import sys
import threading
import weakref

import numpy as np

from minidl import backend

# ---------------------------------------------------------------- grad mode


class _State(threading.local):
    grad_enabled = True


_state = _State()


class set_grad_enabled(contextlib.ContextDecorator):
    """Context manager (or decorator): record the graph inside, or do not.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([1.0, 2.0], requires_grad=True)
    >>> with minidl.set_grad_enabled(False):
    ...     (x * 2).requires_grad
    False
    """

    def __init__(self, mode):
        self.mode = bool(mode)
        self.before = []

    def __enter__(self):
        self.before.append(_state.grad_enabled)
        _state.grad_enabled = self.mode
        return self

    def __exit__(self, *exception):
        _state.grad_enabled = self.before.pop()


def no_grad():
    """Context manager or decorator under which no graph is recorded."""
    return set_grad_enabled(False)


def enable_grad():
    """Context manager or decorator under which the graph is recorded again."""
    return set_grad_enabled(True)


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return _state.grad_enabled


# ---------------------------------------------------------------- Tensor


class Tensor:
    """An n-dimensional array that can be differentiated with respect to.

    Parameters
    ----------
    data : array, Tensor, number or nested list
        An array is used as it is, not copied. Python floats become float32.
    requires_grad : bool
        Whether gradients are to be computed for this tensor.

    Attributes
    ----------
    data : array
        The values: a NumPy or CuPy array.
    grad : Tensor or None
        What :meth:`backward` has summed up so far; same shape as `data`.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4., 6.])
    """

    # NumPy must leave `array * tensor` to Tensor.__rmul__.
    __array_ufunc__ = None

    requires_grad = False
    grad = None
    node = None  # the Function that computed this tensor; None for a leaf
    index = 0  # which output of `node` it is
    _version_cell = None  # [changes, has views], shared by a tensor, its views and its detached twins
    _is_view = False
    _hooks = None
    _grad_buffer = None

    def __init__(self, data, requires_grad=False):
        self.data = _as_array(data)
        if requires_grad:
            self.requires_grad_()

    # -- description

    @property
    def shape(self):
        """Lengths of the axes, a tuple of ints."""
        return self.data.shape

    @property
    def ndim(self):
        """Number of axes."""
        return self.data.ndim

    @property
    def dtype(self):
        """Type of the elements, a NumPy dtype."""
        return self.data.dtype

    @property
    def device(self):
        """Name of the device that holds the data: ``"cpu"`` or ``"cuda"``."""
        return backend.device_of(self.data)

    @property
    def is_leaf(self):
        """Whether this tensor was not computed by a recorded operation."""
        return self.node is None

    @property
    def grad_fn(self):
        """The node of the graph that computed this tensor (PyTorch's name for `node`)."""
        return self.node

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __bool__(self):
        return bool(self.item())

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        return self.data.__index__()

    def __format__(self, spec):
        return format(self.item() if self.ndim == 0 else str(self), spec)

    def __repr__(self):
        values = np.array2string(backend.to_numpy(self.data), separator=", ", prefix="tensor(", precision=4)
        notes = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        notes += "" if self.device == "cpu" else f", device='{self.device}'"
        if self.node is not None:
            notes += f", grad_fn=<{self.node.name}>"
        elif self.requires_grad:
            notes += ", requires_grad=True"
        return f"tensor({values}{notes})"

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError("a tensor that requires grad is not turned into an array silently; use .detach().numpy()")
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    # -- leaving the graph, other devices and types

    def item(self):
        """The value of a one-element tensor as a Python number (waits for the device)."""
        if self.data.size != 1:
            raise ValueError(f"item() takes a tensor of one element, found shape {self.shape}")
        return backend.to_numpy(self.data).item()

    def numpy(self):
        """The values as a NumPy array; shares memory on the CPU."""
        if self.requires_grad:
            raise RuntimeError("numpy() of a tensor that requires grad; use .detach().numpy()")
        return backend.to_numpy(self.data)

    def tolist(self):
        """The values as (nested) Python lists."""
        return backend.to_numpy(self.data).tolist()

    def detach(self):
        """The same memory as a new tensor outside the graph."""
        twin = _wrap(self.data.view())
        twin._version_cell = self._cell()
        return twin

    def requires_grad_(self, requires_grad=True):
        """Say whether gradients are wanted for this leaf; returns the tensor itself."""
        if self.node is not None and not requires_grad:
            raise RuntimeError("requires_grad can be switched off for leaves only; use detach()")
        if requires_grad and self.dtype.kind not in "fc":
            raise TypeError(f"`requires_grad` needs a floating-point tensor, found dtype {self.dtype}")
        self.requires_grad = bool(requires_grad)
        return self

    # -- the graph

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        """Add the gradient of this tensor to ``.grad`` of every leaf it was computed from.

        Parameters
        ----------
        gradient : Tensor, optional
            The upstream gradient, shaped like this tensor; 1 for a one-element tensor.
        retain_graph : bool, optional
            Keep what was saved for the backward, for another walk. Default `create_graph`.
        create_graph : bool
            Record the walk itself, so that the gradients can be differentiated.
        inputs : sequence of Tensor, optional
            Add to ``.grad`` of these tensors only.

        Raises
        ------
        RuntimeError
            If the tensor is not part of a graph, has more than one element and no
            `gradient`, or the graph was freed by an earlier walk.
        """
        targets = None if inputs is None else _as_tuple(inputs)
        found = _walk([self], [gradient], targets, retain_graph, create_graph)
        for tensor, gradient in found.values():
            if gradient is not None:
                tensor._accumulate(gradient, create_graph)

    def register_hook(self, hook):
        """Call ``hook(grad)`` whenever this tensor's gradient is computed; a returned tensor replaces it.

        Returns an object whose ``remove()`` takes the hook off again.
        """
        if not self.requires_grad:
            raise RuntimeError("register_hook() needs a tensor that requires grad")
        if self.node is not None:
            hooks = self.node.hooks.setdefault(self.index, {})
        else:
            if self._hooks is None:
                self._hooks = {}
            hooks = self._hooks
        return HookHandle(hooks, hook)

    def retain_grad(self):
        """Keep ``.grad`` of this tensor although it is not a leaf."""
        if self.node is None:
            return
        me = weakref.ref(self)  # the node must not own its output: that would be a cycle

        def keep(gradient):
            tensor = me()
            if tensor is not None:
                tensor._accumulate(gradient, gradient.requires_grad)

        self.register_hook(keep)

    def _accumulate(self, gradient, create_graph):
        if create_graph:
            self.grad = gradient if self.grad is None else self.grad + gradient
        elif self.grad is None:
            self.grad = _wrap(self._own_copy(gradient.data))
        else:
            self.grad.data += gradient.data
            self.grad.bump_version()

    def _own_copy(self, array):
        """`array` in this tensor's own gradient buffer, whose address stays while nobody else holds it."""
        buffer = self._grad_buffer
        # Three references: the attribute, the local name, getrefcount's argument.
        if buffer is None or sys.getrefcount(buffer) > 3 or buffer.dtype != array.dtype:
            self._grad_buffer = buffer = backend.array_module(array).empty_like(array)
        buffer[...] = array
        return buffer

    # -- changes in place

    def _cell(self):
        if self._version_cell is None:
            self._version_cell = [0, False]
        return self._version_cell

    @property
    def _version(self):
        cell = self._version_cell
        return 0 if cell is None else cell[0]

    def bump_version(self):
        """Tell the graph that the values were changed in place (see `Function.saved_tensors`)."""
        self._cell()[0] += 1

    def become(self, result):
        """Overwrite the values with those of `result` and take its place in the graph.

        All in-place operators end here: ``x += y`` is ``x.become(x + y)``. A leaf that
        requires grad, a view, or a tensor with views in the graph is refused, since
        their history could not be kept right.
        """
        if _state.grad_enabled and (self.requires_grad or result.requires_grad):
            if self.node is None and self.requires_grad:
                raise RuntimeError("a leaf that requires grad is changed in place; do it under no_grad()")
            if self._is_view or self._cell()[1]:
                raise RuntimeError("a tensor that shares memory with a view is changed in place; use a new tensor")
        if result.shape != self.shape:
            raise ValueError(f"an in-place change cannot turn shape {self.shape} into {result.shape}")
        self.data[...] = result.data
        self.bump_version()
        if result.requires_grad:
            self.node, self.index, self.requires_grad = result.node, result.index, True
        return self


class HookHandle:
    """What `register_hook` returns: ``remove()`` takes the hook off."""

    numbers = itertools.count()

    def __init__(self, hooks, hook):
        self.hooks = hooks
        self.number = next(self.numbers)
        hooks[self.number] = hook

    def remove(self):
        """Take the hook off; doing it twice does no harm."""
        self.hooks.pop(self.number, None)


def tensor(data, dtype=None, device="cpu", requires_grad=False):
    """A new leaf tensor with a copy of `data` (PyTorch's ``torch.tensor``).

    Examples
    --------
    >>> import minidl
    >>> minidl.tensor([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    array = _as_array(data)
    array = array.copy() if dtype is None else array.astype(dtype)
    return Tensor(backend.to_device(array, device), requires_grad)


def _as_array(data):
    if isinstance(data, Tensor):
        return data.data
    if isinstance(data, np.generic):
        return np.asarray(data)
    if backend.is_array(data):
        return data
    array = np.asarray(data)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"`data` must be numbers, found {type(data).__name__} of dtype {array.dtype}")
    # Python numbers carry no precision of their own: float32, as in PyTorch.
    return array.astype(np.float32) if array.dtype == np.float64 and not hasattr(data, "dtype") else array


def _wrap(array):
    """A Tensor around an array known to be one: `Tensor.__init__` without the questions."""
    out = Tensor.__new__(Tensor)
    out.data = array
    return out


# ---------------------------------------------------------------- Function

_order = itertools.count()
_FREED = object()
observer = None  # an object with forward(node, inputs, outputs) and backward(node, grads), see detect_anomaly


def set_observer(new):
    """Have every operation reported to `new` (None: to nobody); returns the observer before."""
    global observer
    before, observer = observer, new
    return before


class Function:
    """One differentiable operation; an instance is one call of it, a node of the graph.

    Subclasses define ``forward``, which takes and returns arrays, and ``backward``,
    which takes the gradients of the outputs as Tensors and returns one gradient per
    input (or None), computed with Tensor operations. PyTorch's spelling with
    ``@staticmethod`` and ``ctx`` works too: the instance is the context.

    A gradient that came out in the broadcast shape is summed to the input's shape, and
    cast to its dtype, by the walk.

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

    may_alias = False  # whether the output can be a view of the first input
    needs_input_grad = ()
    _saved = ()
    _hooks = None
    _not_differentiable = ()

    def forward(self, *arrays, **options):
        """The operation on arrays."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def backward(self, *grads):
        """Gradients of the inputs from the gradients of the outputs, on Tensors."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward(): it cannot be differentiated")

    @property
    def name(self):
        """The operation's name as it is shown to people."""
        return type(self).__name__

    @property
    def hooks(self):
        """Hooks by the index of the output."""
        if self._hooks is None:
            self._hooks = {}
        return self._hooks

    def save_for_backward(self, *arrays):
        """Keep inputs, outputs or other arrays of the forward for the backward."""
        self._saved = arrays

    def mark_non_differentiable(self, *arrays):
        """Outputs of the forward that have no gradient (an argmax, say)."""
        self._not_differentiable = arrays

    @classmethod
    def apply(cls, *inputs, **options):
        """Run ``forward`` on the arrays of `inputs` and record the call if a gradient is wanted.

        Arguments that are not Tensors reach ``forward`` as they are.
        """
        node = cls()
        arrays = [x.data if isinstance(x, Tensor) else x for x in inputs]
        if len(arrays) > 1:
            _check_pairs(inputs, arrays)
        result = node.forward(*arrays, **options)
        many = type(result) is tuple
        outputs = [_output(array) for array in result] if many else [_output(result)]
        if cls.may_alias:
            _link_versions(inputs[0], outputs)
        if _state.grad_enabled:
            needs = tuple([isinstance(x, Tensor) and x.requires_grad for x in inputs])
            if True in needs:
                node._record(inputs, needs, outputs)
        if observer is not None:
            observer.forward(node, inputs, outputs)
        return tuple(outputs) if many else outputs[0]

    def _record(self, inputs, needs, outputs):
        self.order = next(_order)
        self.needs_input_grad = needs
        self.edges = tuple([_edge(x) if need else None for x, need in zip(inputs, needs)])
        self.output_kinds = [(t.data.shape, t.data.dtype) for t in outputs]
        if self._saved:
            self._saved = tuple([_bind(array, inputs, outputs) for array in self._saved])
        for index, out in enumerate(outputs):
            if out.data.dtype.kind in "fc" and not any(out.data is a for a in self._not_differentiable):
                out.requires_grad, out.node, out.index = True, self, index
        self._not_differentiable = ()

    @property
    def saved_tensors(self):
        """What was saved, as Tensors bound to the graph; an error if it was changed since or freed."""
        if self._saved is _FREED:
            raise RuntimeError(
                f"{self.name}: the graph was freed by an earlier backward; "
                "pass retain_graph=True to the first one to walk it twice"
            )
        return tuple([self._unbind(*entry) for entry in self._saved])

    def _unbind(self, value, source, cell, version):
        if cell is not None and cell[0] != version:
            raise RuntimeError(
                f"{self.name}: a tensor of shape {value.shape} that was saved for backward has been changed "
                f"in place since (version {cell[0]}, saved at {version}); clone it before the change"
            )
        if source is None:
            return value if isinstance(value, (Tensor, float, int)) else _wrap(value)
        out = _wrap(value)
        out.requires_grad, out.node, out.index = True, self, source
        return out

    def release(self):
        """Forget what was saved; the walk calls it unless the graph is retained."""
        if self._saved:
            self._saved = _FREED


def _check_pairs(inputs, arrays):
    """One device for all inputs, and one array object per tensor: `save_for_backward` goes by identity."""
    tensors = [i for i, x in enumerate(inputs) if isinstance(x, Tensor)]
    for k, i in enumerate(tensors):
        if type(arrays[i]) is not type(arrays[tensors[0]]):
            backend.check_same_device((f"input {tensors[0]}", arrays[tensors[0]]), (f"input {i}", arrays[i]))
        for j in tensors[:k]:
            if arrays[i] is arrays[j] and inputs[i] is not inputs[j]:
                inputs[i].data = arrays[i] = arrays[i].view()


def _output(array):
    """Wrap what a forward returned: NumPy turns 0-d results into scalars, which are made arrays again."""
    if isinstance(array, Tensor):
        array = array.data
    return _wrap(np.asarray(array) if isinstance(array, np.generic) else array)


def _edge(x):
    """Where the gradient of input `x` goes: a node's output, or the leaf itself."""
    shape, dtype = x.data.shape, x.data.dtype
    return (x.node, x.index, shape, dtype) if x.node is not None else (None, x, shape, dtype)


def _bind(array, inputs, outputs):
    """(value, output index, version cell, version): how a saved array finds its tensor again."""
    for x in inputs:
        if isinstance(x, Tensor) and x.data is array:
            cell = x._cell()
            return x, None, cell, cell[0]
    for index, out in enumerate(outputs):
        if out.data is array:
            cell = out._cell()
            return array, index, cell, cell[0]
    return array, None, None, 0


def _link_versions(base, outputs):
    """Let a view and its base count their changes together."""
    cell = base._cell()
    cell[1] = True
    for out in outputs:
        out._version_cell, out._is_view = cell, True


# ---------------------------------------------------------------- the walk


def grad(
    outputs,
    inputs,
    grad_outputs=None,
    retain_graph=None,
    create_graph=False,
    allow_unused=False,
    materialize_grads=False,
):
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
            result[position] = _zeros(inputs[position].data)
        elif gradient is None and not allow_unused:
            raise RuntimeError(
                f"`inputs[{position}]` of shape {inputs[position].shape} is not part of the graph of `outputs`; "
                "allow_unused=True returns None for it"
            )
    return tuple(result)


def _walk(outputs, grad_outputs, targets, retain_graph, create_graph):
    """Walk the graph back from `outputs`; {id: (tensor, gradient)} of the targets, or of all leaves if None."""
    walk = _Walk(targets)
    for output, gradient in zip(outputs, grad_outputs):
        walk.start(output, gradient)
    retain_graph = create_graph if retain_graph is None else retain_graph
    with set_grad_enabled(create_graph):
        walk.run(retain_graph)
    return walk.found


class _Walk:
    """One backward pass: gradients waiting at nodes, and those that have arrived."""

    def __init__(self, targets):
        self.found = {}
        self.heap = []
        self.waiting = {}  # node -> gradients of its outputs, None where none arrived yet
        self.leaf_only = targets is None
        self.wanted = {}  # (id of node, output index) -> tensors whose gradient is asked for
        self.targets = targets or ()
        self.useful = None
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
            gradient = _wrap(backend.array_module(output.data).ones_like(output.data))
        gradient = gradient if isinstance(gradient, Tensor) else Tensor(gradient)
        if gradient.shape != output.shape:
            raise ValueError(f"`gradient` has shape {gradient.shape} but the tensor has {output.shape}")
        self.deliver(_edge(output), gradient)

    def deliver(self, edge, gradient):
        """Add `gradient` to what waits at the node or leaf that `edge` names."""
        node, index, shape, dtype = edge
        if gradient.data.shape != shape:
            gradient = gradient.sum_to_size(shape)
        if gradient.data.dtype != dtype:
            gradient = gradient.to(dtype)
        if node is None:
            self.deliver_leaf(index, gradient)
            return
        slots = self.waiting.get(node)
        if slots is None:
            slots = self.waiting[node] = [None] * len(node.output_kinds)
            heapq.heappush(self.heap, (-node.order, node))
        slots[index] = gradient if slots[index] is None else slots[index] + gradient

    def deliver_leaf(self, leaf, gradient):
        known = self.found.get(id(leaf))
        if known is None and not self.leaf_only:
            return
        self.found[id(leaf)] = (leaf, gradient if known is None or known[1] is None else known[1] + gradient)

    def run(self, retain_graph):
        """Visit the nodes, youngest first."""
        if not self.leaf_only:
            self.useful = _useful_nodes([node for _, node in self.heap], self.targets)
        while self.heap:
            node = heapq.heappop(self.heap)[1]
            self.visit(node, self.waiting.pop(node), retain_graph)
        for key, (leaf, gradient) in self.found.items():
            if leaf._hooks and gradient is not None:
                self.found[key] = (leaf, _run_hooks(leaf._hooks, gradient))

    def visit(self, node, grads, retain_graph):
        if node._hooks:
            for index, hooks in node._hooks.items():
                if grads[index] is not None:
                    grads[index] = _run_hooks(hooks, grads[index])
        if self.wanted:
            for index, gradient in enumerate(grads):
                for x in self.wanted.get((id(node), index), ()):
                    self.found[id(x)] = (x, gradient)
        if self.useful is not None and node not in self.useful:
            return
        if any(g is None for g in grads):
            given = next(g for g in grads if g is not None)
            grads = [_zeros(given.data, *kind) if g is None else g for g, kind in zip(grads, node.output_kinds)]
        results = node.backward(*grads)
        if observer is not None:
            observer.backward(node, grads, results)
        if not retain_graph:
            node.release()
        results = results if type(results) is tuple else (results,)
        if len(results) != len(node.edges):
            raise RuntimeError(f"{node.name}.backward returned {len(results)} gradients for {len(node.edges)} inputs")
        del grads
        for edge, gradient in zip(node.edges, results):
            if edge is not None and gradient is not None:
                self.deliver(edge, gradient if isinstance(gradient, Tensor) else Tensor(gradient))


def _useful_nodes(roots, targets):
    """The nodes from which a target can be reached; nodes older than every target are not searched."""
    target_ids = {id(x) for x in targets if x.node is None}
    target_nodes = {x.node for x in targets if x.node is not None}
    oldest = -1 if target_ids else min(node.order for node in target_nodes)
    seen, stack = set(roots), list(roots)
    while stack:
        for node, *_ in filter(None, stack.pop().edges):
            if node is not None and node not in seen and node.order >= oldest:
                seen.add(node)
                stack.append(node)
    useful = set()
    for node in sorted(seen, key=lambda n: n.order):
        for edge in filter(None, node.edges):
            if edge[0] in useful or edge[0] in target_nodes or (edge[0] is None and id(edge[1]) in target_ids):
                useful.add(node)
                break
    return useful


def _run_hooks(hooks, gradient):
    for hook in list(hooks.values()):
        replaced = hook(gradient)
        if replaced is not None:
            gradient = replaced
    return gradient


def _zeros(like, shape=None, dtype=None):
    return _wrap(backend.array_module(like).zeros(like.shape if shape is None else shape, dtype or like.dtype))


def _as_tuple(value):
    return (value,) if isinstance(value, Tensor) else tuple(value)
