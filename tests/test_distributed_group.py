"""Groups of processes on a stand-in for MPI, the order of addition, shards and samplers: all in one process."""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minidl
from minidl import distributed, nn, random
from minidl.data import ArrayDataset, DataLoader, TensorDataset
from minidl.data.shards import Shards
from minidl.distributed import DistributedSampler, Group, PeerError, ShardedStep, Transport, own_shards
from minidl.distributed import farewell
from minidl.distributed.group import FAREWELL, LENGTH, TIMEOUT
from minidl.distributed.tree import TreeSum
from minidl.training import together


class Post:
    """Letter boxes between threads, one per (sender, receiver, tag)."""

    def __init__(self):
        self.boxes, self.lock = {}, threading.Lock()

    def box(self, *key):
        with self.lock:
            return self.boxes.setdefault(key, queue.Queue())


class Letters(Transport):
    """A transport between the threads of this process."""

    def __init__(self, post, rank, size):
        self.post, self.rank, self.size = post, rank, size

    def send(self, array, rank, tag=0):
        self.post.box(self.rank, rank, tag).put(array.tobytes())
        return Done()

    def has_sent(self, rank, tag):
        return not self.post.box(rank, self.rank, tag).empty()

    def receive(self, array, rank, tag=0):
        return Letter(self.post.box(rank, self.rank, tag), array)


class Done:
    def done(self):
        return True


class Letter:
    def __init__(self, box, array):
        self.box, self.array, self.arrived = box, array, False

    def done(self):
        if not self.arrived and not self.box.empty():
            self.array[...] = np.frombuffer(self.box.get(), self.array.dtype).reshape(self.array.shape)
            self.arrived = True
        return self.arrived


def in_group(size, work, timeout=60.0, absent=()):
    """The result of ``work(group)``, or raises, in each of `size` threads."""
    post, results, failures = Post(), {}, []

    def run(rank):
        try:
            results[rank] = work(Group(Letters(post, rank, size), timeout))
        except PeerError as error:
            results[rank] = error
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size) if rank not in absent]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure
    return [results[rank] for rank in sorted(results)]


def tree_sum(arrays):
    """The sum as a recursion over halves."""
    half = len(arrays) // 2
    return arrays[0] if len(arrays) == 1 else tree_sum(arrays[:half]) + tree_sum(arrays[half:])


def summands(n, length=1001):
    return list(np.random.default_rng(0).standard_normal((n, length)).astype(np.float32))


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16])
def test_the_order_of_addition_is_the_tree(n):
    total = TreeSum()
    for array in summands(n):
        total.add(array)
    assert (total.result() == tree_sum(summands(n))).all()


@pytest.mark.parametrize("n", [1, 3, 5, 6, 7])
def test_any_number_of_summands_is_added_once_each(n):
    total = TreeSum()
    for array in summands(n):
        total.add(array)
    np.testing.assert_allclose(total.result(), sum(summands(n)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_sum_over_processes_continues_the_tree_of_their_own_sums(size):
    shards = summands(8)

    def work(group):
        own = TreeSum()
        for array in shards[group.rank * 8 // size : (group.rank + 1) * 8 // size]:
            own.add(array.copy())
        flat = own.result()
        group.sum(flat)
        return flat

    assert all((flat == tree_sum(shards)).all() for flat in in_group(size, work))


def test_a_sum_of_fewer_numbers_than_processes():
    def work(group):
        flat = np.ones(2)
        group.sum(flat)
        return flat.tolist()

    assert in_group(4, work) == [[4, 4]] * 4


def test_what_is_gathered_is_in_the_order_of_the_ranks():
    assert in_group(3, lambda g: [int(a[0]) for a in g.gather(np.array([g.rank]))]) == [[0, 1, 2]] * 3
    facts = in_group(3, lambda g: g.gather_facts({"rank": "x" * g.rank}))
    assert facts == [[{"rank": ""}, {"rank": "x"}, {"rank": "xx"}]] * 3
    rows = in_group(3, lambda g: g.gather_rows(np.full((g.rank, 2), g.rank)).tolist())
    assert rows == [[[1, 1], [2, 2], [2, 2]]] * 3


def alike(changed, monkeypatch):
    """The errors of two processes that begin a run, the second of them changed by ``changed(monkeypatch)``."""
    facts = {"settings": {"lr": 0.1}, "data": {"train": "128 images, sha256 5f3a"}}
    own = threading.local()
    monkeypatch.setattr(distributed, "world", lambda: own.group)

    def work(group):
        own.group = group
        mine = {part: dict(values) for part, values in facts.items()}
        net = nn.Linear(2, 1)
        net.weight.data[...], net.bias.data[...] = 1, 0
        if group.rank == 1:
            changed(mine, net)
        try:
            together.check_alike(mine, net)
        except ValueError as error:
            return str(error)

    return in_group(2, work)


DIFFERENCES = {
    "`lr` is 0.1 for rank 0 but 0.2 for rank 1": lambda facts, net: facts["settings"].update(lr=0.2),
    "`train` is 128 images, sha256 5f3a for rank 0 but": lambda facts, net: facts["data"].update(train="sha256 00"),
    "`weights` is ": lambda facts, net: net.bias.data.fill(1e-7),
    "`source code` is ": lambda facts, net: None,
}


@pytest.mark.parametrize("words", DIFFERENCES)
def test_processes_that_differ_do_not_begin(monkeypatch, words):
    if "code" in words:
        digests = iter("ab")
        monkeypatch.setattr(together, "_code", lambda: next(digests))
    errors = alike(DIFFERENCES[words], monkeypatch)
    assert errors[0] == errors[1] and errors[0].startswith(words) and errors[0].endswith("the same for all processes")


def test_processes_that_are_alike_begin(monkeypatch):
    assert alike(lambda facts, net: None, monkeypatch) == [None, None]


def test_the_digest_of_the_code_sees_every_file(monkeypatch, tmp_path):
    script = tmp_path / "train.py"
    script.write_text("1")
    monkeypatch.setattr("sys.argv", [str(script)])
    before = together._code()
    assert together._code() == before
    script.write_text("2")
    assert together._code() != before
    package = tmp_path / "minidl"
    (package / "ops").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setattr(minidl, "__file__", str(package / "__init__.py"))
    digests = [together._code()]
    for text in ("a = 1", "a = 2"):
        (package / "ops" / "more.py").write_text(text)
        digests.append(together._code())
    assert len({*digests, before}) == 4


def test_a_broadcast_overwrites_all_but_the_source():
    def work(group):
        array = np.array([group.rank])
        group.broadcast(array, 1)
        return array.tolist()

    assert in_group(3, work) == [[1]] * 3


def test_those_that_do_not_answer_are_named():
    errors = in_group(4, lambda g: g.gather(np.zeros(1)), timeout=0.2, absent=(1, 3))
    assert [str(error) for error in errors] == ["rank 1, 3 has not answered for 0.2 seconds"] * 2


@pytest.mark.parametrize("goes_on_at_first", [True, False])
def test_of_those_that_give_up_one_after_the_other_one_speaks(goes_on_at_first):
    post, ends = Post(), threading.Barrier(2)
    first, second = (Group(Letters(post, rank, 3)) for rank in (2, 1))  # rank 0 has hung

    def leaves(group):
        group.late.add(0)
        ends.wait()
        return farewell.settled(group, "rank 0 has not answered")

    with ThreadPoolExecutor(1) as others:
        outcome = others.submit(leaves, first)
        if goes_on_at_first:
            post.box(2, 1, FAREWELL).put(np.zeros(LENGTH, np.uint8).tobytes())  # what the first says may be this early
            second.answer_farewells()
            post.box(2, 1, FAREWELL).get()
        speaks = [leaves(second)[0], outcome.result()[0]]
    assert speaks == [not goes_on_at_first, goes_on_at_first]


def test_alone_every_call_returns_at_once():
    x = minidl.tensor([1.0, 2.0])
    for op in ("sum", "avg", "max", "min"):
        distributed.all_reduce(x, op)
    distributed.broadcast(x)
    distributed.barrier()
    assert x.tolist() == [1, 2] and distributed.all_gather(x)[0].tolist() == [1, 2]
    assert (distributed.get_rank(), distributed.get_world_size()) == (0, 1)


REFUSED = {
    "`op`": lambda: distributed.all_reduce(minidl.ones(1), "mean"),
    "`src`": lambda: distributed.broadcast(minidl.ones(1), 1),
    "`backend`": lambda: distributed.init_process_group("pigeons"),
    "`rank`": lambda: DistributedSampler(range(3), 2, 2),
    "`dataset`": lambda: DistributedSampler([], 2, 0),
    "`shards` is 6 for 1 process": lambda: own_shards(6),
    "`shards` is 0": lambda: own_shards(0),
    "`batch_size` is 4": lambda: DataLoader(range(10), 4, shards=Shards(8, 0, 8)),
    "`sampler` and `shuffle`": lambda: DataLoader(range(10), 4, shuffle=True, sampler=range(10)),
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_wrong_argument_is_named(words):
    with pytest.raises(ValueError, match=words):
        REFUSED[words]()


def test_the_gradient_of_shards_is_that_of_the_batch():
    minidl.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype="float64")
    x, labels = minidl.randn(13, 5, dtype="float64"), minidl.randint(0, 3, (13,))
    minidl.cross_entropy(net(x), labels).backward()
    expected = [p.grad.data.copy() for p in net.parameters()]
    shards = own_shards(4)
    batches = [(x[part], labels[part]) for part in shards.cut(np.arange(13))]
    for images, targets in ShardedStep(net, shards).parts(batches, [len(t.data) for _, t in batches]):
        net.zero_grad()
        minidl.cross_entropy(net(images), targets).backward()
    for p, whole in zip(net.parameters(), expected):
        np.testing.assert_allclose(p.grad.data, whole, rtol=1e-12, atol=1e-14)


def test_running_statistics_move_towards_the_mean_of_the_shards():
    norm = nn.BatchNorm1d(1, momentum=1.0).to(dtype="float64")
    parts = [minidl.tensor(np.array(rows)[:, None]) for rows in ([1.0, 3.0, 5.0], [10.0, 20.0])]
    for part in ShardedStep(norm, own_shards(2)).parts(parts, [3, 2]):
        norm.zero_grad()
        norm(part).sum().backward()
    assert norm.running_mean.tolist() == [(3 * 3 + 2 * 15) / 5] and norm.running_var.tolist() == [(3 * 4 + 2 * 50) / 5]
    assert int(norm.num_batches_tracked.data) == 1


def test_each_shard_draws_from_streams_of_its_own_and_a_step_counts_once():
    net, masks = nn.Dropout(0.5), []
    net.weight = nn.Parameter(minidl.ones(1))
    minidl.manual_seed(5)
    whole = net(minidl.ones(64)).tolist()
    minidl.manual_seed(5)
    for part in ShardedStep(net, own_shards(2)).parts([minidl.ones(64)] * 2, [64, 64]):
        masks.append(net(part).tolist())
    assert masks[0] == whole and masks[0] != masks[1]
    assert random.get_rng_state()["uses"] == {str(net.layer): 1}


def test_a_step_that_is_broken_off_leaves_the_streams_of_whole_batches():
    net = nn.Linear(1, 1)
    for _ in ShardedStep(net, Shards(4, 2, 2)).parts([None, None], [1, 1]):
        break
    assert random.next_key(7)[1] == 7


def test_a_loader_gives_each_process_its_parts_of_every_batch():
    data = ArrayDataset(np.arange(22 * 4, dtype=np.uint8).reshape(22, 2, 2, 1), np.arange(22))
    labels = {}
    for first in (0, 2):
        for workers in (0, 2):
            loader = DataLoader(data, 10, shuffle=True, num_workers=workers, shards=Shards(4, first, 2))
            labels[first, workers] = [[part[1].tolist() for part in parts] for parts in loader]
        assert labels[first, 0] == labels[first, 2] and len(loader) == 2  # two items are left out
    joined = [sum(a + b, []) for a, b in zip(labels[0, 0], labels[2, 0])]
    whole = [batch[1].tolist() for batch in DataLoader(data, 10, shuffle=True)]
    assert joined == whole[:2] and [len(part) for part in labels[0, 0][0] + labels[2, 0][0]] == [3, 3, 2, 2]


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_sampler_shares_the_data_out_anew_in_each_epoch(drop_last):
    samplers = [DistributedSampler(range(11), 3, rank, seed=4, drop_last=drop_last) for rank in range(3)]
    epochs = []
    for epoch in range(2):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        epochs.append([list(sampler) for sampler in samplers])
        assert {len(part) for part in epochs[-1]} == {len(samplers[0])} == {3 if drop_last else 4}
    drawn = [sorted(sum(epoch, [])) for epoch in epochs]
    assert len(set(drawn[0])) == (9 if drop_last else 11) and epochs[0] != epochs[1]
    loader = DataLoader(TensorDataset(np.arange(11)), 2, sampler=samplers[1])
    assert [int(k) for (batch,) in loader for k in batch.data] == epochs[1][1] and len(loader) == 2


def test_processes_that_srun_started_without_an_mpi_do_not_train_side_by_side(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["here/train.py"])
    for name in ("PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "16")
    for rank, lines in (("0", 1), ("3", 0)):
        monkeypatch.setenv("SLURM_PROCID", rank)
        with pytest.raises(SystemExit) as end:
            together.join()
        said = capsys.readouterr().err
        assert end.value.code == 2 and said.count("\n") == lines
        assert not said or said.startswith(
            "train.py: error: srun has started 16 processes without an MPI; accepted: srun --mpi=pmix"
        )
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    together.join()
    assert not distributed.is_initialized()


def test_the_limit_of_waiting_comes_from_the_argument_or_the_environment(monkeypatch):
    for given, expected in ((None, 3.0), (5.0, 5.0)):
        monkeypatch.setenv("MINIDL_TIMEOUT", "3")
        distributed.init_process_group(timeout=given)
        with pytest.raises(RuntimeError, match="is there already"):
            distributed.init_process_group()
        assert distributed.world().timeout == expected and distributed.is_initialized()
        distributed.destroy_process_group()
        assert not distributed.is_initialized() and distributed.world().timeout == TIMEOUT
