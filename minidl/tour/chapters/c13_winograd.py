# %% [markdown]
# # Why it is fast II: Winograd, by hand, on four numbers
#
# Chapter 12 made every multiplication fast. This chapter does fewer of them. Let a filter of three numbers slide over
# four:
#
#     y0 = d0 g0 + d1 g1 + d2 g2
#     y1 = d1 g0 + d2 g1 + d3 g2
#
# That takes six products. How few are enough was found by Shmuel Winograd (*Arithmetic complexity of computations*,
# 1980), and A. Lavin and S. Gray made it a method for networks (*Fast algorithms for convolutional neural networks*,
# 2015).

# %%
from fractions import Fraction

import numpy as np

from minidl.tour import exercise, picture, predict, say, source

d = [Fraction(n) for n in (3, 1, 4, 1)]
g = [Fraction(n) for n in (2, 7, 1)]
six = [sum(d[i + j] * g[j] for j in range(3)) for i in range(2)]
print("by six products:", *six)
predict("Two outputs, three numbers in the filter. Six products are the obvious way. How few are enough: 5, 4 or 3?")

# %% tags=["hide-input"]
say("""
    Four:

        m1 = (d[0] - d[2]) * g[0]
        m2 = (d[1] + d[2]) * ((g[0] + g[1] + g[2]) / 2)
        m3 = (d[2] - d[1]) * ((g[0] - g[1] + g[2]) / 2)
        m4 = (d[1] - d[3]) * g[2]
        y0 = m1 + m2 + m3
        y1 = m2 - m3 - m4
    """)
m1 = (d[0] - d[2]) * g[0]
m2 = (d[1] + d[2]) * ((g[0] + g[1] + g[2]) / 2)
m3 = (d[2] - d[1]) * ((g[0] - g[1] + g[2]) / 2)
m4 = (d[1] - d[3]) * g[2]
print("by these:", m1 + m2 + m3, m2 - m3 - m4)

# %% [markdown]
# The sums of the `g` do not count: a filter is used at a million places, and its sums are computed once.
# Additions of the `d` are cheap, and shared by all filters. But where does this come from? It is not luck.
#
# ## Multiply polynomials
#
# Forget the sliding for a moment. Multiply `a(t) = a0 + a1 t` by `g(t) = g0 + g1 t + g2 t²`. The product has four
# coefficients, and the obvious way takes six products of numbers.
#
# Here is another way. A polynomial with four coefficients is determined by its values at four points. And a *value* of
# the product costs one product: `a(p) g(p)`. So:
#
# 1. evaluate `a` and `g` at four points (sums only, if the points are small),
# 2. multiply the values, point by point: **four products**,
# 3. interpolate: find the coefficients that have these values (sums only, with fixed factors).
#
# The points can be chosen freely. 0, 1 and -1 are easy. The fourth is called infinity: "the value at infinity" is the
# leading coefficient, for that of the product is the product of the leading ones.

# %%
a = [Fraction(n) for n in (5, 3)]


def at(polynomial, p):
    return sum(c * p**k for k, c in enumerate(polynomial))


values = [at(a, p) * at(g, p) for p in (0, 1, -1)] + [a[-1] * g[-1]]
v0, v1, v2, v3 = values
coefficients = [v0, (v1 - v2) / 2 - v3, (v1 + v2) / 2 - v0, v3]
predict("(5 + 3 t)(2 + 7 t + t²): multiply it out on paper. Do the four values give the same?")
print("from four values:", *coefficients)
print("multiplied out:  ", *np.convolve([5, 3], [2, 7, 1]))

# %% [markdown]
# ## Turn it around
#
# Now back to the sliding filter. If it is fixed, the product of polynomials is linear in `a`: a matrix `M` with `g`
# shifted down the diagonal takes `a` to the coefficients. Sliding the filter over `d` is *the same matrix, transposed*:

# %%
M = np.array([[2, 0], [7, 2], [1, 7], [0, 1]])
print("M a  =", M @ [5, 3])
print("Mᵀ d =", M.T @ [3, 1, 4, 1])

# %% [markdown]
# It is chapter 4 once more: the gradient of a product of polynomials is a convolution as networks do it. (`np.convolve`
# multiplies polynomials, so it flips the filter; chapter 6's convolution does not.) Transposing a chain of matrices
# reverses it. So *evaluate, multiply, interpolate* becomes *interpolate transposed, multiply, evaluate transposed*:
#
#     y = Aᵀ [ (G g) * (Bᵀ d) ]
#
# `Bᵀ` mixes the inputs, `G` the filter, `*` multiplies number by number, and `Aᵀ` collects the outputs. minidl derives
# all three from the points, exactly, in fractions:

# %%
from minidl.kernels.cpu.convolution.winograd import matrices

AT, G, BT = matrices(2, 3, points=(Fraction(0), Fraction(1), Fraction(-1)))
for name, matrix in (("Bᵀ", BT), ("G", G), ("Aᵀ", AT)):
    print(name)
    for row in matrix:
        print("   ", *(f"{str(number):>4}" for number in row))

# %% [markdown]
# Compare with the four products at the beginning: row 1 of `Bᵀ` is `d2 - d0`, row 2 is `d1 + d2`. (Two signs moved from
# one matrix to the other.)

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing

drawing = Drawing()
drawing.grid(0, 0, [[number] for number in (3, 1, 4, 1)], {(i, 0): "a" for i in range(4)}, title="d")
drawing.arrow(46, 72, 96, 72, words="Bᵀ")
Bd = [sum(x * y for x, y in zip(row, d)) for row in BT]
Gg = [sum(x * y for x, y in zip(row, g)) for row in G]
drawing.grid(106, 0, [[str(number)] for number in Bd], {(i, 0): "a" for i in range(4)}, title="Bᵀ d")
drawing.text(160, 72, "*", "t")
drawing.grid(178, 0, [[str(number)] for number in Gg], {(i, 0): "b" for i in range(4)}, title="G g")
drawing.arrow(280, 72, 222, 72, words="G")
drawing.grid(290, 18, [[number] for number in (2, 7, 1)], {(i, 0): "b" for i in range(3)}, title="g")
drawing.text(346, 72, "=", "t")
products = [x * y for x, y in zip(Bd, Gg)]
marks = {(i, 0): "c" for i in range(4)}
drawing.grid(366, 0, [[str(number)] for number in products], marks, title="4 products", width=48)
drawing.arrow(424, 72, 474, 72, words="Aᵀ")
drawing.grid(484, 36, [[str(sum(x * y for x, y in zip(row, products)))] for row in AT], title="y")
picture(
    drawing,
    f"""Four inputs 3 1 4 1 become four sums by B transposed, three filter numbers 2 7 1 become four by G. They are
    multiplied pairwise, four products, and A transposed collects the two outputs from them.""",
    "Everything but the column in the middle is sums with fixed factors.",
)

# %% [markdown]
# ## Two dimensions, and channels
#
# For images do it to the rows and then to the columns: `Aᵀ [ (G g Gᵀ) * (Bᵀ d B) ] A`. The numbers of products
# multiply:
#
# | | outputs | products, plainly | products by Winograd | saved |
# |---|---|---|---|---|
# | F(2, 3), one row | 2 | 6 | 4 | 1.5 times |
# | F(2x2, 3x3) | 4 | 36 | 16 | 2.25 times |
# | F(4x4, 3x3) | 16 | 144 | 36 | 4 times |
#
# minidl takes the last. And with 64 channels and 64 filters? At each of the 36 points, the numbers of all tiles and
# channels form a matrix, and so do the filters'. So the stars in the middle become 36 *products of matrices*, which the
# register tile of chapter 12 does at the peak. The saving is real because the expensive part stays a matrix product.
#
# ## What it costs: digits
#
# F(4, 3) needs five points and infinity. In fractions all choices are right. In float32, powers of the points appear in
# the matrices, and large and small numbers lose each other's digits. The textbooks take 0, ±1, ±2.

# %%
def error_of(points, trials=2000):
    """Root mean square error of F(4, 3) in float32, against float64."""
    rng = np.random.default_rng(0)
    exact = [np.array(m, np.float64) for m in matrices(4, 3, points)]
    AT, G, BT = (m.astype(np.float32) for m in exact)
    errors = []
    for _ in range(trials):
        d, g = rng.standard_normal(6), rng.standard_normal(3)
        right = np.array([d[i : i + 3] @ g for i in range(4)])
        quick = AT @ ((G @ g.astype(np.float32)) * (BT @ d.astype(np.float32)))
        errors.append(quick - right)
    return np.sqrt(np.mean(np.square(errors)))


sets = {
    "0, ±1, ±2": (0, 1, -1, 2, -2),
    "0, ±2/3, ±3/2": (0, Fraction(2, 3), -Fraction(2, 3), Fraction(3, 2), -Fraction(3, 2)),
    "0, ±1, ±4": (0, 1, -1, 4, -4),
}
predict("Points near 1 on both sides, such as 2/3 and 3/2: do they lose fewer digits than 1 and 2, or more?")
for name, points in sets.items():
    print(f"{name:<14} error {error_of(tuple(map(Fraction, points))):.1e}")

# %% [markdown]
# The powers of 2/3 and 3/2 stay nearer to 1, so fewer digits are lost. These are the points in
# `minidl/kernels/cpu/convolution/winograd.py`. In float64 convolutions minidl does without Winograd, so gradient
# checks never see this error.
#
# ## What you know now
#
# - A filter of `r` numbers with `m` outputs needs `m + r - 1` products: evaluate, multiply, interpolate, all
#   transposed.
# - In two dimensions and with channels the products become matrix products, four times fewer for 3 x 3.
# - The price is rounding, and the choice of the points decides it.
#
# ## Exercise
#
# Karatsuba's trick is the smallest relative. Multiply `a0 + a1 t` by `b0 + b1 t` with *three* products, by the points
# 0, 1 and infinity, and return the three coefficients. The numbers below count their products.

# %%
class Counted:
    """A number that counts multiplications of two such numbers."""

    products = 0

    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        return Counted(self.value + other.value)

    def __sub__(self, other):
        return Counted(self.value - other.value)

    def __mul__(self, other):
        type(self).products += 1
        return Counted(self.value * other.value)


def multiply(a0, a1, b0, b1):
    """The coefficients of (a0 + a1 t) (b0 + b1 t), by three products."""
    ...


# %%
def check(multiply):
    for numbers in ((2, 3, 5, 7), (1, -4, 0, 6)):
        before = Counted.products
        answer = multiply(*map(Counted, numbers))
        used = Counted.products - before
        assert answer is not None, "nothing was returned: fill the hole"
        right = np.convolve(numbers[:2], numbers[2:]).tolist()
        found = [c.value for c in answer]
        note = "a0, a1, b0, b1 = {}, {}, {}, {}: ".format(*numbers)
        assert found == right, note + f"the product has {right}, you say {found}"
        assert used <= 3, f"{used} products; three are enough"


exercise(multiply, check)
