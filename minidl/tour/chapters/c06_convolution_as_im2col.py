# %% [markdown]
# # Convolution as im2col
#
# The network of chapter 5 forgot that its pixels lie next to each other. Shuffle all pixels of all images in the same
# way, and it learns exactly as well. A *convolution* uses the neighbourhood: it takes the same weighted sum in every
# small window of the image. One set of weights, used everywhere. (In mathematics a convolution flips the window first,
# as `np.convolve` does. In this field it does not: what is called convolution here is a *correlation* there. The
# weights are learnt, so the flip would change nothing but their order.)
#
# Take a 3 by 3 image and a 2 by 2 window, small enough to show every number.

# %%
import numpy as np

import minidl
from minidl.tour import exercise, picture, predict, say, source

image = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)  # image, channel, row, column
weight = np.array([[1.0, 0.0], [0.0, -1.0]]).reshape(1, 1, 2, 2)
print(image[0, 0])
y = minidl.conv2d(minidl.tensor(image), minidl.tensor(weight))
predict("The window fits into 4 places. The weights take the upper left pixel minus the lower right one. "
        "What are the 4 results?")
print(y[0, 0].numpy())

# %% [markdown]
# Every window holds 4 numbers, and its result is their weighted sum. So write each window as a row of 4 numbers, an
# *im2col row*. Four windows, four rows: a matrix. This is `im2col`. (It is named for columns because it was first
# written transposed.)

# %%
rows = minidl.im2col(minidl.tensor(image), 2).numpy()
predict("How often does the pixel in the middle, the 5, occur in this matrix? And the 1 in the corner?")
print(rows)
print("results:", rows @ weight.ravel())

# %% tags=["hide-input"]
from minidl.tour.drawing import Drawing

PLACES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def window(place):
    return {(place[0] + u, place[1] + v): "a" for u in range(2) for v in range(2)}


drawing = Drawing(4)
drawing.grid(0, 0, image[0, 0], title="x")
drawing.grid(170, -18, [[""] * 4] * 4, title="im2col(x)")
drawing.text(340, 54, "·")
drawing.grid(360, -18, weight.reshape(4, 1), title="w")
drawing.text(415, 54, "=")
drawing.grid(436, -18, [[""]] * 4, title="y")
for k, place in enumerate(PLACES):
    for cell in window(place):
        drawing.during(k).box(36 * cell[1], 36 * cell[0], 36, 36, "a", 3)
    drawing.during(k).box(170, -18 + 36 * k, 144, 36, "a", 3)
    for j in range(4):
        drawing.since(k).text(188 + 36 * j, 36 * k, rows[k, j], "")
    drawing.since(k).text(454, 36 * k, (rows @ weight.ravel())[k], "")
picture(
    drawing,
    """A 2 by 2 window slides over the 3 by 3 image with the numbers 1 to 9. At each of its four places the four numbers
    in it become a row of a matrix: 1 2 4 5, then 2 3 5 6, 4 5 7 8 and 5 6 8 9. Times the weights 1 0 0 -1, each row
    gives -4.""",
    "The window slides, and each place becomes a row. Then the whole convolution is *one* product of matrices.",
)

# %% [markdown]
# ## Padding, stride, dilation
#
# Three numbers say where the windows lie. **Padding** `p` puts `p` rings of zeros around the image, so that windows fit
# at its edges, too. **Stride** `s` moves the window by `s` pixels. **Dilation** `d` leaves `d - 1` pixels between its
# cells. An image of height `H` and a window of `k` by `k` cells make
#
#     OH = (H + 2p - d (k - 1) - 1) // s + 1
#
# rows of outputs, and likewise columns. Cell `(u, v)` of the window of output `(i, j)` is pixel `(s i + d u, s j + d
# v)` of the padded image. Above, `p = 0`, `s = 1` and `d = 1`, so `OH = (3 - 1 - 1) // 1 + 1 = 2`.
#
# Here is all of it in minidl. `_padded` puts the zeros around the images and turns the axes to (image, row, column,
# channel), so that all channels of a pixel are next to each other. `as_strided` is the trick: the windows overlap in
# memory, and with the right strides NumPy can read them in place. The copy happens in `reshape`. (`@dispatched` lets a
# faster form take a function's place where there is one; what you read is the plain form, which defines it.)

# %% tags=["hide-input"]
from minidl.ops.convolution import _matrix, _rows, conv2d_forward, conv2d_input_grad, conv2d_weight_grad
from minidl.ops.im2col import _padded, col2im_forward, im2col_forward

source(_padded)
source(im2col_forward.__wrapped__)
source(conv2d_forward.__wrapped__)
source(_matrix)

# %% [markdown]
# With `C` channels a row holds `kh kw C` numbers, and with `K` filters the weights are a matrix of `K` columns. That is
# the only difference, and the formula for real images is as short:
#
#     Y = im2col(X) W        (N OH OW, kh kw C) times (kh kw C, K) gives (N OH OW, K)
#
# Why go through a matrix at all? Because a product of large matrices is what a processor does best (chapter 12). And
# because of the gradients, which are now nearly free.
#
# ## Both gradients
#
# `Y = R W`, where `R = im2col(X)`. Chapter 4 gave the gradients of a product:
#
#     W' = Rᵀ Y' = im2col(X)ᵀ Y'        R' = Y' Wᵀ
#
# The first is done. For the second, one step is left: from `R'` to `X'`. `im2col` only copies numbers, so it is linear,
# and its gradient is its adjoint. What is the adjoint of copying a pixel into several rows? *Adding what comes back
# from them.* That is `col2im`: each row of `R'` is put back where its window lay, and where windows overlap, it adds.
#
#     X' = col2im(Y' Wᵀ)

# %%
ones = np.ones((4, 4))
back = minidl.col2im(minidl.tensor(ones), (1, 1, 3, 3), 2).numpy()
predict("Put a 1 into every place of the 4 x 4 matrix, and apply col2im. Which 3 x 3 image comes out?")
print(back[0, 0])

# %% tags=["hide-input"]
drawing = Drawing(4)
drawing.grid(0, -18, [[1] * 4] * 4, title="R'")
drawing.arrow(160, 54, 210, 54, words="col2im")
drawing.grid(230, 0, [[""] * 3] * 3, title="x'")
total = np.zeros((3, 3))
for k, place in enumerate(PLACES):
    before = total.copy()
    total[place[0] : place[0] + 2, place[1] : place[1] + 2] += 1
    drawing.during(k).box(0, -18 + 36 * k, 144, 36, "b", 3)
    for i in range(3):
        for j in range(3):
            if (i, j) in window(place):
                drawing.during(k).box(230 + 36 * j, 36 * i, 36, 36, "b", 3)
            if k < 3:
                drawing.during(k).text(248 + 36 * j, 18 + 36 * i, total[i, j], "")
            else:
                drawing.since(k).text(248 + 36 * j, 18 + 36 * i, total[i, j], "")
picture(
    drawing,
    """Four rows of ones are put back, one after the other, where their windows lay in a 3 by 3 image, and added. In the
    end the corners hold 1, the middles of the edges 2, and the centre 4.""",
    "Each row goes back to its window, and adds. The result counts how often a pixel was copied: 1 in the corners, 2 "
    "at the edges, 4 in the middle.",
)

# %% [markdown]
# The counts are those you predicted for `im2col`: the 5 occurs four times, the 1 once. A pixel that counted in four
# windows gets four gradients, and chapter 3 said what to do with them. The test of chapter 4 confirms the pair:

# %%
rng = np.random.default_rng(0)
x, r = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((2 * 4 * 3, 27))
left = (minidl.im2col(minidl.tensor(x), 3).numpy() * r).sum()
right = (x * minidl.col2im(minidl.tensor(r), x.shape, 3).numpy()).sum()
print(f"<im2col(x), r> = {left:.12f}\n<x, col2im(r)> = {right:.12f}")

# %% [markdown]
# In minidl, `col2im` loops over the cells of the window, not over windows. For one cell `(u, v)`, no two windows fall
# on the same pixel: window `(i, j)` has it at `(s i + d u, s j + d v)`. So all windows can be added at once, to the
# slice that begins at `d u` and takes every `s`-th pixel, `OH` of them. The two gradients are three lines each.
# (`split` is for grouped convolutions: one group by default.)

# %% tags=["hide-input"]
source(col2im_forward.__wrapped__)
source(_rows)
source(conv2d_input_grad.__wrapped__)
source(conv2d_weight_grad.__wrapped__)

# %% [markdown]
# ## The price

# %%
N, C, H, W, k = 64, 96, 32, 32, 3
predict("64 images of 96 channels, 32 x 32, a 3 x 3 window, padding 1. How much larger is the matrix than the images?")
MiB = 2**20 / 4          # float32 numbers in a MiB
matrix = minidl.im2col(minidl.zeros(1, C, H, W), k, padding=1)    # of one image
print(f"images {N * C * H * W / MiB:.0f} MiB, matrix {N * matrix.numel() / MiB:.0f} MiB")

# %% [markdown]
# Every pixel is copied `kh kw` times. In its fast kernels minidl does without the copy: the register tile of chapter 12
# reads the windows where they lie, as `as_strided` did.
#
# ## What you know now
#
# - `Y = im2col(X) W`: every window is a row, and the convolution is one product.
# - `W' = im2col(X)ᵀ Y'` and `X' = col2im(Y' Wᵀ)`.
# - `col2im` is the adjoint of `im2col`: it adds where windows overlap.
#
# ## Exercise
#
# Write both gradients of a convolution (stride 1, no padding) on arrays. `im2col(x, k)` and `col2im(rows, shape, k)`
# are there. Rows are in the order image, row, column of the window; within a row the channel moves fastest. So the
# weights `(K, C, k, k)` become a matrix by `w.transpose(2, 3, 1, 0).reshape(-1, K)`, and an output `(N, K, OH, OW)`
# becomes rows by `y.transpose(0, 2, 3, 1).reshape(-1, K)`.

# %%
def im2col(x, k):
    return minidl.im2col(minidl.tensor(x), k).numpy()


def col2im(rows, shape, k):
    return minidl.col2im(minidl.tensor(np.ascontiguousarray(rows)), shape, k).numpy()


def conv_gradients(dy, x, w):
    """The gradients with respect to x and w."""
    K, C, k, _ = w.shape
    ...


# %%
def check(conv_gradients):
    x, w = rng.standard_normal((2, 3, 5, 6)), rng.standard_normal((4, 3, 3, 3))
    dy = rng.standard_normal((2, 4, 3, 4))
    X, W = minidl.tensor(x, requires_grad=True), minidl.tensor(w, requires_grad=True)
    minidl.conv2d(X, W).backward(minidl.tensor(dy))
    answer = conv_gradients(dy, x, w)
    assert answer is not None, "nothing was returned: fill the hole"
    for name, mine, right in zip("xw", answer, (X.grad.numpy(), W.grad.numpy())):
        note = f"{name}' has shape {mine.shape}, not {right.shape}"
        assert mine.shape == right.shape, note
        note = f"{name}' is off by up to {np.abs(mine - right).max():.3f}"
        assert np.allclose(mine, right), note


exercise(conv_gradients, check)
