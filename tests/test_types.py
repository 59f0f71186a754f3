"""Type hints on the whole public surface: every public function, class and method says what it takes and returns."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = (
    "minidl",
    "minidl.nn",
    "minidl.nn.functional",
    "minidl.nn.init",
    "minidl.nn.utils",
    "minidl.optim",
    "minidl.optim.lr_scheduler",
    "minidl.data",
    "minidl.distributed",
    "minidl.gradcheck",
    "minidl.training",
)


def public_names(module):
    """The names that a module exports, and the objects that they name."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("minidl.")
    ]
    return {name: getattr(module, name) for name in names}


def functions_of(name, value):
    """(qualified name, function) of a function, or of a class's own public methods and its constructor."""
    if inspect.isfunction(value):
        yield name, value
    if not inspect.isclass(value):
        return
    for key, member in vars(value).items():
        if key.startswith("_") and key not in ("__init__", "__call__"):
            continue
        member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.isfunction(member) and member.__module__.startswith("minidl."):
            yield f"{name}.{key}", member


def unannotated(function):
    """The parameters of a function without a hint, and "return" where its result has none."""
    signature = inspect.signature(function)
    names = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in ("self", "cls")]
    return names + ["return"] * (signature.return_annotation is signature.empty)


@pytest.mark.parametrize("place", MODULES)
def test_public_names_have_type_hints(place):
    found = {}
    for name, value in public_names(importlib.import_module(place)).items():
        for qualified, function in functions_of(name, value):
            if missing := unannotated(function):
                found[qualified] = missing
    assert not found
