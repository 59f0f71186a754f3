"""Lookahead: slow weights that follow an optimiser's fast ones.

    every k steps:  slow <- slow + alpha (fast - slow),  fast <- slow

The fast weights explore, the slow ones take the mean direction; the variance of the steps falls, and with it the need
for a small learning rate. M. Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", arXiv 1907.08610.

`minidl.capture` refuses a function that makes such a step: only every k-th has a meeting, so that no single record
stands for all. Capture the forward and the backward, and step outside.
"""

from __future__ import annotations

from typing import Any

from minidl.optim.optimizer import Optimizer
from minidl.optim.settings import COUNT, FRACTION
from minidl.optim.updates import lerp


class Lookahead(Optimizer):
    """Another optimiser whose weights are drawn back, every `k` steps, towards a slow copy of them.

    Parameters
    ----------
    optimizer : Optimizer
        A new one. From now on its state is kept here, next to the slow weights (slot ``"slow"``).
    k : int
        Steps from one meeting of slow and fast weights to the next.
    alpha : float
        The way that the slow weights go towards the fast ones, from 0 to 1.

    Raises
    ------
    ValueError
        If a setting is out of range, or `optimizer` has made a step already.

    Examples
    --------
    >>> from minidl import optim
    >>> from minidl.tensor import Tensor
    >>> w = Tensor([8.0], requires_grad=True)
    >>> lookahead = Lookahead(optim.SGD([w], lr=1.0), k=2, alpha=0.5)
    >>> for _ in range(2):
    ...     w.grad = Tensor([2.0])
    ...     lookahead.step()
    >>> w.data  # two steps to 4, and half the way back to 8
    array([6.], dtype=float32)
    """

    optimizer: Optimizer
    k: int
    alpha: float
    defaults: dict[str, Any]
    state: dict[Any, dict[str, Any]]
    param_groups: list[dict[str, Any]]

    def __init__(self, optimizer: Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        COUNT.check("k", k)
        FRACTION.check("alpha", alpha)
        if optimizer.state:
            raise ValueError("`optimizer` has made a step already; accepted: a new one")
        self.optimizer, self.k, self.alpha = optimizer, k, alpha
        self.defaults, self.state, self.param_groups = optimizer.defaults, optimizer.state, optimizer.param_groups
        for group in self.param_groups:
            group["steps_ahead"] = 0  # since the weights met; saved with the settings of the group

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the optimiser within; its first meeting is `k` steps from now."""
        self.optimizer.add_param_group({**param_group, "steps_ahead": 0})

    def _update_all(self):
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None and "slow" not in self.state[param]:
                    self.state[param]["slow"] = param.data.copy()
        super()._update_all()
        for group in self.param_groups:
            group["steps_ahead"] = (group["steps_ahead"] + 1) % self.k
            if group["steps_ahead"] == 0:
                self._meet(group["params"])

    def _meet(self, params):
        for param in params:
            if "slow" in self.state[param]:
                slow = self.state[param]["slow"]
                lerp(slow, param.data, self.alpha)
                param.data[...] = slow
                param.bump_version()

    def update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        self.optimizer.update(param, grad, state, group)
