"""Seeded faults in the kernels, plain and fast, in fused operations and in blocks of branches."""

import numpy as np
import pytest
from faults import after, drawn, fast, fast_form, fault, first, instead, plain_form, reference, test_of

from minidl.kernels import convolution, elementwise, losses, matmul, normalisation, pooling, random, winograd
from minidl.ops import branches

# ---------------------------------------------------------------- plain forms


def im2col_swapped(right, x, kernel_size, *a, **o):
    """Rows and columns of the window exchanged."""
    columns = right(x, kernel_size, *a, **o)
    if kernel_size[0] != kernel_size[1]:
        return columns
    return columns.reshape(-1, *kernel_size, x.shape[1]).swapaxes(1, 2).reshape(columns.shape)


def col2im_overwriting(right, columns, input_shape, kernel_size, stride, padding, dilation):
    """= in place of += where windows overlap."""
    N, C, H, W = input_shape
    OH, OW = convolution.output_size((H, W), kernel_size, stride, padding, dilation)
    image = np.zeros((N, H + sum(padding[0]), W + sum(padding[1]), C), columns.dtype)
    windows = columns.reshape(N, OH, OW, *kernel_size, C)
    for u, v in np.ndindex(*kernel_size):
        image[:, u * dilation[0] :: stride[0], v * dilation[1] :: stride[1]][:, :OH, :OW] = windows[:, :, :, u, v]
    return image[:, padding[0][0] :, padding[1][0] :][:, :H, :W].transpose(0, 3, 1, 2)


def turned(right, grad, weight, *a, **o):
    return right(grad, np.ascontiguousarray(weight[:, :, ::-1, ::-1]), *a, **o)


def shifted(axis):
    return lambda right, *a, **o: np.roll(right(*a, **o), 1, axis)


fault("im2col", "swapped strides", plain_form(convolution.im2col, im2col_swapped), first("conv2d"))
fault("col2im", "dropped +=", plain_form(convolution.col2im, col2im_overwriting), first("conv2d"))
fault("conv2d plain", "input gradient with the window turned", plain_form(convolution.conv2d_input_grad, turned),
      first("conv2d"))  # fmt: skip
fault("conv2d plain", "input gradient off by one column", plain_form(convolution.conv2d_input_grad, shifted(3)),
      first("conv2d"))  # fmt: skip
fault("conv2d plain", "groups of the weight gradient in the wrong order", plain_form(
    convolution.conv2d_weight_grad, lambda right, *a, groups=1, **o: np.concatenate(
        np.split(right(*a, groups=groups, **o), groups)[::-1])), first("conv2d"))  # fmt: skip


def last_of_equals(right, x, kernel_size, *a, **o):
    """The last maximum of a window wins: the first of the image turned round."""
    y, _ = right(x, kernel_size, *a, **o)
    turned = right(np.ascontiguousarray(x[:, :, ::-1, ::-1]), kernel_size, *a, **o)[1]
    return y, (kernel_size[0] * kernel_size[1] - 1 - turned[:, :, ::-1, ::-1]).astype(turned.dtype)


def zero_wins(right, x, kernel_size, stride, padding, *a, **o):
    """Padding of 0 in place of minus infinity."""
    y, argmax = right(x, kernel_size, stride, padding, *a, **o)
    return (np.maximum(y, 0) if any(padding) else y), argmax


def overwritten(right, grad, argmax, input_shape, kernel_size, stride, *a, **o):
    """Overlapping windows keep one gradient only: here those of even rows."""
    grad = grad.copy()
    if kernel_size[0] > stride[0]:
        grad[:, :, 1::2] = 0
    return right(grad, argmax, input_shape, kernel_size, stride, *a, **o)


fault("max_pool2d plain", "last of equals wins", plain_form(pooling.max_pool2d, last_of_equals),
      reference("max_pool2d/ties"))  # fmt: skip
fault("max_pool2d plain", "padding of zeros wins", plain_form(pooling.max_pool2d, zero_wins), first("max_pool2d"))
fault("max_pool2d plain", "dropped += in the scatter", plain_form(pooling.max_unpool_scatter, overwritten),
      first("max_pool2d"))  # fmt: skip
fault("avg_pool2d plain", "padding counted in the backward only", plain_form(
    pooling.avg_pool2d_grad, lambda right, *a, **o: right(*a, **o | dict(count_include_pad=True))),
    first("avg_pool2d"))  # fmt: skip
fault("adaptive_avg_pool2d", "end of a bin rounded down", instead(
    pooling, "adaptive_bins", lambda right, size, count: [(a, max(a + 1, (i + 1) * size // count))
                                                          for i, (a, _) in enumerate(right(size, count))]),
    first("adaptive_avg_pool2d"))  # fmt: skip
fault("adaptive_avg_pool2d", "every bin of the mean size in the backward", plain_form(
    pooling.adaptive_avg_pool2d_grad, lambda right, grad, shape, *a, **o: right(np.ones_like(grad), shape) * grad.mean()),
    first("adaptive_avg_pool2d"))  # fmt: skip
fault("winograd", "a sign in one entry of B", instead(winograd, "matrices", lambda right, *a, **o: right(*a, **o)._replace(
    BT=tuple(tuple(-v if (i, j) == (2, 1) else v for j, v in enumerate(row)) for i, row in enumerate(right(*a, **o).BT)))),
    lambda: _winograd().test_one_dimension_is_exact(4, 3))  # fmt: skip
fault("winograd", "the points in the wrong order in G", instead(winograd, "matrices", lambda right, *a, **o: right(
    *a, **o)._replace(G=right(*a, **o).G[1::-1] + right(*a, **o).G[2:])), lambda: test_of(
        _winograd().test_plain_form_is_the_definition, examples=20)())  # fmt: skip

# ---------------------------------------------------------------- fast forms (these need Numba)


def _winograd():
    import test_kernels_winograd

    return test_kernels_winograd


try:
    import test_kernels_convolution as convolutions
    import test_kernels_other as others

    from minidl.kernels import convolution_direct_cpu as direct
    from minidl.kernels import convolution_weight_cpu as weights
    from minidl.kernels import normalisation_cpu, pooling_cpu, winograd_cpu, winograd_weight_cpu
except (ImportError, pytest.skip.Exception):
    HAVE_NUMBA = False
else:
    HAVE_NUMBA = True


def cpu_convolutions():
    """Faults of the register tile's convolutions and of Winograd's."""
    place = "conv2d cpu"
    forward, to_input = test_of(convolutions.test_forward), test_of(convolutions.test_gradient_to_input)
    fault(place, "padding off by one column", instead(
        direct, "layout", lambda right, *a: right(*a[:7], (a[7][0], a[7][1] + 1), *a[8:])), forward)  # fmt: skip
    fault(place, "swapped strides", instead(
        direct, "layout", lambda right, *a: right(*a[:6], a[6][::-1], *a[7:])), forward)  # fmt: skip
    fault(place, "ReLU left out", fast_form(
        convolution.conv2d, lambda right, *a, relu=False, **o: right(*a, relu=False, **o)), forward)  # fmt: skip
    fault(place, "bias added twice", fast_form(
        convolution.conv2d, lambda right, x, w, bias=None, **o: right(x, w, None if bias is None else 2 * bias, **o)),
        forward)  # fmt: skip
    fault(place, "wrong tile remainder: the last row of pixels not written", fast_form(
        convolution.conv2d, lambda right, x, w, *a, **o: _without_last(right(x, w, *a, **o))), forward)  # fmt: skip
    fault(place, "dropped += into a joint gradient", fast_form(
        convolution.conv2d_input_grad, lambda right, *a, accumulate=False, **o: right(*a, accumulate=False, **o)),
        to_input)  # fmt: skip
    fault(place, "a stride's phase begins one row late", after(
        direct, "phases", lambda phases, *a: (p._replace(origin=p.origin + (a[2] > 1)) for p in phases)),
        to_input)  # fmt: skip
    fault(place, "padding of even windows mirrored in the input gradient", fast_form(
        convolution.conv2d_input_grad, lambda right, *a, padding=((0, 0), (0, 0)), **o: right(
            *a, padding=tuple(p[::-1] for p in padding), **o)), to_input)  # fmt: skip
    fault("conv2d cpu", "the last chunk of the weight gradient dropped", lambda monkeypatch: monkeypatch.setattr(
        weights, "team", _Team()), test_of(convolutions.test_gradient_to_weight))  # fmt: skip
    fault("matmul cpu", "last row of the tile lost", fast_form(
        matmul.matmul, lambda right, a, b: _without_last(right(a, b), -2)), test_of(convolutions.test_matmul))  # fmt: skip
    tests = _winograd()
    fault("winograd cpu", "window not turned in the input gradient", instead(
        winograd_cpu, "conv2d_input_grad", turned), test_of(tests.test_input_grad))  # fmt: skip
    fault("winograd cpu", "last column of an incomplete tile", instead(
        winograd_cpu, "conv2d", lambda right, *a, **o: _without_last(right(*a, **o), 3)), test_of(tests.test_forward))
    fault("winograd cpu", "weight gradient transposed", instead(
        winograd_weight_cpu, "conv2d_weight_grad", lambda right, *a, **o: np.ascontiguousarray(
            right(*a, **o).swapaxes(2, 3))), test_of(tests.test_weight_grad))  # fmt: skip


def _without_last(y, axis=2):
    """`y` with the last of several rows zero."""
    if y is not NotImplemented and y.shape[axis] > 1:
        np.moveaxis(y, axis, 0)[-1] = 0
    return y


class _Team:
    """The team, which leaves out the last of several chunks."""

    def __getattr__(self, name):
        return getattr(direct.team, name)

    def run(self, kernel, tasks, *arguments):
        if len(arguments) == 6:  # the sums of the chunks
            arguments = (arguments[0], max(1, arguments[1] - 1), *arguments[2:])
        return direct.team.run(kernel, tasks, *arguments)


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
    fault("max_pool2d cpu", "a pixel misses its last window", after(
        pooling_cpu, "axes", lambda tables, *a: without_last_pixel(tables)), test_of(others.test_max_pool))  # fmt: skip
    fault("max_pool2d cpu", "last of equals wins", fast_form(pooling.max_pool2d, last_of_equals), test_of(others.test_max_pool))
    fault("max_pool2d cpu", "dropped += into a joint gradient", fast_form(
        pooling.max_unpool_scatter, lambda right, *a, accumulate=False, **o: right(*a, **o)), test_of(others.test_max_pool))
    fault("avg_pool2d cpu", "1/N missing in the adjoint", fast_form(
        pooling.avg_pool2d_grad, lambda right, *a, **o: right(*a, **o) * a[0].dtype.type(2)), fast("avg_pool2d"))
    place, kernel = "batch_norm_train cpu", normalisation.batch_norm_train_grad
    fault(place, "stale mean in the backward", fast_form(
        kernel, lambda right, g, x, w, b, mean, *a, **o: right(g, x, w, b, mean * 0, *a, **o)), fast("batch_norm_train"))
    fault(place, "stale deviation in the backward", fast_form(
        kernel, lambda right, g, x, w, b, mean, invstd, *a, **o: right(g, x, w, b, mean, invstd * 0 + 1, *a, **o)),
        drawn("batch_norm_train"))  # fmt: skip
    fault(place, "gradients of scale and shift swapped", fast_form(
        kernel, lambda right, *a, **o: (lambda r: (r[0], r[2], r[1]))(right(*a, **o))), fast("batch_norm_train"))
    fault(place, "ReLU's mask missing in the backward", fast_form(
        kernel, lambda right, *a, **o: right(*a[:6], False, *a[7:], **o)), _case("batch_norm_train/relu"))  # fmt: skip
    fault(place, "pieces merged without the distance of their means", instead(
        normalisation_cpu, "_merge", merged_by_mean), others.test_channel_statistics_survive_a_mean_far_above_the_deviation)
    fault("batch_norm_eval cpu", "variance in place of the deviation", fast_form(
        normalisation.batch_norm_eval, lambda right, x, w, b, mean, var, eps, *a, **o: right(
            x, w, b, mean, (var + eps) ** 2 - eps, eps, *a, **o)), fast("batch_norm_eval"))  # fmt: skip
    fault("layer_norm cpu", "gradient of the scale of one row only", fast_form(
        normalisation.layer_norm_grad, lambda right, g, *a: _second(right, g, *a)), fast("layer_norm"))  # fmt: skip
    fault("local_response_norm cpu", "term of the neighbours missing in the backward", fast_form(
        normalisation.local_response_norm_grad, lambda right, g, x, size, *a, **o: right(g, x, 1, *a, **o)),
        fast("local_response_norm"))  # fmt: skip
    fault("cross_entropy cpu", "missing 1/N", fast_form(
        losses.cross_entropy_grad, lambda right, g, logits, *a, **o: right(g * len(logits), logits, *a, **o)), fast("cross_entropy"))
    fault("cross_entropy cpu", "ignored rows get a gradient", fast_form(
        losses.cross_entropy_grad, lambda right, g, logits, target, *a, **o: np.where(
            (target == o["ignore_index"])[:, None], logits, right(g, logits, target, *a, **o))), fast("cross_entropy"))
    fault("dropout cpu", "the mask of another memory order", fast_form(
        random.dropout, lambda right, x, *a: right(x.reshape(len(x), -1), *a).reshape(x.shape)), fast("dropout"))  # fmt: skip
    fault("relu cpu", "gradient passes at 0", fast_form(
        elementwise.relu_grad, lambda right, g, y: g * (y >= 0)), lambda: others.test_elementwise_passes(np.float32, 0))


def _second(right, g, *a):
    dx, dweight, dbias = right(g, *a)
    return dx, dweight, None if dbias is None else g.reshape(-1, a[1])[0].reshape(dbias.shape).copy()


def merged_by_mean(right, sums, pixels, C, size):
    mean, _ = right(sums, pixels, C, size)
    return mean, (sums[:, 2, :C] - sums[:, 1, :C] ** 2 / size).sum(0) / pixels * 0.9


def _case(name):
    """The checker on a row of its own table."""
    from minidl.gradcheck import check_gradients
    from minidl.gradcheck.cases import cases_named, inputs_of

    (case,) = cases_named(name)
    return lambda: check_gradients(case.function, *inputs_of(case), **case.options)


# ---------------------------------------------------------------- blocks of branches


def block_check():
    """The block as one operation against its ordinary path."""
    import test_branches

    with pytest.MonkeyPatch.context() as monkeypatch:
        runs = test_branches.runs.__wrapped__(monkeypatch) if hasattr(test_branches.runs, "__wrapped__") else None
        test_branches.test_the_block_equals_its_ordinary_path("float64", 1e-11, "cifar", runs)


def block_faults():
    """Faults in how a block shares its buffers."""
    fault("branches", "outputs joined in the wrong order", instead(
        branches, "slices", lambda right, joint, widths: right(joint, widths[::-1])[::-1]), block_check)  # fmt: skip
    fault("branches", "slices of the siblings swapped", instead(
        branches.Siblings, "slices", lambda right, self, joint: _swapped(right(self, joint))), block_check)  # fmt: skip
    fault("branches", "weight gradients of the siblings swapped", after(
        branches.Siblings, "backward", lambda dx, self, dz: _swap_gradients(self.units) or dx), block_check)  # fmt: skip
    fault("branches", "gradient through the pool not added", instead(
        branches.Pool, "backward", lambda right, self, grad, out: None), block_check)  # fmt: skip
    fault("branches", "statistics of another unit", after(
        branches.BranchesOp, "all_units", lambda units, self: [units[3], *units[1:3], units[0], *units[4:]]), block_check)  # fmt: skip


def _swapped(pieces):
    shapes = [p.shape for p in pieces]
    i, j = next((i, j) for i in range(len(shapes)) for j in range(i) if shapes[i] == shapes[j])
    pieces[i], pieces[j] = pieces[j], pieces[i]
    return pieces


def _swap_gradients(units):
    units[0].dweight, units[1].dweight = units[0].dweight[::-1], units[1].dweight[::-1]


if HAVE_NUMBA:
    cpu_convolutions()
    cpu_passes()
    block_faults()
