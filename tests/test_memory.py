"""The pool of large buffers: places are disjoint, reused, joined, and given back."""

import gc
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from patience import HANG

from minidl import memory
from minidl.memory import PAGE, SMALL, Pool, Range

needs_mmap = pytest.mark.skipif(not hasattr(memory.mmap, "MAP_PRIVATE"), reason="this system has no private maps")
MB = 1 << 20


def test_a_range_takes_the_lowest_place_and_joins_neighbours():
    r = Range(8 * PAGE)
    a, b, c = r.take(2 * PAGE), r.take(2 * PAGE), r.take(3 * PAGE)
    assert (a, b, c) == (0, 2 * PAGE, 4 * PAGE) and r.take(2 * PAGE) is None
    r.give(b, 2 * PAGE)
    r.give(a, 2 * PAGE)
    assert r.free == [(0, 4 * PAGE), (7 * PAGE, 8 * PAGE)]
    assert r.take(3 * PAGE) == 0
    r.give(c, 3 * PAGE)
    assert r.free == [(3 * PAGE, 8 * PAGE)]


@needs_mmap
def test_live_arrays_never_overlap_and_nothing_is_lost():
    pool, source, live = Pool(), random.Random(0), {}
    for step in range(600):
        if live and source.random() < 0.5:
            array = live.pop(source.choice(list(live)))
            assert (array == array[0]).all()  # nothing else wrote into it
            del array
        else:
            live[step] = pool.empty(source.randrange(SMALL, 30 * SMALL), np.uint8)
            live[step][...] = step % 251
    live.clear()
    array = None  # noqa: F841
    pool.clear()
    assert [r.free for r in pool.ranges] == [[(0, len(r.memory))] for r in pool.ranges]
    assert pool.watches == {} and pool.idle_bytes == 0


@needs_mmap
def test_a_place_is_reused_when_the_last_view_has_died():
    pool = Pool()
    x = pool.empty((4, MB), np.float32)
    address, view = x.ctypes.data, x[2:, ::2].T
    del x
    other = pool.empty((4, MB), np.float32)
    assert other.ctypes.data != address
    del view
    # Of another size and dtype: what is freed is memory, not a buffer of one kind.
    assert pool.empty(MB, np.float64).ctypes.data == address


@needs_mmap
def test_idle_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(memory, "KEEP", 8 * MB)
    pool = Pool()
    for _ in range(3):
        pool.empty(32 * MB, np.uint8)[...] = 1
    pool.empty(MB, np.uint8)
    pool._collect()
    assert pool.idle_bytes <= 8 * MB


@needs_mmap
def test_many_threads_share_the_pool():
    pool, faults = Pool(), []

    def work(number):
        for _ in range(200):
            a = pool.empty(SMALL + number, np.uint8)
            a[...] = number
            if not (a == number).all():
                faults.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


@needs_mmap
def test_a_finaliser_that_allocates_within_the_pool_does_no_harm():
    pool = Pool()

    class Selfish:
        def __init__(self):
            self.me = self  # only the collector can free it

        def __del__(self):
            pool.empty(2 * SMALL, np.uint8)[...] = 1

    place = pool._place
    pool._place = lambda size: (Selfish() and gc.collect(), place(size))[1]
    a, b = pool.empty(SMALL, np.uint8), pool.empty(SMALL, np.uint8)
    a[...], b[...] = 1, 2
    assert a[0] == 1 and pool.busy is False


def test_small_and_empty_arrays_come_from_malloc():
    pool = Pool()
    assert pool.empty(3, np.float32).shape == (3,) and pool.empty((0, 5), np.int64).shape == (0, 5)
    assert pool.ranges == []


STEP = """
import minidl, models
from minidl.memory import pool
net = models.create("googlenet", width=0.5)
x, t = minidl.randn(16, 3, 32, 32), minidl.randint(0, 10, (16,))
loss = minidl.cross_entropy(net(x), t)
pool._collect()
alive = sum(home.top for home in pool.ranges) - pool.idle_bytes
loss.backward()
print(alive, sum(home.top for home in pool.ranges))
"""


@needs_mmap
def test_a_training_step_needs_little_more_than_what_the_forward_leaves():
    """The backward frees while it allocates, in other sizes; the places of what has died serve it.

    The forward leaves what convolutions put out (with all activations it would be 173 MiB), the backward adds
    the gradients of its largest block and what that computes again.
    """
    result = subprocess.run(
        [sys.executable, "-c", STEP], cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=HANG
    )
    assert result.returncode == 0, result.stderr
    alive, used = map(int, result.stdout.split())
    assert 50 * MB < alive < 120 * MB and used < alive + 35 * MB


def held(pool):
    """Bytes of the blocks that belong to living arrays, by the pool's own notes; and its count."""
    with pool.lock:
        counted = pool.used_bytes
        return sum(watch.place[2] for watch in pool.watches.values()), counted


class Cycle:
    """Holds an array that only the garbage collector can free."""

    def __init__(self, array):
        self.array, self.me = array, self


@needs_mmap
@pytest.mark.parametrize("seed", range(2))
def test_the_count_of_bytes_in_use_is_the_sum_of_the_living_buffers(seed):
    pool, source, live, expected = Pool(), random.Random(seed), [], 0
    for _ in range(200):
        if live and source.random() < 0.5:
            array, size = live.pop(source.randrange(len(live)))
            expected -= size
            if source.random() < 0.1:
                Cycle(array)
                array = None
                gc.collect()
            array = None
        else:
            count = source.randrange(SMALL, 20 * SMALL)
            live.append((pool.empty(count, np.uint8)[source.randrange(3) :], -(-count // PAGE) * PAGE))
            expected += live[-1][1]
        if source.random() < 0.1:
            pool.clear()
        array = None
        assert held(pool) == (expected, expected)


FOLDING = """
import gc, os, threading
import minidl
from minidl import nn
from minidl.memory import pool

def count():
    with pool.lock:
        used = pool.used_bytes
        assert used == sum(watch.place[2] for watch in pool.watches.values()) >= 0
        return used

def work(net):
    for step in range(6):
        for parameter in net.parameters():
            parameter.data = parameter.data * 1.01
        folded = nn.inference.fold(net.train(step % 2 == 0))
        kept = [folded(x), net(x)]
        count()
        if step % 3 == 0:
            kept.append(kept)
            del kept
            gc.collect()
    if os.fork() == 0:
        try:
            folded(x)
            count()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.wait()[1] == 0

x = minidl.randn(4, 3, 24, 24)
first = lambda: (nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
net = lambda: nn.Sequential(*first(), nn.Conv2d(32, 32, 1), nn.ReLU())
before = count()
threads = [threading.Thread(target=work, args=(net(),)) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gc.collect()
assert count() == before, (count(), before)
"""


@needs_mmap
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_count_comes_back_when_networks_have_been_folded_by_threads_and_forks():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FOLDING], cwd=Path(__file__).parents[1], capture_output=True, text=True,
        timeout=HANG,
    )
    assert result.returncode == 0 and not result.stderr, result.stderr


@needs_mmap
def test_more_than_the_memory_there_is_is_refused():
    with pytest.raises(MemoryError, match="bytes were asked for"):
        Pool().empty((2 * memory.HALF,), np.float32)
