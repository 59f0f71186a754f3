"""The order of a record's rows: what each reads and writes, what it waits for; any order within that is right."""

import numpy as np
import pytest
from test_capture_native import NETWORKS, training

import minidl
from minidl import dispatch, nn

pytest.importorskip("numba", reason="Numba is not installed")
if dispatch.form_for("captured.Replays", np.zeros(1)) is None:
    pytest.skip("the fast forms are switched off", allow_module_level=True)

from minidl.backend import channels_last  # noqa: E402
from minidl.kernels.cpu.capture import program  # noqa: E402
from minidl.kernels.cpu.capture.accesses import Access, Log, access_of, span_of  # noqa: E402
from minidl.kernels.cpu.capture.order import units_of  # noqa: E402
from minidl.kernels.cpu.capture.recorded import Recorded  # noqa: E402
from minidl.kernels.cpu.machine.memory import address  # noqa: E402

f32 = np.float32


def clash(a, b):
    """Whether a row that writes `a` and one that reads `b` have to wait for each other."""
    log = Log()
    log.add(0, Access([], [span_of(a)]))
    return log.clashes(Access([span_of(b)], [])) == {0}


def test_only_shared_memory_clashes():
    joint = np.zeros((2, 3, 4, 8), f32).transpose(0, 3, 1, 2)
    assert not clash(joint[:, :3], joint[:, 3:]) and not clash(joint[:, 6:], joint[:, 1:6])
    assert clash(joint[:, :4], joint[:, 3:]) and clash(joint, joint[:, 2:3]) and clash(joint[:, 2:3], joint)
    assert not clash(joint[:1], joint[1:]) and clash(joint[:, :, ::-1], joint[:, :1])
    assert clash(joint[:, :3, :, ::2], joint[:, 3:])  # rows of another period: not known to be apart
    flat = np.zeros(12)
    assert not clash(flat[:6], flat[6:]) and clash(flat[:7], flat[6:]) and clash(flat[5::-1], flat[:1])


def test_what_is_only_read_clashes_with_nothing():
    x, log = np.zeros(4), Log()
    log.add(0, Access([span_of(x)], []))
    assert not log.clashes(Access([span_of(x)], [])) and log.clashes(Access([], [span_of(x)])) == {0}


def recorded(name, batch=4):
    """The record of a training step, and its inputs."""
    shape, layers = NETWORKS[name]
    run, _ = training(layers)[0]
    draw = np.random.default_rng(0)
    x = minidl.tensor(draw.standard_normal((batch, *shape)).astype(f32))
    labels = minidl.tensor(draw.integers(0, 3, batch))
    for _ in range(4):
        run(x, labels)
    assert len(run.replays.records) == 1, "the step is not replayed"
    (record, *_), = run.replays.records.values()  # fmt: skip
    return record


def memory_of(record):
    """All that rows may write, as arrays of bytes: the arena, and the state."""
    arena = [np.frombuffer(home.memory, np.uint8, home.top) for home in record.recorder.arena.ranges]
    return [*arena, *(array.reshape(-1).view(np.uint8) for array in record.state.arrays() if array.flags.c_contiguous)]


def declared(span, start, size):
    """Which bytes from `start` on a span covers."""
    places = np.arange(start, start + size)
    return (places >= span.start) & (places < span.end) & ((places - span.start) % span.period < span.length)


@pytest.mark.parametrize("name", ["mlp", "cnn", pytest.param("googlenet", marks=pytest.mark.slow)])
def test_rows_write_only_what_they_say(name):
    """Row by row: whatever changes in the memory of a step lies in what the row declares."""
    record, looked = recorded(name), 0
    memory = memory_of(record)
    for row in record.rows:
        access, before = access_of(row), [array.copy() for array in memory]
        row.run(*row.args)
        looked += access is not None and row.kind == "kernel"
        for array, old in zip(memory, before):
            changed = np.flatnonzero(array != old)
            if access is None or not changed.size:
                continue
            first, size = int(changed[0]), int(changed[-1] - changed[0]) + 1
            covered = np.zeros(size, bool)
            for span in access.writes:
                covered |= declared(span, address(array) + first, size)
            assert covered[changed - first].all(), row.name
    assert looked > 0 or name == "mlp"


@pytest.mark.parametrize("name", NETWORKS)
def test_any_order_that_rows_allow_has_the_same_bits(name):
    record, draw = recorded(name), np.random.default_rng(1)
    units = units_of(record.rows, [(i, 2, None) for i in range(len(record.rows))])
    memory = memory_of(record)
    before = [array.copy() for array in memory]

    def after(order):
        for array, old in zip(memory, before):
            array[...] = old
        for i in order:
            record.rows[i].run(*record.rows[i].args)
        return [array.copy() for array in memory[len(record.recorder.arena.ranges) :]]

    def drawn():
        """The rows in an order that is random as far as they do not wait for each other."""
        left, done = set(range(len(units))), set()
        while left:
            ready = [i for i in sorted(left) if units[i].after <= done]
            i = ready[draw.integers(len(ready))]
            left.remove(i), done.add(i)
            yield i

    expected = after(range(len(units)))
    assert any(i != k for i, k in enumerate(drawn()))  # some rows are free
    for _ in range(2):
        assert all(map(np.array_equal, after(drawn()), expected))


def test_branches_of_a_folded_network_run_side_by_side():
    """All layers of a prediction are rows of one call; the branches of a block do not wait for each other."""
    model = NETWORKS["googlenet"][1]()
    model.eval()
    fold = nn.inference.fold(model)
    run = minidl.capture(fold)
    for seed in range(3):
        x = minidl.Tensor(channels_last(np.random.default_rng(seed).standard_normal((1, 1, 16, 16)).astype(f32)))
        assert np.array_equal(run(x).data, fold(x).data)
    (record, *_), = run.replays.records.values()  # fmt: skip
    assert [type(piece) for piece in record.program] == [program.Stretch]
    assert not any(access_of(row) is None for row in record.rows if row.name in ("direct", "convolve", "max_values"))
    units = units_of(record.rows, [(i, 2, None) for i in range(len(record.rows))])
    depth = []
    for unit in units:
        depth.append(1 + max([depth[n] for n in unit.after], default=-1))
    assert max(depth) + 1 < len(units) * 2 / 3


def test_a_kernel_without_working_memory_is_an_error(monkeypatch):
    record = recorded("cnn")
    (stretch,) = record.program
    failing = next(i for i, row in enumerate(stretch.origins) if stretch.rows[row].kind == "kernel")
    monkeypatch.setattr(program.team, "run", lambda *args: stretch.state.fill(1 + failing))
    with pytest.raises(MemoryError, match="no working memory for `"):
        stretch.run()


def test_a_recorded_array_is_refused_by_kernels_after_the_recording():
    with pytest.raises(TypeError, match="an array of type Recorded outside of the recording"):
        address(Recorded(np.zeros(3)))
