"""A machine for GPU kernels that needs no GPU: the operations on tiles in NumPy, one block after the other.

A kernel's body runs as it is, with `ct` replaced by this module's operations. The machine is stricter than a device:

- Blocks run in a shuffled order, so that none may rely on another one.
- An element that two blocks write, or that one writes and another one reads, is an error (a race).
- Reading past the edge of an array without padding is an error, and so is a tile that lies outside altogether.
- The sides of tiles are powers of two, and the memory of a launch is filled with NaN where nothing wrote.
- Dtypes do not mix: a store takes the dtype of its array, a product two operands of one dtype.
"""

import importlib.util
import itertools
import types
from pathlib import Path

import numpy as np

from minidl import backend
from minidl.kernels import table
from minidl.kernels.gpu import tiles

LAUNCHES = []  # names of kernels, in the order of their launches
EXECUTED = {}  # kernel: the arguments of its launches, one for each set of constants and dtypes
TFLOAT32, BFLOAT16 = "tfloat32", "bfloat16"  # dtypes that NumPy does not have: their numbers are float32s, rounded
BITS_LOST = {TFLOAT32: 13, BFLOAT16: 16}


class Race(AssertionError):
    """Two blocks of a launch at one element."""


class OutOfBounds(AssertionError):
    """A read past the edge of an array that names no padding, or a tile that lies outside."""


class Tile(np.ndarray):
    """A tile: a NumPy array whose sides are powers of two."""

    rounding = None

    def __array_finalize__(self, _):
        if any(n & (n - 1) for n in self.shape):
            raise AssertionError(f"a tile of shape {self.shape}; accepted: powers of two")

    def astype(self, dtype):
        if dtype not in BITS_LOST:
            return np.ndarray.astype(self, dtype)
        bits = np.ndarray.astype(self, np.float32).view(np.uint32).astype(np.uint64)
        lost = BITS_LOST[dtype]
        even = (bits >> lost & 1) + (1 << lost - 1) - 1
        rounded = ((bits + even) >> lost << lost).astype(np.uint32).view(np.float32)
        rounded = np.where(np.isnan(self), np.float32(np.nan), rounded).view(Tile)
        rounded.rounding = dtype
        return rounded


def tile(values, dtype=None):
    return np.asarray(values, dtype).view(Tile)


class Memory:
    """The elements of one buffer, and which block of the launch was at them: -1 none, -2 several."""

    def __init__(self, owner):
        self.owner = owner
        self.reader, self.writer = (np.full(max(1, owner.nbytes), -1) for _ in range(2))


class Array:
    """An array in the memory of the device, as a kernel sees it: shape, dtype, and tiles of it."""

    def __init__(self, array, memory, machine):
        self.array, self.memory, self.machine = array, memory, machine
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        first, owner = (a.__array_interface__["data"][0] for a in (array, memory.owner))
        self.first = first - owner  # the owner is C-ordered memory: a view of it has its address plus this

    def _places(self, index):
        return self.first + sum(np.asarray(i, np.int64) * s for i, s in zip(index, self.array.strides))

    def read(self, index, inside, padding):
        """Elements at the broadcast `index` where `inside`, `padding` elsewhere."""
        index = np.broadcast_arrays(*index, inside)[:-1]
        safe = tuple(np.where(inside, i, 0) for i in index)
        places, block = self._places(safe)[inside], self.machine.number
        writer = self.memory.writer[places]
        if ((writer != -1) & (writer != block)).any():
            raise Race("a block reads what another one has written")
        reader = self.memory.reader[places]
        self.memory.reader[places] = np.where((reader == -1) | (reader == block), block, -2)
        values = np.full(inside.shape, padding, self.dtype)
        values[inside] = self.array[tuple(i[inside] for i in safe)]
        return tile(values)

    def write(self, index, inside, values):
        values = np.asarray(values)
        if values.dtype != self.dtype:
            raise AssertionError(f"a tile of {values.dtype} is stored to an array of {self.dtype}")
        *index, inside, values = np.broadcast_arrays(*index, inside, values)
        places, block = self._places(tuple(i[inside] for i in index)), self.machine.number
        for others in (self.memory.writer[places], self.memory.reader[places]):
            if ((others != -1) & (others != block)).any():
                raise Race("a block writes where another one has been")
        if len(np.unique(places)) != len(places):
            raise Race("a block writes twice to one element at once")
        self.memory.writer[places] = block
        self.array[tuple(i[inside] for i in index)] = values[inside]


class PaddingMode:
    UNDETERMINED, ZERO, NEG_INF, NAN = "undetermined", 0, -np.inf, np.nan


class Machine:
    """The operations on tiles, as `ct`, and the block that runs."""

    PaddingMode = PaddingMode
    tfloat32, bfloat16 = TFLOAT32, BFLOAT16
    int32, int64, uint8, uint16, uint32, uint64, float32, float64, bool_ = map(
        np.dtype, "int32 int64 uint8 uint16 uint32 uint64 float32 float64 bool".split()
    )

    def __init__(self):
        self.block, self.number = (0, 0, 0), 0

    def bid(self, axis):
        return self.block[axis]

    def cdiv(self, a, b):
        return -(-a // b)

    def arange(self, n, dtype):
        return tile(np.arange(n), dtype)

    def zeros(self, shape, dtype):
        return tile(np.zeros(shape), dtype)

    def full(self, shape, value, dtype):
        return tile(np.full(shape, value), dtype)

    def load(self, array, index, shape, padding_mode=PaddingMode.UNDETERMINED):
        places, inside = self._cut(array, index, shape)
        if padding_mode == PaddingMode.UNDETERMINED and not inside.all():
            raise OutOfBounds(f"tile {index} of shape {shape} of an array {array.shape}, without padding")
        return array.read(places, inside, 0 if padding_mode == PaddingMode.UNDETERMINED else padding_mode)

    def store(self, array, index, values):
        places, inside = self._cut(array, index, np.shape(values))
        array.write(places, inside, values)

    def _cut(self, array, index, shape):
        assert len(index) == len(shape) == array.ndim, (index, shape, array.shape)
        if any(not 0 <= i * n < max(1, size) for i, n, size in zip(index, shape, array.shape)):
            raise OutOfBounds(f"tile {index} of shape {shape} lies outside of an array {array.shape}")
        places = np.ogrid[tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, shape))]
        inside = np.ones(shape, bool)
        for place, size in zip(places, array.shape):
            inside &= place < size
        tile(inside)
        return places, inside

    def gather(self, array, index, mask=True, padding_value=0, check_bounds=True):
        return array.read(*self._inside(array, index, mask, check_bounds), padding_value)

    def scatter(self, array, index, values, mask=True, check_bounds=True):
        array.write(*self._inside(array, index, mask, check_bounds), values)

    def _inside(self, array, index, mask, check_bounds):
        index = index if isinstance(index, tuple) else (index,)
        assert len(index) == array.ndim, (len(index), array.ndim)
        inside = tile(True)
        for i, size in zip(index, array.shape):
            inside = inside & (np.asarray(i) >= 0) & (np.asarray(i) < size)
        mask = np.broadcast_to(mask, np.broadcast_shapes(np.shape(mask), inside.shape))
        if not check_bounds:
            if (mask & ~inside).any():
                raise OutOfBounds(f"an index of an array {array.shape}, whose bounds are not checked")
        return index, np.asarray(inside & mask)

    def mma(self, a, b, total):
        assert (a.dtype, getattr(a, "rounding", None)) == (b.dtype, getattr(b, "rounding", None)), (
            "operands of two dtypes"
        )
        assert a.dtype == total.dtype, (a.dtype, total.dtype)
        return tile(np.asarray(total) + np.asarray(a) @ np.asarray(b))

    def sum(self, x, axis, keepdims=False):
        return tile(np.sum(np.asarray(x), axis, x.dtype, keepdims=keepdims))

    def max(self, x, axis, keepdims=False):
        return tile(np.max(np.asarray(x), axis, keepdims=keepdims))

    def where(self, condition, a, b):
        return tile(np.where(condition, a, b))

    def astype(self, x, dtype):
        return tile(x).astype(dtype)

    def isnan(self, x):
        return tile(np.isnan(x))

    def transpose(self, x):
        rounded = tile(np.transpose(x))
        rounded.rounding = getattr(x, "rounding", None)
        return rounded

    def __getattr__(self, name):
        if name in "exp log sqrt maximum minimum".split():
            return lambda *tiles: tile(getattr(np, name)(*tiles))
        if name == "rsqrt":
            return lambda x: tile(1 / np.sqrt(x))
        raise AttributeError(f"the tile machine has no {name!r}")


def rebound(function, machine, room=tiles.__name__.rpartition(".")[0]):
    """A copy of `function`, and of the functions of the kernels' room that it calls, on the operations of `machine`."""
    names = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = names.get(name)
        if isinstance(value, types.FunctionType) and value.__module__.startswith(room):
            names[name] = rebound(value, machine)
    names["ct"] = machine
    return types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)


def owner_of(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def launch(kernel, grid, arguments, seed=0):
    """Run `kernel` on NumPy arrays, its blocks in a shuffled order."""
    machine, memories = Machine(), {}

    def on_device(value):
        if isinstance(value, list):
            return [on_device(v) for v in value]
        if not isinstance(value, np.ndarray):
            assert isinstance(value, (int, float)), f"{value!r} is no argument of a kernel"
            return value
        owner = owner_of(value)
        memory = memories.setdefault(owner.__array_interface__["data"][0], Memory(owner))
        return Array(value, memory, machine)

    body = rebound(kernel.body, machine)
    arguments = [on_device(value) for value in arguments]
    blocks = list(itertools.product(*map(range, (*grid, 1, 1, 1)[:3])))
    order = np.random.default_rng(seed).permutation(len(blocks))
    with np.errstate(all="ignore"):
        for number in order:
            machine.block, machine.number = blocks[number], int(number)
            body(*arguments)
    LAUNCHES.append(kernel.body.__name__)
    EXECUTED.setdefault(kernel.body.__name__, {}).setdefault(_kind(kernel, arguments), arguments)


def _kind(kernel, arguments):
    """What a compiled variant of a kernel depends on: dtypes, and constants."""
    hints = {name for name, hint in kernel.body.__annotations__.items() if hint == "ct.Constant"}
    names = kernel.body.__code__.co_varnames
    return tuple(
        str((value[0] if isinstance(value, list) else value).dtype) if isinstance(value, (Array, list)) else value
        for name, value in zip(names, arguments)
        if name in hints or isinstance(value, (Array, list))
    )


# ---------------------------------------------------------------- a pretended device whose kernels run here


def _own_strict():
    """A second `strict` module, whose arrays are of a type of their own: they have kernels."""
    spec = importlib.util.spec_from_file_location("strict_with_kernels", Path(__file__).with_name("strict.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _arrays(value):
    if isinstance(value, list):
        return [_arrays(v) for v in value]
    return value._array if isinstance(value, strict.StrictArray) else value


def _queue(kernel, grid, arguments):
    """Run `kernel` on the arrays of the pretended device, or write it down where its stream is captured."""
    arguments = [_arrays(value) for value in arguments]
    for array in (a for value in arguments for a in (value if isinstance(value, list) else [value])):
        if isinstance(array, np.ndarray):
            strict._changing(array)
    strict._written(lambda: launch(kernel, grid, arguments), launch(kernel, grid, arguments))


strict = _own_strict()
kind = backend.kind_of(strict.from_numpy(np.zeros(1)))
backend.register(
    strict.StrictArray, kind.xp, "tiles", family="tiles", from_numpy=kind.from_numpy, to_numpy=kind.to_numpy,
    empty=kind.empty, erf=kind.erf,
)  # fmt: skip
tiles.LAUNCHERS[strict.StrictArray] = _queue
table.FORMS["tiles"] = table.GPU
table.COMPILERS["tiles"] = ()
