"""What the CPU kernels stand on: one way to compile, and what this processor can do.

Every Numba kernel is compiled by :func:`jit`: without the interpreter's lock, so that
threads run side by side (:mod:`minidl.kernels.team`), without Numba's own parallel
runtime, and cached on disk, so that only the first run ever waits for the compiler.

The cache knows a kernel by its source and by the constants it closes over, not by
what the functions it calls have become. So whatever the machine code depends on
beyond that (vector width, tile shape, the emitter's own source) has to be a constant
of the kernel: see the `spec` of :mod:`minidl.kernels.tile`.
"""

from __future__ import annotations

import functools
import os
import warnings
from dataclasses import dataclass

import llvmlite.binding
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

if numba.config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set: the plain forms run", name="numba")

_caching = True
BYTE, INT = ir.IntType(8), ir.IntType(64)
LINE = 64  # bytes of a cache line


def jit(function=None, *, fastmath=frozenset({"contract", "nsz"}), **options):
    """Compile `function` as a kernel: cached, without the interpreter's lock, IEEE division.

    `fastmath` takes LLVM's flags one by one; never ``nnan`` or ``ninf``, for NaN has to propagate.

    Examples
    --------
    >>> @jit
    ... def twice(x):
    ...     return 2 * x
    >>> twice(21)
    42
    """
    if function is None:
        return lambda f: jit(f, fastmath=fastmath, **options)
    options = dict(nogil=True, error_model="numpy", fastmath=set(fastmath)) | options
    return _cached(function, options) or numba.njit(**options)(function)


def _cached(function, options):
    """The kernel with its cache on disk, or None (and one warning) where no directory can be written."""
    global _caching
    if not _caching or function.__code__.co_filename.startswith("<"):  # typed at a prompt: no file to key on
        return None
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        _caching = False
        warnings.warn("no writable directory for compiled kernels (set NUMBA_CACHE_DIR): every run compiles again")
        return None


@dataclass(frozen=True)
class Simd:
    """Vector unit: bytes and number of its registers, and whether it multiplies and adds in one step."""

    name: str
    bytes: int
    registers: int
    fma: bool

    def lanes(self, dtype):
        """How many numbers of `dtype` a register holds."""
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


@intrinsic
def copy_bytes(typingctx, target, source, count):
    """Copy `count` bytes from address `source` to address `target`."""

    def codegen(context, builder, signature, args):
        target, source = [builder.inttoptr(address, BYTE.as_pointer()) for address in args[:2]]
        cgutils.raw_memcpy(builder, target, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def stream_bytes(typingctx, target, source, count):
    """Like `copy_bytes`, but past the caches: for more than they hold.

    An ordinary store first reads the cache line that it changes. Whole lines that are
    written "non-temporal" are not read: memory moves a third less.
    """

    def codegen(context, builder, signature, args):
        target, source, count = args
        line, size = ir.VectorType(ir.FloatType(), LINE // 4).as_pointer(), INT(LINE)
        before = builder.and_(builder.neg(target), INT(LINE - 1))
        before = builder.select(builder.icmp_unsigned("<", before, count), before, count)
        lines = builder.udiv(builder.sub(count, before), size)
        _copy_some(builder, target, source, before)
        with cgutils.for_range(builder, lines) as loop:
            at = builder.add(before, builder.mul(loop.index, size))
            value = builder.load(builder.inttoptr(builder.add(source, at), line), align=4)
            store = builder.store(value, builder.inttoptr(builder.add(target, at), line), align=LINE)
            store.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        done = builder.add(before, builder.mul(lines, size))
        _copy_some(builder, builder.add(target, done), builder.add(source, done), builder.sub(count, done))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


def _copy_some(builder, target, source, count):
    """Copy `count` bytes, which mostly are none."""
    with builder.if_then(builder.icmp_unsigned(">", count, INT(0)), likely=False):
        target, source = [builder.inttoptr(address, BYTE.as_pointer()) for address in (target, source)]
        cgutils.raw_memcpy(builder, target, source, count, 1)


@intrinsic
def zero_bytes(typingctx, target, count):
    """Set `count` bytes from address `target` to zero."""

    def codegen(context, builder, signature, args):
        cgutils.memset(builder, builder.inttoptr(args[0], BYTE.as_pointer()), args[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def pointer(typingctx, address, like):
    """A pointer to numbers of the type of `like` at `address`: ``pointer(address, zero)[i]`` is the i-th."""
    kind = types.CPointer(like)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(kind))

    return kind(types.int64, like), codegen


@intrinsic
def read(typingctx, address, like):
    """The named tuple of int64 at `address`, of the type of `like`."""

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(like)
        return builder.load(builder.inttoptr(args[0], kind.as_pointer()), align=8)

    return like(types.int64, like), codegen


def address(array):
    """The address of the first number of `array`."""
    return array.__array_interface__["data"][0]
