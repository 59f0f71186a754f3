"""Data sets in memory and the stratified split."""

import numpy as np
import pytest

from minidl.data import ArrayDataset, Dataset, Subset, TensorDataset, stratified_split
from minidl.tensor import Tensor


def small(n=6):
    return ArrayDataset(np.arange(n * 12, dtype=np.uint8).reshape(n, 2, 2, 3), np.arange(n) % 3)


def test_items_and_batches_agree():
    dataset = small()
    images, labels = dataset.batch(np.array([4, 1]))
    for k, index in enumerate((4, 1)):
        image, label = dataset[index]
        np.testing.assert_array_equal(images[k], image)
        assert labels[k] == label and type(label) is int
    np.testing.assert_array_equal(Dataset.batch(dataset, [4, 1])[0], images)


def test_subset_of_a_subset():
    part = Subset(Subset(small(), [5, 3, 1]), [2, 0])
    assert len(part) == 2 and part.layout == "HWC" and part.class_names == ["0", "1", "2"]
    assert part.labels.tolist() == [1, 2] == [part[0][1], part[1][1]]
    np.testing.assert_array_equal(part.batch([0, 1])[0], small().images[[1, 5]])


def test_tensor_dataset_takes_tensors_and_arrays():
    x, y = TensorDataset(Tensor(np.eye(3)), [7, 8, 9])[2]
    assert x.tolist() == [0, 0, 1] and y == 9


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: TensorDataset(), "`tensors` is empty"),
        (lambda: TensorDataset(np.zeros(3), np.zeros(4)), r"different lengths: \[3, 4\]"),
        (lambda: TensorDataset(np.float32(1)), "0-d"),
        (lambda: ArrayDataset(np.zeros((2, 3, 3), np.uint8), [0, 1]), r"\(2, 3, 3\); accepted: \(N, H, W, C\)"),
        (lambda: ArrayDataset(np.zeros((2, 3, 3, 1), np.uint8), [0.0, 1.0]), "`labels` is float64"),
        (lambda: ArrayDataset(np.zeros((2, 3, 3, 1), np.uint8), [0, 5], ["a", "b"]), "from 0 to 5 but there are 2"),
        (lambda: Subset(small(), [0, 6]), "`indices` holds .6. but the data set has 6"),
        (lambda: small()[6], "`index` is 6"),
        (lambda: stratified_split([0, 1], 1.0), "`fraction` is 1.0"),
        (lambda: stratified_split([], 0.1), "nothing to split"),
        (lambda: stratified_split([0, 1, 2], 0.5), "too few items"),
    ],
)
def test_wrong_arguments_get_one_clear_line(make, words):
    with pytest.raises(ValueError, match=words) as error:
        make()
    assert "\n" not in str(error.value)


def test_split_is_stratified_disjoint_and_complete():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [1000, 500, 30, 7]))
    large, small_part = stratified_split(labels, 0.1, seed=3)
    assert sorted([*large, *small_part]) == list(range(len(labels)))
    assert len(small_part) == 154  # ceil of 153.7
    assert np.bincount(labels[small_part]).tolist() == [100, 50, 3, 1]


def test_split_depends_on_the_seed_only():
    labels = np.arange(100) % 10
    splits = [stratified_split(labels, 0.2, seed)[1].tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_every_class_keeps_an_item():
    large, small_part = stratified_split([0, 0, 0, 0, 0, 0, 0, 0, 1], 0.9)
    assert 8 in large and len(small_part) == 7
