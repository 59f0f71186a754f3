"""No kernel reads or writes outside its arrays: each runs on arrays at a page that ends the process when touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import HANG

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(sys.platform != "linux", reason="this system has no mprotect as here")
@pytest.mark.parametrize("side", ["end", "begin"])
def test_kernels_stay_within_their_arrays(side):
    pytest.importorskip("numba", reason="Numba is not installed")
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "MINIDL_KERNELS": "fast",
    }
    command = [sys.executable, str(ROOT / "tests" / "guarded.py"), side]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, (done.returncode, done.stdout.splitlines()[-1:], done.stderr[-2000:])
