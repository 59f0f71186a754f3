"""The checks of manners: same bits twice, inputs left alone, any memory layout, the right shapes and types."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend
from minidl.gradcheck.maps import GradientMap
from minidl.tensor import Observer, Tensor, grad, observe

if TYPE_CHECKING:
    from minidl.gradcheck.subject import Subject


def _arrays(gradients):
    return [None if g is None else backend.to_numpy(g.data) for g in gradients]


def _gap(found, expected):
    """Largest difference between two lists of gradients, relative to the largest value; inf if one is None.

    A gradient a million times smaller than the others is taken for one of that size: it may be zero but for rounding.
    """
    gaps, largest = [0.0], max((float(np.abs(b).max()) for b in expected if b is not None and b.size), default=0.0)
    for a, b in zip(found, expected):
        if (a is None) != (b is None):
            gaps.append(math.inf)
        elif a is not None and a.size:
            scale = max(float(np.abs(b).max()), 1e-6 * largest, 1e-300)
            gaps.append(float(np.abs(a.astype(b.dtype) - b).max()) / scale if b.any() or a.any() else 0.0)
    return max(gaps)


def check_same_bits(s: Subject) -> None:
    """Backward twice from the same point gives the same bits."""
    runs = [_arrays(s.map.gradients(s.upstream)) for _ in range(2)]
    same = [a is b or np.array_equal(a, b, equal_nan=True) for a, b in zip(*runs)]
    failure = None
    if not all(same):
        name = s.map.names[same.index(False)]
        text = f"`{s.map.name}` is not deterministic: two backward passes give different bits for `{name}`"
        hint = "random numbers, state kept between calls, or sums in random order"
        failure = s.fail("same bits", name, text, hint=hint)
    s.report.add(s.order, "same bits", "", _gap(*runs), 0.0, failure is None, failure=failure)


def check_unmutated(s: Subject) -> None:
    """Neither forward nor backward writes into the inputs or the upstream gradient."""
    watched = [*zip(s.map.names, s.map.leaves), *((f"upstream[{k}]", u) for k, u in enumerate(map(Tensor, s.upstream)))]
    before = [(t.data.copy(), t._version) for _, t in watched]
    outputs = s.map.outputs()
    after_forward = _changed(watched, before)
    if not after_forward and outputs:
        grad(outputs, s.map.leaves, [t for name, t in watched[len(s.map.names) :]], allow_unused=True)
    changed = after_forward or _changed(watched, before)
    failure = None
    if changed:
        phase = "forward" if after_forward else "backward"
        text = f"the {phase} of `{s.map.name}` changes `{changed}` in place"
        failure = s.fail("unmutated", changed, text, hint="write to a new array: y = x + 1, not x += 1")
        for (_, tensor), (values, _) in zip(watched, before):
            tensor.data[...] = values
    s.report.add(s.order, "unmutated", changed or "", math.nan, math.nan, failure is None, failure=failure)


def _changed(watched, before):
    for (name, tensor), (values, version) in zip(watched, before):
        now, then = backend.to_numpy(tensor.data), backend.to_numpy(values)
        if tensor._version != version or not np.array_equal(now, then, equal_nan=True):
            return name
    return None


class _Shapes(Observer):
    """Observer that notes gradients whose shape or dtype the walk would have to repair or refuse."""

    def __init__(self):
        self.faults = []

    def backward(self, node, grads, results):
        results = results if isinstance(results, tuple) else (results,)
        for k, (edge, gradient) in enumerate(zip(node.edges, results)):
            if edge is None or gradient is None:
                continue
            found, shape, dtype = Tensor(gradient), edge.shape, edge.dtype
            if not _broadcasts(shape, found.shape):
                self.faults.append((node.name, f"has shape {found.shape} but the input has {shape}"))
            elif found.dtype.itemsize < dtype.itemsize or found.dtype.kind != dtype.kind:
                self.faults.append((node.name, f"has dtype {found.dtype} but the input has {dtype}"))
            else:
                continue
            self.faults[-1] += (k,)


def _broadcasts(shape, to):
    """Return whether `shape` can be broadcast to `to`: the walk sums such a gradient back itself."""
    lead = len(to) - len(shape)
    return lead >= 0 and all(n in (1, m) for n, m in zip(shape, to[lead:]))


def check_shapes(s: Subject) -> None:
    """Every backward returns gradients of its inputs' shapes and dtypes; returns whether it does."""
    problem = None
    with observe(_Shapes()) as watch:
        try:
            s.map.gradients(s.upstream)
        except (ValueError, RuntimeError, TypeError, IndexError) as error:
            problem = error
    failure = None
    if watch.faults:
        op, what, k = watch.faults[0]
        text = f"`{s.map.name}`: the gradient that {op}.backward returns for its input {k} {what}"
        failure = s.fail("shapes", str(k), text, hint="return one gradient per input, shaped and typed like it")
    elif problem is not None:
        raise problem
    s.report.add(s.order, "shapes", "", math.nan, math.nan, failure is None, failure=failure)


def check_layout(s: Subject) -> None:
    """The same gradients from inputs and upstreams that lie otherwise in memory."""
    expected = _arrays(s.map.gradients(s.upstream))
    for name, rearrange in LAYOUTS.items():
        try:
            s.map.place([rearrange(x) for x in s.point.arrays])
            found = _arrays(s.map.gradients([rearrange(u) for u in s.upstream]))
        finally:
            s.map.place(s.point.arrays)
        gap, failure = _gap(found, expected), None
        if gap > 1e-9:
            text = f"`{s.map.name}` gives other gradients for {name} inputs: relative difference {gap:.1e}"
            failure = s.fail("layout", name, text, hint="memory is read as if it were C-contiguous")
        s.report.add(s.order, "layout", name, gap, 1e-9, failure is None, failure=failure)


def _strided(x):
    """Every other element of a wider array."""
    wide = backend.array_module(x).zeros((*x.shape[:-1], 2 * x.shape[-1]) if x.ndim else (2,), x.dtype)
    view = wide[..., ::2] if x.ndim else wide[0, ...]
    view[...] = x
    return view


def _channels_last(x):
    """Axis 1 innermost in memory; Fortran order where there are fewer than three axes."""
    xp = backend.array_module(x)
    return xp.moveaxis(xp.moveaxis(x, 1, -1).copy(order="C"), -1, 1) if x.ndim > 2 else x.copy(order="F")


LAYOUTS: dict[str, Callable[..., Any]] = {"strided": _strided, "channels-last": _channels_last}


def check_both_backwards(s: Subject) -> None:
    """The backward whose graph is recorded equals the one that is not: a kernel against its definition."""
    plain, recorded = (_arrays(s.map.gradients(s.upstream, create_graph=graph)) for graph in (False, True))
    gap, failure = _gap(recorded, plain), None
    if gap > 1e-9:
        text = f"`{s.map.name}`: the gradient with create_graph=True differs from the one without by {gap:.1e}"
        failure = s.fail("both backwards", "", text, hint="a fused kernel and its definition disagree")
    s.report.add(s.order, "both backwards", "", gap, 1e-9, failure is None, failure=failure)


def check_float32(s: Subject) -> None:
    """Single precision gives the same gradients to single precision."""
    if not s.settings.float32 or isinstance(s.map, GradientMap):
        return
    try:
        s.map.place([x.astype(np.float32) for x in s.point.arrays])
        kinds = [y.dtype for y in s.map.outputs()]
        found = _arrays(s.map.gradients([u.astype(kind) for u, kind in zip(s.upstream, kinds)]))
    finally:
        s.map.place(s.point.arrays)
    gap, failure = _gap(found, _arrays(s.map.gradients(s.upstream))), None
    if gap > 1e-4:
        text = f"`{s.map.name}` in float32 gives other gradients than in float64: relative difference {gap:.1e}"
        failure = s.fail("float32", "", text, hint="a cancellation, an overflow, or another code path")
    s.report.add(s.order, "float32", "", gap, 1e-4, failure is None, failure=failure)
