"""Reverse-mode automatic differentiation: `Tensor`, `Function` and the backward walk.

A :class:`Tensor` is an array with a memory of where it came from (``core.py``). A
:class:`Function` is one operation; each call of it makes one node of the graph, which
points at the nodes of its inputs (``function.py``). :func:`grad` and
:meth:`Tensor.backward` walk the nodes from the newest to the oldest (``walk.py``).

Backward rules are written with Tensor operations, so a gradient can itself be
differentiated, to any order (``create_graph=True``). Nothing here knows an operation:
``minidl/ops`` gives Tensor its operators and methods when it is imported.

References: A. Griewank and A. Walther, *Evaluating Derivatives*, SIAM 2008, chapter 3;
A. Paszke et al., "Automatic differentiation in PyTorch", 2017.
"""

from minidl.tensor.accumulation import zero_gradients
from minidl.tensor.core import Tensor, _wrap, tensor
from minidl.tensor.function import Function
from minidl.tensor.hooks import HookHandle
from minidl.tensor.mode import enable_grad, is_grad_enabled, is_walking, no_grad, set_grad_enabled
from minidl.tensor.observer import Observer, observe
from minidl.tensor.records import Edge, edge_of
from minidl.tensor.walk import grad

__all__ = [
    "Edge",
    "Function",
    "HookHandle",
    "Observer",
    "Tensor",
    "_wrap",
    "edge_of",
    "enable_grad",
    "grad",
    "is_grad_enabled",
    "is_walking",
    "no_grad",
    "observe",
    "set_grad_enabled",
    "tensor",
    "zero_gradients",
]
