"""Learning-rate schedules against PyTorch's, epoch by epoch."""

import copy
import json

import numpy as np
import pytest

from minidl import optim
from minidl.optim import lr_scheduler
from minidl.tensor import Tensor

EPOCHS = 30


def halves_later(epoch):
    return 0.5 ** (epoch // 3)


# One row per schedule: its name, the arguments, and the optimizer it needs.
ROWS = [
    ("StepLR", dict(step_size=4), "SGD"),
    ("StepLR", dict(step_size=1, gamma=0.5), "SGD"),
    ("MultiStepLR", dict(milestones=[3, 9, 9, 20], gamma=0.5), "SGD"),
    ("ExponentialLR", dict(gamma=0.9), "SGD"),
    ("CosineAnnealingLR", dict(T_max=30), "SGD"),
    ("CosineAnnealingLR", dict(T_max=7, eta_min=0.01), "SGD"),
    ("LinearLR", dict(), "SGD"),
    ("LinearLR", dict(start_factor=0.1, end_factor=0.7, total_iters=12), "SGD"),
    ("ConstantLR", dict(factor=0.25, total_iters=6), "SGD"),
    ("PolynomialLR", dict(total_iters=20, power=2.0), "SGD"),
    ("PolynomialLR", dict(), "SGD"),
    ("LambdaLR", dict(lr_lambda=halves_later), "SGD"),
    ("LambdaLR", dict(lr_lambda=[halves_later, lambda epoch: 1 / (1 + epoch)]), "SGD"),
    ("OneCycleLR", dict(max_lr=2.0, total_steps=31), "SGD"),
    ("OneCycleLR", dict(max_lr=[1.0, 3.0], total_steps=40, three_phase=True), "SGD"),
    ("OneCycleLR", dict(max_lr=1.0, epochs=4, steps_per_epoch=8, pct_start=0.5, anneal_strategy="linear"), "Adam"),
    ("OneCycleLR", dict(max_lr=1.0, total_steps=50, div_factor=10.0, final_div_factor=5.0), "AdamW"),
    ("OneCycleLR", dict(max_lr=1.0, total_steps=31, cycle_momentum=False), "SGD"),
    ("OneCycleLR", dict(max_lr=1.0, total_steps=31, base_momentum=[0.5, 0.6], max_momentum=0.9), "RMSprop"),
    ("CosineAnnealingWarmRestarts", dict(T_0=5), "SGD"),
    ("CosineAnnealingWarmRestarts", dict(T_0=3, T_mult=2, eta_min=0.01), "SGD"),
    ("CyclicLR", dict(base_lr=0.1, max_lr=0.9, step_size_up=4), "SGD"),
    ("CyclicLR", dict(base_lr=[0.1, 0.2], max_lr=0.9, step_size_up=4, step_size_down=7, mode="triangular2"), "Adam"),
    ("CyclicLR", dict(base_lr=0.1, max_lr=0.9, step_size_up=3, mode="exp_range", gamma=0.9), "RMSprop"),
    ("CyclicLR", dict(base_lr=0.1, max_lr=0.9, step_size_up=3, scale_fn=halves_later, cycle_momentum=False), "SGD"),
]
MOMENTUM = {"SGD": dict(momentum=0.9), "RMSprop": dict(momentum=0.9)}
IDS = [f"{name}-{index}" for index, (name, *_) in enumerate(ROWS)]


def make_optimizer(name="SGD", lr=0.5):
    params = [Tensor(np.ones(2), requires_grad=True) for _ in range(2)]
    groups = [{"params": [params[0]]}, {"params": [params[1]], "lr": 0.3 if isinstance(lr, float) else lr.copy()}]
    return getattr(optim, name)(groups, lr=lr, **MOMENTUM.get(name, {}))


def make_reference(torch, name="SGD"):
    params = [torch.ones(2, requires_grad=True) for _ in range(2)]
    groups = [{"params": [params[0]]}, {"params": [params[1]], "lr": 0.3}]
    return getattr(torch.optim, name)(groups, lr=0.5, **MOMENTUM.get(name, {}))


def settings(optimizer):
    """Rates and momenta of all groups."""
    keys = ("lr", "momentum", "betas")
    found = [group[key] for group in optimizer.param_groups for key in keys if key in group]
    return np.concatenate([np.atleast_1d(value) for value in found])


def follow(schedule, optimizer, epochs):
    """Settings before each of so many steps."""
    history = []
    for _ in range(epochs):
        history.append(settings(optimizer))
        optimizer.step()
        schedule.step()
    return np.array(history)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("name, options, optimizer", ROWS, ids=IDS)
def test_thirty_epochs_equal_pytorch(name, options, optimizer):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = make_optimizer(optimizer), make_reference(torch, optimizer)
    mine = getattr(lr_scheduler, name)(ours, **options)
    reference = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    got, expected = follow(mine, ours, EPOCHS), follow(reference, theirs, EPOCHS)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mine.get_last_lr(), reference.get_last_lr(), rtol=1e-10, atol=1e-12)
    assert set(vars(reference)) - set(vars(mine)) <= {
        "_step_count", "_is_initial", "_get_lr_called_within_step", "_scale_fn_ref",
    }


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("options", [dict(), dict(cooldown=2, factor=0.5), dict(min_lr=[0.1, 0.2]), dict(eps=0.1)])
def test_plateau_equals_pytorch(mode, threshold_mode, options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = make_optimizer(), make_reference(torch)
    options = dict(options, mode=mode, threshold_mode=threshold_mode, patience=2, threshold=0.05)
    mine = optim.ReduceLROnPlateau(ours, **options)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    metrics = np.random.default_rng(0).random(EPOCHS).cumsum() % 2.5
    for metric in metrics:
        mine.step(Tensor(metric))
        reference.step(metric)
        np.testing.assert_allclose(settings(ours), settings(theirs), rtol=1e-14)
    assert mine.num_bad_epochs == reference.num_bad_epochs and mine.best == reference.best
    assert not np.array_equal(settings(ours), settings(make_optimizer())), "no reduction happened: a vacuous test"


def parts_of(library, optimizer):
    return [
        library.LinearLR(optimizer, start_factor=0.1, total_iters=5),
        library.CosineAnnealingLR(optimizer, T_max=8),
        library.ExponentialLR(optimizer, gamma=0.9),
    ]


def test_sequence_equals_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = make_optimizer(), make_reference(torch)
    mine = optim.SequentialLR(ours, parts_of(lr_scheduler, ours), milestones=[5, 12])
    library = torch.optim.lr_scheduler
    reference = library.SequentialLR(theirs, parts_of(library, theirs), milestones=[5, 12])
    np.testing.assert_allclose(follow(mine, ours, EPOCHS), follow(reference, theirs, EPOCHS), rtol=1e-10, atol=1e-12)


def test_sequences_can_be_nested():
    optimizer = make_optimizer()
    inner = optim.SequentialLR(optimizer, parts_of(lr_scheduler, optimizer), milestones=[5, 12])
    alone = follow(inner, optimizer, 20)
    optimizer = make_optimizer()
    inner = optim.SequentialLR(optimizer, parts_of(lr_scheduler, optimizer), milestones=[5, 12])
    outer = optim.SequentialLR(optimizer, [optim.ConstantLR(optimizer, 0.5, 99), inner], milestones=[4])
    assert np.array_equal(follow(outer, optimizer, 24)[4:], alone)


def test_warm_up_rises_to_the_schedule():
    optimizer = make_optimizer()
    schedule = optim.warm_up(optim.StepLR(optimizer, step_size=2, gamma=0.5), total_iters=4, start_factor=0.2)
    rates = follow(schedule, optimizer, 8)[:, 0]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.25, 0.25])


def test_the_papers_schedule():
    optimizer = make_optimizer()
    rates = follow(optim.GoogLeNetLR(optimizer), optimizer, 25)[:, 0]
    np.testing.assert_allclose(rates, [0.5 * 0.96 ** (epoch // 8) for epoch in range(25)], rtol=1e-15)


# ---------------------------------------------------------------- arrays, resuming


# Every row, a sequence and a warm-up: the optimizer's name and make(optimizer).
EVERY_SCHEDULE = [
    pytest.param(optimizer, lambda o, n=name, k=options: getattr(lr_scheduler, n)(o, **k), id=label)
    for (name, options, optimizer), label in zip(ROWS, IDS)
] + [
    pytest.param("SGD", lambda o: optim.SequentialLR(o, parts_of(lr_scheduler, o), [5, 12]), id="SequentialLR"),
    pytest.param("SGD", lambda o: optim.warm_up(optim.StepLR(o, 3), 4), id="warm_up"),
]


@pytest.mark.parametrize("name, make", EVERY_SCHEDULE)
def test_resuming_equals_going_on(name, make):
    optimizer = make_optimizer(name)
    schedule = make(optimizer)
    follow(schedule, optimizer, 7)
    saved = json.loads(json.dumps(schedule.state_dict())), copy.deepcopy(optimizer.state_dict())
    expected = follow(schedule, optimizer, 20)
    resumed_optimizer = make_optimizer(name)
    resumed_optimizer.load_state_dict(saved[1])
    resumed = make(resumed_optimizer)  # overwrites the rates: loading brings them back, in any order
    resumed.load_state_dict(saved[0])
    assert np.array_equal(follow(resumed, resumed_optimizer, 20), expected)


@pytest.mark.parametrize("name, make", EVERY_SCHEDULE)
def test_a_rate_that_is_an_array_is_overwritten_in_place(name, make):
    plain, optimizer = make_optimizer(name), make_optimizer(name, lr=np.asarray(0.5))
    plain.param_groups[1]["lr"] = 0.5
    arrays = [group["lr"] for group in optimizer.param_groups]
    expected = follow(make(plain), plain, 10)
    assert np.array_equal(follow(make(optimizer), optimizer, 10), expected)
    assert all(group["lr"] is array for group, array in zip(optimizer.param_groups, arrays))


def test_plateau_resumes():
    optimizer = make_optimizer()
    schedule = optim.ReduceLROnPlateau(optimizer, patience=1)
    for metric in [3, 3, 3, 3, 3]:
        schedule.step(metric)
    other = make_optimizer()
    resumed = optim.ReduceLROnPlateau(other, patience=5)
    resumed.load_state_dict(schedule.state_dict())
    assert np.array_equal(settings(other), settings(optimizer))
    assert resumed.state_dict() == schedule.state_dict()


def test_starting_at_a_later_epoch():
    optimizer = make_optimizer()
    follow(optim.StepLR(optimizer, 3), optimizer, 7)
    later = optim.StepLR(optimizer, 3, last_epoch=6)
    assert later.last_epoch == 7 and later.get_last_lr()[0] == 0.5 * 0.1**2
    with pytest.raises(KeyError, match="has no 'initial_lr'"):
        optim.StepLR(make_optimizer(), 3, last_epoch=6)


def test_a_callable_object_is_saved_with_the_schedule():
    class Decay:
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, epoch):
            return self.rate**epoch

    saved = optim.LambdaLR(make_optimizer(), Decay(0.5)).state_dict()
    schedule = optim.LambdaLR(make_optimizer(), Decay(0.9))
    schedule.load_state_dict(saved)
    schedule.step()
    assert schedule.get_last_lr()[0] == 0.25


# ---------------------------------------------------------------- refusals


def plateau(optimizer):
    return optim.ReduceLROnPlateau(optimizer)


REFUSALS = [
    (lambda o: optim.StepLR(3, 1), TypeError, "`optimizer` is a int; accepted: an Optimizer"),
    (lambda o: optim.StepLR(o, 0), ValueError, "`step_size` is 0; accepted: a whole number >= 1"),
    (lambda o: optim.CosineAnnealingLR(o, 2.5), ValueError, "`T_max` is 2.5; accepted: a whole number >= 1"),
    (lambda o: optim.LinearLR(o, 0), ValueError, "`start_factor` is 0; accepted: a number > 0, at most 1"),
    (lambda o: optim.ConstantLR(o, 2), ValueError, "`factor` is 2; accepted: a number from 0 to 1"),
    (lambda o: optim.LambdaLR(o, [abs]), ValueError, "`lr_lambda` has 1 entries; accepted: one, or 2"),
    (lambda o: optim.OneCycleLR(o, 1.0), ValueError, "`total_steps` is None; accepted: a whole number, or both"),
    (lambda o: optim.OneCycleLR(o, 1.0, 0), ValueError, "`total_steps` is 0; accepted: a whole number >= 1"),
    (lambda o: optim.OneCycleLR(o, 1.0, 9, pct_start=2), ValueError, "`pct_start` is 2; accepted: a number from 0"),
    (lambda o: optim.OneCycleLR(o, 1.0, 9, anneal_strategy="x"), ValueError, "is 'x'; accepted: 'cos', 'linear'"),
    (lambda o: optim.OneCycleLR(o, [1.0], 9), ValueError, "`max_lr` has 1 entries; accepted: one, or 2"),
    (lambda o: optim.CosineAnnealingWarmRestarts(o, 0), ValueError, "`T_0` is 0; accepted: a whole number >= 1"),
    (lambda o: optim.CosineAnnealingWarmRestarts(o, 2).step(-1), ValueError, "`epoch` is -1; accepted: numbers >= 0"),
    (lambda o: optim.CyclicLR(o, 0.1, 1.0, mode="x"), ValueError, "`mode` is 'x'; accepted: 'triangular', "),
    (lambda o: optim.CyclicLR(o, [0.1], 1.0), ValueError, "`base_lr` has 1 entries; accepted: one, or 2"),
    (lambda o: optim.ReduceLROnPlateau(o, "low"), ValueError, "`mode` is 'low'; accepted: 'min', 'max'"),
    (lambda o: optim.ReduceLROnPlateau(o, factor=1), ValueError, "`factor` is 1; accepted: a number >= 0 and < 1"),
    (lambda o: optim.SequentialLR(o, [plateau(o)], []), ValueError, "holds ReduceLROnPlateau at index 0"),
    (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [3]), ValueError, "`milestones` has 1 entries for 1"),
    (lambda o: optim.SequentialLR(o, [o], []), TypeError, "`schedulers` holds a SGD at index 0"),
    (lambda o: optim.SequentialLR(o, [optim.StepLR(make_optimizer(), 1)], []), ValueError, "one of another optimizer"),
    (lambda o: optim.StepLR(o, 1).load_state_dict({"gamma": 1}), ValueError, "`state_dict` lacks ['_last_lr', "),
]


@pytest.mark.parametrize("call, kind, message", REFUSALS)
def test_bad_arguments_are_refused(call, kind, message):
    with pytest.raises(kind) as error:
        call(make_optimizer())
    assert message in str(error.value)


def test_a_cycle_ends():
    schedule = optim.OneCycleLR(make_optimizer(), 1.0, total_steps=2)
    schedule.step()
    schedule.step()
    with pytest.raises(ValueError, match="step 3 is beyond the cycle; `total_steps` is 2"):
        schedule.step()
