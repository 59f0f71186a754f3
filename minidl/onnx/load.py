"""ONNX files of other programs as networks of minidl.

A file is data from a stranger: nothing in it is run, no other file is read for it, every
size is checked before memory is taken, and what minidl lacks is named before anything
is computed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.nn import Module, Parameter
from minidl.onnx import elementwise, images, reductions, shapes
from minidl.onnx.shapes import MAX_SIZE, check_size
from minidl.tensor import Tensor

OPERATORS: dict[str, Callable[..., Any]] = (
    elementwise.OPERATORS | images.OPERATORS | shapes.OPERATORS | reductions.OPERATORS
)
MAX_BYTES = (1 << 31) - 1  # what protobuf takes
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
          "float64")  # fmt: skip


class OnnxError(ValueError):
    """A file that is no ONNX network, or one that minidl cannot run: one line."""


def cast(x: Tensor, to: Any, **attributes: Any) -> Tensor:
    """`x` in another type of NumPy."""
    return x.astype(_dtype(to, "`to`"))


def _dtype(number, name):
    """The NumPy type that ONNX has under a number."""
    from onnx import helper

    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(number)) if number else None
    if dtype is None or dtype.name not in DTYPES:
        raise OnnxError(f"{name} has type {dtype}; accepted: {', '.join(DTYPES)}")
    return dtype


ON_CONSTANTS = {"Cast": cast}  # what exporters do to lists of numbers


def load(path: Path | str) -> OnnxNetwork:
    """Read an image classifier, or another network of one input, from an ONNX file.

    Parameters
    ----------
    path : path

    Returns
    -------
    OnnxNetwork
        A `Module`: call it with a Tensor. ``metadata`` holds the file's ``metadata_props``.

    Raises
    ------
    OnnxError
        A broken file, operators that minidl lacks (all are named), weights kept in other
        files, or sizes that do not fit.
    """
    import onnx

    path = Path(path)
    if not path.is_file():
        raise OnnxError(f"{path}: there is no such file")
    if os.path.getsize(path) > MAX_BYTES:
        raise OnnxError(f"{path}: {os.path.getsize(path):,} bytes; accepted: at most {MAX_BYTES:,}")
    try:
        proto = onnx.load_model_from_string(path.read_bytes())
        return OnnxNetwork(proto)
    except OnnxError as error:
        raise OnnxError(f"{path}: {error}") from None
    except Exception as error:  # protobuf has errors of its own
        raise OnnxError(f"{path}: no ONNX network ({type(error).__name__}: {str(error)[:200]!r})") from None


class OnnxNetwork(Module):
    """The graph of an ``onnx.ModelProto``; floating-point constants are its parameters.

    Attributes
    ----------
    input_names, output_names : list of str
    metadata : dict of str to str
    """

    constants: dict[str, Any]
    steps: list[Any]
    input_names: list[str]
    output_names: list[str]

    def __init__(self, proto: Any) -> None:
        super().__init__()
        graph = proto.graph
        self.opset: int = _opset(proto)
        self.metadata: dict[str, str] = {prop.key: prop.value for prop in proto.metadata_props}
        self.constants, self.steps, self.input_names, self.output_names = {}, [], [], []
        for tensor in graph.initializer:
            self._keep(tensor.name, Tensor(array_of(tensor)))
        self.input_names = [value.name for value in graph.input if value.name not in self.constants]
        self.output_names = [value.name for value in graph.output]
        _check_graph(graph, {*self.constants, *self.input_names})
        for step in [Step(node, self.opset) for node in graph.node]:
            if step.is_constant(self.constants):
                step.run(self.constants)
            else:
                self.steps.append(step)
        self.training = False

    def _keep(self, name, tensor):
        """Keep a constant, as a parameter if it is something that could be trained."""
        if tensor.dtype.kind == "f" and tensor.ndim:
            tensor = Parameter(tensor)
            key = name.replace(".", "/") or "unnamed"
            while hasattr(self, key):
                key += "_"
            self.register_parameter(key, tensor)
        self.constants[name] = tensor

    def forward(self, *inputs: Any) -> Any:
        if len(inputs) != len(self.input_names):
            raise TypeError(f"{len(inputs)} inputs; accepted: {len(self.input_names)}, {', '.join(self.input_names)}")
        values = {**self.constants, **dict(zip(self.input_names, inputs))}
        for step in self.steps:
            step.run(values)
        results = tuple(values[name] for name in self.output_names)
        return results[0] if len(results) == 1 else results


class Step:
    """One node: which values it reads, what it computes, which values it makes."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]

    def __init__(self, node: Any, opset: int) -> None:
        self.kind, self.name = node.op_type, node.name or node.output[0]
        self.inputs, self.outputs = list(node.input), list(node.output)
        self.attributes: dict[str, Any] = {attribute.name: _attribute(attribute) for attribute in node.attribute}
        if self.kind in ("Softmax", "LogSoftmax"):
            self.attributes["opset"] = opset
        if self.kind == "Split" and "num_outputs" not in self.attributes:
            self.attributes["outputs"] = len(self.outputs)

    def is_constant(self, constants: Any) -> bool:
        """Return whether the node computes with `constants` only, none of them a parameter: once is enough then."""
        known = [constants.get(name) for name in self.inputs if name]
        return not any(value is None or isinstance(value, Parameter) for value in known)

    def run(self, values: Any) -> None:
        """Compute the node's outputs into the dictionary `values`."""
        try:
            inputs = [values[name] if name else None for name in self.inputs]
            if self.kind in elementwise.OPERATORS:
                check_size(math.prod(np.broadcast_shapes(*[x.shape for x in inputs if x is not None])))
            result = (OPERATORS | ON_CONSTANTS)[self.kind](*inputs, **self.attributes)
        except (TypeError, ValueError, LookupError, RuntimeError, ArithmeticError) as error:
            raise OnnxError(f"{self.kind} `{self.name}`: {error}") from error
        results = result if isinstance(result, tuple) else (result,)
        if len(results) < len([name for name in self.outputs if name]):
            raise OnnxError(
                f"{self.kind} `{self.name}`: {len(self.outputs)} outputs; minidl has {len(results)} of them"
            )
        values.update(zip(self.outputs, results))


def _attribute(attribute):
    from onnx import AttributeProto, helper

    if attribute.type == AttributeProto.TENSOR:
        return Tensor(array_of(attribute.t))
    return helper.get_attribute_value(attribute)


def array_of(tensor: Any) -> Array:
    """The values of a ``TensorProto``, after a look at what it claims about itself.

    Raises
    ------
    OnnxError
        Weights in another file, a type that minidl lacks, or other bytes than its shape needs.
    """
    from onnx import TensorProto, numpy_helper

    name = f"`{tensor.name}`"
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise OnnxError(f"{name} is kept in another file; accepted: networks of one file")
    shape = tuple(tensor.dims)
    dtype = _dtype(tensor.data_type, name)
    if min(shape, default=0) < 0 or math.prod(shape) > MAX_SIZE:
        raise OnnxError(f"{name} has shape {shape}; accepted: at most {MAX_SIZE:,} elements")
    if tensor.HasField("raw_data") and len(tensor.raw_data) != math.prod(shape) * dtype.itemsize:
        raise OnnxError(f"{name} of shape {shape}, {dtype} has {len(tensor.raw_data):,} bytes, "
                        f"not {math.prod(shape) * dtype.itemsize:,}")
    try:
        return numpy_helper.to_array(tensor).copy()
    except (ValueError, TypeError) as error:
        raise OnnxError(f"{name}: {error}") from None


def _opset(proto):
    """The version of ONNX's own operators; operators of others are refused."""
    domains = {opset.domain: opset.version for opset in proto.opset_import}
    strange = sorted({node.domain for node in proto.graph.node} - {"", "ai.onnx"})
    if strange:
        raise OnnxError(f"operators of {', '.join(map(repr, strange))}; accepted: those of ONNX itself")
    return domains.get("", domains.get("ai.onnx", 0)) or 1


def _check_graph(graph, known):
    """Every operator is one that minidl has, and every value is made before it is read."""
    lacking, computed = set(), {value.name for value in graph.input}
    for node in graph.node:
        is_computed = not computed.isdisjoint(node.input)
        computed.update(node.output if is_computed else ())
        if node.op_type not in OPERATORS and (is_computed or node.op_type not in ON_CONSTANTS):
            lacking.add(node.op_type)
    if lacking:
        raise OnnxError(f"minidl has no {', '.join(sorted(lacking))}")
    for node in graph.node:
        missing = [name for name in node.input if name and name not in known]
        if missing:
            raise OnnxError(f"{node.op_type} `{node.name}` reads `{missing[0]}`, which nothing before it makes")
        known.update(node.output)
    missing = [value.name for value in graph.output if value.name not in known]
    if missing or not graph.output:
        raise OnnxError(f"the output `{missing[0]}` is made by no node" if missing else "the graph has no output")
