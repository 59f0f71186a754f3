"""A block of branches as one operation: equal to its ordinary path in every number, and off where it must be."""

import gc
import weakref

import numpy as np
import pytest

import minidl
import models
from minidl import nn
from minidl.backend import channels_last
from minidl.dispatch import kernels_in_use, using
from minidl.nn.branches import Branches, ConvNormReLU
from minidl.kernels.cpu.blocks.training import BranchesOp, Record
from models.googlenet import VARIANTS, Inception

CHANNELS = (16, 24, 32, 16, 48, 16)


@pytest.fixture
def runs(monkeypatch):
    """A list that grows by one for every block that runs as one operation."""
    seen, apply = [], BranchesOp.apply.__func__
    monkeypatch.setattr(BranchesOp, "apply", classmethod(lambda cls, *a, **o: (seen.append(1), apply(cls, *a, **o))[1]))
    return seen


def _block(dtype="float64", variant="cifar", inputs=20):
    minidl.manual_seed(1)
    block = Inception(inputs, CHANNELS, VARIANTS[variant]).to(dtype)
    for p in block.parameters():
        if p.ndim == 1:
            p.data += minidl.rand(*p.shape).data.astype(dtype)
    return block


def _input(dtype="float64", shape=(3, 20, 5, 6)):
    minidl.manual_seed(2)
    return minidl.Tensor(channels_last(minidl.randn(*shape).data.astype(dtype)), requires_grad=True)


def _everything(block, x, fused, runs):
    """Output, all gradients and all buffers of one training step, with the block fused or not."""
    handle = None if fused else block.branch1.register_forward_hook(lambda module, inputs, output: None)
    del runs[:]
    y = block(x)
    assert len(runs) == (fused and kernels_in_use() == "fast")
    upstream = minidl.Tensor(np.random.default_rng(0).normal(size=y.shape).astype(x.dtype))
    x.grad = None
    block.zero_grad()
    y.backward(upstream)
    if handle:
        handle.remove()
    result = {"output": y.detach(), "input": x.grad, **dict(block.named_buffers())}
    result |= {name: p.grad for name, p in block.named_parameters()}
    return {name: value.numpy().copy() for name, value in result.items()}


def _assert_close(a, b, bound):
    for name, value in a.items():
        scale = max(np.abs(b[name]).max(), 1e-6)
        assert np.abs(value - b[name]).max() <= bound * scale, name


@pytest.mark.parametrize("dtype, bound", [("float64", 1e-11), ("float32", 2e-4)])
@pytest.mark.parametrize("variant", ["cifar", "torchvision"])
def test_the_block_equals_its_ordinary_path(dtype, bound, variant, runs):
    x = _input(dtype)
    fused = _everything(_block(dtype, variant), x, True, runs)
    ordinary = _everything(_block(dtype, variant), x, False, runs)
    _assert_close(fused, ordinary, bound)
    with using("plain"):
        plain = _everything(_block(dtype, variant), x, True, runs)
    _assert_close(fused, plain, bound)


class Odd(Branches):
    """Grouped and dilated windows, a pool in the middle of the order, a single branch of three layers."""

    def __init__(self):
        super().__init__()
        self.pooled = nn.Sequential(nn.MaxPool2d((3, 5), stride=1, padding=(1, 2)), ConvNormReLU(20, 8, 3, padding=1))
        self.long = nn.Sequential(ConvNormReLU(20, 12, 1), ConvNormReLU(12, 12, 3, padding=1), ConvNormReLU(12, 7, 1))
        self.long[1].conv = nn.Conv2d(12, 12, 3, padding=2, dilation=2, groups=3, bias=False)
        self.short = ConvNormReLU(20, 5, 1)


def test_blocks_of_other_shapes_run_as_one_operation_too(runs):
    minidl.manual_seed(1)
    block = Odd().double()
    x = _input()
    state = {k: v.clone() for k, v in block.state_dict().items()}
    fused = _everything_of(block, x, 1, runs)
    block.load_state_dict(state)
    handle = block.short.register_forward_hook(lambda *_: None)
    _assert_close(fused, _everything_of(block, x, 0, runs), 1e-11)
    handle.remove()


def _everything_of(block, x, expected, runs):
    del runs[:]
    y = block(x)
    assert len(runs) == expected
    x.grad = None
    block.zero_grad()
    (y * y).sum().backward()
    result = {"y": y.detach(), "x": x.grad, **dict(block.named_buffers())}
    result |= {name: p.grad for name, p in block.named_parameters()}
    return {name: value.numpy().copy() for name, value in result.items()}


OFF = {
    "a hook on a branch": lambda b: b.branch2.register_forward_hook(lambda *_: None),
    "a hook on a layer": lambda b: b.branch2[0].register_forward_pre_hook(lambda *_: None),
    "a hook on a convolution": lambda b: b.branch3[1].conv.register_forward_hook(lambda *_: None),
    "a hook on a norm": lambda b: b.branch3[1].bn.register_forward_hook(lambda *_: None),
    "a hook on the pool": lambda b: b.branch4[0].register_forward_hook(lambda *_: None),
    "a frozen weight": lambda b: b.branch1.conv.weight.requires_grad_(False),
    "a frozen scale": lambda b: b.branch2[1].bn.weight.requires_grad_(False),
    "an unknown layer": lambda b: b.branch1.register_parameter("extra", None) or setattr(b, "branch1", nn.Identity()),
    "a layer added": lambda b: b.branch2.append(nn.ReLU()),
    "one norm in evaluation mode": lambda b: b.branch2[0].bn.eval(),
    "evaluation mode": lambda b: b.eval(),
    "a bias": lambda b: setattr(b.branch1.conv, "bias", nn.Parameter(minidl.zeros(16))),
}


@pytest.mark.parametrize("why", OFF)
def test_the_ordinary_path_is_used_with(why, runs):
    block, x = _block("float32"), _input("float32")
    OFF[why](block)
    y = block(x)
    (y * y).sum().backward()
    assert not runs and np.isfinite(x.grad.data).all()


class Strided(Branches):
    def __init__(self):
        super().__init__()
        self.a, self.b = (ConvNormReLU(20, 6, size, stride=2, padding=size // 2) for size in (1, 3))


class NothingPointwise(Branches):
    def __init__(self):
        super().__init__()
        self.a, self.b = (ConvNormReLU(20, 6, 3, padding=1) for _ in range(2))


@pytest.mark.parametrize("kind, shape", [(Strided, (3, 12, 3, 3)), (NothingPointwise, (3, 12, 5, 6))])
def test_blocks_that_cannot_be_one_operation(kind, shape, runs):
    y = kind()(_input("float32"))
    y.sum().backward()
    assert y.shape == shape and not runs


def test_a_frozen_parameter_gets_no_gradient_and_the_others_the_same(runs):
    x, frozen = _input(), _block()
    expected = _everything(_block(), x, True, runs)
    frozen.branch2[0].conv.weight.requires_grad_(False)
    y = frozen(x)
    y.backward(minidl.Tensor(np.random.default_rng(0).normal(size=y.shape)))
    assert not frozen.branch2[0].conv.weight.requires_grad and frozen.branch2[0].conv.weight.grad is None
    found = frozen.branch2[1].conv.weight.grad.data
    assert np.allclose(found, expected["branch2.1.conv.weight"], rtol=1e-9, atol=1e-11)


def test_no_graph_no_fused_block(runs):
    block, x = _block(), _input()
    with minidl.no_grad():
        assert not block(x).requires_grad
    assert not runs


def test_half_precision_and_mixed_dtypes_take_the_ordinary_path(runs):
    with pytest.raises(TypeError, match="`input` is float64 but `weight` is float32"):
        _block("float32")(_input("float64"))
    assert not runs
    y = _block("float16")(_input("float16"))
    assert y.dtype == np.float16


def test_wrong_inputs_are_refused_in_the_words_of_the_layer():
    block = _block("float32")
    with pytest.raises(ValueError, match="has 7 channels"):
        block(minidl.zeros(2, 7, 5, 5))
    with pytest.raises(ValueError, match="\\(16, 5, 5\\)"):
        block(minidl.zeros(20, 5, 5))
    with pytest.raises(ValueError, match="1 value per channel"):
        block(minidl.zeros(1, 20, 1, 1))


def test_an_input_that_needs_no_gradient(runs):
    block, x = _block(), _input().detach()
    block(x).sum().backward()
    assert runs and x.grad is None and block.branch1.conv.weight.grad is not None


def test_retained_graph_gives_the_same_bits_twice_and_a_freed_one_an_error(runs):
    block, x = _block("float32"), _input("float32")
    y = block(x)
    upstream = minidl.randn(*y.shape)
    wanted = [x, *block.parameters()]
    first = minidl.grad(y, wanted, upstream, retain_graph=True)
    second = minidl.grad(y, wanted, upstream)
    assert runs and all(np.array_equal(a.data, b.data) for a, b in zip(first, second))
    with pytest.raises(RuntimeError, match="retain_graph"):
        minidl.grad(y, wanted, upstream)


def test_a_parameter_changed_before_the_backward_is_noticed(runs):
    block, x = _block("float32"), _input("float32")
    y = block(x)
    nn.init.zeros_(block.branch2[0].conv.weight)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()
    assert runs


def test_first_derivatives_recorded_for_the_second_equal_the_kernels(runs):
    block, x = _block(), _input()
    y = block(x)
    upstream = minidl.Tensor(np.random.default_rng(0).normal(size=y.shape))
    wanted = [x, *block.parameters()]
    kernels = minidl.grad(y, wanted, upstream, retain_graph=True)
    recorded = minidl.grad(y, wanted, upstream, create_graph=True)
    assert runs and any(g.requires_grad for g in recorded)
    _assert_close({i: g.data for i, g in enumerate(recorded)}, {i: g.data for i, g in enumerate(kernels)}, 1e-10)


def _gradient_field(f, tensors, directions):
    """<gradient of f, directions>, differentiable."""
    gradients = minidl.grad(f(), tensors, create_graph=True)
    return sum((g * d).sum() for g, d in zip(gradients, directions))


def _check_second_order(f, tensors, seed, h, bound):
    """The Hessian along two random directions by autograd, against differences of gradients along one of them."""
    source = np.random.default_rng(seed)
    u, v = ([minidl.Tensor(source.normal(size=t.shape)) for t in tensors] for _ in range(2))
    hv = minidl.grad(_gradient_field(f, tensors, u), tensors, materialize_grads=True)
    exact = sum(float((g * d).sum().item()) for g, d in zip(hv, v))

    def moved(step):
        for t, d in zip(tensors, v):
            t.data += step * d.data
        value = sum(float((g * d).sum().item()) for g, d in zip(minidl.grad(f(), tensors), u))
        for t, d in zip(tensors, v):
            t.data -= step * d.data
        return value

    numeric = (moved(h) - moved(-h)) / (2 * h)
    assert abs(exact) > 1e-6 and abs(exact - numeric) <= bound * abs(exact), (exact, numeric)


def test_second_derivatives_through_the_block(runs):
    block, x = _block(), _input()
    weight = minidl.Tensor(np.random.default_rng(4).normal(size=(3, 112, 5, 6)))
    _check_second_order(lambda: (block(x) * block(x) * weight).sum(), [x, *block.parameters()], 0, 1e-8, 1e-5)
    assert runs


def test_directional_derivative_and_curvature_of_the_whole_network(runs):
    minidl.manual_seed(0)
    net = models.create("googlenet", width=0.25).double()
    x = minidl.Tensor(np.random.default_rng(3).normal(size=(4, 3, 16, 16)))
    t = minidl.tensor([0, 3, 5, 9])
    parameters = list(net.parameters())

    def loss():
        return minidl.cross_entropy(net(x), t)

    source = np.random.default_rng(1)
    directions = [source.normal(size=p.shape) * np.abs(p.data).mean() for p in parameters]
    exact = sum((g.data * d).sum() for g, d in zip(minidl.grad(loss(), parameters), directions))

    def moved(step):
        for p, d in zip(parameters, directions):
            p.data += step * d
        value = loss().item()
        for p, d in zip(parameters, directions):
            p.data -= step * d
        return value

    h = 1e-7
    numeric = (moved(h) - moved(-h)) / (2 * h)
    assert abs(exact - numeric) < 1e-5 * abs(exact)
    _check_second_order(loss, parameters[-40:], 2, 1e-8, 1e-4)
    assert len(runs) > 9


def test_the_step_leaves_nothing_to_the_garbage_collector():
    block, x = _block("float32"), _input("float32", (4, 20, 16, 16))
    for _ in range(2):  # kernels are compiled or loaded, which leaves cycles
        y = block(x)
        (y * y).sum().backward()
    del y
    gc.collect()
    gc.disable()
    try:
        y = block(x)
        node = weakref.ref(y.node)
        (record,) = [t for t in y.node.saved_tensors if isinstance(t, Record)]
        arrays = [weakref.ref(z if z.base is None else z.base) for z in record.zs]
        del record
        (y * y).sum().backward()
        assert not any(ref() is not None for ref in arrays), "what the forward kept is freed by the walk"
        del y
        assert node() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("name, side", [("googlenet", 32), ("googlenet-torchvision", 64)])
def test_a_training_step_copies_no_layout(name, side, monkeypatch):
    from minidl import backend

    minidl.manual_seed(0)
    net = models.create(name, width=0.25)  # without heads: their flatten() is a copy by its meaning
    x = minidl.Tensor(channels_last(minidl.randn(2, 3, side, side).data))
    copies, inside = [], backend.channels_last

    def counted(array):
        if not backend.is_channels_last(array):
            copies.append(array.shape)
        return inside(array)

    monkeypatch.setattr(backend, "channels_last", counted)
    minidl.cross_entropy(net(x), minidl.tensor([1, 2])).backward()
    assert copies == []
    minidl.conv2d(minidl.randn(2, 3, 9, 9), net.conv1.conv.weight)  # C-ordered: the counter counts
    assert copies == [(2, 3, 9, 9)]


def test_plain_kernels_give_the_same_step():
    def step(kernels):
        minidl.manual_seed(0)
        net = models.create("googlenet", width=0.25)
        x, t = minidl.randn(4, 3, 16, 16), minidl.tensor([1, 2, 3, 4])
        with using(kernels):
            loss = minidl.cross_entropy(net.double()(x.double()), t)
            loss.backward()
        return {"loss": loss.detach().numpy(), **{name: p.grad.numpy() for name, p in net.named_parameters()}}

    fast, plain = step("fast"), step("plain")
    scale = 1e-4 * max(np.abs(g).max() for g in plain.values())
    for name, value in fast.items():
        assert np.abs(value - plain[name]).max() <= 1e-8 * max(np.abs(plain[name]).max(), scale), name
