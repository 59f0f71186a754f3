"""Refusals of optimisers: one line that names the argument, what was found and what is accepted."""

import numpy as np
import pytest

from minidl import optim
from minidl.tensor import Tensor

W = Tensor(np.zeros(2), requires_grad=True)
REFUSALS = [
    (optim.SGD, dict(lr=-1), "`lr` is -1; accepted: a number >= 0 or a 0-d array"),
    (optim.SGD, dict(lr=float("nan")), "`lr` is nan; accepted: a number >= 0 or a 0-d array"),
    (optim.SGD, dict(lr="fast"), "`lr` is 'fast'; accepted: a number >= 0 or a 0-d array"),
    (optim.SGD, dict(momentum=-0.5), "`momentum` is -0.5; accepted: a number >= 0"),
    (optim.SGD, dict(weight_decay=-2), "`weight_decay` is -2; accepted: a number >= 0"),
    (optim.SGD, dict(nesterov=True), "`nesterov` is True with `momentum` 0 and `dampening` 0; accepted: a momentum"),
    (optim.SGD, dict(nesterov=True, momentum=0.9, dampening=0.1), "and `dampening` 0.1; accepted: a momentum > 0"),
    (optim.Adam, dict(betas=(0.9, 1.0)), "`betas` is (0.9, 1.0); accepted: two numbers >= 0 and < 1"),
    (optim.Adam, dict(betas=0.9), "`betas` is 0.9; accepted: two numbers"),
    (optim.AdamW, dict(eps=-1), "`eps` is -1; accepted: a number >= 0"),
    (optim.RMSprop, dict(alpha=-1), "`alpha` is -1; accepted: a number >= 0"),
]


@pytest.mark.parametrize("optimizer, options, message", REFUSALS)
def test_settings_out_of_range_are_refused(optimizer, options, message):
    with pytest.raises(ValueError) as error:
        optimizer([W], **options)
    assert message in str(error.value)


BAD_PARAMS = [
    ([], ValueError, "`params` is empty; accepted: at least one Tensor"),
    (W, TypeError, "`params` is a Tensor; accepted: an iterable of Tensors or of dicts"),
    ([W, W], ValueError, "`params` holds the Tensor at index 1 twice"),
    ([{"params": [W]}, {"params": [W]}], ValueError, "`params` holds the Tensor at index 0 twice"),
    ([W, np.zeros(2)], TypeError, "`params` holds a ndarray at index 1; accepted: Tensors"),
    ([{"lr": 0.1}], TypeError, "`param_group` is a dict without the key 'params'"),
    ([("a", W), Tensor(np.zeros(3), requires_grad=True)], ValueError, "names for all or for none"),
    ({W}, TypeError, "`params` is a set"),
    (3, TypeError, "`params` is a int"),
    ([{"params": [W], "lr": -3}], ValueError, "`lr` is -3"),
]


@pytest.mark.parametrize("params, kind, message", BAD_PARAMS)
def test_bad_parameters_are_refused(params, kind, message):
    with pytest.raises(kind) as error:
        optim.SGD(params, lr=0.1)
    assert message in str(error.value)


def test_state_of_other_parameters_is_refused():
    params = [Tensor(np.zeros(shape), requires_grad=True) for shape in [(3, 4), (5,), ()]]
    optimizer = optim.SGD(params, lr=0.1, momentum=0.9)
    for param in params:
        param.grad = Tensor(np.ones(param.shape))
    optimizer.step()
    other = optim.SGD(params[:2], lr=0.1)
    with pytest.raises(ValueError, match=r"parameter groups of \[3\] parameters; accepted: \[2\]"):
        other.load_state_dict(optimizer.state_dict())
    reverse = optim.SGD(params[::-1], lr=0.1)
    with pytest.raises(ValueError, match=r"`momentum_buffer\[0\]` has shape \(3, 4\); accepted: \(\)"):
        reverse.load_state_dict(optimizer.state_dict())


KINDS = {
    "SGD": lambda params: optim.SGD(params, lr=0.1, momentum=0.9), "Adam": optim.Adam, "RMSprop": optim.RMSprop,
    "Muon": optim.Muon, "Lookahead": lambda params: optim.Lookahead(optim.SGD(params, lr=0.1)),
}  # fmt: skip


def stepped(kind):
    param = Tensor(np.ones((2, 2)), requires_grad=True)
    param.grad = Tensor(np.ones((2, 2)))
    optimizer = KINDS[kind]([param])
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("other", [kind for kind in KINDS if kind != "Lookahead"])
@pytest.mark.parametrize("kind", KINDS)
def test_state_of_another_kind_of_optimizer_is_refused(kind, other):
    optimizer, saved = stepped(kind), stepped(other).state_dict()
    before = repr(optimizer.state_dict())
    if other == kind or (kind, other) == ("Lookahead", "SGD"):  # which has no group that SGD's could not fill
        optimizer.load_state_dict(saved)
    else:
        with pytest.raises(ValueError, match="`state_dict` is of another kind of optimizer: its groups lack"):
            optimizer.load_state_dict(saved)
        assert repr(optimizer.state_dict()) == before


def test_what_is_no_state_is_refused():
    optimizer = stepped("Adam")
    with pytest.raises(TypeError, match="`state_dict` is 3; accepted: what state_dict"):
        optimizer.load_state_dict(3)
    with pytest.raises(ValueError, match=r"`state_dict` lacks \['param_groups', 'state'\]"):
        optimizer.load_state_dict({})
    saved = optimizer.state_dict()
    saved["state"][9] = saved["state"].pop(0)
    with pytest.raises(ValueError, match=r"slots of parameters \[9\], which are in none"):
        optimizer.load_state_dict(saved)


def test_a_flag_that_a_saved_group_lacks_stays_as_it_is():
    optimizer, saved = stepped("Muon"), stepped("Muon").state_dict()
    del saved["param_groups"][0]["renormalise"]  # PyTorch's has none
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["renormalise"] is False
