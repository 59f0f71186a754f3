"""Optimisers: PyTorch's arithmetic step by step, groups, saving."""

import itertools

import numpy as np
import pytest

from minidl import optim
from minidl.tensor import Tensor

SHAPES = [(3, 4), (5,), (2, 3, 2, 2), ()]
TOLERANCE = {"float64": dict(rtol=1e-12, atol=1e-14), "float32": dict(rtol=3e-6, atol=3e-7)}

GRID = {
    "SGD": [
        dict(lr=0.1),
        dict(lr=0.1, weight_decay=0.05),
        dict(lr=0.1, momentum=0.9),
        dict(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.05),
        dict(lr=0.1, momentum=0.9, nesterov=True),
        dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05, maximize=True),
        dict(),
    ],
    "Adam": [
        dict(kind, betas=betas, amsgrad=amsgrad, maximize=maximize)
        for kind, betas, amsgrad, maximize in itertools.product(
            [dict(lr=0.05), dict(weight_decay=0.1)], [(0.9, 0.999), (0.5, 0.6)], [False, True], [False, True]
        )
    ]
    + [dict(), dict(lr=0.1, eps=1e-3), dict(lr=0.1, weight_decay=0.1, decoupled_weight_decay=True)],
    "AdamW": [dict(), dict(lr=0.05, weight_decay=0.2, amsgrad=True), dict(lr=0.05, maximize=True)],
    "RMSprop": [
        dict(alpha=0.9, momentum=momentum, centered=centered, weight_decay=weight_decay)
        for momentum, centered, weight_decay in itertools.product([0, 0.9], [False, True], [0, 0.1])
    ]
    + [dict(), dict(lr=0.05, eps=1e-3, maximize=True)],
}
CASES = [(name, options) for name, grid in GRID.items() for options in grid]


def draw(seed, shapes=SHAPES, dtype="float64"):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape), dtype=dtype) for shape in shapes]


def parameters(dtype="float64", seed=0):
    return [Tensor(array, requires_grad=True) for array in draw(seed, dtype=dtype)]


def give_gradients(params, seed):
    for param, gradient in zip(params, draw(seed, [p.shape for p in params], params[0].dtype)):
        param.grad = Tensor(gradient)


def run(params, optimizer, seeds):
    for seed in seeds:
        give_gradients(params, seed)
        optimizer.step()


def values(params):
    return [param.data.copy() for param in params]


def same_bits(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right))


# ---------------------------------------------------------------- arithmetic


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name, options", CASES)
def test_ten_steps_equal_pytorch(name, options, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = parameters(dtype)
    theirs = [torch.tensor(p.data, requires_grad=True) for p in ours]
    optimizer = getattr(optim, name)(ours, **options)
    reference = getattr(torch.optim, name)(theirs, **options)
    for seed in range(1, 11):
        give_gradients(ours, seed)
        for p, q in zip(ours, theirs):
            q.grad = torch.tensor(p.grad.data)
        optimizer.step()
        reference.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.data, q.detach().numpy(), **TOLERANCE[dtype])
    assert_same_slots(optimizer.state_dict()["state"], reference.state_dict()["state"], TOLERANCE[dtype])


def assert_same_slots(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    for number in theirs:
        assert ours[number].keys() == theirs[number].keys()
        for slot, value in theirs[number].items():
            np.testing.assert_allclose(ours[number][slot], value.numpy(), **tolerance)


@pytest.mark.parametrize("name", GRID)
def test_defaults_are_pytorchs(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = getattr(optim, name)(parameters()).param_groups[0]
    theirs = getattr(torch.optim, name)([torch.zeros(3)]).param_groups[0]
    ignored = {"params"}
    assert {k: v for k, v in ours.items() if k not in ignored} == {k: theirs[k] for k in ours if k not in ignored}


@pytest.mark.parametrize("name, options", CASES)
def test_slots_parameters_and_gradients_keep_their_memory(name, options):
    params = parameters()
    optimizer = getattr(optim, name)(params, **options)
    run(params, optimizer, [1])
    arrays = [p.data for p in params] + [a for slots in optimizer.state.values() for a in slots.values()]
    gradients = draw(2)
    for param, gradient in zip(params, gradients):
        param.grad = Tensor(gradient.copy())
    optimizer.step()
    after = [p.data for p in params] + [a for slots in optimizer.state.values() for a in slots.values()]
    assert all(a is b for a, b in zip(arrays, after, strict=True))
    assert same_bits([p.grad.data for p in params], gradients), "a gradient was changed by the step"


@pytest.mark.parametrize("name", GRID)
def test_learning_rate_may_be_an_array(name):
    ours, theirs = parameters("float32"), parameters("float32")
    optimizer = getattr(optim, name)(ours, lr=np.asarray(0.1), weight_decay=0.1)
    reference = getattr(optim, name)(theirs, lr=0.1, weight_decay=0.1)
    run(ours, optimizer, range(3))
    run(theirs, reference, range(3))
    assert all(p.dtype == np.float32 for p in ours)
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-6)


@pytest.mark.parametrize("name", GRID)
def test_memory_order_of_a_parameter_does_not_matter(name):
    plain = np.random.default_rng(0).standard_normal((4, 6))
    ours, theirs = Tensor(np.asfortranarray(plain), requires_grad=True), Tensor(plain.copy(), requires_grad=True)
    run([ours], getattr(optim, name)([ours], lr=0.1), range(3))
    run([theirs], getattr(optim, name)([theirs], lr=0.1), range(3))
    np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-12)


def test_step_skips_parameters_without_gradient_and_bumps_the_others():
    params = parameters()
    before = values(params)
    give_gradients(params, 1)
    params[1].grad = None
    optimizer = optim.Adam(params)
    optimizer.step()
    assert [np.array_equal(p.data, b) for p, b in zip(params, before)] == [False, True, False, False]
    assert [p._version for p in params] == [1, 0, 1, 1]
    assert sorted(optimizer.state_dict()["state"]) == [0, 2, 3]


def test_step_calls_the_closure_and_returns_its_loss():
    params = parameters()

    def closure():
        give_gradients(params, 1)
        return "loss"

    before = values(params)
    assert optim.SGD(params, lr=0.1).step(closure) == "loss"
    assert not same_bits(before, values(params))


def test_zero_grad():
    params = parameters()
    optimizer = optim.SGD(params, lr=0.1)
    give_gradients(params, 1)
    arrays = [p.grad.data for p in params]
    optimizer.zero_grad(set_to_none=False)
    assert all(np.shares_memory(p.grad.data, a) and not a.any() for p, a in zip(params, arrays))
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


# ---------------------------------------------------------------- groups


def test_groups_have_their_own_settings():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = parameters()
    theirs = [torch.tensor(p.data, requires_grad=True) for p in ours]

    def groups(p):
        return [{"params": p[:2]}, {"params": p[2], "lr": 0.5, "momentum": 0}]

    optimizer = optim.SGD(groups(ours), lr=0.1, momentum=0.9)
    reference = torch.optim.SGD(groups(theirs), lr=0.1, momentum=0.9)
    optimizer.add_param_group({"params": ours[3:], "weight_decay": 0.5})
    reference.add_param_group({"params": theirs[3:], "weight_decay": 0.5})
    for seed in range(4):
        give_gradients(ours, seed)
        for p, q in zip(ours, theirs):
            q.grad = torch.tensor(p.grad.data)
        optimizer.step()
        reference.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-13)
    ours_packed, theirs_packed = (o.state_dict()["param_groups"] for o in (optimizer, reference))
    assert [g["params"] for g in ours_packed] == [g["params"] for g in theirs_packed] == [[0, 1], [2], [3]]


def test_named_parameters_are_remembered():
    params = parameters()
    optimizer = optim.SGD(zip("abcd", params), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == list("abcd")
    assert all(mine is given for mine, given in zip(optimizer.param_groups[0]["params"], params, strict=True))
    assert "lr: 0.1" in repr(optimizer)


# ---------------------------------------------------------------- saving


def copied(state_dict):
    slots = {n: {k: v.copy() for k, v in slot.items()} for n, slot in state_dict["state"].items()}
    return {"state": slots, "param_groups": [dict(group) for group in state_dict["param_groups"]]}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name, options", CASES)
def test_resuming_equals_going_on(name, options, dtype):
    params = parameters(dtype)
    optimizer = getattr(optim, name)(params, **options)
    run(params, optimizer, range(3))
    weights, saved = values(params), copied(optimizer.state_dict())
    run(params, optimizer, range(3, 7))
    others = [Tensor(w, requires_grad=True) for w in weights]
    resumed = getattr(optim, name)(others, lr=7.0)
    resumed.load_state_dict(saved)
    run(others, resumed, range(3, 7))
    assert same_bits(values(params), values(others))
    assert resumed.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


def test_loading_keeps_slots_and_array_settings_in_place():
    params = parameters()
    rate = np.asarray(0.1)
    optimizer = optim.Adam(params, lr=rate)
    run(params, optimizer, [1])
    saved = copied(optimizer.state_dict())
    saved["param_groups"][0]["lr"] = 0.25
    slot = optimizer.state[params[0]]["exp_avg"]
    run(params, optimizer, [2])
    optimizer.load_state_dict(saved)
    assert optimizer.state[params[0]]["exp_avg"] is slot
    assert np.array_equal(slot, saved["state"][0]["exp_avg"])
    assert optimizer.param_groups[0]["lr"] is rate and rate == 0.25
    assert optimizer.state[params[0]]["step"] == 1


def test_loads_the_state_of_pytorchs_optimizer():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = parameters()
    theirs = [torch.tensor(p.data, requires_grad=True) for p in ours]
    reference = torch.optim.Adam(theirs, lr=0.1)
    for p, g in zip(theirs, draw(1)):
        p.grad = torch.tensor(g)
    reference.step()
    saved = reference.state_dict()
    saved["state"] = {n: {k: v.numpy() for k, v in slots.items()} for n, slots in saved["state"].items()}
    optimizer = optim.Adam(ours)
    optimizer.load_state_dict(saved)
    for p, q in zip(ours, theirs):
        p.data[...] = q.detach().numpy()
    give_gradients(ours, 2)
    for p, q in zip(ours, theirs):
        q.grad = torch.tensor(p.grad.data)
    optimizer.step()
    reference.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12)


def test_what_overrides_an_update_finds_it_done():
    class Positive(optim.SGD):
        def update(self, param, grad, state, group):
            super().update(param, grad, state, group)
            np.maximum(param, 0, out=param)

    params = parameters("float32")
    run(params, Positive(params, lr=10.0, momentum=0.9), seeds=[1, 2])
    assert all((param.data >= 0).all() for param in params)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_a_step_updates_parameters_in_any_memory_order_dtype_and_size_as_one_by_one(name):
    def draw_mixed():
        rng = np.random.default_rng(0)
        memory = rng.standard_normal((6, 50, 7)).astype("float32")
        arrays = [memory[0], memory[1].T, memory[2, ::2], memory[3].astype("float64"), memory[4, :0], memory[5, 0]]
        arrays += [rng.standard_normal(100_000).astype("float32")]
        params = [Tensor(array, requires_grad=True) for array in arrays]
        for param in params[:5] + params[6:]:
            param.grad = Tensor(rng.standard_normal(param.shape).astype(param.dtype))
        return params

    together, single = draw_mixed(), draw_mixed()
    kind = getattr(optim, name)
    one, many = kind(together), [kind([param]) for param in single]
    for _ in range(3):
        for optimizer in [one, *many]:
            optimizer.step()
    for a, b in zip(together, single):
        assert np.array_equal(a.data, b.data)


def test_parameters_that_share_memory_are_updated_one_after_the_other():
    memory, copy = np.ones((2, 200_000), dtype="float32")
    params = [Tensor(part, requires_grad=True) for part in (memory[:-1], memory[1:])]
    for index, param in enumerate(params):
        param.grad = Tensor(np.full_like(param.data, index + 1))
    optim.SGD(params, lr=0.1, weight_decay=0.5).step()
    for part, gradient in ((copy[:-1], 1), (copy[1:], 2)):
        part -= (part * np.float32(0.5) + np.float32(gradient)) * np.float32(0.1)
    assert np.array_equal(memory, copy)


def test_a_parameter_that_cannot_be_written_is_refused():
    param = Tensor(np.ones(3), requires_grad=True)
    param.data.flags.writeable = False
    param.grad = Tensor(np.ones(3))
    with pytest.raises(ValueError, match="read-only"):
        optim.SGD([param]).step()
