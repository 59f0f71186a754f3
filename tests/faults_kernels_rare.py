"""Seeded faults in what the CPU's kernels rarely do: odd strides, wide windows, grouped biases, remainders."""

import numpy as np
import pytest
from faults import fast_form, fault, instead, test_of
from numpy.lib.stride_tricks import as_strided

from minidl import backend
from minidl.ops import convolution, elementwise, matmul, reduction

try:
    import test_kernels_convolution as convolutions
    import test_kernels_other as others
    import test_kernels_products as products
    import test_models as models
    import test_nn_inference as folded

    from minidl.kernels.cpu import activations, losses, optimisers
    from minidl.kernels.cpu.blocks.folded import FoldedPlan
    from minidl.kernels.cpu.blocks.programs import Step
    from minidl.kernels.cpu.machine import compilation, kept
except (ImportError, pytest.skip.Exception):
    HAVE_NUMBA = False
else:
    HAVE_NUMBA = True


def side_by_side(x):
    """The images of a batch as if each began where the one before ends."""
    dense = x.shape[2] * x.strides[2]
    return as_strided(x, x.shape, (dense, *x.strides[1:])) if 0 < dense < x.strides[0] else x


def adjacent(x):
    """The numbers of channels-first images as if they were channels-last."""
    N, C, H, W = x.shape
    is_first = x.flags.c_contiguous and not backend.is_channels_last(x)
    return x.reshape(N, H, W, C).transpose(0, 3, 1, 2) if is_first else x


def backwards(x):
    """An array whose rows lie backwards, read forwards."""
    return x[:, :, :, ::-1] if x.strides[3] < 0 else x


def narrow(array):
    """Windows without what lies beyond column 8."""
    array = array.copy("K")
    array[..., 8:] = 0
    return array


def _without_from(count, axis=0):
    """The result, without what lies from `count` on."""

    def change(y):
        np.moveaxis(y, axis, 0)[count:] = 0
        return y

    return change


def reading():
    """Faults in how inputs are read."""
    places = [
        (convolution.conv2d_forward, 0, test_of(convolutions.test_forward)),
        (convolution.conv2d_input_grad, 0, test_of(convolutions.test_gradient_to_input)),
        (convolution.conv2d_weight_grad, 0, test_of(convolutions.test_gradient_to_weight)),
        (convolution.conv2d_weight_grad, 1, test_of(convolutions.test_gradient_to_weight)),
    ]
    for kernel, i, check in places:
        for change in (side_by_side, adjacent, backwards):

            def wrong(right, *a, i=i, change=change, **o):
                return right(*a[:i], change(a[i]), *a[i + 1 :], **o)

            name = f"{kernel.__name__}: argument {i} {change.__name__.replace('_', ' ')}"
            fault("rare paths cpu", name, fast_form(kernel, wrong), check)


def windows_and_biases():
    """Faults in wide windows and in the biases of groups."""
    forward = test_of(convolutions.test_forward)
    place = "rare paths cpu"
    wider = test_of(convolutions.test_windows_wider_than_a_tile_has_rows, np.float32, 1, (1, 9))

    def biased(change):
        def wrong(right, x, w, bias=None, *a, groups=1, **o):
            bias = change(bias, groups) if bias is not None and groups > 1 else bias
            return right(x, w, bias, *a, groups=groups, **o)

        return fast_form(convolution.conv2d_forward, wrong)

    wide = fast_form(convolution.conv2d_forward, lambda right, x, w, *a, **o: right(x, narrow(w), *a, **o))
    fault(place, "forward: windows end at column 8", wide, wider)
    wide = fast_form(convolution.conv2d_input_grad, lambda right, g, w, *a, **o: right(g, narrow(w), *a, **o))
    fault(place, "gradient to the input: windows end at column 8", wide, wider)
    wide = fast_form(convolution.conv2d_weight_grad, lambda right, *a, **o: narrow(right(*a, **o)))
    fault(place, "gradient to the weight: windows end at column 8", wide, wider)
    repeated = biased(lambda b, n: np.resize(b[: len(b) // n], len(b)))
    fault(place, "every group has the first one's bias", repeated, forward)
    fault(place, "groups have no bias", biased(lambda b, n: None), forward)
    cut = biased(lambda b, n: b * (np.arange(len(b)) < len(b) - len(b) // n))
    fault(place, "the last group has no bias", cut, forward)


def remainders():
    """Faults in the last task, tile or panel."""
    forward, to_weight = test_of(convolutions.test_forward), test_of(convolutions.test_gradient_to_weight)
    product = test_of(convolutions.test_matmul)
    rows = [
        (convolution.conv2d_weight_grad, "outputs from the second panel on", _without_from(48), to_weight),
        (convolution.conv2d_weight_grad, "outputs from 64 on", _without_from(64), to_weight),
        (convolution.conv2d_weight_grad, "inputs from 16 on", _without_from(16, 1), to_weight),
        (convolution.conv2d_forward, "outputs from the second panel on", _without_from(48, 1), forward),
        (convolution.conv2d_forward, "images from the ninth on", _without_from(8), forward),
        (convolution.conv2d_forward, "pixels from the 16th of a row on", _without_from(16, 3), forward),
        (matmul.matmul_forward, "columns from the second panel on", _without_from(48, -1), product),
    ]
    for kernel, name, change, check in rows:
        wrong = fast_form(kernel, lambda right, *a, change=change, **o: change(right(*a, **o)))
        fault("rare paths cpu", f"{kernel.__name__}: without {name}", wrong, check)
    last = fast_form(elementwise.relu_forward, lambda right, x: _without_last_number(right(x)))
    check = lambda: others.test_elementwise_passes(np.float32, 0)  # noqa: E731
    fault("rare paths cpu", "relu_forward: the last number is not written", last, check)


def dense():
    """Faults in what prepares matrix products and sums: which strides, where a block begins, what is left over."""
    place, module = "dense cpu", products.forms
    forms = test_of(products.test_every_form_gives_the_same_bits_and_the_right_ones)
    batch = test_of(products.test_a_row_has_the_same_bits_alone_and_among_others)

    def planned(**changes):
        def wrong(right, *a):
            plan = right(*a)
            return plan._replace(**{name: change(plan) for name, change in changes.items()})

        return instead(products.algorithms, "_plan", wrong)

    def without_size(place, value):
        return lambda p: (*p.sizes[:place], value(p.sizes[place]), *p.sizes[place + 1 :])

    fault(
        place, "the last step of the reduction left out", planned(sizes=without_size(2, lambda K: max(1, K - 1))), forms
    )
    fault(place, "operands of turned products not exchanged", planned(turned=lambda p: 0), forms)
    fault(place, "columns that lie apart are not packed", planned(sizes=without_size(5, lambda packed: 0)), forms)
    no_bias = instead(module, "product", lambda right, a, b, out=None, bias=None: right(a, b, out))
    fault(place, "bias left out", no_bias, forms)
    fault(place, "one row alone is computed in another order", instead(module, "product", _one_row_backwards), batch)
    rest = fast_form(reduction.sum_forward, lambda right, x, *a: right(x[: max(1, len(x) - 1)], *a))
    fault(place, "sum_forward: the last image left out", rest, test_of(products.test_sums_over_all_but_the_channels))


def blocks_of_folded_networks():
    """Faults in what is kept of weights, and where the layers of a block read and write."""
    place, packed = "folded block cpu", convolutions.test_weights_that_cannot_change_are_packed_once
    by_flag = lambda right, array: not array.flags.writeable  # noqa: E731
    for name in ("1x1", "winograd 3x3", "depthwise"):
        what = f"weights that are read-only for now are kept, {name}"
        fault("kept cpu", what, instead(kept, "is_constant", by_flag), test_of(packed, name))
    view = lambda right, array: array.view()  # noqa: E731
    packed = test_of(packed, "direct")
    fault("kept cpu", "a constant is another view of the weights", instead(backend, "constant", view), packed)
    noticed = folded.test_other_weights_in_a_folded_network_are_noticed
    fault(place, "other weights are not noticed", instead(FoldedPlan, "is_current", lambda *_: True), noticed)
    for dtype in ("float32", "float64"):
        at_once = test_of(folded.test_a_block_launched_at_once_equals_its_steps_one_by_one, dtype)
        fault(place, f"a layer writes before its channels, {dtype}", instead(Step, "launches", _before), at_once)
        groups = test_of(folded.test_blocks_with_rare_layers_equal_their_steps_one_by_one, "groups", dtype)
        fault(place, f"a group reads the first channels, {dtype}", instead(Step, "launches", _without(2)), groups)


def arrays_that_lie_otherwise():
    """Faults in arrays that are not next to each other, or in another order than their neighbours; labels; biases."""
    in_order = lambda right, *arrays: right(*arrays) or [a.ravel("K") for a in arrays]  # noqa: E731
    gelu = test_of(others.test_gelu_is_its_definition_computed_in_float64, 1, 3)
    fault("gelu cpu", "a gradient in another order is read as it lies", instead(activations, "alike", in_order), gelu)
    update = test_of(others.test_arrays_of_an_update_may_lie_in_memory_as_they_like, (0, 1, 2, 3, 4), "apart")
    fault("adam_update cpu", "what lies between is updated", instead(optimisers, "alike", lambda *_: True), update)
    labels = test_of(others.test_labels_are_integers_of_any_kind, "int32")
    unseen = instead(losses, "_require_classes", _of_64_bits)
    fault("cross_entropy cpu", "labels of 32 bits are not looked at", unseen, labels)
    constant = lambda right, array: right(array) or array.ndim == 1  # noqa: E731
    fault("kept cpu", "a bias that may change", instead(kept, "is_constant", constant), _biases)
    found_again = convolutions.test_machine_code_is_found_again_where_kernels_call_kernels
    by_object = lambda patch: patch.setattr(compilation, "Dispatcher", ())  # noqa: E731
    by_code = instead(compilation, "dumps", lambda *_: b"")
    fault("machine code cpu", "found by objects that are new in each process", by_object, found_again)
    fault("machine code cpu", "found by its code alone", by_code, found_again)
    own_names = convolutions.test_kernels_that_differ_in_what_they_close_over_have_names_of_their_own
    one_name = instead(compilation, "_fingerprint", lambda *_: "")
    fault("machine code cpu", "one name for two kernels", one_name, own_names)


def _biases():
    with pytest.MonkeyPatch().context() as monkeypatch:
        convolutions.test_what_is_kept_goes_by_bias_and_shape_and_is_not_more_than_allowed(monkeypatch)


def _of_64_bits(right, target, *args):
    return right(target, *args) if target.dtype == np.int64 else None


def networks():
    """A gradient one in a hundred too large, in single precision: close to what a ReLU that decides otherwise does."""
    whole = models.test_outputs_loss_statistics_and_all_gradients_equal_pytorch
    check = test_of(whole, "cifar", 16, 3, True, False, "float32", 12, 2e-3, 5e-3)
    for kernel in (convolution.conv2d_weight_grad, convolution.conv2d_input_grad):
        fault("network cpu", f"1.01 times {kernel.plain.__name__}", fast_form(kernel, _larger), check)


def _larger(right, *args, **options):
    result = right(*args, **options)
    if result is not NotImplemented:
        result *= result.dtype.type(1.01)
    return result


def _before(right, *args):
    """The launches of a step that writes from the first channel of its array on."""
    return [(*row[:3], row[3]._replace(first=0), *row[4:]) for row in right(*args)]


def _without(i):
    """The launches of a step with number `i` zero."""
    return lambda right, *args: [(*row[:i], 0, *row[i + 1 :]) for row in right(*args)]


def _one_row_backwards(right, a, b, out=None, bias=None):
    return right(a[:, ::-1], b[::-1], out, bias) if len(a) == 1 else right(a, b, out, bias)


def _without_last_number(y):
    if y is not NotImplemented and y.ndim:
        y[tuple(n - 1 for n in y.shape)] = -1
    return y


if HAVE_NUMBA:
    reading()
    windows_and_biases()
    remainders()
    dense()
    blocks_of_folded_networks()
    networks()
    arrays_that_lie_otherwise()
