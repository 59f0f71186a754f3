"""The base of all optimisers: groups of parameters, slots per parameter, saving and loading.

A parameter group is a dict: ``"params"`` and the settings that hold for them, such as
``"lr"``. A slot is an array that an optimiser keeps per parameter, such as a momentum
buffer; ``optimizer.state[parameter]`` is a dict of them. An optimiser itself is the one
method :meth:`Optimizer.update`, which changes the array of one parameter in place. No value is read from the device,
and every array keeps its address. With ``lr`` as a 0-d array on the device, a schedule overwrites it without a
transfer.

Layout and names are those of ``torch.optim.Optimizer``.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from minidl import backend
from minidl.backend import Array
from minidl.optim.settings import Rule, assign, check_shape, saved_groups, write
from minidl.optim.updates import together
from minidl.tensor import Tensor, enable_grad, zero_gradients


class Optimizer:
    """Base class; a subclass defines ``rules``, a table of its settings, and :meth:`update`.

    Parameters
    ----------
    params : iterable
        Tensors, ``(name, tensor)`` pairs, or dicts (one per parameter group).
    defaults : dict
        Settings of the groups that do not set their own.

    Raises
    ------
    TypeError
        If `params` holds an object that is not a Tensor.
    ValueError
        If there are no parameters, one appears twice, or a setting is out of range.

    Examples
    --------
    >>> from minidl.tensor import Tensor
    >>> class SignDescent(Optimizer):
    ...     def update(self, param, grad, state, group):
    ...         param -= group["lr"] * (grad > 0) - group["lr"] * (grad < 0)
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> w.grad = Tensor([5.0, -5.0])
    >>> SignDescent([w], {"lr": 0.5}).step()
    >>> w.data
    array([0.5, 2.5], dtype=float32)
    """

    rules: dict[str, Rule] = {}

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: dict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        for group in _as_groups(params):
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with ``"params"`` and the settings in which the group differs from the defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"`param_group` is {_kind(param_group)}; accepted: a dict")
        if "params" not in param_group:
            raise TypeError(f"`param_group` is a dict without the key 'params'; found: {sorted(param_group)}")
        group = {**self.defaults, **param_group, **_split_names(param_group["params"])}
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for index, param in enumerate(group["params"]):
            _check_param(param, index, known)
            known.add(id(param))
        for name, rule in self.rules.items():
            rule.check(name, group[name])
        self.check_group(group)
        if self.param_groups and ("param_names" in group) != ("param_names" in self.param_groups[0]):
            raise ValueError("`param_group` differs from the other groups in naming its parameters; name all or none")
        self.param_groups.append(group)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise a `ValueError` if the settings of `group` contradict each other; most optimisers accept any."""

    # -- the step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Called first, to recompute loss and gradients; its result is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if type(self).__module__.startswith("minidl."):
            backend.quietly(self._update_all)
        else:
            self._update_all()
        return loss

    def _update_all(self):
        with together() if getattr(self.update, "can_wait", False) else contextlib.nullcontext():
            for group in self.param_groups:
                for param in group["params"]:
                    if param.grad is not None:
                        self.update(param.data, param.grad.data, self.state[param], group)
                        param.bump_version()

    def update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change the array `param` in place, given its gradient, its slots and the settings of its group."""
        raise NotImplementedError(f"{type(self).__name__} does not define update(param, grad, state, group)")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros if `set_to_none` is false."""
        zero_gradients(self._params(), set_to_none)

    def _params(self):
        return [param for group in self.param_groups for param in group["params"]]

    # -- saving and loading

    def state_dict(self) -> dict[str, Any]:
        """The settings and slots as ``{"state": {index: slots}, "param_groups": [settings]}``.

        Parameters are numbered through the groups. The slots are not copies, as in PyTorch: save or copy them before
        the next step.
        """
        number = {id(param): index for index, param in enumerate(self._params())}
        state = {number[id(param)]: dict(slots) for param, slots in self.state.items() if slots}
        groups = [{**group, "params": [number[id(p)] for p in group["params"]]} for group in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load settings and slots that :meth:`state_dict` returned; arrays are copied.

        Raises
        ------
        ValueError
            If it is of another kind of optimiser, the groups differ in number or size, or a slot in shape.
        """
        groups = saved_groups(state_dict, self.param_groups, self.defaults)
        numbers = [number for group in groups for number in group["params"]]
        loaded = [(param, state_dict["state"].get(number, {})) for number, param in zip(numbers, self._params())]
        for index, (param, saved) in enumerate(loaded):  # all are checked before any is written
            for name, value in saved.items():
                check_shape(value, _slot_shape(name, param), f"{name}[{index}]")
        state = {param: _loaded_slots(self.state.get(param, {}), saved, param.data) for param, saved in loaded if saved}
        self.state = defaultdict(dict, state)
        for group, saved in zip(self.param_groups, groups):
            for name, value in saved.items():
                if name != "params":
                    assign(group, name, value)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for index, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {index}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def can_wait(update: Any) -> bool:
    """Decorator of an :meth:`update` whose calls for all parameters may run together, at the end of a step."""
    update.can_wait = True
    return update


def _as_groups(params):
    if isinstance(params, (Tensor, str, dict, set)) or not isinstance(params, Iterable):
        raise TypeError(f"`params` is {_kind(params)}; accepted: an iterable of Tensors or of dicts")
    params = list(params)
    if not params:
        raise ValueError("`params` is empty; accepted: at least one Tensor (was the generator used up?)")
    return params if isinstance(params[0], dict) else [{"params": params}]


def _split_names(params):
    """The entries ``params`` and, for pairs of name and Tensor, ``param_names`` of a group."""
    if isinstance(params, Tensor):
        return {"params": [params]}
    if isinstance(params, (set, str)) or not isinstance(params, Iterable):
        raise TypeError(f"`params` is {_kind(params)}; accepted: a Tensor, or Tensors in an order that stays")
    params = list(params)
    named = [isinstance(param, tuple) for param in params]
    if not any(named):
        return {"params": params}
    if not all(named):
        raise ValueError("`params` names some of its parameters; accepted: names for all or for none")
    names, params = zip(*params)
    return {"params": list(params), "param_names": list(names)}


def _check_param(param, index, known):
    if not isinstance(param, Tensor):
        raise TypeError(f"`params` holds {_kind(param)} at index {index}; accepted: Tensors")
    if not param.is_leaf:
        raise ValueError(f"`params` holds a computed Tensor at index {index}; accepted: leaves, such as parameters")
    if id(param) in known:
        raise ValueError(f"`params` holds the Tensor at index {index} twice; accepted: each parameter once")


def _loaded_slots(current, saved, param):
    """Slots with the values of `saved`, in the arrays of `current` where there are any."""
    slots = {}
    for name, value in saved.items():
        slots[name] = slot(current, name, param)
        write(slots[name], value, name)
    return slots


def slot(state: dict[str, Any], name: str, param: Array) -> Array:
    """The array ``state[name]``, zeros at first: the count ``"step"`` is 0-d and exact, other slots are like `param`.

    The count is on the device as well, so that a step recorded as a CUDA graph increments it when replayed.
    """
    if name not in state:
        xp = backend.array_module(param)
        state[name] = xp.zeros((), dtype="float64") if name == "step" else xp.zeros_like(param)
    return state[name]


def counted(state: dict[str, Any], param: Array) -> Array:
    """The number of this step, from 1, as a 0-d array on the device of `param`."""
    step = slot(state, "step", param)
    step += 1
    return step


def _slot_shape(name, param):
    return () if name == "step" else param.shape


def _kind(value):
    return f"a {type(value).__name__}"
