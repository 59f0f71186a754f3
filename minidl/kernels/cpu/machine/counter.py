"""The counter that threads share: whose turn is what, by atomic additions.

Its words lie on cache lines of their own. A thread takes the next task with `next_task`, a row of working memory with
`next_slot`. Where several steps follow one another without the team (:mod:`minidl.kernels.cpu.blocks.programs`), each
has a counter: threads `come`, and are `gone`. Where steps run side by side
(:mod:`minidl.kernels.cpu.capture.program`), a thread hands all kernels a counter of its own, which says where the
tasks are counted that it shares with others.
"""

from __future__ import annotations

import os
import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.kernels.cpu.machine.compilation import jit

# The next task, the next slot, the number of the team's job, the way to the counter that has the tasks, in bytes; of a
# step: how many threads came, and went.
TASK, SLOT, JOB, AWAY, COME, GONE, WORDS = 0, 8, 16, 17, 24, 32, 40
PATIENCE = 300  # looks, some 25 ns each, after which another process may have the processor for a while
ONE = ir.Constant(ir.IntType(64), 1)
X86, X86_PAUSE = platform.machine() in ("x86_64", "AMD64"), "llvm.x86.sse2.pause"


def _word(context, builder, array_type, array, index):
    """Pointer to word `index` of an int64 array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [ir.Constant(ir.IntType(64), index)])


def _fetch_add(index):
    def typing(typingctx, counter):
        def codegen(context, builder, signature, args):
            pointer = _word(context, builder, signature.args[0], args[0], index)
            if index == TASK:
                away = builder.load(_word(context, builder, signature.args[0], args[0], AWAY))
                pointer = builder.gep(builder.bitcast(pointer, cgutils.voidptr_t), [away])
                pointer = builder.bitcast(pointer, ONE.type.as_pointer())
            return builder.atomic_rmw("add", pointer, ONE, "seq_cst")

        return types.int64(counter), codegen

    return typing


next_task = intrinsic(_fetch_add(TASK))
next_slot = intrinsic(_fetch_add(SLOT))


@intrinsic
def look(typingctx, counter, index):
    """Word `index` of `counter` as it is now in memory, after a short pause."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        if X86:
            pause = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), X86_PAUSE)
            builder.call(pause, [])
        return builder.load_atomic(builder.gep(data, [args[1]]), "acquire", 8)

    return types.int64(counter, types.int64), codegen


@intrinsic
def look_at(typingctx, address):
    """The word at an address as it is now in memory, without a pause."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(builder.inttoptr(args[0], ONE.type.as_pointer()), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def add_at(typingctx, address):
    """Add 1 to the word at an address; what it was before."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", builder.inttoptr(args[0], ONE.type.as_pointer()), ONE, "seq_cst")

    return types.int64(types.int64), codegen


@intrinsic
def give_way(typingctx):
    """Let another thread have this processor, where the system has a call for it."""

    def codegen(context, builder, signature, args):
        if os.name == "posix":
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


def new_counter(*shape):
    """A counter that no kernel uses yet; of a `shape`, several."""
    return np.zeros((*shape, WORDS), np.int64)


come, _go = intrinsic(_fetch_add(COME)), intrinsic(_fetch_add(GONE))


@jit
def gone(counter):
    """Leave a step that has no tasks left, and wait until every thread that came has left."""
    _go(counter)
    looks = 0
    while look(counter, GONE) != look(counter, COME):  # in this order: a thread that has gone has come
        looks += 1
        if looks > PATIENCE:
            give_way()
