"""Element-wise passes on the CPU; small arrays are left to NumPy.

Arrays that lie in memory alike and without gaps are passed over as lines of LINE numbers,
slices of channels as lines of one pixel: both are rows, `ld` numbers apart.
"""

from __future__ import annotations


from minidl import backend
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.description import PASS
from minidl.kernels.cpu.machine.flat import EXACT, TASK_SIZE, alike, flat, floating, get, memory_order, put
from minidl.kernels.cpu.machine.team import next_task

LARGE_FORWARD = 1 << 15  # below this many numbers NumPy's own loop for the maximum is done before a kernel begins
LARGE_GRAD = 1 << 10  # its `where` makes a mask first, and branches on it: there a kernel pays much sooner
LINE = 1 << 12
NARROW = 16  # slices of fewer channels than this are not worth a loop of their own


def _lines(*arrays):
    """Length of the lines and, for each array, its memory and `ld`; None if the arrays do not lie alike."""
    if not floating(*arrays) or any([a.shape != arrays[0].shape for a in arrays]):
        return None
    views = alike(*arrays)
    if views is not None:
        return LINE, [part for view in views for part in (view, LINE)]
    if arrays[0].ndim == 4 and arrays[0].shape[1] >= NARROW and all(map(backend.is_channels_last, arrays)):
        return arrays[0].shape[1], [part for array in arrays for part in flat(array)]
    return None


def _like(x):
    """New memory for a result that lies in the order of `x`, without gaps."""
    if x.flags.c_contiguous:
        return backend.empty(x.shape, x.dtype, like=x)
    order, back = memory_order(x.strides)
    return backend.empty([x.shape[axis] for axis in order], x.dtype, like=x).transpose(back)


def _run(kernel, lines, size):
    """Run `kernel` over `size` numbers in lines."""
    length, parts = lines
    rows = max(1, (PASS if size <= PASS else TASK_SIZE) // length)
    team.run(kernel, -(-size // (rows * length)), *parts, length, rows)


@jit(fastmath=EXACT)
def _relu(counter, n_tasks, x, ldx, y, ldy, length, rows):
    task = next_task(counter)
    while task < n_tasks:
        for row in range(task * rows, min(-(-len(x) // ldx), (task + 1) * rows)):
            for c in range(min(length, len(x) - row * ldx)):
                v = get(x, row * ldx + c)
                put(y, row * ldy + c, x.dtype.type(0) if v <= 0 else v)
        task = next_task(counter)


def relu_forward(x):
    """Form of `minidl.ops.elementwise.relu_forward`."""
    if x.dtype.char not in "fd" or x.size < LARGE_FORWARD:
        return NotImplemented
    y = _like(x)
    lines = _lines(x, y)
    if lines is None:
        return NotImplemented
    _run(_relu, lines, x.size)
    return y


@jit(fastmath=EXACT)
def _relu_grad(counter, n_tasks, grad, ldg, y, ldy, dx, ldd, length, rows):
    task = next_task(counter)
    while task < n_tasks:
        for row in range(task * rows, min(-(-len(y) // ldy), (task + 1) * rows)):
            for c in range(min(length, len(y) - row * ldy)):
                g = get(grad, row * ldg + c)
                put(dx, row * ldd + c, y.dtype.type(0) if get(y, row * ldy + c) <= 0 else g)
        task = next_task(counter)


def relu_grad(grad, y):
    """Form of `minidl.ops.elementwise.relu_grad`."""
    if grad.dtype.char not in "fd" or grad.size < LARGE_GRAD:
        return NotImplemented
    dx = _like(y)
    lines = _lines(grad, y, dx)
    if lines is None:
        return NotImplemented
    _run(_relu_grad, lines, y.size)
    return dx
