"""Every fast convolution against the plain one, over shapes that are awkward on purpose."""

import itertools
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import HANG

import minidl
from minidl import backend
from minidl.dispatch import kernels_in_use, using
from minidl.ops import convolution, im2col, matmul

pytest.importorskip("numba", reason="Numba is not installed")
from minidl.kernels.cpu.convolution import algorithms  # noqa: E402
from numba import int64  # noqa: E402
from numba.core.bytecode import FunctionIdentity  # noqa: E402
from numba.core.registry import cpu_target  # noqa: E402

from minidl.kernels.cpu.machine import compilation, team  # noqa: E402
from minidl.kernels.cpu.tile.sweep import TileSize  # noqa: E402

SETTINGS = settings(max_examples=120, deadline=None)
LAYOUTS = st.sampled_from(["last", "first", "slice", "flipped", "every other image"])
DTYPES = st.sampled_from([np.float32, np.float64])


@st.composite
def cases(draw):
    """A convolution's arrays and options: odd sizes, windows larger than the image, groups, strides."""
    small = st.integers(1, 3)
    kernel, stride, dilation = [(draw(small), draw(small)) for _ in range(3)]
    if draw(st.booleans()):  # the common case more often than chance has it
        size = draw(st.sampled_from([1, 3, 5]))
        kernel, stride, dilation = (size, size), (1, 1), (1, 1)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    padding = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2))
    H, W = [max(draw(st.integers(1, 19) | st.just(1)), span - sum(p)) for span, p in zip(spans, padding)]
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    C, K = groups * draw(st.integers(1, 20)), groups * draw(st.sampled_from([1, 2, 5, 16, 17, 40, 70]))
    if draw(st.integers(0, 3)) == 0:  # depthwise; channels are no whole vectors, or a few, or many
        groups = C = K = draw(st.sampled_from([2, 3, 8, 15, 16, 17, 33, 64, 130]))
    N, dtype, layout = draw(st.sampled_from([1, 2, 3, 11])), draw(DTYPES), draw(LAYOUTS)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = arranged(rng.standard_normal((N, C, H, W)).astype(dtype), layout)
    weight = rng.standard_normal((K, C // groups, *kernel)).astype(dtype)
    return x, weight, dict(stride=stride, padding=padding, dilation=dilation, groups=groups), layout, rng


def arranged(x, layout):
    """`x` with other bytes: channels last or first, part of the channels or images of a larger array, backwards."""
    if layout == "first":
        return np.ascontiguousarray(x)
    if layout == "flipped":
        return np.ascontiguousarray(x[:, ::-1, :, ::-1])[:, ::-1, :, ::-1]
    if layout == "every other image":
        N, C, H, W = x.shape
        y = np.full((2 * N, H, W, C), np.nan, x.dtype).transpose(0, 3, 1, 2)[::2]
    elif layout == "slice":
        N, C, H, W = x.shape
        y = np.full((N, H, W, C + 5), np.nan, x.dtype).transpose(0, 3, 1, 2)[:, 3 : C + 3]
    else:
        y = backend.empty_channels_last(x.shape, x.dtype, like=x)
    y[...] = x
    return y


def close(actual, expected, terms):
    """Equal up to rounding: a few times eps * sqrt(terms) of the largest number that can occur."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    assert np.abs(actual - expected).max(initial=0) <= 16 * np.finfo(actual.dtype).eps * terms**0.5 * scale


def both(kernel, *args, **options):
    """The result of the fast form (which must not change its arguments) and that of the plain one."""
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    with algorithms.override(winograd_f4_3=False, winograd_f2_5=False):
        fast = kernel(*args, **options)
    for before, after in zip(copies, args):
        np.testing.assert_array_equal(before, after)
    return fast, kernel.plain(*args, **options)


@SETTINGS
@given(cases(), st.booleans(), st.booleans())
def test_forward(case, with_bias, relu):
    x, weight, options, _, rng = case
    bias = rng.standard_normal(len(weight)).astype(x.dtype) if with_bias else None
    fast, plain = both(convolution.conv2d_forward, x, weight, bias, relu=relu, **options)
    assert backend.is_channels_last(fast)
    close(fast, plain, weight[0].size)


@SETTINGS
@given(cases(), st.booleans())
def test_gradient_to_input(case, accumulate):
    x, weight, options, layout, rng = case
    y = convolution.conv2d_forward.plain(x, weight, **options)
    grad = arranged(rng.standard_normal(y.shape).astype(x.dtype), layout)
    before = arranged(rng.standard_normal(x.shape).astype(x.dtype), "slice")
    results = []
    for kernel in (convolution.conv2d_input_grad, convolution.conv2d_input_grad.plain):
        out = arranged(before, "slice")
        kernel(grad, weight, x.shape, out=out, accumulate=accumulate, **options)
        results.append(out)
    close(*results, terms=weight[:, 0].size)


@pytest.mark.parametrize("kernel", [(1, 9), (2, 11), (9, 9), (3, 17)], ids=str)
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_windows_wider_than_a_tile_has_rows(dtype, groups, kernel):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 6 // groups, *kernel)).astype(dtype)
    x, options = (
        arranged(rng.standard_normal((2, 6, 11, 19)).astype(dtype), "last"),
        dict(padding=((4, 4), (4, 8)), groups=groups),
    )
    fast, plain = both(convolution.conv2d_forward, x, weight, **options)
    close(fast, plain, weight[0].size)
    close(*both(convolution.conv2d_input_grad, plain, weight, x.shape, **options), terms=weight[:, 0].size)
    close(*both(convolution.conv2d_weight_grad, plain, x, weight.shape, **options), terms=plain[:, 0].size)


@SETTINGS
@given(cases())
def test_gradient_to_weight(case):
    x, weight, options, layout, rng = case
    y = convolution.conv2d_forward.plain(x, weight, **options)
    grad = arranged(rng.standard_normal(y.shape).astype(x.dtype), layout)
    fast, plain = both(convolution.conv2d_weight_grad, grad, x, weight.shape, **options)
    close(fast, plain, y[:, 0].size)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_read_only_output_is_refused(groups):
    x, weight = np.ones((1, 4, 5, 5), np.float32), np.ones((4, 4 // groups, 3, 3), np.float32)
    for kernel, shape in ((convolution.conv2d_forward, (1, 4, 3, 3)), (convolution.conv2d_input_grad, (1, 4, 7, 7))):
        out = arranged(np.full(shape, 7, np.float32), "last")
        out.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            kernel(x, weight, *([shape] if shape[2] == 7 else []), groups=groups, out=out)
        assert (out == 7).all()


# images, channels in, height and width, channels out, window
WIDE = [(9, 96, 8, 100, 1), (5, 99, 7, 48, 1), (4, 136, 9, 700, 1), (3, 40, 9, 33, 3)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", WIDE, ids=str)
def test_gradient_to_the_weight_of_wide_layers(shape, dtype):
    """More blocks, panels and groups than random shapes have."""
    N, C, H, K, k = shape
    rng = np.random.default_rng(0)
    x = arranged(rng.standard_normal((N, C, H, H)).astype(dtype), "last")
    grad = arranged(rng.standard_normal((N, K, H, H)).astype(dtype), "slice")
    padding = ((k // 2, k // 2),) * 2
    fast, plain = both(convolution.conv2d_weight_grad, grad, x, (K, C, k, k), padding=padding)
    close(fast, plain, N * H * H)


@SETTINGS
@given(cases())
def test_output_into_channels_of_a_wider_array(case):
    x, weight, options, _, _ = case
    plain = convolution.conv2d_forward.plain(x, weight, **options)
    N, K, OH, OW = plain.shape
    wide = np.full((N, OH, OW, K + 7), 7, x.dtype).transpose(0, 3, 1, 2)
    out = wide[:, 2 : K + 2]
    assert convolution.conv2d_forward(x, weight, out=out, **options) is out
    close(out, plain, weight[0].size * 9)  # with Winograd where the table says so
    assert (wide[:, :2] == 7).all() and (wide[:, K + 2 :] == 7).all()


@SETTINGS
@given(cases())
def test_im2col_and_col2im_are_adjoint(case):
    x, weight, options, _, rng = case
    geometry = dict(kernel_size=weight.shape[2:], **{k: v for k, v in options.items() if k != "groups"})
    columns = im2col.im2col_forward(x, **geometry)
    other = rng.standard_normal(columns.shape).astype(x.dtype)
    image = im2col.col2im_forward(other, x.shape, **geometry)
    left, right = np.vdot(columns.astype(float), other), np.vdot(x.astype(float), image)
    assert abs(left - right) <= 1e-4 * max(1, np.abs(columns).sum())


@SETTINGS
@given(st.lists(st.integers(1, 70), min_size=3, max_size=3), DTYPES, st.booleans(), st.booleans(), st.integers(0, 9))
def test_matmul(sizes, dtype, flip_a, flip_b, seed):
    M, K, N = sizes
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((K, M) if flip_a else (M, K)).astype(dtype)
    b = rng.standard_normal((N, K) if flip_b else (K, N)).astype(dtype)
    fast, plain = both(matmul.matmul_forward, a.T if flip_a else a, b.T if flip_b else b)
    close(fast, plain, K)


def test_matmul_of_batches_and_odd_operands():
    rng = np.random.default_rng(0)
    shapes = [((4, 3, 5), (5, 2)), ((2, 1, 3, 5), (4, 5, 6)), ((3, 5), (7, 5, 2)), ((0, 5), (5, 3)), ((2, 0), (0, 3))]
    for a, b in shapes:
        a, b = rng.standard_normal(a), rng.standard_normal(b)
        fast, plain = both(matmul.matmul_forward, a, b)
        close(fast, plain, 5)
    mixed = np.ones((2, 3), np.float32), np.ones((3, 2))
    assert matmul.matmul_forward(*mixed).dtype == np.float64
    np.testing.assert_array_equal(matmul.matmul_forward(np.ones((2, 3), int), np.ones((3, 2), int)), np.full((2, 2), 3))


def test_a_stride_beyond_the_window_costs_no_more_than_the_zeros_between():
    """As many convolutions as the window has rows, however many places lie between them."""
    from minidl.kernels.cpu.convolution.direct import phases

    empty = backend.empty_channels_last

    def dirty(*args, **options):
        array = empty(*args, **options)
        array[...] = np.nan
        return array

    assert len(phases(3 * 10**6 + 3, 3, 10**6, 0, 1)) == len(phases(7, 3, 5, 0, 2)) == 3
    grad, weight = minidl.randn(2, 3, 1, 4), minidl.randn(3, 2, 1, 3)
    for stride in (4, 1000):
        with using("plain"):
            expected = minidl.conv_transpose2d(grad, weight, stride=(1, stride)).data
        with mock.patch.object(backend, "empty_channels_last", dirty):
            found = minidl.conv_transpose2d(grad, weight, stride=(1, stride)).data
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_stride_on_images_of_one_pixel():
    """Rows of one pixel each are one row of many pixels, whatever the stride."""
    x = np.arange(11 * 8, dtype=np.float32).reshape(11, 8, 1, 1)
    fast, plain = both(convolution.conv2d_forward, x, np.eye(8, dtype=np.float32)[:, :, None, None], stride=(2, 2))
    np.testing.assert_array_equal(fast, plain)


def test_nan_passes_through_and_relu_keeps_it():
    x = np.ones((1, 16, 4, 4), np.float32)
    x[0, 3, 1, 1] = np.nan
    y = convolution.conv2d_forward(x, -np.ones((5, 16, 1, 1), np.float32), relu=True)
    assert np.isnan(y[:, :, 1, 1]).all() and np.isnan(y).sum() == 5 and np.nansum(y) == 0


# window, images, channels of a group
KEPT = {
    "1x1": (1, 5, 16),
    "direct": (3, 2, 16),
    "winograd 3x3": (3, 16, 16),
    "winograd 5x5": (5, 16, 16),
    "depthwise": (3, 2, 1),
}


@pytest.mark.skipif(kernels_in_use() == "plain", reason="the fast forms are switched off")
@pytest.mark.parametrize("name", KEPT)
def test_weights_that_cannot_change_are_packed_once(name):
    from minidl.kernels.cpu.machine.kept import _kept

    rng, (window, images, each) = np.random.default_rng(0), KEPT[name]
    outputs = 17 if each == 16 else 16
    x = rng.standard_normal((images, 16, 8, 8)).astype(np.float32)
    weight = rng.standard_normal((outputs, each, window, window)).astype(np.float32)
    options = dict(padding=((window // 2, window // 2),) * 2, groups=16 // each)
    run = lambda weight: [  # noqa: E731
        convolution.conv2d_forward(x, weight, **options),
        convolution.conv2d_input_grad(np.ones((images, outputs, 8, 8), np.float32), weight, x.shape, **options),
    ]
    fresh = run(weight)
    before, view = len(_kept), weight.view()
    weight.flags.writeable = False  # a flag that may be set again: nothing may be kept
    run(weight)
    weight.flags.writeable = True
    weight *= 2
    weight.flags.writeable = False
    np.testing.assert_array_equal(run(weight)[0], 2 * fresh[0])
    view /= 2  # made before
    for a, b in zip(fresh, run(weight)):
        np.testing.assert_array_equal(a, b)
    assert len(_kept) == before
    same = backend.constant(weight)
    view[...] = 0
    for _ in range(2):
        for a, b in zip(fresh, run(same)):
            np.testing.assert_array_equal(a, b)
    assert len(_kept) == before + 1
    del same
    assert len(_kept) == before


@pytest.mark.skipif(kernels_in_use() == "plain", reason="the fast forms are switched off")
def test_what_is_kept_goes_by_bias_and_shape_and_is_not_more_than_allowed(monkeypatch):
    from minidl.kernels.cpu.machine import kept

    monkeypatch.setattr(kept, "MOST", 3)
    rng = np.random.default_rng(0)
    weight, bias = backend.constant(rng.standard_normal((4, 3, 3, 3))), rng.standard_normal(4)
    for size in (3, 3, 4, 4, 5, 3):
        x = rng.standard_normal((2, 3, size, size))
        for given in (bias, backend.constant(bias), backend.constant(-bias), bias):
            for _ in range(2):
                fast, plain = both(convolution.conv2d_forward, x, weight, given)
                close(fast, plain, 27)
                assert len(kept._kept[id(weight)][1]) <= 3
        bias += 1  # which is no constant


def test_integers_and_mixed_types_take_the_plain_form():
    x, weight = np.ones((1, 2, 3, 3), np.int64), np.ones((1, 2, 2, 2), np.int64)
    assert convolution.conv2d_forward(x, weight)[0, 0].tolist() == [[8, 8], [8, 8]]


# images, channels in, height and width, channels out, window, stride; groups
SHAPES = [
    (3, 13, 11, 70, 3, 1),
    (5, 64, 8, 48, 1, 1),
    (2, 16, 24, 24, 5, 2),
    (1, 3, 30, 16, 7, 2),
    (24, 16, 9, 16, 3, 1),
    (5, 67, 13, 67, 3, 1, 67),
    (3, 130, 12, 130, 5, 2, 130),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_same_bits_for_any_number_of_threads(shape):
    before, results = team.num_threads(), []
    try:
        for threads in (1, 2, 4):
            team.set_num_threads(threads)
            results.append([r.tobytes() for r in all_three(*shape)])
    finally:
        team.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def all_three(N, C, H, K, k, stride, groups=1, dtype=np.float32):
    """Output and both gradients of one convolution on fixed random numbers."""
    rng = np.random.default_rng(0)
    x, weight = [rng.standard_normal(s).astype(dtype) for s in ((N, C, H, H), (K, C // groups, k, k))]
    options = dict(stride=(stride, stride), padding=((k // 2, k // 2),) * 2, groups=groups)
    y = convolution.conv2d_forward(x, weight, **options)
    grad = rng.standard_normal(y.shape).astype(dtype)
    return (
        y,
        convolution.conv2d_input_grad(grad, weight, x.shape, **options),
        convolution.conv2d_weight_grad(grad, x, weight.shape, **options),
    )


def check_all_three():
    """The shapes above, float32 and float64, against the plain forms: what a child process runs."""
    for shape in SHAPES[:4] + SHAPES[5:]:
        for dtype in (np.float32, np.float64):
            with algorithms.override(winograd_f4_3=False, winograd_f2_5=False):
                fast = all_three(*shape, dtype=dtype)
            with using("plain"):
                plain = all_three(*shape, dtype=dtype)
            for a, b, terms in zip(fast, plain, (2000, 2000, 4000)):
                close(a, b, terms)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["sse", "avx2", "neon", "avx512"])
def test_other_vector_units(unit, tmp_path):
    """Code emitted for narrower registers is right as well (LLVM splits what this processor lacks)."""
    environment = dict(os.environ, MINIDL_SIMD=unit, NUMBA_CACHE_DIR=str(tmp_path))
    command = "import test_kernels_convolution as t; t.check_all_three()"
    directory = os.path.dirname(__file__)
    environment["PYTHONPATH"] = os.pathsep.join([directory, os.path.dirname(directory)])
    subprocess.run([sys.executable, "-c", command], env=environment, cwd=directory, check=True, timeout=HANG)


ROOT = Path(__file__).resolve().parents[1]
CACHE = "from minidl.kernels.cpu.machine import compilation, team; "


def test_an_unwritable_cache_is_one_warning():
    command = (
        "import warnings; from pathlib import Path; import numpy, numba, minidl\n"
        "def refuse(self, **options): raise PermissionError(self)\n"
        "Path.mkdir = refuse; import tempfile; tempfile.TemporaryFile = refuse\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    from minidl.kernels.cpu.machine import team\n"
        "assert len(seen) == 1 and 'NUMBA_CACHE_DIR' in str(seen[0].message), seen\n"
    )
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=True, timeout=HANG)


def closing_over(number):
    """A function that calls a kernel which calls another one, with `number` in it."""
    jit = compilation.jit

    @jit
    def innermost(x):
        return x + number

    inner = jit(lambda x: innermost(x))
    return lambda x: inner(x)


def test_kernels_that_differ_in_what_they_close_over_have_names_of_their_own():
    """The linker knows machine code by its name, and Numba numbers it anew in each process: two may meet in a third."""
    found = []
    for number in (1, 2):
        with mock.patch.object(FunctionIdentity, "_unique_ids", itertools.count(1 << 40)):  # as in another process
            found.append(compilation.jit(closing_over(number)))
            assert found[-1](10) == 10 + number
    names = [code.fndesc.llvm_func_name for kernel in found for code in kernel.overloads.values()]
    assert len(set(names)) == 2 == len(names)  # a captured step asks for addresses by these


def test_machine_code_is_found_again_where_kernels_call_kernels():
    """Each process makes kernels anew: the name of their machine code is what they do, not which objects they are."""
    codegen = cpu_target.target_context.codegen()
    key, again, other = [
        compilation._KernelCache(closing_over(number))._index_key((int64,), codegen) for number in (1, 1, 2)
    ]
    assert key == again != other


def test_machine_code_follows_an_edit_of_any_helper(tmp_path):
    """A copy of the engine, in which a helper that other files compile in is edited: the result changes at once."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "minidl", tmp_path / "minidl", ignore=ignore)
    code = (
        "import numpy as np; from minidl.ops.elementwise import relu_forward; from minidl.kernels.cpu.machine import "
        "compilation; print(relu_forward(np.ones(1 << 18, np.float32))[7], compilation.cache_folder().name)"
    )

    def run():
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    value, folder = run()
    assert value == "1.0" and run() == [value, folder]
    helper = tmp_path / "minidl" / "kernels" / "cpu" / "machine" / "flat.py"
    text, times = helper.read_text(), helper.stat()
    stored = "builder.store(args[2], _place(context, builder, signature, args))"
    assert text.count(stored) == 1
    helper.write_text(text.replace("args[2]", "builder.fadd(args[2], args[2])"))
    os.utime(helper, ns=(times.st_atime_ns, times.st_mtime_ns))
    value, other = run()
    assert value == "2.0" and other != folder
    assert [path.name for path in (tmp_path / "cache").glob("*/*")] == [other]  # the old machine code is removed


def test_the_table_can_be_printed_and_overridden():
    case = algorithms.ConvolutionCase("forward", 8, 64, 64, (3, 3), (1, 1), (1, 1), 16, 16)
    assert algorithms.algorithms(case)[-1] == "direct"
    with algorithms.override(winograd_f4_3=False):
        assert algorithms.algorithms(case) == ["direct"]
        assert "switched off" in algorithms.table()
    with pytest.raises(ValueError, match="accepted: winograd_f4_3"), algorithms.override(direct=False):
        pass


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    "K, width, kernel", [(4, 28, (3, 3)), (3, 10, (5, 5)), (2, 15, (1, 2)), (1, 9, (2, 3))], ids=str
)
def test_pixels_that_share_a_vector_have_the_bits_of_the_direct_algorithm(K, width, kernel, dtype):
    rng, frame = np.random.default_rng(0), ((1, 1), (kernel[1] - 1, 0))
    few, many = (arranged(rng.standard_normal((3, n, 6, width)).astype(dtype), "last") for n in (K, 21))
    weight, bias = rng.standard_normal((K, 21, *kernel)).astype(dtype), rng.standard_normal(K).astype(dtype)
    shape = convolution.conv2d_forward.plain(few, weight.transpose(1, 0, 2, 3), padding=frame).shape
    grad = arranged(rng.standard_normal(shape).astype(dtype), "last")

    def results():
        y = convolution.conv2d_forward(many, weight, bias, padding=frame, relu=True)
        dx = convolution.conv2d_input_grad(grad, weight.transpose(1, 0, 2, 3), few.shape, padding=frame)
        twice = convolution.conv2d_input_grad(
            grad, weight.transpose(1, 0, 2, 3), few.shape, padding=frame, out=few.copy("K"), accumulate=True
        )
        return y, dx, [twice, convolution.conv2d_weight_grad(y, many, weight.shape, padding=frame)]

    chosen = algorithms.chosen(many.shape, weight.shape, dtype=np.dtype(dtype).name)
    are_few = 2 * K <= TileSize.of(dtype).lanes
    assert chosen["forward"] == chosen["weight_grad"] == ("neighbours" if are_few else "direct")
    *shared, ours = results()
    with algorithms.override(neighbours=False):
        *alone, theirs = results()
    for a, b in zip(shared, alone):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(ours, theirs):
        close(a, b, 3 * 6 * width)


def test_groups_of_one_channel_are_taken_at_once_or_one_by_one():
    case = algorithms.ConvolutionCase("forward", 2, 1, 1, (3, 3), (1, 1), (1, 1), 9, 9, groups=24)
    assert algorithms.algorithms(case) == ["depthwise"] and algorithms.divided(case) == (case, 1)
    together = all_three(2, 24, 9, 24, 3, 1, groups=24)
    with algorithms.override(depthwise=False):
        assert algorithms.divided(case) == (case._replace(groups=1), 24)
        for a, b in zip(together, all_three(2, 24, 9, 24, 3, 1, groups=24)):
            close(a, b, 200)


def test_depthwise_windows_that_see_nothing_give_the_bias_and_pass_nothing_back():
    """Padding so wide that whole windows lie in it, and a stride that leaves inputs unread; what is outside is NaN."""
    wide = np.full((1, 2, 4, 40), np.nan, np.float32).transpose(0, 3, 1, 2)
    x, weight, bias = wide[:, 3:20], np.ones((17, 1, 2, 2), np.float32), np.arange(17, dtype=np.float32)
    x[...] = 1
    y = convolution.conv2d_forward(x, weight, bias, stride=(3, 3), padding=((5, 5), (5, 5)), groups=17)
    plain = convolution.conv2d_forward.plain(x, weight, bias, stride=(3, 3), padding=((5, 5), (5, 5)), groups=17)
    np.testing.assert_array_equal(y, plain)
    assert (y[0, :, 0, 0] == bias).all() and np.isnan(wide[:, :3]).all()
    x[0, 4, 1, 1] = np.nan
    seen = np.isnan(convolution.conv2d_forward(x, weight, relu=True, groups=17)).any(axis=(0, 2, 3))
    assert seen.nonzero()[0].tolist() == [4]


def test_depthwise_arrays_larger_than_the_caches(monkeypatch):
    """Memory is asked for ahead of its use, which changes nothing."""
    from minidl.kernels.cpu.convolution import depthwise as depthwise_cpu

    near = all_three(3, 20, 9, 20, 3, 2, groups=20)
    monkeypatch.setattr(depthwise_cpu, "FAR", 0)
    for a, b in zip(near, all_three(3, 20, 9, 20, 3, 2, groups=20)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("given, accepted", [("0", True), ("1", True), ("no", False), ("2", False)])
def test_winograd_is_switched_off_by_a_word_that_is_known(given, accepted):
    code = "from minidl.kernels.cpu.convolution import algorithms; print(sorted(algorithms.switched_off()))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ, MINIDL_WINOGRAD=given), capture_output=True, text=True
    )
    if accepted:
        assert done.stdout.strip() == ("['winograd_f2_5', 'winograd_f4_3']" if given == "0" else "[]"), done.stderr
    else:
        assert f"MINIDL_WINOGRAD is '{given}'; accepted: 0, 1" in done.stderr


def test_a_second_thread_and_a_fork_can_convolve_too():
    def convolve():
        found.append([r.tobytes() for r in all_three(*SHAPES[0])])

    found = []
    convolve()
    threads = [threading.Thread(target=convolve) for _ in range(3)]
    for thread in threads:
        thread.start()
    convolve()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 5
    if hasattr(os, "fork"):
        child = os.fork()
        if child == 0:
            convolve()
            os._exit(0 if found[-1] == found[0] else 1)
        assert os.waitpid(child, 0)[1] == 0
