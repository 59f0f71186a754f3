"""A network as an ONNX file that other programs run: traced, put into ONNX's operators, checked.

The file holds the graph from ``images`` (N, C, H, W) to ``logits`` (N, classes) for any
N, with values named after layers, and as its metadata what the images must look like.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import minidl
from minidl.onnx.emit import emit
from minidl.onnx.graph import Graph, fold_norms, join_biases
from minidl.onnx.trace import trace

if TYPE_CHECKING:
    from minidl.nn.module import Module

OPSET, IR_VERSION = 17, 8  # of 2022: what programs in use can read


def export(
    model: Module, path: Path | str, image_shape: tuple[int, ...], *, fold: bool = True, metadata: Any = None
) -> Any:
    """Write `model` to an ONNX file.

    Parameters
    ----------
    model : Module
        Any that takes images and returns one Tensor by operations of minidl; it is
        traced in evaluation mode.
    path : path
    image_shape : (C, H, W)
        Of the images; their number stays open.
    fold : bool
        Move batch normalisation into the convolutions before it.
    metadata : dict of str to str, optional
        For the file's ``metadata_props``.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    TraceError
        An operation without an ONNX form, or a result that depends on more than operations; it is named.
    """
    proto = as_onnx(model, image_shape, fold, metadata)
    Path(path).write_bytes(proto.SerializeToString())
    return proto


def as_onnx(model: Module, image_shape: tuple[int, ...], fold: bool = True, metadata: Any = None) -> Any:
    """The ``onnx.ModelProto`` that `export` writes."""
    from onnx import checker, helper

    calls, result = trace(model, image_shape)
    graph = Graph(model)
    graph.result = emit(graph, calls)[result.call]
    if fold:
        fold_norms(graph)
    join_biases(graph)
    _name_result(graph, "logits")
    proto = helper.make_model(
        _body(graph, type(model).__name__, image_shape, result.tensor),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="minidl",
        producer_version=minidl.__version__,
    )
    helper.set_model_props(proto, {name: str(value) for name, value in (metadata or {}).items()})
    checker.check_model(proto, full_check=True)
    return proto


def _name_result(graph, name):
    """Call the network's output `name`; its node is called as before."""
    maker = graph.maker(graph.result)
    for user in graph.users(graph.result):
        user.inputs = [name if known == graph.result else known for known in user.inputs]
    maker.label, maker.output = maker.output, name


def _body(graph, name, image_shape, result):
    """The ``GraphProto``."""
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(result.dtype)
    nodes = [
        helper.make_node(node.kind, node.inputs, [node.output], name=node.label or node.output, **node.attributes)
        for node in graph.nodes
    ]
    images = helper.make_tensor_value_info("images", kind, ["N", *image_shape])
    logits = helper.make_tensor_value_info("logits", kind, ["N", *result.shape[1:]])
    constants = [numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    return helper.make_graph(nodes, name, [images], [logits], constants)
