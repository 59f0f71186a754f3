"""Winograd's transforms ``M x M^T`` as machine code, written from their matrices.

A tile is a square of pixels, each a row of adjacent channels. The transform mixes
pixels and leaves channels alone, so one vector holds `lanes` channels of one pixel and
the code for a scalar tile is the code for all channels: first every column of the tile
is multiplied by M, then every row. The entries of M are constants of the code, zeros
and ones cost nothing, and the points' order 0, p, -p, q, -q, infinity saves half:

- rows of B^T and of G that belong to p and -p agree in their even columns and differ in
  sign in their odd ones. With E and O the sums over either, the pair is E + O, E - O;
- columns of A^T do so too: with s = x[p] + x[-p] and d = x[p] - x[-p], even rows take s,
  odd rows take d.

That leaves 14 instructions for the six results of B^T, and a few percent of the time of
the products for all transforms together.

Where the pixels are, a table of addresses says, one per pixel of the tile. So edges need
no code of their own: a pixel outside the image is the address of a row of zeros (or, for
results, of a row that is never read).
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic

from minidl.kernels.cpu.convolution import winograd
from minidl.kernels.cpu.tile import tile

INT, SMALL, BIT, FLOAT = ir.IntType(64), ir.IntType(32), ir.IntType(1), ir.FloatType()
PAIRS = (1, 3)  # the points p, -p of a pair are rows (1, 2) and (3, 4)


def spec(matrix, m, r):
    """The text that names a transform: ``"BT"``, ``"G"`` or ``"AT"`` of F(m, r), a constant of the kernel."""
    shape = tile.shape("float32")
    return f"{matrix} {m} {r} {shape.lanes} {'fma' if shape.fma else 'mul+add'}"


def _emitter(text):
    if not isinstance(text, types.StringLiteral):
        raise RequireLiteralValue("the transform's `spec` has to be a constant")
    matrix, m, r, lanes, fma = text.literal_value.split()
    rows = getattr(winograd.matrices(int(m), int(r)), matrix)
    return _Emitter([[float(v) for v in row] for row in rows], int(lanes), fma == "fma")


@intrinsic(prefer_literal=True)
def transform(typingctx, spec, source, source_offset, target, target_offset, count):
    """``target = M source M^T`` for `count` adjacent channels.

    Parameters
    ----------
    spec : str
        From `spec`.
    source, target : int
        Addresses of tables of addresses, one per pixel, row by row.
    source_offset, target_offset : int
        Bytes to add to each of them.
    count : int
        Channels; may be any number from 0.
    """
    emitter = _emitter(spec)

    def codegen(context, builder, signature, args):
        emitter.emit(builder, *args[1:])
        return context.get_dummy_value()

    return types.void(spec, *[types.int64] * 5), codegen


@intrinsic(prefer_literal=True)
def transform_out(typingctx, spec, source, source_offset, target, target_offset, count, bias, floor, accumulate):
    """As `transform`, then ``max(result + bias + old, floor)``; `old`, the target's content, where `accumulate` is 1.

    `bias` is the address of `count` numbers; `floor` is 0 for ReLU, else minus infinity. NaN passes.
    """
    emitter = _emitter(spec)

    def codegen(context, builder, signature, args):
        emitter.emit(builder, *args[1:6], epilogue=args[6:])
        return context.get_dummy_value()

    return types.void(spec, *[types.int64] * 6, types.float32, types.int64), codegen


class _Emitter:
    """Writes the code of one transform."""

    def __init__(self, matrix, lanes, fma):
        self.matrix, self.lanes, self.fma = matrix, lanes, fma
        self.outputs, self.inputs = len(matrix), len(matrix[0])
        self.multiply = self._evaluate if self.outputs == 6 else self._interpolate
        self.vector = ir.VectorType(FLOAT, lanes)

    def emit(self, builder, source, source_offset, target, target_offset, count, epilogue=None):
        """Loop over the channels, a vector at a time; what is left over is masked."""
        self.builder, self.epilogue = builder, epilogue
        full = builder.and_(count, INT(-self.lanes))
        at = lambda c: (builder.add(source_offset, c), builder.add(target_offset, c), c)
        with cgutils.for_range_slice(builder, INT(0), full, INT(self.lanes), INT) as (c, _):
            self._vector(source, target, *at(builder.mul(c, INT(4))), mask=None)
        with builder.if_then(builder.icmp_signed("<", full, count)):
            rest = self._spread(builder.trunc(builder.sub(count, full), SMALL))
            mask = builder.icmp_signed("<", ir.Constant(rest.type, list(range(self.lanes))), rest)
            self._vector(source, target, *at(builder.mul(full, INT(4))), mask=mask)

    def _vector(self, source, target, source_offset, target_offset, offset, mask):
        """One vector of channels: every column times the matrix, then every row."""
        m, n = self.outputs, self.inputs
        columns = [
            self.multiply([self._load(self._address(source, i * n + j, source_offset), mask) for i in range(n)])
            for j in range(n)
        ]
        for i in range(m):
            for j, value in enumerate(self.multiply([column[i] for column in columns])):
                address = self._address(target, i * m + j, target_offset)
                if self.epilogue:
                    value = self._finish(value, address, offset, mask)
                self._store(value, address, mask)

    def _finish(self, value, address, offset, mask):
        bias, floor, accumulate = self.epilogue
        builder = self.builder
        old = self._spread(builder.icmp_signed("!=", accumulate, INT(0)))
        value = builder.fadd(value, self._load(builder.add(bias, offset), mask))
        value = builder.fadd(value, self._load(address, old if mask is None else builder.and_(mask, old)))
        floor = self._spread(floor)
        return builder.select(builder.fcmp_ordered("<", value, floor), floor, value)

    def _evaluate(self, x):
        """B^T x or G x: the rows of p and -p are the sum and the difference of an even and an odd part."""
        M, y = self.matrix, [None] * 6
        y[0], y[5] = self._dot(M[0], x), self._dot(M[5], x)
        for p in PAIRS:
            even, odd = self._dot(M[p][0::2], x[0::2]), self._dot(M[p][1::2], x[1::2])
            y[p], y[p + 1] = self.builder.fadd(even, odd), self.builder.fsub(even, odd)
        return y

    def _interpolate(self, x):
        """A^T x: even rows take the sum of the values at p and -p, odd rows the difference."""
        sums = [x[0], *(self.builder.fadd(x[p], x[p + 1]) for p in PAIRS), x[5]]
        differences = [x[0], *(self.builder.fsub(x[p], x[p + 1]) for p in PAIRS), x[5]]
        rows = [[row[0], *(row[p] for p in PAIRS), row[5]] for row in self.matrix]
        return [self._dot(row, differences if i % 2 else sums) for i, row in enumerate(rows)]

    def _dot(self, row, x):
        """``sum row[j] x[j]``, ones first: they need no multiplication."""
        total = None
        for value, vector in sorted(zip(row, x), key=lambda term: abs(term[0]) != 1):
            if value != 0:
                total = self._multiply_add(value, vector, total)
        return total

    def _multiply_add(self, value, x, total):
        builder, factor = self.builder, ir.Constant(self.vector, [value] * self.lanes)
        if total is None:
            return x if value == 1 else builder.fmul(x, factor)
        if abs(value) == 1:
            return builder.fadd(total, x) if value == 1 else builder.fsub(total, x)
        if not self.fma:
            return builder.fadd(builder.fmul(x, factor), total)
        return self._call(f"llvm.fma.v{self.lanes}f32", self.vector, x, factor, total)

    def _address(self, table, index, offset):
        pointer = self.builder.inttoptr(table, INT.as_pointer())
        return self.builder.add(self.builder.load(self.builder.gep(pointer, [INT(index)])), offset)

    def _load(self, address, mask):
        pointer = self.builder.inttoptr(address, self.vector.as_pointer())
        if mask is None:
            return self.builder.load(pointer, align=4)
        zeros = ir.Constant(self.vector, [0.0] * self.lanes)
        return self._call(f"llvm.masked.load.v{self.lanes}f32.p0", self.vector, pointer, SMALL(4), mask, zeros)

    def _store(self, value, address, mask):
        pointer = self.builder.inttoptr(address, self.vector.as_pointer())
        if mask is None:
            self.builder.store(value, pointer, align=4)
        else:
            self._call(f"llvm.masked.store.v{self.lanes}f32.p0", ir.VoidType(), value, pointer, SMALL(4), mask)

    def _call(self, name, result, *args):
        kind = ir.FunctionType(result, [value.type for value in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), args)

    def _spread(self, number):
        """A vector whose lanes all hold `number`."""
        kind = ir.VectorType(number.type, self.lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), number, SMALL(0))
        lanes = ir.Constant(ir.VectorType(SMALL, self.lanes), None)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), lanes)
