# %% [markdown]
# # Young to old, and why gradients add
#
# The tape of chapter 2 has two lines that deserve a chapter: it visits values *from young to old*, and it *adds*:
# `parent.grad += slope * value.grad`. Change either, and everything that was ever trained would be wrong.
#
# First the adding: let `a` be used twice, as in
#
#     c = a b        L = c + a        so L = a b + a
#
# There are two paths from `a` to `L`: through `c`, with slope `b`, and directly, with slope 1. Move `a` by `h`. Through
# `c`, `L` moves by `b h`. Directly, it moves by `h`. Both happen at once, so `L` moves by `(b + 1) h`.

# %%
from minidl.tour import exercise, picture, predict, say, source
from minidl.tour.tape import Value, ancestors

a, b = Value(2.0), Value(3.0)
c = a * b
L = c + a
L.backward()
predict("a = 2 and b = 3. What is the gradient with respect to a? And with respect to b?")
print("with respect to a:", a.grad)
print("with respect to b:", b.grad)

# %% [markdown]
# **Slopes multiply along a path, and add up over paths.** Where a value is used twice, its gradient is the sum of what
# arrives. An image goes into four branches of GoogLeNet: the gradients of four branches are added. A weight is used at
# every pixel: the gradients of all pixels are added. You will meet this sum on every page.
#
# ## The order
#
# Now the order of the visits. When a value hands its gradient on, that gradient must be complete: it must have arrived
# over all paths. Let us do it wrong on purpose. In this graph
#
#     c = a b        d = c + a        L = c d
#
# the walk must not hand on from `c` before `d` has delivered. Below are two walks over the same tape. Both begin at `L`
# and visit every value once. One visits in the order in which it *meets* them, the other from young to old.

# %%
def graph():
    a, b = Value(2.0), Value(3.0)
    c = a * b
    d = c + a
    return a, b, c, d, c * d


def walk(order):
    order[0].grad = 1.0
    for value in order:
        for parent, slope in zip(value.parents, value.slopes):
            parent.grad += slope * value.grad


a, b, c, d, L = graph()
walk([L, c, d, a, b])  # c is met first: L's first parent
as_met = a.grad

a, b, c, d, L = graph()
walk([L, d, c, b, a])  # c waits until d has delivered
young_to_old = a.grad

predict("L = (a b) (a b + a) = a² b² + a² b. At a = 2, b = 3: what is dL/da? Which walk gets it?")
print("in the order of meeting:", as_met)
print("from young to old:      ", young_to_old)

# %% tags=["hide-input"]
from minidl.tour.tape_picture import draw_tape

a, b, c, d, L = graph()
L.backward()
picture(
    draw_tape(L, {"a": a, "b": b, "c": c, "d": d, "L": L}),
    f"""The graph of L = c d with c = a b and d = c + a. The walk visits L, d, c, b and a in turn. When c is visited it
    has received gradient from L and from d, {c.grad:.0f} in sum; a ends with {a.grad:.0f}.""",
    f"The walk from young to old. When `c` gets its turn, `L` and `d` have both delivered: {d.number:.0f} from `L` and "
    f"{c.number:.0f} from `d`. The walk that visits `c` too early hands on {d.number:.0f} and forgets the rest.",
)
say(f"""
    Right is `2 a b² + 2 a b = {2 * 2 * 9 + 2 * 2 * 3}`. The walk in the order of meeting handed on an incomplete
    gradient from `c`, and got {as_met:.0f}. It is a nasty mistake: no error, a plausible number, and on graphs without
    such a triangle it is even right.
    """)

# %% [markdown]
# Why is "young to old" always a right order? A value can only be computed from values that are there already, so a
# parent is always older than its child. Go from young to old, and all children come before their parents. No graph has
# to be sorted: a counter that gives each value its age is enough.
#
# One could also follow every path separately, and visit a value once per path. The sums would be right. But count the
# paths:

# %%
def paths(value):
    return 1 if not value.parents else sum(paths(parent) for parent in value.parents)


x = Value(1.0)
y = x
for _ in range(16):
    y = y + y                # used twice, sixteen times over

predict("16 additions, each of a value to itself. How many paths lead from y back to x?")
print("paths: ", paths(y))
y.backward()
print("visits:", len(ancestors(y)), " gradient:", x.grad)

# %% [markdown]
# The number of paths doubles with every line, the number of values grows by one. The gradient is the sum over all paths
# all the same, each with slope 1, but added up in a few visits. **Backpropagation is the chain rule with the sums taken
# early.**
#
# ## The same for arrays
#
# A network does not compute with numbers but with arrays. Let `y = f(x)`, where `x` has a million elements and `y` too.
# The slopes of all `y` with respect to all `x` form a matrix, the *Jacobian* `J`, with `J[i, j] = dy_i / dx_j`. It
# would have a million times a million elements. No machine could store it, and none has to. Write `y'` for the gradient
# of the loss with respect to `y`. From now on, a prime always means this, and never the derivative of a function. The
# rule "multiply along, add over paths" says
#
#     x'[j] = sum over i of  y'[i] J[i, j]        in short   x' = Jᵀ y'
#
# and this product, the *vector-Jacobian product*, is mostly easy without `J`. For `y = x³`, element by element, `J` is
# diagonal, and `Jᵀ y'` is `3 x² y'`. So each operation of minidl is a class with two methods: `forward` computes `y`
# from `x`, and `backward` computes `x'` from `y'`, which it calls `grad`. Here is the product of two arrays:

# %% tags=["hide-input"]
import numpy as np

import minidl
from minidl.ops.arithmetic import Mul

source(Mul)

# %% [markdown]
# You can read it: `a' = y' b` and `b' = y' a`. (`save_factors` keeps `a` and `b` if their gradients will be wanted.)
# The walk is that of chapter 2, with a heap, from which the youngest comes first, in place of the sorted list:

# %% tags=["hide-input"]
from minidl.tensor.walk import _Walk

source(_Walk.run)
source(_Walk.deliver)

# %% [markdown]
# A *node* is one call of an operation. A *leaf* is a Tensor that was not computed, an input or a parameter, where a
# gradient ends up. Find the two lines of this chapter in the walk. `heappop` takes the youngest (ages are stored
# negative, because a heap gives the smallest). `slots[index] = gradient if … else _sum(…)` adds up what arrives over
# several paths. The rest is bookkeeping. What `sum_to_size` does there is the subject of the next chapter.

# %%
import minidl

a = minidl.tensor(2.0, requires_grad=True)
b = minidl.tensor(-1.0, requires_grad=True)
c = a * b
d = c + a
L = c * d
predict("The same graph in minidl, but b is -1 now. Which gradients will stand at d, at c, and at a?")
L.backward(retain_graph=True)
print("with respect to a:", a.grad.item(), " with respect to b:", b.grad.item())

# %% tags=["hide-input"]
drawn = minidl.draw_graph(L, values={"a": a, "b": b, "c": c, "d": d, "L": L})
picture(
    drawn,
    """minidl's own drawing of the graph: Mul, Add and Mul, each box with its value and gradient. d gets -2 and c gets
    -2; what reaches a over its two paths, 2 and -2, adds up to 0.""",
    "`minidl.draw_graph` draws any graph; `values` asks for the numbers.",
)

# %% [markdown]
# ## What you know now
#
# - Slopes multiply along a path and add up over paths. A gradient is complete when it has arrived over all paths.
# - Parents are older than children, so the order of age is a right order.
# - For arrays, `backward` computes `x' = Jᵀ y'` and never builds `J`.
#
# ## Exercise
#
# The length of the hypotenuse is `y = sqrt(a² + b²)`, element by element. Its slopes are `a / y` and `b / y`. Write its
# `backward`: it takes `y'` as `grad` and returns two gradients, `a'` and `b'`.

# %%
class Hypotenuse(minidl.Function):
    def forward(self, a, b):
        y = (a * a + b * b) ** 0.5
        self.save_for_backward(a, b, y)
        return y

    def backward(self, grad):
        a, b, y = self.saved_tensors
        ...


# %%
def check(Hypotenuse):
    a, b = np.array([3.0, 0.5, -1.0]), np.array([4.0, 1.5, 2.0])
    minidl.check_gradients(Hypotenuse, a, b)


exercise(Hypotenuse, check)
