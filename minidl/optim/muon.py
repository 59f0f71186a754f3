"""Muon: momentum whose step is made orthogonal, for the matrices and filters of hidden layers.

With gradient G and momentum m,

    B <- m B + (1 - m) G               (Nesterov: U = (1 - m) G + m B, else U = B)
    O <- the orthogonal matrix nearest to U: if U = P S Q', then nearly P Q'
    W <- (1 - lr decay) W - lr c O     (c: see `adjust_lr_fn`)

so that a step moves all directions of the matrix by nearly the same amount, also those in which the gradient is
small. O comes from a Newton-Schulz iteration, which consists of matrix products only: X <- a X + (b A + c A A) X
with A = X X' maps each singular value s to a s + b s^3 + c s^5. The usual a, b, c make values near 0 grow fastest,
and leave them between 0.7 and 1.2, which is orthogonal enough.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minidl import backend
from minidl.backend import Array
from minidl.ops.matmul import matmul_forward
from minidl.optim.optimizer import Optimizer, slot
from minidl.optim.settings import COUNT, FLAG, LEARNING_RATE, NON_NEGATIVE, Rule, one_of
from minidl.optim.updates import lerp, scalar

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
THREE_NUMBERS = Rule("three numbers", lambda v: len(v) == 3 and all(abs(x) < math.inf for x in v))

# Factor of the learning rate for a matrix of A rows and B columns.
ADJUSTMENTS: dict[str, Callable[[int, int], float]] = {
    "original": lambda A, B: math.sqrt(max(1, A / B)),
    "match_rms_adamw": lambda A, B: 0.2 * math.sqrt(max(A, B)),
}


def orthogonalised(matrix: Array, steps: int = 5, coefficients: Any = COEFFICIENTS, eps: float = 1e-7) -> Array:
    """`matrix` with its singular values brought near 1, by Newton-Schulz iteration.

    Parameters
    ----------
    matrix : array, shape (A, B)
    steps : int
    coefficients : three floats
        a, b, c of the polynomial a s + b s^3 + c s^5.
    eps : float
        The least norm that the matrix is divided by.

    Examples
    --------
    >>> import numpy as np
    >>> stretched = np.array([[3.0, 0.0], [0.0, -2.0]])
    >>> orthogonalised(stretched).round(1) + 0
    array([[ 1.1,  0. ],
           [ 0. , -0.7]])
    """
    a, b, c = coefficients
    A, B = matrix.shape
    x = matrix.T if A > B else matrix  # the products are smaller with the shorter side first
    xp = backend.array_module(x)
    x = x / xp.maximum(xp.sqrt((x * x).sum()), eps)  # the Frobenius norm: no singular value is above 1
    for _ in range(steps):
        gram = matmul_forward(x, x.T)
        x = a * x + matmul_forward(b * gram + c * matmul_forward(gram, gram), x)
    return x.T if A > B else x


class Muon(Optimizer):
    """Momentum with orthogonalised steps; for weights with two axes or more, not for biases or the classifier.

    Parameters
    ----------
    params : iterable of Tensor or dict
        Weights; one with more than two axes, such as a filter (out, in, h, w), counts as a matrix of `out` rows.
    lr : float or 0-d array
        Learning rate.
    weight_decay : float
        A step shrinks a weight by this times `lr`, as in `AdamW`.
    momentum : float
        The share of the old direction that stays.
    nesterov : bool
        Look one momentum step ahead.
    ns_coefficients, ns_steps, eps : three floats, int, float
        Of the Newton-Schulz iteration, see `orthogonalised`.
    adjust_lr_fn : str, optional
        Factor of `lr` for a matrix of A rows and B columns: "original" (the default), sqrt(max(1, A / B));
        "match_rms_adamw", 0.2 sqrt(max(A, B)), for learning rates that suit AdamW.
    renormalise : bool
        Before each step, scale a weight to the norm sqrt(A), one for each row. Layers that a normalisation follows
        do not notice, but a step of given length then turns the weight by the same angle all the time. This is K.
        Jordan's way on CIFAR-10; PyTorch does not have it.

    Raises
    ------
    ValueError
        If a setting is out of range, or a parameter has less than two axes.

    Examples
    --------
    >>> import numpy as np
    >>> from minidl.tensor import Tensor
    >>> w = Tensor(np.zeros((2, 2)), requires_grad=True)
    >>> w.grad = Tensor(np.array([[300.0, 0.0], [0.0, 2.0]]))
    >>> Muon([w], lr=1.0).step()
    >>> w.data.round(1) + 0
    array([[-0.7,  0. ],
           [ 0. , -0.9]])
    """

    rules: dict[str, Rule] = {
        "lr": LEARNING_RATE,
        "weight_decay": NON_NEGATIVE,
        "momentum": NON_NEGATIVE,
        "nesterov": FLAG,
        "ns_coefficients": THREE_NUMBERS,
        "eps": NON_NEGATIVE,
        "ns_steps": COUNT,
        "adjust_lr_fn": one_of(None, *ADJUSTMENTS),
        "renormalise": FLAG,
    }

    def __init__(
        self, params: Any, lr: Any = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95, nesterov: bool = True,
        ns_coefficients: Any = COEFFICIENTS, eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None, *,
        renormalise: bool = False,
    ) -> None:  # fmt: skip
        defaults = dict(
            lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, ns_coefficients=ns_coefficients,
            eps=eps, ns_steps=ns_steps, adjust_lr_fn=adjust_lr_fn, renormalise=renormalise,
        )  # fmt: skip
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        """Matrices have rows and columns."""
        for index, param in enumerate(group["params"]):
            if param.ndim < 2:
                found = f"`params` holds a Tensor of shape {param.shape} at index {index}"
                raise ValueError(f"{found}; Muon accepts 2 axes or more")

    def update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        buffer, lr, momentum = slot(state, "momentum_buffer", param), group["lr"], group["momentum"]
        lerp(buffer, grad, 1 - momentum)  # at once: this method does not wait (`can_wait`), since it reads the buffer
        towards = grad * (1 - momentum) + buffer * momentum if group["nesterov"] else buffer
        rows = towards.reshape(len(param), -1)
        step = orthogonalised(rows, group["ns_steps"], group["ns_coefficients"], group["eps"])
        if group["renormalise"]:
            xp = backend.array_module(param)
            param *= math.sqrt(len(param)) / xp.maximum(xp.sqrt((param * param).sum()), group["eps"])
        adjustment = ADJUSTMENTS[group["adjust_lr_fn"] or "original"](*rows.shape)
        param *= scalar(1 - lr * group["weight_decay"], param)
        param -= step.reshape(param.shape) * scalar(lr * adjustment, param)
