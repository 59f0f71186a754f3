# %% [markdown]
# # The same on a GPU
#
# A GPU has more than a hundred cores, and each of them works on hundreds of numbers at a time. It is fast if there is
# much to do *at once*, and it is programmed the other way round: one does not write a loop over an image, but the
# program of one *block*, which computes one small piece of the result. The GPU starts it thousands of times.
#
# No GPU is needed for this chapter. A kernel in minidl is Python on *tiles*, small arrays. On a GPU a compiler (cuTile)
# makes machine code of it. Here is another machine for the same programs, on NumPy. This is all that a block can do:

# %%
import types

import numpy as np

import minidl
from minidl.tour import exercise, picture, predict, say, source


def places(number, shape):
    """The indices that tile `number` of a shape covers."""
    return np.ix_(*[k * n + np.arange(n) for k, n in zip(number, shape)])


def inside(x, index):
    return np.all([(i >= 0) & (i < n) for i, n in zip(index, x.shape)], axis=0)


class Machine:
    class PaddingMode:
        ZERO, NEG_INF = 0.0, -np.inf

    def __getattr__(self, name):
        return getattr(np, name)                         # arange, where, sum ... of tiles

    def bid(self, axis):
        """The number of this block."""
        return self.block[axis]

    def cdiv(self, n, size):
        return -(-n // size)

    def gather(self, x, index, padding_value=0):
        """A tile of elements of x from anywhere; `padding_value` for those outside."""
        index = np.broadcast_arrays(*index)
        there = inside(x, index)
        found = x[tuple(np.where(there, i, 0) for i in index)]
        return np.where(there, found, padding_value)

    def load(self, x, number, shape, padding_mode=0.0):
        """Tile `number` of x, when x is cut into tiles of this shape: powers of two."""
        assert not any(n & n - 1 for n in shape), f"a tile of {shape}, not of powers of 2"
        return self.gather(x, places(number, shape), padding_mode)

    def store(self, x, number, tile):
        """Put a tile to its place; what hangs over the edge is not stored."""
        index = np.broadcast_arrays(*places(number, tile.shape))
        there = inside(x, index)
        x[tuple(i[there] for i in index)] = tile[there]

    def mma(self, a, b, total):
        """A product of two tiles, added: what the tensor cores of a GPU are made for."""
        return total + a @ b


ct = Machine()

# %% [markdown]
# Starting a kernel takes a *grid*: how many blocks there are along each axis. Many run at the same time, the others as
# places become free: in no order that one may rely on. This machine takes them one by one, in a random order.

# %%
def launch(body, grid, *arguments, seed=0):
    names = dict(body.__globals__, ct=ct)   # minidl's kernels, too, meet this machine
    for name, value in body.__globals__.items():
        if isinstance(value, types.FunctionType) and value.__globals__ is body.__globals__:
            names[name] = types.FunctionType(value.__code__, names)
    run, blocks = types.FunctionType(body.__code__, names), list(np.ndindex(*grid))
    for k in np.random.default_rng(seed).permutation(len(blocks)):
        ct.block = blocks[k]
        run(*arguments)


def squares(x, y, T):
    tile = ct.load(x, (ct.bid(0),), (T,))
    ct.store(y, (ct.bid(0),), tile * tile)


x, y = np.arange(10.0), np.full(10, np.nan)
launch(squares, (2,), x, y, 4)
predict("Ten numbers, tiles of 4, a grid of 2 blocks. What is in y?")
print(y)
launch(squares, (3,), x, y, 4)
predict("And with 3 blocks? The last tile hangs over the edge.")
print(y)

# %% [markdown]
# ## No order: sums in two stages
#
# Each element of a result should have one writer. A sum is the hard case: thousands of blocks hold a share of it. GPUs
# can add to a number in memory so that no addition is lost, an *atomic* addition. Try it, in five orders of the blocks:

# %%
def atomic_sum(x, total, T):
    tile = ct.load(x, (ct.bid(0),), (T,))
    total[0] += tile.sum(dtype=np.float32)


def bits(number):
    return f"{np.float32(number).view(np.uint32):08x}"


x = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
found = []
for seed in range(5):
    total = np.zeros(1, np.float32)
    launch(atomic_sum, (200,), x, total, 256, seed=seed)
    found.append(bits(total[0]))
predict("Five runs of the same program. How many different results? (Chapter 14 knows.)")
print(*found)

# %% [markdown]
# That is why two runs of a training on a GPU often differ. minidl's kernels use no atomics. Each block writes the sum
# of its share to a place of its own, a second launch adds those up, in order. This kernel sums the columns of a
# matrix:

# %%
from minidl.kernels.gpu.reduction import column_sums

source(column_sums.body)
matrix, found = x.reshape(-1, 10), []
for seed in range(5):
    shares, total = np.zeros((20, 10), np.float32), np.zeros((1, 10), np.float32)
    launch(column_sums.body, (1, 20), matrix, shares, 8, 32, 16, seed=seed)
    launch(column_sums.body, (1, 1), shares, total, 1, 32, 16, seed=seed)
    found.append(bits(total[0, 0]))
predict("5,000 rows, 20 shares, five orders of the blocks again. How many results now?")
print(*found)
print(f"largest error {np.abs(total[0] - matrix.sum(0, dtype=float)).max():.0e}")

# %% [markdown]
# ## A convolution
#
# Chapter 6 wrote every window as a row of a matrix. The matrix is large, and on a GPU its bytes cost more than the
# product. But a block needs only a *tile* of it at a time, and can gather that from the image: cell by cell of the
# window, a few channels after the others. The matrix exists, and never lies in memory. The rows of `x` are the pixels
# of all images, so the number of a pixel says which. Here are the function that finds the pixels, and minidl's kernel:

# %%
from minidl.kernels.gpu.convolution import gathered, seen_from

source(seen_from)
source(gathered.body)

# %% [markdown]
# `ALONG` is the stride, `GAP` the dilation, `SHIFT` minus the padding, and `APART` is 1. A pixel of the padding gets
# the number -1: it is not in `x`, so it reads as 0. For the gradient with respect to the input, chapter 7's second
# map, the same kernel takes other numbers (1, minus the dilation, the padding, and the stride for `APART`), and the
# weights with inputs and outputs exchanged.

# %%
rng = np.random.default_rng(0)
images, weight = rng.standard_normal((2, 3, 7, 7)), rng.standard_normal((5, 3, 3, 3))
right = minidl.conv2d(minidl.tensor(images), minidl.tensor(weight), padding=1).numpy()
rows = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).reshape(-1, 3)
cells = weight.transpose(2, 3, 1, 0).reshape(9, 3, 5)
y = np.full((2 * 7 * 7, 5), np.nan)
sizes, steps, tiles = (7, 7, 7, 7, 3), (1, 1, 1, 1, -1, -1, 1, 1), (16, 4, 8)
options = 0, False, False, False         # no rounding, bias, ReLU or addition
launch(gathered.body, (7, 1), rows, cells, cells, y, *sizes, *steps, *tiles, *options)
predict("98 pixels in 7 tiles of 16, 5 filters in a tile of 8: is each number right, those at the edges, too?")
right = right.transpose(0, 2, 3, 1).reshape(-1, 5)
print(f"largest difference {np.abs(y - right).max():.0e}")

# %% [markdown]
# ## What it could reach
#
# The roofline of chapter 12 holds for any machine. An H200 does 494 TFLOP/s on its tensor cores in TF32, which rounds
# factors to 10 of float32's 23 binary places, and 67 without them; its memory moves 4.8 TB/s. That follows from its
# maker's figures (that for TF32, printed for sparse matrices, is halved here); nothing on this page was measured on
# one. A core like those of chapter 12 does a quarter of a TFLOP/s, at some 0.04 TB/s.

# %%
def intensity(C, K, k, side, N=512):
    """Operations per byte of a convolution: its images once in, once out."""
    operations = 2 * N * side * side * k * k * C * K
    return operations / (4 * (N * side * side * (C + K) + k * k * C * K))


jobs = {"ReLU": 1 / 8}
jobs["1x1, 192 to 64"] = intensity(192, 64, 1, side=32)
jobs["3x3, 96 to 128"] = intensity(96, 128, 3, side=32)
predict("Which of ReLU, a 1x1 and a 3x3 convolution can use the tensor cores fully?")
for name, work in jobs.items():
    share = min(494, work * 4.8) / 494
    print(f"{name:<15}{work:6.1f} operations/byte, {share:6.1%} of the peak")

# %% tags=["hide-input"]
from minidl.tour.drawing import chart

roofs = {"H200, tensor cores": (494, 4.8), "H200, without": (67, 4.8), "a CPU core": (0.25, 0.04)}
picture(
    chart({name: [(w, min(peak, w * memory)) for w in (0.05, peak / memory, 2000)]
           for name, (peak, memory) in roofs.items()},
          logx=True, logy=True, xlabel="operations per byte of memory", ylabel="TFLOP/s",
          marks=[(work, min(494, work * 4.8), name) for name, work in jobs.items()]),
    """Three roofs on logarithmic axes: a slope, then flat. The GPU's with tensor cores bends at 103 operations per
    byte, so that ReLU and the 1x1 convolution lie on its slope, and the 3x3 convolution under its flat part.""",
    "The faster the arithmetic, the farther right the bend: on a GPU more of a network waits for memory.",
)

# %% tags=["hide-input"]
say(f"""
    Only the 3x3. For the rest, bytes count: so ReLU is done in batch norm's last pass on a GPU, too. Another price is
    the launch, some 5 µs each. As long as kernels take longer, the next ones wait in a queue and cost nothing; shorter
    ones leave the GPU idle. A training step of a GoogLeNet makes about a thousand launches: up to {1000 * 5e-3:.0f} ms.
    Chapter 15 has the remedy: recorded once, the launches of a step are given to the driver as one *graph*.
    """)

# %% [markdown]
# ## What you know now
#
# - A kernel is the program of one block: load tiles, compute, store a tile. Blocks have no order, so one writer each.
# - Sums are taken in two stages, over shares of fixed size, in a fixed order: the same bits in each run.
# - A convolution gathers tiles of im2col's matrix, which never lies in memory.
#
# ## Exercise
#
# Softmax begins with the largest number of each row. Write it as a kernel: block b has TR rows, from row b TR on, and
# walks over their columns, TC at a time, keeping the largest so far: a tile of (TR, 1), stored to y. Mind the edge.

# %%
def row_max(x, y, TR, TC):
    """y[r, 0] = the largest of x[r, :]."""
    ...


# %%
def check(row_max):
    x = -1 - np.random.default_rng(0).random((10, 37))
    y = np.full((10, 1), np.nan)
    launch(row_max, (3,), x, y, 4, 16)
    assert not np.isnan(y).all(), "nothing was stored: fill the hole"
    assert not np.isnan(y).any(), "some rows were not stored"
    assert y.max() < 0, "all are negative, a largest one is not: how is the edge padded?"
    assert np.array_equal(y, x.max(1, keepdims=True)), "not the largest: all tiles read?"


exercise(row_max, check)
