"""Registration of the attributes of a module: Parameters, buffers and modules are kept in tables, by name.

Assigning a Parameter or a module registers it. A buffer, which is state that is not trained, is registered by
`register_buffer`. A registered value can be replaced by one of the same kind or by None only.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.module import Module

TABLES = {"_parameters": "Parameter", "_buffers": "Tensor", "_modules": "Module"}


class Parameter(Tensor):
    """A Tensor that a module trains; it requires grad by default."""

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


# Changes are counted for what is derived from modules, such as the plan of a block that runs as one operation.
_changes = itertools.count()
_last_change = next(_changes)


def changes() -> int:
    """The number of changes of all modules so far: of an attribute, a parameter, a hook, the training mode.

    A result derived from modules is valid as long as this number stays the same.
    """
    return _last_change


def note_change() -> None:
    """Count a change of a module."""
    global _last_change
    if not _quiet.on:
        _last_change = next(_changes)


class _Quiet(threading.local):
    on = False


_quiet = _Quiet()


@contextlib.contextmanager
def unnoticed() -> Iterator[None]:
    """Make new modules in this block without counting changes: nothing was worked out from them yet."""
    _quiet.on = True
    try:
        yield
    finally:
        _quiet.on = False


class Hooks(dict[int, Callable[..., Any]]):
    """Hooks of a module by number; adding or removing one is a change."""

    def __setitem__(self, number: int, hook: Callable[..., Any]) -> None:
        note_change()
        super().__setitem__(number, hook)

    def pop(self, number: int, default: Any = None) -> Callable[..., Any] | None:
        """Remove a hook."""
        note_change()
        return super().pop(number, default)


class Registry:
    """The attributes of a `Module`."""

    def __init__(self) -> None:
        for table in TABLES:
            object.__setattr__(self, table, {})
        self._temporary_buffers = set()  # names of the buffers that are not saved

    def __setattr__(self, name: str, value: Any) -> None:
        note_change()
        table = _table_of(value)
        if table is not None and table not in self.__dict__:
            raise RuntimeError(f"{type(self).__name__}: call super().__init__() before assigning `{name}`")
        known = next((t for t in TABLES if name in self.__dict__.get(t, ())), None)
        if table is None and known is not None:
            self._check_kind(name, value, known)
            table = known
        if table is None:
            object.__setattr__(self, name, value)
            return
        if known != table:
            self._forget(name)
        self.__dict__[table][name] = value

    def _check_kind(self, name, value, table):
        """Raise unless `value` may replace a registered value: None, or a Tensor for a buffer."""
        if value is not None and not (table == "_buffers" and isinstance(value, Tensor)):
            raise TypeError(
                f"`{name}` of {type(self).__name__} is a {TABLES[table]} but {type(value).__name__} was assigned; "
                f"accepted: {TABLES[table]} or None; delete the attribute first to change its kind"
            )

    def _forget(self, name):
        self.__dict__.pop(name, None)
        self._temporary_buffers.discard(name)
        for table in TABLES:
            self.__dict__[table].pop(name, None)

    def __getattr__(self, name: str) -> Any:
        for table in TABLES:
            found = self.__dict__.get(table, {})
            if name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        note_change()
        if any(name in self.__dict__[table] for table in TABLES):
            self._forget(name)
        else:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for table in TABLES for name in self.__dict__[table])})

    def _register(self, table, name, value, kind):
        """Put `value` into its table, if the name is free and the kind is accepted."""
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"`name` is {name!r}; accepted: a string without dots, not empty")
        if hasattr(self, name) and name not in self.__dict__[table]:
            raise KeyError(f"`name` is {name!r}, which {type(self).__name__} has already")
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"`{name}` is a {type(value).__name__}; accepted: {TABLES[table]} or None")
        note_change()
        self.__dict__[table][name] = value

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Register a parameter, or None for an optional one that this layer does not have."""
        self._register("_parameters", name, parameter, Parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register a Tensor that is state but not trained; saved with the parameters if `persistent`."""
        self._register("_buffers", name, tensor, Tensor)
        (self._temporary_buffers.discard if persistent else self._temporary_buffers.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register a child module."""
        self._register("_modules", name, module, Registry)


def _table_of(value):
    return "_parameters" if isinstance(value, Parameter) else "_modules" if isinstance(value, Registry) else None
