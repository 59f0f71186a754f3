"""minidl's folded network as an ONNX graph: one function per kind of layer, found in a table."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from minidl import nn
from minidl.checks import pair
from minidl.nn import inference

OPSET = 17


class Graph:
    """Nodes and constants as they are added; each `add` gives the name of its output."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def add(self, kind, inputs, **attributes):
        """A node; inputs are names, or arrays, which become constants."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def constant(self, array):
        """The name of a new constant."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def _sequence(graph, x, layer):
    for child in layer.children():
        x = emit(graph, x, child)
    return x


def _convolution(graph, x, layer):
    (top, bottom), (left, right) = layer.padding
    options = dict(pads=[top, left, bottom, right], strides=layer.stride, dilations=layer.dilation, group=layer.groups)
    y = graph.add("Conv", [x, layer.weight.data, layer.bias.data], **options)
    return graph.add("Relu", [y]) if layer.relu else y


def _branches(graph, x, layer):
    return graph.add("Concat", [emit(graph, x, branch) for branch in layer.children()], axis=1)


def _pool(graph, x, layer):
    kernel, stride, padding = (pair(value, "option") for value in (layer.kernel_size, layer.stride, layer.padding))
    options = dict(kernel_shape=kernel, strides=stride, pads=[*padding] * 2)
    return graph.add("MaxPool", [x], ceil_mode=int(layer.ceil_mode), **options)


def _mean(graph, x, layer):
    return graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])


def _linear(graph, x, layer):
    return graph.add("Gemm", [x, layer.weight.data, layer.bias.data], transB=1)


EMITTERS = {
    inference.Predictor: _sequence,
    inference.FoldedConv: _convolution,
    nn.MaxPool2d: _pool,
    nn.Sequential: _sequence,
    nn.AdaptiveAvgPool2d: _mean,  # to 1x1, with the `flatten` behind it
    nn.Dropout: lambda graph, x, layer: x,
    nn.Linear: _linear,
}


def emit(graph, x, layer):
    """Add a layer; a network without a row in the table is its children in order, as GoogLeNet is."""
    emitter = _branches if isinstance(layer, nn.Branches) else EMITTERS.get(type(layer), _sequence)
    return emitter(graph, x, layer)


def model(folded, shape, outputs):
    """The bytes of an ONNX model of a folded network, for input of `shape` and so many `outputs` per image."""
    graph = Graph()
    output = emit(graph, "x", folded)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    result = [helper.make_tensor_value_info(output, TensorProto.FLOAT, [shape[0], outputs])]
    body = helper.make_graph(graph.nodes, "network", inputs, result, graph.constants)
    whole = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(whole)
    return whole.SerializeToString()
