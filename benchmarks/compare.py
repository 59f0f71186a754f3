"""Right before fast: each contender's results beside float64 ones, and the bounds beyond which nothing is timed.

The error of an array is ``max |found - wanted| / max |wanted|``; that of the gradients
``||found - wanted|| / ||wanted||`` over all parameters together, and "worst gradient" the
same for the parameter where it is largest, so that one wrong small parameter shows.
"""

from __future__ import annotations

import numpy as np

# By precision: how far logits, loss and gradients may be from float64. Of the many decisions that ReLUs and pooling
# windows take, a few are so close that other rounding decides otherwise. That, not rounding itself, is most of a
# gradient's error: 5e-3 for every float32 engine at batch 64, but 1e-5 where all decide alike.
BOUNDS = {
    "float32": {"logits": 1e-3, "loss": 1e-4, "loss after a step": 1e-3, "gradients": 5e-2, "worst gradient": 0.1},
    "bf16": {"logits": 0.5, "loss": 0.05, "loss after a step": 0.1, "gradients": 1.0, "worst gradient": 2.0},
}


def largest(found, wanted):
    """Largest difference relative to the largest wanted value; infinity if any value is not finite."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def overall(found, wanted):
    """Norm of the difference relative to the wanted norm."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-30))


def errors(found, wanted):
    """Errors by what is compared, for two mappings of names to arrays; "grad/..." are gradients."""
    gradients = [name for name in wanted if name.startswith("grad/")]
    result = {name: largest(found[name], wanted[name]) for name in wanted if name not in gradients}
    if gradients:
        together = (np.concatenate([np.ravel(results[name]) for name in gradients]) for results in (found, wanted))
        result["gradients"] = overall(*together)
        result["worst gradient"] = max(overall(found[name], wanted[name]) for name in gradients)
    return result


def faults(errors, precision):
    """What is beyond its bound, in words; empty if the contender may be timed."""
    bounds = BOUNDS[precision]
    return [f"{name} {value:.1e} > {bounds[name]:.0e}" for name, value in errors.items() if not value <= bounds[name]]
