"""Random draws of layers: initial values beside PyTorch's, and dropout as a function of (seed, layer, step)."""

import math

import numpy as np
import pytest

import minidl
from minidl import nn


@pytest.mark.parametrize("layer, fan_in", [(nn.Linear(300, 400), 300), (nn.Conv2d(32, 64, 3, groups=2), 144)])
def test_layers_start_like_pytorchs(layer, fan_in):
    bound = 1 / math.sqrt(fan_in)
    for p in layer.parameters():
        assert np.abs(p.data).max() <= bound and np.abs(p.data).max() > 0.95 * bound
        assert abs(p.data.mean()) < 4 * bound / math.sqrt(3 * p.data.size)
        assert abs(p.data.std() / (bound / math.sqrt(3)) - 1) < 4 / math.sqrt(2 * p.data.size)


INITIALISERS = [  # name, options, standard deviation for a weight of (64, 32, 3, 3)
    ("kaiming_normal_", {"nonlinearity": "relu"}, math.sqrt(2 / 288)),
    ("kaiming_normal_", {"mode": "fan_out", "a": 1, "nonlinearity": "leaky_relu"}, math.sqrt(1 / 576)),
    ("kaiming_uniform_", {"nonlinearity": "tanh"}, 5 / 3 / math.sqrt(288)),
    ("xavier_normal_", {"gain": 2.0}, 2 * math.sqrt(2 / 864)),
    ("xavier_uniform_", {}, math.sqrt(2 / 864)),
    ("normal_", {"mean": 0.0, "std": 0.3}, 0.3),
    ("uniform_", {"a": -1.0, "b": 1.0}, 1 / math.sqrt(3)),
    ("trunc_normal_", {"std": 1.0}, 0.8796),  # of the normal distribution cut at two deviations
]


@pytest.mark.parametrize("name, options, std", INITIALISERS)
def test_initialisers_have_the_deviation_they_promise(name, options, std):
    minidl.manual_seed(0)
    w = nn.Parameter(minidl.zeros(64, 32, 3, 3))
    version = w._version
    assert getattr(nn.init, name)(w, **options) is w and w.dtype == np.float32 and w._version > version
    assert abs(w.data.mean()) < 5 * std / math.sqrt(w.data.size) and abs(w.data.std() / std - 1) < 0.02
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    other = torch.empty(64, 32, 3, 3)
    getattr(torch.nn.init, name)(other, **options)
    assert abs(other.std().item() / std - 1) < 0.02
    again = getattr(nn.init, name)(nn.Parameter(minidl.zeros(64, 32, 3, 3)), **options)
    assert not np.array_equal(again.data, w.data)
    minidl.manual_seed(0)
    assert np.array_equal(getattr(nn.init, name)(again, **options).data, w.data)


def test_initialisers_refuse():
    for call, message in [
        (lambda: nn.init.kaiming_normal_(minidl.zeros(3)), "need at least 2 axes"),
        (lambda: nn.init.kaiming_normal_(minidl.zeros(3, 3), mode="fan"), "`mode` is 'fan'"),
        (lambda: nn.init.kaiming_normal_(minidl.zeros(3, 3), nonlinearity="cubic"), "`nonlinearity` is 'cubic'"),
        (lambda: nn.init.dirac_(minidl.zeros(3, 3)), "accepted: 3 or 4 axes"),
        (lambda: nn.init.dirac_(minidl.zeros(3, 3, 1), groups=2), "`groups` is 2"),
        (lambda: nn.init.orthogonal_(minidl.zeros(3)), "need at least 2 axes"),
        (lambda: nn.init.trunc_normal_(minidl.zeros(3), a=1.0, b=0.0), "accepted: an interval"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def _mask(layer, x):
    return layer(x).data != 0


def test_dropout_streams():
    minidl.manual_seed(0)
    a, b, x = nn.Dropout(0.4), nn.Dropout(0.4), minidl.ones(50, 40)
    first = _mask(a, x)
    state = minidl.get_rng_state()
    second, other = _mask(a, x), _mask(b, x)
    assert not np.array_equal(first, second) and not np.array_equal(first, other)
    assert abs(first.mean() - 0.6) < 0.05 and set(np.unique(a(x).data)) == {0, np.float32(1 / 0.6)}
    minidl.set_rng_state(state)
    assert np.array_equal(_mask(b, x), other) and np.array_equal(_mask(a, x), second)
    minidl.manual_seed(0)
    assert np.array_equal(_mask(nn.Dropout(0.4), x), first)
    minidl.manual_seed(1)
    assert not np.array_equal(_mask(nn.Dropout(0.4), x), first)


def test_dropout_gradient_has_the_mask_and_evaluation_has_none():
    layer, x = nn.Dropout(0.5), minidl.randn(20, 30).requires_grad_()
    y = layer(x)
    y.backward(minidl.ones(20, 30))
    assert np.array_equal(x.grad.data, np.where(y.data != 0, np.float32(2), np.float32(0)))
    uses = minidl.get_rng_state()["uses"]
    assert layer.eval()(x) is x and minidl.get_rng_state()["uses"] == uses
    assert not nn.Dropout(1.0)(x).data.any()


def test_dropout2d_drops_whole_channels():
    layer, x = nn.Dropout2d(0.5), minidl.ones(8, 16, 3, 3).requires_grad_()
    y = layer(x).data
    kept = y.reshape(128, 9)
    assert set(np.unique(kept)) == {0, 2} and (kept == kept[:, :1]).all() and 20 < (kept[:, 0] > 0).sum() < 108
    assert layer.eval()(x) is x


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (8, 3, 3, 3), (40, 2, 3, 3)])
def test_orthogonal(shape):
    minidl.manual_seed(0)
    w = nn.init.orthogonal_(minidl.zeros(*shape, dtype="float64"), gain=2).data.reshape(shape[0], -1)
    small = w @ w.T if len(w) <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


@pytest.mark.parametrize("shape, groups", [((4, 4, 3, 3), 1), ((6, 3, 5), 2), ((2, 5, 1, 4), 1), ((5, 2, 3, 3), 1)])
def test_dirac_is_pytorchs(shape, groups):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = nn.init.dirac_(minidl.ones(*shape), groups).data
    assert np.array_equal(ours, torch.nn.init.dirac_(torch.empty(shape), groups).numpy())
