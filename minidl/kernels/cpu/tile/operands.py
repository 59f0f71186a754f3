"""Operands of the tiles: named tuples that a kernel builds, and that are numbers in registers once it is compiled.

Addresses and strides are in bytes. A kernel that reads or writes another kind of operand adds it here.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import types
from numba.core import cgutils


class Operand(NamedTuple):
    """A matrix in memory: the address of its first number, and the bytes from one row or step to the next."""

    address: int
    row: int
    step: int  # of the reduction, where the tile cannot know it


class Reduction(NamedTuple):
    """`runs` runs of `length` steps, at least one of each; run r of A starts ``offsets[r]`` bytes from A."""

    offsets: int  # the address of int64 numbers
    runs: int
    length: int


class Panel(NamedTuple):
    """A panel of B: its address, its vectors, and how many of their numbers are columns of C."""

    address: int
    vectors: int
    valid: int


class Window(NamedTuple):
    """An operand of the reduction: the address of its first vector; bytes to the next row, run and step."""

    address: int
    row: int
    run: int
    step: int


class Count(NamedTuple):
    """`runs` runs of `length` steps; there may be none of either."""

    runs: int
    length: int


def unpacked(context, builder, signature, args):
    """`args`, with each Operand and Reduction as a named tuple of 64-bit numbers."""

    def unpack(kind, value):
        if not isinstance(kind, types.BaseNamedTuple):
            return value
        fields = cgutils.unpack_tuple(builder, value, len(kind))
        return kind.instance_class(*[context.cast(builder, *field, types.int64) for field in zip(fields, kind.types)])

    return [unpack(kind, value) for kind, value in zip(signature.args, args)]
