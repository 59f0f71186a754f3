"""The largest eigenvalue of a loss's Hessian, by power iteration on Hessian-vector products.

The eigenvalue, called sharpness, bounds the step size of gradient descent: above 2 / lambda it is
unstable. Each iteration costs about four gradients, and no matrix is ever formed.
``python -m benchmarks.sharpness`` prints it for GoogLeNet.

Reference: J. Cohen et al., "Gradient Descent on Neural Networks Typically Occurs at the Edge of
Stability", arXiv 2103.00065.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl import backend
from minidl.backend import Array
from minidl.random import get_rng_state, set_rng_state
from minidl.tensor import Tensor, enable_grad, grad


def largest_eigenvalue(
    loss_fn: Callable[..., Any], params: Any, iterations: int = 100, tol: float = 1e-4, seed: int = 0
) -> Any:
    """The Hessian's eigenvalue of largest magnitude, and its eigenvector.

    Parameters
    ----------
    loss_fn : callable
        ``loss_fn()`` returns the loss, a one-element Tensor, as a function of `params`. Random
        streams are put back before each call, so that dropout draws the same masks.
    params : iterable of Tensor
        Leaves that require grad, such as ``model.parameters()``.
    iterations : int
        At most this many Hessian-vector products.
    tol : float
        Stop when the eigenvalue changes by less than this share of itself.
    seed : int
        Of the vector to start from.

    Returns
    -------
    (value, vector)
        A float, and a list of Tensors shaped like `params`, of length 1 together.

    Examples
    --------
    >>> import minidl
    >>> from minidl.gradcheck import largest_eigenvalue
    >>> x = minidl.tensor([1.0, 1.0], requires_grad=True)
    >>> value, vector = largest_eigenvalue(lambda: 3 * x[0] ** 2 + x[1] ** 2, [x])
    >>> round(value, 3)
    6.0
    """
    params, state = list(params), get_rng_state()
    rng = np.random.default_rng(seed)
    vector = _unit([backend.to_device(rng.standard_normal(p.shape).astype(p.dtype), p.device) for p in params])
    value = 0.0
    for _ in range(iterations):
        product = hessian_product(loss_fn, params, vector, state)
        before, value = value, _dot(vector, product)
        if not np.isfinite(value) or _dot(product, product) == 0:
            break
        vector = _unit(product)
        if abs(value - before) <= tol * abs(value):
            break
    set_rng_state(state)
    return value, [Tensor(v) for v in vector]


def hessian_product(
    loss_fn: Callable[..., Any], params: Sequence[Tensor], vector: list[Array], state: dict[str, Any] | None = None
) -> list[Array]:
    """The Hessian of ``loss_fn()`` to `params` times `vector`: lists of arrays shaped like `params`."""
    if state is not None:
        set_rng_state(state)
    with enable_grad():
        loss = loss_fn()
    gradients = grad(loss, params, create_graph=True, materialize_grads=True)
    curved = [(g, Tensor(v)) for g, v in zip(gradients, vector) if g.requires_grad]
    if not curved:
        return [v * 0 for v in vector]
    products = grad([g for g, _ in curved], params, [v for _, v in curved], materialize_grads=True)
    return [p.data for p in products]


def _dot(a, b):
    return float(sum(float((x * y).sum()) for x, y in zip(a, b)))


def _unit(arrays):
    length = _dot(arrays, arrays) ** 0.5
    return [a / a.dtype.type(length) for a in arrays]
