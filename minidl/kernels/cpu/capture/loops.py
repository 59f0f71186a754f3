"""NumPy's work of a step as launches: its own inner loops, called without Python, and copies.

A function such as ``numpy.add`` finds a loop of machine code for the types of its arguments and calls it on one line
of numbers after the other. Here the loop is found and the lines are laid out once, when the step is recorded; what is
left is the call. The loops are NumPy's own, so the bits are. What has no such form stays a call from Python.
"""

from __future__ import annotations

from ctypes import c_int, c_void_p

import numpy as np

from minidl.kernels.cpu.capture.native import Unfit, call_loop
from minidl.kernels.cpu.capture.work import Choice, Copy, Loop, Sum
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.counter import next_task
from minidl.kernels.cpu.machine.memory import address, pointer

PIECE = 1 << 14  # numbers of a task
DEPTH = 4  # axes of a line's place, and the line
# Loops whose results do not depend on where in a line a number lies, so that lines may be cut and joined.
ONE_BY_ONE = frozenset(
    """
    add subtract multiply divide negative positive absolute square sqrt reciprocal maximum minimum fmax fmin sign floor
    ceil trunc rint copysign greater greater_equal less less_equal equal not_equal isfinite isnan isinf logical_and
    logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_xor invert conjugate floor_divide
    """.split()
)
FLOATS, INTEGER = {np.dtype(np.float32), np.dtype(np.float64)}, np.dtype(np.int64)
_HEAD = object.__basicsize__
_FUNCTIONS, _DATA, _NTYPES = _HEAD + 16, _HEAD + 24, _HEAD + 32  # places in a PyUFuncObject, see numpy/ufuncobject.h


@jit
def run_loop(counter, n_tasks, loop, data, lines, size, piece, shape, places, steps):
    """Call a loop on `lines` lines of `size` numbers of three arrays; a task has `piece` lines, or numbers of one."""
    task = next_task(counter)
    while task < n_tasks:
        if lines == 1:
            k = task * piece
            call_loop(loop, data, min(piece, size - k), places[0] + k * steps[0][-1], places[1] + k * steps[1][-1],
                      places[2] + k * steps[2][-1], steps[0][-1], steps[1][-1], steps[2][-1])  # fmt: skip
        else:
            for line in range(task * piece, min(lines, (task + 1) * piece)):
                i, j, k = line // (shape[1] * shape[2]), line // shape[2] % shape[1], line % shape[2]
                x = places[0] + i * steps[0][0] + j * steps[0][1] + k * steps[0][2]
                y = places[1] + i * steps[1][0] + j * steps[1][1] + k * steps[1][2]
                z = places[2] + i * steps[2][0] + j * steps[2][1] + k * steps[2][2]
                call_loop(loop, data, size, x, y, z, steps[0][-1], steps[1][-1], steps[2][-1])
        task = next_task(counter)


@jit
def run_copy(counter, n_tasks, lines, size, piece, shape, places, steps, zero, source_zero):
    """Copy lines of numbers, which may change their type."""
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * piece, min(lines, (task + 1) * piece)):
            i, j, k = line // (shape[1] * shape[2]), line // shape[2] % shape[1], line % shape[2]
            y = places[0] + i * steps[0][0] + j * steps[0][1] + k * steps[0][2]
            x = places[1] + i * steps[1][0] + j * steps[1][1] + k * steps[1][2]
            to, by = pointer(y, zero), pointer(x, source_zero)
            if steps[0][-1] == 1 and steps[1][-1] == 1:
                for n in range(size):
                    to[n] = by[n]
            else:
                for n in range(size):
                    to[n * steps[0][-1]] = by[n * steps[1][-1]]
        task = next_task(counter)


@jit
def run_choice(counter, n_tasks, lines, size, piece, shape, places, steps, zero, mask_zero):
    """Write lines of numbers of one array or another, as a mask says."""
    task = next_task(counter)
    while task < n_tasks:
        for line in range(task * piece, min(lines, (task + 1) * piece)):
            i, j, k = line // (shape[1] * shape[2]), line // shape[2] % shape[1], line % shape[2]
            out = pointer(places[0] + i * steps[0][0] + j * steps[0][1] + k * steps[0][2], zero)
            mask = pointer(places[1] + i * steps[1][0] + j * steps[1][1] + k * steps[1][2], mask_zero)
            x = pointer(places[2] + i * steps[2][0] + j * steps[2][1] + k * steps[2][2], zero)
            y = pointer(places[3] + i * steps[3][0] + j * steps[3][1] + k * steps[3][2], zero)
            for n in range(size):
                is_x = mask[n * steps[1][-1]] != 0
                out[n * steps[0][-1]] = x[n * steps[2][-1]] if is_x else y[n * steps[3][-1]]
        task = next_task(counter)


def launches_of(work):
    """Launches that do what one NumPy row does: a list of (kernel, n_tasks, args), and what they need alive."""
    kept, found = [], []
    for one in work:
        found += LAUNCHES[type(one)](one, kept)
    return found, [work, kept]


def _looped(work, kept):
    out, ufunc = work.out, work.ufunc
    arrays = [value for value in work.inputs if isinstance(value, np.ndarray)]
    if ufunc.nout != 1 or ufunc.nin > 2 or not out.flags.writeable:
        raise Unfit(ufunc.__name__)
    if any(np.may_share_memory(out, one) and not _is_same(out, one) for one in arrays):
        raise Unfit("an output over part of an input")
    work, before = _widened(work, arrays, kept)
    loop, data, dtypes = _find(ufunc, work.inputs, out.dtype)
    inputs = [
        value if isinstance(value, np.ndarray) else np.array(value, dtype) for value, dtype in zip(work.inputs, dtypes)
    ]
    kept.extend(inputs)
    inputs = [np.broadcast_to(value, out.shape) for value in inputs]
    shape, steps = laid_out([*inputs, out])
    lines, size = shape[0] * shape[1] * shape[2], shape[3]
    if ufunc.__name__ not in ONE_BY_ONE and (lines > 1 or size > PIECE):
        raise Unfit(ufunc.__name__)
    places = [*map(address, inputs), address(out)]
    places, steps = [(*one, *[one[-1]] * (3 - len(one))) for one in (places, steps)]
    n_tasks, piece = _cut(lines, size)
    return [*before, (run_loop, n_tasks, (loop, data, lines, size, piece, shape[:3], places, steps))]


def _widened(work, arrays, kept):
    """For float32 that meets float64, the same work on float64 alone, and the launches that cast before it."""
    if {one.dtype for one in arrays} != FLOATS:
        return work, []
    inputs, before = list(work.inputs), []
    for i, value in enumerate(inputs):
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            inputs[i] = np.empty(value.shape)
            before += _copied(Copy(inputs[i], value), kept)
    return work._replace(inputs=tuple(inputs)), before


def _find(ufunc, inputs, dtype):
    """The loop for these inputs, its data, and the types that it reads: no number changes its type on the way."""
    if _word(ufunc, _HEAD, c_int) != ufunc.nin or _word(ufunc, _NTYPES, c_int) != len(ufunc.types):
        raise Unfit("another NumPy")
    for i, signature in enumerate(ufunc.types):
        taken, _, given = signature.partition("->")
        if "O" in signature or np.dtype(given) != dtype or not all(map(_takes, taken, inputs)):
            continue
        loops, data = _word(ufunc, _FUNCTIONS, c_void_p), _word(ufunc, _DATA, c_void_p)
        word = c_void_p.from_address(data + 8 * i).value if data else None
        return c_void_p.from_address(loops + 8 * i).value, word or 0, [np.dtype(char) for char in taken]
    raise Unfit(f"{ufunc.__name__} of other types")


def _takes(char, value):
    dtype = np.dtype(char)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype == dtype and value.dtype.isnative
    return type(value) in (int, float) and (dtype.kind in "fc" or dtype.kind in "iu" and type(value) is int)


def _word(ufunc, offset, kind):
    return kind.from_address(id(ufunc) + offset).value


def _copied(work, kept):
    target, source = work
    source = source if isinstance(source, np.ndarray) else np.array(source, target.dtype)
    kept.append(source)
    pair = {target.dtype, source.dtype}
    if not (pair <= FLOATS or pair == {INTEGER}) or not target.flags.writeable:
        raise Unfit("a copy of other types")
    if np.may_share_memory(target, source):
        raise Unfit("a copy over itself")
    source = np.broadcast_to(source, target.shape)
    shape, steps = _in_numbers([target, source])
    lines, size = shape[0] * shape[1] * shape[2], shape[3]
    if lines == 1 and size > PIECE and size % PIECE == 0:  # so that threads can share one long line
        step = [PIECE * steps[i][3] * array.itemsize for i, array in enumerate((target, source))]
        lines, shape = size // PIECE, (1, 1, size // PIECE, PIECE)
        size, steps = PIECE, [(0, 0, far, step[3]) for far, step in zip(step, steps)]
    n_tasks, piece = _cut(lines, size) if lines > 1 else (1, 1)
    places = (address(target), address(source))
    zeros = target.dtype.type(0), source.dtype.type(0)
    return [(run_copy, n_tasks, (lines, size, piece, shape[:3], places, tuple(steps), *zeros))]


def _in_numbers(arrays):
    """`laid_out`, with the steps within a line in numbers."""
    shape, steps = laid_out(arrays)
    if any(step[-1] % array.itemsize for step, array in zip(steps, arrays)):
        raise Unfit("steps that are no whole numbers")
    return shape, [(*step[:-1], step[-1] // array.itemsize) for step, array in zip(steps, arrays)]


def _chosen(work, kept):
    out, mask = work.out, work.mask
    x, y = (one if isinstance(one, np.ndarray) else np.array(one, out.dtype) for one in work[2:])
    kept += x, y
    if mask.dtype != bool or out.dtype not in FLOATS or {x.dtype, y.dtype} != {out.dtype}:
        raise Unfit("a choice of other types")
    arrays = [out, *(np.broadcast_to(one, out.shape) for one in (mask.view(np.uint8), x, y))]
    shape, steps = _in_numbers(arrays)
    lines, size = shape[0] * shape[1] * shape[2], shape[3]
    n_tasks, piece = _cut(lines, size) if lines > 1 else (1, 1)
    places = tuple(map(address, arrays))
    return [
        (run_choice, n_tasks, (lines, size, piece, shape[:3], places, tuple(steps), out.dtype.type(0), np.uint8(0)))
    ]


def _summed(work, kept):
    line, out = work
    loop, data, _ = _find(np.add, (out, line), out.dtype)
    places = address(out), address(line), address(out)
    steps = [(0, 0, 0, step) for step in (0, line.strides[0], 0)]
    return [(run_loop, 1, (loop, data, 1, line.size, line.size, (1, 1, 1), places, tuple(steps)))]


LAUNCHES = {Loop: _looped, Copy: _copied, Choice: _chosen, Sum: _summed}


def _cut(lines, size):
    """The number of tasks, and of lines in each; of one line, of numbers."""
    piece = PIECE if lines == 1 else max(1, PIECE // max(1, size))
    return max(1, -(-(size if lines == 1 else lines) // piece)), piece


def _is_same(a, b):
    return a.shape == b.shape and a.strides == b.strides and address(a) == address(b) and a.dtype == b.dtype


def laid_out(arrays):
    """(shape, steps of each array) of arrays of one shape as `DEPTH` axes, joined, in the order of the last one's."""
    out = arrays[-1] if arrays[-1].strides else arrays[0]
    axes = sorted((axis for axis in range(out.ndim) if out.shape[axis] > 1),
                  key=lambda axis: [-abs(array.strides[axis]) for array in (*arrays[::-1],)])  # fmt: skip
    shape, steps = [], []
    for axis in axes:
        n, step = out.shape[axis], [array.strides[axis] for array in arrays]
        if shape and all(before == n * now for before, now in zip(steps[-1], step)):
            shape[-1], steps[-1] = shape[-1] * n, step
        else:
            shape.append(n)
            steps.append(step)
    if len(shape) > DEPTH or out.size == 0:
        raise Unfit("too many axes")
    empty = DEPTH - len(shape)
    steps = [[0] * len(arrays)] * empty + steps
    if empty == DEPTH:  # one number: steps of 0 would say that a loop is to sum
        steps[-1] = [array.itemsize for array in arrays]
    return (*[1] * empty, *shape), tuple(tuple(axis[i] for axis in steps) for i in range(len(arrays)))
