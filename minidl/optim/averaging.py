"""Averages of the weights during training: Polyak's and the exponential moving one.

The point around which a noisy descent moves is better than any point it passes. With n models averaged already,
both averages follow one rule, ``mean <- mean + weight(n) (w - mean)``:

    Polyak       weight(n) = 1 / (n + 1)     every model has the same weight
    exponential  weight(n) = 1 - decay       a memory of about 1 / (1 - decay) updates

and weight(0) = 1: the first model is copied. Buffers, such as running statistics, are
copied from the newest model or, on request, averaged too. Means and count stay on the
device and keep their memory. B. Polyak and A. Juditsky, "Acceleration of stochastic
approximation by averaging", 1992; P. Izmailov et al., arXiv 1803.05407.
"""

from __future__ import annotations

import contextlib
from typing import Any

from minidl import backend
from minidl.backend import Array
from minidl.optim.settings import FRACTION, check_keys, write
from minidl.optim.updates import lerp, together


class AveragedModel:
    """The mean of the parameters of a module over all calls of :meth:`update_parameters` (Polyak averaging).

    Parameters
    ----------
    model : Module
        The module to average; the averages begin as copies of its weights.
    use_buffers : bool
        Average floating-point buffers too, instead of copying the newest.

    Examples
    --------
    >>> from minidl import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = AveragedModel(model)
    >>> for value in [1.0, 3.0]:
    ...     model.weight.data[...] = value
    ...     average.update_parameters()
    >>> with average.applied():
    ...     print(model.weight.item())
    2.0
    >>> print(model.weight.item())
    3.0
    """

    def __init__(self, model: Any, use_buffers: bool = False) -> None:
        self.model = model
        self.use_buffers = use_buffers
        live = _tensors(model)
        if not live:
            raise ValueError(f"`model` is a {type(model).__name__} without parameters; accepted: at least one")
        self.averages: dict[str, Array] = {name: tensor.data.copy() for name, tensor in live.items()}
        copied = set() if use_buffers else {name for name, _ in model.named_buffers()}
        self._averaged = {name for name, mean in self.averages.items() if mean.dtype.kind == "f"} - copied
        first = next(iter(self.averages.values()))
        self.n_averaged: Array = backend.array_module(first).zeros((), dtype="float64")
        self._applied = False

    def weight(self, n: int) -> float:
        """The share of a new model in the mean, given the count `n`, a 0-d array."""
        return 1 / (n + 1)

    def update_parameters(self, model: Any = None) -> None:
        """Include the present weights of `model` (default: that of the constructor) in the averages."""
        self._refuse_when_applied("update_parameters")
        live = _tensors(self.model if model is None else model)
        check_keys(self.averages, live)
        weight = self.weight(self.n_averaged)
        with together():
            for name, mean in self.averages.items():
                if name in self._averaged:
                    lerp(mean, live[name].data, weight)
                else:
                    mean[...] = live[name].data
        self.n_averaged += 1

    @contextlib.contextmanager
    def applied(self) -> Any:
        """Context in which the model has the averaged weights; its own are restored after it, bit for bit."""
        self._refuse_when_applied("applied")
        self._swap()
        self._applied = True
        try:
            yield self.model
        finally:
            self._applied = False
            self._swap()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the model with the averaged weights."""
        with self.applied():
            return self.model(*args, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """The averages by name and the count ``n_averaged``; not copies, so save them before the next update."""
        self._refuse_when_applied("state_dict")
        return {"n_averaged": self.n_averaged, **self.averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Overwrite averages and count with a state that :meth:`state_dict` returned."""
        self._refuse_when_applied("load_state_dict")
        own = self.state_dict()
        check_keys(own, state_dict)
        for name, array in own.items():
            write(array, state_dict[name], name)

    def _swap(self):
        for name, tensor in _tensors(self.model).items():
            mean = self.averages[name]
            live = tensor.data.copy()
            tensor.data[...] = mean
            mean[...] = live
            tensor.bump_version()

    def _refuse_when_applied(self, name):
        if self._applied:
            raise RuntimeError(f"{name}() inside applied(): the averages are in the model at present")


def _tensors(model):
    """The parameters and buffers of `model` by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


class ExponentialMovingAverage(AveragedModel):
    """An exponential moving average: ``mean = decay * mean + (1 - decay) * model`` at each update.

    Parameters
    ----------
    model : Module
        The module to average.
    decay : float
        From 0 (the newest weights) to 1 (the first).
    warm_up : bool
        Begin with a smaller decay: it is at most ``(1 + n) / (10 + n)``.
    use_buffers : bool
        Average floating-point buffers too, instead of copying the newest.

    Raises
    ------
    ValueError
        If `decay` is not from 0 to 1.

    Examples
    --------
    >>> from minidl import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> ema = ExponentialMovingAverage(model, decay=0.75)
    >>> for value in [1.0, 3.0]:
    ...     model.weight.data[...] = value
    ...     ema.update_parameters()
    >>> float(ema.averages["weight"][0, 0])
    1.5
    """

    def __init__(self, model: Any, decay: float = 0.999, warm_up: bool = False, use_buffers: bool = False) -> None:
        FRACTION.check("decay", decay)
        self.decay = decay
        self.warm_up = warm_up
        super().__init__(model, use_buffers)

    def weight(self, n: int) -> float:
        xp = backend.array_module(n)
        decay = xp.minimum(self.decay, (1 + n) / (10 + n)) if self.warm_up else self.decay
        return xp.where(n == 0, 1.0, 1 - decay)
