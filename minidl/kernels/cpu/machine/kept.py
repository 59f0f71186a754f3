"""A cache of what kernels derive from arrays that cannot change: packed or transformed weights, made once.

A constant (`minidl.backend.constant`) lies in memory that no flag makes writeable, so what was derived from it may be
kept for as long as it lives. Folded networks (:mod:`minidl.nn.inference`) rely on that. Any other array may change at
any time, a read-only one through another view of its memory or once its flag is set again: what is derived from those
is made anew, each time.
"""

from __future__ import annotations

import weakref

from minidl.backend import constant, is_constant  # noqa: F401 (for the example)
from minidl.kernels.cpu.machine.doors import unrecorded
from minidl.once import LOCK

MOST = 64  # results kept of one array: beyond that, results are made again
_kept = {}  # id of an array -> (weak reference to it, {what was made of it: (the result, the other array)})


def kept(array, name, make, args=(), other=None):
    """``make(*args)``, or what it gave before under the same `name` for the same arrays, if those cannot have changed.

    Examples
    --------
    >>> import numpy as np
    >>> array = np.arange(3.0)
    >>> kept(array, "sum", np.sum, [array]) is kept(array, "sum", np.sum, [array])
    False
    >>> array = constant(array)
    >>> kept(array, "sum", np.sum, [array]) is kept(array, "sum", np.sum, [array])
    True
    """
    key = id(array)
    if not is_constant(array) or not (other is None or is_constant(other)):
        return make(*args)
    name = name, id(other)
    found = _kept[key][1].get(name) if key in _kept else None
    if found is None:
        with LOCK:
            found = _find_or_make(array, key, name, make, args, other)
    return found[0]


def _find_or_make(array, key, name, make, args, other):
    """The entry `name` of `array`; another thread may just have made it."""
    if key not in _kept:
        _kept[key] = weakref.ref(array, lambda _: _kept.pop(key, None)), {}
    results = _kept[key][1]
    if name not in results:
        if len(results) >= MOST:
            results.clear()
        results[name] = unrecorded(make, *args), other  # which lives on, so that its id stays its own
    return results[name]
