"""Weight averaging against its definition, a loop over the whole history, and against PyTorch."""

import numpy as np
import pytest

from minidl import optim
from minidl.tensor import Tensor


class Net:
    """As much of a module as averaging asks for: two parameters, a float and an integer buffer."""

    def __init__(self, dtype="float64", seed=0):
        rng = np.random.default_rng(seed)
        self.weight = Tensor(rng.standard_normal((3, 4)).astype(dtype), requires_grad=True)
        self.bias = Tensor(rng.standard_normal(3).astype(dtype), requires_grad=True)
        self.running_mean = Tensor(rng.standard_normal(3).astype(dtype))
        self.count = Tensor(np.asarray(0))

    def named_parameters(self):
        return iter([("weight", self.weight), ("bias", self.bias)])

    def named_buffers(self):
        return iter([("running_mean", self.running_mean), ("count", self.count)])

    def __call__(self):
        return self.weight.data.copy()

    def move(self, seed):
        """Other weights; returns copies of them."""
        other = Net(self.weight.dtype, seed)
        for mine, new in zip(self.tensors(), other.tensors()):
            mine.data[...] = new.data
        self.count.data[...] = seed
        return [tensor.data.copy() for tensor in self.tensors()]

    def tensors(self):
        return [self.weight, self.bias, self.running_mean]


def slow_ema(history, decays):
    """The definition, one model after another; the first is copied."""
    mean = history[0]
    for weights, decay in zip(history[1:], decays[1:]):
        mean = [decay * m + (1 - decay) * w for m, w in zip(mean, weights)]
    return mean


def tracked(average, net, steps=8):
    """Move the net so many times, updating the average; what the net went through."""
    history = []
    for seed in range(1, steps + 1):
        history.append(net.move(seed))
        average.update_parameters()
    return history


KINDS = {
    "polyak": (lambda net, **k: optim.AveragedModel(net, **k), [n / (n + 1) for n in range(8)]),
    "ema": (lambda net, **k: optim.ExponentialMovingAverage(net, 0.9, **k), [0.9] * 8),
    "fast ema": (lambda net, **k: optim.ExponentialMovingAverage(net, 0.3, **k), [0.3] * 8),
    "warm ema": (
        lambda net, **k: optim.ExponentialMovingAverage(net, 0.4, warm_up=True, **k),
        [min(0.4, (1 + n) / (10 + n)) for n in range(8)],
    ),
}


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("kind", KINDS)
def test_averages_equal_the_definition(kind, dtype, rtol, use_buffers):
    make, decays = KINDS[kind]
    net = Net(dtype)
    average = make(net, use_buffers=use_buffers)
    arrays = dict(average.averages)
    history = tracked(average, net)
    weight, bias, running_mean = slow_ema(history, decays)
    np.testing.assert_allclose(average.averages["weight"], weight, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(average.averages["bias"], bias, rtol=rtol, atol=rtol)
    expected = running_mean if use_buffers else history[-1][2]
    np.testing.assert_allclose(average.averages["running_mean"], expected, rtol=rtol, atol=rtol)
    assert average.averages["count"] == 8 and average.n_averaged == 8
    assert all(average.averages[name] is array and array.dtype in (dtype, int) for name, array in arrays.items())


def test_polyak_average_is_the_mean():
    net = Net()
    average = optim.AveragedModel(net)
    history = tracked(average, net)
    np.testing.assert_allclose(average.averages["weight"], np.mean([h[0] for h in history], axis=0), rtol=1e-12)


@pytest.mark.parametrize("kind", ["polyak", "ema"])
def test_averages_equal_pytorch(kind):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from torch.optim import swa_utils

    net = Net()
    layer = torch.nn.Linear(4, 3, dtype=torch.float64)
    theirs = swa_utils.AveragedModel(
        layer, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9) if kind == "ema" else None
    )
    average = KINDS[kind][0](net)
    for seed in range(1, 9):
        weight, bias, _ = net.move(seed)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))
        average.update_parameters(net)
        theirs.update_parameters(layer)
    np.testing.assert_allclose(average.averages["weight"], theirs.module.weight.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(average.averages["bias"], theirs.module.bias.detach().numpy(), rtol=1e-13)


def test_applied_swaps_in_and_back_bit_for_bit():
    net = Net("float32")
    average = optim.ExponentialMovingAverage(net, 0.9)
    history = tracked(average, net)
    mean = {name: array.copy() for name, array in average.averages.items()}
    arrays = [tensor.data for tensor in net.tensors()]
    versions = [tensor._version for tensor in net.tensors()]
    with pytest.raises(ZeroDivisionError), average.applied() as model:
        assert model is net and np.array_equal(net.weight.data, mean["weight"])
        1 / 0
    assert all(tensor.data is array for tensor, array in zip(net.tensors(), arrays))
    assert all(np.array_equal(tensor.data, own) for tensor, own in zip(net.tensors(), history[-1]))
    assert all(np.array_equal(average.averages[name], mean[name]) for name in mean)
    assert all(tensor._version > version for tensor, version in zip(net.tensors(), versions))
    assert np.array_equal(average(), mean["weight"])


def test_nothing_else_happens_while_applied():
    average = optim.AveragedModel(Net())
    for call in (average.update_parameters, average.state_dict, lambda: average.applied().__enter__()):
        with average.applied(), pytest.raises(RuntimeError, match=r"inside applied\(\)"):
            call()


def test_averaging_resumes():
    net = Net()
    average = optim.ExponentialMovingAverage(net, 0.9, warm_up=True)
    tracked(average, net, 4)
    saved = {name: array.copy() for name, array in average.state_dict().items()}
    other_net = Net(seed=99)
    other = optim.ExponentialMovingAverage(other_net, 0.9, warm_up=True)
    other.load_state_dict(saved)
    for seed in (11, 12):
        for n, a in ((net, average), (other_net, other)):
            n.move(seed)
            a.update_parameters()
    assert all(np.array_equal(average.averages[name], other.averages[name]) for name in average.averages)
    with pytest.raises(ValueError, match=r"`state_dict` lacks \['bias'\]"):
        other.load_state_dict({name: array for name, array in saved.items() if name != "bias"})
    with pytest.raises(ValueError, match=r"`bias` has shape \(2,\); accepted: \(3,\)"):
        other.load_state_dict({**saved, "bias": np.zeros(2)})


def test_bad_averages_are_refused():
    with pytest.raises(ValueError, match="`decay` is 1.5; accepted: a number from 0 to 1"):
        optim.ExponentialMovingAverage(Net(), decay=1.5)
