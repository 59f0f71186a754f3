"""Convolution and pooling: images without a batch, integers, geometry beyond all reason, nothing at all."""

import numpy as np
import pytest
from semantics import check, check_refused, pytorch

import minidl
from minidl import nn
from minidl.dispatch import using

PIXELS = np.arange(24).reshape(1, 2, 3, 4)


def F(L):
    return L.nn.functional


def image(L, dtype="float32"):
    return L.tensor((PIXELS % 7).astype(dtype))


def kernel(L, *shape):
    return L.tensor(np.arange(np.prod(shape)).reshape(shape).astype(np.float32) % 3)


BATCHLESS = {  # of an image (C, H, W); the same of (1, C, H, W) without the first axis
    "conv2d": lambda L, x: F(L).conv2d(x, kernel(L, 3, 2, 2, 2), stride=(1,), padding=np.int64(1)),
    "conv_transpose2d": lambda L, x: F(L).conv_transpose2d(x, kernel(L, 2, 3, 2, 2), stride=2),
    "max_pool2d": lambda L, x: F(L).max_pool2d(x, 2, padding=1),
    "max_pool2d indices": lambda L, x: F(L).max_pool2d(x, 2, 1, return_indices=True)[1],
    "avg_pool2d": lambda L, x: F(L).avg_pool2d(x, (2,), stride=(), padding=(1,)),
    "adaptive_avg_pool2d": lambda L, x: F(L).adaptive_avg_pool2d(x, (2, None)),
    "adaptive_max_pool2d": lambda L, x: F(L).adaptive_max_pool2d(x, 2),
    "unfold": lambda L, x: F(L).unfold(x, 2),
    "fold": lambda L, x: F(L).fold(F(L).unfold(x, 2), (3, 4), 2),
    "Conv2d": lambda L, x: layer(L)(x),
    "MaxPool2d": lambda L, x: L.nn.MaxPool2d(2)(x),
}


def layer(L):
    conv = L.nn.Conv2d(2, 3, 2, padding=1, padding_mode="circular")
    values = {"weight": kernel(L, 3, 2, 2, 2), "bias": kernel(L, 3)}
    conv.load_state_dict(values)
    return conv


@pytest.mark.parametrize("name", BATCHLESS)
def test_an_image_without_a_batch_equals_a_batch_of_one(name):
    x = image(minidl)
    expected = BATCHLESS[name](minidl, x)
    found = BATCHLESS[name](minidl, x.squeeze(0))
    assert found.shape == expected.shape[1:] and found.tolist() == expected.squeeze(0).tolist()


@pytest.mark.parametrize("name", BATCHLESS)
def test_an_image_without_a_batch_equals_pytorchs(name):
    torch = pytorch()
    found = BATCHLESS[name](minidl, image(minidl).squeeze(0))
    expected = BATCHLESS[name](torch, image(torch).squeeze(0))
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64"])
@pytest.mark.parametrize("forms", ["fast", "plain"])
def test_integers_are_pooled(dtype, forms):
    torch = pytorch()
    pools = [lambda L, x: F(L).max_pool2d(x, 2, 1, 1), lambda L, x: F(L).max_pool2d(x, 3, 1, return_indices=True)[1]]
    signed = (PIXELS - (0 if dtype == "uint8" else 12)).astype(dtype)
    for pool in pools:
        with using(forms):
            found = pool(minidl, minidl.tensor(signed))
        expected = pool(torch, torch.tensor(signed))
        assert found.numpy().dtype == expected.numpy().dtype and found.tolist() == expected.tolist()


ROWS = {
    "average of integers": (lambda L: F(L).avg_pool2d(L.tensor(PIXELS[:, :, :2] - 9), 2).flatten(), [-6, -4, 5, 7],
                            "int64"),
    "a stride beyond the image": (
        lambda L: F(L).conv2d(image(L), kernel(L, 1, 2, 2, 2), stride=2**30).flatten(),
        [29.0],
        "float32",
    ),
    "a pool's stride beyond the image": (lambda L: F(L).max_pool2d(image(L), 2, 2**30).flatten(), [5.0, 6.0],
                                         "float32"),
    "no images": (lambda L: tuple(F(L).conv2d(L.zeros(0, 2, 3, 4), kernel(L, 3, 2, 1, 1)).shape), (0, 3, 3, 4)),
    "windows of no images": (lambda L: tuple(F(L).unfold(L.zeros(0, 2, 3, 4), 2).shape), (0, 8, 6)),
    "no images pooled": (lambda L: tuple(F(L).max_pool2d(L.zeros(0, 2, 4, 4), 2).shape), (0, 2, 2, 2)),
    "no images averaged": (lambda L: tuple(F(L).adaptive_avg_pool2d(L.zeros(0, 2, 4, 4), 1).shape), (0, 2, 1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_values_and_dtypes_as_written(name):
    check(ROWS[name], minidl)


@pytest.mark.parametrize("name", ROWS)
def test_values_and_dtypes_of_pytorch_itself(name):
    check(ROWS[name], pytorch())


REFUSALS = {
    "stride": (lambda L: F(L).conv2d(image(L), kernel(L, 1, 2, 2, 2), stride=2**40),
               "`stride` is 1099511627776; accepted"),
    "transposed stride": (
        lambda L: F(L).conv_transpose2d(image(L), kernel(L, 2, 1, 2, 2), stride=2**30),
        "accepted: lengths that memory can hold",
    ),
    "dilation": (lambda L: F(L).conv2d(image(L), kernel(L, 1, 2, 2, 2), dilation=2**30), "is smaller than the window"),
    "padding of a pool": (lambda L: F(L).max_pool2d(image(L), 3, padding=500), "`padding` is 500; accepted: 0 to 1"),
    "negative padding of a pool": (lambda L: F(L).avg_pool2d(image(L), 3, padding=-1), "`padding` is -1; accepted"),
    "stride of a float": (lambda L: F(L).conv2d(image(L), kernel(L, 1, 2, 2, 2), stride=1.0),
                          "`stride` is 1.0; accepted"),
    "stride of True": (lambda L: F(L).max_pool2d(image(L), 2, stride=True), "`stride` is True; accepted: an int or"),
    "groups of a float": (lambda L: F(L).conv2d(image(L), kernel(L, 1, 2, 2, 2), groups=1.0),
                          "`groups` is 1.0; accepted"),
    "no output channels": (lambda L: F(L).conv2d(image(L), kernel(L, 0, 2, 2, 2)), "`weight` has shape (0, 2, 2, 2)"),
    "no window": (lambda L: F(L).conv2d(image(L), kernel(L, 1, 2, 0, 2)), "`weight` has shape (1, 2, 0, 2); accepted"),
    "no weight": (lambda L: F(L).conv2d(image(L), None), "`weight` is of type NoneType; accepted: a Tensor"),
    "bias of a list": (lambda L: F(L).conv2d(image(L), kernel(L, 1, 2, 1, 1), [0.0]),
                       "`bias` is of type list; accepted"),
    "bias of another dtype": (
        lambda L: F(L).conv2d(image(L), kernel(L, 1, 2, 1, 1), kernel(L, 1).double()),
        "`input` is float32 but `bias` is float64",
    ),
    "image of a list": (lambda L: F(L).max_pool2d([[1.0]], 1), "`input` is of type list; accepted: a Tensor"),
    "two axes": (lambda L: F(L).max_pool2d(L.zeros(2, 2), 1), "`input` must have 4 axes (N, C, H, W), or 3"),
    "empty image": (lambda L: F(L).max_pool2d(L.zeros(1, 2, 0, 3), 1),
                    "`input` has shape (1, 2, 0, 3); accepted: pixels"),
    "pool of a mask": (lambda L: F(L).max_pool2d(image(L) > 1, 1), "`input` of max_pool2d() is bool"),
    "adaptive": (lambda L: F(L).adaptive_avg_pool2d(image(L), (1, 2, 3)), "`output_size` is (1, 2, 3); accepted"),
    "adaptive of integers": (lambda L: F(L).adaptive_avg_pool2d(image(L, "int64"), 1), "accepted: a floating-point"),
    "divisor": (lambda L: F(L).avg_pool2d(image(L), 1, divisor_override=1.5), "`divisor_override` is 1.5; accepted"),
    "unfold": (lambda L: F(L).unfold(image(L), 9), "`kernel_size` is (9, 9), which does not fit `input`"),
    "fold": (lambda L: F(L).fold(L.zeros(1, 7, 6), (3, 4), 2), "`input` has shape (1, 7, 6); accepted: (N, C * 4, L)"),
    "fold of other windows": (lambda L: F(L).fold(L.zeros(1, 8, 5), (3, 4), 2), "`columns` has shape (5, 8)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_fits_nowhere_is_refused_in_one_line(name):
    check_refused(REFUSALS[name])


# Too many bytes are PyTorch's RuntimeError where there is no memory, and an OverflowError where there is no number.
@pytest.mark.parametrize("name", sorted(set(REFUSALS) - {"stride", "dilation", "transposed stride"}))
def test_pytorch_refuses_it_too(name):
    torch = pytorch()
    with pytest.raises((TypeError, ValueError, IndexError, RuntimeError, NotImplementedError)):
        REFUSALS[name][0](torch)


def test_second_derivatives_pass_through_a_lone_image():
    report = minidl.check_gradients(
        lambda x, w: minidl.max_pool2d(minidl.conv2d(x, w, padding=1), 2),
        np.random.default_rng(0).standard_normal((2, 4, 4)),
        np.random.default_rng(1).standard_normal((3, 2, 3, 3)),
    )
    assert report.passed


def test_a_layer_takes_integers_of_any_kind():
    conv = nn.Conv2d(2, 3, np.int64(2), stride=np.int32(2), padding=(np.int8(1),))
    assert conv(minidl.zeros(1, 2, 4, 4)).shape == (1, 3, 3, 3)


@pytest.mark.parametrize("forms", ["fast", "plain"])
def test_a_window_far_larger_than_the_image_is_laid_down_once_for_each_pixel(forms):
    """That takes a multiplication for each pixel and cell; the padded form takes thousands of times more."""
    pixels = np.array([[1.0, 2.0], [3.0, -1.0]], "float32")
    window = (np.arange(900) % 7 - 3).reshape(30, 30).astype("float32")
    expected = np.zeros((33, 33), "float32")
    for i in range(2):
        for j in range(2):
            expected[3 * i : 3 * i + 30, 3 * j : 3 * j + 30] += pixels[i, j] * window
    x, w = minidl.tensor(pixels[None, None]).requires_grad_(), minidl.tensor(window[None, None])
    with using(forms):
        y = minidl.conv_transpose2d(x, w, stride=3)
        y.sum().backward()
    assert y.data[0, 0].tolist() == expected.tolist()
    assert x.grad.tolist() == [[[[float(window.sum())] * 2] * 2]]


def test_padding_far_wider_than_the_image_gives_the_bias_alone():
    x, w, b = minidl.ones(1, 1, 2, 2).requires_grad_(), minidl.ones(1, 1, 3, 3), minidl.tensor([5.0])
    y = minidl.conv2d(x, w, b, padding=500)
    assert y.shape == (1, 1, 1000, 1000) and (y.data != 5).sum() == 16 and y.data[0, 0, 499, 499] == 9
    y.sum().backward()
    assert x.grad.tolist() == [[[[9.0, 9.0], [9.0, 9.0]]]]


@pytest.mark.parametrize("window, padding", [((1, 3), (0, 1)), ((3, 3), (1, 1)), ((2, 3), (1, 1)), ((3, 3), (0, 0))])
def test_gradients_of_windows_side_by_side_are_those_of_the_plain_form_with_padding_too(window, padding):
    values, found = np.random.default_rng(0).standard_normal((2, 3, 6, 6)), []
    for forms in ("fast", "plain"):
        x = minidl.tensor(values).requires_grad_()
        with using(forms):
            F(minidl).max_pool2d(x, window, window, padding).square().sum().backward()
        found.append(x.grad.tolist())
    assert found[0] == found[1]
