"""Accuracy, top-k, precision, recall and F1, with intervals that say how far chance could have moved them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minidl.backend import Array
from minidl.data.errors import check
from minidl.evaluation.calibration import calibration

LEVEL, RESAMPLES = 0.95, 1000


def scores(
    labels: Sequence[int] | Array, probabilities: Array, class_names: Sequence[str], loss: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Everything that is said about a classifier's answers.

    Parameters
    ----------
    labels : integer array, shape (N,)
    probabilities : float array, shape (N, K)
    class_names : sequence of K str
    loss : float, optional
        Cross-entropy computed from the logits; the default takes it from `probabilities`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``images``, ``accuracy``, ``top_k``, ``loss``, ``intervals`` (95 %), ``averages`` (macro
        and weighted), ``classes`` (a row per class), ``confusion_matrix`` (rows are true
        classes), ``calibration``.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Examples
    --------
    >>> result = scores([0, 1, 1], np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), ["cat", "dog"])
    >>> round(result["accuracy"], 3), result["classes"][1]["recall"], result["confusion_matrix"]
    (0.667, 0.5, [[1, 0], [1, 1]])
    """
    from sklearn.metrics import confusion_matrix

    labels, probabilities = _checked(labels, probabilities, class_names)
    K, predictions = len(class_names), probabilities.argmax(axis=1)
    rows, averages = per_class(labels, predictions, class_names)
    own_loss = surprise(labels, probabilities).mean()
    return {
        "images": len(labels),
        "accuracy": float((predictions == labels).mean()),
        "top_k": {str(k): top_k(labels, probabilities, k) for k in (1, 2, 3, 5) if k < K},
        "loss": float(own_loss if loss is None else loss),
        "intervals": _intervals(labels, probabilities, seed),
        "averages": averages,
        "classes": rows,
        "confusion_matrix": confusion_matrix(labels, predictions, labels=range(K)).tolist(),
        "calibration": calibration(labels, probabilities),
    }


def _checked(labels, probabilities, class_names):
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    check(labels.ndim == 1 and len(labels) > 0, f"`labels` has shape {labels.shape}; expected (N,), N at least 1")
    expected = len(labels), len(class_names)
    check(probabilities.shape == expected, f"`probabilities` has shape {probabilities.shape}; expected {expected}")
    return labels, probabilities


def surprise(labels: Array, probabilities: Array) -> Array:
    """Minus the logarithm of the probability given to the true class, shape (N,); the mean is the cross-entropy."""
    given = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(given, np.finfo(np.float32).tiny))


def top_k(labels: Sequence[int] | Array, probabilities: Array, k: int) -> float:
    """Share of images whose class is among the `k` most probable; of equal probabilities the lower class comes first.

    Examples
    --------
    >>> top_k([2, 0], np.array([[0.5, 0.3, 0.2], [0.3, 0.3, 0.4]]), 2)
    0.5
    """
    order = np.argsort(-np.asarray(probabilities), axis=1, kind="stable")[:, :k]
    return float((order == np.asarray(labels)[:, None]).any(axis=1).mean())


def per_class(
    labels: Array, predictions: Array, class_names: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Precision, recall and F1 of every class, and their averages over classes (macro) and over images (weighted).

    Returns
    -------
    rows : list of dict
        ``name``, ``precision``, ``recall``, ``f1``, ``images``; 0 where a class was never predicted, or never there.
    averages : dict of dict
    """
    from sklearn.metrics import precision_recall_fscore_support

    options = dict(labels=range(len(class_names)), zero_division=0)
    columns = precision_recall_fscore_support(labels, predictions, **options)
    fields = "precision", "recall", "f1"
    rows = [
        {"name": name, **dict(zip(fields, map(float, values))), "images": int(images)}
        for name, *values, images in zip(class_names, *columns)
    ]
    averages = {}
    for kind in ("macro", "weighted"):
        values = precision_recall_fscore_support(labels, predictions, average=kind, **options)
        averages[kind] = dict(zip(fields, map(float, values)))
    return rows, averages


def interval(values: Array) -> list[float]:
    """The middle 95 % of bootstrap values: [low, high] (percentile method; B. Efron, 1979)."""
    return [float(v) for v in np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]


def resampled(n: int, seed: int = 0, times: int = RESAMPLES) -> Iterator[Array]:
    """Index arrays of shape (n,), drawn with replacement: what another `n` images might have been."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, n, n) for _ in range(times))


def _intervals(labels, probabilities, seed):
    """95 % intervals: of the accuracy Wilson's, which is not empty where all are right; else by the bootstrap."""
    from scipy.stats import binomtest

    predictions, losses = probabilities.argmax(axis=1), surprise(labels, probabilities)
    right, n = int((predictions == labels).sum()), len(labels)
    low, high = binomtest(right, n).proportion_ci(LEVEL, "wilson")
    f1, loss = zip(*((_macro_f1(labels[i], predictions[i], probabilities.shape[1]), losses[i].mean())
                     for i in resampled(n, seed)))
    return {"accuracy": [float(low), float(high)], "macro_f1": interval(f1), "loss": interval(loss)}


def _macro_f1(labels, predictions, K):
    """2 right / (true + predicted) of each class, averaged; scikit-learn's takes a thousand times too long here."""
    right = np.bincount(labels[labels == predictions], minlength=K)
    both = np.bincount(labels, minlength=K) + np.bincount(predictions, minlength=K)
    return float((2 * right / np.maximum(both, 1)).mean())
