"""Kernels are used where one of them runs: cuTile may be there without its compiler, or over an old driver."""

import contextlib

import pytest
import test_device_capture

from minidl.kernels import table
from minidl.kernels.gpu import tiles

OPERATION = "ops.dropout.dropout_forward"


@contextlib.contextmanager
def pretend_probed(monkeypatch):
    """The stand-in for CuPy, with the launcher of the tile machine; of all that kernels need, it has a launch only."""
    table._can_compile.cache_clear()
    monkeypatch.setitem(table.COMPILERS, "gpu", table.COMPILERS["gpu"][-1:])
    with test_device_capture.pretend_kernels(monkeypatch) as cupy:
        launcher = tiles.LAUNCHERS[cupy.ndarray]
        try:
            yield cupy
        finally:
            tiles.LAUNCHERS[cupy.ndarray] = launcher
            table._can_compile.cache_clear()


@pytest.fixture
def gpu(monkeypatch):
    with pretend_probed(monkeypatch) as cupy:
        yield cupy


def test_kernels_are_used_where_one_runs(gpu):
    assert table.find(OPERATION, "gpu").__module__ == "minidl.kernels.gpu.random"


def refuse(kernel, grid, arguments):
    raise FileNotFoundError("'tileiras' compiler not found,\nmake sure it is available")


def nothing(kernel, grid, arguments):
    arguments[0].fill(0)


@pytest.mark.parametrize("launcher, reason", [
    (refuse, "FileNotFoundError: 'tileiras' compiler not found, make sure it is available"),
    (nothing, "RuntimeError: a kernel's numbers are"),
])  # fmt: skip
def test_one_warning_says_why_kernels_do_not_run(gpu, launcher, reason):
    check_fallback(gpu, launcher, reason)


def check_fallback(cupy, launcher, reason):
    tiles.LAUNCHERS[cupy.ndarray] = launcher
    with pytest.warns(RuntimeWarning, match=f"take their plain forms: {reason}") as told:
        assert [table.find(name, "gpu") for name in table.GPU] == [None] * len(table.GPU)
    assert len(told) == 1
