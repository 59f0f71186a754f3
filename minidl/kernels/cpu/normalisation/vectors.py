"""Batch normalisation of a few pixels, vector after vector of their channels, whose constants stay in registers.

Arguments but `floor` are addresses, distances in bytes, and counts. The expressions are those of
:mod:`.channels`, to the bit: nothing is contracted or reordered.
"""

from __future__ import annotations

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.kernels.cpu.machine.vectors import deal

STRETCH = 32  # pixels that are walked over for one vector of channels: they stay in the first-level cache


@intrinsic
def normalise_pixels(typingctx, x, ldx, y, ldy, n, mean, scale, bias, floor, C):
    """Write ``(x - mean) scale + bias``, clipped at `floor`, of `n` pixels to `y`."""

    def codegen(context, builder, signature, args):
        x, ldx, y, ldy, n, mean, scale, bias, floor, C = args

        def emit(vectors, skip, _):
            m, s, b = (vectors.load(vectors.value, vector, skip) for vector in (mean, scale, bias))
            lowest = vectors.spread(floor)
            with cgutils.for_range(builder, n) as pixel:
                d = builder.fsub(vectors.load(vectors.value, place(builder, x, pixel, ldx), skip), m)
                v = builder.fadd(builder.fmul(d, s), b)
                clipped = builder.select(builder.fcmp_ordered("<=", v, lowest), lowest, v)
                vectors.store(clipped, place(builder, y, pixel, ldy), skip)

        deal(builder, signature.args[8], signature.args[8], C, emit)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8, floor, types.int64), codegen


@intrinsic
def input_grad_of_pixels(typingctx, grad, ldg, x, ldx, dx, ldd, n, mean, scale, bias, floor, mean_grad, slope, C):
    """Write the gradient with respect to `n` pixels of the input, ``s (h - mean(h) - d slope)``, to `dx`."""

    def codegen(context, builder, signature, args):
        grad, ldg, x, ldx, dx, ldd, n, mean, scale, bias, floor, mean_grad, slope, C = args

        def emit(vectors, skip, _):
            given = mean, scale, bias, mean_grad, slope
            m, s, b, g, k = (vectors.load(vectors.value, vector, skip) for vector in given)
            lowest = vectors.spread(floor)
            with cgutils.for_range(builder, n) as pixel:
                d = builder.fsub(vectors.load(vectors.value, place(builder, x, pixel, ldx), skip), m)
                h = vectors.load(vectors.value, place(builder, grad, pixel, ldg), skip)
                v = builder.fadd(builder.fmul(d, s), b)
                h = builder.select(builder.fcmp_ordered("<=", v, lowest), lowest, h)
                rest = builder.fsub(builder.fsub(h, g), builder.fmul(d, k))
                vectors.store(builder.fmul(rest, s), place(builder, dx, pixel, ldd), skip)

        deal(builder, signature.args[10], signature.args[10], C, emit)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 10, floor, *[types.int64] * 3), codegen


def place(builder, start, pixel, distance):
    """The address of a pixel."""
    return builder.add(start, builder.mul(pixel.index, distance))
