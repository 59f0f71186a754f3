"""Type hints on the whole public surface: what every public name takes and returns is written down.

Outside of it stand the second storey, which is private by design and whose compiled kernels take addresses, and the
tour, whose code is there to be read.
"""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import HANG
import user_script

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("kernels", "tour")
FILES = [path for path in sorted((ROOT / "minidl").rglob("*.py")) if path.relative_to(ROOT).parts[1] not in OUTSIDE]
BARE = {"list", "dict", "tuple", "set", "Callable", "Iterator", "Sequence"}  # they say nothing without their elements
NO_DOWNLOAD = ("nodeenv failed", "'install', 'pyright@")  # of Node.js and of pyright itself, fetched on first use


def is_public(name):
    return not name.startswith("_") or name.startswith("__") and name.endswith("__")


def functions_of(tree, prefix=""):
    """(qualified name, function) of the public functions of a module and the methods of its public classes."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and is_public(node.name):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef) and is_public(node.name):
            yield from functions_of(node, f"{prefix}{node.name}.")


def parameters_of(function, is_method):
    """The parameters of a function but for a method's first one."""
    args = function.args
    ordered = args.posonlyargs + args.args
    static = any(getattr(decorator, "id", None) == "staticmethod" for decorator in function.decorator_list)
    return ordered[is_method and not static :] + args.kwonlyargs + [a for a in (args.vararg, args.kwarg) if a]


def gaps_of(name, function):
    """The parameters without a hint, and "return" where the result has none or the hint leaves the elements open."""
    hints = [(p.arg, p.annotation) for p in parameters_of(function, "." in name)] + [("return", function.returns)]
    return [what for what, hint in hints if hint is None or isinstance(hint, ast.Name) and hint.id in BARE]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_have_type_hints(path):
    found = {name: gaps_of(name, function) for name, function in functions_of(ast.parse(path.read_text()))}
    assert not {name: gaps for name, gaps in found.items() if gaps}


def pyright(*arguments):
    """The findings of pyright for this checkout, from its JSON."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG)
    if not result.stdout.startswith("{") and any(name in result.stderr for name in NO_DOWNLOAD):
        pytest.skip("pyright is not installed: what it downloads on first use is not here")
    assert result.stdout.startswith("{"), result.stdout + result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_pyright_knows_the_type_of_every_public_name():
    """The types are complete outside of `minidl.kernels`, the second storey, private by design, and `minidl.tour`."""
    symbols = pyright("--verifytypes", "minidl", "--ignoreexternal")["typeCompleteness"]["symbols"]
    public = [s for s in symbols if s["isExported"] and s["name"].split(".")[1] not in OUTSIDE]
    unknown = [s["name"] for s in public if not s["isTypeKnown"] or s["isTypeAmbiguous"]]
    assert len(public) > 3000 and not unknown


@pytest.mark.slow
def test_pyright_finds_no_error_in_a_users_program():
    report = pyright("--level", "error", str(ROOT / "tests" / "user_script.py"))
    assert report["summary"]["filesAnalyzed"] and not report["generalDiagnostics"]


def test_the_users_program_runs(tmp_path, capsys):
    assert user_script.main(tmp_path) > 0.9
    assert "parameters, loss" in capsys.readouterr().out
