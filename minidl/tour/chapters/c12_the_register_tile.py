# %% [markdown]
# # Why it is fast I: the register tile, and the roofline of this machine
#
# Nearly all the time of training goes into one loop: multiply two numbers, add to a sum. A product of two 1024 x 1024
# matrices does that a thousand million times. How fast could it be, and what stands in the way? All numbers on this
# page were measured while it was made, on one core of the machine it was made on. (Other programs ran next to it: yours
# will differ. Run the chapter.)

# %%
import numpy as np

from minidl.kernels.cpu.tile.tile import shape
from minidl.tour import exercise, picture, predict, say, source
from minidl.tour.measure import bandwidth, best_seconds, tile_rate


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
peak = tile_rate(unit.rows, unit.vectors)
predict("Python's three loops, and minidl's register tile. By what factor is the tile faster: 10, 100, 1,000 or more?")
print(f"three loops in Python: {plain / 1e9:8.3f} GFLOP/s")
print(f"the register tile:     {peak / 1e9:8.1f} GFLOP/s, {peak / plain:,.0f} times more")

# %% [markdown]
# (A GFLOP is a thousand million additions or multiplications.) Part of that factor is Python itself. The rest is the
# subject of this chapter, and it has three parts: *vectors*, *ports and latency*, *registers*.
#
# ## Vectors

# %%
say(f"""
    A core of this machine has vector registers that hold **{unit.lanes} numbers** of 32 bits each, and an instruction
    that multiplies two such vectors number by number and adds the products to a third: a *multiply-add*. That is
    {2 * unit.lanes} operations by one instruction.
    """)

# %% [markdown]
# ## Ports and latency
#
# A typical core has **two ports** for multiply-adds. Each can begin one in every cycle of its clock. But the result is
# there only after about **four cycles**: the *latency*. Now look at a sum:
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
# - `(R + V) / 2` cycles on the two ports for loads, at the same time,
# - and at least 4 cycles, for the next step has to wait for the sums of this one.
#
# The longest of the three counts. And there have to be registers enough: `R V` for the sums, `V` for `B`, one for `A`.
# AVX-512 has 32, AVX2 has 16.

# %%
def share_of_peak(R, V):
    """The share of the peak that a tile can reach, by the reasoning above."""
    busy = R * V / 2
    return busy / max(busy, (R + V) / 2, 4)


shapes = [(1, 1), (2, 1), (4, 1), (4, 2), (unit.rows, 2), (unit.rows, unit.vectors)]
shapes = list(dict.fromkeys(shapes))      # without what is there twice
rates = [tile_rate(R, V) for R, V in shapes]
top = max(rates)
predict("One sum, a tile of 1 x 1: which share of the peak should it reach? And 2 x 1, 4 x 1, 4 x 2?")
print("tile    sums   reasoned   measured")
for (R, V), rate in zip(shapes, rates):
    share = f"{share_of_peak(R, V):8.0%}   {rate / top:8.0%}"
    print(f"{R} x {V} {R * V:6}   {share}   {rate / 1e9:6.1f} GFLOP/s")

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing, chart

drawing = Drawing()
for k, ((R, V), rate) in enumerate(zip(shapes, rates)):
    top_line = 40 * k
    drawing.text(0, top_line + 11, f"{R} x {V}", "t", left=True)
    drawing.box(70, top_line, 380 * rate / top, 13, "a")
    drawing.box(70, top_line + 15, 380 * share_of_peak(R, V), 7, "b")
    drawing.text(84 + 380 * rate / top, top_line + 7, f"{rate / 1e9:.0f}", "s", left=True)
words = "wide: measured, in GFLOP/s on one core; narrow and dashed: as reasoned"
drawing.text(70, 40 * len(shapes) + 10, words, "w s", left=True)
picture(
    drawing,
    """Bars for six shapes of tile, measured next to reasoned. They grow with the number of sums, from about an eighth
    of the peak for one sum to the peak for the largest tile.""",
    "The more sums are under way, the better the ports are used, until both are always busy.",
)

# %% [markdown]
# The reasoning knew nothing of this machine but 4 cycles and 2 ports. Where it is off, the true core has another
# latency or other ports, or it shares them with another program.
#
# That is why a tile reaches the peak: **enough sums to cover the latency on all ports, each in a register for the whole
# reduction, and every loaded number used so often that the loads fit next to the arithmetic.** minidl's tile for
# AVX-512 has 8 x 3 = 24 sums: three times what the latency needs; 24 / 2 = 12 cycles of arithmetic per step next to 11
# / 2 cycles of loads; 24 + 3 + 1 of 32 registers. Its step is written as machine code by these lines, the accumulators
# (`sums`) as values that never leave their registers:

# %% tags=["hide-input"]
from minidl.kernels.cpu.tile.tile import Emitter

source(Emitter._step)
source(Emitter._multiply_add)

# %% [markdown]
# ## The way to memory
#
# The tile worked on numbers that lay in the first cache, a few tens of KB next to the core. Memory is farther. How many
# bytes come from there in a second?

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
x, y = np.ones(1 << 23, np.float32), np.ones(1 << 23, np.float32)
points = {"ReLU": (1 / 8, len(x) / best_seconds(lambda: np.maximum(x, 0, out=y)))}
for n in (64, 256, 512):
    square = minidl.randn(n, n)
    rate = 2 * n**3 / best_seconds(lambda: minidl.matmul(square, square))
    points[f"{n} x {n}"] = n / 6, rate
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
    is flat from there. The sum of two arrays lies at the left on the slope, the matrix products at the right near the
    flat part.""",
    "Left of the bend memory sets the pace, right of it arithmetic. A faster kernel helps on the right only; on the "
    "left, fewer passes over memory do.",
)

# %% [markdown]
# (The smallest product lies below its roof. It takes a few millionths of a second, no longer than the call from
# Python.)
#
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
