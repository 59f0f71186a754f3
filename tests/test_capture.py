"""`minidl.capture`: the bits of eager execution, or a refusal with the reason and the line."""

import contextlib
import gc
import os
import signal
import sys
import threading
import warnings
import weakref
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import minidl
import models
from benchmarks import rows
from minidl import dispatch, nn, optim

pytest.importorskip("numba", reason="Numba is not installed")
if dispatch.form_for("captured.Replays", np.zeros(1)) is None:
    pytest.skip("the fast forms are switched off", allow_module_level=True)

from minidl.kernels.cpu.capture.leaving import leave  # noqa: E402
from minidl.kernels.cpu.capture.recorded import Recorded  # noqa: E402
from minidl.kernels.cpu.capture.recorder import Recorder  # noqa: E402
from minidl.kernels.cpu.machine import team  # noqa: E402

LAYERS = {
    "linear": ((6,), lambda: nn.Linear(6, 6)),
    "batch norm": ((6,), lambda: nn.BatchNorm1d(6)),
    "layer norm": ((6,), lambda: nn.LayerNorm(6)),
    "dropout": ((6,), lambda: nn.Dropout(0.4)),
    "gelu": ((6,), nn.GELU),
    "tanh": ((6,), nn.Tanh),
    "softmax": ((6,), lambda: nn.Softmax(1)),
    "conv": ((2, 6, 6), lambda: nn.Conv2d(2, 2, 3, padding=1)),
    "strided conv": ((2, 6, 6), lambda: nn.Conv2d(2, 2, 3, stride=2)),
    "depthwise": ((2, 6, 6), lambda: nn.Conv2d(2, 2, 3, padding=1, groups=2)),
    "batch norm 2d": ((2, 6, 6), lambda: nn.BatchNorm2d(2)),
    "max pool": ((2, 6, 6), lambda: nn.MaxPool2d(2)),
    "average pool": ((2, 6, 6), lambda: nn.AvgPool2d(2)),
    "response norm": ((2, 6, 6), lambda: nn.LocalResponseNorm(2)),
    "dropout 2d": ((2, 6, 6), lambda: nn.Dropout(0.2)),
}
OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
}


def network(layers, seed=0):
    """A network of some layers of the table, of one kind of shape, before a head of three classes."""
    minidl.manual_seed(seed)
    shape = LAYERS[layers[0]][0]
    body = nn.Sequential(*[LAYERS[name][1]() for name in layers])
    width = body(minidl.zeros(2, *shape)).data[0].size
    return nn.Sequential(body, nn.Flatten(), nn.Linear(width, 3)), shape


def trained(
    model, shape, optimizer, captured, steps=5, batches=(4,), average=False, clip=False, schedule=None,
    cast=np.float32, **options
):  # fmt: skip
    """Some steps on random data: all outputs and all of the state at the end, and the captured step."""
    optimizer = OPTIMIZERS[optimizer](model.parameters()) if isinstance(optimizer, str) else optimizer
    schedule = None if schedule is None else schedule(optimizer)
    mean = optim.ExponentialMovingAverage(model, 0.9, warm_up=True, use_buffers=True) if average else None

    def step(x, labels):
        logits, *others = as_tuple(model(x))
        loss = minidl.cross_entropy(logits, labels, label_smoothing=0.1)
        for other in others:
            loss = loss + 0.3 * minidl.cross_entropy(other, labels)
        optimizer.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        if mean is not None:
            mean.update_parameters()
        return loss, logits

    run = minidl.capture(step, **options) if captured else step
    draw, seen = np.random.default_rng(3), []
    for i in range(steps):
        n = batches[i % len(batches)]
        loss, logits = run(minidl.Tensor(draw.standard_normal((n, *shape)).astype(cast)),
                           minidl.Tensor(draw.integers(0, 3, n)))  # fmt: skip
        seen += [loss.data.copy(), logits.data.copy()]
        if schedule is not None:
            schedule.step()
    seen += [p.data.copy() for p in model.parameters()] + [p.grad.data.copy() for p in model.parameters()]
    seen += [b.data.copy() for b in model.buffers()]
    seen += [array.copy() for slots in optimizer.state.values() for array in slots.values()]
    seen += [] if mean is None else [mean.n_averaged.copy(), *[array.copy() for array in mean.averages.values()]]
    return seen, minidl.get_rng_state(), run


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def replays(run):
    """The number of replays of a captured step, and the reasons of its refusals."""
    records = [record for kept in run.replays.records.values() for record in kept]
    return sum(record.replays for record in records), list(run.replays.refused.values())


def assert_same(ours, theirs):
    assert len(ours[0]) == len(theirs[0]) and ours[1] == theirs[1]
    for a, b in zip(ours[0], theirs[0]):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def assert_trains_alike(make, least=1, **options):
    """Train eagerly and captured from the same start: all bits agree, and replays took place."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", minidl.CaptureWarning)
        eager, ours = (trained(*make(), captured=captured, **options) for captured in (False, True))
    assert_same(ours, eager)
    assert replays(ours[2])[0] >= least
    return ours[2]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_small_random_networks_train_to_the_bits_of_eager_steps(optimizer, seed):
    draw = np.random.default_rng([seed, list(OPTIMIZERS).index(optimizer)])
    flat = [name for name, (shape, _) in LAYERS.items() if (len(shape) == 1) == (seed % 2 == 0)]
    same_size = [name for name in flat if name not in ("strided conv", "max pool", "average pool")]
    layers = [*draw.choice(same_size, 2), draw.choice(flat)]
    assert_trains_alike(lambda: network(layers, seed), least=2, optimizer=optimizer, steps=6)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_is_replayed(layer):
    assert_trains_alike(lambda: network([layer]), least=1, optimizer="nesterov", steps=4)


def test_two_hundred_steps_with_momentum_and_a_schedule():
    assert_trains_alike(
        lambda: network(["linear", "gelu", "linear"]), least=190, optimizer="nesterov", steps=200,
        schedule=lambda optimizer: optim.OneCycleLR(optimizer, 0.2, total_steps=210, cycle_momentum=False),
    )  # fmt: skip


def test_averages_clipping_dropout_and_smaller_last_batches():
    assert_trains_alike(
        lambda: network(["conv", "batch norm 2d", "dropout 2d", "max pool"]), least=8, optimizer="adamw", steps=16,
        batches=(4, 4, 4, 3), average=True, clip=True,
        schedule=lambda optimizer: optim.CosineAnnealingLR(optimizer, 20),
    )  # fmt: skip


def test_each_shard_of_a_batch_draws_its_own_dropout():
    def outcome(wrap):
        minidl.manual_seed(0)
        layer, x, found = nn.Dropout(0.5), minidl.ones(64), []
        step = wrap(lambda x: layer(x))
        try:
            for shard in (3, 0, 1, 3, 2, 0):
                minidl.random.use_shard(shard)
                found.append(step(x).numpy().copy())
        finally:
            minidl.random.use_shard(0)
        return found

    np.testing.assert_array_equal(outcome(minidl.capture), outcome(lambda step: step))


def test_a_step_without_arguments_is_replayed():
    minidl.manual_seed(0)
    model, images = nn.Linear(3, 2), minidl.randn(4, 3)
    step = minidl.capture(lambda: model(images))
    for _ in range(3):
        np.testing.assert_array_equal(step().numpy(), model(images).detach().numpy())
    assert step.replays.records


def test_a_step_kept_by_the_object_it_works_on_is_replayed():
    class Job:
        def __init__(self):
            self.model, self.images = nn.Linear(3, 2), minidl.ones(4, 3)
            self.step = minidl.capture(self.predicted)

        def predicted(self):
            return self.model(self.images)

    minidl.manual_seed(0)
    job = Job()
    for _ in range(3):
        np.testing.assert_array_equal(job.step().numpy(), job.predicted().detach().numpy())
    assert job.step.replays.records


def googlenet():
    minidl.manual_seed(0)
    return models.create("googlenet", num_classes=3, in_channels=1, width=0.0625, aux_logits=True), (1, 16, 16)


@pytest.mark.slow
def test_googlenet_with_auxiliary_heads():
    for optimizer in ("nesterov", "adam"):
        assert_trains_alike(
            googlenet, least=4, optimizer=optimizer, steps=9, batches=(4, 4, 3), average=True, clip=True
        )


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads(threads):
    before = team.num_threads()
    team.set_num_threads(threads)
    try:
        assert_trains_alike(lambda: network(["conv", "batch norm 2d"]), optimizer="adam", steps=5)
    finally:
        team.set_num_threads(before)


def inference(*layers):
    """A captured inference, its eager form, and an input."""
    model, shape = network(layers)
    model.eval()

    def infer(x):
        with minidl.no_grad():
            return model(x)

    return minidl.capture(infer), infer, model, minidl.ones(2, *shape)


def test_inference_follows_its_input_and_its_weights():
    run, infer, model, x = inference("conv", "batch norm 2d")
    for scale in (1.0, 2.0, 3.0, -1.0):
        x.data *= scale
        model[2].weight.data += 0.5
        assert run(x).data.tobytes() == infer(x).data.tobytes()
    assert replays(run) == (3, [])


def test_an_output_is_valid_until_the_next_replay():
    run, infer, _, x = inference("linear")
    run(x), run(x)
    kept = run(x)
    cloned, first = kept.clone(), kept.data.copy()
    second = run(x * 2)
    assert np.array_equal(cloned.data, first) and not np.array_equal(first, infer(x * 2).data)
    assert np.array_equal(kept.data, second.data)  # a kept output shows the newest values


def test_a_switch_to_evaluation_is_another_record():
    model, shape = network(["dropout", "batch norm", "dropout"])
    run = minidl.capture(lambda x: model(x))
    for training in (True, True, True, False, False, False, True):
        model.train(training)
        x, state, buffers = minidl.randn(4, *shape), minidl.get_rng_state(), [b.clone() for b in model.buffers()]
        found, after = run(x).data.copy(), minidl.get_rng_state()
        minidl.set_rng_state(state)
        for buffer, before in zip(model.buffers(), buffers):
            buffer.data[...] = before.data
        assert found.tobytes() == model(x).data.tobytes() and after == minidl.get_rng_state()
    assert replays(run) == (5, [])


def captured_training(**more):
    """A captured step of a linear layer, with `more` in it: (run, model, optimizer, x, labels)."""
    model, shape = network(["linear"])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    hold = SimpleNamespace(**more)

    def step(x, labels):
        loss = minidl.cross_entropy(model(x), labels) * getattr(hold, "scale", 1.0)
        optimizer.zero_grad()
        loss.backward()
        if hasattr(hold, "inside"):
            hold.inside(loss, x)
        optimizer.step()
        return loss

    return SimpleNamespace(run=minidl.capture(step), step=step, model=model, optimizer=optimizer, hold=hold,
                           x=minidl.ones(4, *shape), labels=minidl.tensor([0, 1, 2, 0]))  # fmt: skip


def test_what_changes_from_outside_is_seen():
    """A setting of the optimiser, a number of the user's, a frozen or replaced parameter: each is another record."""
    ours, theirs = captured_training(scale=1.0), captured_training(scale=1.0)

    def both(change=lambda one: None):
        for one, run in ((ours, ours.run), (theirs, theirs.step)):
            change(one)
            for _ in range(3):
                one.loss = run(one.x, one.labels).data.copy()
        assert ours.loss.tobytes() == theirs.loss.tobytes()
        for p, q in zip(ours.model.parameters(), theirs.model.parameters()):
            assert p.data.tobytes() == q.data.tobytes()

    both()
    both(lambda one: one.optimizer.param_groups[0].update(weight_decay=0.1))
    both(lambda one: setattr(one.hold, "scale", 2.0))
    both(lambda one: next(one.model.parameters()).requires_grad_(False))
    both(lambda one: setattr(next(one.model.parameters()), "data", np.ones_like(next(one.model.parameters()).data)))
    both(lambda one: one.optimizer.param_groups[0].update(lr=0.5))
    both(lambda one: one.model.load_state_dict({k: minidl.ones_like(v) for k, v in one.model.state_dict().items()}))


ASKING = {
    "leaves the arrays, in `item`": lambda loss, x: loss.item(),
    "leaves the arrays, in `__bool__`": lambda loss, x: bool(loss > 0),
    "depends on values, `nonzero`, in `nonzero`": lambda loss, x: minidl.nonzero(x),
    "depends on values, a boolean mask": lambda loss, x: x.data[x.data > 0],
    "leaves the arrays, in `numpy`": lambda loss, x: x.numpy().sum(),
    "random numbers that NumPy draws, in `randn`": lambda loss, x: x + minidl.randn(6),
    "leaves the arrays, in `__float__`": lambda loss, x: float(loss.data),
}


@pytest.mark.parametrize("reason", ASKING)
def test_a_value_that_leaves_the_arrays_is_refused_with_its_line(reason):
    ours, theirs = captured_training(inside=ASKING[reason]), captured_training(inside=ASKING[reason])
    minidl.manual_seed(1)
    with pytest.warns(minidl.CaptureWarning) as told:
        losses = [ours.run(ours.x, ours.labels).item() for _ in range(4)]
    line = ASKING[reason].__code__.co_firstlineno
    assert len(told) == 1 and reason in str(told[0].message) and f"test_capture.py:{line}" in str(told[0].message)
    minidl.manual_seed(1)
    assert losses == [theirs.step(theirs.x, theirs.labels).item() for _ in range(4)]


class InSlots:
    __slots__ = ("scale",)


def in_a_cell():
    scale = 1.0

    def step(x):
        return x * scale

    def change(value):
        nonlocal scale
        scale = value

    return step, change


def in_an_object(holder):
    holder.scale = 1.0
    return lambda x: x * holder.scale, partial(setattr, holder, "scale")


def in_a_list():
    scales = [1.0]
    return lambda x: x * scales[0], partial(scales.__setitem__, 0)


def in_a_set():
    scales = {1.0}
    return lambda x: x * min(scales), lambda value: (scales.clear(), scales.add(value))


def in_a_default():
    def step(x, scale=1.0):
        return x * scale

    return step, lambda value: setattr(step, "__defaults__", (value,))


HELD = {
    "a cell": in_a_cell,
    "a default": in_a_default,
    "a list": in_a_list,
    "a set": in_a_set,
    "an object": lambda: in_an_object(SimpleNamespace()),
    "an object with slots": lambda: in_an_object(InSlots()),
}


@pytest.mark.parametrize("place", HELD)
def test_a_number_that_is_replaced_is_another_record(place):
    step, change = HELD[place]()
    run, x = minidl.capture(step), minidl.ones(3)
    for value in (0.0, 0.0, 0.0, -0.0, -0.0, 2.0, 2.0, 2.0):
        change(value)
        assert run(x).data.tobytes() == step(x).data.tobytes()
    assert replays(run)[0] > 1 and not replays(run)[1]


def test_arguments_are_known_by_name_and_to_the_bit():
    def step(x, scale=1.0, shift=1.0):
        return x * scale - shift

    run, x = minidl.capture(step), minidl.zeros(3)
    calls = [
        dict(scale=2.0), dict(shift=2.0), dict(scale=0.0, shift=0.0), dict(scale=-0.0, shift=0.0), dict(shift=True),
    ]
    for options in calls:
        for _ in range(3):
            assert run(x, **options).data.tobytes() == step(x, **options).data.tobytes()
    assert replays(run) == (2 * len(calls), [])


@pytest.mark.parametrize("kind", [SimpleNamespace, InSlots, lambda: nn.Linear(2, 2)])
def test_an_argument_that_may_change_is_refused(kind):
    held = kind()
    held.scale = 1.0
    run = minidl.capture(lambda x, held: x * held.scale)
    with pytest.warns(minidl.CaptureWarning, match=f"an argument of type {type(held).__name__}, whose changes"):
        for held.scale in (1.0, 1.0, 1.0, 2.0):
            assert run(minidl.ones(2), held).tolist() == [held.scale] * 2


def test_a_batch_without_elements_is_no_step_to_replay():
    step = minidl.capture(lambda x: (x * 2).sum())
    with pytest.warns(minidl.CaptureWarning, match=r"an argument of shape \(0, 3\), without elements"):
        assert step(minidl.ones(0, 3)).item() == 0.0
    assert [step(minidl.ones(2, 3)).item() for _ in range(3)] == [12.0] * 3


def test_a_change_in_place_by_a_replay_is_seen_by_a_graph_from_before():
    case = captured_training()
    for _ in range(3):
        case.run(case.x, case.labels)
    weight = next(case.model.parameters())
    squared = (weight * weight).sum()
    case.run(case.x, case.labels)
    assert replays(case.run)[0] > 1
    with pytest.raises(RuntimeError, match="in place"):
        squared.backward()


def test_gradients_dropped_between_calls_are_put_back():
    ours, theirs = ([network(["linear"])[0], wrap] for wrap in (minidl.capture, lambda step: step))
    x = minidl.ones(4, 6)
    for one in (ours, theirs):
        one.append(one[1](partial(lambda model, x: as_tuple(model(x).sum())[0].backward(), one[0])))
    for scale in (1, 2, 3, 4):
        for model, _, run in (ours, theirs):
            model.zero_grad()
            run(x * scale)
        for p, q in zip(ours[0].parameters(), theirs[0].parameters()):
            assert p.grad is not None and p.grad.data.tobytes() == q.grad.data.tobytes()
    assert replays(ours[2])[0] > 1


def test_another_number_of_threads_is_another_record():
    run, infer, _, x = inference("linear")
    before = team.num_threads()
    try:
        for threads in (1, 2):
            team.set_num_threads(threads)
            for _ in range(2):
                assert run(x).data.tobytes() == infer(x).data.tobytes()
    finally:
        team.set_num_threads(before)
    assert len(run.replays.records) == 2


def test_calls_before_the_first_record_and_its_memory_are_as_asked():
    _, infer, _, x = inference("linear")
    late, small = minidl.capture(infer, after=2), minidl.capture(infer, memory=10)
    for _ in range(2):
        late(x), small(x)
    assert not late.replays.records and not small.replays.records
    assert [reason.endswith("bytes of memory") for reason in small.replays.refused.values()] == [True]
    late(x), late(x)
    assert replays(late) == (1, [])


@pytest.mark.parametrize("every, records", [(20, 1), (5, 2)])
def test_a_rare_kind_of_call_runs_eagerly_where_calls_are_counted(every, records):
    _, infer, _, x = inference("linear")
    run = minidl.capture(infer, after=2)
    for i in range(1, 4 * every + 1):
        batch = x[:1] if i % every == 0 else x
        assert run(batch).data.tobytes() == infer(batch).data.tobytes()
    assert len(run.replays.records) == records


def test_a_step_that_fails_while_it_is_recorded_has_run_once():
    minidl.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x, is_good=True):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
        if not is_good:
            raise KeyError("in the step")

    before = model.weight.detach().numpy().copy()
    with pytest.raises(KeyError, match="in the step"):
        minidl.capture(step)(minidl.ones(2, 3), is_good=False)
    np.testing.assert_allclose(model.weight.detach().numpy(), before - 0.2, rtol=1e-6)


def test_a_step_that_fails_leaves_no_recorded_array_in_what_is_not_found():
    hidden, seen = InSlots(), []
    hidden.scale = nn.Linear(3, 2)

    def step(x):
        seen.extend(type(p.grad.data) for p in hidden.scale.parameters() if p.grad is not None)
        hidden.scale(x).sum().backward()
        raise KeyError("in the step")

    with pytest.raises(KeyError, match="in the step"):
        minidl.capture(step)(minidl.ones(2, 3))
    assert seen and set(seen) == {np.ndarray}


def test_an_output_that_nothing_computed_is_refused():
    run = minidl.capture(lambda x: (x + 1, minidl.Tensor(np.ones(2))))
    with pytest.warns(minidl.CaptureWarning, match="an output of shape .* that no recorded operation computed"):
        for _ in range(3):
            run(minidl.ones(2))


def test_recorded_arrays_leave_dicts_lists_and_slots():
    with Recorder() as recorder:
        made = Recorded(np.ones(3)) + 1
    hidden, entries, row = InSlots(), {"made": made}, [made, 2]
    hidden.scale = made
    leave(recorder)
    assert all(type(one) is np.ndarray and one.tolist() == [2] * 3 for one in (hidden.scale, entries["made"], row[0]))


LOOKS = {
    "int": int,
    "float": float,
    "complex": complex,
    "tolist": lambda one: one.tolist(),
    "in": lambda one: 2.0 in one.reshape(1),
    "index": lambda one: range(4)[one.astype(np.int64)],
    "array_equal": lambda one: np.array_equal(one, one),
    "asarray": np.asarray,
    "a pointer": lambda one: one.ctypes,
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_at_a_value_is_noted(look):
    with Recorder() as recorder:
        LOOKS[look](Recorded(np.array(2.0)))
    assert recorder.refusal is not None and "test_capture.py" in recorder.refusal


def test_a_change_of_python_objects_is_refused_by_name():
    counts = []
    case = captured_training(inside=lambda loss, x: counts.append(1))
    with pytest.warns(minidl.CaptureWarning, match="`counts`, which the step itself changes"):
        for _ in range(5):
            case.run(case.x, case.labels)
    assert len(counts) == 5


def test_a_hook_is_refused_by_name():
    case = captured_training()
    calls = []
    case.model[0].register_forward_hook(lambda module, inputs, output: calls.append(1))
    with pytest.warns(minidl.CaptureWarning, match="a hook"):
        for _ in range(3):
            case.run(case.x, case.labels)
    assert len(calls) == 3


def test_what_cannot_be_followed_is_found_by_the_first_replay(monkeypatch):
    """The step reads an array that changes each time, through a door that the walk does not know."""
    monkeypatch.setattr(sys, "values_of_a_test", values := iter(range(1, 100)), raising=False)
    case = captured_training(inside=lambda loss, x: case.scales.__iadd__(next(sys.values_of_a_test)))
    with pytest.warns(minidl.CaptureWarning, match="differs from the eager step in the state"):
        case.scales = np.zeros(3)
        for _ in range(4):
            case.run(case.x, case.labels)
    assert next(values) == 5


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_a_step_whose_state_is_not_found_runs_eagerly_to_the_same_bits(momentum):
    class Hidden:
        __slots__ = "model", "optimizer"

    def trained(wrap):
        minidl.manual_seed(0)
        hidden = Hidden()
        hidden.model = nn.Linear(3, 2)
        hidden.optimizer = optim.SGD(hidden.model.parameters(), lr=0.1, momentum=momentum)

        def train(x, labels):
            loss = minidl.cross_entropy(hidden.model(x), labels)
            hidden.optimizer.zero_grad()
            loss.backward()
            hidden.optimizer.step()

        step = wrap(train)
        for _ in range(4):
            step(minidl.ones(2, 3), minidl.tensor([0, 1]))
        return hidden

    with pytest.warns(minidl.CaptureWarning, match="a parameter of shape .* that is not found from the step"):
        ours = trained(minidl.capture)
    for one, other in zip(ours.model.parameters(), trained(lambda step: step).model.parameters()):
        np.testing.assert_array_equal(one.detach().numpy(), other.detach().numpy())
        assert type(one.grad.data) is np.ndarray


def test_an_error_in_the_step_leaves_the_state_as_an_eager_step_does():
    ours, theirs = captured_training(), captured_training()
    for _ in range(3):
        ours.run(ours.x, ours.labels), theirs.step(theirs.x, theirs.labels)
    for one, run in ((ours, ours.run), (theirs, theirs.step)):
        with pytest.raises(IndexError, match="`target` holds 7"):
            run(one.x, minidl.tensor([0, 7, 1, 1]))
    assert ours.run(ours.x, ours.labels).item() == theirs.step(theirs.x, theirs.labels).item()

    first = captured_training()  # while it is recorded
    with pytest.raises(IndexError):
        first.run(first.x, minidl.tensor([0, 7, 1, 1]))
    assert all(type(p.data) is np.ndarray for p in first.model.parameters())
    assert first.run(first.x, first.labels).item() == captured_training().step(first.x, first.labels).item()


def test_an_audit_finds_a_row_that_does_something_else():
    case = captured_training()
    run = minidl.capture(case.step, audit=3)
    for _ in range(8):
        run(case.x, case.labels)
    (record,) = [record for kept in run.replays.records.values() for record in kept[:1]]
    place = next(i for i, row in enumerate(record.rows) if row.name == "sgd")
    del record.rows[place]
    record.program = None  # made anew of the rows
    with pytest.raises(minidl.CaptureError, match="the state"):
        for _ in range(3):
            run(case.x, case.labels)


def test_a_function_that_takes_no_recorded_arrays_is_refused_with_its_error():
    def demanding(loss, x):
        if type(x.data) is not np.ndarray:
            raise TypeError("plain arrays only")

    case, eager = captured_training(inside=demanding), captured_training(inside=demanding)
    with pytest.warns(minidl.CaptureWarning, match="TypeError: plain arrays only"):
        ours = [case.run(case.x, case.labels).item() for _ in range(3)]
    assert ours == [eager.step(eager.x, eager.labels).item() for _ in range(3)]


def test_what_differs_from_call_to_call_is_refused_by_name():
    case = captured_training(scale=0.0)
    with pytest.warns(minidl.CaptureWarning, match="`hold.scale`, which differs from call to call"):
        for i in range(13):
            case.hold.scale = 1.0 + i
            case.run(case.x, case.labels)


def test_a_folded_network_is_replayed():
    minidl.manual_seed(0)
    model = nn.inference.fold(models.create("googlenet", num_classes=3, in_channels=1, width=0.0625).eval())

    def infer(x):
        with minidl.no_grad():
            return model(x)

    run, x = minidl.capture(infer), minidl.ones(1, 1, 16, 16)
    for scale in (1.0, 1.0, 1.0, 3.0):
        assert run(x * scale).data.tobytes() == infer(x * scale).data.tobytes()
    assert replays(run) == (3, [])
    ((record,),) = run.replays.records.values()
    # weights that cannot change stay packed
    assert not {"pack", "transform_weight"} & {row.name for row in record.rows}


def test_only_so_many_records_are_kept():
    run, infer, _, x = inference("linear")
    run = minidl.capture(infer, most=2)
    with pytest.warns(minidl.CaptureWarning, match="after 2 records"):
        for n in (1, 2, 3, 4, 3):
            batch = minidl.ones(n, 6)
            assert run(batch).data.tobytes() == infer(batch).data.tobytes()
    assert len(run.replays.records) == 2


def test_replays_allocate_nothing_that_stays():
    case = captured_training()
    for _ in range(5):
        case.run(case.x, case.labels)
    (record,) = [kept[0] for kept in case.run.replays.records.values()]
    size = record.nbytes
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        case.run(case.x, case.labels)
    gc.collect()
    assert record.nbytes == size and len(gc.get_objects()) <= before + 20


def test_a_dropped_record_returns_its_memory():
    case = captured_training()
    for _ in range(4):
        case.run(case.x, case.labels)
    (record,) = [kept[0] for kept in case.run.replays.records.values()]
    arena = weakref.ref(record.recorder.arena)
    del record, case
    gc.collect()
    assert arena() is None


def test_several_threads_share_a_captured_step():
    run, infer, _, x = inference("linear", "gelu")
    expected = {n: infer(minidl.full((2, 6), float(n))).data.copy() for n in range(4)}
    lock, wrong = threading.Lock(), []

    def work(n):
        batch = minidl.full((2, 6), float(n))
        for _ in range(20):
            with lock:  # an output is the next caller's too
                if run(batch).data.tobytes() != expected[n].tobytes():
                    wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_replays_on_memory_of_its_own():
    run, infer, _, x = inference("linear")
    kept = [run(x) for _ in range(3)][-1]
    before = kept.data.copy()
    holds, done = threading.Event(), threading.Event()

    def hold():
        with run.replays.lock:  # as in the middle of a replay, when the process forks
            holds.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork of a process with threads
        child = os.fork()
    if child == 0:
        good = False
        signal.alarm(1800)  # a child that waits for a lock of the parent's thread waits for ever
        with contextlib.suppress(BaseException):
            good = run(x * 3).data.tobytes() == infer(x * 3).data.tobytes()
        os._exit(0 if good else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(kept.data, before)


def test_plain_forms_run_eagerly():
    case = captured_training()
    with dispatch.using("plain"):
        losses = [case.run(case.x, case.labels).item() for _ in range(3)]
    assert not hasattr(case.run.replays, "records") and losses[0] > losses[-1]


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="`step` is 3"):
        minidl.capture(3)
    with pytest.raises(ValueError, match="`most` is 0"):
        minidl.capture(len, most=0)


def test_the_rows_of_a_small_network_are_printed_and_drawn(tmp_path, capsys):
    rows.main([str(tmp_path / "rows.svg")])
    printed = capsys.readouterr().out
    assert " kernel   sgd " in printed and " function check_targets" in printed and printed.count("\n") > 50
    assert "<svg" in (tmp_path / "rows.svg").read_text()


def test_rows_that_do_nothing_are_found_though_the_input_is_the_same():
    run, infer, _, x = inference("linear")
    run(x)
    (record,) = [kept[0] for kept in run.replays.records.values()]
    record.rows.clear()  # memory still holds what the recorded step computed from this very input
    with pytest.warns(minidl.CaptureWarning, match="differs from the eager step in an output"):
        assert run(x).data.tobytes() == infer(x).data.tobytes()
