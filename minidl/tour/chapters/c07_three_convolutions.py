# %% [markdown]
# # Three convolutions, each other's derivatives
#
# Chapter 6 found two gradients of the convolution. Training needs no more. But to differentiate a gradient, for a
# Hessian, say, each of the two needs gradients of its own, and those again. Does it ever end? It does, after three
# maps. This chapter has one idea.
#
# Weigh the output of a convolution with any array `g` of its shape, and sum up. That is one number:
#
#     L(g, x, w) = sum of g * conv(x, w)
#
# Written out for one channel, with stride `s` and `x` as the padded image, it is a sum of products of *three* factors,
# one of each array:
#
#     L = sum over i, j, u, v of  g[i, j] · w[u, v] · x[s i + u, s j + v]
#
# Double `g`, and `L` doubles; double `x` or `w`, and it doubles as well. It is linear in each of the three.
# Padding and stride change which `x` stands next to which `w`, never the linearity.

# %%
import numpy as np

from minidl.ops.convolution import (
    conv2d_forward,
    conv2d_input_grad,
    conv2d_weight_grad,
)
from minidl.tour import exercise, picture, predict, say, source

rng = np.random.default_rng(0)
x = rng.standard_normal((1, 2, 5, 5))            # image, 2 channels
w = rng.standard_normal((3, 2, 3, 3))            # 3 filters of 2 channels
g = rng.standard_normal((1, 3, 3, 3))            # what the output is weighed with

# %% [markdown]
# What is linear in `g` is a sum of `g` times something, and that something is its partial derivative. Next to `g`
# stands the convolution. Next to `x` stands what chapter 6 called the gradient with respect to the input. Next to `w`
# stands the gradient with respect to the weight:
#
#     dL/dg = conv(x, w)
#     dL/dx = input_grad(g, w)
#     dL/dw = weight_grad(g, x)

# %%
three = (
    (g * conv2d_forward(x, w)).sum(),
    (x * conv2d_input_grad(g, w, x.shape)).sum(),
    (w * conv2d_weight_grad(g, x, w.shape)).sum(),
)
predict("<g, conv(x, w)>, <x, input_grad(g, w)>, <w, weight_grad(g, x)>: which of them are equal?")
print(*(f"{number:.12f}" for number in three))
say("All three: each is the number `L`, computed by another of the three maps.")

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing

drawing = Drawing()
corners = {"g": (240, 30, "a"), "x": (90, 250, "b"), "w": (390, 250, "c")}
for name, (px, py, kind) in corners.items():
    drawing.box(px - 26, py - 22, 52, 44, kind, 3)
    drawing.text(px, py, name, "t")
sides = (("x", "w", "conv(x, w)", "dL/dg", 240, 268), ("g", "w", "input_grad(g, w)", "dL/dx", 372, 122),
         ("g", "x", "weight_grad(g, x)", "dL/dw", 108, 122))
for one, other, words, slope, px, py in sides:
    (x0, y0, _), (x1, y1, _) = corners[one], corners[other]
    drawing.line([(x0 + s * (x1 - x0), y0 + s * (y1 - y0)) for s in (0.16, 0.84)], "soft", 2)
    drawing.text(px, py + (14 if py > 200 else 0), words, "t h")
    drawing.text(px, py + (32 if py > 200 else 18), f"= {slope}", "w s h")
drawing.text(240, 170, "L", "t")
picture(
    drawing,
    """A triangle with the corners g, x and w, and L in the middle. Each side names the map that takes the two corners
    at its ends, and is the derivative of L with respect to the third corner: conv for g, input_grad for x, weight_grad
    for w.""",
    "Each side is a map of the two corners at its ends, and the derivative of `L` with respect to the corner opposite.",
)

# %% [markdown]
# ## Why it ends
#
# Take any of the three, say `y = input_grad(g, w)`. Let `h` be the gradient that arrives at `y`; it has the shape of
# `x`. What are `g'` and `w'`? The loss near `y` changes like `<h, y>`, so
#
#     <h, input_grad(g, w)> = L(g, h, w)
#
# which is the same `L` again, with `h` in the place of `x`. Its partial derivatives are known:
#
#     g' = conv(h, w)           w' = weight_grad(g, h)
#
# Do the same for each of the three, and write `h` for what arrives:
#
# | map | is linear in | its `h` takes the place of | its backward |
# |---|---|---|---|
# | `conv(x, w)` | x and w | g | `x' = input_grad(h, w)`, `w' = weight_grad(h, x)` |
# | `input_grad(g, w)` | g and w | x | `g' = conv(h, w)`, `w' = weight_grad(g, h)` |
# | `weight_grad(g, x)` | g and x | w | `g' = conv(x, h)`, `x' = input_grad(g, h)` |
#
# Every backward is made of the other two maps. So the derivative of the derivative, and so on for ever, needs nothing
# but these three. In minidl they are three classes, and the table is their code:

# %% tags=["hide-input"]
from minidl.ops.convolution import Conv2d, ConvInputGrad, ConvWeightGrad

source(Conv2d)
source(ConvInputGrad)
source(ConvWeightGrad)

# %% [markdown]
# Compare each `backward` with the table, letter by letter; `outer` is `h`. (A bias is added to every pixel, so its
# gradient is the sum over all of them: chapter 4.)
#
# ## The double backward as three maps
#
# Now put it together. A step of training computes `y = conv(x, w)`, and then, from the upstream gradient `g`,
#
#     x' = input_grad(g, w)        w' = weight_grad(g, x)
#
# Let a second loss depend on `x'` and `w'`, and let `a` and `b` be its gradients with respect to them. What are the
# gradients with respect to `g`, `x` and `w`? Two rows of the table, added where they meet:
#
#     to g:   conv(a, w) + conv(x, b)
#     to x:   input_grad(g, b)
#     to w:   weight_grad(g, a)

# %%
import minidl

G, X, W = (minidl.tensor(array, requires_grad=True) for array in (g, x, w))
y = minidl.conv2d(X, W)
dx, dw = minidl.grad(y, [X, W], G, create_graph=True)
a, b = rng.standard_normal(x.shape), rng.standard_normal(w.shape)
found = minidl.grad([dx, dw], [G, X, W], [minidl.tensor(a), minidl.tensor(b)])

ours = (
    conv2d_forward(a, w) + conv2d_forward(x, b),
    conv2d_input_grad(g, b, x.shape),
    conv2d_weight_grad(g, a, w.shape),
)
predict("minidl differentiates its own backward, knowing only the table. Does it find our three lines?")
for name, theirs, mine in zip("gxw", found, ours):
    print(f"to {name}: largest difference {np.abs(theirs.numpy() - mine).max():.1e}")

# %% [markdown]
# The checker of chapter 1 agrees, to the second order, by differences alone.

# %%
report = minidl.check_gradients(minidl.conv2d, x, w)
for order in (1, 2):
    print(f"order {order}: largest error {report.worst('direction', order):.0e}")

# %% [markdown]
# ## Two things that have names
#
# `input_grad` is also used forwards, to make a small image larger. Then it is called a *transposed convolution*. No
# new operation: the same map, because it is the adjoint of `conv` for fixed `w`.
#
# And `weight_grad(g, x)` slides `g` over `x`: at stride 1 it is a convolution of `x` with `g` as a window, as large as
# the output. (At stride `s` the cells of that window lie `s` pixels apart: it is dilated by `s`.) That is the sentence
# of chapter 2, a weight's gradient is what arrives times what it saw, summed over all places.
#
# ## What you know now
#
# - `L = sum of g * conv(x, w)` is linear in each argument. Its partial derivatives are `conv`, `input_grad` and
#   `weight_grad`.
# - The backward of each is made of the other two: put what arrives in the place of the missing letter.
# - So three kernels give derivatives of every order.
#
# ## Exercise
#
# The simplest relative: for matrices, `L(G, X, W) = sum of G * (X W)`. Its three maps are `X W`, `G Wᵀ` and `Xᵀ G`.
# Write the backward of the third: from `H`, the gradient with respect to `Xᵀ G`, to those with respect to `X` and `G`.
# Use `@` and `.transpose(0, 1)` on Tensors, and it has all derivatives at once: the checker looks at two orders.

# %%
class WeightGrad(minidl.Function):
    """X of shape (n, i) and G of shape (n, o): X transposed times G, of shape (i, o)."""

    def forward(self, X, G):
        self.save_for_backward(X, G)
        return X.T @ G

    def backward(self, H):
        X, G = self.saved_tensors
        ...


# %%
def check(WeightGrad):
    rng = np.random.default_rng(1)
    X, G = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    minidl.check_gradients(WeightGrad, X, G)


exercise(WeightGrad, check)
