# %% [markdown]
# # A tape in sixty lines
#
# Chapter 1 measured a slope with two evaluations of the function. A network has a million numbers, and we want the
# slope with respect to each. Two million evaluations, for one step of learning, is out of the question. This chapter
# gets *all* slopes for the price of about one more evaluation.
#
# Here is the smallest network there is: one neuron. It takes an input `x`, multiplies by a weight `w`, adds a bias `b`,
# and squeezes the result with `tanh`. We want its answer to be the target `t`, so the loss is the square of what is
# missing.

# %%
import math

from minidl.tour import exercise, picture, predict, say, source

x, t = 2.0, 1.0        # the input and the target
w, b = 0.5, -0.7       # what can be learnt

p = w * x              # four small steps, one operation each
s = p + b
y = math.tanh(s)
loss = (y - t) * (y - t)
predict("w x + b is 0.3. Is the answer y above or below it? And is the loss nearer to 0.1 or to 0.5?")
print(f"p = {p}, s = {s:.1f}, y = {y:.4f}, loss = {loss:.4f}")

# %% [markdown]
# How does the loss change when `w` moves a little? Follow the path from `w` to the loss. Each operation on it is so
# simple that we know its slope by heart:
#
# | operation | slope | here |
# |---|---|---|
# | `p = w x` | `dp/dw = x` | 2 |
# | `s = p + b` | `ds/dp = 1` | 1 |
# | `y = tanh(s)` | `dy/ds = 1 - y²` | 1 - y² |
# | `loss = (y - t)²` | `dloss/dy = 2 (y - t)` | 2 (y - t) |
#
# Move `w` by `h`. Then `p` moves by `2 h`, `s` by the same, `y` by `1 - y²` of that, and so on. **Slopes multiply along
# the path.** That is the chain rule, and it is all the calculus this book needs.

# %%
by_hand = 2 * (y - t) * (1 - y * y) * 1 * x


def loss_of(w):
    return (math.tanh(w * x + b) - t) ** 2


predict("Is the slope with respect to w positive or negative? Should w grow or shrink to lower the loss?")
print(f"by hand     {by_hand:.10f}")
print(f"measured    {(loss_of(w + 1e-6) - loss_of(w - 1e-6)) / 2e-6:.10f}")

# %% [markdown]
# ## The tape
#
# What we did by hand is so mechanical that a number can do it for itself. Let every number remember two things: *from
# which numbers it was computed*, and *the slope to each of them*. Such a record is called a tape. After the loss has
# been computed, play the tape backwards: start with the slope of the loss with respect to itself, which is 1, and hand
# it on from each value to its parents, times the slope.

# %% tags=["hide-input"]
from minidl.tour.tape import Value, ancestors

source(Value)
source(ancestors)

# %% [markdown]
# That is the whole tape. `__mul__` stores `other.number` as the slope to `self`, because `d(a b)/da = b`. `tanh` stores
# `1 - y²`. `backward` knows no mathematics at all: it multiplies and adds.

# %%
W, B = Value(w), Value(b)
P = W * x
S = P + B
Y = S.tanh()
E = Y - t
L = E * E
L.backward()
print(f"gradient with respect to w: {W.grad:.10f}")
print(f"gradient with respect to b: {B.grad:.10f}")

# %% tags=["hide-input"]
from minidl.tour.tape_picture import draw_tape

picture(
    draw_tape(L, {"w": W, "x": P.parents[1], "b": B, "t": E.parents[1], "p": P, "s": S, "y": Y, "y - t": E, "loss": L}),
    f"""The graph from w and b down to the loss, a box per value, a slope at each arrow. The walk goes upwards: the loss
    has gradient 1, and each box adds its gradient times the slope to each parent's; w ends with {W.grad:.3f}.""",
    "Down: the numbers, as they are computed. Up: the gradients, as the walk hands them on. At each arrow stands the "
    "slope that it multiplies with. `y - t` is used twice by the square, so two arrows meet there, and what they bring "
    "is added: the next chapter says why.",
)

# %% [markdown]
# Two things are worth a second look. `w` got its gradient *and* `b` got its own, in one walk: the part of the path that
# they share was walked once. That is why a million gradients cost about as much as one. And the walk went from the loss
# to the inputs. Going the other way would need one walk per input.
#
# ## It learns
#
# A gradient says which way is up. So go down: subtract a little of it, and repeat.

# %%
w, b, losses = 0.5, -0.7, []
for step in range(30):
    W, B = Value(w), Value(b)
    L = ((W * x + B).tanh() - t) * ((W * x + B).tanh() - t)
    L.backward()
    w, b = w - 0.05 * W.grad, b - 0.05 * B.grad
    losses.append(L.number)

predict("Thirty steps against the gradient: does the loss fall evenly, or fast first and slowly later?")
print("steps 0, 1, 5, 10, 29:", *(f"{losses[k]:.4f}" for k in (0, 1, 5, 10, 29)))
print(f"w = {w:.3f}, b = {b:.3f}, answer {math.tanh(w * x + b):.3f}")

# %% tags=["hide-input"]
from minidl.tour.drawing import chart

picture(
    chart({"loss": list(enumerate(losses))}, xlabel="step", ylabel="loss", height=200),
    f"The loss over 30 steps: {losses[0]:.2f} at first, steeply down in the first steps, then flat near zero.",
    "Fast, then slow: near the target the slope of the square and that of `tanh` both go to zero, and steps with them.",
)
ratio = (W.grad / B.grad)
say(f"""
    Look at the two gradients of the last step: that of `w` is {ratio:.0f} times that of `b`. It has to be. Both reach
    the loss through `s`, and from there the path to `w` multiplies by `x = {x:.0f}`, that to `b` by 1. **A weight's
    gradient is what arrives at its output times the input it saw.** In chapter 7 the same sentence will be the gradient
    of a convolution.
    """)

# %% [markdown]
# ## What you know now
#
# - A tape: each value keeps its parents and the slope to each. That is enough.
# - Slopes multiply along a path. The backward walk multiplies from the loss to the inputs, so all gradients come at
#   once.
# - Learning is: walk, subtract a little of each gradient, repeat.
#
# ## Exercise
#
# The tape has no `exp` yet. Write it: a function of a `Value` that returns a `Value` with the right number, parents and
# slopes. One line suffices, and `tanh` shows how.

# %%
def exp(v):
    """e to the power of a Value, as a Value."""
    ...


# %%
def check(exp):
    v = Value(0.5)
    y = exp(v)
    assert isinstance(y, Value), f"exp(Value(0.5)) is {y!r}; return a Value"
    note = f"the number is {y.number}, e to the 0.5 is {math.exp(0.5)}"
    assert abs(y.number - math.exp(0.5)) < 1e-12, note
    (y * y).backward()
    said, right = v.grad, 2 * math.exp(0.5) ** 2
    note = f"d(e^v)²/dv is {right:.6f} at v = 0.5, the walk brings {said:.6f}"
    assert abs(said - right) < 1e-9, note + ": look at parents and slopes"


exercise(exp, check)
