"""setup.cfg lists what there is, the Makefile stays relative, and importing is quick and light."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import minidl

ROOT = Path(__file__).resolve().parents[1]


def setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def lines(text):
    return text.strip().splitlines()


def test_every_package_is_listed():
    found = {str(path.parent.relative_to(ROOT)).replace(os.sep, ".") for path in (ROOT / "minidl").rglob("__init__.py")}
    assert set(lines(setup_cfg()["options"]["packages"])) == found


def test_every_other_file_is_package_data():
    listed = setup_cfg()["options.package_data"]["*"] if "options.package_data" in setup_cfg() else ""
    patterns = set(lines(listed))
    others = {
        path.suffix for path in (ROOT / "minidl").rglob("*.*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"*{suffix}" for suffix in others - {".py"}} <= patterns


def test_pyproject_holds_the_build_system_only():
    text = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r"^\[(.*)\]$", text, re.M) == ["build-system"]


def test_extras_exist():
    known = "cuda12x cuda13x gpu-check onnx serve tensorboard tune jpeg mpi test fuzz bench dev"
    assert set(setup_cfg()["options.extras_require"]) == set(known.split())


def test_what_is_imported_is_required():
    """Every third-party module that minidl imports at the top of a file is a dependency of the core."""
    names = {"PIL": "pillow", "sklearn": "scikit-learn", "llvmlite": "numba"}
    required = {re.split(r"[<>=\[]", line)[0] for line in lines(setup_cfg()["options"]["install_requires"])}
    known = set(sys.stdlib_module_names) | {"minidl", "models", "__future__"}  # models: by commands, in the checkout
    for path in (ROOT / "minidl").rglob("*.py"):
        if path.stem == "pytest_plugin":  # loaded by pytest itself
            continue
        for module in re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.M):
            assert module in known or names.get(module, module) in required, f"{path} imports {module}"


def test_makefile_has_relative_paths_only():
    text = (ROOT / "Makefile").read_text()
    assert "$(CURDIR)" not in text and "$(PWD)" not in text and not re.search(r"\s/(usr|home|tmp|bin)\b", text)


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", minidl.__version__)


def test_importing_is_light():
    """No plotting, statistics, compiler or GPU library is loaded before it is used."""
    heavy = "matplotlib", "sklearn", "numba", "cupy", "PIL", "pooch", "torch"
    code = f"import minidl, sys; print([module for module in {heavy} if module in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert process.stdout.strip() == "[]", process.stdout + process.stderr
