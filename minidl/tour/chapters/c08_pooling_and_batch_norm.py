# %% [markdown]
# # Pooling, batch norm, and a check that checks nothing
#
# Two layers stand between the convolutions of nearly every network. One makes images smaller, the other keeps numbers
# at a reasonable size. The gradient of the first is easy. That of the second is the most famous exercise of the field,
# and the easiest to get wrong *without noticing*. The way it goes unnoticed is worth more than the formula.
#
# ## Max pooling: remember who won
#
# The largest number of each window goes on. If the others move a little, nothing happens, so their slope is 0. The
# winner's slope is 1. So the backward adds each gradient at the place where the winner stood, and the forward has to
# remember that place: the *argmax*.

# %%
import numpy as np

import minidl
from minidl.tour import exercise, picture, predict, say, source

image = np.array([[1.0, 5, 2, 0], [3, 2, 8, 1], [0, 1, 4, 4], [7, 6, 0, 3]])
x = minidl.tensor(image.reshape(1, 1, 4, 4), requires_grad=True)
y = minidl.max_pool2d(x, 2)
y.backward(minidl.tensor([[[[10.0, 20.0], [30.0, 40.0]]]]))
predict("Windows of 2 x 2, side by side. The upstream gradient is 10, 20, 30, 40. Which 4 of 16 places get it?")
print(y.detach().numpy()[0, 0])
print(x.grad.numpy()[0, 0])

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing

drawing = Drawing()
won = {(0, 1): "a", (1, 2): "a", (3, 0): "a", (2, 2): "a"}
drawing.grid(0, 0, image, won, title="x")
drawing.arrow(152, 72, 196, 72, words="max")
drawing.grid(206, 36, [[5, 8], [7, 4]], {(i, j): "a" for i in (0, 1) for j in (0, 1)}, title="y")
drawing.grid(330, 36, [[10, 20], [30, 40]], {(i, j): "b" for i in (0, 1) for j in (0, 1)}, title="y'")
drawing.arrow(410, 72, 454, 72, words="scatter")
drawing.grid(464, 0, x.grad.numpy()[0, 0], {cell: "b" for cell in won}, title="x'")
for left in (0, 464):
    drawing.line([(left + 72, 0), (left + 72, 144)], "", 3)
    drawing.line([(left, 72), (left + 144, 72)], "", 3)
picture(
    drawing,
    """A 4 by 4 image in four windows with the largest number of each marked: 5, 8, 7 and the first of two 4s. To the
    right the upstream gradients 10, 20, 30 and 40 stand at the same four places, zeros elsewhere.""",
    "Forward the largest goes on, backward the gradient goes to where it stood. Where two are equal, the first wins.",
)

# %% [markdown]
# Scatter to the argmax, and its adjoint, gather from the argmax: a linear pair as in chapter 4, so the second
# derivative is there again. Average pooling is linear from the start: its backward spreads `1/4` of the gradient over
# each window.
#
# ## Batch norm
#
# Take all values of a channel, over all images of the batch and all pixels: `n` numbers `x`. Subtract their mean,
# divide by their standard deviation. What goes on has mean 0 and deviation 1, whatever came in.
#
#     xc = x - mean(x)          s = 1 / sqrt(mean(xc²) + eps)          y = s xc
#
# (`eps` is tiny, against a division by 0.) A weight `gamma` and a bias `beta` per channel mostly follow. Their
# gradients are those of chapters 3 and 4, for each is used `n` times:
#
#     z = gamma y + beta          y' = gamma z'          gamma' = sum(z' y)          beta' = sum(z')
#
# At test time there may be only one image. So the mean and the deviation are not those of the batch then, but running
# averages that were kept during training. In minidl the definition is written as you read it:

# %% tags=["hide-input"]
from minidl.ops.normalisation import BatchNorm

source(BatchNorm.definition)

# %% [markdown]
# ## Its gradient, step by step
#
# Every `x` influences every `y`, by way of the mean and of the deviation. So `x'` has to collect from all. Walk from
# young to old, as in chapter 3, one value at a time.
#
# **1. `s`.** It multiplies every `xc`, so it is one number used `n` times:
#
#     s' = sum(y' xc)
#
# **2. The mean of the squares, `v`.** `s = (v + eps)^(-1/2)` has the slope `-1/2 (v + eps)^(-3/2)`, which is `-1/2 s³`:
#
#     v' = -1/2 s³ s'
#
# **3. `xc`.** It is used twice: in `y`, with slope `s`, and in `v = sum(xc²) / n`, with slope `2 xc / n`. Add:
#
#     xc' = s y' + (2 xc / n) (-1/2 s³ s')
#         = s y' - (s³ xc / n) sum(y' xc)
#         = s (y' - y mean(y' y))                    because s xc = y, twice
#
# **4. `x`.** `xc = x - mean(x)` is linear. Its adjoint is itself: subtract the mean. (Check it: the matrix is
# symmetric.)
#
#     x' = xc' - mean(xc')
#        = s (y' - mean(y') - y mean(y' y))          because mean(y) = 0
#
# These are three terms: the gradient that arrives, less its mean, less the part of it that points along `y`. The last
# two have a meaning: batch norm does not react if all `x` move together, or if all grow in proportion. So a gradient in
# these two directions is useless, and it is taken out. (The formula is exact for every `eps`. That it takes out *all*
# of the part along `y` is exact for `eps = 0`, where `mean(y²)` is 1.)

# %%
def batch_norm(x, eps=1e-5):
    xc = x - x.mean()
    s = 1 / np.sqrt((xc * xc).mean() + eps)
    return s * xc, s


def batch_norm_backward(dy, x):
    y, s = batch_norm(x)
    return s * (dy - dy.mean() - y * (dy * y).mean())


rng = np.random.default_rng(0)
values, dy = rng.standard_normal(6), rng.standard_normal(6)
tensor = minidl.tensor(values.reshape(6, 1), requires_grad=True)
minidl.batch_norm_train(tensor)[0].backward(minidl.tensor(dy.reshape(6, 1)))
ours = batch_norm_backward(dy, values)
predict("Our one line against minidl. And: what do the six gradients sum to?")
print("minidl:", tensor.grad.numpy().ravel())
print("ours:  ", ours)
print(f"sum of the gradients: {ours.sum():.1e}")

# %% [markdown]
# ## A check that checks nothing
#
# Now a wrong version. A student forgot the third term.

# %%
def forgetful_backward(dy, x):
    y, s = batch_norm(x)
    return s * (dy - dy.mean())


def slope_of_sum(x, i, h=1e-5):
    """d(sum of batch_norm(x)) / dx[i], by a central difference."""
    up, down = x.copy(), x.copy()
    up[i] += h
    down[i] -= h
    return (batch_norm(up)[0].sum() - batch_norm(down)[0].sum()) / (2 * h)


# %% [markdown]
# The student tests it as many people do: take the sum of all outputs as the loss, so that the upstream gradient is all
# ones, and compare with differences.

# %%
measured = [slope_of_sum(values, i) for i in range(6)]
predict("Does the test find the mistake? What are the numbers that it compares?")
wrong = forgetful_backward(np.ones(6), values)
right = batch_norm_backward(np.ones(6), values)
for name, numbers in (("differences", measured), ("wrong", wrong), ("right", right)):
    print(f"{name:<12}", *(f"{value:9.1e}" for value in numbers))

# %% [markdown]
# All are zero. The test passes, for the right version and for the wrong one, because the sum of numbers with mean 0 is
# 0, *for every `x`*. So the loss does not depend on `x` at all, and its gradient is 0. The test compares 0 with 0, and
# any formula that takes out the mean will pass.
#
# The remedy is one word: *random*. With a random upstream gradient, no term is hidden.

# %%
class Forgetful(minidl.Function):
    def forward(self, x):
        self.save_for_backward(x)
        return batch_norm(x)[0]

    def backward(self, grad):
        (x,) = self.saved_tensors
        s = (((x - x.mean()) ** 2).mean() + 1e-5) ** -0.5
        return s * (grad - grad.mean())


report = minidl.check_gradients(Forgetful, values, raise_exception=False)
predict("The same mistake, and minidl's checker with its random upstream gradient. What does it say?")
print(str(report.failures[0]).partition("\n  error.save")[0])

# %% [markdown]
# minidl's checker goes one step further: where both sides are near zero, it refuses to pass at all. **A check that
# cannot fail is no check.** Before you trust one, break the code on purpose, and see it fail.

# %% tags=["hide-input"]
y, s = batch_norm(values)
parts = [("y'", dy), ("y' - mean(y')", dy - dy.mean()), ("- y mean(y' y)", dy - dy.mean() - y * (dy * y).mean())]
drawing = Drawing()
for k, (words, numbers) in enumerate(parts):
    left = 210 * k
    drawing.text(left + 85, -98, words, "t")
    drawing.line([(left, 0), (left + 170, 0)], "soft", 1)
    for i, number in enumerate(numbers):
        top = -60 * number if number > 0 else 0
        drawing.box(left + 6 + 28 * i, top, 20, abs(60 * number), "abc"[k])
    drawing.text(left + 85, 96, f"mean {abs(numbers.mean()):.2f}", "w s")
    drawing.text(left + 85, 112, f"along y {abs((numbers * y).mean()):.2f}", "w s")
picture(
    drawing,
    """Three bar charts of six gradients: as they arrive, with the mean taken out, and with the part along y taken out
    as well. Under each stand its mean and its part along y; both are zero in the last, the second up to eps.""",
    "What batch norm does to a gradient: first the mean is taken out, then the part along `y`. (Then all is multiplied "
    "by `s`.)",
)

# %% [markdown]
# ## What you know now
#
# - Max pooling keeps the argmax; its backward scatters to it.
# - Batch norm: `x' = s (y' - mean(y') - y mean(y' y))`, in four steps of chapter 3.
# - An upstream gradient of all ones hides mistakes. Use a random one, and break the code to test the test.
#
# ## Exercise
#
# *RMS norm*, the simpler sister of batch norm, divides by the root of the mean square, without taking the mean out:
# `y = x / sqrt(mean(x²))`. Write its backward: from `dy` and `x` to `x'`. Steps 1 to 3 above are the way; step 4 is not
# needed.

# %%
def rms_norm(x):
    return x / np.sqrt((x * x).mean())


def rms_norm_backward(dy, x):
    """The gradient with respect to x."""
    ...


# %%
def check(rms_norm_backward):
    x, dy, h = values + 0.3, rng.standard_normal(6), 1e-6
    answer = rms_norm_backward(dy, x)
    assert answer is not None, "nothing was returned: fill the hole"
    for i, unit in enumerate(np.eye(6)):
        slope = (rms_norm(x + h * unit) - rms_norm(x - h * unit)) @ dy / (2 * h)
        note = f"at element {i} differences measure {slope:.6f}, you say {answer[i]:.6f}"
        assert abs(answer[i] - slope) < 1e-6, note


exercise(rms_norm_backward, check)
