# %% [markdown]
# # Inception: four branches, and what the 1x1 saves
#
# How large should the window of a convolution be? A stroke of a pen is seen in 3 x 3 pixels, a loop needs 5 x 5 or
# more, and colour needs only one. The answer of GoogLeNet (2014): take all of them side by side, and let training
# decide. That is an *Inception* block. This chapter is about the trick that makes it affordable.
#
# ## A 1 x 1 convolution
#
# A window of one pixel sounds useless. But a pixel has channels, 192 of them at this place of the network. A 1 x 1
# convolution takes weighted sums over the channels, from 192 numbers to, say, 16.

# %%
import numpy as np

import minidl
from minidl import nn
from minidl.tour import exercise, picture, predict, say, source

rng = np.random.default_rng(0)
x = rng.standard_normal((2, 192, 5, 5))
w = rng.standard_normal((16, 192, 1, 1))
y = minidl.conv2d(minidl.tensor(x), minidl.tensor(w)).numpy()
predict("im2col with a window of 1 x 1: what does a row of the matrix hold? So what is a 1 x 1 convolution?")
print("y has shape", y.shape)

# %% tags=["hide-input"]
say("""
    A row is a pixel with its 192 channels. So the convolution is one product of matrices, without any im2col:

        pixels = x.transpose(0, 2, 3, 1).reshape(-1, 192)  # one row per pixel
        rows_of_y = pixels @ w[:, :, 0, 0].T
    """)
pixels = x.transpose(0, 2, 3, 1).reshape(-1, 192)
rows_of_y = pixels @ w[:, :, 0, 0].T
gap = np.abs(y - rows_of_y.reshape(2, 5, 5, 16).transpose(0, 3, 1, 2)).max()
print(f"convolution and product differ by at most {gap:.0e}")
say("""
    With channels-last bytes (all channels of a pixel next to each other) the image *is* that matrix, and nothing is
    copied.
    """)

# %% [markdown]
# ## Counting
#
# The cost of a convolution is easily counted. Each of `H W` pixels and each of `K` outputs takes `k k C` products:
#
#     multiplications = H W · K · k k C
#
# Block 3a of the paper gets 192 channels of 28 x 28 pixels. Its 5 x 5 branch makes 32 channels.

# %%
def multiplications(H, W, inputs, outputs, k):
    return H * W * outputs * k * k * inputs


H = W = 28
direct = multiplications(H, W, 192, 32, 5)
reduced = multiplications(H, W, 192, 16, 1) + multiplications(H, W, 16, 32, 5)
predict("Put a 1 x 1 convolution before it, from 192 to 16 channels. That is one layer more. Is it dearer, or cheaper?")
print(f"5 x 5 directly:           {direct / 1e6:6.1f} million")
print(f"1 x 1 to 16, then 5 x 5:  {reduced / 1e6:6.1f} million")
print(f"that is {direct / reduced:.1f} times less")

# %% [markdown]
# The expensive part is the 5 x 5, with 25 products per pair of channels. So let it work on few channels. The 1 x 1 in
# front costs little, and it learns *which* mixtures of channels are worth looking at in a large window.
#
# Here is the block. `nn.Branches` calls each branch on the same input and joins the results along the channels. Six
# numbers of channels describe a block:

# %%
from minidl.tour.googlenet import BLOCKS, HALVED_AFTER, Inception, conv

parts = ("1x1", "3x3 reduce", "3x3", "5x5 reduce", "5x5", "pool projection")
for part, outputs in zip(parts, BLOCKS["3a"]):
    print(f"3a, {part:<15} {outputs:>4} channels")

# %% tags=["hide-input"]
source(Inception)
source(conv)

# %% tags=["hide-input"]
minidl.manual_seed(0)
small = Inception(24, 8, 12, 16, 4, 8, 4)
image = minidl.randn(1, 24, 7, 7, requires_grad=True)
picture(
    minidl.draw_graph(small(image), params=small),
    """The graph of an Inception block: the input goes into four chains side by side, a 1x1 convolution; a 1x1 and a
    3x3; a 1x1 and a 5x5; a pool and a 1x1. Each convolution is followed by batch normalisation with ReLU. Concat joins
    the four.""",
    "An Inception block as minidl recorded it, here with 24 channels. Parameters stand in the boxes that use them.",
)

# %% [markdown]
# Why a 1 x 1 *after* the pool? A pool keeps all its channels. Without the projection every block would hand on at least
# as many channels as it got, plus those of the other branches, and the network would grow from block to block.

# %%
def cost(inputs, row, reduce=True):
    c1, c3r, c3, c5r, c5, pool = row
    if not reduce:
        return [inputs * c1, 9 * inputs * c3, 25 * inputs * c5, 0]
    three = inputs * c3r + 9 * c3r * c3
    five = inputs * c5r + 25 * c5r * c5
    return [inputs * c1, three, five, inputs * pool]


names = ("1 x 1", "3 x 3", "5 x 5", "pool")
predict("The 5 x 5 branch of block 3a became ten times cheaper. How much does the 3 x 3 branch save? "
        "And which branch becomes dearer?")
M = H * W / 1e6          # pixels, for a result in millions
for name, a, b in zip(names, cost(192, BLOCKS["3a"], False), cost(192, BLOCKS["3a"])):
    print(f"{name:<6} directly {M * a:6.1f} million, reduced {M * b:6.1f}")

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing

drawing = Drawing()
most = 420
whole = [cost(192, BLOCKS["3a"], False), cost(192, BLOCKS["3a"])]
largest = max(map(max, whole))
for k, name in enumerate(names):
    drawing.text(0, 50 * k + 16, name, "t", left=True)
    for j, kind in enumerate("ab"):
        length = most * whole[j][k] / largest
        drawing.box(70, 50 * k + 17 * j, max(length, 1), 14, kind)
        drawing.text(80 + length, 50 * k + 17 * j + 7, f"{784 * whole[j][k] / 1e6:.0f}", "s", left=True)
drawing.box(70, 212, 14, 14, "a")
drawing.text(92, 219, "directly", "w", left=True)
drawing.box(190, 212, 14, 14, "b")
drawing.text(212, 219, "with 1 x 1 reductions; millions of multiplications", "w", left=True)
picture(
    drawing,
    """Bars of the cost of the four branches of block 3a, directly and with reductions. The 5 x 5 branch shrinks most,
    to about a tenth; the 3 x 3 branch to a bit more than half.""",
    "Block 3a, in millions of multiplications per image. The pool's projection is new; without it, all 192 channels "
    "would go on.",
)

# %%
channels, totals = 192, [0, 0]
for row in BLOCKS.values():
    for j, reduce in enumerate((False, True)):
        totals[j] += sum(cost(channels, row, reduce))
    channels = row[0] + row[2] + row[4] + row[5]
print(f"weights of the nine blocks: {totals[1] / 1e6:.1f} million with reductions,")
print(f"{totals[0] / 1e6:.1f} million without")

# %% [markdown]
# (Products per pixel are also the number of weights: each weight is used once per pixel.) GoogLeNet has a twelfth of
# the weights of the network that had won two years before, and was more accurate.
#
# ## Backward
#
# You know everything that is needed. The input is used by four branches, so its gradient is the *sum* of four (chapter
# 3). The outputs are joined by `concat`, which copies numbers to their places, so its adjoint cuts the gradient into
# four again (chapter 4).

# %%
y = small(image)
g = minidl.randn(*y.shape)
(whole,) = minidl.grad(y, image, g)
parts, first = [], 0
for branch in (small.branch1, small.branch2, small.branch3, small.branch4):
    out = branch(image)
    last = first + out.shape[1]
    parts.append(minidl.grad(out, image, g[:, first:last])[0].numpy())
    first = last
predict("Four backwards, each through one branch with its slice of the gradient. How do they add up?")
print("norms of the four gradients:", *(f"{np.linalg.norm(part):.2f}" for part in parts))
gap = np.abs(whole.numpy() - sum(parts)).max()
print(f"their sum and the gradient of the block differ by at most {gap:.0e}")

# %% [markdown]
# Nine such blocks with a pool after the second and the seventh (`HALVED_AFTER`), a convolution before them, an average
# and a linear layer after them: that is our GoogLeNet. (The paper's begins differently: its images are larger, so three
# convolutions and two pools come first.) Its fast kernels let minidl run a block faster without changing it. The three
# 1 x 1 convolutions at the front read the same input, so they become one product, and each branch writes into its slice
# of the joint output, so `concat` copies nothing.

# %% tags=["hide-input"]
from minidl.tour.googlenet import googlenet

source(googlenet)
count = sum(p.numel() for p in googlenet().parameters())
say(f"`HALVED_AFTER` is `{HALVED_AFTER}`. At full width the network has {count:,} parameters.")

# %% [markdown]
# ## What you know now
#
# - A 1 x 1 convolution is a matrix product over the channels at every pixel.
# - In front of a large window it saves most of the cost: `k k` falls on few channels only.
# - Branches: the input's gradient is the sum over them; `concat` and cutting are adjoint.
#
# ## Exercise
#
# By what factor does a reduction to `r` channels make a `k x k` convolution from `C` to `K` channels cheaper? (Then
# ask yourself, on paper: up to which `r` does it pay?)

# %%
def saving(C, K, k, r):
    """The cost directly, divided by that with a 1 x 1 to r channels in front."""
    ...


# %%
def check(saving):
    for C, K, k, r in ((192, 32, 5, 16), (192, 128, 3, 96), (64, 64, 1, 64)):
        right = multiplications(9, 9, C, K, k)
        right /= multiplications(9, 9, C, r, 1) + multiplications(9, 9, r, K, k)
        said = saving(C, K, k, r)
        assert said is not None, "nothing was returned: fill the hole"
        words = f"{k} x {k} from {C} to {K} channels by way of {r}"
        note = f"{words}: {right:.4f} times cheaper, you say {said:.4f}"
        assert abs(said - right) < 1e-9, note


exercise(saving, check)
