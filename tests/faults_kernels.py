"""Seeded faults in the plain kernels and in blocks of branches; ``faults_kernels_cpu.py`` has the fast forms'."""

import numpy as np
import pytest
from faults import after, fault, first, instead, plain_form, reference, test_of

from minidl.kernels.cpu.convolution import winograd
from minidl.ops import average_pooling, convolution, geometry, im2col, max_pooling


def winograd_tests():
    """The module of Winograd's tests, which needs Numba."""
    import test_kernels_winograd

    return test_kernels_winograd


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
    OH, OW = geometry.output_size((H, W), kernel_size, stride, padding, dilation)
    image = np.zeros((N, H + sum(padding[0]), W + sum(padding[1]), C), columns.dtype)
    windows = columns.reshape(N, OH, OW, *kernel_size, C)
    for u, v in np.ndindex(*kernel_size):
        image[:, u * dilation[0] :: stride[0], v * dilation[1] :: stride[1]][:, :OH, :OW] = windows[:, :, :, u, v]
    return image[:, padding[0][0] :, padding[1][0] :][:, :H, :W].transpose(0, 3, 1, 2)


def turned(right, grad, weight, *a, **o):
    return right(grad, np.ascontiguousarray(weight[:, :, ::-1, ::-1]), *a, **o)


def shifted(axis):
    return lambda right, *a, **o: np.roll(right(*a, **o), 1, axis)


fault("im2col", "swapped strides", plain_form(im2col.im2col_forward, im2col_swapped), first("conv2d"))
fault("col2im", "dropped +=", plain_form(im2col.col2im_forward, col2im_overwriting), first("conv2d"))
fault(
    "conv2d plain",
    "input gradient with the window turned",
    plain_form(convolution.conv2d_input_grad, turned),
    first("conv2d"),
)
fault(
    "conv2d plain",
    "input gradient off by one column",
    plain_form(convolution.conv2d_input_grad, shifted(3)),
    first("conv2d"),
)
fault(
    "conv2d plain",
    "groups of the weight gradient in the wrong order",
    plain_form(
        convolution.conv2d_weight_grad,
        lambda right, *a, groups=1, **o: np.concatenate(np.split(right(*a, groups=groups, **o), groups)[::-1]),
    ),
    first("conv2d"),
)


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


fault(
    "max_pool2d plain",
    "last of equals wins",
    plain_form(max_pooling.max_pool2d_forward, last_of_equals),
    reference("max_pool2d/ties"),
)
fault(
    "max_pool2d plain", "padding of zeros wins", plain_form(max_pooling.max_pool2d_forward, zero_wins),
    first("max_pool2d"),
)
fault(
    "max_pool2d plain",
    "dropped += in the scatter",
    plain_form(max_pooling.max_pool2d_scatter, overwritten),
    first("max_pool2d"),
)
fault(
    "avg_pool2d plain",
    "padding counted in the backward only",
    plain_form(
        average_pooling.avg_pool2d_adjoint, lambda right, *a, **o: right(*a, **o | dict(count_include_pad=True))
    ),
    first("avg_pool2d"),
)
fault(
    "adaptive_avg_pool2d",
    "end of a bin rounded down",
    instead(
        average_pooling,
        "adaptive_bins",
        lambda right, size, count: [
            (a, max(a + 1, (i + 1) * size // count)) for i, (a, _) in enumerate(right(size, count))
        ],
    ),
    first("adaptive_avg_pool2d"),
)
fault(
    "adaptive_avg_pool2d",
    "every bin of the mean size in the backward",
    plain_form(
        average_pooling.adaptive_avg_pool2d_adjoint,
        lambda right, grad, shape, *a, **o: right(np.ones_like(grad), shape) * grad.mean(),
    ),
    first("adaptive_avg_pool2d"),
)
fault(
    "winograd",
    "a sign in one entry of B",
    instead(
        winograd,
        "matrices",
        lambda right, *a, **o: right(*a, **o)._replace(
            BT=tuple(
                tuple(-v if (i, j) == (2, 1) else v for j, v in enumerate(row))
                for i, row in enumerate(right(*a, **o).BT)
            )
        ),
    ),
    lambda: winograd_tests().test_one_dimension_is_exact(4, 3),
)
fault(
    "winograd",
    "the points in the wrong order in G",
    instead(
        winograd,
        "matrices",
        lambda right, *a, **o: right(*a, **o)._replace(G=right(*a, **o).G[1::-1] + right(*a, **o).G[2:]),
    ),
    lambda: test_of(winograd_tests().test_plain_form_is_the_definition, examples=20)(),
)

# ---------------------------------------------------------------- blocks of branches


def block_check():
    """The block as one operation against its ordinary path."""
    import test_branches

    with pytest.MonkeyPatch.context() as monkeypatch:
        runs = test_branches.runs.__wrapped__(monkeypatch) if hasattr(test_branches.runs, "__wrapped__") else None
        test_branches.test_the_block_equals_its_ordinary_path("float64", 1e-11, "cifar", runs)


def block_faults():
    """Faults in how a block shares its buffers."""
    try:
        from minidl.kernels.cpu.blocks import training
        from minidl.kernels.cpu.normalisation import channels
    except ImportError:
        return
    fault(
        "branches cpu",
        "outputs joined in the wrong order",
        instead(training, "slices", lambda right, joint, widths: right(joint, widths[::-1])[::-1]),
        block_check,
    )
    fault(
        "branches cpu",
        "weights of the siblings joined in another order than their outputs",
        instead(training.Block, "joint_weight", lambda right, self, xp: xp.concatenate(_swapped(self))),
        block_check,
    )
    fault(
        "branches cpu",
        "weight gradients of the siblings turned round",
        after(training, "_below", lambda pieces, *a: [piece[::-1] for piece in pieces]),
        block_check,
    )
    fault(
        "branches cpu",
        "gradient through the pool not added",
        instead(training, "max_pool2d_scatter", lambda right, *a, **o: None),
        block_check,
    )
    fault(
        "branches cpu",
        "statistics of another layer",
        after(
            training, "_forward", lambda found, *a: (found[0]._replace(means=_first_and_last(found[0].means)), found[1])
        ),
        block_check,
    )
    fault(
        "branches cpu",
        "activations recomputed from the means of the first convolution",
        instead(
            channels, "batch_norms_again", lambda right, z, s, b, means, *a: right(z, s, b, [m * 0 for m in means], *a)
        ),
        block_check,
    )


def _swapped(block):
    """The siblings' weights with two of one shape exchanged."""
    pieces = [block.weights[i] for i in block.siblings]
    shapes = [p.shape for p in pieces]
    i, j = next((i, j) for i in range(len(shapes)) for j in range(i) if shapes[i] == shapes[j])
    pieces[i], pieces[j] = pieces[j], pieces[i]
    return pieces


def _first_and_last(values):
    """Two values of one shape exchanged."""
    values = list(values)
    i, j = next((i, j) for i in range(len(values)) for j in range(i) if values[i].shape == values[j].shape)
    values[i], values[j] = values[j], values[i]
    return values


block_faults()
