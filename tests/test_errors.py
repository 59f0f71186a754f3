"""Every wrong shape, dtype, device or option: one clear line with the argument, what was found, what is accepted."""

import numpy as np
import pytest

import minidl

X = minidl.ones(8, 3, 6, 6)
W = minidl.ones(16, 4, 3, 3)
V = minidl.ones(2, 3)
LABELS = minidl.tensor([0, 1])

ERRORS = {
    "conv2d channels": (
        lambda: minidl.conv2d(X, W),
        "`input` has 3 channels but `weight` takes 4: shapes (8, 3, 6, 6) and (16, 4, 3, 3)",
    ),
    "conv2d axes": (lambda: minidl.conv2d(V, W), "must have 4 axes, found shapes (2, 3) and (16, 4, 3, 3)"),
    "conv2d bias": (lambda: minidl.conv2d(X, minidl.ones(4, 3, 1, 1), minidl.ones(3)), "`bias` has shape (3,) but"),
    "conv2d groups": (
        lambda: minidl.conv2d(X, minidl.ones(4, 1, 1, 1), groups=3),
        "`groups` is 3, which does not divide",
    ),
    "conv2d stride": (lambda: minidl.conv2d(X, minidl.ones(4, 3, 1, 1), stride=0), "`stride` is 0; accepted"),
    "conv2d padding": (lambda: minidl.conv2d(X, minidl.ones(4, 3, 1, 1), padding=-1), "`padding` is -1; accepted"),
    "conv2d word": (lambda: minidl.conv2d(X, minidl.ones(4, 3, 1, 1), padding="full"), "`padding` is 'full'; accepted"),
    "conv2d same": (
        lambda: minidl.conv2d(X, minidl.ones(4, 3, 1, 1), stride=2, padding="same"),
        "'same' needs stride 1",
    ),
    "conv2d pair": (lambda: minidl.conv2d(X, minidl.ones(4, 3, 1, 1), stride=(1, 2, 3)), "`stride` is (1, 2, 3)"),
    "conv2d small": (lambda: minidl.conv2d(X, minidl.ones(4, 3, 9, 1)), "`input` of height 6"),
    "conv2d dtype": (
        lambda: minidl.conv2d(X, minidl.ones(4, 3, 1, 1).double()),
        "`input` is float32 but `weight` is float64",
    ),
    "conv_transpose2d": (
        lambda: minidl.conv_transpose2d(X, minidl.ones(3, 2, 3, 3), output_padding=1),
        "`output_padding` is 1; accepted",
    ),
    "max_pool2d": (
        lambda: minidl.max_pool2d(V, 2),
        "`input` must have 4 axes (N, C, H, W), or 3 without a batch, found shape (2, 3)",
    ),
    "max_pool2d padding": (lambda: minidl.max_pool2d(X, 2, padding=2), "`padding` is 2"),
    "max_pool2d size": (lambda: minidl.max_pool2d(X, 9), "window"),
    "avg_pool2d": (lambda: minidl.avg_pool2d(X, 2, divisor_override=0), "`divisor_override` is 0"),
    "adaptive max": (lambda: minidl.adaptive_max_pool2d(V, 2), "`input` must have 4 axes"),
    "adaptive": (lambda: minidl.adaptive_avg_pool2d(X, 0), "`output_size` is (0, 0); accepted"),
    "linear": (
        lambda: minidl.linear(V, minidl.ones(4, 5)),
        "`input` of shape (2, 3) does not fit `weight` of shape (4, 5)",
    ),
    "linear bias": (lambda: minidl.linear(V, minidl.ones(4, 3), minidl.ones(3)), "`bias` has shape (3,)"),
    "matmul": (lambda: V @ V, "inner lengths 3 and 2"),
    "matmul scalar": (lambda: V @ minidl.tensor(1.0), "accepted: no scalars"),
    "reshape": (lambda: V.reshape(4, 2), "`shape` is (4, 2) but the tensor has 6 elements in shape (2, 3)"),
    "reshape twice": (lambda: V.reshape(-1, -1), "`shape` is (-1, -1)"),
    "broadcast": (
        lambda: V.broadcast_to(2, 4),
        "`shape` is (2, 4), which a tensor of shape (2, 3) does not broadcast to",
    ),
    "expand": (lambda: V.expand(-1, 2, 3), "`sizes` is (-1, 2, 3)"),
    "flatten": (lambda: V.flatten(1, 0), "`start_dim` is 1 but `end_dim` is 0"),
    "permute": (lambda: V.permute(0, 0), "`dims` is (0, 0); accepted: each axis"),
    "transpose": (lambda: V.transpose(0), "transpose() swaps `dim0` and `dim1`"),
    "sum": (lambda: V.sum(2), "`dim` is 2; accepted for a tensor of 2 axes: -2 to 1"),
    "squeeze": (lambda: V.squeeze(-3), "`dim` is -3; accepted"),
    "concat": (lambda: minidl.concat([V, X]), "`tensors[1]` has shape (8, 3, 6, 6) but `tensors[0]` has (2, 3)"),
    "concat nothing": (lambda: minidl.concat([]), "`tensors` is empty"),
    "split": (lambda: V.split([1, 3], 1), "`split_size_or_sections` adds up to 4 but axis 1 has length 3"),
    "split size": (lambda: V.split(0), "`split_size_or_sections` is 0; accepted"),
    "chunk": (lambda: V.chunk(0), "`chunks` is 0; accepted"),
    "pad": (lambda: V.pad((1, 2, 3)), "`pad` has 3 widths; accepted"),
    "pad mode": (lambda: V.pad((1, 1), mode="mirror"), "`mode` is 'mirror'; accepted: 'constant', 'reflect'"),
    "pad reflect": (
        lambda: V.pad((1, 3), mode="reflect"),
        "`pad` is (1, 3) for axis 1 of length 3; accepted for `mode` 'reflect': less than the length",
    ),
    "pad circular": (lambda: V.pad((4, 0), mode="circular"), "`mode` 'circular': at most the length"),
    "pad replicate": (lambda: minidl.zeros(0).pad((1, 0), "replicate"), "'replicate': an axis that is not empty"),
    "pad value": (lambda: V.pad((1, 1), mode="reflect", value=2.0), "`value` is 2.0 with `mode` 'reflect'; accepted"),
    "clamp": (lambda: V.clamp(), "`min` and `max` are both None"),
    "gelu": (lambda: minidl.gelu(V, approximate="erf"), "`approximate` is 'erf'; accepted: 'none', 'tanh'"),
    "batch_norm": (
        lambda: minidl.batch_norm_train(X, minidl.ones(4)),
        "`weight` has shape (4,) but `input` has 3 channels",
    ),
    "batch_norm one": (lambda: minidl.batch_norm_train(minidl.ones(1, 3)), "training needs 2"),
    "layer_norm": (lambda: minidl.layer_norm(V, (4,)), "`normalized_shape` is (4,) but `input` has shape (2, 3)"),
    "local_response_norm": (lambda: minidl.local_response_norm(X, 0), "`size` is 0; accepted: an integer >= 1"),
    "cross_entropy labels": (
        lambda: minidl.cross_entropy(V, minidl.tensor([0, 3])),
        "`target` holds 3; accepted: 0 to 2",
    ),
    "cross_entropy negative": (
        lambda: minidl.cross_entropy(V, minidl.tensor([0, -1])),
        "`target` holds -1; accepted: 0 to 2",
    ),
    "cross_entropy shape": (lambda: minidl.cross_entropy(V, minidl.tensor([0])), "`target` has shape (1,)"),
    "cross_entropy dtype": (lambda: minidl.cross_entropy(V, minidl.ones(2)), "`target` must hold integers"),
    "cross_entropy weight": (
        lambda: minidl.cross_entropy(V, LABELS, minidl.ones(2)),
        "`weight` has shape (2,) but `input` has 3",
    ),
    "cross_entropy smoothing": (
        lambda: minidl.cross_entropy(V, LABELS, label_smoothing=2),
        "`label_smoothing` is 2; accepted",
    ),
    "cross_entropy reduction": (
        lambda: minidl.cross_entropy(V, LABELS, reduction="avg"),
        "`reduction` is 'avg'; accepted: 'mean'",
    ),
    "cross_entropy axes": (lambda: minidl.cross_entropy(minidl.tensor(1.0), LABELS), "accepted: (K,), (N, K) or"),
    "nll_loss labels": (lambda: minidl.nll_loss(V, minidl.tensor([0, -1])), "`target` holds -1; accepted: 0 to 2"),
    "mse_loss": (lambda: minidl.mse_loss(V, minidl.ones(3)), "`input` has shape (2, 3) but `target` has (3,)"),
    "dropout": (lambda: minidl.dropout(V, 1.5), "`p` is 1.5; accepted: 0 to 1"),
    "item": (lambda: V.item(), "item() of a tensor of `shape` (2, 3); accepted: one element"),
    "len": (lambda: len(minidl.tensor(1.0)), "len() of a 0-d tensor"),
    "numpy": (lambda: minidl.ones(1, requires_grad=True).numpy(), "use .detach().numpy()"),
    "asarray": (lambda: np.asarray(minidl.ones(1, requires_grad=True)), "use .detach().numpy()"),
    "text": (lambda: minidl.tensor(["a"]), "`data` is of type list and dtype <U1; accepted: numbers"),
    "device": (lambda: minidl.ones(1, device="tpu"), "`device` is 'tpu'; accepted"),
    "seed": (lambda: minidl.manual_seed(-1), "`seed` is -1; accepted: an integer from 0"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_argument_found_and_accepted(name):
    function, message = ERRORS[name]
    with pytest.raises((ValueError, TypeError, IndexError, RuntimeError)) as error:
        function()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
