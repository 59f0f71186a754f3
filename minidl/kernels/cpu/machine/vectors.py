"""The channels of a pixel dealt out to vectors, for kernels that write down what one vector of them does.

A compiler makes vectors of a loop over channels only where it is long. Here they are dealt out to vectors of 16, 8 and
4, so that 8 channels cost half of 16; what is left is done one by one. A processor whose vectors are shorter takes
several of them.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

LANES = (16, 8, 4, 1)
INT = ir.IntType(64)


def deal(builder, number, kind, C, emit, sizes=LANES):
    """Deal `C` channels out to vectors: ``emit(vectors, values, taps)`` writes the code for one, so many bytes on."""
    done = INT(0)
    for lanes in sizes:
        vectors, size = Vectors(builder, lanes, number, kind), INT(lanes)
        vectors_left = builder.udiv(builder.sub(C, done), size)
        with cgutils.for_range(builder, vectors_left) as loop:
            c = builder.add(done, builder.mul(loop.index, size))
            emit(vectors, *[builder.mul(c, INT(vectors.bytes_of(kind))) for kind in (vectors.value, vectors.tap)])
        done = builder.add(done, builder.mul(vectors_left, size))


def word(builder, table, i):
    """Number `i` of a table of int64."""
    return builder.load(builder.gep(builder.inttoptr(table, INT.as_pointer()), [i]))


class Vectors:
    """The vectors of values and of taps, with `lanes` entries each."""

    def __init__(self, builder, lanes, number, kind):
        self.builder, self.lanes = builder, lanes
        self.value = ir.VectorType(ir.FloatType() if number.bitwidth == 32 else ir.DoubleType(), lanes)
        self.tap = ir.VectorType(ir.IntType(kind.bitwidth), lanes)

    @staticmethod
    def bytes_of(vector):
        """Bytes of an entry."""
        sizes = {ir.FloatType(): 4, ir.DoubleType(): 8}
        return sizes[vector.element] if vector.element in sizes else vector.element.width // 8

    def constant(self, vector, number):
        """A vector of equal numbers."""
        return ir.Constant(vector, [ir.Constant(vector.element, number)] * self.lanes)

    def load(self, vector, address, skip):
        """The vector `skip` bytes after an address."""
        return self.builder.load(self._pointer(vector, address, skip), align=self.bytes_of(vector))

    def store(self, value, address, skip):
        """Write a vector `skip` bytes after an address."""
        self.builder.store(value, self._pointer(value.type, address, skip), align=self.bytes_of(value.type))

    def _pointer(self, vector, address, skip):
        return self.builder.inttoptr(self.builder.add(address, skip), vector.as_pointer())

    def spread(self, number):
        """A vector of taps, or of values, that all are `number`."""
        if number.type == self.value.element:
            empty = ir.Constant(self.value, ir.Undefined)
        else:
            empty, number = ir.Constant(self.tap, ir.Undefined), self.builder.trunc(number, self.tap.element)
        one = self.builder.insert_element(empty, number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None))
