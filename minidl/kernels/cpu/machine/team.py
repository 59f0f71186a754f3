"""A team of threads that share one kernel's tasks.

Numba's own thread pools do not survive a fork or a second Python thread that enters at the same time (a prefetching
loader, say). So here are a few plain Python threads that wait, take the same compiled kernel, and run it without the
interpreter's lock:

    @jit
    def scale(counter, n_tasks, x, y):          # x, y: (n_tasks, size)
        task = next_task(counter)
        while task < n_tasks:
            y[task] = 2 * x[task]
            task = next_task(counter)

    team.run(scale, len(x), x, y)

`next_task` takes the next index from a counter that all threads share, by one atomic addition. Results must not
depend on which thread takes it, so a task is a piece of fixed size, it writes only what is its own, and partial sums
are kept per task and added in the order of the tasks: the same bits for any number of threads.

A kernel that needs working memory asks for one row per thread:

    rows = team.scratch(size, np.float32)       # (threads, size), kept between calls
    buffer = rows[next_slot(counter)]           # in the kernel, once, before the loop

A thread that has nothing to do watches for the next job for some 100 microseconds and then sleeps: kernels that follow
one another closely start in about 3 us. A captured step takes down what `run` and `call` are asked for.
"""

from __future__ import annotations

import collections
import os
import threading

import numpy as np

from minidl.kernels.cpu.machine.compilation import jit
from minidl.kernels.cpu.machine.counter import JOB, SLOT, TASK, WORDS, look, new_counter
from minidl.kernels.cpu.machine.counter import next_slot, next_task  # noqa: F401 (for kernels)
from minidl.kernels.cpu.machine.doors import door

SPINS = 4000  # looks at the counter before sleeping, some 25 ns each


@jit
def _watch(counter, ended, job, spins):
    """Say that `job` has ended; number of the next one once it runs, or `job` if `spins` looks saw none.

    Both happen without the interpreter's lock, or the thread that waits would have to sleep for it.
    """
    ended[0] = job
    for _ in range(spins):
        now = look(counter, JOB)
        if now != job and look(counter, TASK) > 0:
            return now
    return job


@jit
def _settle(ended, job, spins):
    """Look until `job` has ended, `spins` times at most."""
    for _ in range(spins):
        if look(ended, 0) == job:
            return


class Team:
    """The caller and ``size - 1`` waiting threads."""

    def __init__(self, size):
        self.size, self.counter = size, new_counter()
        self.entered = threading.Lock()
        self.workers = [_Worker(self.counter) for _ in range(size - 1)]

    def run(self, kernel, n_tasks, args):
        """Run the kernel in every thread; the first error of any of them is raised here."""
        self.counter[TASK] = self.counter[SLOT] = 0
        self.counter[JOB] += 1
        number, called = int(self.counter[JOB]), self.workers[: n_tasks - 1]
        try:
            for worker in called:
                worker.call(number, kernel, n_tasks, args)
            kernel(self.counter, n_tasks, *args)
            errors = [worker.wait(number) for worker in called]
        except BaseException as error:
            raise _when_idle(called, _plain(error)) from None
        for error in filter(None, errors):
            raise error

    def dismiss(self):
        """Let the threads end."""
        for worker in self.workers:
            worker.send(None)


def _plain(error):
    """The Ctrl-C itself, where it came inside the call of a kernel, from which Numba returns with a SystemError."""
    cause = error.__cause__
    return cause if isinstance(error, SystemError) and isinstance(cause, KeyboardInterrupt) else error


def _when_idle(workers, error):
    """`error`, or the last Ctrl-C, once no thread writes to the caller's arrays any more."""
    busy = list(workers)
    while busy:
        try:
            busy[-1].drain()
            busy.pop()
        except KeyboardInterrupt as interrupt:
            error = interrupt
    return error


class _Worker:
    """One waiting thread, which takes its jobs from a box.

    Ctrl-C may interrupt the caller between any two of these lines. So nothing here depends on two things being done
    together: a job is sent, taken and taken back by one operation each, and whether it is finished is a number that may
    be looked at any number of times. The number travels with the job: between a look at the counter and a look into the
    box, one job may have been taken back and the next one sent.
    """

    def __init__(self, counter):
        self.counter, self.ended = counter, new_counter()
        self.box, self.asleep, self.finished, self.error = collections.deque(), False, 0, None
        self.done, self.wake = threading.Lock(), threading.Lock()  # taken by who waits, opened by the other
        for lock in (self.done, self.wake):
            lock.acquire()
        threading.Thread(target=self._serve, name="minidl", daemon=True).start()

    def call(self, *job):
        self.error = None
        self.box.append(job)
        if self.asleep:
            self.asleep = False
            _open(self.wake)

    def send(self, job):
        """Like `call`, without any doubt whether the thread is asleep."""
        self.box.append(job)
        _open(self.wake)

    def wait(self, number):
        """Wait for the end of job `number`, or take it back if the thread has not begun; its error or None."""
        try:
            self.box.pop()
        except IndexError:
            _settle(self.ended, number, SPINS)
            while self.finished != number:
                self.done.acquire()
        return self.error

    def drain(self):
        """Take back what the thread has not begun and wait for what it has: then it answers."""
        answer = threading.Event()
        self.box.clear()
        self.send((0, lambda *_: answer.set(), 0, ()))
        answer.wait()

    def _serve(self):
        seen = 0
        while True:
            now = int(_watch(self.counter, self.ended, seen, SPINS))
            if self.box:
                now = self._work(now)
                if now is None:
                    return
            elif now == seen:  # nothing happened for a while
                self.asleep = True
                if not self.box:
                    self.wake.acquire()
                self.asleep = False
            seen = now

    def _work(self, seen):
        """Do the job in the box; its number, `seen` if the caller has taken it back, None if it was the last."""
        try:
            job = self.box.popleft()
        except IndexError:
            return seen
        if job is None:
            return None
        number, kernel, n_tasks, args = job
        try:
            kernel(self.counter, n_tasks, *args)
        except BaseException as error:  # handed to the thread that waits
            self.error = error
        job = args = None  # the arrays are the caller's alone once it knows that the job is finished
        self.finished = number
        _open(self.done)
        return number


def _open(lock):
    if lock.locked():
        lock.release()


def _count():
    """``MINIDL_NUM_THREADS``, else the processors that this process may use."""
    given = os.environ.get("MINIDL_NUM_THREADS")
    if given is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not given.isdigit() or int(given) < 1:
        raise ValueError(f"MINIDL_NUM_THREADS is {given!r}; accepted: a whole number from 1")
    return int(given)


_team, _size = None, _count()
_making = threading.Lock()
_kept = threading.local()


def num_threads() -> int:
    """Number of threads that `run` uses, the caller included."""
    return _size


def set_num_threads(n):
    """Use `n` threads, the caller included; results stay the same, bit for bit.

    Examples
    --------
    >>> before = num_threads()
    >>> set_num_threads(1)
    >>> num_threads()
    1
    >>> set_num_threads(before)
    """
    global _size, _team
    if int(n) != n or n < 1:
        raise ValueError(f"`n` is {n!r}; accepted: a whole number of threads from 1")
    with _making:
        old, _team, _size = _team, None, int(n)
    if old is not None:
        with old.entered:
            old.dismiss()


def call(kernel, *args, quick=None):
    """``kernel(*args)``; Ctrl-C there is a KeyboardInterrupt. Functions that decide by values are called this way too;
    in a replay `quick`, a compiled function and its arguments, takes their place, unless it raises an error."""
    if door.recorder is not None:
        return door.recorder.call(kernel, args, quick)
    try:
        return kernel(*args)
    except SystemError as error:
        raise _plain(error) from None


def run(kernel, n_tasks, *args):
    """Call ``kernel(counter, n_tasks, *args)`` in every thread of the team and wait for all of them.

    The caller works alone when there is one task, or when another Python thread is using the team.
    """
    if door.recorder is not None:
        return door.recorder.launch(kernel, n_tasks, args)
    team = _team or _make() if n_tasks > 1 and _size > 1 else None
    if team is not None and team.entered.acquire(blocking=False):
        try:
            return team.run(kernel, n_tasks, args)
        finally:
            team.entered.release()
    if n_tasks > 0:
        call(kernel, np.zeros(WORDS, np.int64), n_tasks, *args)


def scratch(size, dtype):
    """Working memory, one row per thread: an array ``(threads, >= size)`` with unspecified contents.

    It belongs to the calling Python thread and is kept until its next call with the same `dtype`.
    """
    dtype = np.dtype(dtype)
    kept = _kept if door.recorder is None else door.recorder.scratch  # a captured step has its own
    rows = getattr(kept, dtype.char, None)
    if rows is None or rows.shape[0] < _size or rows.shape[1] < size:
        line = -(-size * dtype.itemsize // 4096) * 4096 + 64  # rows begin on cache lines, not on the same ones
        memory = np.empty(_size * line + 64, np.uint8)
        start = -memory.ctypes.data % 64
        rows = memory[start : start + _size * line].view(dtype).reshape(_size, -1)
        setattr(kept, dtype.char, rows)
    return rows


def _make():
    global _team
    with _making:
        if _team is None and _size > 1:
            _team = Team(_size)
        return _team


def _forget():
    """Make a new team when one is next needed: in a forked child, say, no thread but the caller lives."""
    global _team, _making
    _team, _making = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
