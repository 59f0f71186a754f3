"""Every form of a matrix product against NumPy's in float64 and against each other; sums over all but the channels."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.ops import matmul, reduction

pytest.importorskip("numba", reason="Numba is not installed")
from minidl.kernels.cpu.machine import description, team  # noqa: E402
from minidl.kernels.cpu.products import algorithms, forms  # noqa: E402

LENGTHS = st.integers(1, 9) | st.integers(1, 130) | st.sampled_from([16, 48, 64, 511, 512, 513, 1030])
LAYOUTS = st.sampled_from(["rows", "columns", "every other", "backwards", "wide", "spread"])
DTYPES = st.sampled_from([np.float32, np.float64])


def laid(matrix, layout):
    """The same numbers with other strides; "spread" makes all rows the first one, by a stride of 0."""
    M, N = matrix.shape
    if layout == "columns":
        return np.asfortranarray(matrix)
    if layout == "every other":
        y = np.full((2 * M, 2 * N), np.nan, matrix.dtype)[::2, ::2]
    elif layout == "backwards":
        y = np.empty_like(matrix)[::-1, ::-1]
    elif layout == "wide":
        y = np.full((M, N + 3), np.nan, matrix.dtype)[:, 1 : N + 1]
    else:
        return np.broadcast_to(matrix[0], matrix.shape) if layout == "spread" else matrix
    y[...] = matrix
    return y


@st.composite
def products(draw):
    M, N, K = draw(LENGTHS), draw(LENGTHS), draw(LENGTHS)
    dtype, rng = draw(DTYPES), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    a, b = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
    bias = rng.standard_normal(N).astype(dtype) if draw(st.booleans()) else None
    return laid(a, draw(LAYOUTS)), laid(b, draw(LAYOUTS)), bias


def without(*names):
    return algorithms.override(**dict.fromkeys(names, False))


@settings(max_examples=150, deadline=None)
@given(products())
def test_every_form_gives_the_same_bits_and_the_right_ones(case):
    a, b, bias = case
    kept = a.copy(), b.copy()
    y = forms.product(a, b, bias=bias)
    wanted = a.astype(float) @ b.astype(float) + (0 if bias is None else bias)
    bound = np.abs(a.astype(float)) @ np.abs(b.astype(float)) + (0 if bias is None else np.abs(bias))
    np.testing.assert_array_less(np.abs(y - wanted), (len(b) + 4) * np.finfo(a.dtype).eps * bound + 1e-300)
    if b.shape[1] > 1:
        for off in [("turned",), ("direct",), ("turned", "direct"), ("lengths",), ("lengths", "turned")]:
            with without(*off):
                np.testing.assert_array_equal(forms.product(a, b, bias=bias), y)
    np.testing.assert_array_equal(a, kept[0])
    np.testing.assert_array_equal(b, kept[1])


@settings(max_examples=60, deadline=None)
@given(products(), st.integers(0, 2**32 - 1))
def test_a_row_has_the_same_bits_alone_and_among_others(case, seed):
    a, b, bias = case
    y, rng = forms.product(a, b, bias=bias), np.random.default_rng(seed)
    for count in {1, len(a), *rng.integers(1, len(a) + 1, 2).tolist()}:
        first = int(rng.integers(0, len(a) - count + 1))
        some = a[first : first + count]
        if b.shape[1] > 1 or some.strides == np.ascontiguousarray(some).strides:
            np.testing.assert_array_equal(forms.product(some, b, bias=bias), y[first : first + count])
            with without("lengths"):
                np.testing.assert_array_equal(forms.product(some, b, bias=bias), y[first : first + count])


@pytest.mark.parametrize("layouts", ["rows rows", "rows columns", "columns rows", "columns columns"])
@pytest.mark.parametrize("shape", [(300, 330, 530), (40, 700, 600), (700, 40, 600), (5000, 1, 300)])
def test_bits_do_not_depend_on_threads(shape, layouts):
    (M, N, K), rng = shape, np.random.default_rng(0)
    first, second = layouts.split()
    a, b = rng.standard_normal((M, K), np.float32), rng.standard_normal((K, N), np.float32)
    a, b, before, found = laid(a, first), laid(b, second), team.num_threads(), []
    try:
        for threads in (1, 2, 3):
            team.set_num_threads(threads)
            found.append(forms.product(a, b))
    finally:
        team.set_num_threads(before)
    np.testing.assert_allclose(found[0], a @ b, rtol=1e-3, atol=1e-3)
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()


def test_nan_and_infinity_stay_where_they_belong():
    a, b = np.ones((20, 30), np.float32), np.ones((30, 50), np.float32)
    a[3, 4], b[5, 6] = np.nan, np.inf
    for off in ([], ["direct"], ["turned", "direct"], ["lengths"]):
        for other in (b, np.asfortranarray(b)):
            with without(*off):
                y = forms.product(a, other)
            assert np.isnan(y[3]).all() and np.isfinite(np.delete(np.delete(y, 3, 0), 6, 1)).all()
            assert (np.delete(y, 3, 0)[:, 6] == np.inf).all()


def test_products_of_nothing_are_left_to_the_plain_form():
    for shape in [(0, 3, 4), (3, 0, 4), (3, 4, 0)]:
        M, N, K = shape
        y = matmul.linear_forward(np.ones((M, K)), np.ones((N, K)), np.arange(1.0, N + 1))
        np.testing.assert_array_equal(y, np.full((M, N), float(K)) + np.arange(1.0, N + 1))


def test_the_table_can_be_printed_and_its_last_row_not_switched_off():
    assert [line.split()[0] for line in algorithms.table().splitlines()] == ["dots", "turned", "direct", "packed"]
    with without("direct"):
        assert "direct  rows of B adjacent, at most 32 rows (switched off)" in algorithms.table()
    with pytest.raises(ValueError, match="`override` of packed, fast; accepted: dots, turned, direct, lengths"):
        with contextlib.ExitStack() as stack:
            stack.enter_context(without("packed", "fast"))


def test_a_cache_that_the_system_does_not_tell_has_the_given_size(monkeypatch, tmp_path):
    cache = tmp_path / "index3"
    cache.mkdir()
    for name, text in (("level", "2\n"), ("type", "Unified\n"), ("size", "3M\n")):
        (cache / name).write_text(text)
    (tmp_path / "index1").mkdir()  # without any file in it
    monkeypatch.setattr(description, "CACHES", tmp_path)
    assert description.cache_bytes.__wrapped__(2, 7) == 3 << 20
    assert description.cache_bytes.__wrapped__(1, 7) == 7


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12)), st.integers(1, 70), DTYPES,
    st.sampled_from(["matrix", "image", "slice", "first"]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_sums_over_all_but_the_channels(size, C, dtype, layout, keepdim, large):
    (N, H, W), rng = size, np.random.default_rng(C)
    N *= 9 if large else 1
    if layout == "matrix":
        x, axes = rng.standard_normal((N * H, C + 5)).astype(dtype)[:, 2 : C + 2], (0,)
    else:
        x, axes = rng.standard_normal((N, H, W, C + 5 * (layout == "slice"))).astype(dtype), (0, 2, 3)
        x = x.transpose(0, 3, 1, 2)[:, -C:]
        x = np.ascontiguousarray(x) if layout == "first" else x
    y, wanted = reduction.sum_forward(x, axes, keepdim), x.astype(float).sum(axes, keepdims=keepdim)
    assert y.shape == wanted.shape and y.dtype == dtype
    bound = np.abs(x).astype(float).sum(axes, keepdims=keepdim)
    np.testing.assert_array_less(np.abs(y - wanted), 64 * np.finfo(dtype).eps * bound + 1e-300)


def test_sums_do_not_depend_on_threads():
    x, before = (
        np.random.default_rng(0).standard_normal((32, 28, 28, 8), np.float32).transpose(0, 3, 1, 2), team.num_threads(),
    )
    try:
        team.set_num_threads(1)
        one = reduction.sum_forward(x, (0, 2, 3), False)
        team.set_num_threads(3)
        assert (reduction.sum_forward(x, (0, 2, 3), False) == one).all()
    finally:
        team.set_num_threads(before)
