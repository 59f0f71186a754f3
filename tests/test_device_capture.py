"""A captured step on a GPU, on a stand-in for streams and graphs: a capture computes nothing, a launch all of it."""

import contextlib
import dataclasses
import warnings

import numpy as np
import pytest
import strict
import tile_machine

import minidl
from minidl import backend, nn, optim
from minidl.captured import CaptureError, CaptureWarning, Captured
from minidl.dispatch import using
from minidl.kernels.gpu import capture


@pytest.fixture
def gpu(monkeypatch):
    """The stand-in as the module ``cupy``."""
    with strict.pretend_gpu(monkeypatch) as cupy:
        yield cupy


def captured(step, audit=0, most=8, after=0, memory=None):
    """`minidl.capture` in the GPU's form."""
    made = Captured(step, most, audit, after, memory)
    made.replays = capture.Replays(*made.settings)
    return made


class Training:
    """A small network, its optimiser, and a step of both."""

    def __init__(self, make=lambda p: optim.SGD(p, lr=0.1, momentum=0.9), layers=()):
        minidl.manual_seed(0)
        self.model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *layers, nn.Flatten(), nn.Linear(16, 3)
        ).cuda()
        self.optimizer = make(self.model.parameters())

    def step(self, images, labels):
        loss = minidl.cross_entropy(self.model(images), labels)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss

    def run(self, step, count=7, change=lambda self, k: None):
        """Losses, and everything that is left, after some steps on different batches."""
        losses = []
        for k in range(count):
            change(self, k)
            rng = np.random.default_rng(k)
            batch = (
                minidl.tensor(rng.standard_normal((3, 1, 4, 4)), dtype="float32"), minidl.tensor(rng.integers(0, 3, 3)),
            )
            losses.append(step(*(x.cuda() for x in batch)).item())
        state = [t.numpy().tobytes() for t in self.model.state_dict().values()]
        changes = [p._shared_version and p._shared_version.changes for p in self.model.parameters()]
        return losses, state, [p.grad.numpy().tobytes() for p in self.model.parameters()], changes


OPTIMISERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01),
}


def rate(training, k):
    """A schedule: another learning rate in each step, a Python number."""
    training.optimizer.param_groups[0]["lr"] = 0.1 / (k + 1)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_captured_step_has_the_bits_of_the_eager_one(gpu, name):
    eager, own = Training(OPTIMISERS[name]), Training(OPTIMISERS[name])
    expected = eager.run(eager.step, change=rate)
    strict.events.clear()
    step = captured(own.step)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CaptureWarning)
        assert own.run(step, change=rate) == expected
    assert strict.events.count("launch") == 6  # all but the first call
    assert [record.is_checked for records in step.replays.records.values() for record in records] == [True]


def test_gradients_that_were_dropped_before_the_call_are_there_after_it(gpu):
    forget = lambda training, k: training.model.zero_grad()  # noqa: E731
    eager, own = Training(), Training()
    strict.events.clear()
    assert own.run(captured(own.step), change=forget) == eager.run(eager.step, change=forget)
    assert strict.events.count("launch") == 6


def test_an_output_may_be_the_next_argument(gpu):
    layer = nn.Linear(3, 3).cuda()
    step, ours, theirs = captured(layer), minidl.ones(2, 3).cuda(), minidl.ones(2, 3).cuda()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CaptureWarning)
        for _ in range(6):
            ours, theirs = step(ours), layer(theirs).detach()
            assert ours.tolist() == theirs.tolist()


def test_a_launch_neither_waits_nor_sends(gpu):
    training = Training()
    step = captured(training.step)
    training.run(step, 3)
    batch = minidl.ones(3, 1, 4, 4).cuda(), minidl.zeros(3, dtype="int64").cuda()
    strict.events.clear()
    with strict.no_host_sync():
        step(*batch)
    assert strict.events == ["launch"]


def test_another_mode_shape_or_precision_is_another_record(gpu):
    training = Training()
    predict = captured(lambda images: training.model(images))
    with minidl.no_grad():
        for mode in (training.model.train, training.model.eval):
            mode()
            for n in (2, 3):
                images = minidl.randn(n, 1, 4, 4).cuda()
                for _ in range(4):
                    before = [b.numpy() for b in training.model.buffers()]
                    found = predict(images).numpy()
                    for buffer, values in zip(training.model.buffers(), before):
                        buffer.data[...] = strict.from_numpy(values)
                    assert np.array_equal(found, training.model(images).numpy())
    assert len(predict.replays.records) == 2 and sum(map(len, predict.replays.records.values())) == 4
    with minidl.autocast("cuda"), minidl.no_grad():
        predict(images), predict(images)
    assert len(predict.replays.records) == 3


REFUSED = {
    "item": (
        lambda t, x, y: t.step(x, y) * t.step(x, y).item(), "RuntimeError: cudaErrorStreamCaptureUnsupported: asnumpy",
    ),
    "a transfer": (lambda t, x, y: t.step(x.cpu().cuda(), y), "cudaErrorStreamCaptureUnsupported"),
    "random numbers": (lambda t, x, y: t.step(minidl.dropout(x, 0.5), y), "random numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_captured_runs_eagerly_to_the_same_bits(gpu, name):
    function, reason = REFUSED[name]
    eager, own = Training(), Training()
    minidl.manual_seed(3)
    expected = eager.run(lambda x, y: function(eager, x, y), 4)
    minidl.manual_seed(3)
    with pytest.warns(CaptureWarning, match=reason) as told:
        assert own.run(captured(lambda x, y: function(own, x, y)), 4) == expected
    assert len(told) == 1


def test_gradients_that_add_up_are_found_different(gpu):
    """Without `zero_grad` a launch would add to the gradients of the captured call each time: the audit says so."""
    training = Training()

    def accumulate(x, y):
        loss = minidl.cross_entropy(training.model(x), y)
        loss.backward()
        return loss

    eager = Training()

    def also(x, y):
        loss = minidl.cross_entropy(eager.model(x), y)
        loss.backward()
        return loss

    expected = eager.run(also, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CaptureWarning)
        assert training.run(captured(accumulate), 5) == expected


def test_an_audit_finds_a_graph_that_lost_a_call(gpu):
    training = Training()
    step = captured(training.step, audit=2)
    training.run(step, 4)
    record = step.replays.records[next(iter(step.replays.records))][0]
    record.graph.runs.pop(len(record.graph.runs) // 2)
    with pytest.raises(CaptureError, match="a replay differs from the eager step"):
        training.run(step, 3)


@contextlib.contextmanager
def pretend_kernels(monkeypatch):
    """The stand-in with kernels, which the tile machine executes."""
    with tile_machine.strict.pretend_gpu(monkeypatch) as cupy, using("fast"):
        kind = dataclasses.replace(backend.kind_named("cuda"), family="tiles")
        monkeypatch.setitem(backend._kinds, cupy.ndarray, kind)
        yield cupy


@pytest.fixture
def kernels(monkeypatch):
    with pretend_kernels(monkeypatch) as cupy:
        yield cupy


class Dropping(Training):
    """A network with two dropouts, and noise from the general stream."""

    def __init__(self):
        minidl.manual_seed(0)
        self.model = nn.Sequential(
            nn.Conv2d(1, 4, 2), nn.Dropout(0.3), nn.Conv2d(4, 3, 3), nn.Dropout(0.4), nn.Flatten()
        ).cuda()
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.1)

    def step(self, images, labels):
        loss = minidl.cross_entropy(self.model(minidl.dropout(images, 0.2)), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


def test_a_captured_step_draws_anew_at_every_launch(kernels):
    """The masks of the eager step, bit for bit, and as many draws; another seed in between gives other ones."""
    strict = tile_machine.strict
    seed = lambda training, k: minidl.manual_seed(7) if k == 5 else None  # noqa: E731
    eager, streams = Dropping(), []
    expected = eager.run(eager.step, change=seed)
    streams.append(minidl.get_rng_state())
    own = Dropping()
    strict.events.clear()
    step = minidl.capture(own.step)  # which finds the GPU's form by itself
    with warnings.catch_warnings():
        warnings.simplefilter("error", CaptureWarning)
        assert own.run(step, change=seed) == expected
    streams.append(minidl.get_rng_state())
    assert type(step.replays) is capture.Replays
    assert strict.events.count("launch") == 6 and streams[0]["uses"] == streams[1]["uses"]
    assert len(set(expected[0])) == 7


def test_a_step_with_more_draws_than_have_room_is_refused(kernels, monkeypatch):
    monkeypatch.setattr(capture, "DRAWS", 2)
    training = Dropping()
    with pytest.warns(CaptureWarning, match="more than 2 draws"):
        training.run(captured(training.step), 3)


def test_a_step_is_captured_after_as_many_calls_as_asked(gpu):
    training = Training()
    strict.events.clear()
    training.run(captured(training.step, after=3))
    assert strict.events.count("launch") == 3


def test_a_step_that_needs_more_memory_than_allowed_runs_eagerly_and_says_nothing(gpu):
    eager, own = Training(), Training()
    strict.events.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CaptureWarning)
        assert own.run(captured(own.step, memory=999)) == eager.run(eager.step)
    assert "launch" not in strict.events


@pytest.mark.parametrize("register", [
    lambda model: model[0].register_forward_hook(lambda *a: None),
    lambda model: model[0].weight.register_hook(lambda grad: None),
])  # fmt: skip
def test_a_hook_is_refused(gpu, register):
    training = Training()
    register(training.model)
    with pytest.warns(CaptureWarning, match="a hook"):
        training.run(captured(training.step), 3)
