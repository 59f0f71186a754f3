"""Products by cuBLAS, whose stand-in computes from the addresses and strides that it gets (``cublas_stand_in.py``)."""

import cublas_stand_in
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_kernels_gpu import BOUNDS, assert_equal_to_plain, numbers, numpy_of, on_device, quick, strict, to_bits

import minidl
from minidl.dispatch import using
from minidl.kernels.gpu import products
from minidl.ops import convolution
from minidl.ops.matmul import linear_forward, matmul_forward

lengths = st.integers(1, 6)
layouts = st.sampled_from(["rows", "columns", "wide", "tall", "every second", "one for all"])


@pytest.fixture(autouse=True)
def cublas(monkeypatch):
    library = cublas_stand_in.library()
    monkeypatch.setitem(products.LIBRARIES, strict.StrictArray, library)
    cublas_stand_in.CALLS.clear()
    with using("fast"):
        yield library


def matrix(M, N, layout, dtype, seed):
    """(M, N) numbers on the device in one of the layouts that come along: transposed, cut out of more, spread."""
    x = numbers((M, N), dtype, seed)
    wide = np.full((3 * M + 2, 3 * N + 2), np.nan, dtype)
    if layout == "columns":
        return on_device(np.ascontiguousarray(x.T)).T, x
    if layout == "wide":
        wide[:M, 1 : N + 1] = x
        return on_device(wide)[:M, 1 : N + 1], x
    if layout == "tall":
        wide[1 : M + 1, :N] = x
        return on_device(np.ascontiguousarray(wide.T)).T[1 : M + 1, :N], x
    if layout == "every second":
        wide[: 2 * M : 2, : 2 * N : 2] = x
        return on_device(wide)[: 2 * M : 2, : 2 * N : 2], x
    if layout == "one for all":
        return strict.xp.broadcast_to(on_device(x[:1]), (M, N)), np.broadcast_to(x[:1], (M, N))
    return on_device(x), x


@quick
@given(lengths, lengths, lengths, layouts, layouts, st.sampled_from(sorted(BOUNDS)))
def test_products_of_matrices_in_any_layout(M, K, N, layout_a, layout_b, dtype):
    (a, x), (b, y) = matrix(M, K, layout_a, dtype, 1), matrix(K, N, layout_b, dtype, 2)
    found = numpy_of(products.matmul_forward(a, b))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, x @ y, atol=BOUNDS[dtype] * 10)
    assert cublas_stand_in.CALLS[-1].beta == 0


@quick
@given(lengths, lengths, lengths, st.sampled_from(["rows", "wide"]), st.booleans())
def test_products_are_written_or_added_to_rows_of_a_wider_matrix(M, K, N, layout, add):
    a, b = numbers((M, K), seed=1), numbers((K, N), seed=2)
    out, before = matrix(M, N, layout, "float32", 3)
    assert products.product(on_device(a), on_device(b), out, add) is out
    np.testing.assert_allclose(numpy_of(out), a @ b + (before if add else 0), atol=1e-4)
    whole = out if out.base is None else out.base
    outside = np.isnan(numpy_of(whole)).sum()
    assert layout == "rows" or outside == (3 * M + 2) * (3 * N + 2) - M * N  # the neighbours are untouched


@pytest.mark.parametrize(
    "shapes", [((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (3, 4, 5))]
)
def test_batches_are_one_call(shapes):
    assert_equal_to_plain(matmul_forward, *(numbers(shape, seed=i, order="first") for i, shape in enumerate(shapes)))
    assert len(cublas_stand_in.CALLS) == 2 and cublas_stand_in.CALLS[0].count >= 2  # one for each of two runs


def test_transposed_matrices_are_not_copied():
    a, b = on_device(numbers((3, 4))), on_device(numbers((5, 4)))
    products.matmul_forward(a, b.T), products.matmul_forward(a.T, a)
    assert [call.operations for call in cublas_stand_in.CALLS] == [(1, 0), (0, 1)]


def test_linear():
    x, weight, bias = numbers((7, 5)), numbers((3, 5), seed=1), numbers((3,), seed=2)
    assert_equal_to_plain(linear_forward, x, weight, bias)
    assert_equal_to_plain(linear_forward, x, weight, None)


@pytest.mark.parametrize("name, compute, bits", [("highest", 68, 23), ("high", 77, 10), ("medium", 75, 7)])
def test_factors_have_the_precision_asked_for(name, compute, bits):
    a, b = numbers((8, 16)), numbers((16, 8), seed=1)
    try:
        minidl.set_float32_matmul_precision(name)
        found = numpy_of(products.product(on_device(a), on_device(b)))
    finally:
        minidl.set_float32_matmul_precision("highest")
    assert cublas_stand_in.CALLS[-1].compute == compute
    np.testing.assert_allclose(found, to_bits(a, bits) @ to_bits(b, bits), atol=1e-5)


def test_every_stream_has_a_handle_and_a_workspace_of_its_own(cublas):
    streams = iter([7, 8, 7])
    cublas.stream = lambda: next(streams)
    handles = [cublas.handle().value for _ in range(3)]
    assert handles[0] == handles[2] != handles[1]


def test_a_failure_is_an_error(cublas):
    cublas.functions.cublasCreate_v2 = lambda handle: 3
    with pytest.raises(RuntimeError, match="cuBLAS failed with status 3"):
        products.product(on_device(numbers((2, 2))), on_device(numbers((2, 2))))


@pytest.mark.parametrize("order", ["last", "first", "slice"])
def test_pointwise_convolutions_are_products(order):
    x, weight, grad = numbers((2, 5, 3, 4), order=order), numbers((6, 5, 1, 1), seed=1), numbers((2, 6, 3, 4), seed=2)
    assert_equal_to_plain(convolution.conv2d_forward, x, weight)
    assert_equal_to_plain(convolution.conv2d_input_grad, grad, weight, x.shape)
    assert_equal_to_plain(convolution.conv2d_weight_grad, grad, x, weight.shape)
    assert len(cublas_stand_in.CALLS) == 6
    total = on_device(numbers(x.shape, seed=3))
    convolution.conv2d_input_grad(on_device(grad), on_device(weight), x.shape, out=total, accumulate=True)
    expected = numbers(x.shape, seed=3) + convolution.conv2d_input_grad.plain(grad, weight, x.shape)
    np.testing.assert_allclose(numpy_of(total), expected, atol=1e-5)
    assert cublas_stand_in.CALLS[-1].beta == 1
