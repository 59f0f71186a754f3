"""Every kernel of the table on arrays that end, or begin, at a page that no one may touch: run by test_bounds.py.

A read or write outside such an array on the page's side ends the process; on the other side lie bytes that are NaN
when read and are compared when all is done. The kernel that runs is printed before it does.
"""

import ctypes
import dataclasses
import mmap
import sys

import kernel_forms as forms
import numpy as np

import minidl
from minidl import backend, nn, philox
from minidl.kernels.cpu.activations import Gelu
from minidl.kernels.cpu.convolution import algorithms
from minidl.kernels.table import CPU
from minidl.nn.branches import ConvNormReLU
from minidl.ops import average_pooling, convolution, dropout, elementwise, matmul, max_pooling, reduction
from minidl.optim import adam, rmsprop, sgd, updates

PAGE = mmap.PAGESIZE
mprotect = ctypes.CDLL(None, use_errno=True).mprotect
mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
rng = np.random.default_rng(0)


class Guarded:
    """Makes arrays that lie at a protected page: before it (`side` "end") or after it ("begin")."""

    def __init__(self, side):
        self.side, self.made = side, []

    def empty(self, shape, dtype):
        """Memory like that of ``numpy.empty``."""
        shape, dtype = (shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        pages = max(1, -(-size // PAGE))
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        everything = np.frombuffer(memory, np.uint8)
        everything[...] = 255
        for page in (0, pages + 1):
            assert mprotect(everything.ctypes.data + page * PAGE, PAGE, 0) == 0, ctypes.get_errno()
        inner = everything[PAGE : (pages + 1) * PAGE]
        first = len(inner) - size if self.side == "end" else 0
        mine, rest = inner[first : first + size], inner[:first] if first else inner[size:]
        self.made.append(rest)
        return mine.view(dtype).reshape(shape)

    def __call__(self, array):
        """A copy of `array` in the same memory order."""
        if not isinstance(array, np.ndarray):
            return array
        order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
        copy = self.empty([array.shape[axis] for axis in order], array.dtype).transpose(np.argsort(order))
        copy[...] = array
        return copy

    def check(self):
        """Nothing was written next to any array."""
        assert all((rest == 255).all() for rest in self.made), "written outside"
        self.made.clear()


def numbers(*shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def images(*shape, dtype):
    N, C, H, W = shape
    return numbers(N, H, W, C, dtype=dtype).transpose(0, 3, 1, 2)


def convolutions(dtype):
    """(operation, call, arrays) of the three convolutions, in shapes that leave remainders everywhere."""
    shapes = [  # images, channels, outputs, height and width, window, stride, padding, dilation, groups
        (2, 3, 5, 7, 9, 3, 1, 1, 1, 1),
        (1, 17, 49, 5, 6, 1, 1, 0, 1, 1),
        (3, 5, 97, 3, 11, 5, 1, 2, 1, 1),
        (1, 7, 3, 11, 13, 9, 1, 4, 1, 1),
        (2, 6, 10, 9, 8, 3, 2, 1, 2, 2),
        (2, 17, 17, 7, 7, 3, 1, 1, 1, 17),
        (1, 33, 33, 10, 9, 5, 2, 2, 1, 33),
        (1, 16, 150, 4, 4, 3, 1, 1, 1, 1),
    ]
    for N, C, K, H, W, k, s, p, d, groups in shapes:
        options = dict(stride=(s, s), padding=((p, p), (p, p)), dilation=(d, d), groups=groups)
        x, bias = images(N, C, H, W, dtype=dtype), numbers(K, dtype=dtype)
        weight = numbers(K, C // groups, k, k, dtype=dtype)
        y = convolution.conv2d_forward(x, weight, None, **options)
        grad = images(*y.shape, dtype=dtype)
        forward = lambda x, w, b, o=options: convolution.conv2d_forward(x, w, b, relu=True, **o)  # noqa: E731
        to_x = lambda g, w, s=x.shape, o=options: convolution.conv2d_input_grad(g, w, s, **o)  # noqa: E731
        to_w = lambda g, x, s=weight.shape, o=options: convolution.conv2d_weight_grad(g, x, s, **o)  # noqa: E731
        yield "ops.convolution.conv2d_forward", forward, (x, weight, bias)
        yield "ops.convolution.conv2d_input_grad", to_x, (grad, weight)
        yield "ops.convolution.conv2d_weight_grad", to_w, (grad, x)
        if groups == 1:  # every second image, and channels of a wider array
            wide = images(2 * N, C + 3, H, W, dtype=dtype)
            some = slice(None, None, 2), slice(2, C + 2)
            sliced = lambda x, w, b, f=forward, some=some: f(x[some], w, b)  # noqa: E731
            yield "ops.convolution.conv2d_forward", sliced, (wide, weight, bias)
            yield "ops.convolution.conv2d_weight_grad", lambda g, x, f=to_w, some=some: f(g, x[some]), (grad, wide)


def pools(dtype):
    x = images(3, 5, 7, 9, dtype=dtype)
    for window in [
        ((3, 3), (2, 2), (1, 1)), ((2, 9), (1, 1), (1, 4)), ((3, 3), (1, 1), (1, 1)), ((7, 3), (7, 3), (0, 0)),
    ]:
        y, where = max_pooling.max_pool2d_forward(x, *window)
        grad = images(*y.shape, dtype=dtype)
        yield "ops.max_pooling.max_pool2d_forward", lambda x, w=window: max_pooling.max_pool2d_forward(x, *w), (x,)
        yield "ops.max_pooling.max_pool2d_values", lambda x, w=window: max_pooling.max_pool2d_values(x, *w), (x,)
        scatter = lambda g, i, w=window: max_pooling.max_pool2d_scatter(g, i, x.shape, *w)  # noqa: E731
        yield "ops.max_pooling.max_pool2d_scatter", scatter, (grad, where)
        spread = lambda g, w=window: average_pooling.avg_pool2d_adjoint(g, x.shape, *w)  # noqa: E731
        average = lambda x, w=window: average_pooling.avg_pool2d_forward(x, *w)  # noqa: E731
        yield "ops.average_pooling.avg_pool2d_forward", average, (x,)
        yield "ops.average_pooling.avg_pool2d_adjoint", spread, (grad,)
    small = images(3, 5, 3, 2, dtype=dtype)
    spread = lambda g: average_pooling.adaptive_avg_pool2d_adjoint(g, x.shape)  # noqa: E731
    adaptive = lambda x: average_pooling.adaptive_avg_pool2d_forward(x, (3, 2))  # noqa: E731
    yield "ops.average_pooling.adaptive_avg_pool2d_forward", adaptive, (x,)
    yield "ops.average_pooling.adaptive_avg_pool2d_adjoint", spread, (small,)


def normalisations(dtype):
    x, grad = images(3, 7, 5, 9, dtype=dtype), images(3, 7, 5, 9, dtype=dtype)
    w, b, mean = (numbers(7, dtype=dtype) for _ in range(3))
    one = dtype(1)
    train = lambda x, w, b: forms.batch_norm_train(x, w, b, 1e-5, True)  # noqa: E731
    yield "ops.normalisation.BatchNorm", train, (x, w, b)
    back = lambda *arrays: forms.batch_norm_train_grad(*arrays, True)  # noqa: E731
    yield "ops.normalisation.BatchNorm", back, (grad, x, w, b, mean, w * w + one)
    evaluated = lambda x, w, b, m, v: forms.batch_norm_eval(x, w, b, m, v, 1e-5, True)  # noqa: E731
    yield "ops.normalisation.BatchNormEval", evaluated, (x, w, b, mean, w * w)
    rows, scale, shift = numbers(11, 13, dtype=dtype), numbers(13, dtype=dtype), numbers(13, dtype=dtype)
    yield "ops.normalisation.LayerNorm", lambda x, w, b: forms.layer_norm(x, 13, w, b, 1e-5), (rows, scale, shift)
    kept = numbers(11, dtype=dtype), numbers(11, dtype=dtype)
    back = lambda g, x, w, b, m, i: forms.layer_norm_grad(g, x, 13, w, b, m, i)  # noqa: E731
    yield "ops.normalisation.LayerNorm", back, (rows[::-1].copy(), rows, scale, shift, *kept)
    yield "ops.normalisation.LocalResponseNorm", lambda x: forms.local_response_norm(x, 5, 1e-4, 0.75, 2.0), (x,)
    back = lambda g, x: forms.local_response_norm_grad(g, x, 5, 1e-4, 0.75, 2.0)  # noqa: E731
    yield "ops.normalisation.LocalResponseNorm", back, (grad, x)


def others(dtype):
    for M, N, K in [(26, 51, 17), (3, 64, 9), (70, 7, 130), (5, 1, 33), (1, 1, 1), (33, 200, 600)]:
        a, b, bias = numbers(M, K, dtype=dtype), numbers(K, N, dtype=dtype), numbers(N, dtype=dtype)
        for one, other in [(a, b), (a, b.T.copy().T), (a.T.copy().T, b), (a.T.copy().T, b.T.copy().T)]:
            yield "ops.matmul.matmul_forward", lambda a, b: matmul.matmul_forward(a, b), (one, other)
        line = lambda x, w, b: matmul.linear_forward(x, w, b)  # noqa: E731
        yield "ops.matmul.linear_forward", line, (a, b.T.copy(), bias)
        yield "ops.reduction.sum_forward", lambda x: reduction.sum_forward(x, (0,), False), (a,)
    x = images(3, 7, 5, 9, dtype=dtype)
    yield "ops.reduction.sum_forward", lambda x: reduction.sum_forward(x, (0, 2, 3), True), (x,)
    part = lambda x: reduction.sum_forward(x[:, 2:6], (0, 2, 3), False)  # noqa: E731
    yield "ops.reduction.sum_forward", part, (x,)
    x, g = numbers(133, 333, dtype=dtype), numbers(133, 333, dtype=dtype)  # as many as the kernels take
    yield "ops.elementwise.relu_forward", lambda x: elementwise.relu_forward(x), (x,)
    yield "ops.elementwise.relu_grad", lambda g, y: elementwise.relu_grad(g, y), (g, x)
    if dtype is np.float32:
        yield "ops.activations.Gelu", lambda x: Gelu.forward(x)[0], (x,)
        yield "ops.activations.Gelu", lambda g, x: Gelu.backward([g], forms.saved([x])), (g, x)
    yield "ops.dropout.dropout_forward", lambda x: dropout.dropout_forward(x, 0.5, 1, 2, 3), (x,)
    yield "philox.fill_uint32", lambda out: philox.fill_uint32(out, 1, 2, 3), (np.zeros(1003, np.uint32),)
    x = numbers(7, 333, dtype=dtype)
    target, weight = rng.integers(0, 333, 7), np.abs(numbers(333, dtype=dtype))
    loss = lambda x, t, w: forms.cross_entropy(x, t, w, -100, 0.1, "mean")  # noqa: E731
    back = lambda g, x, t, w, n, s: forms.cross_entropy_grad(g, x, t, w, n, s, -100, 0.1, "mean")  # noqa: E731
    _, normaliser, total = loss(x, target, weight)
    yield "ops.losses.CrossEntropy", loss, (x, target, weight)
    yield "ops.losses.CrossEntropy", back, (np.ones((), dtype), x, target, weight, normaliser, total)
    p = [np.abs(numbers(1001, dtype=dtype)) for _ in range(5)]
    yield "optim.sgd.sgd_update", _in_place(sgd.sgd_update, 0.1, 0.9, 0.0, 0.01, True, False, False), p[:3]
    yield "optim.adam.adam_update", _in_place(adam.adam_update, 2, 0.1, 0.9, 0.99, 1e-8, 0.01, False, False), p
    yield "optim.rmsprop.rmsprop_update", _in_place(rmsprop.rmsprop_update, 0.1, 0.9, 1e-8, 0.01, 0.9, False), p
    yield "optim.updates.lerp", _in_place(updates.lerp, 0.3), p[:2]


def _in_place(update, *settings):
    def run(*arrays):
        assert update.find(arrays[0]) is not None
        update(*arrays, *settings)
        return arrays

    return run


def blocks(dtype):
    def norm_of(inputs, outputs, size):
        return ConvNormReLU(inputs, outputs, size, padding=size // 2)

    minidl.manual_seed(0)
    block = nn.Branches()
    block.short, block.long = norm_of(5, 3, 1), nn.Sequential(norm_of(5, 4, 1), norm_of(4, 7, 3))
    block.to(np.dtype(dtype).name)

    def run(x):
        x = minidl.Tensor(x, requires_grad=True)
        y = block(x)
        y.sum().backward()
        return y.data, x.grad.data

    yield "nn.branches.Branches.join", run, (images(3, 5, 7, 9, dtype=dtype),)


def arrays_in(result):
    if isinstance(result, np.ndarray):
        return [result]
    return [array for part in result for array in arrays_in(part)] if isinstance(result, (list, tuple)) else []


def main(side):
    guarded, kind, seen = Guarded(side), backend._kinds[np.ndarray], set()
    for dtype in (np.float32, np.float64):
        for winograd in (True, False):
            for family in (convolutions, pools, normalisations, others, blocks) if winograd else (convolutions,):
                with algorithms.override(winograd_f4_3=winograd, winograd_f2_5=winograd):
                    for i, (name, call, arrays) in enumerate(family(dtype)):
                        print(name, i, np.dtype(dtype).name, "winograd" if winograd else "", flush=True)
                        expected = arrays_in(call(*[a.copy("K") for a in arrays]))
                        backend._kinds[np.ndarray] = dataclasses.replace(kind, empty=guarded.empty)
                        try:
                            found = arrays_in(call(*map(guarded, arrays)))
                        finally:
                            backend._kinds[np.ndarray] = kind
                        assert expected and len(found) == len(expected)
                        for one, other in zip(found, expected):
                            np.testing.assert_array_equal(one, other)
                        guarded.check()
                        seen.add(name)
    kernels = set(CPU) - {"captured.Replays"}  # which calls the others again, on the arrays that they were called with
    assert seen == kernels, kernels - seen


if __name__ == "__main__":
    main(sys.argv[1])
