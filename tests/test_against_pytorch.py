"""Every row of the table against PyTorch itself, where it is installed."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from pytorch_library import Theirs  # noqa: E402
from pytorch_table import Ours, assert_agree, derivatives  # noqa: E402
from pytorch_rows_layers import ROWS  # noqa: E402

from minidl.dispatch import using  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)]


def compare(case, dtype, tolerance):
    with np.errstate(all="ignore"):
        ours = derivatives(Ours(), case, dtype)
    assert_agree(ours, derivatives(Theirs(), case, dtype), tolerance)


def test_equals_pytorch(case):
    compare(case, np.float64, case.tolerance)


def test_plain_forms_equal_pytorch(case):
    with using("plain"):
        compare(case, np.float64, case.tolerance)


def test_equals_pytorch_in_single_precision(case):
    compare(case, np.float32, case.single)
