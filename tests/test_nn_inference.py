"""Folded networks: the numbers of evaluation mode, no graph, nothing changed; what is watched stays."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minidl
import models
from minidl import nn
from minidl.dispatch import kernels_in_use, using
from minidl.kernels.cpu.blocks import branches, programs
from minidl.kernels.cpu.blocks.branches import _plans
from minidl.nn.branches import ConvNormReLU
from minidl.nn.branches import Branches
from minidl.nn.folded import FoldedConv
from minidl.nn.inference import fold
from minidl.nn.registry import changes
from models.googlenet import VARIANTS


def _trained(net, *shape, steps=2):
    """`net` with statistics and scales that are not their initial ones."""
    for _ in range(steps):
        net(minidl.randn(*shape))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.uniform_(module.weight, -1.0, 2.0)
            nn.init.normal_(module.bias)
    return net


def _assert_equal_to_eval(net, x, bound=1e-5):
    folded = fold(net)
    with minidl.no_grad():
        expected = net.eval()(x)
    y = folded(x)
    assert not y.requires_grad and not folded.training
    assert np.abs(y.data - expected.data).max() <= bound * max(1, np.abs(expected.data).max())
    return folded


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kernels", ["fast", "plain"])
def test_googlenet(variant, kernels):
    minidl.manual_seed(0)
    side = {"paper": 96, "torchvision": 64}.get(variant, 16)
    net = models.GoogLeNet(variant, width=0.25, num_classes=5, aux_logits=True)
    with minidl.no_grad():
        _trained(net, 2, 3, 224 if variant == "paper" else side, 224 if variant == "paper" else side, steps=1)
    before = {name: v.numpy().copy() for name, v in net.state_dict().items()}
    with using(kernels):
        folded = _assert_equal_to_eval(net, minidl.randn(2, 3, side, side), 1e-4)
    assert all(np.array_equal(v.numpy(), before[name]) for name, v in net.state_dict().items())
    kinds = [type(m) for m in folded.modules()]
    assert sum(plan_of(m) is not None for m in folded.modules()) == 9
    assert nn.BatchNorm2d not in kinds and ConvNormReLU not in kinds
    assert not any(p.requires_grad for p in folded.parameters())


def conv(**options):
    return nn.Conv2d(4, 4, 3, padding=1, **options)


def watched(module):
    module.register_forward_hook(lambda module, inputs, output: output * 2)
    return module


PATTERNS = {  # layers, how many are left
    "convolution, norm, ReLU": (lambda: [conv(), nn.BatchNorm2d(4), nn.ReLU()], 1),
    "two in a row": (lambda: [conv(), nn.BatchNorm2d(4), nn.ReLU(), conv(bias=False), nn.BatchNorm2d(4)], 2),
    "convolution and ReLU": (lambda: [conv(), nn.ReLU(), conv()], 2),
    "norm without scale": (lambda: [conv(groups=2), nn.BatchNorm2d(4, affine=False), nn.ReLU()], 1),
    "norm first": (lambda: [nn.BatchNorm2d(4), conv(), nn.ReLU()], 2),
    "depthwise": (lambda: [conv(groups=4), nn.BatchNorm2d(4), nn.ReLU(), conv(groups=4), nn.ReLU()], 2),
    "no statistics": (lambda: [conv(), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()], 3),
    "something between": (lambda: [conv(), nn.Dropout(0.5), nn.BatchNorm2d(4), nn.ReLU()], 4),
    "transposed": (lambda: [nn.ConvTranspose2d(4, 4, 2), nn.BatchNorm2d(4), nn.ReLU()], 3),
    "stride, dilation, same": (lambda: [conv(stride=2), nn.Conv2d(4, 4, 2, dilation=2, padding="same"), nn.ReLU()], 2),
    "a watched convolution": (lambda: [watched(conv()), nn.BatchNorm2d(4), nn.ReLU()], 3),
    "a watched norm": (lambda: [conv(), watched(nn.BatchNorm2d(4)), nn.ReLU()], 3),
    "a watched ReLU": (lambda: [conv(), nn.BatchNorm2d(4), watched(nn.ReLU())], 2),
    "nested": (lambda: [nn.Sequential(conv(), nn.BatchNorm2d(4)), nn.ReLU()], 2),
    "a brick": (lambda: [ConvNormReLU(4, 4, 3, stride=2), ConvNormReLU(4, 3, 1, norm=False)], 2),
    "a watched brick": (lambda: [watched(ConvNormReLU(4, 4, 3))], 1),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(name):
    minidl.manual_seed(0)
    layers, left = PATTERNS[name]
    net = _trained(nn.Sequential(*layers()), 3, 4, 9, 8)
    assert len(_assert_equal_to_eval(net, minidl.randn(2, 4, 9, 8))) == left


def test_a_norm_of_other_channels_is_not_folded_but_refused_as_before():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(1)).eval()
    for network in (net, fold(net)):
        with pytest.raises(ValueError, match="channels|shape"):
            network(minidl.ones(1, 3, 5, 5))


@pytest.mark.parametrize("numbers", [np.ones((1, 3, 5, 5), np.float32), [1, 2]], ids=["array", "list"])
def test_a_folded_network_asks_for_a_tensor(numbers):
    folded = fold(nn.Sequential(nn.Conv2d(3, 8, 3)))
    for _ in range(2):
        with pytest.raises(TypeError, match=r"`input` is of type \w+; accepted: a Tensor, such as"):
            folded(numbers)


def test_a_hook_within_a_block_still_fires():
    net = models.create("googlenet", width=0.25)
    calls = []
    net.inception3a.branch2[0].register_forward_hook(lambda *_: calls.append(1))
    folded = fold(net)
    folded(minidl.randn(1, 3, 16, 16))
    assert calls == [1] and sum(plan_of(m) is not None for m in folded.modules()) == 8


def test_other_modules_keep_their_own_forward():
    class Twice(ConvNormReLU):
        def forward(self, x):
            return super().forward(x) * 2

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.brick, self.nothing = Twice(4, 4, 3), None

        def forward(self, x):
            return self.brick(x)

    minidl.manual_seed(0)
    _assert_equal_to_eval(_trained(Network(), 3, 4, 9, 8), minidl.randn(2, 4, 9, 8))


def test_double_precision_and_read_only_weights():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).double()
    folded = fold(net)
    assert folded(minidl.randn(1, 2, 5, 5).double()).dtype == np.float64
    (layer,) = [m for m in folded.modules() if isinstance(m, FoldedConv)]
    with pytest.raises(ValueError, match="read-only"):
        layer.weight.data[...] = 0


def test_the_same_bits_for_any_number_of_threads():
    team = pytest.importorskip("minidl.kernels.cpu.machine.team", reason="Numba is not installed", exc_type=ImportError)
    minidl.manual_seed(0)
    folded, images = fold(models.create("googlenet", width=0.5)), minidl.randn(3, 3, 32, 32)
    before, results = team.num_threads(), []
    try:
        for threads in (1, 2, 4):
            team.set_num_threads(threads)
            results.append([folded(x).data.tobytes() for x in (images, images[:1])])
    finally:
        team.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_products_of_one_input_are_joined_only_where_they_are_alike():
    def block(second, third):
        class Block(nn.Branches):
            def __init__(self):
                super().__init__()
                self.first = ConvNormReLU(4, 3, 1)
                self.second, self.third = (nn.Sequential(b, ConvNormReLU(5, 2, 3, padding=1)) for b in (second, third))

        return Block()

    minidl.manual_seed(0)
    reduce = lambda **options: ConvNormReLU(4, 5, **{"kernel_size": 1, **options})  # noqa: E731
    for second, third, columns in (
        (reduce(), reduce(), 3 + 5 + 5),
        (reduce(), reduce(kernel_size=3, padding=1), 3 + 5),
        (reduce(norm=False), reduce(), 3 + 5 + 5),
        (reduce(kernel_size=3, padding=1), reduce(kernel_size=3, padding=1), None),
    ):
        net = nn.Sequential(block(second, third))
        folded = _assert_equal_to_eval(_trained(net, 3, 4, 9, 8), minidl.randn(2, 4, 9, 8))
        (plan,) = [plan_of(m) for m in folded.modules() if isinstance(m, Branches)]
        assert (plan.product and plan.product.outputs) == columns


as_one = pytest.mark.skipif(kernels_in_use() == "plain", reason="the fast forms are switched off")


def plan_of(module):
    """The plan by which a folded block runs as a whole, or None."""
    return _plans(tuple(module.children()))[1] if isinstance(module, Branches) else None


def _blocks(dtype="float32"):
    """A folded GoogLeNet, and one of its blocks with an input for it."""
    minidl.manual_seed(0)
    folded = fold(models.create("googlenet", width=0.5).to(dtype))
    return folded, folded.network.inception4a, minidl.randn(2, 240, 9, 7).to(dtype)


def _run(block, x):
    """The result of a folded block as the network calls it: only where no graph is recorded is it one operation."""
    with minidl.no_grad():
        return block(x).data


@as_one
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_block_launched_at_once_equals_its_steps_one_by_one(dtype):
    _, block, x = _blocks(dtype)
    at_once = [_run(block, x).copy() for _ in range(3)]
    assert len(branches._known[block].folded.programs.programs) == 1
    one_by_one = block(x).data
    assert all(np.array_equal(y, one_by_one) for y in at_once)


class Mixed(nn.Branches):
    """A block whose second branch ends as `LAST` says."""

    def __init__(self, last):
        super().__init__()
        self.first, self.second = ConvNormReLU(8, 4, 1), nn.Sequential(ConvNormReLU(8, 12, 1), *last)


def _grouped(outputs, groups):
    return nn.Conv2d(12, outputs, 3, padding=1, groups=groups), nn.BatchNorm2d(outputs), nn.ReLU()


LAST = {
    "groups": lambda: _grouped(8, 2),
    "groups of one channel": lambda: _grouped(12, 12),
    "wide windows": lambda: [ConvNormReLU(12, 5, (1, 11), padding=(0, 5))],
    "a pool at the end": lambda: [nn.MaxPool2d(3, 1, 1)],
}


@as_one
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAST)
def test_blocks_with_rare_layers_equal_their_steps_one_by_one(name, dtype):
    minidl.manual_seed(0)
    block = fold(_trained(nn.Sequential(Mixed(LAST[name]())), 3, 8, 6, 5).to(dtype)).network[0]
    x = minidl.randn(2, 8, 6, 5).to(dtype)
    found = _run(block, x)
    assert (branches._known[block].folded is None) == (name == "a pool at the end")
    assert np.array_equal(found, block(x).data)


def test_weights_of_a_folded_network_cannot_change():
    _, block, x = _blocks()
    before, weight = _run(block, x).copy(), block.branch1.weight.data
    for array in (weight, weight.view(), weight.base):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    assert np.array_equal(_run(block, x), before)


def test_other_weights_in_a_folded_network_are_noticed():
    _, block, x = _blocks()
    before, tensor = _run(block, x).copy(), block.branch1.weight
    constant = tensor.data
    tensor.data = 2 * constant
    for factor in (2, 4):  # an array that may change at any time
        tensor.data *= factor / 2
        changed = _run(block, x)
        bias = block.branch1.bias.data.reshape(1, -1, 1, 1)
        first = slice(0, len(bias[0]))
        sign = before[:, first] > 0
        expected = (factor * (before[:, first] - bias) + bias)[sign]
        np.testing.assert_allclose(
            np.broadcast_to(changed[:, first], before[:, first].shape)[sign], np.maximum(expected, 0), atol=1e-4
        )
    tensor.data = constant
    assert np.array_equal(_run(block, x), before)


def test_a_copy_of_a_folded_network_stands_alone():
    folded, block, x = _blocks()
    before = _run(block, x).copy()
    twin = copy.deepcopy(folded)
    other = twin.network.inception4a
    assert np.array_equal(_run(other, x), before) and plan_of(other) is not None
    other.branch1.weight.data = other.branch1.weight.data * 0
    assert not np.array_equal(_run(other, x), before) and np.array_equal(_run(block, x), before)


def test_two_threads_may_predict_at_once():
    folded, _, _ = _blocks()
    images = [minidl.randn(n, 3, 32, 32) for n in (1, 2)]
    expected = [folded(x).data.tobytes() for x in images]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda i: folded(images[i % 2]).data.tobytes(), range(40)))
    assert all(result == expected[i % 2] for i, result in enumerate(results))


@as_one
def test_shapes_beyond_those_whose_programs_are_kept(monkeypatch):
    monkeypatch.setattr(programs, "MOST", 2)
    _, block, _ = _blocks()
    for _ in range(2):
        for size in range(1, 6):
            x = minidl.ones(1, 240, 1, size)
            with using("plain"):
                expected = _run(block, x)
            assert np.abs(_run(block, x) - expected).max() < 1e-4
            assert len(branches._known[block].folded.programs.programs) <= 2


@pytest.mark.parametrize(
    "shape, message",
    [
        ((1, 4, 32, 32), "`input` has 4 channels but `weight` takes 3"),
        ((3, 32, 32), "4 axes"),
        ((1, 3, 0, 32), "does not fit|smaller than the window"),
    ],
)
def test_a_folded_network_refuses_what_does_not_fit(shape, message):
    folded, block, _ = _blocks()
    with pytest.raises(ValueError, match=message):
        folded(minidl.ones(*shape))
    with pytest.raises(ValueError, match="`input` has 100 channels but `weight` takes 240"):
        block(minidl.ones(1, 100, 8, 8))
    with pytest.raises(TypeError, match="float64"):
        block(minidl.ones(1, 240, 8, 8, dtype="float64"))


def test_a_folded_network_moves_to_other_dtypes_and_is_not_loaded_into():
    folded, block, x = _blocks()
    before = _run(block, x).copy()
    assert np.abs(_run(folded.to("float64").network.inception4a, x.double()) - before).max() < 1e-5
    with pytest.raises(TypeError, match="fold it again"):
        folded.load_state_dict(folded.state_dict())
    assert len({id(p.data) for p in folded.state_dict().values()}) == len(folded.state_dict())


@as_one
def test_plans_are_made_once_and_not_at_every_call():
    folded, _, _ = _blocks()
    x = minidl.randn(1, 3, 16, 16)
    folded(x)
    before = changes()
    for _ in range(2):
        folded(x)
    assert changes() == before
    known = [branches._known[m] for m in folded.modules() if isinstance(m, Branches)]
    folded(x)
    again = [branches._known[m] for m in folded.modules() if isinstance(m, Branches)]
    assert len(known) == 9 and all(a is b for a, b in zip(known, again))
