"""The exponential and the largest number of a row, in forms that the compiler turns into vector instructions.

`math.exp` is a call into a library, one number at a time. Here it is arithmetic:

    exp(x) = 2^n exp(r),   n = round(x / ln 2),   r = x - n ln 2,   |r| <= ln(2) / 2

so few terms of the series of exp(r) suffice, and 2^n is written into the exponent's bits.
W. Cody and W. Waite, "Software Manual for the Elementary Functions", 1980.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.flat import get


@dataclass(frozen=True)
class Format:
    """A floating-point format, and what its exponential needs.

    Attributes
    ----------
    bits, fraction, bias : int
        Of the whole number, of its fraction, and what is added to the exponent where it is stored.
    low, high : float
        A number below has the exponential 0, what is above infinity.
    ln2 : pair of float
        They add up to ln 2; the first has so few bits that its multiples are exact.
    terms : int
        Of the series.
    """

    bits: int
    fraction: int
    bias: int
    low: float
    high: float
    ln2: tuple
    terms: int


FORMATS = {
    types.float32: Format(32, 23, 127, -104.0, 89.0, (0.693359375, -2.12194440054690583e-4), 8),
    types.float64: Format(64, 52, 1023, -746.0, 710.0, (0.693145751953125, 1.42860682030941723e-6), 14),
}


@intrinsic
def _exp(typingctx, x):
    form = FORMATS[x]

    def codegen(context, builder, signature, args):
        kind, whole = context.get_value_type(x), ir.IntType(form.bits)
        low, high, log2e = (ir.Constant(kind, value) for value in (form.low, form.high, 1 / math.log(2)))
        v = builder.select(builder.fcmp_ordered("<", args[0], low), low, args[0])
        v = builder.select(builder.fcmp_ordered(">", v, high), high, v)
        # A number so large that its last bit counts ones: what is added to it is rounded, and stands in its last bits.
        ones = ir.Constant(kind, 1.5 * 2.0**form.fraction)
        counted = builder.fadd(builder.fmul(v, log2e), ones)
        n, r = builder.fsub(counted, ones), v
        for part in form.ln2:
            r = builder.fsub(r, builder.fmul(n, ir.Constant(kind, part)))
        y = ir.Constant(kind, 1 / math.factorial(form.terms - 1))
        for k in reversed(range(form.terms - 1)):
            y = builder.fadd(builder.fmul(y, r), ir.Constant(kind, 1 / math.factorial(k)))
        power = builder.sub(builder.bitcast(counted, whole), builder.bitcast(ones, whole))
        half = builder.ashr(power, whole(1))  # in two steps, for 2^n itself may be out of range where the result is not
        for exponent in (half, builder.sub(power, half)):
            biased = builder.shl(builder.add(exponent, whole(form.bias)), whole(form.fraction))
            y = builder.fmul(y, builder.bitcast(biased, kind))
        return y

    return x(x), codegen


@jit(forceinline=True)
def exp(x):
    """e to the power of `x`, a float32 or float64, within two units in the last place; NaN stays NaN.

    Examples
    --------
    >>> import numpy as np
    >>> round(exp(1.0), 10)
    2.7182818285
    >>> exp(-np.inf), exp(np.inf), exp(np.nan)
    (0.0, inf, nan)
    """
    return _exp(x)


def _ordered(builder, whole, value):
    """Integers in the order of the numbers whose bits they are, and back: below 0 the other bits are turned round."""
    sign = builder.ashr(value, whole(whole.width - 1))
    return builder.xor(value, builder.and_(sign, whole((1 << (whole.width - 1)) - 1)))


@intrinsic
def _rank(typingctx, x):
    whole = ir.IntType(FORMATS[x].bits)

    def codegen(context, builder, signature, args):
        return _ordered(builder, whole, builder.bitcast(args[0], whole))

    return getattr(types, f"int{whole.width}")(x), codegen


@intrinsic
def _of_rank(typingctx, rank, like):
    whole = ir.IntType(FORMATS[like].bits)

    def codegen(context, builder, signature, args):
        return builder.bitcast(_ordered(builder, whole, args[0]), context.get_value_type(like))

    return like(rank, like), codegen


@jit
def largest(x, start, end):
    """The largest of ``x[start:end]``, found by comparing integers, whose order no NaN disturbs: it ranks outside.

    Examples
    --------
    >>> import numpy as np
    >>> largest(np.array([9.0, -2.0, -1.0, -3.0]), 1, 4)
    -1.0
    """
    top = _rank(get(x, start))
    for i in range(start + 1, end):
        rank = _rank(get(x, i))
        top = rank if rank > top else top
    return _of_rank(top, get(x, start))
