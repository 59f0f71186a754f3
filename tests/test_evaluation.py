"""Scores, calibration, comparison and cost against references that take one image, or one layer, at a time."""

import math

import numpy as np
import pytest

import minidl
import models
from minidl import data, nn
from minidl.evaluation import calibration, compare_pair, cost_of, interval, scores, top_k
from minidl.evaluation.census import census, class_means
from minidl.evaluation.comparison import holm
from minidl.evaluation.cost import layers_of

N, K = 211, 7
RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, K - 1, N)  # the last class never occurs
LOGITS = RNG.normal(0, 1, (N, K)) + 1.5 * np.eye(K)[LABELS]
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
NAMES = [f"class {k}" for k in range(K)]


def test_scores_against_counting():
    result = scores(LABELS, PROBABILITIES, NAMES)
    predictions = [max(range(K), key=lambda k: row[k]) for row in PROBABILITIES]
    for c, row in enumerate(result["classes"]):
        both = sum(t == p == c for t, p in zip(LABELS, predictions))
        taken, there = sum(p == c for p in predictions), sum(t == c for t in LABELS)
        assert row["name"] == NAMES[c] and row["images"] == there
        assert row["precision"] == pytest.approx(both / taken if taken else 0)
        assert row["recall"] == pytest.approx(both / there if there else 0)
        assert row["f1"] == pytest.approx(2 * both / (taken + there))
        assert result["confusion_matrix"][c][c] == both and sum(result["confusion_matrix"][c]) == there
    assert result["accuracy"] == pytest.approx(sum(t == p for t, p in zip(LABELS, predictions)) / N)
    assert result["loss"] == pytest.approx(-sum(math.log(p[t]) for p, t in zip(PROBABILITIES, LABELS)) / N)
    assert result["averages"]["macro"]["f1"] == pytest.approx(np.mean([row["f1"] for row in result["classes"]]))
    for k, share in result["top_k"].items():
        ranked = [sorted(range(K), key=lambda c: -row[c])[: int(k)] for row in PROBABILITIES]
        assert share == pytest.approx(sum(t in best for t, best in zip(LABELS, ranked)) / N)


def test_intervals_hold_the_estimate_and_shrink_with_more_images():
    few, many = scores(LABELS[:50], PROBABILITIES[:50], NAMES), scores(LABELS, PROBABILITIES, NAMES)
    for name, value in (("accuracy", many["accuracy"]), ("loss", many["loss"])):
        low, high = many["intervals"][name]
        assert low < value < high
        assert high - low < np.diff(few["intervals"][name])[0]
    assert scores(LABELS, PROBABILITIES, NAMES)["intervals"] == many["intervals"]
    perfect = scores(LABELS, np.eye(K)[LABELS], NAMES)["intervals"]["accuracy"]
    assert perfect == pytest.approx([1 / (1 + 1.959964**2 / N), 1])  # Wilson's: all right does not mean certain


def test_the_bootstrap_covers_the_truth_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        sample = rng.random(60) < 0.7
        low, high = interval([sample[rng.integers(0, 60, 60)].mean() for _ in range(200)])
        covered += low <= 0.7 <= high
    assert 175 <= covered <= 199


def test_ties_go_to_the_lower_class():
    assert top_k([1], np.array([[0.4, 0.4, 0.2]]), 1) == 0 and top_k([0], np.array([[0.4, 0.4, 0.2]]), 1) == 1


def test_calibration_against_counting():
    result = calibration(LABELS, PROBABILITIES, bins=10)
    total = 0.0
    for b in range(10):
        inside = [n for n in range(N) if b / 10 < PROBABILITIES[n].max() <= (b + 1) / 10]
        rows = [row for row in result["bins"] if row["low"] == pytest.approx(b / 10)]
        assert len(rows) == bool(inside)
        if inside:
            right = np.mean([PROBABILITIES[n].argmax() == LABELS[n] for n in inside])
            sure = np.mean([PROBABILITIES[n].max() for n in inside])
            assert rows[0]["images"] == len(inside) and rows[0]["accuracy"] == pytest.approx(right)
            total += len(inside) / N * abs(right - sure)
    assert result["ece"] == pytest.approx(total)


def test_certain_answers_fall_into_the_last_bin():
    result = calibration([0, 1], np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert [row["images"] for row in result["bins"]] == [2] and result["ece"] == pytest.approx(0.5)
    edge = calibration([0], np.array([[0.5, 0.5]]), bins=2)["bins"][0]
    assert (edge["low"], edge["high"]) == (0, 0.5)  # a bin holds its upper edge


def test_mcnemar_against_the_binomial_sum():
    worse = np.roll(PROBABILITIES, 1, axis=0)
    result = compare_pair(LABELS, PROBABILITIES, worse)
    right = [p.argmax(axis=1) == LABELS for p in (PROBABILITIES, worse)]
    b, c = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    expected = min(1.0, 2 * sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c))
    assert (result["only_first"], result["only_second"]) == (b, c) and result["p"] == pytest.approx(expected)
    assert result["accuracy_difference"] == pytest.approx(right[0].mean() - right[1].mean())
    low, high = result["accuracy_interval"]
    assert 0 < low < result["accuracy_difference"] < high and result["p"] < 1e-6


def test_a_classifier_equals_itself():
    result = compare_pair(LABELS, PROBABILITIES, PROBABILITIES)
    assert result["p"] == 1 and result["accuracy_interval"] == [0, 0] and result["loss_difference"] == 0


def test_holm_against_its_definition():
    assert holm([0.01, 0.01, 0.5]) == [0.03, 0.03, 0.5] and holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"`probabilities` has shape \(211, 7\); expected \(210, 7\)"):
        scores(LABELS[:210], PROBABILITIES, NAMES)
    with pytest.raises(ValueError, match="`labels` has shape"):
        scores([], np.zeros((0, K)), NAMES)
    with pytest.raises(ValueError, match="`first` has shape"):
        compare_pair(LABELS, PROBABILITIES, PROBABILITIES[:3])


# ---------------------------------------------------------------- cost

PAPER = {  # multiply-adds in millions, of table 1's rows
    "conv1": 118.0, "3a": 128.0, "3b": 304.3, "4a": 73.6, "4b": 87.9, "4c": 99.9, "4d": 118.5, "4e": 170.0, "5a": 51.1,
    "5b": 70.7,
}  # fmt: skip


def test_the_paper_s_network_costs_what_the_paper_says():
    rows = cost_of(models.create("googlenet-paper", aux_logits=True), (1, 3, 224, 224))
    heads = [row for row in rows if row.training_only]
    assert [row.name for row in heads] == ["aux1", "aux2"] and [row.sources for row in heads] == [
        ("inception4a",), ("inception4d",)]  # fmt: skip
    assert sum(row.parameters for row in rows) == 13_378_280
    assert sum(row.parameters for row in rows if row not in heads) == 6_998_552
    found = {row.name.removeprefix("inception"): row.multiply_adds / 1e6 for row in rows}
    assert {name: round(found[name], 1) for name in PAPER} == PAPER
    assert round(found["conv2"] + found["conv3"], 1) == 359.7


@pytest.mark.parametrize("name, parameters, gmac", [
    ("googlenet", 5_871_914, 1.447), ("googlenet-kuangliu", 6_166_250, 1.522),
])  # fmt: skip
def test_the_small_networks_cost_what_they_should(name, parameters, gmac):
    rows = cost_of(models.create(name), (1, 3, 32, 32))
    assert sum(row.parameters for row in rows) == parameters
    assert round(sum(row.multiply_adds for row in rows) / 1e9, 3) == gmac


def test_kept_memory_of_a_chain_is_counted_once():
    """Of a convolution its input, of a ReLU its output; what a layer before holds already costs nothing."""
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Sigmoid())
    rows = cost_of(net, (3, 2, 8, 8))
    pixels = 3 * 8 * 8 * 4  # bytes of one channel of the batch
    assert rows[0].kept >= 2 * pixels and rows[0].kept < 3 * pixels
    assert rows[3].kept == 4 * pixels  # the sigmoid's output
    assert sum(row.kept for row in rows) <= (2 + 4 + 4 + 4) * pixels


def test_a_view_costs_nothing():
    net = nn.Sequential(nn.Linear(2, 12), nn.Sigmoid(), nn.Unflatten(1, (3, 4)), nn.Linear(4, 2, bias=False))
    assert [row.kept for row in cost_of(net, (5, 2))][1:] == [5 * 12 * 4, 0, 0]  # bytes of the sigmoid's output alone


def test_a_layer_that_is_called_twice_is_counted_once():
    layer = nn.Linear(6, 6)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    rows = cost_of(net, (2, 6))
    assert [row.name for row in rows] == ["0", "1", "0"] and sum(row.parameters for row in rows) == 42
    assert sum(row.multiply_adds for row in rows) == sum(nn.utils.count_multiply_adds(net, minidl.zeros(1, 6)).values())


def test_cost_leaves_no_trace():
    net = models.create("googlenet", width=0.125)
    before = {name: value.data.copy() for name, value in net.state_dict().items()}
    state = minidl.get_rng_state()
    rows = cost_of(net, (2, 3, 16, 16), repeats=1)
    assert minidl.get_rng_state() == state and net.training
    assert all((value.data == before[name]).all() for name, value in net.state_dict().items())
    assert all(row.forward > 0 and row.backward > 0 for row in rows) and not net.has_hooks
    assert [row.name for row in rows] == [name for name, _ in layers_of(net)]


# ---------------------------------------------------------------- census


def planted():
    """A set whose test part holds one training image as it is, one a little changed, and one that is only similar."""
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (40, 20, 20, 3), np.uint8)
    test = rng.integers(0, 256, (10, 20, 20, 3), np.uint8)
    test[3] = train[17]
    test[5] = np.clip(train[21].astype(int) + rng.integers(-9, 10, train[21].shape), 0, 255)
    test[7] = train[30] // 2 + test[7] // 2
    labels = np.arange(40) % 3
    parts = [data.ArrayDataset(images, labels[: len(images)], ["a", "b", "c"]) for images in (train, test[:1], test)]
    return data.DataSplits("planted", *parts, ("a", "b", "c"), 3, 20, (0.5,) * 3, (0.3,) * 3)


def test_duplicates_across_parts_are_found():
    found = census(planted())
    rows = {tuple(row["between"]): row for row in found["duplicates"]}
    row = rows["train", "test"]
    assert (row["exact"], row["near"]) == (1, 1)
    assert [pair["indices"] for pair in row["pairs"][:3]] == [[17, 3], [21, 5], [30, 7]]
    assert row["pairs"][0]["correlation"] == pytest.approx(1) and row["pairs"][2]["correlation"] < 0.9
    assert rows["val", "test"]["exact"] == 1  # the first image of test is the one of val
    assert found["counts"] == {"train": [14, 13, 13], "val": [1, 0, 0], "test": [4, 3, 3]}


def test_pixels_and_means_against_numpy():
    splits = planted()
    images = splits.train.images
    found = census(splits)
    for c, row in enumerate(found["pixels"]):
        values = images[..., c] / 255
        assert row["mean"] == pytest.approx(values.mean()) and row["std"] == pytest.approx(values.std())
        expected = np.histogram(images[..., c], np.arange(0, 257, 8))[0] / values.size
        np.testing.assert_allclose(row["histogram"], expected)
    means, counts = class_means(splits.train, 3)
    np.testing.assert_array_equal(means[1], np.rint(images[1::3].mean(axis=0)))
    assert counts.tolist() == [14, 13, 13]


def test_images_without_contrast_are_no_duplicates():
    flat = data.ArrayDataset(np.full((3, 8, 8, 1), 7, np.uint8), np.zeros(3, int), ["a"])
    other = data.ArrayDataset(np.full((3, 8, 8, 1), 9, np.uint8), np.zeros(3, int), ["a"])
    found = census(data.DataSplits("flat", flat, other, other, ("a",), 1, 8, (0.5,), (0.3,)))
    assert [(row["exact"], row["near"]) for row in found["duplicates"]] == [(0, 0), (0, 0), (3, 0)]
