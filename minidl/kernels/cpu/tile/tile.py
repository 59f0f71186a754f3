"""The register tile: the few lines of machine code in which nearly all time is spent.

A matrix product C = A B does two operations per pair of numbers that it loads, far too
few for a processor that multiplies 32 pairs per cycle and core. The remedy is as old as
registers (Goto & van de Geijn, "Anatomy of high-performance matrix multiplication",
2008): keep a small tile of C in registers while the whole reduction runs over it,

    for k in range(length):                      # one step of the reduction
        for j: b[j] = B[k, j-th vector]          # `vectors` loads of `lanes` numbers
        for i: C[i, :] += A[i, k] * b[:]         # `rows` x `vectors` multiply-adds

With 8 rows and 3 vectors of 16 floats (AVX-512) that is 24 multiply-adds for 11 loads (3 of B, 8 of A),
and 24 + 3 + 1 of the 32 registers: the arithmetic, not the memory, sets the pace.

Why 24 sums at once reach the peak. A multiply-add takes 4 cycles before its result can be
added to again, and a core has 2 ports that each begin one in every cycle. To keep both busy,
4 x 2 = 8 multiply-adds must be under way at any time, each on an accumulator of its own; with
fewer, the tile would wait for itself. With 24, a step takes 24 / 2 = 12 cycles on these ports,
and its 11 loads take 11 / 2 = 6 cycles on the two load ports, next to them. So the peak is
2 ports x 16 lanes x 2 operations x the clock: 256 GFLOP/s for a core at 4 GHz, of which this
tile reaches 248 to 255 (``python -m benchmarks convolution`` measures the processor's own).

`tile` writes this loop as LLVM code through Numba's ``@intrinsic``: the accumulators
are loop variables of that code (phi nodes), so they stay in registers by construction. What makes it a *convolution*
without a copy (no im2col matrix) is where A points. With channels-last bytes, the
inputs that one row of the window covers (kw pixels of C channels) are adjacent, so

- row i of the tile is the i-th of `rows` neighbouring output pixels: its input starts
  ``a.row`` bytes after that of row i-1 (one pixel, times the convolution's stride);
- the reduction is a number of *runs*, one per row of the window: run r reads `length`
  = kw C adjacent numbers that start ``offsets[r]`` bytes from A;
- B holds the weights in the order in which they are used, packed once per call:
  ``[kh kw C][vectors * lanes]``, so that its pointer only ever moves forward.

The same tile with rows and reduction exchanged (``kind="rows"``) multiplies A transposed:
row i is the i-th of `rows` adjacent numbers, and each step of the reduction moves
``a.step`` bytes on. That is the gradient with respect to the weight: rows are input channels, and the
reduction runs over pixels.

Where a tile begins: accumulator (i, j) starts as vector j of row i of `start`. So a bias
is a `start` whose rows are 0 bytes apart, and accumulation onto C is ``start = c``. Where it
ends: ``max(accumulator, floor)`` is stored as vector j of row i of C, with `floor` 0 for ReLU
and minus infinity otherwise; NaN passes through either. The tile always computes and stores
all its rows and columns: at an edge, the caller lets it write to a scratch tile (its rows the
panel's width apart) and copies what is valid, and must own what it reads.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic

from minidl.kernels.cpu.machine.simd import simd
from minidl.kernels.cpu.tile.operands import Operand, unpacked

INT = ir.IntType(64)

# Rows and vectors of a tile by the number of vector registers. Tiles of `rows` and `rows - 1` together
# cover nearly every image width exactly: 8 and 7 for 32, 16, 8 as well as 28, 14, 7.
SHAPES = {32: (8, 3), 16: (4, 3)}


@dataclass(frozen=True)
class Shape:
    """Shape of a tile of `dtype` on this processor: its largest size, and numbers per vector."""

    rows: int
    vectors: int
    lanes: int
    fma: bool
    dtype: str

    def spec(self, rows=None, vectors=None, kind="pixels"):
        """The text that names one tile: a constant of the kernel."""
        rows, vectors = rows or self.rows, vectors or self.vectors
        return f"{kind} {rows} {vectors} {self.lanes} {self.dtype} {'fma' if self.fma else 'mul+add'}"


@functools.cache
def shape(dtype) -> Shape:
    """The tile's shape for a dtype (float32 or float64) on this processor.

    Examples
    --------
    >>> shape("float32").lanes == 2 * shape("float64").lanes
    True
    """
    unit, dtype = simd(), np.dtype(dtype)
    return Shape(*SHAPES[unit.registers], unit.lanes(dtype), unit.fma, dtype.name)


@intrinsic(prefer_literal=True)
def tile(typingctx, spec, a, reduction, b, start, c, floor):
    """One tile; see the module's text. A kernel's call, with `SPEC` a constant of the kernel.

    Parameters
    ----------
    spec : str
        From `Shape.spec`: kind, rows, vectors, lanes, dtype.
    a, start, c : Operand
        ``a.step`` is used by ``kind="rows"`` only, ``a.row`` by ``"pixels"`` only.
    reduction : Reduction
    b : int
        Address of a panel (:mod:`minidl.kernels.cpu.tile.panels`).
    floor : float
        Lower bound of what is stored.
    """
    emitter = Emitter(spec)

    def codegen(context, builder, signature, args):
        emitter.emit(builder, *unpacked(context, builder, signature, args)[1:])
        return context.get_dummy_value()

    return types.void(spec, a, reduction, types.int64, start, c, emitter.number), codegen


@intrinsic(prefer_literal=True)
def tiles(typingctx, spec, rows, vectors, a, reduction, b, start, c, floor, ahead):
    """A `tile` whose size is chosen at run time: the spec's `rows` or one less, and 1 to the spec's `vectors`.

    Each step also prefetches the memory at `ahead`, an Operand that moves ``ahead.step`` bytes on, into the
    second-level cache: what will be wanted next. Any address will do; no memory needs to be there.
    """
    emitter = Emitter(spec)

    def codegen(context, builder, signature, args):
        emitter.choose(builder, *unpacked(context, builder, signature, args)[1:])
        return context.get_dummy_value()

    number, integer = emitter.number, types.int64
    return types.void(spec, integer, integer, a, reduction, integer, start, c, number, ahead), codegen


@intrinsic(prefer_literal=True)
def gather(typingctx, spec, vectors, source, step, count, target):
    """Copy `count` rows of `vectors` vectors, `step` bytes apart at `source`, to `target` without gaps."""
    emitter = Emitter(spec)

    def codegen(context, builder, signature, args):
        emitter.gather(builder, *args[1:])
        return context.get_dummy_value()

    return types.void(spec, *[types.int64] * 5), codegen


class Emitter:
    """Writes the code of one tile."""

    def __init__(self, spec, rows=None, vectors=None):
        if not isinstance(spec, types.StringLiteral):
            raise RequireLiteralValue("the tile's `spec` has to be a constant")
        self.spec, (self.kind, *sizes, dtype, fma) = spec, spec.literal_value.split()
        self.rows, self.vectors, self.lanes = [int(size) for size in sizes]
        self.rows, self.vectors, self.fma = rows or self.rows, vectors or self.vectors, fma == "fma"
        self.number, self.size = getattr(types, dtype), np.dtype(dtype).itemsize
        self.scalar = ir.FloatType() if self.size == 4 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, self.lanes)

    def choose(self, builder, rows, vectors, *args):
        """A switch over the sizes, with the code of one tile under each label."""
        done = builder.append_basic_block("tile.end")
        labels = builder.switch(builder.add(builder.mul(rows, INT(8)), vectors), done)
        for i in (self.rows, self.rows - 1):
            for j in range(1, self.vectors + 1):
                block = builder.append_basic_block("tile.size")
                labels.add_case(INT(8 * i + j), block)
                builder.position_at_end(block)
                Emitter(self.spec, i, j).emit(builder, *args)
                builder.branch(done)
        builder.position_at_end(done)

    def gather(self, builder, vectors, source, step, count, target):
        """A loop within a loop of vector loads and stores."""
        self.builder, width = builder, INT(self.lanes * self.size)

        def one(j, source, target):
            builder.store(self._load(source), self._pointer(target, self.vector), align=self.size)
            return [builder.add(source, width), builder.add(target, width)]

        def row(i, source, target):
            _, after = self._loop(vectors, [source, target], one)
            return [builder.add(source, step), after]

        self._loop(count, [source, target], row)

    def emit(self, builder, a, reduction, b, start, c, floor, ahead=None):
        """The code of one tile, at the builder's place."""
        self.builder, size = builder, INT(self.size)
        self.a = a._replace(step=size) if self.kind == "pixels" else a._replace(row=size)
        forward = [Operand(b, None, INT(self.vectors * self.lanes * self.size)), *([] if ahead is None else [ahead])]
        self.steps = [operand.step for operand in forward]
        moving = [operand.address for operand in forward]  # pointers that never go back
        first = [self._load(self._at(start, i, j)) for i, j in self._cells()]
        last = self._loop(reduction.runs, [*moving, *first], lambda r, *state: self._run(r, reduction, state))
        self._store(last[len(moving) :], c, floor)

    def _cells(self):
        return [(i, j) for i in range(self.rows) for j in range(self.vectors)]

    def _run(self, r, reduction, state):
        """One run of the reduction: `length` steps from where ``offsets[r]`` points."""
        add, offset = self.builder.add, self.builder.mul(r, INT(8))
        a = add(self.a.address, self.builder.load(self._pointer(add(reduction.offsets, offset), INT)))
        return self._loop(reduction.length, [a, *state], lambda k, a, *state: self._step(a, state))[1:]

    def _step(self, a, state):
        """One step: `rows` numbers of A times `vectors` vectors of B."""
        add, moving = self.builder.add, state[: len(self.steps)]
        sums = list(state[len(self.steps) :])
        for ahead in moving[1:]:
            self._prefetch(ahead)
        bs = [self._load(add(moving[0], INT(j * self.lanes * self.size))) for j in range(self.vectors)]
        for i in range(self.rows):
            place = self._at(self.a._replace(address=a), i)
            x = self._spread(self.builder.load(self._pointer(place, self.scalar), align=self.size))
            for j in range(self.vectors):
                sums[i * self.vectors + j] = self._multiply_add(x, bs[j], sums[i * self.vectors + j])
        return [add(a, self.a.step), *[add(p, step) for p, step in zip(moving, self.steps)], *sums]

    def _prefetch(self, address):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        self.builder.call(function, [self.builder.inttoptr(address, byte), number(0), number(2), number(1)])

    def _store(self, sums, c, floor):
        floor = self._spread(floor)
        for (i, j), value in zip(self._cells(), sums):
            value = self.builder.select(self.builder.fcmp_ordered("<", value, floor), floor, value)
            self._write(value, self._at(c, i, j))

    def _loop(self, count, state, body):
        """``for k in range(count): state = body(k, *state)`` for `count` >= 1, the state in phi nodes."""
        builder, before = self.builder, self.builder.block
        head = builder.append_basic_block("tile.loop")
        builder.branch(head)
        builder.position_at_end(head)
        phis = [builder.phi(value.type) for value in [INT(0), *state]]
        after = [builder.add(phis[0], INT(1)), *body(*phis)]
        for phi, value, new in zip(phis, [INT(0), *state], after):
            phi.add_incoming(value, before)
            phi.add_incoming(new, builder.block)
        done = builder.append_basic_block("tile.done")
        builder.cbranch(builder.icmp_signed("<", after[0], count), head, done)
        builder.position_at_end(done)
        return after[1:]

    def _at(self, operand, i, j=0):
        """Address of row `i`, vector `j`."""
        base = operand.address
        address = self.builder.add(base, self.builder.mul(INT(i), operand.row)) if i else base
        return self.builder.add(address, INT(j * self.lanes * self.size)) if j else address

    def _pointer(self, address, kind):
        return self.builder.inttoptr(address, kind.as_pointer())

    def _load(self, address):
        return self.builder.load(self._pointer(address, self.vector), align=self.size)

    def _write(self, value, address):
        self.builder.store(value, self._pointer(address, self.vector), align=self.size)

    def _spread(self, number):
        """A vector whose lanes all hold `number`."""
        one = self.builder.insert_element(ir.Constant(self.vector, ir.Undefined), number, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return self.builder.shuffle_vector(one, ir.Constant(self.vector, ir.Undefined), lanes)

    def _multiply_add(self, x, y, total):
        """``x * y + total``, in one rounding where the processor has it (a call of libm's would be very slow)."""
        if not self.fma:
            return self.builder.fadd(self.builder.fmul(x, y), total)
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        name = f"llvm.fma.v{self.lanes}f{8 * self.size}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [x, y, total])
