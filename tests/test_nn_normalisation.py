"""Normalisation layers: the fused kernels are what runs, and equal the definitions; running statistics."""

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.dispatch import using
from minidl.kernels.cpu.normalisation import channels
from minidl.kernels.cpu.normalisation.rows import LayerNorm, LocalResponseNorm

FORMS = LayerNorm, LocalResponseNorm


@pytest.mark.parametrize("dtype, bound", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize(
    "layer, shape",
    [
        (lambda: nn.BatchNorm2d(8).eval(), (4, 8, 5, 3)),
        (lambda: nn.BatchNorm2d(8, affine=False).eval(), (4, 8, 5, 3)),
        (lambda: nn.BatchNorm2d(8), (4, 8, 5, 3)),
        (lambda: nn.LayerNorm(24), (7, 24)),
        (lambda: nn.LayerNorm((5, 3), bias=False), (4, 8, 5, 3)),
        (lambda: nn.LocalResponseNorm(5, 0.3, 0.75, 2.0), (4, 8, 5, 3)),
        (lambda: nn.LocalResponseNorm(4, 0.3, 0.5), (4, 8, 5, 3)),
    ],
)
def test_fused_kernels_equal_their_definitions(layer, shape, dtype, bound):
    minidl.manual_seed(0)
    net = layer().to(dtype)
    for value in [*net.parameters(), *net.buffers()]:
        if value.dtype.kind == "f":
            nn.init.uniform_(value, 0.5, 1.5)
    x = minidl.Tensor(minidl.randn(*shape).data.astype(dtype), requires_grad=True)
    upstream = minidl.Tensor(minidl.randn(*shape).data.astype(dtype))

    def run():
        y = net(x)
        return [y, *minidl.grad(y, [x, *net.parameters()], upstream)]

    fast = run()
    with using("plain"):
        plain = run()
    recorded = minidl.grad(net(x), [x, *net.parameters()], upstream, create_graph=True)
    for a, b in [*zip(fast, plain), *zip(recorded, plain[1:])]:
        assert a.dtype == b.dtype and np.abs(a.data - b.data).max() <= bound * max(1, np.abs(b.data).max())


def test_kernels_of_normalisation_run(monkeypatch):
    """Not only equal: the kernels are what runs, forward and backward, and in inference."""
    ran = []
    forms = (channels.BatchNormEval, "forward"), *((form, way) for form in FORMS for way in ("forward", "backward"))
    for form, way in forms:
        name, right = f"{form.__name__}.{way}", getattr(form, way)
        counted = lambda *a, f=right, n=name, **o: (ran.append(n), f(*a, **o))[1]  # noqa: E731
        monkeypatch.setattr(form, way, staticmethod(counted))
    x = minidl.randn(2, 6, 4, 4).requires_grad_()
    nets = nn.Sequential(nn.BatchNorm2d(6).eval(), nn.LayerNorm(4), nn.LocalResponseNorm(3))
    nets(x).sum().backward()
    assert sorted(ran) == sorted(f"{form.__name__}.{way}" for form, way in forms)
    with minidl.no_grad():
        nets[0](x)
    assert ran[-1] == "BatchNormEval.forward"


def test_normalisation_of_nothing():
    x = minidl.zeros(0, 3, 4, 4).requires_grad_()
    for layer in (nn.LayerNorm(4), nn.LocalResponseNorm(3), nn.BatchNorm2d(3).eval(), nn.GroupNorm(3, 3)):
        layer(x).sum().backward()
        assert x.grad.shape == x.shape


def test_running_statistics_can_be_reset_and_belong_to_the_module():
    norm = nn.BatchNorm2d(3)
    mean = norm.running_mean
    norm(minidl.randn(4, 3, 5, 5))
    assert norm.running_mean is mean and norm.num_batches_tracked.item() == 1 and mean.data.any()
    norm.reset_running_stats()
    assert not mean.data.any() and norm.running_var.data.tolist() == [1, 1, 1]
    assert norm.num_batches_tracked.item() == 0 and norm.num_batches_tracked.dtype == np.int64


@pytest.mark.parametrize("forms", ["fast", "plain"])
@pytest.mark.parametrize("size", [9, 10, 101, 2**31 - 1])
def test_local_response_over_more_channels_than_there_are_is_over_all(size, forms):
    x = minidl.randn(2, 5, 3, 3, dtype="float64")
    with using(forms):
        found = minidl.local_response_norm(x, size, alpha=0.5, beta=0.75, k=2.0)
    total = (x.data**2).sum(1, keepdims=True)
    np.testing.assert_allclose(found.data, x.data / (2 + 0.5 / size * total) ** 0.75, rtol=1e-12)
