"""Two storeys: without ``minidl/kernels`` the first one is complete, and its table of faster forms is true."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from patience import HANG

from minidl.dispatch import Dispatched
from minidl.kernels import table
from minidl.ops.fused import Fused

ROOT = Path(__file__).resolve().parents[1]


# An editable installation would find the missing folder where the project lies.
NO_EDITABLE = """import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "Editable" not in getattr(finder, "__name__", "")]
"""


@pytest.fixture(scope="module")
def first_storey(tmp_path_factory):
    """A copy of the project in which the second storey has been deleted."""
    folder = tmp_path_factory.mktemp("first storey")
    ignore = shutil.ignore_patterns("__pycache__", "kernels")
    for name in ("minidl", "models"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__", "test_kernels*"))
    for name in ("train.py", "setup.cfg"):
        shutil.copy(ROOT / name, folder)
    (folder / "sitecustomize.py").write_text(NO_EDITABLE)
    return folder


def run(folder, *arguments):
    environment = {key: value for key, value in os.environ.items() if key != "MINIDL_KERNELS"}
    environment["PYTHONPATH"] = str(folder)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_first_storey_stands_alone(first_storey):
    code = "import minidl, importlib.util as u; print(minidl.__file__, u.find_spec('minidl.kernels'))"
    assert run(first_storey, "-c", code).strip() == f"{first_storey / 'minidl' / '__init__.py'} None"


def test_every_operation_is_right_there(first_storey):
    """The table of operations: values, first and second derivatives, against slow references and PyTorch's numbers."""
    said = run(first_storey, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/test_ops_table.py",
               "tests/test_references.py")  # fmt: skip
    assert " passed" in said and "failed" not in said


def test_gradients_are_right_there(first_storey):
    assert "0 failed" in run(
        first_storey, "-m", "minidl", "gradcheck", "conv2d", "max_pool2d", "batch_norm_train", "cross_entropy"
    )


def test_an_epoch_of_digits_runs_there(first_storey):
    said = run(first_storey, "train.py", "--model", "cnn", "--epochs", "1")
    assert "test accuracy" in said


@pytest.mark.parametrize(
    "family, operation", [(family, name) for family in ("cpu", "gpu") for name in table.FORMS[family]]
)
def test_every_row_of_the_table_names_an_operation_and_a_form_of_it(family, operation, monkeypatch):
    monkeypatch.setitem(table.COMPILERS, "gpu", ())  # the forms can be imported without their compiler
    module, _, name = operation.rpartition(".")
    try:
        owner = importlib.import_module(f"minidl.{module}")
    except ModuleNotFoundError:  # a method: module, class, name
        module, _, kind = module.rpartition(".")
        owner = getattr(importlib.import_module(f"minidl.{module}"), kind)
    plain = getattr(owner, name)
    if isinstance(plain, Dispatched):
        assert plain.name == operation
    elif isinstance(plain, type):
        assert issubclass(plain, Fused) or issubclass(table.find(operation, family), plain)
    assert table.find(operation, family) is not None


def test_every_dispatched_operation_has_a_row_somewhere():
    """An operation that no storey makes faster needs no dispatch."""
    rows = {name for forms in table.FORMS.values() for name in forms}
    for path in (ROOT / "minidl").rglob("*.py"):
        if "kernels" in path.parts or path.name == "dispatch.py" or "@dispatched\n" not in path.read_text():
            continue
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for value in vars(module).values():
            if isinstance(value, Dispatched) and value.name.startswith(module.__name__.removeprefix("minidl.")):
                assert value.name in rows or value.name in UNCHANGED, value.name


UNCHANGED = {  # dispatched so that a GPU may have a faster form; NumPy's own is as fast on a CPU
    "ops.im2col.im2col_forward",
    "ops.im2col.col2im_forward",
    "ops.max_pooling.max_pool2d_gather",
}
