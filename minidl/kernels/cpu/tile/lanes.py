"""The register tile of depthwise convolution: channels never meet, so a vector of them is the unit.

The matrix tile (:mod:`.tile`) lives off spreading one number over all outputs. Here every
channel has a window of its own: a vector of adjacent channels of a pixel is multiplied with
the same channels' weights, lane by lane. What can be saved is loading the weights, and
storing sums: `rows` times `vectors` of them stay in registers during the whole reduction,

    for run in range(runs):
        for k in range(length):
            for v in range(vectors):
                weight = W[run * w.run + k * w.step + v]                                # a vector
                for r in range(rows):
                    sum[r, v] += weight * X[r * x.row + run * x.run + k * x.step + v]   # where it lies

Forward, the rows are neighbouring pixels and the reduction goes over the window. In the
gradient with respect to the weight, rows are the window's columns, the reduction goes over pixels, and
the gradient takes the weights' place. Where there are few rows there are more vectors: a
processor begins the next multiply-add long before the last one has ended, but not on the same sum.

Sum r begins as the vector in row r of `start` and is stored, not below `floor` (NaN stays
NaN), in row r of `y`; vectors are adjacent everywhere. The last vector of
the channels may be incomplete: masked loads and stores leave alone what is not theirs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import literally, types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.memory import LINE
from minidl.kernels.cpu.machine.simd import simd
from minidl.kernels.cpu.tile.operands import Operand, Window, unpacked
from minidl.kernels.cpu.tile.tile import INT, Emitter, shape

ROWS = 8  # of a tile, at most
SUMS = {32: 16, 16: 8}  # rows times vectors, by the number of vector registers


def spec_of(dtype):
    """The text that names the tile for `dtype`; a constant of the kernel that uses it."""
    return shape(dtype).spec(rows=ROWS, vectors=SUMS[simd().registers], kind="lanes")


class LanesSize(NamedTuple):
    """The numbers of the tile that kernels compute with."""

    lanes: int
    bytes: int  # of one number
    sums: int

    @classmethod
    def of(cls, dtype):
        """The size for `dtype` on this processor."""
        return cls(shape(dtype).lanes, np.dtype(dtype).itemsize, SUMS[simd().registers])


@jit
def multiply_all(spec, size, channels, rows, x, w, count, start, y, floor):
    """Tiles of `rows` over all `channels`: as many vectors together as there are registers for, then one by one.

    `x` and `w` are Windows, `count` a Count, `start` and `y` Operands.
    """
    literally(spec)
    c, width = 0, size.lanes * size.bytes
    many = size.sums // rows
    while c < channels:
        vectors = many if c + many * size.lanes <= channels else 1
        skip = c * size.bytes
        multiply(
            spec, rows, vectors, channels - c,
            Window(x.address + skip, x.row, x.run, x.step), Window(w.address + skip, w.row, w.run, w.step), count,
            Operand(start.address + skip, start.row, 0), Operand(y.address + skip, y.row, 0), floor,
        )  # fmt: skip
        c += vectors * size.lanes


@intrinsic(prefer_literal=True)
def multiply(typingctx, spec, rows, vectors, valid, x, w, count, start, y, floor):
    """One tile of 1 to 8 `rows`, of one vector, of which `valid` lanes count, or of as many as that allows."""
    emitter = Lanes(spec)

    def codegen(context, builder, signature, args):
        emitter.choose(builder, *unpacked(context, builder, signature, args)[1:])
        return context.get_dummy_value()

    return types.void(spec, *[types.int64] * 3, x, w, count, start, y, emitter.number), codegen


@intrinsic
def prefetch_bytes(typingctx, address, count):
    """Prefetch `count` bytes at `address`, needed soon, to come to the second-level cache; they need not exist."""

    def codegen(context, builder, signature, args):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        with cgutils.for_range(builder, builder.sdiv(args[1], INT(LINE))) as loop:
            place = builder.add(args[0], builder.mul(loop.index, INT(LINE)))
            builder.call(function, [builder.inttoptr(place, byte), number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


class Lanes(Emitter):
    """Writes the code of one tile; with a `mask`, only of its lanes."""

    mask = None

    def choose(self, builder, rows, vectors, valid, *args):
        """A switch over the sizes: incomplete vectors, single ones, several."""
        done, one = builder.append_basic_block("lanes.end"), INT(1)
        kind = builder.zext(builder.icmp_signed(">=", valid, INT(self.lanes)), INT)
        kind = builder.select(builder.icmp_signed(">", vectors, one), INT(2), kind)
        labels = builder.switch(builder.add(builder.mul(rows, INT(3)), kind), done)
        for i in range(1, self.rows + 1):
            for kind, vectors in enumerate((1, 1, self.vectors // i)):
                block = builder.append_basic_block("lanes.size")
                labels.add_case(INT(3 * i + kind), block)
                builder.position_at_end(block)
                Lanes(self.spec, i, vectors).emit(builder, None if kind else valid, *args)
                builder.branch(done)
        builder.position_at_end(done)

    def emit(self, builder, valid, x, w, count, start, y, floor):
        """The code of one tile, at the builder's place."""
        self.builder, add = builder, builder.add
        if valid is not None:
            self.mask = self._first(valid)

        def step(k, at_x, at_w, *sums):
            weights = [self._load(self._at(w._replace(address=at_w), 0, j)) for j in range(self.vectors)]
            xs = [self._load(self._at(x._replace(address=at_x), i, j)) for i, j in self._cells()]
            return [add(at_x, x.step), add(at_w, w.step), *map(self._multiply_add, xs, weights * self.rows, sums)]

        def run(r, at_x, at_w, *sums):
            sums = self._loop(count.length, [at_x, at_w, *sums], step)[2:]
            return [add(at_x, x.run), add(at_w, w.run), *sums]

        first = [self._load(self._at(start, i, j)) for i, j in self._cells()]
        self._store(self._loop(count.runs, [x.address, w.address, *first], run)[2:], y, floor)

    def _loop(self, count, state, body):
        """``for k in range(count): state = body(k, *state)``, the state in phi nodes."""
        builder, before = self.builder, self.builder.block
        head, inside, done = [builder.append_basic_block(f"lanes.{name}") for name in ("head", "loop", "done")]
        builder.branch(head)
        builder.position_at_end(head)
        phis = [builder.phi(value.type) for value in [INT(0), *state]]
        builder.cbranch(builder.icmp_signed("<", phis[0], count), inside, done)
        builder.position_at_end(inside)
        after = [builder.add(phis[0], INT(1)), *body(*phis)]
        for phi, value, new in zip(phis, [INT(0), *state], after):
            phi.add_incoming(value, before)
            phi.add_incoming(new, builder.block)
        builder.branch(head)
        builder.position_at_end(done)
        return phis[1:]

    def _first(self, valid):
        """The mask of the first `valid` lanes."""
        counts = ir.VectorType(INT, self.lanes)
        one = self.builder.insert_element(ir.Constant(counts, ir.Undefined), valid, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        limit = self.builder.shuffle_vector(one, ir.Constant(counts, ir.Undefined), zeros)
        return self.builder.icmp_signed("<", ir.Constant(counts, [INT(i) for i in range(self.lanes)]), limit)

    def _load(self, address):
        if self.mask is None:
            return super()._load(address)
        pointer = self._pointer(address, self.vector)
        return self._masked("load", self.vector, pointer, ir.IntType(32)(self.size), self.mask, self.vector(None))

    def _write(self, value, address):
        if self.mask is None:
            super()._write(value, address)
        else:
            pointer = self._pointer(address, self.vector)
            self._masked("store", ir.VoidType(), value, pointer, ir.IntType(32)(self.size), self.mask)

    def _masked(self, name, result, *args):
        """LLVM's masked load or store."""
        kind = ir.FunctionType(result, [value.type for value in args])
        name = f"llvm.masked.{name}.v{self.lanes}f{8 * self.size}.p0"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), args)
