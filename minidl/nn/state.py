"""The state of a module as a flat dictionary: reading, writing and moving it.

Names are the paths of the attributes joined by dots, as in PyTorch, so that weights move both ways. A module at two
places of the tree is listed at both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minidl import backend
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.module import Module

OPTIONAL = "num_batches_tracked"  # the one entry that only ``momentum=None`` needs


class LoadResult(NamedTuple):
    """The names that did not match in `load`."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def collect(module: Module, prefix: str = "") -> dict[str, Tensor]:
    """Dotted names to Tensors that share memory with `module`: parameters and persistent buffers."""
    own = {**module._parameters, **module._buffers}
    state = {
        prefix + name: value.detach()
        for name, value in own.items()
        if value is not None and name not in module._temporary_buffers
    }
    for name, child in module.named_children():
        state.update(collect(child, f"{prefix}{name}."))
    return state


def load(module: Module, state_dict: dict[str, Any], strict: bool = True) -> LoadResult:
    """Copy values into parameters and buffers, in place.

    Parameters
    ----------
    module : Module
    state_dict : mapping of str to Tensor or array
    strict : bool
        Refuse missing and unexpected names; wrong shapes are always refused. A count of batches
        may be missing: weights that other programs saved often have none.

    Returns
    -------
    (missing_keys, unexpected_keys) : two lists of names

    Raises
    ------
    TypeError
        If an entry is not an array.
    RuntimeError
        If entries are missing, unexpected or of another shape; all are named.

    In either case, the module is unchanged.

    Examples
    --------
    >>> from minidl import nn
    >>> net = nn.Linear(2, 1)
    >>> net.load_state_dict({"weight": net.weight}, strict=False)
    LoadResult(missing_keys=['bias'], unexpected_keys=[])
    """
    own = collect(module)
    arrays = {name: _array(name, value) for name, value in state_dict.items()}
    missing = [name for name in own if name not in arrays and not name.endswith(OPTIONAL)]
    unexpected = [name for name in arrays if name not in own]
    fitting = [name for name in own if name in arrays]
    wrong = [
        f"{name}: {arrays[name].shape} found, {own[name].shape} accepted"
        for name in fitting
        if arrays[name].shape != own[name].shape
    ]
    faults = [("wrong shape of", wrong)]
    if strict:
        faults += [("missing", missing), ("unexpected", unexpected)]
    text = "; ".join(f"{what} {', '.join(names)}" for what, names in faults if names)
    if text:
        raise RuntimeError(f"`state_dict` does not fit {type(module).__name__}: {text}")
    for name in fitting:
        _write(own[name], arrays[name])
    return LoadResult(missing, unexpected)


def _array(name, value):
    value = value.data if isinstance(value, Tensor) else value
    if not backend.is_array(value) and not isinstance(value, np.generic):
        raise TypeError(f"`state_dict` has a {type(value).__name__} at {name!r}; accepted: tensors and arrays")
    return value


def _write(tensor, array):
    tensor.data[...] = backend.to_device(array, tensor.device)
    tensor.bump_version()


def move(module: Module, target: Any) -> None:
    """Move every parameter and buffer to new memory on a device, or of a floating dtype; gradients are dropped.

    Raises
    ------
    TypeError
        If `target` is neither a device's name nor a floating dtype.
    """
    is_device = backend.is_device_name(target)
    dtype = None if is_device else _floating(target)
    for value in [*module.parameters(), *module.buffers()]:
        if is_device:
            value.data = backend.to_device(value.data, target)
        elif value.dtype.kind == "f":
            value.data = value.data.astype(dtype, copy=False)
        value.grad = None


def _floating(target):
    try:
        dtype = np.dtype(target)
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind != "f":
        raise TypeError(f"`to` was given {target!r}; accepted: a device such as 'cpu', or a floating dtype")
    return dtype
