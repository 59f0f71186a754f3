"""Tracing: the operations that a forward runs, each with its inputs, options, outputs and layer.

A forward of two images and one of three are recorded and laid side by side. What agrees
is part of the network; a length that differs is the number of images; anything else that
differs depends on the images by a way that no operation recorded, and is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import minidl
from minidl import backend
from minidl.nn.module import calls
from minidl.ops.shape import Reshape
from minidl.tensor import Observer, Tensor, observe

if TYPE_CHECKING:
    from minidl.nn.module import Module

IMAGES = -1  # stands for the number of images in a shape
BATCHES = 2, 3  # images in the two forwards


class TraceError(ValueError):
    """A network that cannot be written as a graph of operations."""


class Value(NamedTuple):
    """Value that an operation reads or makes: output number `output` of a call (-1: the images), or a constant (None).

    `tensor` is that of the first forward; in `shape`, lengths that depend on the number of images are `IMAGES`.
    """

    call: int
    output: int
    tensor: object
    shape: tuple[int, ...]


class Call(NamedTuple):
    """One operation: `kind` is the name of its Function, `inputs` are Values or plain options in their place."""

    kind: str
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    result: Value
    layer: str


class _Recorder(Observer):
    """The record of every operation."""

    def __init__(self, model):
        self.names = {id(module): name for name, module in model.named_modules()}
        self.calls, self.made, self.kept = [], {}, []

    def begin(self, images):
        """Count `images` as the result of call number -1."""
        self.made[id(images)] = (-1, 0)

    def forward(self, node, inputs, outputs):
        named = [self.names[id(module)] for module in calls.stack if id(module) in self.names]
        values = tuple(self.value(x) if isinstance(x, Tensor) else x for x in inputs)
        if type(node) is Reshape:
            values = values[:1]  # the shape of its result says it all
        if not type(node).__module__.startswith("minidl.ops"):
            raise TraceError(f"`{node.name}` in layer `{named[-1]}` is no operation of minidl: it has no ONNX form")
        for k, output in enumerate(outputs):
            self.made[id(output)] = (len(self.calls), k)
        self.kept.append((inputs, outputs))  # ids are theirs as long as they live
        layer = named[-1] if named else ""
        self.calls.append(Call(node.name, values, node.options, self.value(outputs[0]), layer))

    def value(self, x):
        return Value(*self.made.get(id(x), (None, 0)), x, x.shape)


def trace(model: Module, image_shape: tuple[int, ...]) -> tuple[list[Any], Value]:
    """(calls, shape of the input, what `model` returns) of a forward on images (N, *image_shape).

    Parameters
    ----------
    model : Module
        Traced in evaluation mode; returns one Tensor.
    image_shape : (C, H, W)

    Returns
    -------
    calls : list of Call
        Those that the output depends on, in the order of the forward.
    result : Value

    Raises
    ------
    TraceError
        If the output depends on the images by more than recorded operations.
    """
    two, three = (_recorded(model, (N, *image_shape)) for N in BATCHES)
    if [call.kind for call in two[0]] != [call.kind for call in three[0]]:
        raise TraceError("`model` runs other operations for other images, so that no one graph describes it")
    live = _live(*two)
    merged = {k: _merged(two[0][k], three[0][k]) for k in live}
    numbers = {k: number for number, k in enumerate(live)} | {-1: -1}
    return [_renumbered(merged[k], numbers) for k in live], two[1]._replace(call=numbers[two[1].call])


def _recorded(model, shape):
    """(all calls, the result as a Value) of one forward on images of `shape`, random but always the same."""
    parameter = next(iter(model.parameters()), None)
    dtype, device = (np.dtype("float32"), "cpu") if parameter is None else (parameter.dtype, parameter.device)
    drawn = np.random.default_rng(shape[0]).standard_normal(shape).astype(dtype)
    recorder, images = _Recorder(model), Tensor(backend.to_device(drawn, device))
    recorder.begin(images)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with minidl.no_grad(), observe(recorder):
            result = model(images)
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not isinstance(result, Tensor):
        raise TraceError(f"`model` returned a {type(result).__name__}; accepted: one Tensor")
    result = recorder.value(result)
    if result.call is None or result.call < 0:
        raise TraceError("`model` returned a tensor that no recorded operation made, such as its input")
    return recorder.calls, result


def _live(all_calls, result):
    """Numbers of the calls that the result depends on, in order."""
    live, stack = set(), [result.call]
    while stack:
        k = stack.pop()
        if k is not None and k >= 0 and k not in live:
            live.add(k)
            stack.extend(x.call for x in all_calls[k].inputs if isinstance(x, Value))
    return sorted(live)


def _merged(two, three):
    where = f"`{two.kind}` in layer `{two.layer}`"
    inputs = tuple(_same(a, b, where) for a, b in zip(two.inputs, three.inputs))
    options = {name: _same(value, three.options[name], where) for name, value in two.options.items()}
    return two._replace(inputs=inputs, options=options, result=_same(two.result, three.result, where))


def _same(a, b, where):
    """Shape on which both forwards agree; lengths in which they differ become `IMAGES`."""
    if isinstance(a, Value) and isinstance(b, Value) and a[:2] == b[:2]:
        if a.call is None and not _equal(a.tensor, b.tensor):
            raise TraceError(f"{where} reads a tensor that depends on the images but that no operation recorded")
        return a._replace(shape=tuple(n if n == m else IMAGES for n, m in zip(a.shape, b.shape)))
    if type(a) is tuple and type(b) is tuple and len(a) == len(b):
        return tuple(IMAGES if (x, y) == BATCHES else _same(x, y, where) for x, y in zip(a, b))
    if type(a) is not type(b) or isinstance(a, Value) or not a == b:
        raise TraceError(f"{where} has options that depend on the images: {a} and {b}")
    return a


def _equal(a, b):
    return a is b or np.array_equal(backend.to_numpy(a.data), backend.to_numpy(b.data), equal_nan=True)


def _renumbered(call, numbers):
    inputs = (
        x if not isinstance(x, Value) or x.call is None else x._replace(call=numbers[x.call]) for x in call.inputs
    )
    return call._replace(inputs=tuple(inputs))
