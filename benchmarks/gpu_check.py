"""All that wants a GPU, in at most eight minutes and one table: ``make gpu-check``.

1. The table of operations on the device against the CPU (``tests/device_table.py``).
2. ``python -m benchmarks googlenet --device cuda``, see `device`.
3. A run of train.py on CIFAR-10, or on the digits where CIFAR-10 is not here.

Each is a process of its own with a share of the time, so that none can spoil another's figures. Without a GPU
it is one line and exit status 2; where a part fails, exit status 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import minidl
from benchmarks import device, report
from benchmarks.settings import version
from minidl.data.download import find
from minidl.data.errors import DataError
from minidl.data.sources import CIFAR10 as SOURCE
from minidl.training.info import devices

ROOT = Path(__file__).resolve().parents[1]
TOTAL = 480.0  # seconds
SHARES = {"operations": 90.0, "googlenet": 240.0, "training": 110.0}  # the rest is for starting and compiling
WANTED = ("cuda.tile", "numba", "torch", "sklearn", "safetensors", "PIL", "matplotlib", "scipy", "pooch", "tqdm")
CIFAR10 = ("--data", "cifar10", "--width", "1", "--batch-size", "512", "--lr", "0.4", "--epochs", "3")
# TF32, which is what a GPU is for.
TRAINING = "import minidl, train; minidl.set_float32_matmul_precision('high'); train.main()"


def main(argv=None):
    """Run the parts and print the table; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only shows that all works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args(argv)
    if not minidl.cuda.is_available():
        print(f"gpu-check: no GPU: {devices()}", file=sys.stderr)
        return 2
    begin = time.monotonic()
    introduce()
    with tempfile.TemporaryDirectory(prefix="minidl-gpu-check-") as folder:
        found = {name: part(Path(folder), args.quick) for name, part in PARTS.items()}
    print_table(found, time.monotonic() - begin)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if all(part["status"] == 0 for part in found.values()) else 1


def introduce():
    """The GPU, the versions, and what is not installed."""
    major, minor = minidl.cuda.get_device_capability()
    print(f"{minidl.cuda.get_device_name()}, compute capability {major}.{minor}")
    names = ("cupy-cuda13x", "cupy-cuda12x", "cuda-tile", "torch", "numpy", "numba")
    print(", ".join(f"{name} {version(name)}" for name in names if version(name)))
    missing = [name for name in WANTED if not is_there(name)]
    if missing:
        print(f"not installed: {', '.join(missing)}")


def is_there(name):
    """Return whether a module can be found."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package that it is a part of
        return False


def process(seconds, *command):
    """Run a command in the checkout; its status, or that it was stopped after so many seconds."""
    print(f"\n$ {' '.join(command)}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, start_new_session=True) as running:
        try:
            return running.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGTERM)  # its own processes with it
            return "stopped, its time was over"


def figures(path):
    """The figures that a part wrote down, or {}."""
    return json.loads(path.read_text()) if path.exists() else {}


def operations(folder, quick):
    """The table of operations."""
    seconds, path = SHARES["operations"], folder / "operations.json"
    within = 5.0 if quick else seconds - 10
    status = process(seconds, "tests/device_table.py", "--device", "cuda", "--within", str(within), "--json", str(path))
    return {"status": status, **figures(path)}


def googlenet(folder, quick):
    """The benchmark; a part that has begun may run over, so the last begins a minute before the end."""
    seconds, path = SHARES["googlenet"], folder / "googlenet.json"
    options = ["--quick", "--rounds", "2"] if quick else ["--rounds", "5"]
    status = process(seconds, "-m", "benchmarks", "googlenet", "--device", "cuda", "--within", str(seconds - 60),
                     "--json", str(path), *options)  # fmt: skip
    return {"status": status, **figures(path)}


def training(folder, quick):
    """A run of train.py with TF32."""
    missing = [name for name in ("sklearn", "safetensors", "matplotlib", "tqdm") if not is_there(name)]
    if missing:
        return {"status": f"left out, {missing[0]} is not installed", "data": "a data set"}
    try:
        find(SOURCE, download=False)
        options = [*CIFAR10]
    except DataError as error:
        print(f"\n{error}: digits in its place")
        options = ["--data", "digits", "--epochs", "12"]
    options += ["--max-steps", "3"] if quick else []
    output = folder / "run"
    status = process(SHARES["training"], "-c", TRAINING, *options, "--device", "cuda", "--output", str(output))
    return {"status": status, "data": options[1], **figures(output / "summary.json")}


PARTS = {"operations": operations, "googlenet": googlenet, "training": training}


def print_table(found, seconds):
    """One line for each part and each bar."""
    table, run = found["operations"], found["training"]
    right = table.get("rows", 0) - len(table.get("faults", {}))
    lines = [
        ["operations as on the CPU, of all rows", f"{right}", f"{table.get('of', '-')}", f"{table.get('of', '-')}"]
    ]
    ratios = found["googlenet"].get("ratios", {})
    for bar in device.BARS:
        measured = f"{ratios[bar.name]['ratio']:.2f}" if bar.name in ratios else "not measured"
        lines.append([bar.name, measured, f"{bar.least:.2f}", f"{bar.aim:.2f}"])
    accuracy = f"{run['test_accuracy']:.2%}" if "test_accuracy" in run else "not measured"
    lines.append([f"{run['data']}, a short run: test accuracy", accuracy, "-", "-"])
    report.table("gpu-check", ["", "measured", "at least", "aim"], lines, f"{seconds:.0f} s of at most {TOTAL:.0f} s")
    for name, part in found.items():
        if part["status"] != 0:
            print(f"  {name}: {part['status'] if isinstance(part['status'], str) else 'FAILED, see above'}")


if __name__ == "__main__":
    sys.exit(main())
