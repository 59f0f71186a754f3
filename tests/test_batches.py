"""In evaluation mode an image's logits have the same bits alone and in any batch."""

import numpy as np
import pytest

import minidl
import models
from minidl import nn
from minidl.backend import channels_last
from minidl.dispatch import kernels_in_use
from minidl.ops.convolution import conv2d_forward

pytestmark = pytest.mark.skipif(kernels_in_use() == "plain", reason="the fast forms are switched off")
pytest.importorskip("numba", reason="Numba is not installed")
from minidl.kernels.cpu.convolution.algorithms import override  # noqa: E402 (after the skip)


def perceptron():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 8 * 8, 130), nn.ReLU(), nn.Linear(130, 40), nn.Tanh(), nn.Linear(40, 7)
    )


def plain_convolutions():
    """Windows of 3 and 5 on maps about as small as Winograd's tiles, a stride, a depthwise layer."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.MaxPool2d(2), nn.Conv2d(24, 20, 5, padding=2), nn.ReLU(),
        nn.Conv2d(20, 33, 3, stride=2, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(33, 5),
    )  # fmt: skip


def one_output():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(32), nn.Linear(32, 1)
    )


NETWORKS = {
    "perceptron": (perceptron, 8),
    "convolutions": (plain_convolutions, 8),
    "one output": (one_output, 14),
    "GoogLeNet": (lambda: models.GoogLeNet("cifar", num_classes=10, width=0.25), 16),
}


def network(name):
    """An evaluated network whose statistics are not those that it begins with, and the side of its images."""
    minidl.manual_seed(0)
    make, size = NETWORKS[name]
    model, rng = make(), np.random.default_rng(0)
    for path, buffer in model.named_buffers():
        if path.endswith("running_var"):
            buffer.data[...] = rng.uniform(0.5, 1.5, buffer.shape)
        elif path.endswith("running_mean"):
            buffer.data[...] = rng.normal(0, 0.1, buffer.shape)
    for _, parameter in model.named_parameters():
        parameter.data[...] += rng.normal(0, 0.02, parameter.shape)
    return model.eval(), size


def logits(model, images):
    return model(minidl.Tensor(images)).detach().numpy()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("form", ["evaluated", "with gradients", "folded"])
def test_logits_have_the_same_bits_in_any_batch(name, form):
    model, size = network(name)
    model = nn.inference.fold(model) if form == "folded" else model
    images = np.random.default_rng(1).standard_normal((41, size, size, 3), np.float32).transpose(0, 3, 1, 2)
    with minidl.set_grad_enabled(form == "with gradients"):
        together = logits(model, images)
        for count in (1, 2, 3, 17, 33):
            first = 41 - count - count % 3
            np.testing.assert_array_equal(logits(model, images[first : first + count]), together[first : first + count])
        first_layout = np.ascontiguousarray(images)
        for some in (slice(5, 6), slice(0, 20), slice(0, 41, 2)):
            np.testing.assert_array_equal(logits(model, first_layout[some]), together[some])
            np.testing.assert_array_equal(logits(model, channels_last(images[some])), together[some])
    assert np.isfinite(together).all() and len({row.tobytes() for row in together}) == 41


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batches_up_to_256(dtype):
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(16 * 16, 10))
    model.to(np.dtype(dtype).name).eval()
    images = np.random.default_rng(1).standard_normal((256, 1, 8, 8)).astype(dtype)
    together = logits(model, images)
    for count in (1, 8, 31, 32, 33, 64, 127, 200):
        np.testing.assert_array_equal(logits(model, images[-count:]), together[-count:])


@pytest.mark.slow
def test_ten_thousand_images_alone_and_in_batches():
    model, size = network("GoogLeNet")
    model, rng = nn.inference.fold(model), np.random.default_rng(2)
    images = rng.standard_normal((10_000, size, size, 3), np.float32).transpose(0, 3, 1, 2)
    alone = np.concatenate([logits(model, images[i : i + 1]) for i in range(len(images))])
    start = 0
    while start < len(images):
        count = int(rng.integers(2, 257))
        np.testing.assert_array_equal(logits(model, images[start : start + count]), alone[start : start + count])
        start += count


def test_a_layer_in_training_chooses_by_the_number_of_images_and_one_in_evaluation_does_not():
    layer, x = nn.Conv2d(16, 16, 3, padding=1), minidl.randn(8, 16, 7, 7)
    geometry = dict(padding=((1, 1), (1, 1)))
    arrays = x.data, layer.weight.data, layer.bias.data
    with override(winograd_f4_3=False):
        one_by_one = conv2d_forward(*arrays, **geometry)
    together = conv2d_forward(*arrays, **geometry, by_batch=True)
    assert not np.array_equal(one_by_one, together)  # direct and Winograd's; they differ in rounding
    np.testing.assert_array_equal(layer(x).data, together)
    np.testing.assert_array_equal(layer.eval()(x).data, one_by_one)  # whether or not a graph is recorded
    np.testing.assert_array_equal(minidl.conv2d(x, layer.weight, layer.bias, padding=1).data, one_by_one)
    np.testing.assert_array_equal(minidl.conv2d(x[0], layer.weight, layer.bias, padding=1).data, one_by_one[0])
