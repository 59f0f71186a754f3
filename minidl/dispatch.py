"""From an operation to a faster form of it: one table, looked up once for each kind of array.

An operation on arrays is a plain function in terms that NumPy and CuPy share, next to the `Function` that
differentiates it. :func:`dispatched` lets a faster form take its place where there is one:

    @dispatched
    def relu_forward(x):                     # reads like the textbook, runs everywhere
        return array_module(x).maximum(x, 0)

Faster forms live on the second storey, ``minidl/kernels``, whose ``table.py`` names the module that has one. This file
is the only one of the first storey that looks there, and it does so by name: without that folder, without Numba, or
under ``MINIDL_KERNELS=plain`` everything runs in its plain form. A faster form may return ``NotImplemented`` for
arguments that it does not take (an unusual dtype, say); then the plain form runs.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar

from minidl import backend
from minidl.backend import Array
from minidl.once import once

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
TABLE = "minidl.kernels.table"

_fast = os.environ.get("MINIDL_KERNELS", "fast")
if _fast not in ("fast", "plain"):
    raise ValueError(f"`MINIDL_KERNELS` is {_fast!r}; accepted: fast, plain")


def kernels_in_use() -> str:
    """Return ``"fast"`` or ``"plain"``: the forms that operations run in now (see `using`).

    Examples
    --------
    >>> with using("plain"):
    ...     kernels_in_use()
    'plain'
    """
    return _fast


@contextlib.contextmanager
def using(forms: str) -> Iterator[None]:
    """Run the block with the ``"fast"`` forms of operations where there are any, or with the ``"plain"`` ones only.

    Raises
    ------
    ValueError
        If `forms` is something else.
    """
    global _fast
    if forms not in ("fast", "plain"):
        raise ValueError(f"`forms` is {forms!r}; accepted: 'fast', 'plain'")
    before, _fast = _fast, forms
    try:
        yield
    finally:
        _fast = before


@once
def _table():
    """The second storey's module ``table``, or None where there is no second storey."""
    room = TABLE.rpartition(".")[0]
    return importlib.import_module(TABLE) if importlib.util.find_spec(room) is not None else None


@once
def _faster_form(operation, family):
    """The second storey's form of `operation` for a family of array types, or None."""
    table = _table()
    return None if table is None else table.find(operation, family)


def form_for(operation: str, array: Array) -> Any:
    """The faster form of `operation` for arrays like `array`, or None where the plain one is to run.

    Parameters
    ----------
    operation : str
        Module and name below ``minidl``, as in the table.
    array : array
    """
    return _faster_form(operation, backend.kind_of(array).family) if _fast == "fast" else None


class Dispatched(Generic[P, R]):
    """A plain function that gives way to a faster form of it for the type of its first argument.

    An operation on several arrays takes them as a list, and the first one decides.

    Attributes
    ----------
    plain : callable
        The definition.
    name : str
        The operation's name in the table: module and function, below ``minidl``.
    """

    def __init__(self, plain: Callable[P, R]) -> None:
        functools.update_wrapper(self, plain)
        self.plain: Callable[P, R] = plain
        self.name: str = f"{plain.__module__}.{plain.__name__}".removeprefix("minidl.")
        self.forms: dict[type, Any] = {}  # array type: faster form or None

    def __call__(self, *args: P.args, **options: P.kwargs) -> R:
        form = self.find(args[0])
        if form is not None:
            result = form(*args, **options)
            if result is not NotImplemented:
                return result
        return self.plain(*args, **options)

    def find(self, first: Any) -> Any:
        """The faster form for arrays like `first`, or None."""
        if _fast != "fast":
            return None
        first = first[0] if type(first) is list else first
        try:
            return self.forms[type(first)]
        except KeyError:
            form = self.forms[type(first)] = _faster_form(self.name, backend.kind_of(first).family)
            return form


dispatched = Dispatched


def dispatched_method(plain: F) -> F:
    """Let the method ``plain(self, x, ...)`` of a module give way to a faster form for the array of the Tensor `x`."""
    name = f"{plain.__module__}.{plain.__qualname__}".removeprefix("minidl.")

    @functools.wraps(plain)
    def method(self, x, *args):
        form = form_for(name, x.data)
        result = NotImplemented if form is None else form(self, x, *args)
        return plain(self, x, *args) if result is NotImplemented else result

    return method


def machine() -> dict[str, str]:
    """Facts of this processor as the second storey knows them: names and values to print; {} where there is none."""
    table = _table()
    return {} if table is None else table.machine()
