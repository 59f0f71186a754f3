"""Two classifiers on the same images: which is better, and could it be chance?

Images that both get right, or both get wrong, say nothing about which is better. McNemar's
test looks at the others only: if neither were better, each of them would go either way
with probability 1/2. (Q. McNemar, 1947; the exact form is a binomial test.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.data.errors import check
from minidl.evaluation.scores import interval, resampled, surprise

ALPHA = 0.05


def compare_pair(labels: Sequence[int] | Array, first: Array, second: Array, seed: int = 0) -> dict[str, Any]:
    """McNemar's test and a paired bootstrap of two classifiers' answers to the same images.

    Parameters
    ----------
    labels : integer array, shape (N,)
    first, second : float arrays, shape (N, K)
        Probabilities.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``only_first`` and ``only_second``: how many images only one of them gets right;
        ``p``: McNemar's exact, two-sided; ``accuracy_difference`` and ``loss_difference``,
        first minus second, with 95 % intervals ``accuracy_interval`` and ``loss_interval``.

    Examples
    --------
    >>> right, wrong = np.eye(2)[[0] * 8], np.eye(2)[[1] * 8]
    >>> result = compare_pair([0] * 8, right, wrong)
    >>> result["only_first"], result["p"]
    (8, 0.0078125)
    """
    from scipy.stats import binomtest

    labels, first, second = np.asarray(labels), np.asarray(first, np.float64), np.asarray(second, np.float64)
    check(first.shape == second.shape and len(first) == len(labels) > 0,
          f"`first` has shape {first.shape}, `second` {second.shape}; expected a row for each of {len(labels)} labels")
    right = [(p.argmax(axis=1) == labels).astype(np.int64) for p in (first, second)]
    better = right[0] - right[1]
    losses = surprise(labels, first) - surprise(labels, second)
    only_first, only_second = int((better > 0).sum()), int((better < 0).sum())
    draws = [(better[i].mean(), losses[i].mean()) for i in resampled(len(labels), seed)]
    differing = only_first + only_second
    return {
        "only_first": only_first,
        "only_second": only_second,
        "p": float(binomtest(only_first, differing).pvalue) if differing else 1.0,
        "accuracy_difference": float(better.mean()),
        "accuracy_interval": interval([a for a, _ in draws]),
        "loss_difference": float(losses.mean()),
        "loss_interval": interval([b for _, b in draws]),
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests made together, raised so that all hold at once (S. Holm, 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, least = {}, 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return [adjusted[index] for index in range(len(p_values))]
