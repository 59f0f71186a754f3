"""Stochastic gradient descent with momentum, as PyTorch writes it.

With gradient g, momentum m, dampening d and learning rate lr,

    b <- m b + (1 - d) g         (b is g at the first step)
    w <- w - lr b                (Nesterov: w - lr (g + m b))

so the buffer b holds a sum of gradients, not of steps: a change of lr acts at once.
Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
"""

from __future__ import annotations

from typing import Any

from minidl.backend import Array
from minidl.dispatch import dispatched
from minidl.optim.optimizer import Optimizer, can_wait, slot
from minidl.optim.settings import FLAG, LEARNING_RATE, NON_NEGATIVE, NUMBER, Rule, check_forms
from minidl.optim.updates import gradient_to_descend, scalar


@dispatched
def sgd_update(
    param: Array, grad: Array, momentum_buffer: Array | None, lr: float | Array, momentum: float | Array,
    dampening: float | Array, weight_decay: float, nesterov: bool, maximize: bool, first: bool,
) -> None:  # fmt: skip
    """One step of stochastic gradient descent; `momentum_buffer` may be None, and is only written if `first`.

    Examples
    --------
    >>> import numpy as np
    >>> w, buffer = np.array([1.0]), np.array([2.0])
    >>> sgd_update(w, np.array([4.0]), buffer, 0.1, 0.5, 0, 0, False, False, False)
    >>> w, buffer
    (array([0.5]), array([5.]))
    """
    grad = gradient_to_descend(param, grad, weight_decay, maximize)
    if momentum_buffer is not None:
        if first:
            momentum_buffer[...] = grad
        else:
            momentum_buffer *= momentum
            momentum_buffer += grad * (1 - dampening)
        grad = grad + momentum_buffer * momentum if nesterov else momentum_buffer
    param -= grad * scalar(lr, param)


class SGD(Optimizer):
    """Stochastic gradient descent, optionally with (Nesterov) momentum.

    Parameters
    ----------
    params : iterable of Tensor or dict
        The parameters, see `Optimizer`.
    lr : float or 0-d array
        Learning rate.
    momentum, dampening : float
        The shares of the old direction that stays, and of the new gradient that is held back.
    weight_decay : float
        L2 penalty: this times the parameter is added to its gradient.
    nesterov : bool
        Look one momentum step ahead.
    maximize : bool
        Climb instead of descending.
    foreach, fused, differentiable : optional
        PyTorch's choices of form, see `minidl.optim.settings.check_forms`.

    Raises
    ------
    ValueError
        If a setting is out of range, or Nesterov comes without momentum or with dampening.

    Examples
    --------
    >>> from minidl.tensor import Tensor
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> w.grad = Tensor([1.0, 1.0])
    >>> SGD([w], lr=0.5).step()
    >>> w.data
    array([0.5, 1.5], dtype=float32)
    """

    rules: dict[str, Rule] = {
        "lr": LEARNING_RATE,
        "momentum": NON_NEGATIVE,
        "dampening": NUMBER,
        "weight_decay": NON_NEGATIVE,
        "nesterov": FLAG,
        "maximize": FLAG,
    }

    def __init__(
        self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0,
        nesterov: bool = False, *, maximize: bool = False, foreach: bool | None = None, fused: bool | None = None,
        differentiable: bool = False,
    ) -> None:
        check_forms(foreach, fused, differentiable=differentiable)
        defaults = dict(
            lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
            maximize=maximize,
        )  # fmt: skip
        super().__init__(params, defaults)

    def check_group(self, group: dict[str, Any]) -> None:
        """Nesterov momentum needs momentum and no dampening."""
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"`nesterov` is True with `momentum` {group['momentum']} and `dampening` {group['dampening']}; "
                "accepted: a momentum > 0 and a dampening of 0"
            )

    @can_wait
    def update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        first, momentum = "momentum_buffer" not in state, group["momentum"]
        sgd_update(
            param, grad, slot(state, "momentum_buffer", param) if momentum != 0 else None, lr=group["lr"],
            momentum=momentum, dampening=group["dampening"], weight_decay=group["weight_decay"],
            nesterov=group["nesterov"], maximize=group["maximize"], first=first,
        )  # fmt: skip
