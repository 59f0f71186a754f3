"""Every differentiable op over drawn shapes and options: value, first and second derivative, fast against plain.

The default profile draws 200 trials per op for value and first derivative and 25 for the rest; HYPOTHESIS_PROFILE=ci
draws 200 of each, deep 1,000. Fixed cases of the same ops, in every memory order and compared with PyTorch, are in
``test_ops_table.py`` and ``test_references.py``.
"""

import importlib
import importlib.util

import pytest
import table_rows  # noqa: F401 (fills the table)
import table_rows_layers  # noqa: F401
import table_rows_losses  # noqa: F401
import table_rows_shapes  # noqa: F401
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from public_names import operations
from table_checks import REFERENCE_ROWS, check_fast, check_first, check_reference, check_second
from table_draws import ROWS, trials

from minidl.gradcheck.rows_everyday import ROWS_OF_EVERYDAY
from minidl.kernels.table import CPU

patient = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
often = settings(patient, max_examples=max(200, settings.default.max_examples))
each_op = pytest.mark.parametrize("name", ROWS)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True, scope="module")
def small_arrays_take_the_fast_forms():
    """Faster forms that leave small arrays to NumPy take them here: no other test would draw such arrays."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("numba") is not None:
            modules = {importlib.import_module(f"minidl.kernels.{name}") for name in CPU.values()}
            sizes = [(module, name) for module in modules for name in vars(module) if name.startswith("LARGE")]
            assert sizes, "no form names the size that it leaves to NumPy: see README.md, How to add an op"
            for module, name in sizes:
                patch.setattr(module, name, 0)
        yield


def test_every_differentiable_op_has_a_row():
    constant = operations("comparison") | operations("creation") | {"one_hot", "isclose", "nonzero"}
    composed = {case.op for case in ROWS_OF_EVERYDAY}  # outside the reading path: fixed cases, and PyTorch's samples
    assert set(ROWS) == operations() - constant - composed | {"getitem", "setitem"}


@each_op
@often
@given(data=st.data())
def test_value_and_first_derivative(name, data):
    check_first(data.draw(trials(name)))


@each_op
@patient
@given(data=st.data())
def test_second_derivative(name, data):
    check_second(data.draw(trials(name)))


@each_op
@patient
@given(data=st.data())
def test_fast_forms_equal_plain_ones(name, data):
    check_fast(data.draw(trials(name)))


@pytest.mark.parametrize("case", REFERENCE_ROWS, ids=lambda case: case.name)
def test_plain_forms_equal_reference(case):
    """Ties, NaN, infinities and empty inputs too; ``test_references.py`` does the same with the fast forms."""
    check_reference(case, "plain")
