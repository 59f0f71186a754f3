"""`minidl.capture` and the objects of a step: a change is seen, or the step refused; the first call is an eager one."""

import array
import collections
import contextlib
import contextvars
import functools
import itertools
import operator
import os
import random
import threading
import types
import weakref
from typing import NamedTuple

import numpy as np
import pytest

import minidl
from minidl import dispatch, nn, optim

pytest.importorskip("numba", reason="Numba is not installed")
if dispatch.form_for("captured.Replays", np.zeros(1)) is None:
    pytest.skip("the fast forms are switched off", allow_module_level=True)

from test_capture import assert_same, assert_trains_alike, network, replays, trained  # noqa: E402


class Pair(NamedTuple):
    model: object
    scales: list


def of_class():
    class Settings:
        scale = 1.0

    settings = Settings()
    return lambda x: x * settings.scale, functools.partial(setattr, Settings, "scale")


def of_base_class():
    class Base:
        scale = 1.0

    class Settings(Base):
        pass

    settings = Settings()
    return lambda x: x * settings.scale, functools.partial(setattr, settings, "scale")


def of_module_class():
    class Scaling(nn.Module):
        scale = 1.0

        def forward(self, x):
            return x * self.scale

    return Scaling(), functools.partial(setattr, Scaling, "scale")


def of_method():
    class Scaling(nn.Module):
        def forward(self, x):
            return x * 1.0

    return Scaling(), lambda value: setattr(Scaling, "forward", lambda self, x: x * value)


def of_descriptor():
    class Stored:
        value = 1.0

        def __get__(self, instance, owner):
            return self.value

    stored = Stored()
    settings = type("Settings", (), {"scale": stored, "__module__": __name__})()
    return lambda x: x * settings.scale, functools.partial(setattr, stored, "value")


def of_function():
    def scaled(x):
        return x * scaled.scale

    scaled.scale = 1.0
    return lambda x: scaled(x), functools.partial(setattr, scaled, "scale")


def of_defaults():
    def scaled(x, scale=1.0):
        return x * scale

    return lambda x: scaled(x), lambda value: setattr(scaled, "__defaults__", (value,))


def of_event():
    event = threading.Event()
    return lambda x: x * (2.0 if event.is_set() else 1.0), lambda value: event.set() if value != 1 else event.clear()


class Holder:
    scale = 1.0


def of_reference():
    holder = Holder()
    reference = weakref.ref(holder)
    return lambda x: x * reference().scale, lambda value: setattr(holder, "scale", value)


def of_cache():
    scales = [1.0]
    cached = functools.lru_cache(lambda: scales[0])
    return lambda x: x * cached(), lambda value: (operator.setitem(scales, 0, value), cached.cache_clear())


def of_environment():
    name = "MINIDL_TEST_SCALE"
    return lambda x: x * float(os.environ[name]), lambda value: os.environ.update({name: str(value)})


def of_entry(container, key):
    return lambda x: x * container[key], functools.partial(operator.setitem, container, key)


def of_named_tuple():
    pair = Pair(nn.Identity(), [1.0])
    return lambda x: pair.model(x) * pair.scales[0], functools.partial(operator.setitem, pair.scales, 0)


FOLLOWED = {
    "a class": of_class,
    "an instance that hides its class": of_base_class,
    "a module's class": of_module_class,
    "a method": of_method,
    "a descriptor": of_descriptor,
    "a function's attribute": of_function,
    "a function's defaults": of_defaults,
    "an event": of_event,
    "a weak reference": of_reference,
    "a cache": of_cache,
    "the environment": of_environment,
    "a list of the user's": lambda: of_entry(type("Own", (list,), {"__module__": __name__})([1.0]), 0),
    "a UserDict": lambda: of_entry(collections.UserDict(scale=1.0), "scale"),
    "a ChainMap": lambda: of_entry(collections.ChainMap({}, {"scale": 1.0}), "scale"),
    "a named tuple": of_named_tuple,
}


@pytest.mark.parametrize("place", FOLLOWED)
def test_a_number_anywhere_is_seen_to_change(place):
    step, change = FOLLOWED[place]()
    run, x = minidl.capture(step), minidl.ones(3)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MINIDL_TEST_SCALE", "1.0")
        assert [run(x).tolist() for _ in range(3)] == [[1.0] * 3] * 3
        change(2.0)
        assert [run(x).tolist() for _ in range(3)] == [[2.0] * 3] * 3
    assert replays(run)[0] > 1 and not replays(run)[1]


def drawing():
    draw = random.Random(0)
    return lambda x: x * (2.0 if draw.random() < 0.5 else 1.0)


def drawing_by_method():
    draw = random.Random(0).random
    return lambda x: x * (2.0 if draw() < 0.5 else 1.0)


def stepping(values):
    return lambda x: x * next(values)


def looking(values):
    return lambda x: x * float(values[0])


def in_context(variable):
    return lambda x: x * variable.get()


REFUSED = {
    "an iterator": (lambda: stepping(itertools.cycle([1.0, 1.0, 2.0])), "`values` is of type cycle"),
    "a generator": (lambda: stepping(float(i > 2) for i in range(9)), "`values` is of type generator"),
    "an array.array": (lambda: looking(array.array("d", [1.0])), "`values` is of type array"),
    "bytes": (lambda: looking(bytearray([1])), "`values` is of type bytearray"),
    "objects": (lambda: looking(np.array([1.0, None], object)), "an array of type ndarray and dtype object"),
    "an array": (lambda: looking(np.ones(1)), "a value that leaves the arrays, in `__float__`"),
    "an array in a tuple": (lambda: looking((np.array(1.0),)), r"`values\[0\]` is an array in a tuple"),
    "a context": (lambda: in_context(contextvars.ContextVar("v", default=1.0)), "type ContextVar"),
    "draws": (drawing, "`draw` is of type Random"),
    "draws by a method": (drawing_by_method, "`draw` is of type Random"),
    "Python's draws": (lambda: lambda x: x * (2.0 if random.random() < 2 else 1.0), "Python's random numbers"),
    "NumPy's draws": (lambda: lambda x: x * (2.0 if np.random.rand() < 2 else 1.0), "random numbers that NumPy draws"),
}


@pytest.mark.parametrize("place", REFUSED)
def test_what_may_change_unseen_is_refused(place):
    make, reason = REFUSED[place]
    run, step, x = minidl.capture(make()), make(), minidl.ones(3)
    with pytest.warns(minidl.CaptureWarning, match=reason):
        assert [run(x).tolist() for _ in range(6)] == [step(x).tolist() for _ in range(6)]


def test_outputs_may_be_the_next_arguments_in_any_order():
    for step in (lambda a, b: (b * 1.5, a + 1), lambda a, b: (b, a * 2), lambda a, b: (b, a)):
        run, ours, theirs = minidl.capture(step), (minidl.ones(3), minidl.zeros(3)), (minidl.ones(3), minidl.zeros(3))
        for _ in range(6):
            ours, theirs = run(*ours), step(*theirs)
            assert [one.tolist() for one in ours] == [one.tolist() for one in theirs]
        assert replays(run) == (5, [])


CHANGED_IN_PLACE = {
    "an argument": lambda base, other: (base, other),
    "a part of another": lambda base, other: (base[:4], base[2:6]),
    "one that comes twice": lambda base, other: (base, base),
}


@pytest.mark.parametrize("case", CHANGED_IN_PLACE)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_change_of_arguments_in_place_is_made_once(case, swapped):
    def step(x, y):
        x, y = (y, x) if swapped else (x, y)
        x.mul_(2.0)
        return (x * y).sum()

    found = []
    for run in (step, minidl.capture(step)):
        base, other = minidl.arange(8.0), minidl.ones(8)
        told = pytest.warns(minidl.CaptureWarning, match="it changes in place")
        with told if run is not step else contextlib.nullcontext():
            found.append([run(*CHANGED_IN_PLACE[case](base, other)).item() for _ in range(3)])
        found[-1] += base.tolist() + other.tolist()
    assert found[0] == found[1]


def test_an_argument_that_is_a_view_of_the_state_is_read_after_the_change():
    found = []
    for wrap in (minidl.capture, lambda step: step):
        minidl.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x, weight):
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
            return weight.sum()

        run = wrap(step)
        told = pytest.warns(minidl.CaptureWarning, match="in place")
        with told if wrap is minidl.capture else contextlib.nullcontext():
            found.append([run(minidl.ones(2, 3), model.weight.detach()).item() for _ in range(3)])
    assert found[0] == found[1]


def test_a_schedule_within_the_step_is_stepped_once_a_call():
    found = []
    for wrap in (minidl.capture, lambda step: step):
        model, _ = network(["linear"])
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        schedule, seen = optim.CosineAnnealingLR(optimizer, 10), []

        def step(x):
            loss = model(x).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            seen.append(1)
            return loss

        run = wrap(step)
        told = pytest.warns(minidl.CaptureWarning, match="a learning rate that")
        with told if wrap is minidl.capture else contextlib.nullcontext():
            losses = [run(minidl.ones(4, 6)).item() for _ in range(4)]
        found.append((losses, len(seen), schedule.last_epoch, optimizer.param_groups[0]["lr"]))
    assert found[0] == found[1]


def test_a_rate_that_the_step_reads_is_the_number_that_it_is():
    model, _ = network(["linear"])
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x):
        rate = optimizer.param_groups[0]["lr"]
        return x * rate * (2 if str(rate) == "0.1" else 1)

    run = minidl.capture(step)
    for rate in (0.1, 0.1, 0.1, 0.3, 0.3, 0.3):
        optimizer.param_groups[0]["lr"] = rate
        found, expected = run(minidl.ones(3)), step(minidl.ones(3))
        assert found.dtype == expected.dtype and found.tolist() == expected.tolist()
    assert replays(run) == (4, [])


OUTPUTS = {
    "Pair": lambda y: Pair(y, [y]),
    "SimpleNamespace": lambda y: types.SimpleNamespace(model=y),
    "function": lambda y: lambda: y,
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_of_other_types_are_refused_and_hold_plain_arrays(kind):
    run = minidl.capture(lambda x: OUTPUTS[kind](x * 2))
    with pytest.warns(minidl.CaptureWarning, match=f"an output of type {kind}"):
        found = run(minidl.ones(3))
    found = found() if kind == "function" else found.model
    assert kind == "function" or type(found.data) is np.ndarray
    assert found.tolist() == [2.0] * 3


def muon_and_adam(params):
    params = list(params)
    matrices, others = ([p for p in params if (p.ndim > 1) == big] for big in (True, False))
    return optim.JointOptimizer([optim.Muon(matrices, lr=0.02, renormalise=True), optim.Adam(others, lr=0.01)])


def test_muon_within_a_joint_optimiser_has_the_bits_of_eager_steps():
    def make():
        model, shape = network(["linear", "tanh"])
        return model, shape, muon_and_adam(model.parameters())

    assert_trains_alike(make, least=6, steps=8)


def test_adam_has_the_bits_of_eager_steps_in_float64():
    """The root of its second bias correction is a number in an eager step, and an array while one is recorded."""

    def run(captured):
        model, shape = network(["linear", "tanh"])
        return trained(model.double(), shape, "adam", captured, steps=30, batches=(4,), cast=np.float64)

    ours, theirs = run(True), run(False)
    assert_same(ours, theirs)
    assert replays(ours[2])[0] > 20
