"""The kernels beside convolution: fast forms against plain ones, fused ones against an independent reference."""

import kernel_forms as forms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import backend, dispatch, philox
from minidl.kernels.cpu import activations as fast_activations
from minidl.kernels.cpu import random as fast_random
from minidl.kernels.cpu.blocks.training import slices
from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.normalisation import channels as normalisation
from minidl.kernels.cpu.normalisation.moments import statistics
from minidl.kernels.cpu.normalisation.rows import LayerNorm, LocalResponseNorm
from minidl.kernels.cpu.pooling import maximum
from minidl.ops import average_pooling, dropout, elementwise, max_pooling
from minidl.ops.activations import Gelu
from minidl.ops.windows import pooled_size
from minidl.optim import adam, rmsprop, sgd, updates
from minidl.tensor import Tensor

TOLERANCE = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12}
few = settings(max_examples=40, deadline=None)
dtypes = st.sampled_from([np.float32, np.float64])


def images(shape, dtype, seed, channels_around=(0, 0)):
    """Random image with channels-last bytes; a slice of a wider one with `channels_around` it."""
    N, C, H, W = shape
    before, after = channels_around
    wide = np.random.default_rng(seed).standard_normal((N, H, W, before + C + after)).astype(dtype)
    return wide.transpose(0, 3, 1, 2)[:, before : before + C]


def frozen(array):
    array.flags.writeable = False
    return array


def close(actual, expected, scale=1.0):
    expected = np.asarray(expected)
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    tolerance = TOLERANCE[actual.dtype] * scale if actual.dtype.kind == "f" else 0
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@st.composite
def windows(draw):
    """A shape and a window that fits it: (shape, kernel_size, stride, padding, dilation)."""
    N, C = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 7, 16, 33]))
    image, axes = [], []
    for _ in range(2):
        kernel, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
        reach = dilation * (kernel - 1) + 1
        padding = draw(st.integers(0, reach // 2))
        image.append(draw(st.integers(max(1, reach - 2 * padding), 9)))
        axes.append((kernel, stride, padding, dilation))
    return (N, C, *image), *zip(*axes)


@st.composite
def tiles(draw):
    """A shape and a window of which copies, side by side, cover it: (shape, kernel_size, stride, padding, dilation)."""
    kernel = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    shape = (
        draw(st.integers(1, 3)), draw(st.sampled_from([8, 16, 19, 33])), *[k * draw(st.integers(1, 3)) for k in kernel],
    )
    return shape, kernel, kernel, (0, 0), (1, 1)


@few
@given(windows() | tiles(), dtypes, st.booleans(), st.booleans(), st.integers(0, 99))
def test_max_pool(window, dtype, ceil_mode, special, seed):
    shape, *window = window
    x = images(shape, dtype, seed, (seed % 3, seed % 2)).round(1)
    if special:
        x.flat[:: 7 + seed % 5] = np.nan
        x.flat[3::5] = -np.inf
    y, argmax = max_pooling.max_pool2d_forward(frozen(x), *window, ceil_mode=ceil_mode)
    expected, where = max_pooling.max_pool2d_forward.plain(x, *window, ceil_mode=ceil_mode)
    close(y, expected)
    assert np.array_equal(argmax, where) and argmax.dtype == np.uint8

    grad = images(y.shape, dtype, seed + 1, (0, seed % 3))
    dx = max_pooling.max_pool2d_scatter(frozen(grad), argmax, shape, *window)
    close(dx, max_pooling.max_pool2d_scatter.plain(grad, argmax, shape, *window))
    into = images(shape, dtype, seed + 2, (1, 1))
    before = into.copy()
    max_pooling.max_pool2d_scatter(grad, argmax, shape, *window, out=into, accumulate=True)
    close(into, before + dx)
    finite = np.nan_to_num(x, neginf=0.0)
    gathered = max_pooling.max_pool2d_gather(finite, argmax, *window)
    assert np.isclose((gathered * grad).sum(), (finite * dx).sum(), rtol=1e-3, atol=1e-3)


@few
@given(windows() | tiles(), dtypes, st.booleans(), st.integers(0, 99))
def test_max_pool_is_pytorchs(window, dtype, ceil_mode, seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    shape, *window = window
    x = images(shape, dtype, seed).round(1)
    try:
        y, flat = torch.nn.functional.max_pool2d(torch.tensor(x), *window, ceil_mode, return_indices=True)
    except RuntimeError:
        return
    actual, argmax = max_pooling.max_pool2d_forward(x, *window, ceil_mode=ceil_mode)
    assert np.array_equal(actual, y.numpy())
    assert np.array_equal(max_pooling.max_pool2d_values(x, *window, ceil_mode=ceil_mode), actual)
    kernel, stride, padding, dilation = window
    row = np.arange(y.shape[2])[:, None] * stride[0] - padding[0] + argmax // kernel[1] * dilation[0]
    column = np.arange(y.shape[3]) * stride[1] - padding[1] + argmax % kernel[1] * dilation[1]
    assert np.array_equal(row * shape[3] + column, flat.numpy())  # of windows that see no pixel, too


def test_pooling_refuses_a_read_only_output():
    x, out = images((1, 2, 4, 4), np.float32, 0), images((1, 2, 2, 2), np.float32, 1)
    before = frozen(out).copy()
    for kernel in (max_pooling.max_pool2d_forward, average_pooling.avg_pool2d_forward):
        with pytest.raises(ValueError, match="read-only"):
            kernel(x, (2, 2), (2, 2), (0, 0), out=out)
    assert np.array_equal(out, before)


def test_max_pool_of_a_large_window_numbers_its_cells_with_two_bytes():
    x = images((1, 2, 20, 20), np.float32, 0)
    y, argmax = max_pooling.max_pool2d_forward(x, (17, 17), (2, 2), (0, 0))
    assert argmax.dtype == np.uint16
    assert np.array_equal(argmax, max_pooling.max_pool2d_forward.plain(x, (17, 17), (2, 2), (0, 0))[1])
    grad = images(y.shape, np.float32, 1)
    args = grad, argmax, x.shape, (17, 17), (2, 2), (0, 0)
    close(max_pooling.max_pool2d_scatter(*args), max_pooling.max_pool2d_scatter.plain(*args))


@few
@given(windows(), dtypes, st.booleans(), st.booleans(), st.sampled_from([None, 3, -2]), st.integers(0, 99))
def test_average_pool(window, dtype, ceil_mode, include, divisor, seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    shape, kernel, stride, padding, _ = window
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel))
    x = images(shape, dtype, seed, (seed % 3, seed % 2))
    options = dict(ceil_mode=ceil_mode, count_include_pad=include, divisor_override=divisor)
    y = average_pooling.avg_pool2d_forward(frozen(x), kernel, stride, padding, **options)
    close(y, average_pooling.avg_pool2d_forward.plain(x, kernel, stride, padding, **options))
    close(y, torch.nn.functional.avg_pool2d(torch.tensor(x), kernel, stride, padding, **options))
    grad = frozen(images(y.shape, dtype, seed + 1, (1, 0)))
    args = grad, shape, kernel, stride, padding, include, divisor
    dx = average_pooling.avg_pool2d_adjoint(*args, out=images(shape, dtype, seed, (2, 1)))
    close(dx, average_pooling.avg_pool2d_adjoint.plain(*args))
    assert np.isclose((y * grad).sum(), (x * dx).sum(), rtol=1e-3, atol=1e-3)


@few
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), dtypes)
def test_adaptive_average_pool(H, W, OH, OW, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = images((2, 5, H, W), dtype, 0, (1, 2))
    y = average_pooling.adaptive_avg_pool2d_forward(frozen(x), (OH, OW))
    close(y, average_pooling.adaptive_avg_pool2d_forward.plain(x, (OH, OW)))
    close(y, torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x), (OH, OW)))
    grad = images(y.shape, dtype, 1)
    dx = average_pooling.adaptive_avg_pool2d_adjoint(grad, x.shape)
    close(dx, average_pooling.adaptive_avg_pool2d_adjoint.plain(grad, x.shape))


def test_pooled_size_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="`padding` is 2"):
        pooled_size(5, 3, 1, 2)
    with pytest.raises(ValueError, match="does not fit"):
        pooled_size(2, 3, 1, 0)
    with pytest.raises(ValueError, match="accepted: numbers >= 1"):
        pooled_size(2, 1, 0, 0)


def batch_norm_reference(x, weight, bias, eps):
    """Normalised values and statistics in float64."""
    x = x.astype(np.float64)
    mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    normal = (x - mean[:, None, None]) / np.sqrt(var + eps)[:, None, None]
    return normal * weight[:, None, None] + bias[:, None, None], normal, mean, var


activations = st.tuples(st.integers(1, 4), st.sampled_from([1, 3, 16, 33, 70]), st.integers(1, 9), st.integers(2, 9))


@few
@given(activations, dtypes, st.booleans(), st.sampled_from([0.0, 100.0]), st.integers(0, 99))
def test_batch_norm_and_its_gradient(shape, dtype, affine, offset, seed):
    x = images(shape, dtype, seed, (seed % 3, seed % 2)) + dtype(offset)
    x = images_like(x, shape, (seed % 3, 1))
    N, C, H, W = shape
    scale, shift = (np.linspace(0.5, 2.0, C), np.linspace(-1, 1, C)) if affine else (np.ones(C), np.zeros(C))
    weight, bias = (scale.astype(dtype), shift.astype(dtype)) if affine else (None, None)
    y, mean, invstd, var = forms.batch_norm_train(
        frozen(x), weight, bias, 1e-3, False, out=images(shape, dtype, seed, (1, 2))
    )
    expected, normal, true_mean, true_var = batch_norm_reference(x, scale, shift, 1e-3)
    precision = 1 + offset
    close(y, expected.astype(dtype), scale=10 * precision)
    close(mean, true_mean.astype(dtype), scale=precision)
    close(var, true_var.astype(dtype), scale=precision)
    for actual, value in zip(statistics([backend.channels_last(x)]), (true_mean, true_var)):
        close(actual.astype(dtype), value.astype(dtype), scale=precision)

    clipped = forms.batch_norm_train(x, weight, bias, 1e-3, True)[0]
    assert np.array_equal(clipped, np.maximum(y, 0))
    grad = frozen(images(shape, dtype, seed + 1, (0, seed % 4)))
    args = grad, x, weight, bias, mean, invstd
    dx, dweight, dbias = forms.batch_norm_train_grad(*args, False, out=images(shape, dtype, 0, (3, 0)))
    g = grad.astype(np.float64)
    total, dot = g.sum(axis=(0, 2, 3)), (g * normal).sum(axis=(0, 2, 3))
    inner = g - ((total[:, None, None] + normal * dot[:, None, None]) / (N * H * W))
    slope = (scale / np.sqrt(true_var + 1e-3))[:, None, None]
    close(dx, (inner * slope).astype(dtype), scale=40 * precision)
    assert (dweight is None) == (weight is None)
    if affine:
        close(dweight, dot.astype(dtype), scale=20 * precision)
        close(dbias, total.astype(dtype), scale=20)
    through = forms.batch_norm_train_grad(*args, True)
    masked = forms.batch_norm_train_grad(channels(grad * (clipped > 0)), *args[1:], False)
    assert all(a is b is None or np.array_equal(a, b) for a, b in zip(through, masked))


@few
@given(st.lists(st.sampled_from([1, 3, 16, 33, 64]), min_size=1, max_size=4), dtypes, st.booleans(), st.integers(0, 99))
def test_batch_norms_of_several_parts_equal_those_of_each(widths, dtype, sliced, seed):
    N, H, W = 3, 4 + seed % 3, 5
    shapes = [(N, C, H, W) for C in widths]

    def parts(seed):
        joint = images((N, sum(widths), H, W), dtype, seed, (seed % 2, 1))
        return slices(joint, widths) if sliced else [images(shape, dtype, seed + i) for i, shape in enumerate(shapes)]

    xs, grads = parts(seed), parts(seed + 1)
    weights, biases = ([np.linspace(*ends, C).astype(dtype) for C in widths] for ends in ((0.5, 2), (-1, 1)))
    eps = [1e-3 * (i + 1) for i in range(len(xs))]
    outs = [None if i % 2 else out for i, out in enumerate(parts(seed + 2))]
    together = normalisation.batch_norms_train(xs, weights, biases, eps, True, outs)
    ys, means, invstds, _ = map(list, zip(*together))
    again = normalisation.batch_norms_again(xs, weights, biases, means, invstds, True, [None] * len(xs))
    assert all(np.array_equal(a, b) for a, b in zip(ys, again))
    assert all(y is out for y, out in zip(ys, outs) if out is not None)
    backward = normalisation.batch_norms_train_grad(grads, xs, weights, biases, means, invstds, True, parts(seed + 3))
    for i, (forward, gradients) in enumerate(zip(together, backward)):
        single = forms.batch_norm_train(xs[i], weights[i], biases[i], eps[i], True)
        for actual, expected in zip(forward, single):
            close(actual, expected, scale=10)
        given = grads[i], xs[i], weights[i], biases[i], means[i], invstds[i]
        for actual, expected in zip(gradients, forms.batch_norm_train_grad(*given, True)):
            close(actual, expected, scale=40)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("C, ends", [(16, (0, 0)), (48, (16, 32)), (24, (0, 0)), (29, (0, 0)), (16, (3, 0))])
def test_results_that_pass_the_caches_by_are_the_same(monkeypatch, dtype, C, ends):
    flat = pytest.importorskip("minidl.kernels.cpu.machine.flat", reason="Numba is not installed")
    x, grad = (images((2, C, 6, 5), dtype, seed) for seed in (0, 1))
    weight, bias = np.linspace(0.5, 2, C).astype(dtype), np.linspace(-1, 1, C).astype(dtype)

    def results():
        y, mean, invstd, _ = forms.batch_norm_train(x, weight, bias, 1e-5, True, room())
        dx = forms.batch_norm_train_grad(grad, x, weight, bias, mean, invstd, True, room())[0]
        window = (3, 3), (1, 1), (1, 1)
        values = max_pooling.max_pool2d_values(x, *window, out=room())
        return y, dx, values, *max_pooling.max_pool2d_forward(x, *window, out=room())

    def room():
        """A slice of channels of an array that begins on a cache line."""
        width = sum(ends) + C
        memory = np.empty(60 * width * x.itemsize + 64, np.uint8)
        start = -memory.ctypes.data % 64
        joint = memory[start : len(memory) - 64 + start].view(dtype).reshape(2, 6, 5, width).transpose(0, 3, 1, 2)
        return joint[:, ends[0] : ends[0] + C]

    near, aligned = results(), not any(number * x.itemsize % 64 for number in (C, *ends))
    assert normalisation._ways([room()]) == [normalisation.NEAR]
    for module, way in ((normalisation, normalisation.LARGE), (flat, normalisation.STREAMED)):
        monkeypatch.setattr(module, "FAR", 0)
        assert normalisation._ways([room()]) == [way if aligned else normalisation.LARGE]
        assert all(np.array_equal(a, b) for a, b in zip(near, results()))


def channels(array):
    return backend.channels_last(array)


def images_like(values, shape, around):
    """`values` in a slice of a wider array."""
    x = images(shape, values.dtype, 0, around)
    x[...] = values
    return x


@few
@given(activations, dtypes, st.booleans(), st.booleans(), st.integers(0, 99))
def test_batch_norm_by_given_statistics(shape, dtype, affine, relu, seed):
    x = frozen(images(shape, dtype, seed, (seed % 3, 1)))
    C = shape[1]
    weight, bias, mean, var = np.random.default_rng(seed).uniform(0.5, 1.5, (4, C)).astype(dtype)
    y = forms.batch_norm_eval(x, weight if affine else None, bias if affine else None, mean, var, 1e-5, relu)
    expected = (x - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None]
    expected = expected * weight[:, None, None] + bias[:, None, None] if affine else expected
    close(y, (np.maximum(expected, 0) if relu else expected).astype(dtype))


def test_batch_norm_lets_nan_through_and_keeps_it_to_its_channel():
    x = images((2, 3, 4, 4), np.float32, 0)
    x[0, 1, 2, 2] = np.nan
    y, mean, invstd, var = forms.batch_norm_train(x, None, None, 1e-5, True)
    assert np.isnan(y[:, 1]).all() and not np.isnan(y[:, [0, 2]]).any() and np.isnan([mean[1], invstd[1], var[1]]).all()


def test_channel_statistics_survive_a_mean_far_above_the_deviation():
    x = images((8, 4, 32, 32), np.float32, 0) + np.float32(3000)
    mean, var = statistics([backend.channels_last(x)])
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(var, exact.var(axis=(0, 2, 3)), rtol=1e-5)


def test_channel_statistics_survive_a_row_of_outliers():
    x = images((4, 8, 32, 32), np.float32, 0)
    for rows in (0, 9, 31):
        one = x.copy()
        one[0, :, rows, :16] = 1e4
        mean, var = statistics([backend.channels_last(one)])
        exact = one.astype(np.float64)
        true_mean, true_var = exact.mean(axis=(0, 2, 3)), exact.var(axis=(0, 2, 3))
        assert (abs(mean - true_mean) < 1e-6 * true_var**0.5).all() and (abs(var / true_var - 1) < 3e-6).all()


def same_for_any_number_of_threads(compute):
    """Run `compute` with 1 to 3 threads and compare all arrays it returns, bit for bit."""
    before, results = team.num_threads(), []
    try:
        for n in (1, 2, 3):
            team.set_num_threads(n)
            results.append([array.copy() for array in compute() if array is not None])
    finally:
        team.set_num_threads(before)
    for other in results[1:]:
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(results[0], other))


def test_threads_change_no_bit_of_pooling_and_batch_norm():
    x, weight, bias = images((8, 40, 23, 23), np.float32, 0), *images((1, 2, 1, 40), np.float32, 1)[0, :, 0]
    bias, weight = bias.copy(), weight.copy()

    def compute():
        y, argmax = max_pooling.max_pool2d_forward(x, (3, 3), (1, 1), (1, 1))
        dx = max_pooling.max_pool2d_scatter(y, argmax, x.shape, (3, 3), (1, 1), (1, 1))
        average = average_pooling.avg_pool2d_forward(x, (3, 3), (2, 2), (1, 1))
        normal, mean, invstd, var = forms.batch_norm_train(x, weight, bias, 1e-5, True)
        grads = forms.batch_norm_train_grad(dx, x, weight, bias, mean, invstd, True)
        return y, argmax, dx, average, normal, mean, invstd, var, *grads

    same_for_any_number_of_threads(compute)


@few
@given(
    st.integers(1, 40),
    st.integers(1, 12) | st.sampled_from([37, 300]),
    dtypes,
    st.booleans(),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from(["mean", "sum", "none"]),
    st.integers(0, 99),
)
def test_cross_entropy_is_pytorchs(N, K, dtype, weighted, smoothing, reduction, seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(seed)
    logits = frozen((rng.standard_normal((N, 2 * K)) * 5).astype(dtype)[:, ::2])
    target = rng.integers(0, K, N)
    target[1::3] = -7
    weight = rng.uniform(0.5, 2, K).astype(dtype) if weighted else None
    options = dict(ignore_index=-7, label_smoothing=smoothing, reduction=reduction)
    loss, *kept = forms.cross_entropy(logits, target, weight, **options)
    z = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        z, torch.tensor(target), None if weight is None else torch.tensor(weight), **options
    )
    close(loss, expected.detach().numpy(), scale=10)
    grad = rng.standard_normal(loss.shape).astype(dtype)
    expected.backward(torch.tensor(grad))
    close(forms.cross_entropy_grad(grad, logits, target, weight, *kept, **options), z.grad.numpy(), scale=10)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int8"])
def test_labels_are_integers_of_any_kind(dtype):
    logits, labels = np.random.default_rng(0).standard_normal((5, 4)), np.array([0, 3, 1, 3, 2], dtype)
    run = lambda labels: forms.cross_entropy(logits, labels, None, 3, 0.0, "mean")  # noqa: E731
    for a, b in zip(run(labels), run(labels.astype(np.int64))):
        assert np.array_equal(a, b)
    with pytest.raises(IndexError, match="`target` holds 4; accepted: 0 to 3, or `ignore_index` 3"):
        run(labels + labels.dtype.type(1))


def test_cross_entropy_of_large_logits_is_finite_and_targets_are_checked():
    logits = np.array([[1e4, 1e4 - 1]], np.float32)
    loss, *kept = forms.cross_entropy(logits, np.array([1]), None, -100, 0.0, "mean")
    assert abs(float(loss) - np.log1p(np.exp(1.0))) < 1e-6
    with pytest.raises(IndexError, match="`target` holds 2; accepted: 0 to 1"):
        forms.cross_entropy(logits, np.array([2]), None, -100, 0.0, "mean")
    with pytest.raises(IndexError, match="`target` holds 7; accepted: 0 to 1"):  # changed after the forward
        forms.cross_entropy_grad(loss, logits, np.array([7]), None, *kept, -100, 0.0, "mean")
    nothing = forms.cross_entropy(logits, np.array([-100]), None, -100, 0.0, "mean")[0]
    assert np.isnan(nothing)


@pytest.mark.parametrize("K", [3, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_cross_entropy_hides_nothing_that_is_not_finite(value, dtype, K):
    import minidl

    logits = np.random.default_rng(0).standard_normal((8, K)).astype(dtype)
    logits[0, 0] = logits[1, K - 1] = logits[2, 1] = logits[3, :] = logits[4, 1:] = value
    target = np.array([0, 0, 1, 2, 0, 1, -100, 2])
    logits[6] = value
    found = []
    for storey in ("fast", "plain"):
        with dispatch.using(storey), np.errstate(invalid="ignore"):
            x = minidl.Tensor(logits, requires_grad=True)
            loss = minidl.cross_entropy(x, minidl.Tensor(target), reduction="none")
            loss.backward(minidl.ones_like(loss))
            found.append((loss.detach().numpy(), x.grad.numpy()))
    for fast, plain in zip(*found):
        close(fast, plain)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exponential_is_right_to_two_units_in_the_last_place(dtype):
    exponential = pytest.importorskip("minidl.kernels.cpu.exponential", reason="Numba is not installed")
    info = np.finfo(dtype)
    largest, smallest = np.log(np.array([info.max, info.smallest_subnormal], np.longdouble)).astype(float) * (1 - 1e-7)
    x = np.concatenate([np.linspace(smallest - 5, largest, 4001), np.linspace(-2, 2, 4001)]).astype(dtype)
    found, wanted = np.array([exponential.exp(value) for value in x], dtype), np.exp(x.astype(np.longdouble))
    assert np.all(np.abs(found - wanted) <= 2 * np.spacing(wanted.astype(dtype)))
    special = [exponential.exp(dtype(value)) for value in (np.nan, np.inf, -np.inf, 2 * largest, 0.0)]
    np.testing.assert_array_equal(special, [np.nan, np.inf, 0.0, np.inf, 1.0])


def both_forms(kernel, arrays, *settings):
    """Run an in-place kernel in its plain and its fast form, and compare all arrays bit for bit.

    Each holds an infinity, its negative, a NaN and a negative zero, in places of its own.
    """
    twins = [[None if a is None else with_special_values(a, 4 * i) for i, a in enumerate(arrays)] for _ in range(2)]
    with np.errstate(all="ignore"):
        kernel.plain(*twins[0], *settings)
    form = kernel.forms.get(np.ndarray) or kernel.plain
    assert form(*twins[1], *settings) is not NotImplemented
    for a, b in zip(*twins):
        if a is not None:
            assert np.array_equal(a, b, equal_nan=True)
            assert np.array_equal(np.signbit(a) & ~np.isnan(a), np.signbit(b) & ~np.isnan(b))


def with_special_values(array, place):
    """A copy of `array`; in a large one four elements from `place` on are an infinity, its negative, NaN and -0."""
    twin = array.copy(order="K")
    if twin.size > 20:
        twin.flat[place : place + 4] = np.inf, -np.inf, np.nan, -0.0
    return twin


shapes = st.sampled_from([(1,), (7, 3), (5, 4, 3, 3), (40000,)])


@few
@given(shapes, dtypes, st.sampled_from([0.0, 0.9]), st.sampled_from([0, 0.01]), *[st.booleans()] * 3)
def test_sgd(shape, dtype, momentum, decay, nesterov, maximize, first):
    sgd.sgd_update(np.ones(1), np.ones(1), None, 0.1, 0, 0, 0, False, False, False)  # finds the fast form
    arrays = list(np.random.default_rng(0).standard_normal((3, *shape)).astype(dtype))
    arrays[2] = arrays[2] if momentum else None
    for lr in (0.1, np.array(0.1)):
        both_forms(sgd.sgd_update, arrays, lr, momentum, 0.1, decay, nesterov, maximize, first)


@few
@given(shapes, dtypes, st.sampled_from([0.3, 0.9]), st.sampled_from([0, 0.01]), *[st.booleans()] * 3)
def test_adam(shape, dtype, beta1, decay, decoupled, maximize, amsgrad):
    adam.adam_update(*np.ones((4, 1)), None, 1, 0.1, 0.9, 0.9, 0, 0, False, False)
    arrays = list(np.random.default_rng(0).standard_normal((5, *shape)).astype(dtype))
    arrays[3] = arrays[3] ** 2
    arrays[4] = arrays[4] ** 2 if amsgrad else None
    for step in (3, np.array(3.0)):
        both_forms(adam.adam_update, arrays, step, 0.1, beta1, 0.99, 1e-8, decay, decoupled, maximize)


@few
@given(shapes, dtypes, st.sampled_from([0.4, 0.99]), st.sampled_from([0, 0.01]), *[st.booleans()] * 3)
def test_rmsprop(shape, dtype, alpha, decay, momentum, maximize, centered):
    rmsprop.rmsprop_update(*np.ones((3, 1)), None, None, 0.1, 0.9, 0, 0, 0, False)
    param, grad, square, mean, buffer = np.random.default_rng(0).standard_normal((5, *shape)).astype(dtype)
    arrays = [param, grad, square**2 + 1, mean * dtype(0.1) if centered else None, buffer if momentum else None]
    both_forms(rmsprop.rmsprop_update, arrays, 0.1, alpha, 1e-8, decay, 0.9, maximize)


@few
@given(shapes, dtypes, st.sampled_from([0.1, 0.5, 0.999]))
def test_lerp(shape, dtype, weight):
    updates.lerp(np.ones(1), np.ones(1), 0.5)
    arrays = list(np.random.default_rng(0).standard_normal((2, *shape)).astype(dtype))
    both_forms(updates.lerp, arrays, weight)
    both_forms(updates.lerp, arrays, np.array(weight))


@pytest.mark.parametrize("argument", [0, 2, 3, 4])
def test_what_an_update_writes_must_be_writeable(argument):
    arrays = list(np.ones((5, 3)))
    frozen(arrays[argument])
    with pytest.raises(ValueError, match="read-only"):
        adam.adam_update(*arrays, 1, 0.1, 0.9, 0.9, 0, 0, False, False)
    assert (arrays[argument] == 1).all()


def _apart(array):
    """The same numbers with others between them."""
    memory = np.full((*array.shape, 2), 7.0)
    memory[..., 0] = array
    return memory[..., 0]


LIES = {"apart": _apart, "turned": lambda a: a.T.copy().T, "backwards": lambda a: a[::-1].copy()[::-1]}


@pytest.mark.parametrize("how", LIES)
@pytest.mark.parametrize("which", [(0,), (1,), (2,), (3,), (4,), (0, 1, 2, 3, 4)], ids=str)
def test_arrays_of_an_update_may_lie_in_memory_as_they_like(which, how):
    arrays = list(np.random.default_rng(0).standard_normal((5, 4, 6, 5)) ** 2)
    options = 3, 0.1, 0.9, 0.9, 1e-8, 0.1, True, False
    expected = [array.copy() for array in arrays]
    adam.adam_update.plain(*expected, *options)
    arrays = [LIES[how](array) if i in which else array for i, array in enumerate(arrays)]
    adam.adam_update(*arrays, *options)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, expected))


def test_a_gradient_in_another_memory_order_updates_the_same():
    param, grad = np.random.default_rng(0).standard_normal((2, 4, 3, 2, 2))
    expected = param - 0.1 * grad
    grad = grad.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    sgd.sgd_update(param, grad, None, 0.1, 0, 0, 0, False, False, False)
    assert np.array_equal(param, expected)


# Random123's kat_vectors for philox4x32-10: counter, key, result.
KNOWN_ANSWERS = """
00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1
"""


@pytest.mark.parametrize("line", KNOWN_ANSWERS.split("\n")[1:-1])
def test_philox_known_answers(line):
    *words, = (int(word, 16) for word in line.split())
    counter, key, answer = words[:4], words[4:6], words[6:]
    assert [int(w) for w in philox.philox([np.array(c, np.uint64) for c in counter], key)] == answer
    random_cpu = pytest.importorskip("minidl.kernels.cpu.random", reason="Numba is not installed")
    c0, *rest = (np.uint64(word) for word in words[:6])
    assert [int(w) for w in random_cpu._philox(c0, *rest)] == answer


@few
@given(
    st.sampled_from([(1,), (6,), (3, 5), (2, 3, 5, 7), (1, 70000)]),
    dtypes,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**40),
)
def test_random_numbers_are_the_same_in_both_forms(shape, dtype, seed, step):
    like, key = np.zeros(1, dtype), (seed, 3, step)
    drawn = philox.random_uint32(shape, *key, like)
    assert np.array_equal(drawn, philox.fill_uint32.plain(np.empty(shape, np.uint32), *key))
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    x = images(shape, dtype, 1, (0, 1)) if len(shape) == 4 else x
    y = dropout.dropout_forward(frozen(x), 0.3, *key)
    assert np.array_equal(y, dropout.dropout_forward.plain(x, 0.3, *key)) and y.dtype == dtype
    mask = dropout.dropout_mask(shape, 0.3, *key, like)
    assert np.array_equal(y != 0, mask)
    assert np.array_equal(y, dropout.dropout_forward(np.ascontiguousarray(x), 0.3, *key))
    u = philox.uniform(shape, *key, like)
    assert u.dtype == dtype and u.shape == shape and (0 <= u).all() and (u < 1).all()


def test_random_numbers_have_the_right_distribution():
    like = np.zeros(1, np.float32)
    u, x = philox.uniform((100000,), 1, 2, 3, like), philox.normal((100001,), 1, 2, 3, like)
    assert abs(u.mean() - 0.5) < 0.005 and abs(u.var() - 1 / 12) < 0.002
    assert abs(x.mean()) < 0.02 and abs(x.var() - 1) < 0.03 and abs((x**4).mean() - 3) < 0.15
    assert abs(dropout.dropout_forward(np.ones(100000), 0.3, 1, 2, 3).mean() - 1) < 0.01
    assert not np.array_equal(u, philox.uniform((100000,), 1, 3, 3, like))
    assert not np.array_equal(u, philox.uniform((100000,), 1, 2, 4, like))


def orders(seed, dtype):
    """Arrays large enough for threads: C order, channels-last, and a slice of channels."""
    rng = np.random.default_rng(seed)
    flat = rng.standard_normal((301, 777)).astype(dtype)
    image = images((3, 40, 41, 43), dtype, seed)
    part = images((3, 40, 41, 43), dtype, seed, (5, 3))
    for x in (flat, image, part):
        x[0, 0] = np.nan
    return flat, image, part


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_elementwise_passes(dtype, order):
    x, other = orders(0, dtype)[order], orders(1, dtype)[order]
    y = elementwise.relu_forward(frozen(x))
    assert np.array_equal(y, np.maximum(x, 0), equal_nan=True) and y.dtype == dtype
    dx = elementwise.relu_grad(frozen(other), y)
    assert np.array_equal(dx, elementwise.relu_grad.plain(other, y), equal_nan=True)
    for result in (y, dx):
        assert result.ndim == 2 or backend.is_channels_last(result)
    for operation, arrays in ((elementwise.relu_forward, [x]), (elementwise.relu_grad, [other, y])):
        assert operation.find(x)(*arrays) is not NotImplemented, "a kernel takes these orders"


@pytest.mark.parametrize("order, given", [(0, 0), (1, 1), (2, 1), (1, 2), (1, 3)])
def test_gelu_is_its_definition_computed_in_float64(order, given):
    """Of arrays that lie alike, and of ones that do not."""
    x, upstream = orders(0, np.float32)[order], orders(1, np.float32)
    grad = [*upstream, np.ascontiguousarray(upstream[1])][given]
    x *= 4  # in place: a part stays a part
    x[0, 1], x[1, 0] = np.inf, -50.0
    precise = Tensor(x.astype(np.float64), requires_grad=True)
    (expected,) = Gelu.definition(precise)
    expected.backward(Tensor(grad.astype(np.float64)))
    (y,), _ = fast_activations.Gelu.forward(frozen(x))
    (dx,) = fast_activations.Gelu.backward([frozen(grad)], forms.saved([x]))
    np.testing.assert_allclose(y, expected.data, rtol=2e-6, atol=3e-7)
    np.testing.assert_allclose(dx, precise.grad.data, rtol=2e-6, atol=1e-6)
    assert y.dtype == dx.dtype == np.float32 and (y.ndim == 2 or order == 2 or backend.is_channels_last(y))
    one = x[:1].copy(order="K")
    assert np.array_equal(fast_activations.Gelu.forward(one)[0][0], y[:1], equal_nan=True)


def test_gelu_of_far_negative_numbers_keeps_its_digits():
    """Where 1 + erf(x) has lost them: from tables of the normal distribution's tail."""
    x = np.float32([-3.0, -5.0, -9.0])
    tail = np.array([1.3498980316300946e-03, 2.8665157187919391e-07, 1.1285884059538406e-19])
    np.testing.assert_allclose(fast_activations.Gelu.forward(x)[0][0], x * tail, rtol=1e-5)


def test_threads_change_no_bit_of_the_rest():
    rng = np.random.default_rng(0)
    logits, target = rng.standard_normal((3000, 11)).astype(np.float32), rng.integers(0, 11, 3000)

    def compute():
        loss, *kept = forms.cross_entropy(logits, target, None, -100, 0.1, "mean")
        dlogits = forms.cross_entropy_grad(loss, logits, target, None, *kept, -100, 0.1, "mean")
        param = logits.copy()
        sgd.sgd_update(param, dlogits, None, 0.1, 0, 0, 0, False, False, False)
        words = philox.random_uint32((50001,), 1, 2, 3, logits)
        return loss, dlogits, param, dropout.dropout_forward(logits, 0.5, 1, 2, 3), words

    same_for_any_number_of_threads(compute)


@few
@given(st.integers(1, 9), st.integers(1, 70), dtypes, st.booleans(), st.sampled_from([0.0, 100.0]), st.integers(0, 99))
def test_layer_norm_is_pytorchs(N, d, dtype, affine, offset, seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(seed)
    x = frozen((rng.standard_normal((2, N, d)) + offset).astype(dtype))
    weight, bias = rng.standard_normal((2, d)).astype(dtype) if affine else (None, None)
    y, mean, invstd = forms.layer_norm(x, d, weight, bias, 1e-2)
    grad = frozen(rng.standard_normal(x.shape).astype(dtype))
    dx, dweight, dbias = forms.layer_norm_grad(grad, x, d, weight, bias, mean, invstd)
    exact = [None if a is None else torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (x, weight, bias)]
    expected = torch.nn.functional.layer_norm(exact[0], (d,), *exact[1:], 1e-2)
    expected.backward(torch.tensor(grad, dtype=torch.float64))
    close(y, expected.detach().numpy().astype(dtype), scale=10 * (1 + offset))
    for actual, a in zip((dx, dweight, dbias), exact):
        assert (actual is None) == (a is None)
        if a is not None:
            close(actual, a.grad.numpy().astype(dtype), scale=50 * (1 + offset))


@few
@given(activations, st.integers(1, 8), st.sampled_from([0.75, 0.5, 1.3]), dtypes, st.integers(0, 99))
def test_local_response_norm_is_pytorchs(shape, size, beta, dtype, seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, grad = images(shape, dtype, seed, (1, 2)), images(shape, dtype, seed + 1, (seed % 2, 0))
    y = forms.local_response_norm(frozen(x), size, 0.3, beta, 1.5)
    dx = forms.local_response_norm_grad(frozen(grad), x, size, 0.3, beta, 1.5)
    z = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.local_response_norm(z, size, 0.3, beta, 1.5)
    expected.backward(torch.tensor(grad))
    close(y, expected.detach().numpy())
    close(dx, z.grad.numpy(), scale=5)


@pytest.mark.parametrize("value", [3e38, -3e38, 1e19, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("places", [[8], [0], [8, 24], [0, 1], [255]], ids=str)
def test_batch_norm_of_values_that_overflow_is_the_definitions(value, places):
    x, grad = images((4, 3, 8, 8), np.float32, 0), images((4, 3, 8, 8), np.float32, 1)
    x.transpose(0, 2, 3, 1).reshape(-1, 3)[places, 1] = value
    results = []
    for kind in ("plain", "fast"):
        with dispatch.using(kind), np.errstate(all="ignore"):
            given = minidl.tensor(x, requires_grad=True)
            y, mean, var = minidl.batch_norm_train(given, relu=True)
            (y * minidl.tensor(grad)).sum().backward()
            results.append([y.data, mean.data, var.data, given.grad.data])
    for plain, fast in zip(*results):
        np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_mean_of_losses_is_taken_in_float64_by_the_kernel_only():
    logits, target = minidl.tensor(np.array([[3e38, 0], [3e38, 0]], np.float32)), minidl.tensor(np.array([1, 1]))
    with dispatch.using("plain"):
        assert minidl.cross_entropy(logits, target).item() == np.inf
    with dispatch.using("fast"):
        assert minidl.cross_entropy(logits, target).item() == np.float32(3e38)
        assert minidl.cross_entropy(logits, target, reduction="sum").item() == np.inf


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_infinities_is_the_definitions(dtype, smoothing):
    inf, results = np.inf, []
    rows = [
        [1, -inf, 2], [-inf, 1, 2], [inf, 1, 2], [1, inf, 2], [inf, inf, 1], [-inf] * 3, [np.nan, 1, 2],
        [3e38, -3e38, 1],
    ]
    logits, target = np.array(3 * rows, dtype), minidl.tensor(np.repeat([0, 1, -100], len(rows)))
    for kind in ("plain", "fast"):
        with dispatch.using(kind):
            given = minidl.tensor(logits, requires_grad=True)
            loss = minidl.cross_entropy(given, target, reduction="none", label_smoothing=smoothing)
            loss.sum().backward()
            results.append([loss.data, given.grad.data])
    for plain, fast in zip(*results):
        np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["plain", "fast"])
def test_dropout_of_one_number_keeps_its_shape(kind):
    with dispatch.using(kind):
        assert minidl.dropout(minidl.tensor(3.0)).shape == ()


ROW, IMAGE = np.ones((4, 3), np.float32), np.ones((2, 3, 4, 4), np.float32)
PIXELS = np.ones(3, np.float32)
DECLINED = {
    "layer norm": lambda: LayerNorm.backward(
        [ROW.astype("float64")], forms.saved((ROW, None, None), (PIXELS, PIXELS)), (1,), 0.1
    ),
    "response norm": lambda: LocalResponseNorm.backward(
        [IMAGE.astype("float64")], forms.saved([IMAGE]), 2, 1.0, 0.5, 1.0
    ),
    "batch norm": lambda: normalisation.BatchNorm.backward(
        [IMAGE.astype("float64")], forms.saved((IMAGE, None, None), (PIXELS, PIXELS)), 0.1, False
    ),
    "max pool of integers": lambda: maximum.max_pool2d_forward(IMAGE.astype("int32"), (2, 2), (2, 2), (0, 0)),
    "max pool's gradient by other places": lambda: maximum.max_pool2d_scatter(
        IMAGE, IMAGE.astype("int64"), (2, 3, 8, 8), (2, 2), (2, 2), (0, 0)
    ),
    "max pool's gradient added to other numbers": lambda: maximum.max_pool2d_scatter(
        IMAGE, IMAGE.astype("uint8"), (2, 3, 8, 8), (2, 2), (2, 2), (0, 0), out=np.ones((2, 3, 8, 8)), accumulate=True
    ),
    "random words apart": lambda: fast_random.fill_uint32(np.ones((4, 2), np.uint32)[:, 0], 1, 2, 3),
    "random words of 64 bits": lambda: fast_random.fill_uint32(np.ones(4, np.uint64), 1, 2, 3),
}


@pytest.mark.parametrize("name", DECLINED)
def test_arrays_that_no_kernel_reads_rightly_are_left_to_the_plain_form(name):
    assert DECLINED[name]() is NotImplemented
