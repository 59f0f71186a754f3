"""One table of calls that minidl and PyTorch spell alike, from which live tests and reference data are made.

A row's function takes a library ``L`` (either side) and tensors. `derivatives` runs a
row on one side: the value y, the gradient g of (y * u).sum() for a fixed random u, and
the gradient of (g * v).sum() to the inputs and to u, for fixed random v. So second
derivatives of linear ops are not 0 = 0: their part to u is the op itself, applied to v.
"""

from dataclasses import dataclass, field
from typing import Callable

import numpy as np

import minidl


@dataclass(frozen=True)
class Row:
    """A name, a call, its differentiable inputs (shapes or arrays) and constants, and allowed errors."""

    name: str
    call: Callable
    inputs: tuple
    constants: tuple = ()
    order: int = 2
    tolerance: float = 1e-10
    single: float = 2e-5  # allowed error in float32, relative to the largest number of each array
    make: Callable = field(default=lambda rng, shape: rng.standard_normal(shape), repr=False)

    def arrays(self):
        """The differentiable inputs in float64, the same ones every time."""
        rng = np.random.default_rng(list(self.name.encode()))
        return [self.make(rng, x) if isinstance(x, tuple) else np.array(x, dtype=np.float64) for x in self.inputs]


ROWS: list[Row] = []


def row(name, call, *inputs, constants=(), **options):
    """Add a row to the table."""
    ROWS.append(Row(name, call, inputs, constants, **options))


class Ours:
    """minidl as a library of the table."""

    float32, float64 = np.float32, np.float64

    def __getattr__(self, name):
        return getattr(minidl, name)

    def leaf(self, array):
        return minidl.tensor(array, dtype=array.dtype, requires_grad=array.dtype.kind == "f")

    def constant(self, array):
        return minidl.tensor(array, dtype=array.dtype)

    def grad(self, y, inputs, create_graph=False):
        return minidl.grad(y, inputs, create_graph=create_graph, allow_unused=True, materialize_grads=True)

    def numpy(self, y):
        return y.detach().numpy()


def derivatives(L, case, dtype=np.float64):
    """{"y0": value, "g0": gradient, "h0": second derivative, "hu0": its part to the upstream, ...} as NumPy arrays."""
    inputs = [L.leaf(x.astype(dtype)) for x in case.arrays()]
    constants = [L.constant(np.asarray(c)) for c in case.constants]
    outputs = case.call(L, *inputs, *constants)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    result = {f"y{i}": L.numpy(y) for i, y in enumerate(outputs)}
    if case.order == 0:
        return result
    outputs = [y for y in outputs if y.requires_grad]
    rng = np.random.default_rng(7)
    u = [L.leaf(rng.standard_normal(tuple(y.shape)).astype(dtype)) for y in outputs]
    v = [L.constant(rng.standard_normal(x.shape).astype(dtype)) for x in case.arrays()]
    g = L.grad(_dot(outputs, u), inputs, create_graph=True)
    result |= {f"g{i}": L.numpy(x) for i, x in enumerate(g)}
    if case.order == 2:
        h = L.grad(_dot(g, v), inputs + u)
        names = [f"h{i}" for i in range(len(inputs))] + [f"hu{i}" for i in range(len(u))]
        result |= {name: L.numpy(x) for name, x in zip(names, h)}
    return result


def _dot(xs, ys):
    total = 0.0
    for x, y in zip(xs, ys):
        total = (x * y).sum() + total
    return total


def assert_agree(ours, theirs, tolerance):
    """Same keys, shapes, dtypes and non-finite places; numbers within `tolerance` of the largest of each array."""
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert (ours[key].shape, ours[key].dtype) == (theirs[key].shape, theirs[key].dtype), key
        scale = np.abs(theirs[key][np.isfinite(theirs[key])]).max(initial=1.0)
        np.testing.assert_allclose(ours[key], theirs[key], rtol=0, atol=tolerance * scale, err_msg=key)
