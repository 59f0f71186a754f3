"""`detect_anomaly`: the operation, layer and line of the first NaN or Inf.

Every operation is checked as it runs, forward and backward (see `tensor.observe`); the first one whose inputs are
finite and whose result is not is reported. A backward runs long after the line that called the operation, so each
node is given its origin when it is recorded.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.backend import array_module
from minidl.nn.module import calls
from minidl.tensor import Function, Observer, Tensor, is_walking, observe

PACKAGE = os.path.dirname(os.path.abspath(__file__))


class AnomalyError(RuntimeError):
    """The first NaN or Inf.

    Attributes
    ----------
    op : str
        Name of the operation; enclosing ones follow after "inside".
    layer : str
        Dotted name of the module that was being called, "" outside of one.
    file, line : str, int
        The line of the user's program, or of the model, that called the operation.
    phase : str
        "forward" or "backward".
    """

    phase: str
    op: str
    layer: str
    file: str
    line: int

    def __init__(self, message: str, phase: str, origin: Any) -> None:
        super().__init__(message)
        self.phase, self.op, self.layer = phase, origin.op, origin.layer
        self.file, self.line = origin.file, origin.line


@dataclass(frozen=True)
class Origin:
    """The place in the program that called an operation."""

    op: str
    layer: str
    file: str
    line: int

    @property
    def source(self) -> str:
        """The text of the line."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        layer = f", in layer `{self.layer}`" if self.layer else ""
        return f"`{self.op}`{layer}, at {self.file}:{self.line}:\n    {self.source}"


def origin_of(node: Function) -> Origin:
    """The :class:`Origin` of the call that is being reported."""
    frame, outer, place = sys._getframe(1), [], None
    while frame is not None:
        if frame.f_code is Function.apply.__func__.__code__:
            outer.append(frame.f_locals["cls"].__name__)
        elif place is None and not frame.f_code.co_filename.startswith((PACKAGE, "<")):
            place = (frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    name = " inside ".join([node.name, *outer[1:]])
    return Origin(name, layer_path(calls.stack), *(place or ("<unknown>", 0)))


def layer_path(stack: Any) -> str:
    """Dotted name of the innermost of the modules being called, counted from the outermost."""
    if not stack:
        return ""
    names = {id(module): name for name, module in stack[0].named_modules()}
    return names.get(id(stack[-1])) or type(stack[-1]).__name__


class _Watch(Observer):
    """The observer that raises at the first result that is not finite although its inputs are."""

    def __init__(self, check_inf):
        self.check_inf = check_inf

    def forward(self, node, inputs, outputs):
        node.origin = origin = origin_of(node)
        fault = self.first_fault(outputs)
        if fault is None or is_walking():
            return  # of a backward, only the result is checked
        given = self.first_fault(inputs)
        if given is None:
            raise self.error("forward", origin, f"{fault[1]} first appears in the result of {origin}", inputs)
        text = f"{given[1]} is in argument {given[0]} already when it reaches {origin}"
        raise self.error("forward", origin, text + "\n  look at the data, or at what ran before detect_anomaly", inputs)

    def backward(self, node, grads, results):
        results = results if isinstance(results, tuple) else (results,)
        fault = self.first_fault(results)
        origin = getattr(node, "origin", None) or Origin(node.name, "", "<recorded outside of detect_anomaly>", 0)
        if fault is None:
            return
        if self.first_fault(grads) is not None:
            text = f"{fault[1]} is in the upstream gradient already when it reaches the backward of {origin}"
        else:
            text = f"{fault[1]} first appears in the gradient to argument {fault[0]} of {origin}"
        raise self.error("backward", origin, text, grads)

    def first_fault(self, tensors):
        """(position, "NaN" or "Inf") of the first tensor that is not finite."""
        for position, x in enumerate(tensors):
            if isinstance(x, Tensor) and x.dtype.kind in "fc":
                xp = array_module(x.data)
                if xp.isnan(x.data).any():
                    return position, "NaN"
                if self.check_inf and xp.isinf(x.data).any():
                    return position, "Inf"
        return None

    def error(self, phase, origin, text, arguments):
        """The exception: the text, and below it the range of every argument."""
        lines = [f"  argument {i}: {_summary(x)}" for i, x in enumerate(arguments) if isinstance(x, Tensor)]
        return AnomalyError("\n".join([text, *lines]), phase, origin)


def _summary(x):
    xp = array_module(x.data)
    finite = x.data[xp.isfinite(x.data)] if x.dtype.kind in "fc" else x.data
    span = f"values from {float(finite.min()):.4g} to {float(finite.max()):.4g}" if finite.size else "no finite values"
    return f"shape {x.shape}, {x.dtype}, {span}"


@contextlib.contextmanager
def detect_anomaly(check_inf: bool = True) -> Iterator[None]:
    """Context in which the first NaN or Inf raises an error that names operation, layer and line.

    Every result is read, which is slow: it is meant for finding a fault, not for training.

    Parameters
    ----------
    check_inf : bool
        Count infinities as faults too; turn it off where they are meant (masked logits).

    Raises
    ------
    AnomalyError
        At the operation that made the first one, forward or backward.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([1.0, 0.0], requires_grad=True)
    >>> try:
    ...     with detect_anomaly():
    ...         x.sqrt().sum().backward()
    ... except AnomalyError as error:
    ...     print(error.phase, error.op)
    backward Sqrt
    """
    with observe(_Watch(check_inf)), np.errstate(all="ignore"):
        yield
