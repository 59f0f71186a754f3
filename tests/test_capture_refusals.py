"""What no row of a record can express: each kind is refused, with reason and line, and the steps stay eager ones."""

import numpy as np
import pytest

import minidl
from minidl import dispatch

pytest.importorskip("numba", reason="Numba is not installed")
if dispatch.form_for("captured.Replays", np.zeros(1)) is None:
    pytest.skip("the fast forms are switched off", allow_module_level=True)

INTO = "into an array that the step itself makes, or that is not found from it"
SHAPE = "a shape that depends on values, "
# name: (what a step does with the array of its argument, the reason)
REFUSED = {
    "repr": (repr, "values that leave the arrays"),
    "add": (lambda x: np.add(x, 1, out=np.zeros(4)), f"`add` {INTO}"),
    "add.at": (lambda x: np.add.at(np.zeros(4), [0, 0, 1, 3], x), f"`add` {INTO}"),
    "add.reduce": (lambda x: np.add.reduce(x, out=np.zeros(())), f"`add` {INTO}"),
    "modf": (lambda x: np.modf(x, out=(np.zeros(4), np.zeros(4))), f"`modf` {INTO}"),
    "sum": (lambda x: np.sum(x, out=np.zeros(())), f"`sum` {INTO}"),
    "clip": (lambda x: x.clip(0, 1, out=np.zeros(4)), f"`clip` {INTO}"),
    "copyto": (lambda x: np.copyto(np.zeros(4), x), f"`copyto` {INTO}"),
    "where": (lambda x: np.where(x > 1), f"{SHAPE}`where`"),
    "flatnonzero": (np.flatnonzero, f"{SHAPE}`flatnonzero`"),
    "argwhere": (np.argwhere, f"{SHAPE}`argwhere`"),
    "unique": (np.unique, f"{SHAPE}`unique`"),
    "compress": (lambda x: np.compress(x > 1, x), f"{SHAPE}`compress`"),
    "extract": (lambda x: np.extract(x > 1, x), f"{SHAPE}`extract`"),
    "bincount": (lambda x: np.bincount(x.astype(np.int64)), f"{SHAPE}`bincount`"),
    "histogram": (lambda x: np.histogram(x, bins=2), f"{SHAPE}`histogram`"),
    "a mask": (lambda x: x[x > 1], f"{SHAPE}a boolean mask"),
    "a mask of rows": (lambda x: x.reshape(2, 2)[x[:2] > 1, :], f"{SHAPE}a boolean mask"),
    "put": (lambda x: np.put(np.zeros(4), [0, 2], x[:2]), f"`put` {INTO}"),
    "allclose": (lambda x: np.allclose(x, 1), "a decision by values, `allclose`"),
    "array_equiv": (lambda x: np.array_equiv(x, x), "a decision by values, `array_equiv`"),
    "dropout": (lambda x: minidl.dropout(minidl.Tensor(np.ones(4)), 0.5), "random numbers for an array that the step"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_row_can_express_is_refused(name):
    """Once, with the line of the step; what it returns stays right."""
    do, reason = REFUSED[name]

    def step(x):
        do(x.data)
        return x * 2

    run = minidl.capture(step)
    with pytest.warns(minidl.CaptureWarning) as told:
        found = [run(minidl.Tensor(np.array([1.0, 3.0, 0.0, i]))).tolist() for i in range(4)]
    assert found == [[2, 6, 0, 2 * i] for i in range(4)]
    assert len(told) == 1 and reason in str(told[0].message) and "test_capture_refusals.py:" in str(told[0].message)




def in_place(x, change):
    """A new array with what `change` makes of it."""
    y = x * 2
    change(y)
    return y


TAKEN = {
    "views": lambda x: np.sum(x.T.real) + np.add(*x.reshape(2, 2)).sum(),
    "shapes": lambda x: np.ones(np.shape(x)) * x * np.ndim(x),
    "types": lambda x: x.astype(np.result_type(x, np.float32)),
    "places": lambda x: np.where(x > 1, x, -x),
    "a mask as a factor": lambda x: x * (x > 1),
    "an index array": lambda x: x[np.array([3, 0, 0])],
    "several results": lambda x: np.add(*np.modf(x / 2)),
    "several views": lambda x: np.multiply(*np.split(x, 2)),
    "into what the step has computed": lambda x: np.add(x, 1, out=x * 2),
    "copied into it": lambda x: in_place(x, lambda y: np.copyto(y, x + 1)),
    "filled": lambda x: x + in_place(x, lambda y: y.fill(3)),
    "sorted": lambda x: in_place(x, lambda y: y.sort()),
    "put": lambda x: in_place(x, lambda y: y.put([0, 2], x[2:])),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_looks_like_them_and_has_rows_is_replayed(name):
    run = minidl.capture(lambda x: minidl.Tensor(TAKEN[name](x.data)))
    for i in range(4):
        x = np.array([1.0, 3.0, 0.5, i])
        assert np.array_equal(run(minidl.Tensor(x.copy())).numpy(), TAKEN[name](x))
    assert not run.replays.refused
    assert [record.replays > 0 for kept in run.replays.records.values() for record in kept] == [True]
