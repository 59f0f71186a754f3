"""The register tile of matrix products: A and B are read where they lie, and C ends at any column.

It is the loop of :mod:`.tile`, with what a convolution does not need: a stride between the numbers of a row of A (so
that A may be transposed), a stride between the rows of B (so that B need not be packed), 1, 2 or 4 rows as well as 8,
and stores that leave out what lies beyond the last column. Every number of C is

    c = start;  for k in order: c = a[k] * b[k] + c        in one rounding where the processor has it

whatever the size of the tile, so how a product is cut into tiles is not seen in its bits.

`transposed` copies a block of a matrix with rows and columns exchanged: as many rows as a vector has lanes are loaded,
and log2(lanes) rounds of shuffles exchange first single numbers, then pairs, then fours.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.kernels.cpu.tile.operands import unpacked
from minidl.kernels.cpu.tile.tile import INT, Emitter, shape

BIT, SHORT = ir.IntType(1), ir.IntType(32)


def spec_of(dtype):
    """The text that names the largest tile for `dtype` on this processor."""
    return shape(dtype).spec(kind="strided")


@intrinsic(prefer_literal=True)
def multiply(typingctx, spec, rows, vectors, a, b, length, start, c, last):
    """One tile of `rows` (a power of two up to the spec's) times `vectors` (1 to the spec's); see the module's text.

    Parameters
    ----------
    a, b, start, c : Operand
        The reduction takes `length` steps, at least 1, through A and B. All vectors of a step of B are read whole; of
        the last one of `start` and C only `last` lanes.
    """
    emitter = Strided(spec)

    def codegen(context, builder, signature, args):
        emitter.choose(builder, *unpacked(context, builder, signature, args)[1:])
        return context.get_dummy_value()

    integer = types.int64
    return types.void(spec, integer, integer, a, b, integer, start, c, integer), codegen


@intrinsic(prefer_literal=True)
def transposed(typingctx, spec, source, rows, columns, target):
    """Write the block of `rows` x `columns` (each from 1 to the number of lanes) at `source` to `target`, transposed.

    Both are Operands, whose steps are the next number.
    """
    emitter = Strided(spec)

    def codegen(context, builder, signature, args):
        emitter.transpose(builder, *unpacked(context, builder, signature, args)[1:])
        return context.get_dummy_value()

    return types.void(spec, source, types.int64, types.int64, target), codegen


class Strided(Emitter):
    """Writes the code of one tile."""

    def choose(self, builder, rows, vectors, *args):
        """A switch over the sizes, with the code of one tile under each label."""
        done = builder.append_basic_block("tile.end")
        labels = builder.switch(builder.add(builder.mul(rows, INT(8)), vectors), done)
        for i in [n for n in (8, 4, 2, 1) if n <= self.rows]:
            for j in range(1, self.vectors + 1):
                block = builder.append_basic_block("tile.size")
                labels.add_case(INT(8 * i + j), block)
                builder.position_at_end(block)
                Strided(self.spec, i, j).emit(builder, *args)
                builder.branch(done)
        builder.position_at_end(done)

    def emit(self, builder, a, b, length, start, c, last):
        """The code of one tile, at the builder's place."""
        self.builder, self.a, self.steps = builder, a, [b.step]
        self.mask = self._first_lanes(last)
        first = [self._load_some(self._at(start, i, j), j) for i, j in self._cells()]
        state = [a.address, b.address, *first]
        _, _, *sums = self._loop(length, state, lambda k, a, *state: self._step(a, list(state)))
        for (i, j), value in zip(self._cells(), sums):
            self._store_some(value, self._at(c, i, j), j)

    def transpose(self, builder, source, rows, columns, target):
        """Whole blocks at once; others with loads and stores that leave out what is not there."""
        self.builder, lanes = builder, INT(self.lanes)
        whole = builder.and_(builder.icmp_signed("==", rows, lanes), builder.icmp_signed("==", columns, lanes))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                block = [self._load(self._at(source, i)) for i in range(self.lanes)]
                for i, row in enumerate(self._exchanged(block)):
                    self._write(row, self._at(target, i))
            with otherwise:
                nothing, there = ir.Constant(ir.VectorType(BIT, self.lanes), None), []
                for count in (rows, columns):
                    mask = self._first_lanes(count)
                    of = [builder.icmp_signed("<", INT(i), count) for i in range(self.lanes)]
                    there.append((mask, of))
                (row_mask, row_there), (column_mask, column_there) = there
                block = []
                for i in range(self.lanes):
                    self.mask = builder.select(row_there[i], column_mask, nothing)
                    block.append(self._load_some(self._at(source, i)))
                for i, row in enumerate(self._exchanged(block)):
                    self.mask = builder.select(column_there[i], row_mask, nothing)
                    self._store_some(row, self._at(target, i))

    def _exchanged(self, block):
        """The rows of a block of vectors, transposed."""
        size = 1
        while size < self.lanes:
            new = list(block)
            low = [i if not i & size else i - size + self.lanes for i in range(self.lanes)]
            high = [i + size if not i & size else i + self.lanes for i in range(self.lanes)]
            for i in [i for i in range(self.lanes) if not i & size]:
                new[i], new[i + size] = [self._shuffle(block[i], block[i + size], order) for order in (low, high)]
            block, size = new, 2 * size
        return block

    def _shuffle(self, a, b, order):
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(SHORT, self.lanes), order))

    def _first_lanes(self, count):
        """A mask of the first `count` lanes."""
        kind = ir.VectorType(INT, self.lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), count, SHORT(0))
        spread = self.builder.shuffle_vector(
            one, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(SHORT, self.lanes), None)
        )
        return self.builder.icmp_signed("<", ir.Constant(kind, list(range(self.lanes))), spread)

    def _load_some(self, address, j=None):
        """Vector `j` of a row; of the last one, what the mask tells."""
        if j is not None and j < self.vectors - 1:
            return self._load(address)
        pointer, mask = self._pointer(address, self.vector), self.mask
        kind = ir.FunctionType(self.vector, [pointer.type, SHORT, mask.type, self.vector])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.load.{self._suffix()}")
        return self.builder.call(function, [pointer, SHORT(self.size), mask, ir.Constant(self.vector, None)])

    def _store_some(self, value, address, j=None):
        if j is not None and j < self.vectors - 1:
            self._write(value, address)
            return
        pointer, mask = self._pointer(address, self.vector), self.mask
        kind = ir.FunctionType(ir.VoidType(), [self.vector, pointer.type, SHORT, mask.type])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.store.{self._suffix()}")
        self.builder.call(function, [value, pointer, SHORT(self.size), mask])

    def _suffix(self):
        return f"v{self.lanes}f{8 * self.size}.p0"
