"""Calls of compiled functions from machine code: a function's address, and its arguments as a row of words.

Numba's functions take their arguments one by one, each of its own type: an array as seven numbers or more, a tuple as
its entries. A *door* is a few instructions that read the arguments from a row of eight-byte words and call a function
with them. There is one for each list of types, however many functions share it.
"""

from __future__ import annotations

import functools
import struct

import numpy as np
from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from minidl.kernels.cpu.machine.counter import new_counter
from minidl.kernels.cpu.machine.memory import address

WORD, BYTES = ir.IntType(64), ir.IntType(8).as_pointer()
_doors, _libraries = {}, []  # by the function's type in LLVM: a door's address
_arrays, _counter = {}, new_counter()  # Numba's type of an array by dtype, axes and flags; what a kernel takes first


class Unfit(Exception):
    """A call that stays with Python."""


def call_of(function, args):
    """(door, function's address, words) of ``function(*args)``, where `function` is compiled by `jit`."""
    kinds = tuple(map(kind_of, args))
    door, target, count = _entry(function, kinds)
    words = [word for value, kind in zip(args, kinds) for word in words_of(value, kind)]
    if len(words) != count:
        raise Unfit(f"{len(words)} words in the place of {count}")
    return door, target, np.array(words, np.int64)


def kind_of(value):
    """Numba's type of an argument, as `typeof` finds it: a step has thousands of arguments, and few types."""
    kind = type(value)
    if kind is int and -(1 << 63) <= value < 1 << 63:
        return types.int64
    if kind is tuple:
        return _tuple_of(tuple(map(kind_of, value)))
    if kind is not np.ndarray:
        return typeof(value)
    flags = value.flags
    known = value.dtype, value.ndim, flags.c_contiguous, flags.f_contiguous, flags.writeable
    if known not in _arrays:
        _arrays[known] = typeof(value)
    return _arrays[known]


@functools.cache
def _tuple_of(kinds):
    return types.BaseTuple.from_types(kinds)


def entry_of(kernel, n_tasks, args):
    """The machine code of a kernel for these arguments, so that no replay looks at their types."""
    if not isinstance(kernel, Dispatcher):
        return kernel
    return _compiled(kernel, tuple(map(kind_of, (_counter, n_tasks, *args))))


@functools.cache
def _compiled(kernel, kinds):
    return kernel.compile(kinds)


@functools.cache
def _entry(function, kinds):
    """A door, the address of `function` for arguments of these types, and how many words it takes."""
    function.compile(kinds)
    compiled = function.overloads[kinds]
    if not isinstance(compiled.signature.return_type, (types.NoneType, types.Number, types.Boolean)):
        raise Unfit("a result that has to be let go")
    target = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    shape = cpu_target.target_context.call_conv.get_function_type(compiled.signature.return_type, kinds)
    return _door(shape), target, len(shape.args) - 2


def words_of(value, kind):
    """The words of one argument of Numba's type `kind`, in the order in which functions take them."""
    if isinstance(kind, types.Array):
        return [0, 0, value.size, value.itemsize, address(value), *value.shape, *value.strides]
    if isinstance(kind, (types.Integer, types.Boolean)):
        return [int(value)]
    if kind in (types.float32, types.float64):
        packed = struct.pack("=f4x" if kind == types.float32 else "=d", value)
        return struct.unpack("=q", packed)
    if isinstance(kind, types.BaseTuple):
        return [word for entry, of in zip(value, kind) for word in words_of(entry, of)]
    raise Unfit(f"an argument of type {kind}")


def _door(shape):
    """The address of ``status door(function, words)`` for functions of a type."""
    with global_compiler_lock:
        if str(shape) not in _doors:
            _doors[str(shape)] = _compiled_door(shape)
        return _doors[str(shape)]


def _compiled_door(shape):
    name = f"minidl_door_{len(_doors)}"
    module = ir.Module(name)
    door = ir.Function(module, ir.FunctionType(shape.return_type, [BYTES, WORD.as_pointer()]), name)
    builder = ir.IRBuilder(door.append_basic_block())
    result, error = [builder.alloca(kind.pointee) for kind in shape.args[:2]]
    args = []
    for i, kind in enumerate(shape.args[2:]):
        place = builder.gep(door.args[1], [WORD(i)])
        if isinstance(kind, ir.IntType) and kind.width < 64:
            args.append(builder.trunc(builder.load(place), kind))
        else:
            args.append(builder.load(builder.bitcast(place, kind.as_pointer())))
    function = builder.bitcast(door.args[0], shape.as_pointer())
    builder.ret(builder.call(function, [result, error, *args]))
    library = cpu_target.target_context.codegen().create_library(name)
    library.add_ir_module(module)
    library.finalize()
    _libraries.append(library)
    return library.get_pointer_to_function(name)


@intrinsic
def enter(typingctx, door, function, words):
    """Call a function through its door: 0, or another status if it raised an error."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [BYTES, WORD.as_pointer()])
        status = builder.call(
            builder.inttoptr(args[0], kind.as_pointer()),
            [builder.inttoptr(args[1], BYTES), builder.inttoptr(args[2], WORD.as_pointer())],
        )
        return builder.sext(status, WORD)

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic
def call_loop(typingctx, loop, data, size, x, y, z, x_step, y_step, z_step):
    """Call an inner loop of NumPy's on `size` numbers of up to three arrays: addresses and steps in bytes."""

    def codegen(context, builder, signature, args):
        loop, data, size, *rest = args
        places, sizes = (cgutils.alloca_once(builder, WORD, size=WORD(3)) for _ in range(2))
        length = cgutils.alloca_once(builder, WORD)
        builder.store(size, length)
        for i in range(3):
            builder.store(rest[i], builder.gep(places, [WORD(i)]))
            builder.store(rest[3 + i], builder.gep(sizes, [WORD(i)]))
        kind = ir.FunctionType(ir.VoidType(), [WORD.as_pointer()] * 3 + [BYTES])
        builder.call(
            builder.inttoptr(loop, kind.as_pointer()), [places, length, sizes, builder.inttoptr(data, BYTES)]
        )
        return context.get_dummy_value()

    return types.void(*[types.int64] * 9), codegen
