"""Several optimisers as one: each has parameters of its own, and one step is a step of all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from minidl.optim.optimizer import Optimizer


class JointOptimizer(Optimizer):
    """Optimisers that step together; schedules, checkpoints and the training loop see the groups of all.

    Parameters
    ----------
    optimizers : list of Optimizer
        Over different parameters. From now on their state is kept here.

    Raises
    ------
    ValueError
        If two of them have the same parameter, or one has made a step already.

    Examples
    --------
    >>> from minidl import nn, optim
    >>> layer = nn.Linear(2, 2)
    >>> parts = optim.Muon([layer.weight], lr=0.1), optim.SGD([layer.bias], lr=0.5)
    >>> [group["lr"] for group in JointOptimizer(parts).param_groups]
    [0.1, 0.5]
    """

    optimizers: list[Optimizer]

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        self.defaults: dict[str, Any] = {}
        self.state: dict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = [group for part in self.optimizers for group in part.param_groups]
        self._part_of = {id(group): part for part in self.optimizers for group in part.param_groups}
        if len({id(param) for param in self._params()}) < len(self._params()):
            raise ValueError("`optimizers` have a parameter in common; accepted: each parameter in one of them")
        if any(part.state for part in self.optimizers):
            raise ValueError("`optimizers` holds one that has made a step; accepted: new ones")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refused: it would not say which of the optimisers is meant."""
        raise ValueError("`param_group` is for one optimiser; accepted: add it before they are joined")

    def update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        self._part_of[id(group)].update(param, grad, state, group)
