"""Explanations held to what they claim: a known patch is found, evidence adds up, the network is left as it was."""

import io

import numpy as np
import pytest

import minidl
import models
from minidl import explain, nn
from minidl.explain import pictures


class Planted(nn.Module):
    """Two classes that differ in one thing: how bright the image is where `detector` fires."""

    def __init__(self):
        super().__init__()
        self.detector = nn.Conv2d(1, 2, 1, bias=False)
        self.detector.weight.data[...] = np.array([1, 0], np.float32).reshape(2, 1, 1, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2, 2)
        self.fc.weight.data[...] = [[-1, 0], [1, 0]]
        self.fc.bias.data[...] = 0

    def forward(self, x):
        return self.fc(self.pool(self.detector(x).relu()).flatten(1))


@pytest.fixture
def patch():
    """An image that is bright in one corner only."""
    image = np.zeros((1, 1, 8, 8), np.float32)
    image[..., 1:3, 4:7] = 2
    return image


def test_grad_cam_finds_the_patch_that_decides(patch):
    found = explain.grad_cam(Planted(), patch, classes=1, layer="detector")
    np.testing.assert_allclose(found.maps[0], patch[0, 0] / 2, atol=1e-6)
    against = explain.grad_cam(Planted(), patch, classes=0, layer="detector")
    assert not against.maps.any() and against.logits.shape == (1, 2)


def test_grad_cam_is_the_papers_equation_in_float64():
    """Against a second writing of equations 1 and 2, with the gradient by differences."""
    minidl.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 25, 4)).double()
    images = np.random.default_rng(0).standard_normal((2, 1, 5, 5))
    head = nn.Sequential(*list(net)[2:])
    activation = net[1](net[0](minidl.tensor(images))).detach().numpy()
    expected = []
    for A, c in zip(activation, [2, 0]):
        slopes = np.zeros_like(A)
        for place in np.ndindex(A.shape):
            step = np.zeros_like(A)
            step[place] = 1e-4
            up, down = (head(minidl.tensor((A + s)[None])).detach().numpy()[0, c] for s in (step, -step))
            slopes[place] = (up - down) / 2e-4
        cam = np.maximum(sum(slopes[k].mean() * A[k] for k in range(3)), 0)
        expected.append(cam / (cam.max() or 1))
    found = explain.grad_cam(net, images, classes=[2, 0], layer="1")
    np.testing.assert_allclose(found.maps, expected, atol=1e-6)


def test_the_layer_is_the_last_with_places(patch):
    assert explain.grad_cam(Planted(), patch).layer == "detector"
    net = models.create("cnn", in_channels=1, width=0.25)
    found = explain.grad_cam(net, np.ones((2, 1, 16, 16), np.float32))
    assert found.layer == "features" and found.maps.shape == (2, 16, 16)
    assert found.classes.tolist() == found.logits.argmax(axis=1).tolist()


def test_the_network_is_left_as_it_was(patch):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(72, 2)).train()
    net[1].eval()
    before = {name: value.data.copy() for name, value in net.state_dict().items()}
    explain.grad_cam(net, patch)
    explain.occlusion(net, patch)
    explain.last_features(net, patch)
    assert [m.training for m in net.modules()] == [True, True, False, True, True, True]
    assert not any(m.has_hooks for m in net.modules()) and all(p.grad is None for p in net.parameters())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.data, before[name])


def test_frozen_networks_are_explained_too(patch):
    assert explain.grad_cam(Planted().requires_grad_(False), patch, classes=1).maps.max() == 1


def test_occlusion_falls_where_the_patch_is(patch):
    found = explain.occlusion(Planted(), patch, class_index=1, window=2, stride=1)
    assert found.falls.shape == (8, 8) and (found.window, found.class_index) == (2, 1)
    assert found.falls[1:3, 4:7].min() > 0.01 and abs(found.falls[5:, :3]).max() < 1e-6
    assert found.falls.argmax() in np.flatnonzero(patch)
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-2 * patch.mean())), rtol=1e-5)


def test_occlusion_covers_every_pixel(patch):
    """With a stride that divides nothing, and in batches that divide nothing; the result is the same."""
    for window, stride in ((3, 2), (5, 5), (8, 1), (1, 1)):
        places = explain.occlusion(Planted(), patch, 1, window, stride, batch_size=3).falls
        again = explain.occlusion(Planted(), patch[0], 1, window, stride, batch_size=64).falls
        assert np.isfinite(places).all()
        np.testing.assert_array_equal(places, again)


@pytest.fixture(scope="module")
def small():
    """A GoogLeNet with running statistics of its own, and images."""
    minidl.manual_seed(0)
    net = models.create("googlenet", in_channels=1, width=0.25)
    images = np.random.default_rng(0).standard_normal((3, 1, 16, 16)).astype(np.float32)
    with minidl.no_grad():
        net.train()(minidl.tensor(images))
    return net.eval(), images


def test_branch_evidence_adds_up_to_the_logit(small):
    net, images = small
    views = explain.branch_views(net, images, classes=[1, 2, 3])
    assert [view.block for view in views] == ["inception" + n for n in "3a 3b 4a 4b 4c 4d 4e 5a 5b".split()]
    logits = net(minidl.tensor(images)).detach().numpy()[range(3), [1, 2, 3]]
    bias = net.fc.bias.data[[1, 2, 3]]
    np.testing.assert_allclose(views[-1].evidence.sum(axis=0), logits - bias, rtol=1e-3, atol=1e-5)
    for view in views:
        assert view.maps.shape == (4, 3, 16, 16) and view.maps.min() >= 0
        np.testing.assert_allclose(view.maps.max(axis=(0, 2, 3)), 1, rtol=1e-6)


def test_networks_without_blocks_have_no_branches(patch):
    assert explain.branch_views(Planted(), patch) == []


def test_filters_and_features(small):
    net, images = small
    name, filters = explain.first_filters(net)
    assert name == "conv1.conv" and filters.shape == (48, 1, 3, 3)
    features = explain.last_features(net, images)
    logits = features @ net.fc.weight.data.T + net.fc.bias.data
    np.testing.assert_allclose(logits, net(minidl.tensor(images)).detach().numpy(), atol=1e-5)


def test_nearest_goes_by_direction_and_breaks_ties_by_order():
    bank = np.array([[0, 1], [2, 0], [1, 1], [5, 0], [0, 0], [-1, 0]], np.float32)
    found = explain.nearest(np.array([[3, 0], [0, 0]], np.float32), bank, k=4)
    assert found.indices.tolist() == [[1, 3, 2, 0], [0, 1, 2, 3]]
    np.testing.assert_allclose(found.cosines[0], [1, 1, 0.5**0.5, 0], atol=1e-6)
    assert explain.nearest(bank, bank, k=99).indices.shape == (6, 6)


WRONG = [
    (lambda net, x: explain.grad_cam(net, x[0]), "`images` is float32 of shape"),
    (lambda net, x: explain.grad_cam(net, (x * 9).astype(np.uint8)), "`images` is uint8 of shape"),
    (lambda net, x: explain.grad_cam(net, x, classes=2), r"`classes` is \[2\]; accepted: .* 0 to 1"),
    (lambda net, x: explain.grad_cam(net, x, classes=[0, 1]), "`classes` is"),
    (lambda net, x: explain.grad_cam(net, x, layer="conv9"), "`layer` is 'conv9', which gives"),
    (lambda net, x: explain.grad_cam(net, x, layer="fc"), "`layer` is 'fc', which gives"),
    (lambda net, x: explain.grad_cam(nn.inference.fold(net), x), "folded network cannot be explained"),
    (lambda net, x: explain.grad_cam(nn.Conv2d(1, 1, 3), x), "expected .N, classes."),
    (lambda net, x: explain.occlusion(net, x, window=9), "`window` is 9 and `stride` 4"),
    (lambda net, x: explain.occlusion(net, x, window=2, stride=3), "`stride` 3"),
    (lambda net, x: explain.occlusion(net, np.repeat(x, 2, 0)), "`image` holds 2 images"),
    (lambda net, x: explain.first_filters(nn.Linear(1, 1)), "without a convolution"),
    (lambda net, x: explain.last_features(nn.Conv2d(1, 1, 1), x), "calls no Linear"),
]


@pytest.mark.parametrize("call, message", WRONG, ids=range(len(WRONG)))
def test_wrong_arguments_are_named(patch, call, message):
    with pytest.raises(ValueError, match=message):
        call(Planted(), patch)


def drawn(draw, *arguments):
    """The bytes of a picture."""
    from matplotlib.figure import Figure

    figure, file = Figure(layout="constrained"), io.BytesIO()
    draw(figure, *arguments)
    figure.savefig(file, format="png", dpi=50)
    return file.getvalue()


def test_pictures_have_the_same_bytes_each_time(small):
    net, images = small
    pixels = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 1), np.uint8)
    cam = explain.grad_cam(net, images, layer="inception4e")
    views = explain.branch_views(net, images[:1])
    calls = [
        (pictures.grad_cam_picture, pixels, cam.maps, ["a", "b", "c"]),
        (pictures.branches_picture, pixels[0], views[-1:]),
        (pictures.occlusion_picture, pixels[0], explain.occlusion(net, images[:1], window=8), "a"),
        (pictures.filters_picture, explain.first_filters(net)[1], "filters"),
        (pictures.filters_picture, np.random.default_rng(0).standard_normal((3, 3, 5, 5)), "filters"),
        (pictures.neighbours_picture, pixels[0], "a", pixels[1:], ["b", "c"]),
    ]
    for call in calls:
        first = drawn(*call)
        assert first == drawn(*call) and len(first) > 1000


def test_a_map_shows_on_the_picture():
    heat = np.zeros((16, 16), np.float32)
    plain = drawn(lambda figure: pictures.overlay(figure.subplots(), heat))
    heat[4:8, 4:8] = 0.4  # below the line at half of the largest value
    assert drawn(lambda figure: pictures.overlay(figure.subplots(), heat)) != plain
