"""The parts of a seeded fault: how it gets in, and which check of the suite has to notice.

A fault is put in by replacing one function with one that does almost the same; a check is a function without
arguments that raises an AssertionError, or fails since an error did not come. The checks are those that the suite runs
anyway: rows of the drawn table, PyTorch's reference values, the tests of kernels, optimisers, loaders and blocks.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Callable

import numpy as np
import table_rows  # noqa: F401 (these fill the table)
import table_rows_layers  # noqa: F401
import table_rows_losses  # noqa: F401
import table_rows_shapes  # noqa: F401
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from table_checks import REFERENCE_ROWS, check_fast, check_first, check_reference, check_second
from table_draws import trials

import minidl
from minidl import Tensor

quick = settings(
    max_examples=40,
    phases=[Phase.generate],
    database=None,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Fault:
    """`inject` takes a monkeypatch; `check` is the check that must fail while it is in."""

    place: str
    name: str
    inject: Callable
    check: Callable


FAULTS: list = []


def fault(place, name, inject, check):
    """Add a row to the table of faults."""
    FAULTS.append(Fault(place, name, inject, check))


# ---------------------------------------------------------------- ways in


def after(owner, name, change):
    """The function `name` of `owner`, whose result then becomes ``change(result, *arguments)``."""

    def inject(monkeypatch):
        right = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, **o: change(right(*a, **o), *a))

    return inject


def instead(owner, name, wrong):
    """``wrong(right, *arguments, **options)`` in place of the function `name` of `owner`."""

    def inject(monkeypatch):
        right = getattr(owner, name)
        replacement = lambda *a, **o: wrong(right, *a, **o)  # noqa: E731 (a method, if `owner` is a class)
        static = isinstance(owner, type) and isinstance(vars(owner).get(name), staticmethod)
        monkeypatch.setattr(owner, name, staticmethod(replacement) if static else replacement)

    return inject


def fast_form(kernel, wrong):
    """``wrong(right, *arguments, **options)`` in place of the kernel's form for NumPy arrays."""

    def inject(monkeypatch):
        kernel.find(np.empty(1))
        right = kernel.forms[np.ndarray]
        monkeypatch.setitem(kernel.forms, np.ndarray, lambda *a, **o: wrong(right, *a, **o))

    return inject


def plain_form(kernel, wrong):
    """``wrong(right, *arguments, **options)`` in place of the kernel's plain form."""
    return instead(kernel, "plain", wrong)


def node_type(name):
    """The Function behind an elementwise op."""
    return type(getattr(minidl, name)(Tensor(np.ones(1), requires_grad=True)).node)


def changed(i, change):
    """For `after` a backward: gradient number `i` becomes ``change(gradient)``."""

    def change_one(result, *_):
        result = list(result) if isinstance(result, tuple) else [result]
        result[i] = None if result[i] is None else change(result[i])
        return tuple(result) if len(result) > 1 else result[0]

    return change_one


# ---------------------------------------------------------------- checks


@lru_cache(maxsize=None)
def drawn(op, check=check_second):
    """40 trials of a row of the drawn table."""

    @quick
    @given(trials(op))
    def run(trial):
        check(trial)

    return run


first, fast = partial(drawn, check=check_first), partial(drawn, check=check_fast)


@lru_cache(maxsize=None)
def reference(name, forms="plain"):
    """The row of that name against PyTorch's numbers."""
    (case,) = (case for case in REFERENCE_ROWS if case.name == name)
    return partial(check_reference, case, forms)


@lru_cache(maxsize=None)
def test_of(test, *arguments, examples=60):
    """A test of the suite: with its arguments, or, if hypothesis draws them, over random draws without shrinking."""
    handle = getattr(test, "hypothesis", None)
    if handle is None:
        return partial(test, *arguments)

    def check():
        rng = np.random.default_rng(0)
        for _ in range(examples):
            handle.fuzz_one_input(rng.bytes(400))

    return check


test_of.__test__ = False
__all__ = [
    "FAULTS",
    "after",
    "changed",
    "drawn",
    "fast",
    "fast_form",
    "fault",
    "first",
    "instead",
    "node_type",
    "plain_form",
    "reference",
    "st",
    "test_of",
]
