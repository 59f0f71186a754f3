"""The learning-rate range test: it stops where steps begin to do harm, and leaves the network as it was."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from patience import HANG

import minidl
from minidl import nn, optim
from minidl.data import DataLoader, TensorDataset
from minidl.training import range_test
from minidl.training.range_test import RangeTest, draw

ROOT = Path(__file__).resolve().parents[1]


def bowl(curvature, start=3.0):
    """(model, optimizer, loader, loss) of ``curvature / 2 * w ** 2``, where descent diverges above 2 / curvature."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data[...] = start
    loader = DataLoader(TensorDataset(np.ones((3, 1), np.float32), np.zeros(3, np.int64)), batch_size=1)
    return model, optim.SGD(model.parameters(), lr=1.0), loader, lambda x, y: (model(x) ** 2).sum() * (curvature / 2)


@pytest.mark.parametrize("curvature", [0.5, 5.0, 100.0])
def test_it_turns_where_gradient_descent_does(curvature):
    model, *rest = bowl(curvature)
    found = range_test(model, *rest, lowest=1e-4, highest=100.0, steps=200)
    assert 0.5 < found.turn * curvature / 2 < 8 and len(found.rates) < 200  # it ran away before the end
    assert found.suggestion == pytest.approx(found.turn / 3, rel=0.35)
    assert model.weight.data.item() == 3.0 and len(found.rates) == len(found.losses) == len(found.smoothed)
    np.testing.assert_allclose(found.rates[1:] / found.rates[:-1], 1e6 ** (1 / 199))


def test_buffers_are_put_back_too():
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    before = {name: value.data.copy() for name, value in model.state_dict().items()}
    loader = DataLoader(TensorDataset(np.eye(2, dtype=np.float32).repeat(4, 0), np.arange(8) % 2), batch_size=4)
    range_test(
        model, optim.SGD(model.parameters(), lr=1.0), loader, lambda x, y: minidl.cross_entropy(model(x), y), steps=20
    )
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.data, before[name])


def test_what_cannot_be_tested_is_refused():
    model, optimizer, loader, loss = bowl(1.0, start=float("nan"))
    with pytest.raises(ValueError, match="the loss is nan after 1 steps"):
        range_test(model, optimizer, loader, loss)
    with pytest.raises(ValueError, match="`lowest` is 1.0, `highest` 0.1"):
        range_test(model, optimizer, loader, loss, lowest=1.0, highest=0.1)


def test_the_picture_shows_the_suggestion():
    rates = np.geomspace(1e-4, 1, 30)
    figure = draw(RangeTest(rates, np.linspace(2, 1, 30), np.linspace(2, 1, 30)), "a name with $ and\n")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and [line.get_label() for line in axes.lines][-1] == "suggestion, 0.3"


def call(*argv, cwd):
    command = [sys.executable, str(ROOT / "train.py"), "--lr-find", *argv]
    return subprocess.run(command, cwd=cwd, text=True, capture_output=True, timeout=HANG, env=dict(os.environ))


def test_from_the_command_line(tmp_path):
    done = call("--model", "cnn", "--width", "0.25", "--output", "found", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "" and "a peak rate to try: --lr 0." in done.stdout
    assert [path.name for path in tmp_path.rglob("*.*")] == ["lr_find.png"]  # and no run


def test_wrong_input(tmp_path):
    done = call("--data", "nowhere", cwd=tmp_path)
    assert done.returncode == 2 and "`data` is 'nowhere'" in done.stderr and done.stderr.count("\n") == 1
