"""Options that every benchmark takes, and the lines that name machine, versions and threads."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks import report

ROUNDS = "medians of {rounds} rounds, taken in turns"  # what figures are where a benchmark has no line of its own
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
PACKAGES = ("numpy", "numba", "torch", "torchvision", "pillow", "simplejpeg", "onnxruntime", "dezero", "mygrad")


class Engine(NamedTuple):
    """An engine: its name, its module with the jobs in `benchmarks.peers`, what it needs, how to get that."""

    name: str
    jobs: str
    needs: tuple = ()
    install: str = ""

    def missing(self):
        """The packages that are not installed."""
        return [package for package in self.needs if importlib.util.find_spec(package) is None]


ENGINES = {
    "minidl": Engine("minidl", "minidl_jobs"),
    "torch": Engine("PyTorch", "torch_jobs", ("torch",), f"torch==2.13.0 --index-url {TORCH_CPU}"),
    "torchvision": Engine(
        "torchvision", "torchvision_jobs", ("torch", "torchvision"), f"torchvision==0.28.0 --index-url {TORCH_CPU}"
    ),
    "minidl-gpu": Engine("minidl", "minidl_device"),
    "torch-gpu": Engine("PyTorch", "torch_device", ("torch",), "torch"),
    "numpy": Engine("NumPy", "numpy_jobs"),
    "onnxruntime": Engine("ONNX Runtime", "onnxruntime_jobs", ("onnx", "onnxruntime"), "onnx onnxruntime"),
    "dezero": Engine("DeZero", "dezero_jobs", ("dezero",), "dezero==0.0.13"),
    "mygrad": Engine("MyGrad", "mygrad_jobs", ("mygrad",), "mygrad==2.5.0"),
}


@dataclass(frozen=True)
class Settings:
    """Threads of every contender, rounds, the parts to run, True to run them in miniature; where, and for how long."""

    threads: int = 2
    rounds: int = 7
    parts: tuple = ()
    quick: bool = False
    device: str = "cpu"
    within: float = float("inf")
    json: Path | None = None

    def describe(self):
        """Machine, versions and settings, for the JSON file."""
        versions = {name: version(name) for name in PACKAGES}
        return {
            "machine": processor(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "versions": {name: number for name, number in versions.items() if number},
            "threads": self.threads,
            "rounds": self.rounds,
            "quick": self.quick,
        }

    def introduce(self, rounds=ROUNDS):
        """Print what the figures below were measured on, and what they are, such as `ROUNDS`."""
        facts = self.describe()
        print(f"{report.where(facts)}; {rounds.format(rounds=self.rounds)}")
        versions = {"Python": facts["python"], **facts["versions"]}
        print(", ".join(f"{name} {number}" for name, number in versions.items()))
        if self.quick:
            print("--quick: tiny sizes, to see that everything works; the times mean nothing")


def available(contenders):
    """Those of the contenders whose engine is installed; one line for each that is not."""
    return [contender for contender in contenders if _is_installed(contender.engine)]


@functools.cache
def _is_installed(name):
    """Return whether an engine is there; a line that says how to get it the first time that it is asked for in vain."""
    missing = ENGINES[name].missing()
    if missing:
        print(f"{ENGINES[name].name} is left out; to see it: pip install {ENGINES[name].install}")
    return not missing


def version(package):
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor():
    """The processor's model, its cores and widest vector instructions, as the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.processor() or platform.machine()}"
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    widest = next((name for flag, name in VECTORS.items() if flag in flags), platform.machine())
    family = f" family {facts['cpu family']} model {facts['model']}" if "cpu family" in facts else ""
    cores = sum(line.startswith("processor") for line in lines)
    return f"{facts.get('model name', platform.machine())}{family}, {cores} cores, {widest}"


VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "sse4_2": "SSE4.2"}
