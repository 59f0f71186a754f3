"""Random numbers of the loader: Philox's words, and independence of who asks."""

import numpy as np
import pytest

from minidl.data.random import ImageRandom, permutation, words_at
from minidl.philox import philox


def test_the_words_are_philoxs():
    words = words_at([1, 2**33 + 2], 3, 0, 5, seed=2**32 + 7)
    for k, index in enumerate((1, 2)):
        counter = [np.array([word], np.uint64) for word in (index, 3, 0, 5)]
        assert [int(word[k]) for word in words] == [int(word[0]) for word in philox(counter, (7, 1))]


def test_an_images_numbers_do_not_depend_on_its_batch():
    whole = ImageRandom(3, 5, np.arange(100))
    part = ImageRandom(3, 5, [17, 4])
    for k in (1, 5, 2):
        np.testing.assert_array_equal(whole.uniform(k)[[17, 4]], part.uniform(k))


@pytest.mark.parametrize("other", [(4, 5, 0), (3, 6, 0), (3, 5, 1), (3 + 2**32, 5, 0)])
def test_seed_epoch_and_index_all_matter(other):
    a, b = (ImageRandom(seed, epoch, [index]).uniform(4) for seed, epoch, index in ((3, 5, 0), other))
    assert not (a == b).any()


def test_draws_follow_one_another_and_are_uniform():
    random = ImageRandom(0, 0, np.arange(20_000))
    first, second = random.uniform(4), random.uniform(4)
    assert not (first == second).any(axis=1).any()
    for values in (first, second):
        assert values.dtype == np.float32 and values.min() >= 0 and values.max() < 1
        np.testing.assert_allclose(np.histogram(values, 16, (0, 1))[0] / values.size, 1 / 16, atol=0.004)
    assert abs(np.corrcoef(np.hstack([first, second]).T) - np.eye(8)).max() < 0.03


def test_integers_stay_below_their_bounds():
    values = ImageRandom(1, 1, np.arange(5000)).integers((9, 3), 2)
    assert [np.unique(column).tolist() for column in values.T] == [list(range(9)), [0, 1, 2]]


def test_permutation_is_fixed_for_all_time():
    assert permutation(8, seed=7, epoch=2).tolist() == permutation(8, 7, 2).tolist()
    assert sorted(permutation(1000, 1)) == list(range(1000))
    orders = {tuple(permutation(50, seed, epoch, purpose)) for seed in (0, 1) for epoch in (0, 1) for purpose in (1, 3)}
    assert len(orders) == 8
    assert permutation(8, seed=7, epoch=2).tolist() == [7, 1, 0, 3, 2, 6, 4, 5]
