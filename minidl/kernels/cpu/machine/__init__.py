"""The ground that every CPU kernel stands on: compilation, vector unit, raw memory, threads."""

from __future__ import annotations

from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import cache_folder
from minidl.kernels.cpu.machine.simd import simd


def facts():
    """Vector unit, threads and where machine code is kept, to print."""
    unit = simd()
    return {
        "vector unit": f"{unit.name}, {unit.registers} registers of {unit.bytes} bytes",
        "threads": f"{team.num_threads()}",
        "machine code": str(cache_folder() or "not kept: no folder can be written"),
    }
