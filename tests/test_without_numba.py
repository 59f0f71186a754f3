"""Without Numba, missing or switched off, everything runs through the plain forms, and says nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STEP = """
import minidl, models
minidl.manual_seed(0)
net = models.create("googlenet", width=0.25, num_classes=3)
loss = minidl.cross_entropy(net(minidl.randn(2, 3, 16, 16)), minidl.tensor([0, 1]))
loss.backward()
assert net.conv1.conv.weight.grad is not None
print("%.4f" % loss.item())
"""
HIDE = """
import importlib.util, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numba", "llvmlite"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Hidden())
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba" else find_spec(name, *rest)
"""


def loss_of(script, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.parametrize(
    "script, environment",
    [(HIDE + STEP, {}), (STEP, {"NUMBA_DISABLE_JIT": "1"}), (STEP, {"MINIDL_KERNELS": "plain"})],
    ids=["missing", "disabled", "plain"],
)
def test_a_step_runs_without_compiled_kernels(script, environment):
    assert loss_of(script, **environment) == pytest.approx(loss_of(STEP), abs=2e-4)
