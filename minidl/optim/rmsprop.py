"""RMSprop: the gradient divided by the root of a running average of its square.

    s <- alpha s + (1 - alpha) g^2
    w <- w - lr g / (sqrt(s) + eps)

The centred form subtracts the squared average of g from s, which leaves a variance; with momentum, steps are
summed. T. Tieleman and G. Hinton, Coursera lecture 6.5,
2012; the centred form: A. Graves, arXiv 1308.0850.
"""

from __future__ import annotations

from typing import Any

from minidl import backend
from minidl.backend import Array
from minidl.dispatch import dispatched
from minidl.optim.optimizer import Optimizer, can_wait, counted, slot
from minidl.optim.settings import FLAG, LEARNING_RATE, NON_NEGATIVE, Rule, check_forms, settings
from minidl.optim.updates import gradient_to_descend, lerp, scalar


@dispatched
def rmsprop_update(
    param: Array, grad: Array, square_avg: Array, grad_avg: Array | None, momentum_buffer: Array | None,
    lr: float | Array, alpha: float | Array, eps: float, weight_decay: float, momentum: float | Array, maximize: bool,
) -> None:  # fmt: skip
    """One step of RMSprop; centered with a `grad_avg`, with momentum if there is a `momentum_buffer`.

    Examples
    --------
    >>> import numpy as np
    >>> w, square = np.array([1.0]), np.array([16.0])
    >>> rmsprop_update(w, np.array([4.0]), square, None, None, 0.1, 0.5, 0.0, 0, 0, False)
    >>> w, square
    (array([0.9]), array([16.]))
    """
    xp = backend.array_module(param)
    grad = gradient_to_descend(param, grad, weight_decay, maximize)
    square_avg *= alpha
    square_avg += grad * (1 - alpha) * grad
    variance = square_avg
    if grad_avg is not None:
        lerp(grad_avg, grad, 1 - alpha)
        variance = square_avg - grad_avg * grad_avg
    deviation = xp.sqrt(variance) + eps
    if momentum_buffer is None:
        param -= grad * scalar(lr, param) / deviation
    else:
        momentum_buffer *= momentum
        momentum_buffer += grad / deviation
        param -= momentum_buffer * scalar(lr, param)


class RMSprop(Optimizer):
    """RMSprop, optionally centred and with momentum.

    Parameters
    ----------
    params : iterable of Tensor or dict
        The parameters, see `Optimizer`.
    lr : float or 0-d array
        Learning rate.
    alpha : float
        Decay of the running averages.
    eps : float
        Added to the denominator.
    weight_decay : float
        L2 penalty: this times the parameter is added to its gradient.
    momentum : float
        The share of the last step that is repeated.
    centered : bool
        Divide by the deviation instead of the root mean square.
    maximize : bool
        Climb instead of descending.
    foreach, differentiable : optional
        PyTorch's choices of form, see `minidl.optim.settings.check_forms`.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> from minidl.tensor import Tensor
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> w.grad = Tensor([100.0, 0.01])
    >>> RMSprop([w], lr=0.5, alpha=0.0).step()
    >>> w.data.round(3)
    array([0.5, 1.5], dtype=float32)
    """

    rules: dict[str, Rule] = {
        "lr": LEARNING_RATE,
        "alpha": NON_NEGATIVE,
        "eps": NON_NEGATIVE,
        "weight_decay": NON_NEGATIVE,
        "momentum": NON_NEGATIVE,
        "centered": FLAG,
        "maximize": FLAG,
    }

    def __init__(
        self, params: Any, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        capturable: bool = False, differentiable: bool = False,
    ) -> None:
        check_forms(foreach, None, capturable, differentiable)
        defaults = dict(
            lr=lr, momentum=momentum, alpha=alpha, eps=eps, centered=centered, weight_decay=weight_decay,
            maximize=maximize,
        )  # fmt: skip
        super().__init__(params, defaults)

    @can_wait
    def update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        counted(state, param)
        rmsprop_update(
            param,
            grad,
            slot(state, "square_avg", param),
            slot(state, "grad_avg", param) if group["centered"] else None,
            slot(state, "momentum_buffer", param) if group["momentum"] > 0 else None,
            **settings(group, "lr alpha eps weight_decay momentum maximize"),
        )
