"""The GPU of this process, under the names that PyTorch's users type.

A process computes on one GPU, the first that CuPy sees; ``CUDA_VISIBLE_DEVICES`` chooses which one that is. Arrays
move there by ``.to("cuda")`` alone. Every function here works without CuPy and without a driver, and says so.
"""

from __future__ import annotations

from typing import Any

from minidl import backend


class Device(str):
    """The name of a device, with PyTorch's two attributes; it goes wherever a device's name goes.

    Examples
    --------
    >>> device = Device("cuda:0")
    >>> device.type, device.index, device == "cuda:0"
    ('cuda', 0, True)
    """

    @property
    def type(self) -> str:
        """The kind of device: ``"cpu"`` or ``"cuda"``."""
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:
        """Its number, or None where the name has none."""
        number = self.partition(":")[2]
        return int(number) if number else None


def _cupy() -> Any:
    return backend.kind_named("cuda").xp


def is_available() -> bool:
    """Return whether arrays can move to a GPU: CuPy is installed and finds one.

    Examples
    --------
    >>> device = "cuda" if is_available() else "cpu"
    """
    try:
        _cupy()
    except RuntimeError:
        return False
    return True


def best_device() -> str:
    """``"cuda"`` where there is a GPU, else ``"cpu"``."""
    return "cuda" if is_available() else "cpu"


def device_count() -> int:
    """The number of GPUs that this process sees; it computes on the first."""
    return int(_cupy().cuda.runtime.getDeviceCount()) if is_available() else 0


def get_device_name() -> str:
    """The GPU's name as its driver gives it; a `RuntimeError` says why there is none."""
    return _cupy().cuda.runtime.getDeviceProperties(0)["name"].decode()


def get_device_capability() -> tuple[int, int]:
    """The GPU's compute capability, such as ``(9, 0)``."""
    properties = _cupy().cuda.runtime.getDeviceProperties(0)
    return properties["major"], properties["minor"]


def synchronize() -> None:
    """Wait until the GPU has done all that it was told: what a clock must do before it is read."""
    _cupy().cuda.Device().synchronize()


def memory_allocated() -> int:
    """Bytes of the GPU that live arrays hold."""
    return int(_cupy().get_default_memory_pool().used_bytes())


def memory_reserved() -> int:
    """Bytes of the GPU that this process holds: those of live arrays, and freed ones that are kept for the next."""
    return int(_cupy().get_default_memory_pool().total_bytes())


def empty_cache() -> None:
    """Give the kept memory of freed arrays back to the driver."""
    _cupy().get_default_memory_pool().free_all_blocks()
