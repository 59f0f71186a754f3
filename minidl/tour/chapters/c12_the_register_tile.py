# %% [markdown]
# # Why it is fast I: the register tile, and the roofline of this machine
#
# Nearly all the time of training goes into one loop: multiply two numbers, add to a sum. A product of two 1024 x 1024
# matrices does that a billion times. How fast could it be, and what stands in the way? All numbers on this
# page were measured while it was made, on one core of the machine it was made on. (Other programs ran next to it: yours
# will differ. Run the chapter.)

# %%
import numpy as np

from minidl.kernels.cpu.tile.tile import shape
from minidl.tour import exercise, picture, predict, say, source
from minidl.tour.measure import bandwidth, best_seconds, clock, tile_rate


def product(A, B):
    """The textbook's three loops."""
    C = [[0.0] * len(B[0]) for _ in A]
    for i in range(len(A)):
        for j in range(len(B[0])):
            for k in range(len(B)):
                C[i][j] += A[i][k] * B[k][j]
    return C


n = 48
A = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
plain = 2 * n**3 / best_seconds(lambda: product(A.tolist(), A.tolist()))
unit = shape("float32")
quick = tile_rate(unit.rows, unit.vectors)
predict("Python's three loops, and minidl's register tile. By what factor is the tile faster: 10, 100, 1,000 or more?")
print(f"three loops in Python: {plain / 1e9:8.3f} GFLOP/s")
print(f"the register tile:     {quick / 1e9:8.1f} GFLOP/s, {quick / plain:,.0f} times more")

# %% [markdown]
# (A GFLOP is a billion additions or multiplications.) Part of that factor is Python itself. The rest is the
# subject of this chapter, and it has three parts: *vectors*, *ports and latency*, *registers*.
#
# ## Vectors

# %%
say(f"""
    A core of this machine has vector registers that hold **{unit.lanes} numbers** of 32 bits each, and an instruction
    that multiplies two such vectors number by number and adds the products to a third: a *multiply-add* or FMA. That
    is {2 * unit.lanes} operations by one instruction. The places of a vector are called *lanes*.
    """)

# %% [markdown]
# ## Ports and latency
#
# A typical core has **two ports** for multiply-adds. Each can begin one in every cycle of its clock. That sets the
# peak: two ports, 16 lanes, two operations make 64 per cycle, and at a clock of `f` GHz the peak is `64 f` GFLOP/s.
# (With 8 lanes it is `32 f`.)
#
# What is `f`? The system's own answer is often the frequency on the box. So measure it, by a chain of which each link
# waits for the one before: `number = (number * factor) ^ k` on integers. A product of integers takes 3 cycles on most
# x86 cores of today, and the exclusive or takes 1. Four cycles per link:

# %%
cycles = clock()
peak = 2 * unit.lanes * 2 * cycles
print(f"clock {cycles / 1e9:.2f} GHz")
print(f"peak  2 x {unit.lanes} x 2 operations per cycle: {peak / 1e9:.0f} GFLOP/s")
print(f"the register tile reaches {quick / peak:.0%} of it")

# %% [markdown]
# That peak knows nothing of the tile. (It does rest on a core with two ports as wide as its vectors. Some cores do
# their widest vectors in two halves, and reach half of it; some lower their clock for wide vectors. A processor that is
# no x86 may need other cycles for a link.)
#
# Why does a plain loop stay so far below it, even without Python? A port can begin a multiply-add in every cycle, but
# the result is there only after about **four cycles**: the *latency*. Now look at a sum:
#
#     c = c + a[k] * b[k]        for k = 0, 1, 2, ...
#
# Each addition needs the result of the one before. So a new one can begin only every four cycles, on one of two ports.
# Of the eight that could have begun in that time, one did.
#
# The remedy: sum up **many sums at once** that do not wait for each other. With 4 cycles and 2 ports, 4 x 2 = 8 sums
# keep both ports busy all the time. With fewer, the core waits for itself.
#
# ## Registers
#
# A sum must not be stored and loaded again in every step, so it stays in a register. A matrix product has enough sums:
# take a *tile* of `C`, of `R` rows and `V` vectors. In every step `k` it needs `R` numbers of `A` and `V` vectors of
# `B`, and with these does all `R x V` multiply-adds:
#
#     for k in range(length):
#         load V vectors of B[k]
#         for each of the R rows: load A[i, k], and do V multiply-adds with it
#
# Every number that is loaded is used several times: an element of `A` for `V` vectors, a vector of `B` for `R` rows. So
# a step takes
#
# - `R V / 2` cycles on the two ports for multiply-adds,
# - `(R + V) / 2` cycles on the two ports for loads,
# - and at least 4 cycles, for the next step has to wait for the sums of this one.
#
# Loads have ports of their own and overlap with the arithmetic, so the three do not add up: the longest counts. (A
# number of `A` is *spread* as it is loaded: the same number goes into every lane of a vector. It costs a load like any
# other.) And there have to be registers enough: `R V` for the sums, `V` for `B`, one for `A`.
# AVX-512 has 32, AVX2 has 16.

# %%
def share_of_peak(R, V):
    """The share of the peak that a tile can reach, by the reasoning above."""
    busy = R * V / 2
    return busy / max(busy, (R + V) / 2, 4)


shapes = [(1, 1), (2, 1), (4, 1), (4, 2), (unit.rows, 2), (unit.rows, unit.vectors)]
shapes = list(dict.fromkeys(shapes))      # without duplicates
rates = [tile_rate(R, V) for R, V in shapes]
predict("One sum, a tile of 1 x 1: which share of the peak should it reach? And 2 x 1, 4 x 1, 4 x 2?")
print("tile    sums   reasoned   measured")
for (R, V), rate in zip(shapes, rates):
    share = f"{share_of_peak(R, V):8.0%}   {rate / peak:8.0%}"
    print(f"{R} x {V} {R * V:6}   {share}   {rate / 1e9:6.1f} GFLOP/s")

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing, chart

drawing = Drawing()
for k, ((R, V), rate) in enumerate(zip(shapes, rates)):
    top_line = 40 * k
    drawing.text(0, top_line + 11, f"{R} x {V}", "t", left=True)
    drawing.box(70, top_line, 380 * rate / peak, 13, "a")
    drawing.box(70, top_line + 15, 380 * share_of_peak(R, V), 7, "b")
    drawing.text(84 + 380 * rate / peak, top_line + 7, f"{rate / 1e9:.0f}", "s", left=True)
words = "wide: measured, in GFLOP/s on one core; narrow and dashed: as reasoned"
drawing.text(70, 40 * len(shapes) + 10, words, "w s", left=True)
picture(
    drawing,
    """Bars for six shapes of tile, measured next to reasoned. They grow with the number of sums, from about an eighth
    of the peak for one sum to the peak for the largest tile.""",
    "The more sums are under way, the better the ports are used, until both are always busy.",
)

# %% [markdown]
# The reasoning knew nothing of this machine but its clock, 4 cycles and 2 ports. The small tiles do better than that,
# because a core looks ahead: it begins the next tile while the last sums of this one are still under way. 4 x 2 has
# just the 8 sums that are needed, and none to spare when a load is late. The large tiles differ by a few percent at
# most, and that is noise: other programs run, and the clock is not constant. It does not matter which of them won in
# this run.
#
# That is why a tile reaches the peak: **enough sums to cover the latency on all ports, each in a register for the whole
# reduction, and every loaded number used so often that the loads fit next to the arithmetic.** minidl's tile for
# AVX-512 has 8 x 3 = 24 sums: three times what the latency needs; 24 / 2 = 12 cycles of arithmetic per step next to
# 11 / 2 cycles of loads; 24 + 3 + 1 of 32 registers.
#
# Why 8 x 3, if 8 x 2 reaches the peak as well? Here `B` lies in the first cache. Mostly it comes from a farther one,
# where loads are slow, and then the loads per multiply-add count:
#
# | tile | loads / multiply-adds | registers |
# |---|---|---|
# | 8 x 2 | 10 / 16 = 0.63 | 19 |
# | 14 x 2 | 16 / 28 = 0.57 | 31 |
# | 8 x 3 | 11 / 24 = 0.46 | 28 |
# | 9 x 3 | 12 / 27 = 0.44 | 31 |
#
# 9 x 3 would be a little better still. But the rows of a tile are pixels next to each other, and images are 32, 28, 16,
# 14, 8 or 7 pixels wide: tiles of 8 and of 7 rows cover all of these without a rest.
#
# The tile's step is written as machine code by these lines, the accumulators (`sums`) as values that never leave their
# registers. (`_spread` puts the number of `A` into all lanes.)

# %% tags=["hide-input"]
from minidl.kernels.cpu.tile.tile import Emitter

source(Emitter._step)
source(Emitter._multiply_add)

# %% [markdown]
# ## The way to memory
#
# The tile worked on numbers that lay in the first cache, a few tens of KB next to the core. Memory is farther: how many
# bytes come from there in a second, at most?

# %%
bytes_per_second = bandwidth()
balance = peak / bytes_per_second
predict("While one number of 4 bytes comes from memory, how many operations could the tile do: 2, 20 or 200?")
print(f"{bytes_per_second / 1e9:.1f} GB/s")
print(f"{4 * balance:.0f} operations in the time of one number")

# %% [markdown]
# So it matters how often a number is used once it is there. The *intensity* of a job is its operations per byte of
# memory. If it is low, memory sets the pace, at `intensity x bandwidth`. If it is high, arithmetic does, at the peak.
# The lower of the two is the *roofline*:
#
#     rate  ≤  min(peak, intensity · bandwidth)
#
# ReLU does 1 operation for 8 bytes (a number read, a number written). A product of two `n x n` matrices does
# `2 n³` operations on `3 n²` numbers: `n / 6` per byte. The larger, the better.

# %%
import minidl
from minidl.kernels.cpu.machine import team

threads = team.num_threads()
team.set_num_threads(1)
x = minidl.ones(1 << 23)
points = {"ReLU": (1 / 8, len(x) / best_seconds(lambda: minidl.relu(x)))}
for n in (64, 256, 512):
    square = minidl.randn(n, n)
    seconds = best_seconds(lambda: minidl.matmul(square, square))
    points[f"{n} x {n}"] = n / 6, 2 * n**3 / seconds
team.set_num_threads(threads)
predict("Which share of the peak does ReLU of a large array reach? And products of 64 x 64, 512 x 512?")
for name, (intensity, rate) in points.items():
    job = f"{name:<10} {intensity:6.2f} operations/byte"
    print(f"{job} {rate / 1e9:8.2f} GFLOP/s {rate / peak:6.1%}")

# %% tags=["hide-input"]
ends = (1 / 24, balance, 200)
roof = [(x, min(peak, x * bytes_per_second) / 1e9) for x in ends]
picture(
    chart({"roof": roof}, logx=True, logy=True, xlabel="operations per byte of memory", ylabel="GFLOP/s",
          marks=[(x, y / 1e9, name) for name, (x, y) in points.items()]),
    f"""The roofline on two logarithmic axes: a slope that rises with the intensity up to {peak / 1e9:.0f} GFLOP/s and
    is flat from there. ReLU lies at the left on the slope, the matrix products at the right near the
    flat part.""",
    "Left of the bend memory sets the pace, right of it arithmetic. A faster kernel helps on the right only; on the "
    "left, fewer passes over memory do.",
)

# %% tags=["hide-input"]
small = 2 * 64**3
below = points["ReLU"][1] / (bytes_per_second / 8)
say(f"""
    The smallest product lies far below the roof. It needs {small / peak * 1e6:.0f} µs of arithmetic at the peak, but
    the whole call took {small / points["64 x 64"][1] * 1e6:.0f} µs: the rest is the way from Python to the loop. ReLU
    reaches {below:.0%} of its roof. That roof is a measurement, too: the fastest of three loops of NumPy's (a sum, a
    change of sign, a copy), while other programs used the same memory.
    """)

# %% [markdown]
# Now you know why minidl has batch norm and ReLU *fused*, one pass over memory for both: they live on the slope. And
# why convolutions go through a matrix product: it lives under the flat roof. And why im2col's copies hurt (chapter 6):
# they move bytes, and compute nothing.
#
# ## What you know now
#
# - A multiply-add has a latency. To reach the peak, latency x ports sums must be under way: 4 x 2 = 8 at least.
# - A tile of `R x V` sums in registers does `R V` multiply-adds for `R + V` loads.
# - The roofline: `min(peak, intensity · bandwidth)`.
#
# ## Exercise
#
# Another core: latency `latency`, `ports` ports for multiply-adds, `loads` ports for loads, `registers` vector
# registers. Which share of its peak can a tile of `R x V` reach? If its sums, its `V` vectors of `B` and one for `A` do
# not fit into the registers, say 0.

# %%
def share(R, V, latency, ports, loads, registers):
    """Between 0 and 1."""
    ...


# %%
def check(share):
    cases = {
        (8, 3, 4, 2, 2, 32): 1.0,
        (1, 1, 4, 2, 2, 32): 1 / 8,
        (4, 1, 4, 2, 2, 16): 1 / 2,
        (4, 3, 5, 2, 2, 16): 1.0,
        (8, 3, 4, 2, 2, 16): 0.0,
        (4, 2, 4, 2, 1, 16): 2 / 3,
        (2, 2, 6, 1, 1, 16): 2 / 3,
    }
    names = ("R", "V", "latency", "ports", "loads", "registers")
    for case, right in cases.items():
        said = share(*case)
        assert said is not None, "nothing was returned: fill the hole"
        words = ", ".join(f"{name} {value}" for name, value in zip(names, case))
        assert abs(said - right) < 1e-9, f"{words}: it is {right:.3f}, you say {said:.3f}"


exercise(share, check)
