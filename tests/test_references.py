"""Every row of the table against values that PyTorch computed once (see ``references/regenerate.py``)."""

from pathlib import Path

import numpy as np
import pytest
from pytorch_rows import Ours, assert_agree, derivatives
from pytorch_rows_layers import ROWS
from safetensors.numpy import load_file

PATH = Path(__file__).parent / "references" / "ops.safetensors"


@pytest.fixture(scope="module")
def references():
    rows = {}
    for name, array in load_file(PATH).items():
        row, _, key = name.rpartition("|")
        rows.setdefault(row, {})[key] = array
    return rows


def test_every_row_has_reference_data(references):
    assert references.keys() == {case.name for case in ROWS}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_equals_reference(case, references):
    expected = {key: value for key, value in references[case.name].items() if not key.startswith("x")}
    for i, x in enumerate(case.arrays()):
        assert np.array_equal(x, references[case.name][f"x{i}"], equal_nan=True), "the row's inputs have changed"
    with np.errstate(all="ignore"):
        assert_agree(derivatives(Ours(), case), expected, case.tolerance)
