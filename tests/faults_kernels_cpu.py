"""Seeded faults in the fast forms on the CPU. Compiled code is left as it is; what calls it is not."""

import numpy as np
import pytest
import test_table_networks
from faults import after, drawn, fast, fast_form, fault, instead, test_of
from faults_kernels import last_of_equals, turned, winograd_tests

from minidl.ops import average_pooling, convolution, dropout, elementwise, matmul, max_pooling

try:
    import test_kernels_convolution as convolutions
    import test_kernels_other as others

    from minidl.kernels.cpu import activations, losses
    from minidl.kernels.cpu import elementwise as passes
    from minidl.kernels.cpu.convolution import depthwise, direct, neighbours
    from minidl.kernels.cpu.convolution import weight as weights
    from minidl.kernels.cpu.convolution import winograd_forward as winograd_cpu
    from minidl.kernels.cpu.convolution import winograd_weight as winograd_weight_cpu
    from minidl.kernels.cpu.machine import team
    from minidl.kernels.cpu.normalisation import channels, rows
    from minidl.kernels.cpu.normalisation import moments as moments_cpu
    from minidl.kernels.cpu.pooling import maximum as pooling_cpu
except (ImportError, pytest.skip.Exception):
    HAVE_NUMBA = False
else:
    HAVE_NUMBA = True


def fits_side_by_side(right, image, pooled, kernel, stride, *_):
    """The question without those about a rest, dilation and padding."""
    return stride == kernel and all(n >= m * s for n, m, s in zip(image, pooled, stride))


def cpu_convolutions():
    """Faults of the register tile's convolutions and of Winograd's."""
    place = "conv2d cpu"
    forward, to_input = test_of(convolutions.test_forward), test_of(convolutions.test_gradient_to_input)
    fault(
        place,
        "padding off by one column",
        instead(direct, "layout", lambda right, *a: right(*a[:7], (a[7][0], a[7][1] + 1), *a[8:])),
        forward,
    )
    fault(
        place,
        "swapped strides",
        instead(direct, "layout", lambda right, *a: right(*a[:6], a[6][::-1], *a[7:])),
        forward,
    )
    fault(
        place,
        "ReLU left out",
        fast_form(convolution.conv2d_forward, lambda right, *a, relu=False, **o: right(*a, relu=False, **o)),
        forward,
    )
    fault(
        place,
        "bias added twice",
        fast_form(
            convolution.conv2d_forward,
            lambda right, x, w, bias=None, **o: right(x, w, None if bias is None else 2 * bias, **o),
        ),
        forward,
    )
    fault(
        place,
        "wrong tile remainder: the last row of pixels not written",
        fast_form(convolution.conv2d_forward, lambda right, x, w, *a, **o: _without_last(right(x, w, *a, **o))),
        forward,
    )
    fault(
        place,
        "dropped += into a joint gradient",
        fast_form(
            convolution.conv2d_input_grad, lambda right, *a, accumulate=False, **o: right(*a, accumulate=False, **o)
        ),
        to_input,
    )
    fault(
        place,
        "a stride's phase begins one row late",
        after(direct, "phases", lambda phases, *a: [p._replace(origin=p.origin + (a[2] > 1)) for p in phases]),
        to_input,
    )
    fault(
        place,
        "padding of even windows mirrored in the input gradient",
        fast_form(
            convolution.conv2d_input_grad,
            lambda right, *a, padding=((0, 0), (0, 0)), **o: right(*a, padding=tuple(p[::-1] for p in padding), **o),
        ),
        to_input,
    )
    fault(
        "conv2d cpu",
        "the last chunk of the weight gradient dropped",
        lambda monkeypatch: monkeypatch.setattr(weights, "team", _Team()),
        test_of(convolutions.test_gradient_to_weight),
    )
    shared = test_of(
        convolutions.test_pixels_that_share_a_vector_have_the_bits_of_the_direct_algorithm, 4, 28, (3, 3), np.float32
    )
    fault(
        place,
        "pixels that share a vector all see the window of the first",
        instead(
            neighbours, "widened", lambda right, w, G: right(w, G)[:, :, :, np.arange(w.shape[3] + G - 1) % w.shape[3]]
        ),
        shared,
    )
    fault(
        place,
        "of pixels that share a vector only the first has a say in the weight's gradient",
        after(neighbours, "added", lambda total, wide, G: wide[: len(wide) // G, :, :, : wide.shape[3] - G + 1]),
        shared,
    )
    fault(
        "depthwise cpu",
        "windows at the right border see one column too few",
        after(depthwise, "stretches", lambda table, *a: np.vstack([table[:-1], table[-1:] - [0, 0, 0, 1]])),
        forward,
    )
    fault(
        "depthwise cpu",
        "weights packed with rows and columns of the window exchanged",
        instead(depthwise, "launch", lambda right, x, w, *a, **o: right(x, _transposed(w), *a, **o)),
        to_input,
    )
    fault(
        "depthwise cpu",
        "the last chunk of the weight gradient dropped",
        instead(depthwise, "added", lambda right, sums: right(sums[: max(1, len(sums) - 1)])),
        test_of(convolutions.test_gradient_to_weight),
    )
    fault(
        "matmul cpu",
        "last row of the tile lost",
        fast_form(matmul.matmul_forward, lambda right, a, b: _without_last(right(a, b), -2)),
        test_of(convolutions.test_matmul),
    )
    tests = winograd_tests()
    fault(
        "winograd cpu",
        "window not turned in the input gradient",
        instead(winograd_cpu, "input_grad", turned),
        test_of(tests.test_input_grad),
    )
    fault(
        "winograd cpu",
        "last column of an incomplete tile",
        instead(tests, "forward", lambda right, *a, **o: _without_last(right(*a, **o), 3)),
        test_of(tests.test_forward),
    )
    fault(
        "winograd cpu",
        "weights that are transformed late in another order",
        after(winograd_cpu, "taps_of", lambda found, weight: found[::-1].copy()),
        test_of(tests.test_weights_that_are_transformed_late_give_the_same_bits, 70, 40, 16),
    )
    fault(
        "winograd cpu",
        "weight gradient transposed",
        instead(
            winograd_weight_cpu,
            "weight_grad",
            lambda right, *a, **o: np.ascontiguousarray(right(*a, **o).swapaxes(2, 3)),
        ),
        test_of(tests.test_weight_grad),
    )


def _without_last(y, axis=2):
    """`y` with the last of several rows zero."""
    if y is not NotImplemented and y.shape[axis] > 1:
        np.moveaxis(y, axis, 0)[-1] = 0
    return y


class _Team:
    """The team, which leaves out the last of several chunks."""

    def __getattr__(self, name):
        return getattr(team, name)

    def run(self, kernel, tasks, *arguments):
        if len(arguments) == 6:  # the sums of the chunks
            arguments = (arguments[0], max(1, arguments[1] - 1), *arguments[2:])
        return team.run(kernel, tasks, *arguments)


def without_last_pixel(tables):
    """The backward's tables, every pixel with one window less."""
    changed = []
    for by_window, by_pixel in tables:
        by_pixel = by_pixel.copy()
        by_pixel[:, 0] = np.maximum(by_pixel[:, 0] - 1, 1 * (by_pixel[:, 0] > 0))
        changed.append((by_window, by_pixel))
    return changed


def cpu_passes():
    """Faults of pooling, normalisation, losses, dropout and element-wise passes."""
    fault(
        "max_pool2d cpu",
        "a pixel misses its last window",
        after(pooling_cpu, "axes", lambda tables, *a: without_last_pixel(tables)),
        test_of(others.test_max_pool),
    )
    fault(
        "max_pool2d cpu",
        "windows that leave a rest are taken for ones side by side",
        instead(pooling_cpu, "_side_by_side", fits_side_by_side),
        test_of(others.test_max_pool),
    )
    fault(
        "max_pool2d cpu",
        "last of equals wins",
        fast_form(max_pooling.max_pool2d_forward, last_of_equals),
        test_of(others.test_max_pool),
    )
    fault(
        "max_pool2d cpu",
        "dropped += into a joint gradient",
        fast_form(max_pooling.max_pool2d_scatter, lambda right, *a, accumulate=False, **o: right(*a, **o)),
        test_of(others.test_max_pool),
    )
    fault(
        "avg_pool2d cpu",
        "1/N missing in the adjoint",
        fast_form(average_pooling.avg_pool2d_adjoint, lambda right, *a, **o: right(*a, **o) * a[0].dtype.type(2)),
        fast("avg_pool2d"),
    )
    place, kernel = "batch_norm_train cpu", (channels, "batch_norms_train_grad")
    fault(
        place,
        "stale mean in the backward",
        instead(*kernel, lambda right, g, x, w, b, mean, *a, **o: right(g, x, w, b, [m * 0 for m in mean], *a, **o)),
        fast("batch_norm_train"),
    )
    fault(
        place,
        "stale deviation in the backward",
        instead(
            *kernel,
            lambda right, g, x, w, b, mean, invstd, *a: right(g, x, w, b, mean, [i * 0 + 1 for i in invstd], *a),
        ),
        drawn("batch_norm_train"),
    )
    fault(
        place,
        "gradients of scale and shift swapped",
        instead(*kernel, lambda right, *a: [(dx, dbias, dweight) for dx, dweight, dbias in right(*a)]),
        fast("batch_norm_train"),
    )
    fault(
        place,
        "ReLU's mask missing in the backward",
        instead(*kernel, lambda right, *a, **o: right(*a[:6], False, *a[7:], **o)),
        _case("batch_norm_train/relu"),
    )
    fault(
        place,
        "pieces merged without the distance of their means",
        instead(moments_cpu, "_merge", merged_by_mean),
        others.test_channel_statistics_survive_a_mean_far_above_the_deviation,
    )
    fault(
        place,
        "channels that fill no vector are left out, of results that stay in the caches",
        after(channels, "_apply", lambda ys, *_: [_whole_vectors(y) for y in ys]),
        _near_and_far,
    )
    fault(
        "batch_norm_eval cpu",
        "variance in place of the deviation",
        instead(
            channels.BatchNormEval,
            "forward",
            lambda right, x, mean, var, w, b, eps, relu: right(x, mean, (var + eps) ** 2 - eps, w, b, eps, relu),
        ),
        fast("batch_norm_eval"),
    )
    fault(
        "layer_norm cpu",
        "gradient of the scale of one row only",
        instead(rows.LayerNorm, "backward", _second),
        fast("layer_norm"),
    )
    fault(
        "local_response_norm cpu",
        "term of the neighbours missing in the backward",
        instead(rows.LocalResponseNorm, "backward", lambda right, g, saved, size, **o: right(g, saved, 1, **o)),
        fast("local_response_norm"),
    )
    fault(
        "cross_entropy cpu",
        "missing 1/N",
        instead(
            losses.CrossEntropy,
            "backward",
            lambda right, grads, saved, **o: right([g * len(saved.inputs[0]) for g in grads], saved, **o),
        ),
        fast("cross_entropy"),
    )
    fault(
        "cross_entropy cpu",
        "ignored rows get a gradient",
        instead(losses.CrossEntropy, "backward", _ignored_rows_count),
        fast("cross_entropy"),
    )
    fault(
        "dropout cpu",
        "the mask of another memory order",
        fast_form(dropout.dropout_forward, lambda right, x, *a: right(x.reshape(len(x), -1), *a).reshape(x.shape)),
        fast("dropout"),
    )
    fault(
        "gelu cpu",
        "the gradient is 0.01 too small",
        instead(activations.Gelu, "backward", lambda right, g, saved: (right(g, saved)[0] - 0.01 * g[0],)),
        lambda: others.test_gelu_is_its_definition_computed_in_float64(0, 0),
    )
    fault(
        "relu cpu",
        "gradient passes at 0",
        fast_form(elementwise.relu_grad, lambda right, g, y: g * (y >= 0)),
        lambda: others.test_elementwise_passes(np.float32, 0),
    )
    fault(
        "relu cpu",
        "axes of a channels-last result left in the order of memory, which no kernel takes",
        after(passes, "memory_order", lambda found, *_: (found[0], found[0])),
        lambda: others.test_elementwise_passes(np.float32, 1),
    )
    fault(
        "googlenet cpu",
        "one part in 100,000 too much in every batch norm's gradient",
        instead(channels, kernel[1], lambda right, *a: [_scaled(part, 1 + 1e-5) for part in right(*a)]),
        test_table_networks.test_every_eleventh_parameter_of_the_network_for_small_images,
    )


def _whole_vectors(y):
    """`y` whose channels after the last vector of four are zero, where it is written vector after vector."""
    if channels._ways([y]) == [channels.NEAR]:
        y[:, y.shape[1] // 4 * 4 :] = 0
    return y


def _near_and_far():
    with pytest.MonkeyPatch.context() as monkeypatch:
        others.test_results_that_pass_the_caches_by_are_the_same(monkeypatch, np.float32, 29, (0, 0))


def _transposed(weight):
    """Windows (C, kh, kw) with rows and columns exchanged, in the same shape."""
    return weight.transpose(0, 2, 1).reshape(weight.shape)


def _scaled(result, factor):
    dx, *rest = result
    dx *= factor  # it may lie in a joint buffer
    return dx, *rest


def _second(right, grads, saved, **options):
    dx, dweight, dbias = right(grads, saved, **options)
    return dx, dweight, None if dbias is None else grads[0].reshape(-1, dbias.size)[0].reshape(dbias.shape).copy()


def _ignored_rows_count(right, grads, saved, **options):
    logits, target, _ = saved.inputs
    dlogits, *rest = right(grads, saved, **options)
    return np.where((target == options["ignore_index"])[:, None], logits, dlogits), *rest


def merged_by_mean(right, sums, pixels, C, size, mean, var):
    right(sums, pixels, C, size, mean, var)
    var[:] = (sums[:, 2, :C] - sums[:, 1, :C] ** 2 / size).sum(0) / pixels * 0.9


def _case(name):
    """The checker on a row of its own table."""
    from minidl.gradcheck import check_gradients
    from minidl.gradcheck.cases import cases_named, inputs_of

    (case,) = cases_named(name)
    return lambda: check_gradients(case.function, *inputs_of(case), **case.options)


if HAVE_NUMBA:
    cpu_convolutions()
    cpu_passes()
