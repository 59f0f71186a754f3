"""Replays as machine code: NumPy's work on arrays of any layout, and the team's threads, to the same bits."""

import numpy as np
import pytest

import minidl
import models
from minidl import dispatch, nn, optim

pytest.importorskip("numba", reason="Numba is not installed")
if dispatch.form_for("captured.Replays", np.zeros(1)) is None:
    pytest.skip("the fast forms are switched off", allow_module_level=True)

from numba import typeof  # noqa: E402

from minidl.kernels.cpu.capture.native import kind_of  # noqa: E402
from minidl.kernels.cpu.capture.program import Alone, Stretch, program_of  # noqa: E402
from minidl.kernels.cpu.capture.recorded import Recorded  # noqa: E402
from minidl.kernels.cpu.capture.recorder import Recorder  # noqa: E402
from minidl.kernels.cpu.machine import team  # noqa: E402

f32, f64 = np.float32, np.float64


def replace(target, values):
    """``target[...] = values``, as an expression."""
    target[...] = values
    return target


# Each on arrays x and y, float32, of shape (6, 4, 5), with any strides.
WORK = {
    "add": lambda x, y: x + y,
    "in place": lambda x, y: np.multiply(x, y, out=x),
    "a row to all": lambda x, y: x * y[0] - y[:, :1],
    "turned": lambda x, y: x.transpose(2, 0, 1) / y.transpose(2, 0, 1),
    "every other": lambda x, y: np.maximum(x[::2, 1:3], y[1::2, ::2]),
    "a number": lambda x, y: 0.1 * x + 3 - 1 / y,
    "wider": lambda x, y: x.astype(f64) * y,
    "wider in place": lambda x, y: np.multiply(x.astype(f64), y, out=x.astype(f64)),
    "narrower": lambda x, y: (x.astype(f64) / 3).astype(f32),
    "root": lambda x, y: np.sqrt(np.abs(x)),
    "exp of a line": lambda x, y: np.exp(x),
    "a comparison": lambda x, y: (x > y) * x,
    "joined": lambda x, y: np.concatenate([x, y[:2], x[3:]]),
    "joined along the last": lambda x, y: np.concatenate([x, y[..., :2]], -1),
    "into a slice": lambda x, y: replace(x[1:3], y[:2]),
    "a number into a slice": lambda x, y: replace(x[:, 2], 7),
    "over part of itself": lambda x, y: np.add(x[1:], x[:-1], out=x[1:]),
    "reshaped": lambda x, y: x.transpose(1, 0, 2).reshape(4, 30),
    "sum of all": lambda x, y: (x + y).reshape(-1).sum(),
    "sum over the first": lambda x, y: x.sum(0) + y.sum(axis=0, dtype=f64),
    "sum over others": lambda x, y: x.sum((0, 2)) + y.sum(1, keepdims=True).sum(),
    "ones": lambda x, y: np.ones_like(x) - y,
    "one number": lambda x, y: x[0, 0, 0] * y[0, 0, 0] + 2,
    "chosen": lambda x, y: np.where(x > 0, x, 0) + np.where(y[0] > x, y, x),
    "counted": lambda x, y: np.add(np.argmax(x, 1), 1),
}
# some rows of them, at least
PYTHON = {"exp of a line", "over part of itself", "a comparison", "sum over others", "counted"}


def pair(layout, seed):
    """x and y of the table, in one of some layouts."""
    draw = np.random.default_rng(seed)
    if layout == "dense":
        return [draw.standard_normal((6, 4, 5)).astype(f32) for _ in range(2)]
    if layout == "turned":
        return [draw.standard_normal((5, 6, 4)).astype(f32).transpose(1, 2, 0) for _ in range(2)]
    return [draw.standard_normal((12, 4, 10)).astype(f32)[::2, :, 3:8] for _ in range(2)]


@pytest.mark.parametrize("layout", ["dense", "turned", "slices"])
@pytest.mark.parametrize("name", WORK)
def test_the_work_of_numpy_has_the_same_bits(name, layout):
    arrays = pair(layout, 0)
    with Recorder() as recorder:
        made = WORK[name](*map(Recorded, arrays)).array
    assert recorder.refusal is None
    pieces, _ = program_of(recorder.rows)
    assert (
        name in PYTHON
        or (name, layout) == ("sum over the first", "turned")
        or not any(type(piece) is Alone for piece in pieces)
    )
    for seed in (1, 2):
        for array, values in zip(arrays, pair(layout, seed)):
            array[...] = values
        expected = WORK[name](*[array.copy("K") for array in arrays])
        for piece in pieces:
            piece.run()
        assert made.dtype == expected.dtype and np.array_equal(made, expected) and made.shape == np.shape(expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_arrays_are_shared_by_the_threads(threads):
    x = np.random.default_rng(0).standard_normal((40, 7, 1031)).astype(f32)
    before = team.num_threads()
    team.set_num_threads(threads)
    try:
        with Recorder() as recorder:
            r = Recorded(x)
            made = ((r * 2 + r) / 3).astype(f64), r.transpose(0, 2, 1).copy("C") - 1, r.reshape(-1) + 1
        (piece,), _ = program_of(recorder.rows)
        assert piece.tasks > 1
        x[...] = np.random.default_rng(1).standard_normal(x.shape)
        piece.run()
    finally:
        team.set_num_threads(before)
    for ours, theirs in zip(
        made, (((x * 2 + x) / 3).astype(f64), x.transpose(0, 2, 1).copy("C") - 1, x.reshape(-1) + 1)
    ):
        assert np.array_equal(ours.array, theirs)


def training(layers, optimizer=lambda p: optim.SGD(p, lr=0.1, momentum=0.9)):
    """A captured and an eager step of two equal networks."""
    runs = []
    for wrap in (minidl.capture, lambda step: step):
        minidl.manual_seed(0)
        model = layers()
        runs.append((wrap(_step(model, optimizer(model.parameters()))), model))
    return runs


def _step(model, optimizer):
    def step(x, labels):
        loss = minidl.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


NETWORKS = {
    "mlp": ((1, 6, 6), lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.ReLU(), nn.Linear(20, 3))),
    "cnn": ((1, 6, 6),
            lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
                                             nn.Flatten(), nn.Linear(36, 3))),
    "googlenet": ((1, 16, 16),
                  lambda: models.create("googlenet", num_classes=3, in_channels=1, width=0.0625, dropout=0)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_is_one_call(name):
    shape, layers = NETWORKS[name]
    ours, theirs = training(layers)
    draw = np.random.default_rng(0)
    for _ in range(5):
        x, labels = minidl.tensor(draw.standard_normal((4, *shape)).astype(f32)), minidl.tensor(draw.integers(0, 3, 4))
        assert ours[0](x, labels).item() == theirs[0](x, labels).item()
    for p, q in zip(ours[1].parameters(), theirs[1].parameters()):
        assert np.array_equal(p.data, q.data)
    (record, *_), = ours[0].replays.records.values()  # fmt: skip
    assert [type(piece) for piece in record.program] == [Stretch]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e25])
def test_statistics_that_are_not_finite_are_left_to_python(bad):
    """A variance that overflows is computed as the definition does; what follows in the same call is computed too."""
    ours, theirs = training(NETWORKS["cnn"][1])
    draw = np.random.default_rng(0)
    for i in range(6):
        values = draw.standard_normal((4, 1, 6, 6)).astype(f32)
        values[0, 0, 0, 0] = bad if i == 3 else 0
        x, labels = minidl.tensor(values), minidl.tensor(draw.integers(0, 3, 4))
        with np.errstate(all="ignore"):
            a, b = ours[0](x, labels).data.copy(), theirs[0](x, labels).data.copy()
        assert a.tobytes() == b.tobytes()
    for p, q in zip([*ours[1].parameters(), *ours[1].buffers()], [*theirs[1].parameters(), *theirs[1].buffers()]):
        assert p.data.tobytes() == q.data.tobytes()


ARRAYS = [np.zeros(shape, dtype) for shape in ((), (3,), (2, 3)) for dtype in (np.float32, np.float64, np.int64, bool)]
VALUES = [1, -(1 << 63), (1 << 63) - 1, 1 << 63, True, 1.5, np.float32(1), np.int64(1), (), (1, 2), (1, 2.0), ((1,), 1)]


def test_arguments_have_the_types_that_numba_finds():
    frozen = np.zeros((2, 3))
    frozen.flags.writeable = False
    laid_out = [frozen, np.zeros((2, 3)).T, np.zeros((4, 6))[::2, ::2], np.zeros((4, 6))[:, 1:]]
    for value in [*VALUES, *ARRAYS, *laid_out, tuple(laid_out)] * 2:
        assert kind_of(value) == typeof(value), value
