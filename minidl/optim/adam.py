"""Adam and AdamW: steps scaled by running averages of the gradient and of its square.

    m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
    w <- w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

The divisions by 1 - beta^t correct the bias of averages that begin at 0. Weight decay is added to g (Adam) or
shrinks w itself (AdamW); AMSGrad replaces v by the largest v so far. D. Kingma and J. Ba,
arXiv 1412.6980; I. Loshchilov and F. Hutter, arXiv 1711.05101; S. Reddi et al., "On the
convergence of Adam and beyond", 2018.
"""

from __future__ import annotations

from typing import Any

from minidl import backend
from minidl.backend import Array
from minidl.dispatch import dispatched
from minidl.optim.optimizer import Optimizer, can_wait, counted, slot
from minidl.optim.settings import BETAS, FLAG, LEARNING_RATE, NON_NEGATIVE, Rule, check_forms, settings
from minidl.optim.updates import gradient_to_descend, lerp, scalar


@dispatched
def adam_update(
    param: Array, grad: Array, exp_avg: Array, exp_avg_sq: Array, max_exp_avg_sq: Array | None, step: Array,
    lr: float | Array, beta1: float | Array, beta2: float | Array, eps: float, weight_decay: float, decoupled: bool,
    maximize: bool,
) -> None:  # fmt: skip
    """Step number `step` (from 1) of Adam; of AdamW if `decoupled`; of AMSGrad with a `max_exp_avg_sq`.

    Examples
    --------
    >>> import numpy as np
    >>> w, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> adam_update(w, np.array([3.0]), m, v, None, 1, 0.1, 0.9, 0.999, 0.0, 0, False, False)
    >>> w.round(6)
    array([0.9])
    """
    xp = backend.array_module(param)
    if decoupled and weight_decay != 0:
        param *= scalar(1 - lr * weight_decay, param)
        weight_decay = 0
    grad = gradient_to_descend(param, grad, weight_decay, maximize)
    lerp(exp_avg, grad, 1 - beta1)
    exp_avg_sq *= beta2
    exp_avg_sq += grad * (1 - beta2) * grad
    if max_exp_avg_sq is not None:
        xp.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
        exp_avg_sq = max_exp_avg_sq
    root = scalar(xp.sqrt(1 - beta2**step), param)
    step_size = scalar(lr / (1 - beta1**step), param)
    param -= exp_avg * step_size / (xp.sqrt(exp_avg_sq) / root + eps)


class Adam(Optimizer):
    """Adam: every weight has its own step size.

    Parameters
    ----------
    params : iterable of Tensor or dict
        The parameters, see `Optimizer`.
    lr : float or 0-d array
        Learning rate.
    betas : pair of float
        Decay of the averages of the gradient and of its square.
    eps : float
        Added to the denominator.
    weight_decay : float
        L2 penalty, or with `decoupled_weight_decay` the rate at which weights shrink.
    amsgrad : bool
        Divide by the largest average of squares so far.
    maximize : bool
        Ascend instead of descending.
    foreach, fused, differentiable : optional
        PyTorch's choices of implementation, see `minidl.optim.settings.check_forms`.
    decoupled_weight_decay : bool
        Decouple the weight decay, as `AdamW` does.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> from minidl.tensor import Tensor
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> w.grad = Tensor([100.0, 0.01])
    >>> Adam([w], lr=0.5).step()
    >>> w.data.round(3)
    array([0.5, 1.5], dtype=float32)
    """

    rules: dict[str, Rule] = {
        "lr": LEARNING_RATE,
        "betas": BETAS,
        "eps": NON_NEGATIVE,
        "weight_decay": NON_NEGATIVE,
        "amsgrad": FLAG,
        "maximize": FLAG,
        "decoupled_weight_decay": FLAG,
    }

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False, decoupled_weight_decay: bool = False,
        foreach: bool | None = None, fused: bool | None = None, capturable: bool = False, differentiable: bool = False,
    ) -> None:
        check_forms(foreach, fused, capturable, differentiable)
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )  # fmt: skip
        super().__init__(params, defaults)

    @can_wait
    def update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        step = counted(state, param)
        adam_update(
            param,
            grad,
            slot(state, "exp_avg", param),
            slot(state, "exp_avg_sq", param),
            slot(state, "max_exp_avg_sq", param) if group["amsgrad"] else None,
            step=step,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            decoupled=group["decoupled_weight_decay"],
            **settings(group, "lr eps weight_decay maximize"),
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: weights shrink by the factor ``1 - lr * weight_decay``.

    Parameters are those of `Adam`; only the default of `weight_decay` differs.

    Examples
    --------
    >>> from minidl.tensor import Tensor
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> w.grad = Tensor([0.0, 0.0])
    >>> AdamW([w], lr=0.5, weight_decay=0.1).step()
    >>> w.data.round(3)
    array([0.95, 1.9 ], dtype=float32)
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        fused: bool | None = None, capturable: bool = False, differentiable: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True,
            foreach=foreach, fused=fused, capturable=capturable, differentiable=differentiable,
        )  # fmt: skip
