"""Every row of the table against values that PyTorch computed once (see ``references/regenerate.py``)."""

from pathlib import Path

import numpy as np
import pytest
from pytorch_table import Ours, assert_agree, derivatives
from pytorch_rows_layers import ROWS
from pytorch_training_rows import (
    LAYERS,
    OPTIMISERS,
    SCHEDULES,
    SEEDS,
    every_run,
    run_layer,
    run_optimiser,
    run_schedule,
)
from safetensors.numpy import load_file

from minidl import nn, optim


class OursTraining(Ours):
    """minidl with its modules and optimisers."""

    nn, optim = nn, optim

FOLDER = Path(__file__).parent / "references"


def load(name):
    """{row: {key: array}}"""
    rows = {}
    for name, array in load_file(FOLDER / name).items():
        row, _, key = name.rpartition("|")
        rows.setdefault(row, {})[key] = array
    return rows


@pytest.fixture(scope="module")
def references():
    return load("ops.safetensors")


@pytest.fixture(scope="module")
def training():
    return load("training.safetensors")


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


def check(found, expected, tolerance=1e-9):
    assert found.keys() == expected.keys()
    for key in found:
        np.testing.assert_allclose(found[key], expected[key], rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_reference(name, training):
    check(run_layer(OursTraining(), name), training[f"layer {name}"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_ten_steps_of_an_optimiser_equal_reference(name, seed, training):
    check(run_optimiser(OursTraining(), name, seed), training[f"{name} {seed}"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_ten_steps_of_a_schedule_equal_reference(name, seed, training):
    check(run_schedule(OursTraining(), name, seed), training[f"{name} {seed}"])


@pytest.mark.filterwarnings("ignore")
def test_the_references_are_what_pytorch_says_today(training):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from pytorch_library import Theirs

    for row, found in every_run(Theirs()):
        check(found, training[row], 1e-12)
