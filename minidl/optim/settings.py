"""The settings of the groups of an optimiser: checking, reading and overwriting them.

A rule is a test and the words for the values that pass it; each optimiser has a table of them. A setting may be a
0-d array on the device, so that a schedule can change it for a captured step: such an array is never replaced, and
read on request only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from minidl import backend
from minidl.backend import Array
from minidl.checks import flag, is_integer, refused
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.optim.optimizer import Optimizer


@dataclass(frozen=True)
class Rule:
    """A test that a setting must pass, and the words for the values that do."""

    accepted: str
    passes: Callable

    def check(self, name: str, value: Any) -> None:
        """Raise a `ValueError` that names setting, value and what is accepted, unless `value` passes."""
        try:
            good = bool(self.passes(value)) and (not isinstance(value, int) or abs(value) < 10**308)
            good = good and getattr(value, "mask", None) is None  # what is masked is no number
            good = good and (not isinstance(value, Tensor) or value.ndim == 0)
        except (TypeError, ValueError, OverflowError):
            good = False
        if not good:
            raise refused(name, value, self.accepted)


def is_scalar_array(value: Any) -> bool:
    """True for an array of one element, a setting that a captured step reads each time."""
    return backend.is_array(value) and value.size == 1 and value.dtype.kind in "biuf"


# An array's value stays where it is (asking would wait for the device), so only its size is checked.
LEARNING_RATE = Rule("a number >= 0 or a 0-d array", lambda v: is_scalar_array(v) or 0 <= v < float("inf"))
NON_NEGATIVE = Rule("a number >= 0", lambda v: v >= 0)
POSITIVE = Rule("a number > 0", lambda v: v > 0)
NUMBER = Rule("a number", lambda v: v == v and -float("inf") < v < float("inf"))
FRACTION = Rule("a number from 0 to 1", lambda v: 0 <= v <= 1)
POSITIVE_FRACTION = Rule("a number > 0, at most 1", lambda v: 0 < v <= 1)
BETAS = Rule("two numbers >= 0 and < 1", lambda v: len(v) == 2 and all(0 <= beta < 1 for beta in v))
FLAG = Rule("True or False", lambda v: v in (True, False))
COUNT = Rule("a whole number >= 1", lambda v: is_integer(v) and v >= 1)


def check_forms(foreach: Any = None, fused: Any = None, capturable: bool = False, differentiable: bool = False) -> None:
    """Check PyTorch's choices among implementations of a step; every step here is fused and can be captured.

    Raises
    ------
    ValueError
        If a step is to be differentiated, or the options contradict each other.
    """
    forms = dict(foreach=foreach, fused=fused, capturable=capturable, differentiable=differentiable)
    for name, value in forms.items():
        if value is not None:
            flag(value, name)
    if differentiable:
        raise refused("differentiable", differentiable, "False: a step changes its parameters in place")
    if foreach and fused:
        raise ValueError("`fused` and `foreach` are both True; accepted: one of them")


def one_of(*choices: Any) -> Rule:
    """The rule that a setting is one of `choices`."""
    return Rule(", ".join(map(repr, choices)), lambda v: v in choices)


def assign(group: dict[str, Any], name: str, value: Any) -> None:
    """Set ``group[name]``; an array there is overwritten in place, since a captured step reads its address."""
    if backend.is_array(group.get(name)):
        write(group[name], value, name)
    else:
        group[name] = value.copy() if backend.is_array(value) else value


def write(array: Array, value: Any, name: str) -> None:
    """Overwrite `array` with `value`, a number, array or Tensor; `name` is for the error about shapes."""
    check_shape(value, array.shape, name)
    value = value.data if isinstance(value, Tensor) else value
    array[...] = backend.to_device(value, backend.device_of(array)) if backend.is_array(value) else value


def check_shape(value: Any, shape: tuple[int, ...], name: str) -> None:
    """Raise a `ValueError` unless `value` (a number has shape ``()``) has the given shape."""
    found = getattr(value, "shape", ())
    if found != shape:
        raise ValueError(f"`{name}` has shape {found}; accepted: {shape}")


def as_float(value: Any) -> float:
    """A number, or an array or Tensor of one element, as a Python float (waits for the device)."""
    value = value.data if isinstance(value, Tensor) else value
    return float(backend.to_numpy(value).item() if backend.is_array(value) else value)


def check_keys(needed: Sequence[str], state_dict: dict[str, Any]) -> None:
    """Raise a `ValueError` that names what is missing from `state_dict`."""
    missing = sorted(set(needed) - set(state_dict))
    if missing:
        raise ValueError(f"`state_dict` lacks {missing}; found: {sorted(state_dict)}")


def saved_groups(state_dict: Any, groups: list[dict[str, Any]], defaults: dict[str, Any]) -> list[dict[str, Any]]:
    """The parameter groups of `state_dict`, once they are known to be of such an optimiser over as many parameters.

    A flag that they lack stays as it is: PyTorch's groups, and those of earlier versions, do not have all of ours.

    Raises
    ------
    TypeError, ValueError
        Naming what differs.
    """
    if not isinstance(state_dict, dict):
        raise refused("state_dict", state_dict, "what state_dict() of such an optimizer returned", TypeError)
    check_keys(("state", "param_groups"), state_dict)
    saved = state_dict["param_groups"]
    found, accepted = ([len(group["params"]) for group in several] for several in (saved, groups))
    if found != accepted:
        raise ValueError(f"`state_dict` has parameter groups of {found} parameters; accepted: {accepted}")
    numbers = [name for name, value in defaults.items() if value is not None and not isinstance(value, bool)]
    for group in saved:
        missing = [name for name in numbers if name not in group]
        if missing:
            raise ValueError(f"`state_dict` is of another kind of optimizer: its groups lack {missing}")
    strays = sorted(set(state_dict["state"]) - {number for group in saved for number in group["params"]}, key=str)
    if strays:
        raise ValueError(f"`state_dict` has slots of parameters {strays}, which are in none of its groups")
    return saved


def per_group(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """`value` as a list with an entry for each group; a list must have that length already."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(f"`{name}` has {len(value)} entries; accepted: one, or {groups}, the number of groups")
    return list(value)


def settings(group: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those settings of `group` that `names` lists, for a kernel that knows them by the same names.

    Examples
    --------
    >>> settings({"lr": 0.1, "eps": 1e-8, "params": []}, "lr eps")
    {'lr': 0.1, 'eps': 1e-08}
    """
    return {name: group[name] for name in names.split()}
