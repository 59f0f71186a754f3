"""The way out of a record that is dropped: what it made and others still hold moves to memory of its own.

The walk from a step finds its state in most programs, not in all: an object with slots may hide an optimiser. So every
recorded array is known to its recorder, and when the record is dropped, the objects that hold one are looked up.
"""

from __future__ import annotations

import gc

from minidl.kernels.cpu.capture.kinds import slots_of
from minidl.kernels.cpu.capture.recorded import Recorded


def leave(recorder):
    """Put plain arrays in the place of all recorded ones that are held by objects, dicts and lists."""
    for reference in recorder.made:
        recorded = reference()
        if recorded is not None:
            own = recorded.array.copy(order="K")
            for holder in gc.get_referrers(recorded):
                _exchange(holder, recorded, own)


def _exchange(holder, old, new):
    if isinstance(holder, dict):
        holder.update({key: new for key, value in holder.items() if value is old})
    elif isinstance(holder, list):
        holder[:] = [new if value is old else value for value in holder]
    elif not isinstance(holder, Recorded):
        for name in _attributes(holder):
            if getattr(holder, name, None) is old:
                setattr(holder, name, new)


def _attributes(holder):
    """Names of an object's attributes, in slots or not."""
    return [*getattr(holder, "__dict__", ()), *slots_of(type(holder))]
