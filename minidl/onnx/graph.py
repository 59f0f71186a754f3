"""A graph of ONNX nodes as it is built: named values, constants as arrays; and two rewrites of it.

`fold_norms` moves each batch normalisation into the convolution before it, `join_biases`
an added vector into the matrix product before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend
from minidl.backend import Array

if TYPE_CHECKING:
    from minidl.nn.module import Module


@dataclass
class Node:
    """One ONNX node with one output, which is called like the node unless the node has a label."""

    kind: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any] = field(default_factory=dict)
    label: str = ""


class Graph:
    """Nodes in order of execution, and constants by name.

    Parameters
    ----------
    model : Module
        Whose parameters and buffers keep their names.
    """

    nodes: list[Any]
    constants: dict[str, Array]
    names: set[str]

    def __init__(self, model: Module) -> None:
        self.nodes, self.constants, self.names = [], {}, {"images", "logits"}
        self.result: str | None = None  # the name of the network's output
        state = [*model.named_parameters(), *model.named_buffers()]
        self.arrays: dict[int, Array] = {id(tensor): backend.to_numpy(tensor.data) for _, tensor in state}
        self.state_names: dict[int, str] = {id(self.arrays[id(tensor)]): name for name, tensor in state}

    def array_of(self, tensor: Any) -> Any:
        """The values of a constant, the same array each time for a parameter."""
        return self.arrays.get(id(tensor), backend.to_numpy(tensor.data))

    def unique(self, name: str) -> str:
        """`name`, with a number if it is taken."""
        base, k = name, 1
        while name in self.names:
            k += 1
            name = f"{base}_{k}"
        self.names.add(name)
        return name

    def add(self, kind: Any, inputs: Any, layer: str, **attributes: Any) -> str:
        """Append a node; its output's name, which tells layer and kind. `inputs` are names, or arrays to keep."""
        names = [self.constant(x, f"{layer}.{kind}.constant") if isinstance(x, np.ndarray) else x for x in inputs]
        output = self.unique("/".join([*filter(None, layer.split(".")), kind]))
        self.nodes.append(Node(kind, names, output, attributes))
        return output

    def constant(self, array: Array, name: str) -> Any:
        """The name under which `array` is kept: a parameter's own, whichever node reads it."""
        own = self.state_names.get(id(array))
        if own in self.constants:
            return own
        name = self.unique(own or name.lstrip("."))
        self.constants[name] = np.asarray(array, order="C")
        return name

    def users(self, name: str) -> list[Any]:
        """The nodes that read the value called `name`."""
        return [node for node in self.nodes if name in node.inputs]

    def maker(self, name: str) -> Any:
        """The node that makes the value called `name`, or None."""
        return next((node for node in self.nodes if node.output == name), None)

    def without_leftovers(self) -> None:
        """Forget the constants that no node reads."""
        read = {name for node in self.nodes for name in node.inputs}
        self.constants = {name: array for name, array in self.constants.items() if name in read}

    def replace(self, node: Any, other: Any) -> None:
        """Take `node` out, whose readers read the output of `other` instead."""
        self.nodes.remove(node)
        self.result = other.output if self.result == node.output else self.result
        for user in self.users(node.output):
            user.inputs = [other.output if name == node.output else name for name in user.inputs]


def fold_norms(graph: Graph) -> None:
    """``scale * (w * x) + shift = (scale * w) * x + shift``: batch norms disappear into convolutions, in float64."""
    for node in [node for node in graph.nodes if node.kind == "BatchNormalization"]:
        conv = graph.maker(node.inputs[0])
        vectors = [graph.constants.get(name) for name in node.inputs[1:]]
        if conv is None or conv.kind != "Conv" or len(graph.users(conv.output)) > 1 or any(v is None for v in vectors):
            continue
        weight, *bias = [graph.constants.get(name) for name in conv.inputs[1:]]
        if weight is None or any(b is None for b in bias):
            continue
        gamma, beta, mean, var = (v.astype(np.float64) for v in vectors)
        scale = gamma / np.sqrt(var + node.attributes["epsilon"])
        shift = beta + scale * ((bias[0] if bias else 0.0) - mean)
        name = conv.inputs[1].removesuffix(".weight")
        folded = (weight * scale.reshape(-1, 1, 1, 1)).astype(weight.dtype), shift.astype(weight.dtype)
        conv.inputs[1:] = [
            graph.constant(a, f"{name}.{part}") for a, part in zip(folded, ("folded_weight", "folded_bias"))
        ]
        graph.replace(node, conv)
    graph.without_leftovers()


def join_biases(graph: Graph) -> None:
    """A constant vector that is added to a product of matrices becomes its bias, as a dense layer is shown."""
    for node in [node for node in graph.nodes if node.kind == "Add"]:
        product, bias = graph.maker(node.inputs[0]), graph.constants.get(node.inputs[1])
        is_bias = bias is not None and bias.ndim == 1 and product is not None and product.kind == "Gemm"
        if is_bias and len(product.inputs) == 2 and len(graph.users(product.output)) == 1:
            product.inputs.append(node.inputs[1])
            graph.replace(node, product)
