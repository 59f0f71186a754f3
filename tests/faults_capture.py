"""Seeded faults in captured steps: guards, errors in the middle of a call, the order of a sum."""

import pytest
from faults import after, fault, instead, test_of

try:
    import test_capture as steps
    import test_capture_native as native

    from minidl.kernels.cpu.capture import work
    from minidl.kernels.cpu.capture.guards import Guards
    from minidl.kernels.cpu.capture.program import Stretch
except (ImportError, pytest.skip.Exception):
    HAVE_NUMBA = False
else:
    HAVE_NUMBA = True


def passing_errors_over(right, self):
    """A stretch that ends where a row has raised an error."""
    rows, self.rows = self.rows, []
    try:
        right(self)
    finally:
        self.rows = rows


def faults():
    """The rows of the table."""
    fault(
        "capture cpu",
        "whatever changed outside, a record is replayed",
        instead(Guards, "changed", lambda right, self: None),
        steps.test_what_changes_from_outside_is_seen,
    )
    fault(
        "capture cpu",
        "rows after an error in a call are left out",
        instead(Stretch, "run", passing_errors_over),
        test_of(native.test_statistics_that_are_not_finite_are_left_to_python, float("inf")),
    )
    fault(
        "capture cpu",
        "a sum adds its lines from the last to the first",
        after(work, "sum_of", lambda found, *a: found and (found[0], *found[:0:-1])),
        test_of(native.test_the_work_of_numpy_has_the_same_bits, "sum over the first", "dense"),
    )


if HAVE_NUMBA:
    faults()
