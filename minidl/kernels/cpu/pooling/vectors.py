"""Max pooling of one window or one pixel, all its channels: what stays in registers while the taps go by.

Arguments are addresses and distances in bytes; `number` and `kind` only tell the types of values and taps.
"""

from __future__ import annotations

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.kernels.cpu.machine.vectors import INT, LANES, deal, word


@intrinsic
def best_of_window(typingctx, number, kind, x, cells, count, y, argmax, C):
    """Write the largest values of a window and their taps to `y` and `argmax`: the first of equal ones, NaN before all.

    The pixel of tap k, of `count`, lies ``cells[k]`` after `x`.
    """

    def codegen(context, builder, signature, args):
        def emit(vectors, values, taps):
            best, tap = cgutils.alloca_once(builder, vectors.value), cgutils.alloca_once(builder, vectors.tap)
            builder.store(vectors.constant(vectors.value, float("-inf")), best)
            builder.store(vectors.constant(vectors.tap, 0), tap)
            with cgutils.for_range(builder, count) as loop:
                value = vectors.load(vectors.value, builder.add(x, word(builder, cells, loop.index)), values)
                is_larger = builder.fcmp_ordered(">", value, builder.load(best))
                wins = builder.or_(is_larger, builder.fcmp_unordered("uno", value, value))
                builder.store(builder.select(wins, value, builder.load(best)), best)
                builder.store(builder.select(wins, vectors.spread(loop.index), builder.load(tap)), tap)
            vectors.store(builder.load(best), y, values)
            vectors.store(builder.load(tap), argmax, taps)

        x, cells, count, y, argmax, C = args[2:]
        deal(builder, number, kind, C, emit)
        return context.get_dummy_value()

    return types.void(number, kind, *[types.int64] * 6), codegen


@intrinsic
def spread_window(typingctx, number, kind, grad, argmax, cells, count, dx, accumulate, C):
    """Write, or add, the gradient of a window to the pixels that its maxima come from, and 0 to its others.

    The pixel of tap k, of `count`, lies ``cells[k]`` after `dx`.
    """

    def codegen(context, builder, signature, args):
        def emit(vectors, values, taps):
            grads, tap = vectors.load(vectors.value, grad, values), vectors.load(vectors.tap, argmax, taps)
            zero = vectors.constant(vectors.value, 0)
            with cgutils.for_range(builder, count) as loop:
                place = builder.add(dx, word(builder, cells, loop.index))
                share = builder.select(builder.icmp_unsigned("==", tap, vectors.spread(loop.index)), grads, zero)
                with builder.if_else(accumulate) as (adding, writing):
                    with adding:
                        vectors.store(builder.fadd(vectors.load(vectors.value, place, values), share), place, values)
                    with writing:
                        vectors.store(share, place, values)

        grad, argmax, cells, count, dx, accumulate, C = args[2:]
        deal(builder, number, kind, C, emit)
        return context.get_dummy_value()

    return types.void(number, kind, *[types.int64] * 5, types.boolean, types.int64), codegen


@intrinsic
def sum_of_windows(typingctx, number, kind, grad, argmax, rows, n_rows, columns, n_columns, dx, accumulate, C):
    """Write, or add, the gradient with respect to a pixel: the sum over the windows whose maximum it is.

    The windows that see it are `n_rows` times `n_columns`. A row and a column of windows have three entries each, to be
    added: a window's gradient lies the first after `grad`, its taps the second after `argmax`, and the pixel is its tap
    number the third.
    """

    def codegen(context, builder, signature, args):
        def emit(vectors, values, taps):
            zero = vectors.constant(vectors.value, 0)
            total = cgutils.alloca_once(builder, vectors.value)
            builder.store(zero, total)
            with builder.if_then(accumulate):
                builder.store(vectors.load(vectors.value, dx, values), total)
            with cgutils.for_range(builder, n_rows) as row:
                with cgutils.for_range(builder, n_columns) as column:
                    first, second, third = entries(builder, (rows, row.index), (columns, column.index))
                    value = vectors.load(vectors.value, builder.add(grad, first), values)
                    tap = vectors.load(vectors.tap, builder.add(argmax, second), taps)
                    share = builder.select(builder.icmp_unsigned("==", tap, vectors.spread(third)), value, zero)
                    builder.store(builder.fadd(builder.load(total), share), total)
            vectors.store(builder.load(total), dx, values)

        grad, argmax, rows, n_rows, columns, n_columns, dx, accumulate, C = args[2:]
        deal(builder, number, kind, C, emit, (64, *LANES))  # for many channels: the tables are read less often
        return context.get_dummy_value()

    return types.void(number, kind, *[types.int64] * 7, types.boolean, types.int64), codegen


def entries(builder, *places):
    """The three sums of the entries of rows of tables: of row `i` for each (table, i)."""
    for k in range(3):
        first, second = (word(builder, table, builder.add(builder.mul(i, INT(3)), INT(k))) for table, i in places)
        yield builder.add(first, second)
