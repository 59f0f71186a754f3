"""What kernels keep of arrays that cannot change: packed or transformed weights, made once.

An array that owns its memory and is read-only stays as it is, so what was derived from
it may be kept for as long as it lives. That is what folded networks
(:mod:`minidl.nn.inference`) rely on. A read-only *view* may change through its base,
and a writeable array at any time: what is derived from those is made anew, each time.
Whoever makes an array read-only promises to leave no writeable view of it behind.
"""

from __future__ import annotations

import weakref

MOST = 64  # results kept of one array: whoever has more shapes than that makes them again
_kept = {}  # id of an array -> (weak reference to it, {what was made of it: (the result, the other array)})


def fix(array):
    """Make an array that nobody else holds read-only, where its kind knows that."""
    if hasattr(array.flags, "writeable"):
        array.flags.writeable = False


def is_fixed(array):
    """Whether nobody can change `array`: it is read-only and no view of memory that others may write."""
    flags = array.flags
    return flags.owndata and not flags.writeable


def kept(array, name, make, other=None):
    """``make()``, or what it gave before under the same `name` for the same arrays, if those cannot have changed.

    Examples
    --------
    >>> import numpy as np
    >>> array = np.arange(3.0)
    >>> kept(array, "sum", array.sum) is kept(array, "sum", array.sum)
    False
    >>> array.flags.writeable = False
    >>> kept(array, "sum", array.sum) is kept(array, "sum", array.sum)
    True
    """
    key = id(array)
    if not is_fixed(array) or not (other is None or is_fixed(other)):
        _kept.pop(key, None)  # somebody made it writeable again
        return make()
    if key not in _kept:
        _kept[key] = weakref.ref(array, lambda _: _kept.pop(key, None)), {}
    results, name = _kept[key][1], (name, id(other))
    found = results.get(name)
    if found is None:
        if len(results) >= MOST:
            results.clear()
        found = results[name] = make(), other  # which lives on, so that its id stays its own
    return found[0]
