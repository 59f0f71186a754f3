"""The cost of a network, layer by layer: parameters, multiply-adds, memory kept for the backward, time.

A layer is a child of the network, or, where that is a Sequential, a child of the child.
Blocks are timed as they run in training, fused where they can be, each on the input that
it gets from the layers before it.
"""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import minidl
from minidl import backend, nn
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.module import Module


@dataclass
class Row:
    """The cost of one layer.

    Attributes
    ----------
    name, kind : str
        Its path in the network, and its class.
    shape : tuple of int
        Of its output, batch first.
    sources : tuple of str
        The layers whose outputs it reads; empty for the image itself.
    parameters, multiply_adds : int
        The latter of the convolutions and linear layers, for one image, in prediction.
    kept : int
        Bytes that its graph holds until the backward and no layer before held, for the whole batch.
    forward, backward : float or None
        Seconds for the whole batch, the median of several runs.
    training_only : bool
        True if a prediction leaves it out, as it does auxiliary heads.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    parameters: int
    multiply_adds: int
    kept: int
    forward: float | None = None
    backward: float | None = None
    training_only: bool = False


def cost_of(model: Module, shape: tuple[int, ...], repeats: int = 0) -> list[Row]:
    """The cost of each layer of `model`, in the order in which the layers are called.

    Parameters
    ----------
    model : Module
        It is copied and left as it was, and so are the random streams.
    shape : tuple of int
        Of a batch of images, (N, C, H, W).
    repeats : int
        Number of times that each layer is timed; 0 for not at all.

    Returns
    -------
    list of Row

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    >>> [(row.name, row.shape, row.parameters, row.multiply_adds) for row in cost_of(net, (1, 3, 3, 3))]
    [('0', (1, 8, 1, 1), 224, 216), ('1', (1, 8, 1, 1), 0, 0), ('2', (1, 8), 0, 0), ('3', (1, 2), 18, 16)]
    """
    random = minidl.get_rng_state()
    model = copy.deepcopy(model)
    images = minidl.randn(*shape, device=next(model.parameters()).device)
    counts = nn.utils.count_multiply_adds(model, images[:1])
    predicted = _called_in_prediction(model, images[:1])
    calls = _Calls(model)
    calls.watch(lambda: model.train()(images))
    rows = []
    for call in calls.made:
        row = _row(call, counts, call.name not in predicted)
        if any(row.name == other.name for other in rows):  # called again: only its memory and time are new
            row.parameters = row.multiply_adds = 0
        if repeats:
            row.forward, row.backward = _times(call, repeats)
        rows.append(row)
    minidl.set_rng_state(random)
    return rows


def layers_of(model: Module) -> list[tuple[str, Module]]:
    """(name, module) of the layers, in the sense of this file."""
    layers = []
    for name, child in model.named_children():
        inner = type(child) is nn.Sequential and type(model) is not nn.Sequential
        layers += [(f"{name}.{key}", c) for key, c in child.named_children()] if inner else [(name, child)]
    return layers or [("", model)]


@dataclass
class _Call:
    """A layer, called once: what it was given and returned."""

    name: str
    module: object
    inputs: tuple[Any, ...]
    output: object
    sources: tuple[str, ...]
    kept: int


class _Calls:
    """The calls of a network's layers in one forward, with the memory that each leaves behind."""

    def __init__(self, model):
        self.layers = layers_of(model)
        self.made, self.maker = [], {}  # the name of the layer that made a tensor, by the tensor's identity
        self.seen = {id(_root(p.data)) for p in model.parameters()}
        self.nodes = set()

    def watch(self, forward):
        """Run `forward` and note every call."""
        once = {id(module): (name, module) for name, module in reversed(self.layers)}  # by the first of its names
        handles = [module.register_forward_hook(self._noting(name)) for name, module in once.values()]
        try:
            self.output = forward()  # held, so that no identity is given away twice
        finally:
            for handle in handles:
                handle.remove()

    def _noting(self, name):
        def hook(module, inputs, output):
            last = self.made[-1].name if self.made else None  # of a reshaped tensor the maker is not known
            found = [self.maker.get(id(x), last) for x in inputs]
            sources = tuple(source for source in found if source is not None)
            self.made.append(_Call(name, module, inputs, output, sources, self._kept(output)))
            self.maker[id(output)] = name

        return hook

    def _kept(self, output):
        """Bytes that the graph of `output` holds and the calls before did not."""
        total, todo = 0, [output.node]
        while todo:
            node = todo.pop()
            if node is None or id(node) in self.nodes:
                continue
            self.nodes.add(id(node))
            for array in _arrays_in(vars(node)):
                root = _root(array)
                if id(root) not in self.seen:
                    self.seen.add(id(root))
                    total += root.nbytes
            todo += [edge.node for edge in node.edges if edge is not None]
        return total


def _arrays_in(value):
    """Every array that a node holds, but for its edges' leaves."""
    if backend.is_array(value):
        yield value
    elif isinstance(value, Tensor):
        yield value.data
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "_edges":
                yield from _arrays_in(inner)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _arrays_in(inner)


def _root(array):
    """The array whose memory `array` is a view of."""
    while backend.is_array(getattr(array, "base", None)):
        array = array.base
    return array


def _called_in_prediction(model, image):
    calls = _Calls(model)
    with minidl.no_grad():
        handles = [module.register_forward_pre_hook(lambda m, x, name=name: calls.made.append(name))
                   for name, module in calls.layers]
        model.eval()(image)
    for handle in handles:
        handle.remove()
    return set(calls.made)


def _row(call, counts, training_only):
    below = (count for name, count in counts.items() if name == call.name or name.startswith(call.name + "."))
    parameters = nn.utils.count_parameters(call.module)
    return Row(call.name, type(call.module).__name__, tuple(call.output.shape), call.sources, parameters,
               sum(below), call.kept, training_only=training_only)


def _times(call, repeats):
    """Median seconds of forward and backward, after one turn in which kernels are compiled."""
    inputs = [x.detach().requires_grad_() for x in call.inputs]
    grad = minidl.ones_like(call.output)
    forward, backward = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        output = call.module(*inputs)
        middle = time.perf_counter()
        output.backward(grad)
        forward.append(middle - start)
        backward.append(time.perf_counter() - middle)
    return statistics.median(forward[1:]), statistics.median(backward[1:])
