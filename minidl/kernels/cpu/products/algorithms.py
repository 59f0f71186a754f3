"""The choice of a form for a matrix product: one table, read from the top, the first row that fits.

The table looks at lengths and strides only. Every form but `dots` adds the products of a number of C in the same order
(see :mod:`.dense`), so a choice among them is a matter of speed: the bits are the same. And `dots` does not look at the
number of rows. So the row of a result has the same bits whatever other rows are computed with it: an image's logits do
not depend on its batch. Print the table, or switch a row off:

    print(algorithms.table())
    with algorithms.override(direct=False):
        ...

What the numbers in it come from: a tile of 8 rows spends 12 cycles on a row of a panel (48 columns). To copy that row
costs some 3 cycles, and 17 where its numbers have to be transposed. So copies pay from some rows on. Where B has to be
transposed, `turned` transposes A and C in its place: that is less if the reduction is long beside the rows, and the
tile is as fast only if two vectors are full of rows.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Callable, NamedTuple

from minidl.kernels.cpu.machine.description import DENSE_BLOCK, DENSE_SLAB, TASK_WORK
from minidl.kernels.cpu.machine.simd import simd
from minidl.kernels.cpu.products.dense import DEPTH, bench_bytes
from minidl.kernels.cpu.tile.sweep import TileSize

FEW = 32  # rows, that is 4 tiles: a panel read so seldom need not be copied
TASKS = 8  # to aim at, so that two to four threads end together
LEAST = 128  # rows of a task of a turned product, each of which packs the other operand for itself
WIDE = 192  # columns of a task of a turned product: its block of C' is kept in scratch memory
FAR = 256  # bytes from one step of the reduction to the next, from which A is copied
LONG = 64  # steps of the reduction, from which A is copied
SLAB = DENSE_SLAB // (DEPTH * 4)  # rows at most of a task that copies slabs


class ProductCase(NamedTuple):
    """One product of A (M, K) and B (K, N): what the table's rows look at. Strides are in bytes."""

    rows: int  # M
    columns: int  # N
    inner: int  # K
    a: tuple  # strides
    b: tuple
    size: int  # bytes of a number


class Condition(NamedTuple):
    """One requirement of a row, in words and as a function."""

    words: str
    holds: Callable[[ProductCase], bool]
    is_for_speed: bool = False  # the form could compute other products too


class Rule(NamedTuple):
    """A row: the form's name, and when it is taken."""

    name: str
    conditions: tuple

    @property
    def when(self):
        """The conditions in words."""
        return ", ".join(condition.words for condition in self.conditions) or "every other product"

    def fits(self, case, off=()):
        """Return whether all conditions hold, of those that are not switched off."""
        return all(c.holds(case) for c in self.conditions if not (c.is_for_speed and LENGTHS in off))


COLUMNS_OF_B = Condition("columns of B adjacent", lambda case: case.b[0] == case.size)
ROWS_OF_B = Condition("rows of B adjacent", lambda case: case.b[1] == case.size)
ROWS_OF_A = Condition("rows of A adjacent", lambda case: case.a[1] == case.size)
ONE_COLUMN = Condition("one column", lambda case: case.columns == 1)
FLAT = Condition("columns of C at least twice its rows", lambda case: case.columns >= 2 * case.rows, True)
TWO_VECTORS = Condition("at least two vectors of rows", lambda case: case.rows * case.size >= 2 * simd().bytes, True)
DEEP = Condition("inner at least 8 times its rows", lambda case: case.inner >= 8 * case.rows, True)
FEW_ROWS = Condition(f"at most {FEW} rows", lambda case: case.rows <= FEW, True)
LENGTHS = "lengths"  # the name under which `override` knows the conditions above

RULES = (
    Rule("dots", (ONE_COLUMN, ROWS_OF_A)),
    Rule("turned", (COLUMNS_OF_B, FLAT, TWO_VECTORS, DEEP)),
    Rule("direct", (ROWS_OF_B, FEW_ROWS)),
    Rule("packed", ()),
)
_off = frozenset()


class Plan(NamedTuple):
    """A form and its blocks, as arguments of the kernel."""

    name: str
    turned: int
    tasks: int
    first: tuple  # strides of the operand whose rows the tile has as rows
    second: tuple
    row: int  # stride of C
    sizes: tuple  # M, N, K, rows and columns of a task, packed, slab, turned
    scratch: int  # bytes of each thread


def form(case):
    """The name of the first row that fits.

    Examples
    --------
    >>> form(ProductCase(32, 256, 784, (3136, 4), (4, 3136), 4))  # a batch of 32 times a transposed weight
    'turned'
    """
    return next(rule.name for rule in RULES if rule.name not in _off and rule.fits(case, _off))


def plan(M, N, K, a, b, row, dtype):
    """The plan of a product of A (M, K) and B (K, N) with strides `a` and `b`, in rows `row` bytes apart."""
    return _plan(M, N, K, a, b, row, dtype, _off)


@functools.lru_cache(maxsize=4096)
def _plan(M, N, K, a, b, row, dtype, off):
    size = TileSize.of(dtype)
    a = (a[0], size.bytes if K == 1 else a[1])  # the stride of an axis of length 1 says nothing
    b = (size.bytes if K == 1 and N > 1 and b[1] != size.bytes else b[0], size.bytes if N == 1 else b[1])
    name = form(ProductCase(M, N, K, a, b, size.bytes))
    if name == "dots":
        rows = M if M * K < TASK_WORK // 16 else -(-M // TASKS)
        return Plan(name, 0, -(-M // rows), a, b, row, (M, K, rows), 0)
    if name == "turned":
        M, N, a, b = N, M, b[::-1], a[::-1]
    slab = a[0] == size.bytes and a[1] >= FAR and K >= LONG
    rows, columns = _task(name, M, N, K, size)
    rows = min(rows, SLAB) if slab else rows
    sizes = M, N, K, rows, columns, int(name != "direct"), int(slab), int(name == "turned")
    tasks = -(-M // rows) * -(-N // columns)
    scratch = bench_bytes(size, slab, name == "turned", rows, columns)
    return Plan(name, sizes[-1], tasks, a, b, row, sizes, scratch)


def _task(name, M, N, K, size):
    """Rows and columns of a task."""
    if name == "turned":
        if M * N * K < TASK_WORK:
            return min(M, 4 * LEAST), min(N, WIDE)
        return min(M, max(LEAST, _multiple(-(-M // TASKS), size.lanes))), min(N, WIDE)
    rows = min(M, _multiple(DENSE_BLOCK // (min(K, DEPTH) * size.bytes), size.rows))
    if M * N * K < TASK_WORK:
        return rows, N
    blocks = -(-M // rows)
    panels = -(-N // (size.lanes * size.vectors))
    across = min(panels, -(-TASKS // blocks))
    return rows, _multiple(-(-N // across), size.lanes * size.vectors if panels > across else size.lanes)


def _multiple(count, unit):
    """`count`, rounded up to a multiple of `unit`."""
    return -(-count // unit) * unit


@contextlib.contextmanager
def override(**rows):
    """Switch rows of the table off (``name=False``) or on again for the block; ``lengths=False``: what asks lengths.

    Raises
    ------
    ValueError
        If there is no such row, or it is the last one, which everything falls back on.
    """
    global _off
    names = [*(rule.name for rule in RULES[:-1]), LENGTHS]
    unknown = [name for name in rows if name not in names]
    if unknown:
        raise ValueError(f"`override` of {', '.join(unknown)}; accepted: {', '.join(names)}")
    before = _off
    _off = (_off | {name for name, on in rows.items() if not on}) - {name for name, on in rows.items() if on}
    try:
        yield
    finally:
        _off = before


def table():
    """The table as text.

    Examples
    --------
    >>> print(table())
    dots    one column, rows of A adjacent
    turned  columns of B adjacent, columns of C at least twice its rows, at least two vectors of rows, inner at least 8 times its rows
    direct  rows of B adjacent, at most 32 rows
    packed  every other product
    """
    width = max(len(rule.name) for rule in RULES)
    return "\n".join(
        f"{rule.name:{width}}  {rule.when}" + (" (switched off)" if rule.name in _off else "") for rule in RULES
    )
