"""The work of a NumPy call, said in four words: loops of ufuncs, copies, choices and sums, with where the results go.

What is not said so stays a call from Python. Said so, it can be laid out as launches (:mod:`.loops`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

MOST_LINES = 64  # that a sum over an axis adds, one by one


class Loop(NamedTuple):
    """``ufunc(*inputs, out=out)``."""

    ufunc: Any
    inputs: tuple
    out: Any


class Copy(NamedTuple):
    """``target[...] = source``."""

    target: Any
    source: Any


class Choice(NamedTuple):
    """``out[...] = numpy.where(mask, x, y)``."""

    out: Any
    mask: Any
    x: Any
    y: Any


class Sum(NamedTuple):
    """``out[...] += sum of the line``, in NumPy's order."""

    line: Any
    out: Any


def sum_of(x, axis, out):
    """The work of ``numpy.sum(x, axis, out=out)``, or None where no such work is known to have its bits."""
    if x.ndim == 1 and x.dtype == out.dtype and axis in (None, 0, (0,)):
        return Copy(out, 0), Sum(x, out)
    if x.ndim > 1 and axis in (0, (0,)) and len(x) <= MOST_LINES and list(x.strides) == sorted(x.strides, reverse=True):
        return Copy(out, 0), *[Loop(np.add, (out, line), out) for line in x]
    return None


def calls_of(ufunc, method, args, options):
    """The work of a call of a ufunc, or None."""
    out = options.get("out")
    if method != "__call__" or options.keys() != {"out"}:
        return None
    return (Loop(ufunc, tuple(args), out[0] if type(out) is tuple else out),)


def work_of(name, args, options):
    """The work of a call of a NumPy function with a place for its result, or None.

    A function that changes an argument, such as `copyto`, has no place for a result, and is never work of the loops.
    """
    if options.get("out") is None:
        return None
    if name == "sum" and len(args) == 2:
        args, options = args[:1], options | {"axis": args[1]}
    out, others = options["out"], {key: value for key, value in options.items() if key != "out"}
    if name == "concatenate":
        return _side_by_side(out, *args, **others)
    if name in ("ones_like", "zeros_like") and len(args) == 1:
        return (Copy(out, 1 if name == "ones_like" else 0),)
    is_plain_sum = name == "sum" and len(args) == 1 and others.pop("dtype", out.dtype) == out.dtype
    if is_plain_sum and not others.pop("keepdims", False):
        axis = others.pop("axis", None)
        return None if others else sum_of(args[0], axis, out)
    if name == "where" and len(args) == 3 and not others and isinstance(args[0], np.ndarray):
        return (Choice(out, *args),)
    if name in ("reshape", "ravel") and not others:
        return (Copy(out.reshape(args[0].shape), args[0]),)
    return None


def _side_by_side(out, arrays, axis=0, **others):
    if others or type(axis) is not int:
        return None
    ends = np.cumsum([array.shape[axis] for array in arrays])
    return tuple([Copy(place, array) for place, array in zip(np.split(out, ends, axis), arrays)])


def assignment(target, index, value):
    """The work of ``target[index] = value`` where the index holds no arrays, or None."""
    parts = index if type(index) is tuple else (index,)
    if not all(part is Ellipsis or part is None or isinstance(part, (int, slice)) for part in parts):
        return None
    if isinstance(value, (list, tuple)):
        return None
    return (Copy(target[parts if any(part is Ellipsis for part in parts) else (*parts, Ellipsis)], value),)
