"""The vector unit of this processor: what machine code is emitted for."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

import llvmlite.binding
import numba


@dataclass(frozen=True)
class Simd:
    """Vector unit: bytes and number of its registers, and whether it multiplies and adds in one step."""

    name: str
    bytes: int
    registers: int
    fma: bool

    def lanes(self, dtype):
        """Numbers of `dtype` in a register."""
        return self.bytes // dtype.itemsize


UNITS = {
    "avx512": Simd("avx512", 64, 32, True),
    "avx2": Simd("avx2", 32, 16, True),
    "sse": Simd("sse", 16, 16, False),
    "neon": Simd("neon", 16, 32, True),
}


@functools.cache
def simd() -> Simd:
    """The vector unit to emit code for: ``MINIDL_SIMD`` where it is set, else the best this processor has.

    Examples
    --------
    >>> simd().name in UNITS
    True
    """
    name = os.environ.get("MINIDL_SIMD") or _detected()
    if name not in UNITS:
        raise ValueError(f"MINIDL_SIMD is {name!r}; accepted: {', '.join(UNITS)}")
    return UNITS[name]


def _detected():
    have = _features()
    if "neon" in have or "asimd" in have or llvmlite.binding.get_default_triple().startswith(("aarch64", "arm64")):
        return "neon"
    if {"avx512f", "avx512vl", "avx512dq"} <= have:
        return "avx512"
    return "avx2" if {"avx2", "fma"} <= have else "sse"


def _features():
    """The features that Numba compiles for: the processor's, unless NUMBA_CPU_FEATURES narrows them."""
    if numba.config.CPU_FEATURES is not None:
        return {f[1:] for f in numba.config.CPU_FEATURES.split(",") if f.startswith("+")}
    return {name for name, present in llvmlite.binding.get_host_cpu_features().items() if present}
