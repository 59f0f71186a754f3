# %% [markdown]
# # Broadcasting and its adjoint
#
# Add a row of three numbers to a matrix of two rows, and NumPy adds it to each row. That is *broadcasting*: an axis
# that is missing, or of length 1, is stretched. Every bias of every network is broadcast. Now the question of this
# book: what is the gradient? Below, `y.backward(upstream)` is told which gradient arrives at `y` from what would be
# computed after it: the *upstream gradient*.

# %%
import numpy as np

import minidl
from minidl.tour import exercise, picture, predict, say, source

x = minidl.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
b = minidl.tensor([10.0, 20.0, 30.0], requires_grad=True)
y = x + b

upstream = minidl.tensor([[1.0, 2.0, 3.0], [100.0, 200.0, 300.0]])
y.backward(upstream)
predict("y has shape (2, 3), b has shape (3,). Which shape has b', and which numbers stand in it?")
print("y =", y.detach().tolist())
print("x' =", x.grad.tolist())
print("b' =", b.grad.tolist())

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing

drawing = Drawing()
drawing.grid(0, 0, [[10, 20, 30]], {(0, j): "a" for j in range(3)}, title="b", width=44)
drawing.arrow(140, 18, 212, 18, words="stretch")
drawing.grid(224, -18, [[10, 20, 30]] * 2, {(0, j): "a" for j in range(3)} | {(1, j): "a" for j in range(3)}, width=44)
drawing.grid(0, 140, [[101, 202, 303]], {(0, j): "b" for j in range(3)}, title="b'", width=44)
drawing.arrow(212, 158, 140, 158, words="sum")
marks = {(i, j): "b" for i in range(2) for j in range(3)}
drawing.grid(224, 122, upstream.tolist(), marks, title="y'", width=44)
picture(
    drawing,
    """Above, forward: the row 10 20 30 is stretched to two equal rows. Below, backward: the two rows of the upstream
    gradient, 1 2 3 and 100 200 300, are summed to one row, 101 202 303.""",
    "Forward, `b` is stretched over the rows. Backward, the rows of `y'` are summed.",
)

# %% [markdown]
# It had to be a sum. `b[0]` is used twice, in both rows, and chapter 3 says: where a value is used twice, its gradients
# add. **What is stretched forward is summed backward.**
#
# ## Adjoint: one idea for half of all gradients
#
# There is a more general reason, and it will carry us through convolution. Stretching is *linear*: it is a matrix `A`
# applied to `b`. Write it down, with the six numbers of `y` in a column, three numbers of `b`:

# %%
A = np.vstack([np.eye(3), np.eye(3)])
print(A)

predict("Chapter 3 said: b' is the transposed Jacobian times y'. What does Aᵀ do to six numbers?")
print(A.T @ upstream.numpy().ravel())

# %% [markdown]
# The Jacobian of a linear map is its matrix, so the gradient goes back through `Aᵀ`. Each row of `Aᵀ` has two ones: it
# adds the two places where that number went.
#
# Usually we do not want to build a matrix. The *adjoint* says the same without one. Let `<u, v>` be the sum of all
# products `u[i] v[i]`. The adjoint of a linear map `A` is the linear map `A*` with
#
#     <A x, y>  =  <x, A* y>        for all x and y
#
# (Read `A*` as one letter. A prime is always a gradient, and `A` has none here.) Why is that the gradient? Let the loss
# be `L = <A x, g>`, the outputs weighed by fixed numbers `g`. Then `g` is the upstream gradient, `dL/dy = g`. And since
# also `L = <x, A* g>`, the gradient with respect to `x` is `A* g`. So
#
#     y = A x        has the gradient        x' = A* y'
#
# To know the adjoint of a linear map is to know its gradient, and the other way round. It can be tested without
# any calculus: draw `x` and `y` at random, and compare two numbers.

# %%
rng = np.random.default_rng(0)
x, y = rng.standard_normal(3), rng.standard_normal((2, 3))


def stretch(x):
    return np.broadcast_to(x, (2, 3))


def sum_rows(y):
    return y.sum(axis=0)


predict("Random x and y. Will <stretch(x), y> and <x, sum_rows(y)> agree in a few digits, or in nearly all?")
print("<A x, y>  =", (stretch(x) * y).sum())
print("<x, A* y> =", (x * sum_rows(y)).sum())

# %% [markdown]
# If they differ at all, then in the last digit or two: that is rounding.
#
# Half of what a network does is linear, and comes in such pairs. Each is the backward of the other:
#
# | forward | backward | why |
# |---|---|---|
# | stretch an axis | sum over it | what went to many places comes back from all |
# | sum over an axis | stretch it | each term counts once in the sum |
# | reshape, transpose | reshape, transpose back | each number goes to one place |
# | pad with zeros | crop | the frame was not `x` |
# | crop | pad with zeros | what was cut off had no influence |
# | take `x[3]` | zeros, with the gradient at 3 | likewise |
# | cut out windows (`im2col`) | add them back (`col2im`) | chapter 6 |
#
# Here is the pair of this chapter, in minidl's words. Each one's `backward` calls the other, so the derivative of the
# derivative is there as well, for nothing.

# %% tags=["hide-input"]
from minidl.ops.reduction import Sum
from minidl.ops.shape import BroadcastTo

source(BroadcastTo)
source(Sum)

# %% [markdown]
# No rule in `minidl/ops/arithmetic.py` mentions shapes. Look back at `Mul` in chapter 3: `a' = y' b`, whatever was
# stretched. The walk does the rest: where a gradient arrives that is larger than what it belongs to, it is summed. That
# was `sum_to_size`, the line we left open.
#
# ## The matrix product
#
# One more linear map, the most important of all: `Y = X W`, with `X` of shape (n, in) and `W` of shape (in, out). For
# fixed `W` it is linear in `X`, and for fixed `X` linear in `W`. What are the adjoints? Weigh the output by `G`:
#
#     <X W, G> = sum over n, i, o of  X[n, i] W[i, o] G[n, o]
#
# Read off what stands next to `X[n, i]`: the sum over `o` of `G[n, o] W[i, o]`, which is `G Wᵀ`. And next to `W[i, o]`:
# the sum over `n` of `X[n, i] G[n, o]`, which is `Xᵀ G`. So
#
#     X' = Y' Wᵀ        W' = Xᵀ Y'
#
# You never have to remember them. The shapes leave no other choice: `X'` must have the shape (n, in), and there is only
# one way to multiply `Y'` (n, out) and `W` (in, out) to get it.

# %%
X, W = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
G = rng.standard_normal((2, 4))
three = (X @ W * G).sum(), (X * (G @ W.T)).sum(), (W * (X.T @ G)).sum()
predict("Three sums: <X W, G>, <X, G Wᵀ>, <W, Xᵀ G>. How many different numbers?")
print(*(f"{number:.12f}" for number in three))

# %% [markdown]
# ## What you know now
#
# - What is stretched forward is summed backward, and the other way round.
# - The gradient of a linear map is its adjoint: `<A x, y> = <x, A* y>`. That is a test, too.
# - `Y = X W` has `X' = Y' Wᵀ` and `W' = Xᵀ Y'`.
#
# ## Exercise
#
# Let `A` add neighbours: `y[i] = x[i] + x[i + 1]`. It makes `n - 1` numbers out of `n`. Write its adjoint,
# and ask yourself where each `x[i]` went. (This is a convolution in disguise, and your answer will be its gradient.)

# %%
def add_neighbours(x):
    return x[:-1] + x[1:]


def adjoint_of_add_neighbours(y):
    """From n - 1 numbers back to n."""
    ...


# %%
def check(adjoint):
    for n in (2, 3, 6):
        x, y = rng.standard_normal(n), rng.standard_normal(n - 1)
        back = adjoint(y)
        assert back is not None, "nothing was returned: fill the hole"
        note = f"{n - 1} numbers gave back shape {back.shape}, not ({n},)"
        assert back.shape == (n,), note
        left, right = (add_neighbours(x) * y).sum(), (x * back).sum()
        note = f"n = {n}: <A x, y> is {left:.6f}, but <x, A* y> is {right:.6f}"
        assert abs(left - right) < 1e-12, note


exercise(adjoint_of_add_neighbours, check)
