"""Metrics, tables and pictures against scikit-learn and by hand."""

import time

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss
from tqdm import tqdm

import minidl
from minidl import nn
from minidl.data import ArrayDataset, DataLoader
from minidl.training import EpochMeter, Evaluation, NonFiniteLoss, Progress, as_tuple, evaluate, try_out
from minidl.training.progress import header
from minidl.training.report import classification_table
from minidl.training.state import as_good

HOSTILE = ["plain", "a\x1b[31mred", "two\nlines", "$\\frac{", "x" * 200, "<svg onload=x>", "日本"]


class Fixed(nn.Module):
    """Gives logits that do not depend on training; the first pixel says which row."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return minidl.tensor(self.logits[np.rint(x.data[:, 0, 0, 0] * 255).astype(int)])


def test_evaluate_matches_scikit_learn():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(50, 4)).astype(np.float32), generator.integers(0, 4, 50)
    pictures = np.zeros((50, 2, 2, 1), np.uint8)
    pictures[:, 0, 0, 0] = np.arange(50)
    model = Fixed(logits)
    result = evaluate(model, DataLoader(ArrayDataset(pictures, labels, list("abcd")), batch_size=16))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert result.accuracy == accuracy_score(labels, logits.argmax(1))
    assert result.loss == pytest.approx(log_loss(labels, probabilities, labels=range(4)), rel=1e-5)
    np.testing.assert_allclose(result.confidences, probabilities.max(1), rtol=1e-5)
    assert model.training  # the mode is put back


def test_evaluate_refuses_weights_that_ran_away():
    model = Fixed(np.full((1, 2), np.nan, np.float32))
    loader = DataLoader(ArrayDataset(np.zeros((1, 1, 1, 1), np.uint8), np.array([0]), ["a", "b"]))
    with pytest.raises(NonFiniteLoss, match="held-out"):
        evaluate(model, loader)


def test_meter_weighs_batches_by_size():
    meter = EpochMeter(3)
    for loss, labels in ((1.0, [0, 1, 1]), (5.0, [0])):
        meter.add(minidl.tensor(loss), minidl.tensor([[1.0, 0.0]] * len(labels)), minidl.tensor(labels), 0.1)
    assert meter.read() == (2.0, 0.5) and meter.images == 4


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_meter_names_the_step_of_a_bad_loss(bad):
    meter = EpochMeter(9, epoch=4)
    for loss, lr in ((1.0, 0.1), (bad, 0.2), (bad, 0.3)):
        meter.add(minidl.tensor(loss), minidl.zeros(1, 2), minidl.tensor([0]), lr)
    with pytest.raises(NonFiniteLoss, match="epoch 4, step 2 of 9, at learning rate 0.2"):
        meter.read()


def test_meter_names_the_step_of_gradients_that_were_clipped_to_nothing():
    """The norm of an infinite gradient is no number to divide by: clipping makes it NaN, and says nothing."""
    meter, weight = EpochMeter(9), minidl.tensor([1.0, 2.0], requires_grad=True)
    for gradient in ([3.0, 4.0], [float("inf"), 1.0], [3e38, 3e38]):
        weight.grad = minidl.tensor(gradient)
        with np.errstate(all="ignore"):
            minidl.nn.utils.clip_grad_norm_([weight], 1.0)
        meter.add(minidl.tensor(1.0), minidl.zeros(1, 2), minidl.tensor([0]), 0.1)
        meter.watch([weight, minidl.tensor(0.0, requires_grad=True)])
    with pytest.raises(NonFiniteLoss, match="^the norm of the gradients is nan in epoch 1, step 2 of 9, at learning"):
        meter.read()


def test_meter_reads_nothing_before_it_is_asked(monkeypatch):
    """No step waits for the device: the meter adds without turning a number into a Python one."""
    monkeypatch.setattr(minidl.Tensor, "item", lambda self: pytest.fail("item() in a step"))
    meter = EpochMeter(1)
    meter.add(minidl.tensor(1.0), minidl.zeros(1, 2), minidl.tensor([0]), 0.1)


def test_outputs_as_tuple():
    x = minidl.zeros(1)
    assert as_tuple(x) == (x,) and as_tuple((x, x)) == (x, x)


def test_trying_out_leaves_no_trace():
    class Data:
        channels, image_size = 3, 8

    minidl.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    state, before = minidl.get_rng_state(), {k: v.data.copy() for k, v in model.state_dict().items()}
    try_out(model, Data)
    assert minidl.get_rng_state() == state
    assert all((value.data == before[name]).all() for name, value in model.state_dict().items())
    Data.image_size = 2
    with pytest.raises(ValueError, match="does not fit images of 2x2 pixels"):
        try_out(model, Data)


@pytest.mark.parametrize(("epochs", "steps", "most", "expected"), [
    (3, 10, None, [10, 10, 10]), (3, 10, 10, [10]), (3, 10, 12, [10, 2]), (3, 10, 99, [10, 10, 10]),
])
def test_steps_of_each_epoch(epochs, steps, most, expected):
    progress = Progress(epochs, steps, most)
    assert [progress.steps(epoch) for epoch in range(progress.epochs)] == expected


def test_table_lines_are_as_wide_as_the_header(capsys):
    entry = dict(epoch=10, train_loss=1, train_accuracy=1, val_loss=2, val_accuracy=0.5, lr=0.1, seconds=3,
                 images_per_second=12345)
    Progress(100, 1).line(entry, best=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == header(entry) and len(lines[0]) == len(lines[1]) and len(lines[0]) < 90
    assert lines[1].split() == ["10/100", "1.0000", "100.00%", "2.0000", "50.00%", "1.00e-01", "3.0", "12345"]


def test_a_table_without_validation_has_no_column_for_it(capsys):
    meter = EpochMeter(1, 1)
    meter.put(0.25, 3, 4, 0.5)
    progress = Progress(1, 1)
    progress.training_seconds = 1.0
    progress.line(progress.entry(meter, None) | {"seconds": 1.0}, best=True)
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == "epoch train loss accuracy learn rate seconds images/s".split()
    assert line.split() == ["1/1", "0.2500", "75.00%", "5.00e-01", "1.0", "4", "*"]


def test_names_from_data_are_escaped_in_the_table():
    labels = np.arange(len(HOSTILE))
    table = classification_table(Evaluation(0, 1, labels, labels, labels), HOSTILE)
    assert "\x1b" not in table and "a\\x1b[31mred" in table and len(table.splitlines()) == len(HOSTILE) + 6



def accuracies_kept(accuracies, images):
    """The epochs, counted from 1, at which weights would be kept."""
    highest = [max(accuracies[: k + 1]) for k in range(len(accuracies))]
    return [k + 1 for k, accuracy in enumerate(accuracies) if as_good(accuracy, highest[k], images)]


@pytest.mark.parametrize(("accuracies", "images", "last_kept"), [
    ([0.5, 1.0, 0.99, 0.995], 144, 4),  # one lucky epoch on few images does not win
    ([0.5, 0.9, 0.7, 0.6], 144, 2),  # a real fall is noticed
    ([0.90, 0.95, 0.90], 5000, 2),
    ([0.9, 0.9, 0.9], 5000, 3),
    ([0.0, 0.0], 10, 2),
])
def test_the_best_epoch_is_the_latest_within_one_standard_error(accuracies, images, last_kept):
    assert accuracies_kept(accuracies, images)[-1] == last_kept


def test_the_first_epoch_is_always_kept():
    assert all(as_good(k / 10, k / 10, 10) for k in range(11))


def test_time_waited_for_data_is_that_between_asking_and_getting(monkeypatch):
    from minidl.training import progress

    clock = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])

    def slow():
        for seconds in (50, 3, 0, 1):  # the first is not counted: nothing could be done meanwhile
            clock[0] += seconds
            yield seconds

    waits = progress.Waits()
    for _ in waits.over(slow()):
        clock[0] += 4
    assert waits.seconds == 4 and waits.share == pytest.approx(4 / 20)


def test_the_bar_shows_how_long_was_waited_for_data(capsys, monkeypatch):
    monkeypatch.setattr("tqdm.tqdm", lambda *a, disable, **o: tqdm(*a, disable=False, **o))

    def batches():
        for k in range(3):
            time.sleep(0.02)
            yield k

    shown = Progress(1, 3, every=0)
    meter = EpochMeter(3)
    for _ in shown.track(batches(), meter):
        meter.put(0.5, 1, 2, 0.1)
    assert "% waiting for data" in capsys.readouterr().err
    assert shown.waits.seconds > 0.03
