"""The machine and the versions that the engine runs on, for a bug report or before a benchmark."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import minidl
from minidl import backend, dispatch

LIBRARIES = ("numpy", "numba", "llvmlite", "scikit-learn", "matplotlib", "safetensors", "pillow", "cupy")
GIB = 1 << 30


def facts() -> dict[str, str]:
    """Names and descriptions, in the order in which they are shown.

    Examples
    --------
    >>> list(facts())[:4]
    ['minidl', 'python', 'system', 'processor']
    """
    return {
        "minidl": f"{minidl.__version__} in {os.path.dirname(minidl.__file__)}",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "memory": memory(),
        **kernels(),
        "devices": devices(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES if version(name)),
    }


def version(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name and its number of cores that this process may use."""
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {usable_cores()} usable cores"


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def memory() -> str:
    """The size of main memory."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{total / GIB:.1f} GiB"


def kernels() -> dict[str, str]:
    """The forms that operations run in, and what the faster ones say of this processor."""
    if dispatch.kernels_in_use() == "plain":
        return {"kernels": "plain (MINIDL_KERNELS)"}
    return {"kernels": "fast", **dispatch.machine()} if dispatch.machine() else {"kernels": "plain (no Numba)"}


def devices() -> str:
    """The devices that ``--device`` accepts here."""
    try:
        backend.kind_named("cuda")
    except RuntimeError as error:
        return f"cpu (no cuda: {error})"
    return "cpu, cuda"
