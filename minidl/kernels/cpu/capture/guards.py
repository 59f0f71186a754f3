"""Guards: places among Python's objects, what they held when a step was recorded, and whether they still do.

As a rule nothing has changed, and every replay asks. So all places are laid side by side once, and compared by
identity, one object after the other, without a line of Python for each; only where that fails are guards looked at one
by one.
"""

from __future__ import annotations

import collections
import types
from itertools import chain, repeat
from operator import is_

import numpy as np

SCALARS = (int, float, complex, bool, str, bytes, type(None), np.generic, np.dtype)
GROUPS = (dict, collections.OrderedDict, list, set, frozenset, collections.deque)
MISSING = object()


class Guards:
    """Places and what they are to hold.

    Parameters
    ----------
    places : list of (path, container, kept)
        A dict, list or cell, and a copy of what it held; of a tuple (dict, name) one entry of a dict, of (object, name)
        an attribute in a slot; of a class all that its body defines.

    Examples
    --------
    >>> place = {"stride": 1}
    >>> guards = Guards([("options", place, dict(place))])
    >>> place["stride"] = 2
    >>> guards.changed()
    'options'
    """

    def __init__(self, places):
        self.places, self.others = places, []
        self.wholes, self.lengths, self.keys, self.dicts, self.values = [], [], [], [], []
        self.homes, self.names, self.entries, self.cells, self.contents = [], [], [], [], []
        self.classes, self.definitions = [], []
        self.objects, self.attributes, self.attributed = [], [], []
        for place in places:
            self._lay_out(place)

    def _lay_out(self, place):
        _, container, kept = place
        kind = type(container)
        if (kind in GROUPS or _is_like_dict(kind)) and len(container) == len(kept):
            self.wholes.append(container)
            self.lengths.append(len(kept))
            self.keys.extend(kept)
            if isinstance(container, dict):
                self.dicts.append(container)
                self.values.extend(kept.values())
        elif kind is tuple and type(container[0]) is dict:
            self.homes.append(container[0])
            self.names.append(container[1])
            self.entries.append(kept)
        elif kind is tuple and not isinstance(container[0], types.MappingProxyType):
            self.objects.append(container[0])
            self.attributes.append(container[1])
            self.attributed.append(kept)
        elif kind is types.CellType:
            self.cells.append(container)
            self.contents.append(kept)
        elif kind is types.MappingProxyType and len(container) == len(kept):
            self.classes.append(container)
            self.definitions.extend(kept.values())
        else:
            self.others.append(place)

    def _hold(self):
        """Return whether all places hold the very objects that they held."""
        return (
            list(map(len, self.wholes)) == self.lengths
            and all(map(is_, chain.from_iterable(self.wholes), self.keys))
            and all(map(is_, chain.from_iterable(map(dict.values, self.dicts)), self.values))
            and all(map(is_, map(dict.get, self.homes, self.names, repeat(MISSING)), self.entries))
            and all(map(is_, map(getattr, self.objects, self.attributes, repeat(MISSING)), self.attributed))
            and all(map(is_, map(held, self.cells), self.contents))
            and all(map(is_, chain.from_iterable(map(types.MappingProxyType.values, self.classes)), self.definitions))
            and sum(map(len, self.classes)) == len(self.definitions)
            and not _changed(self.others)
        )

    def changed(self):
        """The path of a place that does not hold the same any more, or None."""
        return None if self._hold() else next(iter(_changed(self.places)), None)


def _is_like_dict(kind):
    return issubclass(kind, dict) and kind.__iter__ is dict.__iter__ and kind.__len__ is dict.__len__


def _changed(places):
    return [path for path, container, kept in places if not same(held(container), kept)]


def held(container):
    """The object that is now in a place."""
    if type(container) is types.CellType:
        try:
            return container.cell_contents
        except ValueError:
            return MISSING
    if type(container) is tuple and isinstance(container[0], (dict, types.MappingProxyType)):
        return container[0].get(container[1], MISSING)
    if type(container) is tuple:
        return getattr(*container, MISSING)
    return container


def copy(container):
    """The contents of a place, for comparison: of an entry or cell the object, of a dict or list its entries."""
    if type(container) in (tuple, types.CellType):
        return held(container)
    if isinstance(container, (dict, types.MappingProxyType)):
        return {name: value for name, value in container.items() if not is_rate(container, name, value)}
    return list(container)


def put_back(container, kept):
    """Let a place hold what it held."""
    kind = type(container)
    if kind is types.CellType and kept is not MISSING:
        container.cell_contents = kept
    elif kind is tuple and type(container[0]) is dict and kept is not MISSING:
        container[0][container[1]] = kept
    elif kind is tuple and kept is not MISSING:
        setattr(*container, kept)
    elif kind is tuple and type(container[0]) is dict:
        container[0].pop(container[1], None)
    elif isinstance(container, dict):
        for name in [name for name in container if name not in kept and name != "lr"]:
            del container[name]
        container.update(kept)
    elif isinstance(container, (list, collections.deque, set)):
        container.clear()
        (container.update if isinstance(container, set) else container.extend)(kept)


def is_rate(group, name, value):
    """Return whether an entry is a learning rate that is a Python number."""
    return name == "lr" and "params" in group and type(value) in (float, int)


def same(found, kept):
    """Return whether a place holds what it held: the same objects, or equal numbers."""
    if found is kept:
        return True
    if isinstance(found, (dict, types.MappingProxyType)) and type(kept) is dict:
        skipped = "lr" in found and "params" in found and "lr" not in kept
        pairs = [(found.get(name, MISSING), value) for name, value in kept.items()]
        return len(found) - skipped == len(kept) and all([_same_value(*pair) for pair in pairs])
    if type(kept) is tuple is type(found):
        return len(found) == len(kept) and all(map(_same_value, found, kept))
    if type(kept) is list and isinstance(found, (list, set, frozenset, collections.deque)):
        return len(found) == len(kept) and all(map(_same_value, found, kept))
    return _same_value(found, kept)


def _same_value(found, kept):
    if found is kept or type(found) is not type(kept) or not isinstance(kept, SCALARS):
        return found is kept
    return bool(found == kept) and repr(found) == repr(kept)  # 0.0 == -0.0


class Cell:
    """The cell of a variable, as a container with one entry."""

    def __init__(self, cell):
        self.cell = cell

    def __getitem__(self, name):
        return self.cell.cell_contents

    def __setitem__(self, name, value):
        self.cell.cell_contents = value

    def __contains__(self, name):
        return held(self.cell) is not MISSING
