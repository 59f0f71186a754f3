"""An activation as the CPU kernels see it: one row of memory, and the step between its pixels.

An activation of shape ``(N, C, H, W)`` with channels-last bytes is a list of pixels, each
of ``C`` adjacent numbers, ``ld >= C`` numbers apart: the leading dimension (more where it is a slice of a wider
array). A kernel that takes the memory as a one-dimensional array and ``ld`` as a number
is compiled once for all of them, and the compiler sees that channels are adjacent.

Inner loops read with `get` and write with `put`. An ordinary ``x[i]`` must allow for a
negative `i` and for an output that overlaps an input, and either keeps the compiler from
vectorising; `get` and `put` promise that neither happens.
"""

from __future__ import annotations

import functools

import numpy as np  # noqa: F401 (for the examples)
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl import backend
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.description import FAR
from minidl.kernels.cpu.machine.memory import LINE, address, stream_bytes

EXACT = frozenset()  # no fast-math flag: the same rounding wherever an expression is compiled
TASK_SIZE = 1 << 15  # numbers that one task works on, and whose sum is one part: the same on all machines


def flat(x):
    """The memory of `x`, channels-last, as a one-dimensional view, and its `ld`.

    Examples
    --------
    >>> wide = np.arange(12.0).reshape(1, 1, 2, 6).transpose(0, 3, 1, 2)
    >>> flat(wide[:, 2:5])
    (array([ 2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10.]), 6)
    """
    (N, C, H, W), ld = x.shape, pixel(x)
    if ld == C:  # without gaps; the other way takes ten times as long, which small layers feel
        return x.transpose(0, 2, 3, 1).reshape(-1), ld
    as_strided = backend.array_module(x).lib.stride_tricks.as_strided
    return as_strided(x, ((N * H * W - 1) * ld + C,), (x.itemsize,)), ld


def pixel(x):
    """The `ld` of a channels-last `x`: how many numbers lie from one pixel to the next."""
    (N, C, H, W), (sn, _, sh, sw) = x.shape, x.strides
    return (sw if W > 1 else sh if H > 1 else sn if N > 1 else C * x.itemsize) // x.itemsize


def alike(*arrays):
    """One-dimensional views of arrays of one shape that lie in memory in the same order, without gaps; else None.

    Examples
    --------
    >>> a = np.arange(6.0).reshape(2, 3)
    >>> [view.tolist() for view in alike(a.T, a.T)], alike(a, a[:, ::-1])
    ([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]], None)
    """
    shape = arrays[0].shape
    if any([array.shape != shape for array in arrays]):
        return None
    if not all([array.flags.c_contiguous for array in arrays]):
        order, _ = memory_order(arrays[0].strides)
        arrays = [array.transpose(order) for array in arrays]
        if not all([array.flags.c_contiguous for array in arrays]):
            return None
    return [array.reshape(-1) for array in arrays]


@functools.lru_cache(maxsize=1024)
def memory_order(strides):
    """The axes of an array with such strides from the widest to the narrowest, and the transpose that undoes that.

    Examples
    --------
    >>> memory_order((24, 4, 8))
    ((0, 2, 1), (0, 2, 1))
    """
    order = tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))
    return order, tuple(sorted(range(len(order)), key=order.__getitem__))


def target(out, shape, dtype, like):
    """Memory that a kernel writes to: `out` if it is channels-last and may be changed, else memory for `deliver`."""
    if out is not None and out.shape != tuple(shape):
        raise ValueError(f"`out` has shape {out.shape}; the result has {tuple(shape)}")
    if out is not None and out.dtype == dtype and backend.is_channels_last(out) and out.flags.writeable:
        return out
    return backend.empty_channels_last(shape, dtype, like=like)


def deliver(result, out):
    """`result`, copied into `out` if that is another array."""
    if out is None or out is result:
        return result
    out[...] = result
    return out


def far(y):
    """Return whether pixels of the result `y` should be streamed: there are many, and they are whole cache lines."""
    return y.nbytes >= FAR and not any(n % LINE for n in (address(y), pixel(y) * y.itemsize, y.shape[1] * y.itemsize))


def floating(*arrays):
    """Return whether the kernels take these arrays: all float32 or all float64, none empty (None passes)."""
    dtype = arrays[0].dtype
    return dtype.char in "fd" and all([x is None or (x.dtype == dtype and x.size) for x in arrays])


def _input_scope(builder):
    """LLVM's name for "memory that is only read": loads are in it, and stores are declared to be outside."""
    module = builder.module
    return module.add_metadata([module.add_metadata(["input", module.add_metadata(["minidl"])])])


def _place(context, builder, signature, args, inbounds=True):
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(data, [args[1]], inbounds=inbounds)


@intrinsic
def get(typingctx, array, index):
    """``array[index]`` of a contiguous one-dimensional array to which the kernel writes nothing."""

    def codegen(context, builder, signature, args):
        load = builder.load(_place(context, builder, signature, args))
        load.set_metadata("alias.scope", _input_scope(builder))
        return load

    return array.dtype(array, types.intp), codegen


@intrinsic
def put(typingctx, array, index, value):
    """``array[index] = value`` in a contiguous one-dimensional array from which nothing is read by `get`."""

    def codegen(context, builder, signature, args):
        store = builder.store(args[2], _place(context, builder, signature, args))
        store.set_metadata("noalias", _input_scope(builder))
        return context.get_dummy_value()

    return types.none(array, types.intp, array.dtype), codegen


@intrinsic
def own(typingctx, array, index):
    """``array[index]`` of a contiguous one-dimensional array that the kernel writes to: a sum so far, say."""

    def codegen(context, builder, signature, args):
        load = builder.load(_place(context, builder, signature, args))
        load.set_metadata("noalias", _input_scope(builder))
        return load

    return array.dtype(array, types.intp), codegen


@intrinsic
def fetch(typingctx, array, index):
    """Ask for the cache line of ``array[index]``, which will be needed soon; any index does."""

    def codegen(context, builder, signature, args):
        place = builder.bitcast(_place(context, builder, signature, args, inbounds=False), cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t] + [ir.IntType(32)] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, *(ir.Constant(ir.IntType(32), n) for n in (0, 3, 1))])  # read, keep, data
        return context.get_dummy_value()

    return types.none(array, types.intp), codegen


@jit(fastmath=EXACT, forceinline=True)
def prefetch(x, start, end):
    """Ask for the memory from `start` to `end`, needed soon where the processor cannot guess it."""
    for i in range(start, end, 16):
        fetch(x, i)


@jit(fastmath=EXACT, forceinline=True)
def stream(y, o, row, C):
    """Write `C` numbers, those at the beginning of `row`, to ``y[o]``, past the caches."""
    stream_bytes(y.ctypes.data + o * y.itemsize, row.ctypes.data, C * y.itemsize)
