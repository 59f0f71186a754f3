"""The memory that a row reads and writes: what decides which rows may run side by side.

Work of NumPy names its arrays. A kernel is given arrays or addresses; the table says which of its arguments it reads
and which it writes, and the recorder knows what array each address belongs to. A row of which that is not known, or
that decides by values, is a *barrier*: all rows before it are done when it begins, and none after it has begun.

A *span* is the memory of an array. Slices of channels lie within each other's first and last byte and share none, so
of an array whose pixels are evenly spaced a span tells the bytes of one pixel and the way to the next, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minidl.kernels.cpu.capture.work import Copy, Loop

# Of a kernel, by its file and name: the arguments it reads, and those it writes. Of a table of addresses ``table:2`` is
# column 2. Working memory is each thread's own, and plans do not change.
KERNELS = {
    "direct.direct": ("x runs packed start", "y"),
    "panels.pack": ("weight", "packed"),
    "weight.sum_chunks": ("x taps grad start", "sums"),
    "weight.add_chunks": ("", "sums weight"),
    "winograd_forward.transform_weight": ("weight", "U"),
    "winograd_forward.convolve": ("x U bias zeros", "out"),
    "winograd_weight.weight_grad": ("x grad zeros", "sums"),
    "winograd_weight._add_spans": ("", "sums weight"),
    "moments._moments": ("parts:2", "sums"),
    "channels._normalise": ("parts:2 mean scale bias", "parts:4"),
    "channels._grad_sums": ("parts:2 parts:4 mean scale bias", "sums"),
    "channels._input_grad": ("parts:2 parts:4 mean scale bias mean_grad slope", "parts:6"),
    "values.max_values": ("source", "target"),
    "maximum._max_pool": ("x tall wide", "y argmax"),
    "maximum._max_pool_tiles": ("x", "y argmax"),
    "maximum._max_unpool": ("grad argmax tall wide", "dx"),
    "maximum._max_unpool_tiles": ("grad argmax", "dx"),
    "average._average": ("x weights tall wide divisors", "y"),
    "elementwise._relu": ("x", "y"),
    "elementwise._relu_grad": ("grad y", "dx"),
    "dense.products": ("a b bias", "c"),
    "dots.dots": ("a b bias", "c"),
}


class Span(NamedTuple):
    """Bytes `start` to `end`, of which `length` from every `period`-th on are used."""

    start: int
    end: int
    period: int
    length: int


class Access(NamedTuple):
    """The memory that a row reads and writes."""

    reads: list
    writes: list


class Unknown(Exception):
    """A row of which it is not known what it reads and writes."""


def span_of(array):
    """The memory of an array.

    Examples
    --------
    >>> image = np.zeros((1, 4, 4, 8), np.float32).transpose(0, 3, 1, 2)
    >>> span = span_of(image[:, 2:5])
    >>> span.end - span.start, span.period, span.length
    (492, 32, 12)
    """
    axes = sorted([(abs(stride), n) for n, stride in zip(array.shape, array.strides) if n > 1 and stride])
    start = array.ctypes.data + sum([min(0, (n - 1) * stride) for n, stride in zip(array.shape, array.strides)])
    end = start + sum([(n - 1) * stride for stride, n in axes]) + array.itemsize
    length = array.itemsize
    while axes and axes[0][0] <= length:
        stride, n = axes.pop(0)
        length += (n - 1) * stride
    if not axes or any(stride % axes[0][0] for stride, _ in axes):
        return Span(start, end, 1, 1)
    return Span(start, end, axes[0][0], length)


class Addresses:
    """The arrays whose addresses a step has asked for: a kernel that is given an address works on one of them."""

    def __init__(self, arena):
        self.arena, self.now, self.before = arena, {}, {}

    def note(self, array):
        """Remember the array to which an address belongs; the array."""
        self.now.setdefault(array.ctypes.data, []).append(span_of(array))
        return array

    def access(self, kernel, args):
        """The memory that a launch reads and writes, or None where that is not known."""
        now, self.now = self.now, {}
        try:
            return self._access(kernel.py_func, args, now)
        except Unknown:
            return None
        finally:
            for place, spans in now.items():
                self.before.setdefault(place, set()).update(spans)

    def _access(self, function, args, now):
        places = KERNELS.get(f"{function.__module__.rpartition('.')[2]}.{function.__name__}")
        if places is None:
            raise Unknown
        given = dict(zip(function.__code__.co_varnames[2:], args))
        reads, writes = ([value for place in names.split() for value in _values(given, place)] for names in places)
        return Access(
            [span for value in reads for span in self._spans(value, now, False)],
            [span for value in writes for span in self._spans(value, now, True)],
        )

    def _spans(self, value, now, is_written):
        if isinstance(value, np.ndarray):
            return [span_of(value)]
        spans = now.get(value) or self.before.get(value)
        if spans is None and (is_written or self.arena.holds(value)):
            raise Unknown
        return spans or ()  # nothing: a constant, such as packed weights, or no argument at all


def _values(given, place):
    """The arrays and addresses that one entry of the table names."""
    name, _, column = place.partition(":")
    return [int(value) for value in given[name][:, int(column)]] if column else [given[name]]


def access_of(row):
    """The memory that a row reads and writes, or None: a barrier."""
    return row.access if row.kind == "kernel" else _of_work(row.form) if row.kind == "numpy" else None


def _of_work(work):
    reads, writes = [], []
    for one in work:
        out = one.target if isinstance(one, Copy) else one.out
        inputs = one.inputs if isinstance(one, Loop) else [value for value in one if value is not out]
        reads += [span_of(value) for value in inputs if isinstance(value, np.ndarray)]
        writes.append(span_of(out))
    return Access(reads, writes)


class Log:
    """Spans of the rows so far, to be asked which of them a new row has to wait for."""

    def __init__(self):
        self.spans, self.size = np.empty((6, 64), np.int64), 0  # a line for each number of a span, and two more

    def clashes(self, access):
        """Numbers of the rows that write what this one uses, or read what it writes."""
        found, (start, end, _, _, written, numbers) = set(), self.spans[:, : self.size]
        for is_written, group in ((False, access.reads), (True, access.writes)):
            for span in group:
                near = ((start < span.end) & (end > span.start)).nonzero()[0]
                if not is_written:
                    near = near[written[near] == 1]
                if span.period > 1:
                    near = near[~_apart(self.spans[:4, near], span)]
                found.update(numbers[near].tolist())
        return found

    def add(self, number, access):
        """Enter row `number`."""
        for written, group in ((0, access.reads), (1, access.writes)):
            for span in group:
                if self.size == self.spans.shape[1]:
                    self.spans = np.concatenate([self.spans, np.empty_like(self.spans)], axis=1)
                self.spans[:, self.size] = (*span, written, number)
                self.size += 1


def _apart(spans, span):
    """Those of some spans that share no byte with one, though they overlap: slices of the same pixels."""
    start, _, period, length = spans
    away = (start - span.start) % span.period
    return (period == span.period) & (away >= span.length) & (away + length <= span.period)
