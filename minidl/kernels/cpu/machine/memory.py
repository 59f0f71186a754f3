"""Raw memory inside kernels: addresses and pointers, copies, stores past the caches."""

from __future__ import annotations

from ctypes import c_size_t

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy import ndarray

from minidl.kernels.cpu.machine.doors import door

BYTE, INT = ir.IntType(8), ir.IntType(64)
LINE = 64  # bytes of a cache line
_HEAD, _word_at = object.__basicsize__, c_size_t.from_address


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
    """The address of the first number of `array`.

    It stands right after the head that every Python object has: NumPy's C interface promises that, and asking NumPy for
    it takes ten times as long, which small layers feel.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(3)
    >>> address(x[1:]) - address(x), address(x) == x.ctypes.data
    (8, True)
    """
    if door.recorder is not None:
        array = door.recorder.plain(array)
    if type(array) is not ndarray and not isinstance(array, ndarray):
        kind = type(array).__name__
        raise TypeError(f"an array of type {kind} outside of the recording that made it: no kernel reads it")
    return _word_at(id(array) + _HEAD).value
