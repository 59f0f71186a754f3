"""Every op, optimiser and a whole training step on an array type that is not NumPy's (see ``strict.py``)."""

import numpy as np
import pytest
import strict
from pytorch_table import Ours, assert_agree, derivatives
from pytorch_rows_layers import ROWS

import minidl
import models
from minidl import nn, optim
from minidl.dispatch import using


class Strict(Ours):
    """minidl on the stand-in, as a library of the table."""

    def leaf(self, array):
        return minidl.Tensor(strict.from_numpy(array), requires_grad=array.dtype.kind == "f")

    def constant(self, array):
        return minidl.Tensor(strict.from_numpy(array))

    def numpy(self, y):
        assert isinstance(y.data, strict.StrictArray)
        with allowing_sync():
            return strict.to_numpy(y.data)


def allowing_sync():
    class Allow:
        def __enter__(self):
            self.before, strict._waiting_allowed = strict._waiting_allowed, True

        def __exit__(self, *exception):
            strict._waiting_allowed = self.before

    return Allow()


# ---------------------------------------------------------------- the stand-in itself


@pytest.mark.parametrize("convert", [float, int, bool, list, np.asarray, np.exp, iter, lambda x: 0 in x, hash])
def test_nothing_converts_it_silently(convert):
    with pytest.raises(TypeError):
        convert(strict.from_numpy(np.ones(1)))


def test_it_does_not_mix_with_numpy():
    x = strict.from_numpy(np.ones(2))
    for other in (np.ones(2), np.float64(1.0)):
        with pytest.raises(TypeError):
            x + other
        with pytest.raises(TypeError):
            other + x
        with pytest.raises(TypeError):
            strict.xp.maximum(x, other)
        with pytest.raises(TypeError):
            x[:] = other


def test_reductions_stay_on_the_device():
    x = strict.from_numpy(np.arange(4.0))
    for y in (x.sum(), x[1], strict.xp.max(x), x.argmax(), -x[0]):
        assert isinstance(y, strict.StrictArray) and y.shape == ()


def test_only_what_cupy_has_is_there():
    for name in ("erf", "vectorize", "nditer", "float128", "errstate"):
        with pytest.raises(AttributeError):
            getattr(strict.xp, name)


WRONG_CALLS = {  # NumPy takes all of them
    "cupy.clip needs a_max": lambda x: strict.xp.clip(x, 1),
    "cupy.take takes no mode": lambda x: strict.xp.take(x, x, mode="clip"),
    "cupy.sum takes no where": lambda x: strict.xp.sum(x, where=x),
    "cupy.ndarray.sum takes no initial": lambda x: x.sum(initial=0),
    "cupy.ndarray.ravel takes 1 positional arguments, found 2": lambda x: x.ravel("C", "C"),
    "cupy.exp takes no where": lambda x: strict.xp.exp(x, where=x),
    "cupy.argsort takes no stable": lambda x: strict.xp.argsort(x, stable=True),
}


@pytest.mark.parametrize("said", WRONG_CALLS)
def test_only_parameters_that_cupy_has_are_taken(said):
    with pytest.raises(TypeError, match=said):
        WRONG_CALLS[said](strict.from_numpy(np.arange(4)))


def test_waiting_for_the_device_is_noticed():
    x = strict.from_numpy(np.arange(4.0))
    with strict.no_host_sync():
        for wait in (lambda: x[x > 1], lambda: x.sum().item(), lambda: strict.to_numpy(x)):
            with pytest.raises(AssertionError, match="waits for the device"):
                wait()


# ---------------------------------------------------------------- minidl on it

# Positions that may repeat are counted on the host.
MAY_WAIT = ("index", "mask", "gather", "take_along_dim", "one_hot", "scatter", "nonzero", "repeat_interleave/each")
MAY_WAIT += ("grid_sample", "embedding")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_every_op_runs_with_the_same_values(case):
    with np.errstate(all="ignore"):
        with using("plain"):
            expected = derivatives(Ours(), case)
        if case.name.startswith(MAY_WAIT):
            found = derivatives(Strict(), case)
        else:
            with strict.no_host_sync():
                found = derivatives(Strict(), case)
    assert_agree(found, expected, 1e-13)


def test_dropout_draws_the_same_mask():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    minidl.manual_seed(1)
    with strict.no_host_sync():
        found = minidl.dropout(minidl.Tensor(strict.from_numpy(x)), 0.4)
    minidl.manual_seed(1)
    assert np.array_equal(found.numpy(), minidl.dropout(minidl.Tensor(x), 0.4).numpy())


CREATION = {
    "zeros": lambda m: m.zeros(2, 3, device="strict"),
    "full": lambda m: m.full((2,), 3.0, device="strict"),
    "arange": lambda m: m.arange(5, device="strict"),
    "linspace": lambda m: m.linspace(0, 1, 5, device="strict"),
    "eye": lambda m: m.eye(3, device="strict"),
    "randn": lambda m: m.randn(3, device="strict"),
    "randint": lambda m: m.randint(0, 9, (3,), device="strict"),
    "tensor": lambda m: m.tensor([1.0, 2.0], device="strict"),
    "ones_like": lambda m: m.ones_like(m.zeros(2, device="strict")),
    "rand_like": lambda m: m.rand_like(m.zeros(2, device="strict")),
}


@pytest.mark.parametrize("name", CREATION)
def test_creation_on_the_device(name):
    assert CREATION[name](minidl).device == "strict"


def test_transfers_are_explicit_and_have_gradients():
    x = minidl.ones(2, requires_grad=True)
    y = x.to("strict") * 3
    assert y.device == "strict" and minidl.tensor(y).device == "strict"
    y.sum().backward()
    assert x.grad.device == "cpu" and x.grad.tolist() == [3.0, 3.0]
    with pytest.raises(TypeError, match="input 0` is on strict but `input 1` is on cpu; move one"):
        y + x
    with pytest.raises(TypeError, match="`input` is on strict but `other` is on cpu"):
        y > x
    with pytest.raises(TypeError, match="on cpu but .* on strict"):
        minidl.concat([x, y])
    with pytest.raises(TypeError, match="cpu.*strict|strict.*cpu"):
        (x.to("strict") * 3).backward(minidl.ones(2))


def test_numbers_are_read_when_asked_for():
    x = minidl.tensor([1.5, 2.0], device="strict")
    assert float(x.sum()) == 3.5 and x.tolist() == [1.5, 2.0] and "strict" in repr(x)


OPTIMISERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.1, momentum=0.5, centered=True),
}


def train(device, make_model, make_optimizer, x, target, steps):
    """Parameters and losses after a few steps, as NumPy arrays."""
    minidl.manual_seed(0)
    model = make_model().to(device)
    optimizer = make_optimizer(model.parameters())
    x, target = minidl.tensor(x).to(device), minidl.tensor(target).to(device)
    losses = []
    with using("plain"), strict.no_host_sync():
        for _ in range(steps):
            optimizer.zero_grad()
            output = model(x)
            outputs = output if isinstance(output, tuple) else (output,)
            loss = sum(minidl.cross_entropy(y, target, label_smoothing=0.1) for y in outputs if y is not None)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            losses.append(loss)
    return [p.detach().numpy() for p in model.parameters()] + [y.detach().numpy() for y in losses]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_take_the_same_steps(name):
    def model():
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))

    rng = np.random.default_rng(0)
    data = rng.standard_normal((5, 2, 4, 4)).astype(np.float32), rng.integers(0, 3, 5)
    expected, found = (train(device, model, OPTIMISERS[name], *data, 3) for device in ("cpu", "strict"))
    for a, b in zip(expected, found):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_a_training_step_of_googlenet():
    """Every block at a quarter of the width, auxiliary heads and dropout included, without waiting for the device."""

    def model():
        return models.create("googlenet", in_channels=1, width=0.25, aux_logits=True, dropout=0.2)

    rng = np.random.default_rng(0)
    data = rng.standard_normal((2, 1, 16, 16)).astype(np.float32), rng.integers(0, 10, 2)
    sgd = OPTIMISERS["SGD"]
    expected, found = (train(device, model, sgd, *data, 2) for device in ("cpu", "strict"))
    for a, b in zip(expected, found):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
