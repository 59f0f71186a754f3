"""Muon, optimisers joined into one, and Lookahead."""

import numpy as np
import pytest

from minidl import optim
from minidl.optim.muon import COEFFICIENTS, orthogonalised
from minidl.tensor import Tensor

SHAPES = [(3, 4), (6, 2), (5, 2, 3, 3)]


def weights(dtype="float64", shapes=SHAPES, seed=0):
    rng = np.random.default_rng(seed)
    return [Tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True) for shape in shapes]


def give_gradients(params, seed):
    rng = np.random.default_rng([1, seed])
    for param in params:
        param.grad = Tensor(rng.standard_normal(param.shape).astype(param.dtype))


def steps(optimizer, params, numbers):
    for seed in numbers:
        give_gradients(params, seed)
        optimizer.step()


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5)])
def test_orthogonalised_keeps_the_directions_and_brings_their_lengths_near_one(shape):
    matrix = np.random.default_rng(0).standard_normal(shape)
    p, lengths, q = np.linalg.svd(matrix, full_matrices=False)
    a, b, c = COEFFICIENTS
    s = lengths / np.linalg.norm(lengths)
    for _ in range(5):
        s = a * s + b * s**3 + c * s**5
    np.testing.assert_allclose(orthogonalised(matrix), p * s @ q, atol=1e-9)
    assert (abs(s - 1) < 0.35).all()


def by_hand(w, gradients, lr, weight_decay, momentum, nesterov, factor):
    """Muon written down from its formula, with the polynomial applied to singular values."""
    buffer, shape = 0, w.shape
    for gradient in gradients:
        buffer = momentum * buffer + (1 - momentum) * gradient
        u = (1 - momentum) * gradient + momentum * buffer if nesterov else buffer
        p, s, q = np.linalg.svd(u.reshape(len(u), -1), full_matrices=False)
        s = s / np.linalg.norm(s)
        for _ in range(3):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        w = w * (1 - lr * weight_decay) - lr * factor(u.reshape(len(u), -1).shape) * (p * s @ q).reshape(shape)
    return w


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust", [None, "original", "match_rms_adamw"])
def test_muon_follows_its_formula(nesterov, adjust):
    params = weights()
    before = [p.data.copy() for p in params]
    optimizer = optim.Muon(params, 0.1, 0.2, 0.9, nesterov, ns_steps=3, adjust_lr_fn=adjust)
    gradients = []
    for seed in range(4):
        give_gradients(params, seed)
        gradients.append([p.grad.data.copy() for p in params])
        optimizer.step()
    factor = (lambda s: 0.2 * max(s) ** 0.5) if adjust == "match_rms_adamw" else (lambda s: max(1, s[0] / s[1]) ** 0.5)
    for param, w, history in zip(params, before, zip(*gradients)):
        np.testing.assert_allclose(param.data, by_hand(w, history, 0.1, 0.2, 0.9, nesterov, factor), rtol=1e-9)


@pytest.mark.parametrize("options", [
    dict(), dict(lr=0.05, momentum=0.6, ns_steps=3), dict(lr=0.1, nesterov=False, weight_decay=0.0),
    dict(lr=0.1, adjust_lr_fn="match_rms_adamw"),
])  # fmt: skip
def test_muon_agrees_with_pytorch_as_far_as_its_half_precision_goes(options):
    """PyTorch multiplies in bfloat16, which has 8 bits: an entry of a step, at most 1 or so, is off by 0.02."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = weights("float32", SHAPES[:2])
    theirs = [torch.tensor(p.data.copy(), requires_grad=True) for p in ours]
    optimizer, reference = optim.Muon(ours, **options), torch.optim.Muon(theirs, **options)
    mine, other = optimizer.param_groups[0], reference.param_groups[0]
    assert {k: mine[k] for k in mine if k not in ("params", "renormalise")} == {
        k: other[k] for k in other if k in mine and k != "params"
    }
    for seed in range(5):
        give_gradients(ours, seed)
        for p, q in zip(ours, theirs):
            q.grad = torch.tensor(p.grad.data)
        optimizer.step()
        reference.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.data, q.detach().numpy(), atol=5 * 0.03 * 1.8 * options.get("lr", 1e-3))
        np.testing.assert_allclose(
            optimizer.state[p]["momentum_buffer"], reference.state[q]["momentum_buffer"].numpy(), rtol=1e-5, atol=1e-6
        )


def test_a_renormalised_weight_has_the_norm_of_its_rows_before_each_step():
    (param,) = weights(shapes=[(4, 2, 3, 3)])
    optimizer = optim.Muon([param], lr=0.0, renormalise=True)
    steps(optimizer, [param], range(1))
    assert np.linalg.norm(param.data) == pytest.approx(2.0)


def test_muon_moves_a_gradient_that_is_zero_nowhere():
    (param,) = weights(shapes=[(2, 3)])
    before = param.data.copy()
    param.grad = Tensor(np.zeros((2, 3)))
    optim.Muon([param], lr=0.5, weight_decay=0.0).step()
    assert np.array_equal(param.data, before)


@pytest.mark.parametrize("options, message", [
    (dict(lr=-1), "`lr` is -1"),
    (dict(ns_steps=0), "`ns_steps` is 0; accepted: a whole number >= 1"),
    (dict(ns_coefficients=(1, 2)), "`ns_coefficients` is (1, 2); accepted: three numbers"),
    (dict(adjust_lr_fn="half"), "`adjust_lr_fn` is 'half'; accepted: None, 'original', 'match_rms_adamw'"),
])  # fmt: skip
def test_muon_refuses(options, message):
    with pytest.raises(ValueError) as error:
        optim.Muon(weights(), **options)
    assert message in str(error.value)


def test_muon_takes_matrices_only():
    with pytest.raises(ValueError, match=r"shape \(3,\) at index 1; Muon accepts 2 axes or more"):
        optim.Muon(weights(shapes=[(2, 2), (3,)]))


def parts(params):
    return [optim.Muon(params[:1], lr=0.1), optim.SGD(params[1:], lr=0.2, momentum=0.9)]


def test_joined_optimisers_do_what_they_do_alone_and_go_on_from_what_was_saved():
    together, apart, resumed = weights(), weights(), weights()
    joint, alone = optim.JointOptimizer(parts(together)), parts(apart)
    steps(joint, together, range(3))
    saved = {"state": {k: {n: a.copy() for n, a in s.items()} for k, s in joint.state_dict()["state"].items()},
             "param_groups": joint.state_dict()["param_groups"]}  # fmt: skip
    for param, other in zip(resumed, together):
        param.data[...] = other.data
    again = optim.JointOptimizer(parts(resumed))
    again.load_state_dict(saved)
    steps(joint, together, range(3, 6))
    steps(again, resumed, range(3, 6))
    for seed in range(6):
        give_gradients(apart, seed)
        for part in alone:
            part.step()
    for one, two, three in zip(together, apart, resumed):
        assert np.array_equal(one.data, two.data) and np.array_equal(one.data, three.data)


def test_a_schedule_steps_the_groups_of_all_joined_optimisers():
    joint = optim.JointOptimizer(parts(weights()))
    schedule = optim.LinearLR(joint, 1.0, 0.0, total_iters=4)
    schedule.step()
    assert [group["lr"] for group in joint.param_groups] == pytest.approx([0.075, 0.15])


def test_joined_optimisers_share_no_parameter_and_are_new():
    params = weights()
    with pytest.raises(ValueError, match="a parameter in common"):
        optim.JointOptimizer([optim.SGD(params), optim.SGD(params)])
    used = optim.SGD(params, momentum=0.5)
    steps(used, params, range(1))
    with pytest.raises(ValueError, match="has made a step"):
        optim.JointOptimizer([used])
    with pytest.raises(ValueError, match="before they are joined"):
        optim.JointOptimizer(parts(weights())).add_param_group({"params": weights()})


# ---------------------------------------------------------------- Lookahead


def lookahead(params, k=3, alpha=0.25):
    return optim.Lookahead(optim.SGD(params, lr=0.1, momentum=0.9), k, alpha)


def test_lookahead_follows_its_formula():
    params, plain = weights(), weights()
    steps(lookahead(params), params, range(7))
    slow = [p.data.copy() for p in plain]
    optimizer = optim.SGD(plain, lr=0.1, momentum=0.9)
    for seed in range(7):
        give_gradients(plain, seed)
        optimizer.step()
        if seed % 3 == 2:
            slow = [s + 0.25 * (p.data - s) for s, p in zip(slow, plain)]
            for p, s in zip(plain, slow):
                p.data[...] = s
    for one, two in zip(params, plain):
        np.testing.assert_allclose(one.data, two.data, rtol=1e-12)


@pytest.mark.parametrize("at", [2, 3, 4])
def test_lookahead_goes_on_from_what_was_saved_between_two_meetings(at):
    params, others = weights(), weights()
    whole = lookahead(params)
    steps(whole, params, range(at))
    saved = {"state": {k: {n: a.copy() for n, a in s.items()} for k, s in whole.state_dict()["state"].items()},
             "param_groups": [dict(group) for group in whole.state_dict()["param_groups"]]}  # fmt: skip
    for other, param in zip(others, params):
        other.data[...] = param.data
    resumed = lookahead(others)
    resumed.load_state_dict(saved)
    steps(whole, params, range(at, 8))
    steps(resumed, others, range(at, 8))
    assert all(np.array_equal(p.data, q.data) for p, q in zip(params, others))


def test_lookahead_refuses():
    with pytest.raises(ValueError, match="`k` is 0"):
        lookahead(weights(), k=0)
    with pytest.raises(ValueError, match="`alpha` is 2"):
        lookahead(weights(), alpha=2)
