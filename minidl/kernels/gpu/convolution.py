"""Convolution as a product that never writes its matrix down: the rows of im2col are gathered tile by tile.

Plainly, `im2col` copies each window to one row of a matrix, and one product does the rest (`minidl.ops.convolution`).
Here a block takes TP pixels of the result and TK of its channels, and walks over the cells of the window and the
channels of the input, TC at a time: a tile of im2col's matrix, which it gathers from the image, times a tile of the
weights.

    y[p, k] = sum over cells t and channels c of  x[pixel of p moved by t, c] * w[t, c, k]

The gradient with respect to the input has the same form: the pixel x[r] was seen by cell u of the window at
i = (r - u GAP + PAD) / STEP, if that is a whole number. Both maps are the kernel `gathered`:

    pixel of the source = (p ALONG + t GAP + SHIFT) / APART

    forward: ALONG = stride, GAP = dilation, SHIFT = -padding, APART = 1
    adjoint: ALONG = 1, GAP = -dilation, SHIFT = padding, APART = stride

The gradient with respect to the weight sums over all pixels, which are many, for few results: shares of the pixels are
summed by blocks of their own, and then the shares (`weight_shares`).

A window of one pixel needs no gathering: that convolution is a product of the library's (`products`).

Reference: S. Chetlur et al., "cuDNN: efficient primitives for deep learning", arXiv 1410.0759, section 3.
"""

from __future__ import annotations

from minidl import backend
from minidl.backend import array_module
from minidl.kernels.gpu.products import product
from minidl.kernels.gpu.reduction import SHARES, shares_of, sum_of_rows
from minidl.kernels.gpu.tiles import BF16, STORED, TF32, cdiv, ct, kernel, precision_of, rows, takes, takes_pixels
from minidl.ops.geometry import output_size, split

# Pixels, channels in and channels out of a tile: the largest whose numbers fit into the registers of every GPU. They
# are the same for all images, so that a network needs few variants, each of which takes a second to compile.
TILES = {STORED: (16, 16, 32), TF32: (64, 16, 64), BF16: (32, 32, 64)}
TILES_OF_DOUBLES = 16, 16, 16
MOST_IN_SHARES = 1 << 25  # numbers in all shares of a weight's gradient: 128 MiB


def rounded(tile, PRECISION):
    """`tile` as an operand of a product."""
    if PRECISION == TF32:
        return tile.astype(ct.tfloat32)
    if PRECISION == BF16:
        return tile.astype(ct.bfloat16)
    return tile


def seen_from(n, i, j, u, v, H, W, ALONG_H, ALONG_W, GAP_H, GAP_W, SHIFT_H, SHIFT_W, APART_H, APART_W):
    """The number of the source's pixel that cell (u, v) sees from pixel (n, i, j); -1, out of bounds, for none."""
    row, column = i * ALONG_H + u * GAP_H + SHIFT_H, j * ALONG_W + v * GAP_W + SHIFT_W
    inside = (row >= 0) & (row < H * APART_H) & (column >= 0) & (column < W * APART_W)
    if APART_H * APART_W > 1:
        inside = inside & (row % APART_H == 0) & (column % APART_W == 0)
        row, column = row // APART_H, column // APART_W
    return ct.where(inside, (n * H + row) * W + column, -1)


@kernel
def gathered(
    x, w, bias, y, H, W, OH, OW, KW, ALONG_H, ALONG_W, GAP_H, GAP_W, SHIFT_H, SHIFT_W, APART_H: ct.Constant,
    APART_W: ct.Constant, TP: ct.Constant, TC: ct.Constant, TK: ct.Constant, PRECISION: ct.Constant,
    BIAS: ct.Constant, RELU: ct.Constant, ADD: ct.Constant,
):  # fmt: skip
    """Pixels and channels of y (N OH OW, K): windows of x (N H W, C) times w (cells, C, K), plus `bias` (K,).

    The pixels of a tile lie in a row, whatever image they are of: the division of their numbers says which, and where
    in it. Pixels past the last image are out of bounds, so are those that the padding added, and both read as 0.
    """
    pixel = ct.bid(0) * TP + ct.arange(TP, dtype=ct.int32)
    n, i, j = pixel // (OH * OW), pixel // OW % OH, pixel % OW
    total = ct.zeros((TP, TK), dtype=ct.float64 if x.dtype == ct.float64 else ct.float32)
    for cell in range(w.shape[0]):
        source = seen_from(
            n, i, j, cell // KW, cell % KW, H, W, ALONG_H, ALONG_W, GAP_H, GAP_W, SHIFT_H, SHIFT_W, APART_H, APART_W
        )
        for block in range(ct.cdiv(w.shape[1], TC)):
            c = block * TC + ct.arange(TC, dtype=ct.int32)
            seen = ct.gather(x, (source[:, None], c[None, :]), padding_value=0)
            weights = ct.load(w, (cell, block, ct.bid(1)), (1, TC, TK), padding_mode=ct.PaddingMode.ZERO)
            total = ct.mma(rounded(seen, PRECISION), rounded(weights.reshape((TC, TK)), PRECISION), total)
    if BIAS:
        total = total + ct.load(bias, (ct.bid(1),), (TK,), padding_mode=ct.PaddingMode.ZERO)[None, :]
    if RELU:
        total = ct.where(total < 0, 0.0, total)  # and a NaN stays
    if ADD:
        total = total + ct.load(y, (ct.bid(0), ct.bid(1)), (TP, TK), padding_mode=ct.PaddingMode.ZERO)
    ct.store(y, (ct.bid(0), ct.bid(1)), total.astype(y.dtype))


@kernel
def weight_shares(
    x, g, shares, H, W, OH, OW, KW, ALONG_H, ALONG_W, GAP_H, GAP_W, SHIFT_H, SHIFT_W, STEPS, TP: ct.Constant,
    TC: ct.Constant, TK: ct.Constant, PRECISION: ct.Constant,
):  # fmt: skip
    """Share s of the gradient, shares[s, cell, c, k]: windows of x, transposed, times g (pixels, K), over its pixels.

    Block (b, k, s) has cell b // blocks of channels, and the share's STEPS tiles of pixels, which it adds in order.
    """
    blocks = ct.cdiv(x.shape[1], TC)
    cell, block = ct.bid(0) // blocks, ct.bid(0) % blocks
    c = block * TC + ct.arange(TC, dtype=ct.int32)
    total = ct.zeros((TC, TK), dtype=shares.dtype)
    last = ct.cdiv(g.shape[0], TP)
    for tile in range(ct.bid(2) * STEPS, min(ct.bid(2) * STEPS + STEPS, last)):
        pixel = tile * TP + ct.arange(TP, dtype=ct.int32)
        n, i, j = pixel // (OH * OW), pixel // OW % OH, pixel % OW
        source = seen_from(n, i, j, cell // KW, cell % KW, H, W, ALONG_H, ALONG_W, GAP_H, GAP_W, SHIFT_H, SHIFT_W, 1, 1)
        seen = ct.gather(x, (source[:, None], c[None, :]), padding_value=0)
        grads = ct.load(g, (tile, ct.bid(1)), (TP, TK), padding_mode=ct.PaddingMode.ZERO)
        total = ct.mma(rounded(ct.transpose(seen), PRECISION), rounded(grads, PRECISION), total)
    ct.store(shares, (ct.bid(2), cell, block, ct.bid(1)), total.reshape((1, 1, TC, TK)))


def conv2d_forward(
    x, weight, bias=None, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1, relu=False, out=None,
    by_batch=False,
):  # fmt: skip
    """Form of `minidl.ops.convolution.conv2d_forward`; `by_batch`, the CPU's choice of algorithms, has no effect."""
    (N, _, *image), (K, _, *cells) = x.shape, weight.shape
    y_shape = (N, K, *output_size(image, cells, stride, padding, dilation))
    if not takes(x, weight, bias, out) or min(y_shape) < 1 or not takes_pixels(out):
        return NotImplemented
    y = backend.empty_channels_last(y_shape, x.dtype, like=x) if out is None else out
    x, (top, left) = backend.channels_last(x), (padding[0][0], padding[1][0])
    if bias is None and not relu and _is_pointwise(weight, stride, padding, groups):
        if product(rows(x), weight[:, :, 0, 0].T, rows(y)) is not NotImplemented:
            return y
    biases = [None] * groups if bias is None else split(bias, groups, 0)
    for x_g, w_g, b_g, y_g in zip(split(x, groups, 1), split(weight, groups, 0), biases, split(y, groups, 1)):
        _gather(x_g, w_g.transpose(2, 3, 1, 0), b_g, y_g, (*stride, *dilation, -top, -left, 1, 1), relu=relu)
    return y


def conv2d_input_grad(
    grad, weight, input_shape, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1, out=None,
    accumulate=False,
):  # fmt: skip
    """Form of `minidl.ops.convolution.conv2d_input_grad`."""
    if not takes(grad, weight, out) or min(input_shape) < 1 or not takes_pixels(out):
        return NotImplemented
    x = backend.empty_channels_last(input_shape, grad.dtype, like=grad) if out is None else out
    grad, (top, left) = backend.channels_last(grad), (padding[0][0], padding[1][0])
    if _is_pointwise(weight, stride, padding, groups):
        if product(rows(grad), weight[:, :, 0, 0], rows(x), accumulate) is not NotImplemented:
            return x
    adjoint = 1, 1, -dilation[0], -dilation[1], top, left, *stride
    for g_g, w_g, x_g in zip(split(grad, groups, 1), split(weight, groups, 0), split(x, groups, 1)):
        _gather(g_g, w_g.transpose(2, 3, 0, 1), None, x_g, adjoint, add=accumulate)
    return x


def conv2d_weight_grad(grad, x, weight_shape, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """Form of `minidl.ops.convolution.conv2d_weight_grad`."""
    if not takes(grad, x) or min(weight_shape) < 1:
        return NotImplemented
    grad, x = backend.channels_last(grad), backend.channels_last(x)
    geometry = *stride, *dilation, -padding[0][0], -padding[1][0]
    weight = backend.empty(weight_shape, x.dtype, like=x)
    if _is_pointwise(weight, stride, padding, groups):
        if product(rows(grad).T, rows(x), weight[:, :, 0, 0]) is not NotImplemented:
            return weight
    for g_g, x_g, w_g in zip(split(grad, groups, 1), split(x, groups, 1), split(weight, groups, 0)):
        w_g[...] = _weight_grad(g_g, x_g, w_g.shape, geometry).transpose(3, 2, 0, 1)
    return weight


def _is_pointwise(weight, stride, padding, groups):
    """Return whether a window is one pixel: then the convolution is a product of `rows` as they lie."""
    return (*weight.shape[2:], *stride, groups) == (1, 1, 1, 1, 1) and not any(map(sum, padding))


def _tiles(x):
    """The rounding of operands like `x`, and the sides of tiles."""
    precision = precision_of(x)
    return precision, (TILES_OF_DOUBLES if x.dtype.char == "d" else TILES[precision])


def _gather(x, weight, bias, y, geometry, relu=False, add=False):
    """Launch `gathered` on channels-last images, with `weight` as (kh, kw, channels in, channels out)."""
    (N, K, OH, OW), (kh, kw, C, _) = y.shape, weight.shape
    weight = array_module(x).ascontiguousarray(weight).reshape(kh * kw, C, K)
    precision, (TP, TC, TK) = _tiles(x)
    bias_or_any = weight[0, 0] if bias is None else bias
    arguments = rows(x), weight, bias_or_any, rows(y), *x.shape[2:], OH, OW, kw, *geometry
    gathered((cdiv(N * OH * OW, TP), cdiv(K, TK)), *arguments, TP, TC, TK, precision, bias is not None, relu, add)


def _weight_grad(grad, x, shape, geometry):
    """The gradient with respect to a weight, as (kh, kw, channels in, channels out)."""
    (K, C, kh, kw), (N, _, OH, OW) = shape, grad.shape
    precision, (TP, TC, TK) = _tiles(x)
    steps, parts = shares_of(N * OH * OW, TP, max(1, min(SHARES, MOST_IN_SHARES // (kh * kw * C * K))))
    shares = backend.empty((parts, kh * kw, C, K), x.dtype, like=x)
    grid = kh * kw * cdiv(C, TC), cdiv(K, TK), parts
    sizes = *x.shape[2:], OH, OW, kw
    weight_shares(grid, rows(x), rows(grad), shares, *sizes, *geometry, steps, TP, TC, TK, precision)
    return sum_of_rows(shares.reshape(parts, -1)).reshape(kh, kw, C, K)
