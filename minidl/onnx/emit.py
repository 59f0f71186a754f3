"""The ONNX form of each operation: one function per kind, found in the table `FORMS`.

A form is called as ``form(graph, call, inputs)``, `inputs` being names of values, arrays
for constants, or plain options; it adds nodes and returns the name of the output. An
operation without a row is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.onnx.trace import IMAGES, TraceError, Value

if TYPE_CHECKING:
    from minidl.onnx.graph import Graph
    from minidl.onnx.trace import Call

SAME_NAME = "abs sqrt reciprocal exp log sin cos tan sinh cosh tanh sigmoid softplus erf sign floor ceil round"
SAME = {name.capitalize(): name.capitalize() for name in SAME_NAME.split()} | {
    "Add": "Add", "Sub": "Sub", "Mul": "Mul", "Div": "Div", "Pow": "Pow", "Negate": "Neg", "Relu": "Relu",
    "Maximum": "Max", "Minimum": "Min", "Arctan": "Atan", "MatMul": "MatMul", "Where": "Where",
}  # fmt: skip


def same(graph: Graph, call: Call, inputs: Any) -> str:
    """An operator of ONNX that differs in name at most; numbers become constants of the result's dtype."""
    numbers = (float, int, bool)
    inputs = [np.asarray(x, call.result.tensor.dtype) if isinstance(x, numbers) else x for x in inputs]
    return graph.add(SAME[call.kind], inputs, call.layer)


def pads(padding: Any) -> Any:
    """((top, bottom), (left, right)) or (vertical, horizontal), as ONNX has it: all beginnings, then all ends."""
    both = [(p, p) if isinstance(p, int) else p for p in padding]
    return [start for start, _ in both] + [end for _, end in both]


def conv(graph: Graph, call: Call, inputs: Any) -> str:
    """`Conv`, whose window ONNX wants written out: the weight has to be a constant."""
    g = call.options
    window = _constant(call, inputs[1]).shape[2:]
    options = dict(kernel_shape=window, pads=pads(g["padding"]), strides=g["stride"], dilations=g["dilation"])
    return graph.add("Conv", [x for x in inputs if x is not None], call.layer, group=g["groups"], **options)


def conv_transpose(graph: Graph, call: Call, inputs: Any) -> str:
    """`ConvTranspose`; `output_padding` makes up the pixels that the usual formula for its size leaves out."""
    g, window = call.options, _constant(call, inputs[1]).shape[2:]
    sizes = zip(call.inputs[0].tensor.shape[2:], g["stride"], g["padding"], g["dilation"], window, g["input_shape"][2:])
    extra = [size - ((n - 1) * s - sum(p) + d * (k - 1) + 1) for n, s, p, d, k, size in sizes]
    options = dict(kernel_shape=window, pads=pads(g["padding"]), strides=g["stride"], dilations=g["dilation"])
    return graph.add("ConvTranspose", inputs, call.layer, group=g["groups"], output_padding=extra, **options)


def _constant(call, array):
    if not isinstance(array, np.ndarray):
        raise TraceError(f"`{call.kind}` in layer `{call.layer}` has weights that are computed from the images")
    return array


def batch_norm(graph: Graph, call: Call, inputs: Any) -> str:
    """`BatchNormalization` with running statistics, and `Relu` where the layer has one."""
    x, mean, var, weight, bias = inputs
    weight = np.ones_like(mean) if weight is None else weight
    bias = np.zeros_like(mean) if bias is None else bias
    y = graph.add("BatchNormalization", [x, weight, bias, mean, var], call.layer, epsilon=float(call.options["eps"]))
    return graph.add("Relu", [y], call.layer) if call.options["relu"] else y


def max_pool(graph: Graph, call: Call, inputs: Any) -> str:
    """`MaxPool`, without the places of the maxima."""
    g = call.options
    options = dict(kernel_shape=g["kernel_size"], strides=g["stride"], pads=pads(g["padding"]), dilations=g["dilation"])
    return graph.add("MaxPool", inputs, call.layer, ceil_mode=int(g["ceil_mode"]), **options)


def avg_pool(graph: Graph, call: Call, inputs: Any) -> str:
    """`AveragePool`; a divisor other than the number of pixels has no form."""
    g = call.options
    if g["divisor_override"] is not None:
        raise TraceError(f"`divisor_override` in layer `{call.layer}` has no ONNX form")
    options = dict(kernel_shape=g["kernel_size"], strides=g["stride"], pads=pads(g["padding"]))
    counted = int(g["count_include_pad"])
    return graph.add(
        "AveragePool", inputs, call.layer, ceil_mode=int(g["ceil_mode"]), count_include_pad=counted, **options
    )


def adaptive_avg_pool(graph: Graph, call: Call, inputs: Any) -> str:
    """The mean over all places; or over equal windows; or, where they differ, a product with a matrix of means."""
    x, size = inputs
    sides = call.inputs[0].tensor.shape[2:]
    if size == (1, 1):
        return graph.add("GlobalAveragePool", [x], call.layer)
    if all(n % m == 0 for n, m in zip(sides, size)):
        window = [n // m for n, m in zip(sides, size)]
        return graph.add("AveragePool", [x], call.layer, kernel_shape=window, strides=window)
    dtype = call.inputs[0].tensor.dtype
    rows, columns = (_means(n, m).astype(dtype) for n, m in zip(sides, size))
    return graph.add("MatMul", [rows, graph.add("MatMul", [x, columns.T], call.layer)], call.layer)


def _means(length, count):
    """The matrix (count, length) that takes the mean of each of `count` adaptive windows."""
    means = np.zeros((count, length))
    for i in range(count):
        start, end = i * length // count, -(-(i + 1) * length // count)
        means[i, start:end] = 1 / (end - start)
    return means


def local_response_norm(graph: Graph, call: Call, inputs: Any) -> str:
    """`LRN`, for windows of an odd number of channels."""
    g = {name: float(value) for name, value in call.options.items() if name != "size"}
    if call.options["size"] % 2 == 0:
        raise TraceError(
            f"`size` of the normalisation in layer `{call.layer}` is even, which ONNX Runtime does not take"
        )
    return graph.add(
        "LRN", inputs, call.layer, size=call.options["size"], alpha=g["alpha"], beta=g["beta"], bias=g["k"]
    )


def layer_norm(graph: Graph, call: Call, inputs: Any) -> str:
    """`LayerNormalization` over the last axes."""
    x, weight, bias = inputs
    shape = call.inputs[0].tensor.shape[call.options["axes"][0] :]
    weight = np.ones(shape, call.result.tensor.dtype) if weight is None else weight
    given = [x, weight] if bias is None else [x, weight, bias]
    return graph.add("LayerNormalization", given, call.layer, axis=call.options["axes"][0],
                     epsilon=float(call.options["eps"]))


def linear(graph: Graph, call: Call, inputs: Any) -> str:
    """`Gemm` with a transposed weight."""
    return graph.add("Gemm", [x for x in inputs if x is not None], call.layer, transB=1)


def reshape(graph: Graph, call: Call, inputs: Any) -> str:
    """`Flatten` where it suffices, `Reshape` elsewhere; one axis at most depends on the number of images."""
    before, after = call.inputs[0].shape, call.result.shape
    if after.count(IMAGES) > 1:
        raise TraceError(f"a reshape in layer `{call.layer}` has the number of images in several axes of its result")
    if len(after) == 2 and before[0] == after[0]:
        return graph.add("Flatten", inputs, call.layer, axis=1)
    return graph.add("Reshape", [*inputs, np.array(after, np.int64)], call.layer)


def broadcast(graph: Graph, call: Call, inputs: Any) -> str:
    """`Expand`, for any number of images."""
    shape = [1 if n == IMAGES else n for n in call.result.shape]  # a length that is there already
    return graph.add("Expand", [inputs[0], np.array(shape, np.int64)], call.layer)


def pad(graph: Graph, call: Call, inputs: Any) -> str:
    """`Pad` by a constant."""
    x, widths, value = inputs
    ends = np.array([w[0] for w in widths] + [w[1] for w in widths], np.int64)
    return graph.add("Pad", [x, ends, np.asarray(value, call.result.tensor.dtype)], call.layer, mode="constant")


def clip(graph: Graph, call: Call, inputs: Any) -> str:
    """`Clip`; an end without a limit is an empty input."""
    x, *ends = inputs
    ends = [np.asarray(e, call.result.tensor.dtype) if e is not None else "" for e in ends]
    return graph.add("Clip", [x, *ends], call.layer)


def extreme(graph: Graph, call: Call, inputs: Any) -> str:
    """`ReduceMax` or `ReduceMin`."""
    x, which, axes, keepdim = inputs
    return graph.add("ReduceMax" if which == "max" else "ReduceMin", [x], call.layer, axes=axes, keepdims=int(keepdim))


def gelu(graph: Graph, call: Call, inputs: Any) -> str:
    """x times half of 1 + erf(x / sqrt(2)); ONNX has had an operator of its own only since opset 20."""
    (x,) = inputs
    half, one, root = (np.asarray(number, call.result.tensor.dtype) for number in (0.5, 1.0, 0.5**0.5))
    share = graph.add("Erf", [graph.add("Mul", [x, root], call.layer)], call.layer)
    both = graph.add("Mul", [graph.add("Add", [share, one], call.layer), half], call.layer)
    return graph.add("Mul", [x, both], call.layer)


def total(graph: Graph, call: Call, inputs: Any) -> str:
    """`ReduceSum`."""
    x, axes, keepdim = inputs
    return graph.add("ReduceSum", [x, np.array(axes, np.int64)], call.layer, keepdims=int(keepdim))


def softmax(graph: Graph, call: Call, inputs: Any) -> str:
    """`Softmax` or `LogSoftmax` over one axis."""
    x, axes = inputs
    if len(axes) != 1:
        raise TraceError(f"`{call.kind}` in layer `{call.layer}` is over {len(axes)} axes; ONNX has it over one")
    return graph.add("Softmax" if call.kind == "Softmax" else "LogSoftmax", [x], call.layer, axis=axes[0])


FORMS: dict[str, Callable[..., Any]] = dict.fromkeys(SAME, same) | {
    "Conv2d": conv, "ConvInputGrad": conv_transpose, "BatchNormEval": batch_norm, "MaxPool2d": max_pool,
    "AvgPool2d": avg_pool, "AdaptiveAvgPool2d": adaptive_avg_pool, "LocalResponseNorm": local_response_norm,
    "LayerNorm": layer_norm, "Linear": linear, "Reshape": reshape, "BroadcastTo": broadcast, "Pad": pad,
    "Clamp": clip, "Extreme": extreme, "Gelu": gelu, "Sum": total, "Softmax": softmax, "LogSoftmax": softmax,
    "Concat": lambda graph, call, inputs: graph.add("Concat", inputs, call.layer, axis=call.options["axis"]),
    "Permute": lambda graph, call, inputs: graph.add("Transpose", [inputs[0]], call.layer, perm=inputs[1]),
    "Pick": lambda graph, call, inputs: graph.add(
        "Gather", [inputs[0], np.array(inputs[1], np.int64)], call.layer, axis=inputs[2]),
    "Clone": lambda graph, call, inputs: inputs[0],
}  # fmt: skip


def emit(graph: Graph, calls: Any) -> list[Any]:
    """Add every call to `graph`; the names of their outputs."""
    outputs = []
    for call in calls:
        if call.kind not in FORMS:
            raise TraceError(
                f"`{call.kind}` in layer `{call.layer}` has no ONNX form here; there are {', '.join(FORMS)}"
            )
        if any(isinstance(x, Value) and x.output for x in call.inputs):
            raise TraceError(
                f"`{call.kind}` in layer `{call.layer}` reads a second output, which has no ONNX form here"
            )
        outputs.append(FORMS[call.kind](graph, call, [_given(graph, x, outputs) for x in call.inputs]))
    return outputs


def _given(graph, x, outputs):
    """An input as forms want it: a name, an array or an option."""
    if not isinstance(x, Value):
        return x
    if x.call is None:
        return graph.array_of(x.tensor)
    return "images" if x.call < 0 else outputs[x.call]
