"""Adam and AdamW: steps scaled by running averages of the gradient and of its square.

    m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
    w <- w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

The divisions by 1 - beta^t undo the start at zero. Weight decay is added to g (Adam) or
shrinks w itself (AdamW); AMSGrad replaces v by the largest v so far. D. Kingma and J. Ba,
arXiv 1412.6980; I. Loshchilov and F. Hutter, arXiv 1711.05101; S. Reddi et al., "On the
convergence of Adam and beyond", 2018.
"""

from __future__ import annotations

from minidl.kernels import optimisers
from minidl.optim.optimizer import Optimizer, can_wait, counted, slot
from minidl.optim.settings import BETAS, FLAG, LEARNING_RATE, NON_NEGATIVE, check_forms, settings


class Adam(Optimizer):
    """Adam: every weight has its own step size.

    Parameters
    ----------
    params : iterable of Tensor or dict
        What to optimise, see `Optimizer`.
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
        Climb instead of descending.
    foreach, fused, differentiable : optional
        PyTorch's choices of form, see `minidl.optim.settings.check_forms`.
    decoupled_weight_decay : bool
        Do as `AdamW` does.

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

    rules = {
        "lr": LEARNING_RATE,
        "betas": BETAS,
        "eps": NON_NEGATIVE,
        "weight_decay": NON_NEGATIVE,
        "amsgrad": FLAG,
        "maximize": FLAG,
        "decoupled_weight_decay": FLAG,
    }

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        maximize=False,
        decoupled_weight_decay=False,
        foreach=None,
        fused=None,
        capturable=False,
        differentiable=False,
    ):
        check_forms(foreach, fused, capturable, differentiable)
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )  # fmt: skip
        super().__init__(params, defaults)

    @can_wait
    def update(self, param, grad, state, group):
        step = counted(state, param)
        optimisers.adam(
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
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *, maximize=False,
        foreach=None, fused=None, capturable=False, differentiable=False,
    ):  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True,
            foreach=foreach, fused=fused, capturable=capturable, differentiable=differentiable,
        )  # fmt: skip
