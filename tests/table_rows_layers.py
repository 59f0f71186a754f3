"""The drawn table: convolution and pooling; references are loops over the definitions."""

import itertools

import numpy as np
from table_draws import ROWS, Trial, row

import minidl as op

__all__ = ["ROWS"]

# ---------------------------------------------------------------- convolution


def windows(x, kernel, stride, padding, dilation):
    """``(i, j, window)`` for every output pixel: `x` (N, C, H, W) framed by zeros, window (N, C, kh, kw)."""
    x = np.pad(x, [(0, 0), (0, 0), *padding])
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    for i, top in enumerate(range(0, x.shape[2] - reach[0] + 1, stride[0])):
        for j, left in enumerate(range(0, x.shape[3] - reach[1] + 1, stride[1])):
            yield i, j, x[:, :, top : top + reach[0] : dilation[0], left : left + reach[1] : dilation[1]]


def convolve(x, w, b, stride, padding, dilation, groups):
    """The definition: one weighted sum per output pixel and channel."""
    K, each = w.shape[0], w.shape[0] // groups
    cells = list(windows(x, w.shape[2:], stride, padding, dilation))
    y = np.zeros((x.shape[0], K, cells[-1][0] + 1, cells[-1][1] + 1))
    for (i, j, window), k in itertools.product(cells, range(K)):
        g = k // each
        y[:, k, i, j] = (window[:, g * w.shape[1] : (g + 1) * w.shape[1]] * w[k]).sum((1, 2, 3))
    return y if b is None else y + b[:, None, None]


def geometry(d, most=3):
    """Kernel, stride, padding and dilation, each a pair."""
    kernel, stride = d.pair(1, most), d.pair(1, 2)
    return kernel, stride, d.pair(0, 2), d.one_of((1, 1), (2, 1), (1, 2))


def image_size(d, kernel, padding, dilation):
    """Height and width that the window fits into."""
    return [max(d.integer(1, 4), e * (k - 1) + 1 - 2 * p) for k, p, e in zip(kernel, padding, dilation)]


@row("conv2d")
def conv2d(d):
    kernel, stride, padding, dilation = geometry(d)
    groups = d.one_of(1, 2)
    N, C, K = d.one_of(1, 2, 0), groups * d.integer(1, 2), groups * d.integer(1, 2)
    frame, given = [(p, p) for p in padding], padding
    size = image_size(d, kernel, padding, dilation)
    if d.one_of(False, False, True):
        stride, given, size = (1, 1), "same", [d.integer(2, 4), d.integer(2, 4)]
        frame = [(e * (k - 1) // 2, e * (k - 1) - e * (k - 1) // 2) for k, e in zip(kernel, dilation)]
    inputs = [d.normal((N, C, *size)), d.normal((K, C // groups, *kernel))] + ([d.normal(K)] if d.flag() else [])
    return Trial(
        lambda x, w, b=None: op.conv2d(x, w, b, stride, given, dilation, groups),
        inputs,
        lambda x, w, b=None: convolve(x, w, b, stride, frame, dilation, groups),
    )


def scatter(columns, shape, kernel, stride, padding, dilation):
    """Every entry (n, c, u, v, i, j) of `columns` added to its pixel of an image of `shape`."""
    N, C, H, W = shape
    y = np.zeros((N, C, H + 2 * padding[0], W + 2 * padding[1]))
    for u, v, i, j in np.ndindex(columns.shape[2:]):
        y[:, :, i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]] += columns[:, :, u, v, i, j]
    return y[:, :, padding[0] : padding[0] + H, padding[1] : padding[1] + W]


@row("conv_transpose2d")
def conv_transpose2d(d):
    kernel, stride, padding, dilation = geometry(d, 2)
    groups = d.one_of(1, 2)
    N, C, each = d.integer(1, 2), groups * d.integer(1, 2), d.integer(1, 2)
    extra = [d.integer(0, max(s, e) - 1) for s, e in zip(stride, dilation)]
    size = d.pair(1, 3)
    spans = list(zip(size, stride, padding, dilation, kernel, extra))
    padding = [p if (n - 1) * s - 2 * p + e * (k - 1) + x + 1 > 0 else 0 for n, s, p, e, k, x in spans]
    shape = [(n - 1) * s - 2 * p + e * (k - 1) + x + 1 for (n, s, _, e, k, x), p in zip(spans, padding)]
    options = dict(stride=stride, padding=tuple(padding), output_padding=tuple(extra), groups=groups, dilation=dilation)

    def reference(x, w, b=None):
        part = C // groups
        columns = np.concatenate(
            [
                np.einsum("ncij,ckuv->nkuvij", x[:, g * part : (g + 1) * part], w[g * part : (g + 1) * part])
                for g in range(groups)
            ],
            1,
        )
        y = scatter(columns, (N, each * groups, *shape), kernel, stride, padding, dilation)
        return y if b is None else y + b[:, None, None]

    inputs = [d.normal((N, C, *size)), d.normal((C, each, *kernel))] + ([d.normal(each * groups)] if d.flag() else [])
    return Trial(lambda *a: op.conv_transpose2d(*a, **options), inputs, reference)


@row("unfold", "im2col")
def unfold(d, name):
    kernel, stride, padding, dilation = geometry(d)
    N, C = d.integer(1, 2), d.integer(1, 2)
    shape = (N, C, *image_size(d, kernel, padding, dilation))

    def reference(x):
        cells = np.stack([w for _, _, w in windows(x, kernel, stride, [(p, p) for p in padding], dilation)], -1)
        return (
            cells.reshape(N, -1, cells.shape[-1])
            if name == "unfold"
            else cells.transpose(0, 4, 2, 3, 1).reshape(N * cells.shape[-1], -1)
        )

    calls = {
        "unfold": lambda x: getattr(op, name)(x, kernel, dilation, padding, stride),
        "im2col": lambda x: getattr(op, name)(x, kernel, stride, padding, dilation),
    }
    return Trial(calls[name], [d.normal(shape)], reference)


@row("fold", "col2im")
def fold(d, name):
    kernel, stride, padding, dilation = geometry(d)
    N, C = d.integer(1, 2), d.integer(1, 2)
    H, W = image_size(d, kernel, padding, dilation)
    sizes = zip((H, W), kernel, stride, padding, dilation)
    OH, OW = [(n + 2 * p - e * (k - 1) - 1) // s + 1 for n, k, s, p, e in sizes]
    columns = d.normal((N, C, *kernel, OH, OW))

    def reference(x):
        if name == "fold":
            x = x.reshape(columns.shape)
        else:
            x = x.reshape(N, OH, OW, *kernel, C).transpose(0, 5, 3, 4, 1, 2)
        return scatter(x, (N, C, H, W), kernel, stride, padding, dilation)

    if name == "fold":
        return Trial(
            lambda x: getattr(op, name)(x, (H, W), kernel, dilation, padding, stride),
            [columns.reshape(N, -1, OH * OW)],
            reference,
        )
    flat = columns.transpose(0, 4, 5, 2, 3, 1).reshape(N * OH * OW, -1)
    return Trial(lambda x: getattr(op, name)(x, (N, C, H, W), kernel, stride, padding, dilation), [flat], reference)


# ---------------------------------------------------------------- pooling


def pool_geometry(d):
    """An image's shape, and kernel, stride and padding that PyTorch would take."""
    kernel, stride = d.pair(1, 3), d.pair(1, 3)
    padding = tuple(d.integer(0, k // 2) for k in kernel)
    size = [max(d.integer(2, 5), k) for k in kernel]
    return (d.integer(1, 2), d.integer(1, 2), *size), kernel, stride, padding


def pool_starts(n, k, s, p, dilation, ceil_mode):
    """The starts of windows on one axis, counted from the first pixel."""
    reach = dilation * (k - 1) + 1
    starts = list(range(-p, n + p - reach + 1, s))
    hangs = ceil_mode and starts[-1] + reach < n + p and starts[-1] + s < n
    return starts + [starts[-1] + s] if hangs else starts


def pool(x, geometry, value):
    """``value(numbers inside (N, C, count), rows, columns)`` for every window; rows and columns may lie outside."""
    kernel, stride, padding, dilation, ceil_mode = geometry
    axes = [pool_starts(*a, ceil_mode) for a in zip(x.shape[2:], kernel, stride, padding, dilation)]
    y = np.zeros((*x.shape[:2], *map(len, axes)))
    for (i, top), (j, left) in itertools.product(*map(enumerate, axes)):
        rows = [top + u * dilation[0] for u in range(kernel[0])]
        columns = [left + v * dilation[1] for v in range(kernel[1])]
        cells = [x[:, :, r, c] for r in rows for c in columns if 0 <= r < x.shape[2] and 0 <= c < x.shape[3]]
        y[:, :, i, j] = value(np.stack(cells, -1), rows, columns)
    return y


@row("max_pool2d")
def max_pool2d(d):
    shape, kernel, stride, padding = pool_geometry(d)
    dilation, ceil_mode = d.one_of((1, 1), (1, 2)), d.flag()
    reach = dilation[1] * (kernel[1] - 1) + 1
    shape = (*shape[:3], max(shape[3], reach))
    places = kernel, stride, padding, dilation, ceil_mode
    return Trial(
        lambda x: op.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode),
        d.apart(shape),
        lambda x: pool(x, places, lambda cells, r, c: cells.max(-1)),
    )


@row("avg_pool2d")
def avg_pool2d(d):
    shape, kernel, stride, padding = pool_geometry(d)
    ceil_mode, include, divisor = d.flag(), d.flag(), d.one_of(None, 3, -2)
    H, W = shape[2:]

    def mean(cells, rows, columns):
        framed = [(r, c) for r in rows for c in columns if r < H + padding[0] and c < W + padding[1]]
        return cells.sum(-1) / (divisor or (len(framed) if include else cells.shape[-1]))

    places = kernel, stride, padding, (1, 1), ceil_mode
    return Trial(
        lambda x: op.avg_pool2d(x, kernel, stride, padding, ceil_mode, include, divisor),
        [d.normal(shape)],
        lambda x: pool(x, places, mean),
    )


@row("adaptive_avg_pool2d", "adaptive_max_pool2d", "global_avg_pool2d")
def adaptive(d, name):
    N, C, H, W = shape = (d.integer(1, 2), d.integer(1, 2), d.integer(1, 5), d.integer(1, 5))
    OH, OW = d.pair(1, 6) if name.startswith("adaptive") else (1, 1)

    def reference(x):
        y = np.zeros((N, C, OH, OW))
        for i, j in np.ndindex(OH, OW):
            rows = slice(int(np.floor(i * H / OH)), int(np.ceil((i + 1) * H / OH)))
            columns = slice(int(np.floor(j * W / OW)), int(np.ceil((j + 1) * W / OW)))
            y[:, :, i, j] = fold(x[:, :, rows, columns], (2, 3))
        return y

    fold, inputs = (np.max, d.apart(shape)) if "max" in name else (np.mean, [d.normal(shape)])
    call = (lambda x: getattr(op, name)(x, (OH, OW))) if name.startswith("adaptive") else getattr(op, name)
    return Trial(call, inputs, reference)
