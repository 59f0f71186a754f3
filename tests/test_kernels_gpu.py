"""Kernels for GPUs, executed without one (see ``tile_machine.py``) and held to the plain forms over drawn shapes.

With ``MINIDL_TEST_DEVICE=cuda`` they are executed on a GPU, at the sizes of tiles that they have there.
"""

import os

import numpy as np
import pytest
import tile_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minidl import backend
from minidl.dispatch import using
from minidl.kernels.gpu import convolution as kernels
from minidl.kernels.gpu import losses, normalisation, optimisers, pooling, random, reduction
from minidl.kernels.gpu.tiles import BF16, TF32
from minidl.ops import convolution
from minidl.ops.reduction import sum_forward

quick = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow], derandomize=True, deadline=None)
strict, DEVICE = tile_machine.strict, os.environ.get("MINIDL_TEST_DEVICE", "tiles")
on_device = backend.kind_named(DEVICE).from_numpy
BOUNDS = {"float32": 1e-4, "float64": 1e-12}


def shrink(patch):
    """Tiles and shares so small that few numbers already make many blocks, remainders, and second stages."""
    patch.setattr(kernels, "TILES_OF_DOUBLES", (4, 2, 8))
    patch.setattr(kernels, "MOST_IN_SHARES", 300)
    patch.setattr(kernels, "TILES", {name: (8, 4, 4) for name in kernels.TILES})
    for module, name, value in (
        (reduction, "SHARES", 4), (reduction, "TR", 4), (normalisation, "TP", 4), (normalisation, "TC", 2),
        (normalisation, "SHARES", 4), (pooling, "TP", 4), (pooling, "TC", 2), (losses, "TILE", 8), (random, "TILE", 4),
        (optimisers, "TILE", 8),
    ):  # fmt: skip
        patch.setattr(module, name, value)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    if DEVICE == "tiles":
        shrink(monkeypatch)
    with using("fast"):
        yield


def numpy_of(value):
    return tuple(map(numpy_of, value)) if isinstance(value, tuple) else backend.to_numpy(value)


def assert_equal_to_plain(operation, *arguments, bound=None, **options):
    """The kernel's form of `operation` gives the plain form's numbers, and the same bits in any order of its blocks."""
    moved = [laid_alike(a) if isinstance(a, np.ndarray) else a for a in arguments]
    form = operation.find(moved[0])
    assert form is not None, operation.name
    found, again = numpy_of(form(*moved, **options)), numpy_of(form(*moved, **options))
    with using("plain"):
        plain = operation.plain(*arguments, **options)
    for a, b, expected in zip(*map(as_tuple, (found, again, plain))):
        assert (a.shape, a.dtype) == (expected.shape, expected.dtype) and a.tobytes() == b.tobytes()
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(a, expected, rtol=0, atol=(bound or BOUNDS.get(a.dtype.name, 0)) * scale)
    return found


def laid_alike(array):
    """`array` on the device; a slice of wider images as such a slice."""
    wide = array.base
    if array.ndim != 4 or wide is None or wide.size == array.size:
        return on_device(array)
    return on_device(wide)[..., : array.shape[1]].transpose(0, 3, 1, 2)


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def numbers(shape, dtype="float32", seed=0, order="last"):
    """Normal numbers; images with their channels last in memory, first, or as a slice of wider ones."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    if len(shape) != 4 or order == "first":
        return x
    N, C, H, W = shape
    wide = np.full((N, H, W, C + (3 if order == "slice" else 0)), np.nan, dtype)
    wide[..., :C] = x.transpose(0, 2, 3, 1)
    return wide[..., :C].transpose(0, 3, 1, 2)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def convolutions(draw):
    """Images, weights, and geometry: any stride, padding, dilation and groups."""
    kernel, stride, dilation, groups = draw(pairs), draw(pairs), draw(pairs), draw(st.integers(1, 2))
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(2))
    size = [max(1, d * (k - 1) + 1 - sum(p)) + draw(st.integers(0, 5)) for k, d, p in zip(kernel, dilation, padding)]
    N, C, K = draw(st.integers(1, 3)), groups * draw(st.integers(1, 6)), groups * draw(st.integers(1, 6))
    x, dtype, order = (
        (N, C, *size), draw(st.sampled_from(sorted(BOUNDS))), draw(st.sampled_from(["last", "first", "slice"])),
    )
    geometry = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return numbers(x, dtype, 0, order), numbers((K, C // groups, *kernel), dtype, 1, "first"), geometry


@quick
@given(convolutions(), st.booleans(), st.booleans())
def test_convolution(case, has_bias, relu):
    x, weight, geometry = case
    bias = numbers(weight.shape[:1], x.dtype, 2) if has_bias else None
    assert_equal_to_plain(convolution.conv2d_forward, x, weight, bias, relu=relu, **geometry)


@quick
@given(convolutions())
def test_convolution_gradient_with_respect_to_the_input(case):
    x, weight, geometry = case
    grad = numbers(convolution.conv2d_forward.plain(x, weight, **geometry).shape, x.dtype, 3)
    assert_equal_to_plain(convolution.conv2d_input_grad, grad, weight, x.shape, **geometry)


@quick
@given(convolutions())
def test_convolution_gradient_with_respect_to_the_weight(case):
    x, weight, geometry = case
    grad = numbers(convolution.conv2d_forward.plain(x, weight, **geometry).shape, x.dtype, 3)
    assert_equal_to_plain(convolution.conv2d_weight_grad, grad, x, weight.shape, **geometry)


def test_convolution_into_channels_of_a_wider_image():
    """The slice is written, its neighbours are not; an input's gradient is added to what is there."""
    x, weight, wide = (
        numbers((2, 5, 4, 3)), numbers((6, 5, 3, 3), seed=1), on_device(np.zeros((2, 4, 3, 10), np.float32)),
    )
    convolution.conv2d_forward(
        on_device(x), on_device(weight), padding=((1, 1), (1, 1)), out=wide.transpose(0, 3, 1, 2)[:, 2:8]
    )
    found = numpy_of(wide).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(
        found[:, 2:8], convolution.conv2d_forward.plain(x, weight, padding=((1, 1), (1, 1))), atol=1e-5
    )
    assert not found[:, :2].any() and not found[:, 8:].any()
    grad, total = numbers((2, 6, 2, 1), seed=2), numbers(x.shape, seed=3)
    sum_there = on_device(total)
    convolution.conv2d_input_grad(on_device(grad), on_device(weight), x.shape, out=sum_there, accumulate=True)
    expected = total + convolution.conv2d_input_grad.plain(grad, weight, x.shape)
    np.testing.assert_allclose(numpy_of(sum_there), expected, atol=1e-5)


@pytest.mark.parametrize("precision, bits", [(TF32, 10), (BF16, 7)])
def test_operands_are_rounded_to_the_precision_asked_for(monkeypatch, precision, bits):
    """The result is that of rounded operands, summed exactly: far from the exact one, and near the rounded one."""
    monkeypatch.setattr(kernels, "precision_of", lambda x: precision)
    x, weight = numbers((1, 8, 5, 5)), numbers((4, 8, 3, 3), seed=1)
    found = numpy_of(convolution.conv2d_forward(on_device(x), on_device(weight)))
    exact = convolution.conv2d_forward.plain(x.astype("f8"), weight.astype("f8"))
    rounded = convolution.conv2d_forward.plain(to_bits(x, bits), to_bits(weight, bits))
    np.testing.assert_allclose(found, rounded, atol=1e-4)
    assert np.abs(found - exact).max() > 2.0 ** -(bits + 4)


def to_bits(x, bits):
    """`x` in float64, rounded to so many bits after the point."""
    mantissa, exponent = np.frexp(x.astype("f8"))
    return np.ldexp(np.rint(mantissa * 2 ** (bits + 1)) / 2 ** (bits + 1), exponent)


@quick
@given(st.integers(1, 70), st.integers(1, 9), st.sampled_from(sorted(BOUNDS)), st.booleans())
def test_sums_of_columns(R, C, dtype, keepdim):
    assert_equal_to_plain(sum_forward, numbers((R, C), dtype), (0,), keepdim)
    assert_equal_to_plain(sum_forward, numbers((1, C, R, 2), dtype), (0, 2, 3), keepdim)
