"""Kernels for GPUs of pooling, normalisation, losses and random numbers, run without one: see ``tile_machine.py``."""

import numpy as np
import pytest
import tile_machine
from hypothesis import given
from hypothesis import strategies as st
from test_kernels_gpu import BOUNDS, DEVICE, assert_equal_to_plain, laid_alike, numbers, numpy_of, on_device, pairs
from test_kernels_gpu import quick, small_tiles  # noqa: F401 (small_tiles: for all tests here)

import minidl
from minidl import optim
from minidl.dispatch import using
from minidl.ops import average_pooling, max_pooling
from minidl.ops.dropout import dropout_forward
from minidl.philox import random_uint32

dtypes, orders = st.sampled_from(sorted(BOUNDS)), st.sampled_from(["last", "first", "slice"])


# ---------------------------------------------------------------- pooling


@st.composite
def poolings(draw):
    """Images with ties, NaN and infinities now and then, and the geometry of windows."""
    kernel, stride, dilation, ceil_mode = draw(pairs), draw(pairs), draw(pairs), draw(st.booleans())
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    padding = tuple(draw(st.integers(0, r // 2)) for r in reach)
    size = [max(1, r - 2 * p) + draw(st.integers(0, 5)) for r, p in zip(reach, padding)]
    x = numbers(
        (draw(st.integers(1, 2)), draw(st.integers(1, 5)), *size), draw(dtypes), draw(st.integers(0, 9)), draw(orders)
    )
    x[...] = draw(st.sampled_from([x, np.round(x), np.where(x > 0.8, np.nan, x), np.where(x < 0.5, -np.inf, np.inf)]))
    return x, (kernel, stride, padding, dilation), ceil_mode


@quick
@given(poolings())
def test_max_pooling(case):
    x, geometry, ceil_mode = case
    y, argmax = assert_equal_to_plain(max_pooling.max_pool2d_forward, x, *geometry, ceil_mode)
    grad = numbers(y.shape, x.dtype, 1)
    assert_equal_to_plain(max_pooling.max_pool2d_scatter, grad, argmax, x.shape, *geometry)
    assert_equal_to_plain(max_pooling.max_pool2d_gather, numbers(x.shape, x.dtype, 2), argmax, *geometry)


@quick
@given(poolings(), st.booleans(), st.sampled_from([None, 3]))
def test_average_pooling(case, count_include_pad, divisor):
    x, ((kernel, stride, _, _), _) = np.nan_to_num(case[0], posinf=1, neginf=-1), case[1:]
    padding = tuple(k // 2 for k in kernel)
    options = dict(count_include_pad=count_include_pad, divisor_override=divisor)
    y = assert_equal_to_plain(average_pooling.avg_pool2d_forward, x, kernel, stride, padding, case[2], **options)
    grad = numbers(y.shape, x.dtype, 1)
    assert_equal_to_plain(average_pooling.avg_pool2d_adjoint, grad, x.shape, kernel, stride, padding, **options)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 6)])
def test_adaptive_average_pooling(size):
    x, grad = numbers((2, 3, 4, 6)), numbers((2, 3, *size), seed=1)
    assert_equal_to_plain(average_pooling.adaptive_avg_pool2d_forward, x, size)
    assert_equal_to_plain(average_pooling.adaptive_avg_pool2d_adjoint, grad, x.shape)


def test_pooling_writes_into_a_slice_and_adds_to_what_is_there():
    x, geometry = numbers((2, 3, 5, 4)), ((2, 3), (1, 2), (1, 1), (1, 1))
    expected, argmax = max_pooling.max_pool2d_forward.plain(x, *geometry)
    wide = on_device(np.zeros((2, *expected.shape[2:], 5), np.float32))
    max_pooling.max_pool2d_forward(on_device(x), *geometry, out=wide.transpose(0, 3, 1, 2)[:, 1:4])
    found = numpy_of(wide).transpose(0, 3, 1, 2)
    assert np.array_equal(found[:, 1:4], expected) and not found[:, 0].any() and not found[:, 4].any()
    there = numbers(x.shape, seed=3)
    total = on_device(there)
    max_pooling.max_pool2d_scatter(
        on_device(expected), on_device(argmax), x.shape, *geometry, out=total, accumulate=True
    )
    plain = there + max_pooling.max_pool2d_scatter.plain(expected, argmax, x.shape, *geometry)
    np.testing.assert_allclose(numpy_of(total), plain, atol=1e-5)


# ------------------------------------------------------ fused operations: outputs, and gradients of first order


def results(function, arrays, device):
    """Outputs and gradients with respect to the floating arrays, computed on `device`: NumPy arrays."""
    inputs = [minidl.Tensor(device(a), requires_grad=a.dtype.kind == "f") for a in arrays]
    outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    upstream = minidl.Tensor(device(np.asarray(numbers(outputs[0].shape, arrays[0].dtype, 9))))
    wanted = [x for x in inputs if x.requires_grad]
    found = [*outputs, *minidl.grad(outputs[0], wanted, upstream, materialize_grads=True)]
    return [numpy_of(y.data) for y in found]


def assert_fused(function, *arrays):
    """On the pretended device the kernels give the definition's numbers on the CPU."""
    with using("plain"):
        expected = results(function, arrays, np.array)
    found, again = results(function, arrays, laid_alike), results(function, arrays, laid_alike)
    for a, b, wanted in zip(found, again, expected):
        assert (a.shape, a.dtype) == (wanted.shape, wanted.dtype) and a.tobytes() == b.tobytes()
        scale = max(1.0, float(np.nanmax(np.abs(wanted), initial=0)))
        np.testing.assert_allclose(a, wanted, rtol=0, atol=BOUNDS[a.dtype.name] * scale)


@quick
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(2, 5)), dtypes, orders,
    st.booleans(), st.booleans(),
)
def test_batch_norm(shape, dtype, order, relu, is_affine):
    x = numbers(shape, dtype, 1, order)
    x *= 3
    x += 5
    vectors = [numbers(shape[1:2], dtype, seed) for seed in (2, 3)] if is_affine else []
    assert_fused(lambda x, *affine: minidl.batch_norm_train(x, *affine, relu=relu), x, *vectors)
    mean, var = numbers(shape[1:2], dtype, 4), np.abs(numbers(shape[1:2], dtype, 5)) + 0.5
    assert_fused(
        lambda x, mean, var, *affine: minidl.batch_norm_eval(x, mean, var, *affine, relu=relu), x, mean, var, *vectors
    )


def test_batch_norm_of_numbers_far_from_zero():
    """Deviations below 1 around 1e3 in float32: the mean of squares minus the square of the mean would be noise."""
    x = (1000 + 0.1 * np.random.default_rng(0).integers(-9, 9, (4, 2, 6, 5))).astype(np.float32)
    _, _, var = minidl.batch_norm_train(minidl.Tensor(on_device(x)))
    np.testing.assert_allclose(numpy_of(var.data), x.astype("f8").var((0, 2, 3)), rtol=1e-3)


@quick
@given(
    st.integers(1, 9), st.integers(1, 11), dtypes, st.sampled_from(["mean", "sum", "none"]),
    st.sampled_from([0.0, 0.1, 1.0]), st.booleans(), st.sampled_from([-100, 0]), st.sampled_from([0, -1000]),
)  # fmt: skip
def test_cross_entropy(N, K, dtype, reduction, smoothing, has_weight, ignored, level):
    """Logits far below 0 as well, whose exponentials are all 0 in any precision."""
    target = np.random.default_rng(4).integers(0, K, N)
    target[-1] = 0 if K == 1 else 1  # one row at least counts
    if K > 1 and N > 1:
        target[0] = ignored
    elif ignored == 0 and K == 1:
        ignored = -100
    weight = minidl.Tensor(np.abs(numbers((K,), dtype, 6)) + 0.1) if has_weight else None

    def loss(logits):
        w = None if weight is None else weight.to(logits.device)
        t = minidl.tensor(target).to(logits.device)
        return minidl.cross_entropy(logits, t, w, ignore_index=ignored, reduction=reduction, label_smoothing=smoothing)

    assert_fused(loss, numbers((N, K), dtype) * 8 + level)


# ---------------------------------------------------------------- random numbers


@pytest.mark.parametrize("n", [1, 4, 5, 67])
def test_random_words_are_those_of_every_device(n):
    key = 2**63 + 12345, 2**31 + 7, 2**40 + 3
    found = random_uint32((n,), *key, on_device(np.zeros(1)))
    with using("plain"):
        assert np.array_equal(numpy_of(found), random_uint32((n,), *key, np.zeros(1)))


@quick
@given(st.sampled_from([(7,), (3, 5), (2, 3, 4, 5)]), dtypes, orders, st.sampled_from([1e-3, 0.4, 0.5, 0.999]))
def test_dropout_has_the_mask_of_every_device(shape, dtype, order, p):
    assert_equal_to_plain(dropout_forward, numbers(shape, dtype, 1, order), p, 11, 2**31 + 5, 2**33 + 6, bound=1e-6)


# ---------------------------------------------------------------- optimisers

RULES = {
    "sgd": lambda p, lr: optim.SGD(p, lr),
    "sgd with all options": lambda p, lr: optim.SGD(
        p, lr, momentum=0.9, dampening=0.1, weight_decay=0.1, maximize=True
    ),
    "nesterov": lambda p, lr: optim.SGD(p, lr, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p, lr: optim.Adam(p, lr, weight_decay=0.1),
    "adamw": lambda p, lr: optim.AdamW(p, lr, betas=(0.3, 0.8), maximize=True),
}


@pytest.mark.parametrize("dtype", sorted(BOUNDS))
@pytest.mark.parametrize("rule", RULES)
def test_optimisers(rule, dtype):
    """Three steps of parameters of all sizes, in one launch each, and a learning rate that changes."""
    shapes = [(3,), (), (5, 2, 3, 3), (17,), (1, 1)]

    def trained(device):
        params = [minidl.Tensor(device(numbers(shape, dtype, i)), requires_grad=True) for i, shape in enumerate(shapes)]
        optimizer = RULES[rule](params, 0.1)
        for step in range(3):
            for i, (param, shape) in enumerate(zip(params, shapes)):
                param.grad = minidl.Tensor(device(numbers(shape, dtype, 10 * step + i)))
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
            optimizer.step()
        return [param.detach().numpy() for param in params]

    with using("plain"):
        expected = trained(np.array)
    tile_machine.LAUNCHES.clear()
    for found, wanted in zip(trained(on_device), expected):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=BOUNDS[dtype])
    assert DEVICE != "tiles" or len(tile_machine.LAUNCHES) == 3
