"""The loader: same bits for any number of workers, resumable, no thread left behind."""

import collections
import gc
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minidl import backend
from minidl.data import ArrayDataset, Compose, DataLoader, Dataset, Normalize, RandomCrop, RandomHorizontalFlip
from minidl.data import TensorDataset
from minidl.tensor import Tensor

AUGMENT = Compose([RandomCrop(8, padding=2), RandomHorizontalFlip(), Normalize([0.4] * 3, [0.2] * 3)])


def images(n=50, side=8):
    rng = np.random.default_rng(1)
    return ArrayDataset(rng.integers(0, 256, (n, side, side, 3), np.uint8), np.arange(n) % 5)


def contents(loader):
    return [(x.data.tobytes("A"), y.data.tobytes()) for x, y in loader]


def loader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("minidl-loader")]


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    gc.collect()
    assert not loader_threads()


def test_batches_are_channels_last_tensors():
    x, y = next(iter(DataLoader(images(), 16)))
    assert isinstance(x, Tensor) and x.shape == (16, 3, 8, 8) and x.dtype == np.float32
    assert y.shape == (16,) and y.dtype == np.int64
    assert x.data.transpose(0, 2, 3, 1).flags.c_contiguous and backend.is_channels_last(x.data)
    np.testing.assert_array_equal(x.data[3], np.float32(1 / 255) * images().images[3].transpose(2, 0, 1))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_do_not_change_a_bit(workers):
    begun, ready = itertools.count(), collections.defaultdict(threading.Event)

    class Uneven(ArrayDataset):
        """Of each two batches the later is ready before the earlier, where two are made at once."""

        def batch(self, indices):
            k = next(begun)
            if k % 2 == 0 and workers > 1:
                ready[k + 1].wait()
            ready[k].set()
            return super().batch(indices)

    data = images()
    plain = DataLoader(data, 7, shuffle=True, seed=5, transform=AUGMENT)
    threaded = DataLoader(Uneven(data.images, data.labels), 7, shuffle=True, seed=5, transform=AUGMENT,
                          num_workers=workers)
    for epoch in (0, 1):
        plain.set_epoch(epoch)
        threaded.set_epoch(epoch)
        assert contents(plain) == contents(threaded)


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        loader = DataLoader(TensorDataset(np.arange(30)), 4, shuffle=True, seed=seed)
        loader.set_epoch(epoch)
        return [int(i) for (batch,) in loader for i in batch.data]

    assert sorted(order(0, 0)) == list(range(30))
    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_iterating_twice_without_set_epoch_repeats_the_epoch():
    loader = DataLoader(images(), 8, shuffle=True, transform=AUGMENT)
    assert contents(loader) == contents(loader)


def test_augmentation_belongs_to_the_image_not_to_its_batch():
    def by_image(batch_size, shuffle):
        loader = DataLoader(images(), batch_size, shuffle=shuffle, transform=AUGMENT, seed=2)
        rows = [(x.data[k].tobytes(), int(y.data[k])) for x, y in loader for k in range(len(y.data))]
        return sorted(rows)

    assert by_image(7, True) == by_image(16, False)


def test_lengths_and_drop_last():
    for drop_last, sizes in ((False, [20, 20, 10]), (True, [20, 20])):
        loader = DataLoader(images(), 20, drop_last=drop_last)
        assert [len(y.data) for _, y in loader] == sizes and len(loader) == len(sizes)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 5, 8])
def test_resume_in_mid_epoch(workers, stop):
    def fresh():
        return DataLoader(images(), 7, shuffle=True, seed=9, transform=AUGMENT, num_workers=workers)

    whole = fresh()
    whole.set_epoch(3)
    expected = contents(whole)
    broken_off = fresh()
    broken_off.set_epoch(3)
    state = broken_off.state_dict()
    for k, _ in enumerate(broken_off):
        if k == stop:
            break
        state = broken_off.state_dict()
    assert state["batch"] == min(stop, len(expected))
    resumed = fresh()
    resumed.load_state_dict(state)
    resumed.set_epoch(3)  # as the training loop does: changes nothing
    assert contents(resumed) == expected[stop:]
    assert contents(resumed) == expected  # the iteration after that is a whole one again
    resumed.set_epoch(4)
    whole.set_epoch(4)
    assert contents(resumed) == contents(whole)


@pytest.mark.parametrize("field, other", [("batch_size", dict(batch_size=8)), ("seed", dict(seed=1)),
                                          ("shuffle", dict(shuffle=False)), ("drop_last", dict(drop_last=True))])
def test_state_of_another_loader_is_refused(field, other):
    state = DataLoader(images(), **{"batch_size": 7, "shuffle": True} | other).state_dict()
    with pytest.raises(ValueError, match=f"`state` has {field}"):
        DataLoader(images(), 7, shuffle=True).load_state_dict(state)
    with pytest.raises(ValueError, match="`state` has items 50 but the loader has 40"):
        DataLoader(images(40)).load_state_dict(DataLoader(images(50)).state_dict())


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_in_a_worker_reaches_the_caller(workers):
    class Faulty(ArrayDataset):
        def batch(self, indices):
            if 23 in indices:
                raise RuntimeError("image 23 is bad")
            return super().batch(indices)

    data = images()
    loader = DataLoader(Faulty(data.images, data.labels), 5, num_workers=workers)
    seen = 0
    with pytest.raises(RuntimeError, match="image 23 is bad"):
        for _ in loader:
            seen += 1
    assert seen == 4 and not loader_threads()


def test_an_early_break_leaves_no_thread():
    for _ in range(3):
        for _ in DataLoader(images(), 4, num_workers=3):
            break
        assert not loader_threads()
    with pytest.raises(KeyError):
        for _ in DataLoader(images(), 4, num_workers=3):
            raise KeyError
    iterator = iter(DataLoader(images(), 4, num_workers=3))
    next(iterator)
    del iterator


def test_prefetch_is_bounded(monkeypatch):
    """After each batch that is handed out, six others have been ordered, and no more."""
    ordered, submit = [], ThreadPoolExecutor.submit
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda *args: (ordered.append(1), submit(*args))[1])
    iterator = iter(DataLoader(images(), 1, num_workers=2, prefetch_factor=3))
    for taken in range(1, 5):
        next(iterator)
        assert len(ordered) == taken + 6
    iterator.close()


def test_two_iterators_at_once():
    loader = DataLoader(images(), 7, shuffle=True, num_workers=2)
    pairs = list(zip(loader, loader))
    assert all(a[0].data.tobytes() == b[0].data.tobytes() for a, b in pairs) and len(pairs) == 8


def test_data_sets_of_other_kinds():
    class Squares(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return np.float32(index) ** 2

    assert [batch[0].data.tolist() for batch in DataLoader(Squares(), 3)] == [[0, 1, 4], [9, 16]]
    pairs = [(np.ones(2), k) for k in range(3)]  # a plain list will do
    x, y = next(iter(DataLoader(pairs, 3)))
    assert x.shape == (3, 2) and y.data.tolist() == [0, 1, 2]
    chw = TensorDataset(np.zeros((4, 3, 8, 8), np.float32), np.arange(4))
    assert next(iter(DataLoader(chw, 2)))[0].shape == (2, 3, 8, 8)


def test_default_transform_scales_to_one_and_floats_pass():
    data = ArrayDataset(np.full((2, 3, 3, 1), 255, np.uint8), [0, 1])
    assert next(iter(DataLoader(data)))[0].data.max() == 1
    data = ArrayDataset(np.full((2, 3, 3, 1), 7, np.float32), [0, 1])
    assert next(iter(DataLoader(data)))[0].data.max() == 7


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(batch_size=0), "`batch_size` is 0; accepted: an integer >= 1"),
        (dict(batch_size=2.5), "`batch_size` is 2.5"),
        (dict(batch_size=True), "`batch_size` is True"),
        (dict(num_workers=-1), "`num_workers` is -1"),
        (dict(prefetch_factor=0), "`prefetch_factor` is 0"),
        (dict(seed="x"), "`seed` is 'x'"),
        (dict(transform=3), "`transform` is 3"),
        (dict(device="tpu"), "`device` is 'tpu'; accepted: cpu, cuda"),
        (dict(batch_size=51, drop_last=True), "`dataset` has 50 items: not one batch of 51 with `drop_last`"),
        (dict(dataset=7), "`dataset` is int"),
        (dict(dataset=[]), "`dataset` has 0 items"),
    ],
)
def test_wrong_arguments_get_one_clear_line(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        DataLoader(**{"dataset": images()} | options)
    with pytest.raises(ValueError, match="`epoch` is -1"):
        DataLoader(images()).set_epoch(-1)
