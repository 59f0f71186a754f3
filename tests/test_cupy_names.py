"""Every call of CuPy in the sources has a name and parameters that CuPy 14 knows."""

import ast
import importlib.util
from pathlib import Path

import cupy_names
import pytest
import strict

ROOT = Path(__file__).resolve().parents[1]
KNOWN = cupy_names.known()["functions"]
# The first storey, and what runs on the device; forms for the CPU know NumPy.
FILES = [path for path in sorted((ROOT / "minidl").rglob("*.py"))
         if not {"cpu", "tour"} & set(path.parts)] + [ROOT / "benchmarks" / "device.py"]  # fmt: skip
OWNERS = ("xp", "cupy", "cp")
ATTRIBUTES = ("__name__", "ndarray", "_core._routines_linalg")


def dotted(node):
    """The name below the array module that an expression reads, such as ``cuda.Device``; None if it reads no such."""
    if not isinstance(node, ast.Attribute):
        return None
    owner = node.value
    if isinstance(owner, ast.Name) and owner.id in OWNERS or isinstance(owner, ast.Attribute) and owner.attr == "xp":
        return node.attr
    if isinstance(owner, ast.Call) and ast.unparse(owner.func).split(".")[-1] in ("array_module", "_cupy"):
        return node.attr
    above = dotted(owner)
    return above and f"{above}.{node.attr}"


def uses(path):
    """(line, name, call or None) of every use of the array module in a file; the longest name of each chain."""
    tree = ast.parse(path.read_text())
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        name = dotted(node)
        if name and id(node) not in inner:
            yield node.lineno, name, calls.get(id(node))


def test_every_use_in_the_sources_is_one_that_cupy_has():
    found = [(path, use) for path in FILES if path.exists() for use in uses(path)]
    assert len(found) > 150
    for path, (line, name, call) in found:
        where = f"{path.relative_to(ROOT)}:{line} uses {name}"
        base = name.removesuffix(".reduceat") if name == "add.reduceat" else name
        assert base in KNOWN or base in strict.BORROWED or base in ATTRIBUTES, where
        if call is not None and name in KNOWN:
            starred = any(isinstance(value, ast.Starred) for value in call.args) or any(
                k.arg is None for k in call.keywords
            )
            keywords = [keyword.arg for keyword in call.keywords]
            fault = None if starred else cupy_names.fault_of(KNOWN[name], len(call.args), keywords)
            assert fault is None, f"{where}: {fault}"


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
def test_the_names_are_those_of_the_library():
    import cupy

    assert int(cupy.__version__.partition(".")[0]) >= 14
    assert cupy_names.described() == cupy_names.known()
    for name in strict.BORROWED:
        assert hasattr(cupy, name), name
    for name in (*ATTRIBUTES, *(f"_core._routines_linalg.COMPUTE_TYPE_{kind}" for kind in ("DEFAULT", "TF32"))):
        cupy_names.found(cupy, name)


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
def test_the_stand_in_speaks_as_the_library_does():
    """What each operation of the table asks for is there: names of arrays, and what they refuse."""
    import cupy

    for name in [*cupy_names.known()["methods"], *strict.ATTRIBUTES, "T", "flags", "base"]:
        assert hasattr(cupy.ndarray, name), name
    for name in ("__array__", "__array_function__"):
        assert hasattr(cupy.ndarray, name), name
