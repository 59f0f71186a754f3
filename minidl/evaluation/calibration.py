"""Calibration: of the answers given with 80 % confidence, 80 % should be right.

C. Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.backend import Array

BINS = 15


def calibration(labels: Sequence[int] | Array, probabilities: Array, bins: int = BINS) -> dict[str, Any]:
    """Expected calibration error, and the bins of the reliability diagram.

    ECE is the mean over images of |accuracy - confidence| of the image's bin, where a bin
    holds the images whose confidence lies in (low, high].

    Returns
    -------
    dict
        ``ece``, and ``bins``: a dict for each bin that is not empty, with ``low``, ``high``,
        ``images``, ``confidence`` and ``accuracy``.

    Examples
    --------
    >>> result = calibration([0, 0], np.array([[0.75, 0.25], [0.25, 0.75]]), bins=2)
    >>> result["ece"], result["bins"][0]["accuracy"]
    (0.25, 0.5)
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    confidences, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.digitize(confidences, edges, right=True) - 1, 0, bins - 1)
    rows = []
    for b in np.unique(places):
        inside = places == b
        rows.append({
            "low": float(edges[b]),
            "high": float(edges[b + 1]),
            "images": int(inside.sum()),
            "confidence": float(confidences[inside].mean(dtype=np.float64)),
            "accuracy": float(right[inside].mean()),
        })  # fmt: skip
    gaps = [row["images"] * abs(row["accuracy"] - row["confidence"]) for row in rows]
    return {"ece": float(sum(gaps) / len(labels)), "bins": rows}
