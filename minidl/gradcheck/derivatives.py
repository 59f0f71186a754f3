"""Jacobians, Hessians and their products with vectors, with the names and signatures of
``torch.autograd.functional``.

A product with the transposed Jacobian is one backward. A product with the Jacobian itself comes out
of two: the backward is linear in its upstream gradient u, and the derivative of ``u -> J^T u`` along
v is J v (J. Townsend, "A new trick for calculating Jacobian vector products", 2017). A
Hessian-vector product is the backward of ``gradient . v`` (B. Pearlmutter, "Fast exact multiplication
by the Hessian", 1994).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.backend import array_module
from minidl.ops.joining import concat
from minidl.tensor import Tensor, enable_grad, grad


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> Any:
    """Outputs, and the product of the vector `v` with the Jacobian: J^T v.

    Parameters
    ----------
    func : callable
        Takes the inputs; returns a Tensor or a tuple of them.
    inputs : Tensor or sequence of Tensor
    v : Tensor or sequence of Tensor, optional
        Shaped like the outputs; may be left out for a one-element output.
    create_graph : bool
        Let the results be differentiated again.

    Returns
    -------
    (outputs, products)
        The products are shaped like the inputs; a tuple if `inputs` was a sequence.

    Examples
    --------
    >>> import minidl
    >>> from minidl.gradcheck import vjp
    >>> vjp(lambda x: x * x, minidl.tensor([1.0, 2.0]), minidl.tensor([1.0, 10.0]))[1]
    tensor([ 2., 40.])
    """
    leaves, outputs = _run(func, inputs, create_graph)
    vectors = _vectors(v, "v", outputs)
    products = _pull_back(_tuple(outputs), leaves, vectors, create_graph)
    return _detached(outputs, create_graph), _like(inputs, products)


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> Any:
    """Outputs, and the product of the Jacobian with the vector `v`: J v, the derivative along `v`.

    Parameters and results as in `vjp`, but `v` is shaped like the inputs and the product like the outputs.

    Examples
    --------
    >>> import minidl
    >>> from minidl.gradcheck import jvp
    >>> jvp(lambda x: x.sum() * x, minidl.tensor([1.0, 2.0]), minidl.tensor([1.0, 0.0]))[1]
    tensor([4., 2.])
    """
    leaves, outputs = _run(func, inputs, create_graph)
    upstream = [Tensor(array_module(y.data).zeros_like(y.data), requires_grad=True) for y in _tuple(outputs)]
    backward = _pull_back(_tuple(outputs), leaves, upstream, create_graph=True)
    products = _pull_back(backward, upstream, _vectors(v, "v", inputs), create_graph)
    return _detached(outputs, create_graph), _like(outputs, products)


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False) -> Any:
    """Value of a scalar function, and the product of its Hessian with `v`, which is shaped like the inputs.

    Examples
    --------
    >>> import minidl
    >>> from minidl.gradcheck import hvp
    >>> hvp(lambda x: (x ** 3).sum(), minidl.tensor([1.0, 2.0]), minidl.tensor([1.0, 1.0]))[1]
    tensor([ 6., 12.])
    """
    leaves, output = _run(func, inputs, create_graph)
    _check_scalar(output)
    gradients = _pull_back((output,), leaves, _vectors(None, "v", output), create_graph=True)
    products = _pull_back(gradients, leaves, _vectors(v, "v", inputs), create_graph)
    return _detached(output, create_graph), _like(inputs, products)


def jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool = False) -> Any:
    """All derivatives of all outputs: shape ``(*output.shape, *input.shape)``, by one backward per output element.

    A tuple (over outputs) of tuples (over inputs) where there are several of them.

    Examples
    --------
    >>> import minidl
    >>> from minidl.gradcheck import jacobian
    >>> jacobian(lambda x: x * x, minidl.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    leaves, outputs = _run(func, inputs, create_graph)
    blocks = tuple(_like(inputs, _rows(y, leaves, create_graph)) for y in _tuple(outputs))
    return blocks[0] if isinstance(outputs, Tensor) else blocks


def _rows(output, leaves, create_graph):
    """The Jacobian of one output to every leaf."""
    rows = []
    for index in np.ndindex(output.shape):
        one_hot = _zeros(output)
        one_hot.data[index] = 1
        rows.append(_pull_back((output,), leaves, (one_hot,), create_graph, retain_graph=True))
    stacked = []
    for leaf, column in zip(leaves, zip(*rows)):
        blocks = [g.unsqueeze(0) for g in column]
        stacked.append(concat(blocks).reshape(*output.shape, *leaf.shape))
    return stacked


def hessian(func: Callable[..., Any], inputs: Any, create_graph: bool = False) -> Any:
    """The second derivatives of a scalar function: shape ``(*input.shape, *input.shape)``.

    A tuple of tuples of such blocks where there are several inputs.

    Examples
    --------
    >>> import minidl
    >>> from minidl.gradcheck import hessian
    >>> hessian(lambda x: x.prod(), minidl.tensor([2.0, 3.0]))
    tensor([[0., 1.],
            [1., 0.]])
    """

    def gradient(*xs):
        output = func(*xs)
        _check_scalar(output)
        found = _pull_back((output,), xs, _vectors(None, "v", output), create_graph=True)
        return found[0] if isinstance(inputs, Tensor) else found

    return jacobian(gradient, inputs, create_graph)


# ---------------------------------------------------------------- small parts


def _run(func, inputs, create_graph):
    """The leaves to differentiate to, and the outputs with their graph."""
    xs = _tuple(inputs)
    if create_graph:
        leaves = [x if x.requires_grad else x.detach().requires_grad_() for x in xs]
    else:
        leaves = [x.detach().requires_grad_() for x in xs]
    with enable_grad():
        return leaves, func(*leaves)


def _pull_back(outputs, leaves, vectors, create_graph, retain_graph=None):
    """`grad` with zeros where the outputs do not depend on a leaf, or on anything."""
    pairs = [(y, v) for y, v in zip(outputs, vectors) if y.requires_grad]
    if not pairs:
        return tuple(_zeros(x) for x in leaves)
    outputs, vectors = zip(*pairs)
    options = dict(create_graph=create_graph, retain_graph=retain_graph, materialize_grads=True)
    return grad(outputs, leaves, vectors, **options)


def _tuple(value):
    return (value,) if isinstance(value, Tensor) else tuple(value)


def _like(inputs, results):
    """One Tensor for one Tensor, a tuple for a sequence."""
    return results[0] if isinstance(inputs, Tensor) else tuple(results)


def _zeros(x):
    return Tensor(array_module(x.data).zeros_like(x.data))


def _vectors(v, name, shaped_like):
    """`v` as a tuple, checked against the shapes of what it belongs to; ones for one element."""
    wanted = _tuple(shaped_like)
    if v is None:
        if len(wanted) != 1 or wanted[0].data.size != 1:
            raise ValueError(f"`{name}` may be left out for one element only, found shapes {[w.shape for w in wanted]}")
        return (Tensor(array_module(wanted[0].data).ones_like(wanted[0].data)),)
    vectors = _tuple(v)
    if [x.shape for x in vectors] != [w.shape for w in wanted]:
        raise ValueError(f"`{name}` has shapes {[x.shape for x in vectors]}; accepted: {[w.shape for w in wanted]}")
    return vectors


def _check_scalar(output):
    if not isinstance(output, Tensor) or output.data.size != 1:
        raise ValueError(f"`func` must return one number, found {getattr(output, 'shape', type(output).__name__)}")


def _detached(outputs, create_graph):
    if create_graph:
        return outputs
    return outputs.detach() if isinstance(outputs, Tensor) else tuple(y.detach() for y in outputs)
