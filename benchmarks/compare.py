"""Right before fast: each contender's results beside float64 ones, and the bounds beyond which nothing is timed.

The error of an array is ``max |found - wanted| / max |wanted|``; that of the gradients
``||found - wanted|| / ||wanted||`` over all parameters together, and "worst gradient" the
same for the parameter where it is largest, so that one wrong small parameter shows.

A float32 row is bound by what float32 itself costs in the same run: `FACTOR` times the error of eager
PyTorch, where it takes part. Honest float32 engines differ by up to 3, in the logits by up to 7, for they
add in other orders. An error that is tiny by luck rules no contender out: the bound is at least that of `FLOORS`,
twice what honest engines had at most. Nor is a wrong PyTorch an excuse: the bound is at most that
of `BOUNDS`, which holds alone for TF32 and bf16 and where PyTorch is missing.

Of the many decisions that ReLUs and pooling windows take, a few are so close that other rounding decides
otherwise. That, not rounding itself, is most of a gradient's error: 3e-3 to 1e-2 for every float32 engine at
batch 64, 2e-2 in a miniature, but 1e-5 where all decide alike, which is chance and makes the high floor. So
these bounds find a wrong kernel, not one that is slightly off: `convolution` and `ops` find that, whose
bounds are 3e-4 and 1e-4 since they compare one kernel at a time.
"""

from __future__ import annotations

import numpy as np

# By precision: how far logits, loss and gradients may be from float64 at most.
BOUNDS = {
    "float32": {"logits": 1e-3, "loss": 1e-4, "loss after a step": 1e-3, "gradients": 5e-2, "worst gradient": 0.1},
    "tf32": {"logits": 0.05, "loss": 5e-3, "loss after a step": 0.02, "gradients": 0.3, "worst gradient": 0.6},
    "bf16": {"logits": 0.5, "loss": 0.05, "loss after a step": 0.1, "gradients": 1.0, "worst gradient": 2.0},
}
FLOORS = {"logits": 1e-4, "loss": 1e-5, "loss after a step": 1e-3, "gradients": 2.5e-2, "worst gradient": 5e-2}
FACTOR = 6


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


def bounds(precision, yardstick):
    """Bounds of the errors, by what is compared; `yardstick` are those of eager PyTorch, or empty.

    Examples
    --------
    >>> bounds("float32", {"gradients": 0.0078125})["gradients"]  # 6 times as much
    0.046875
    """
    if precision != "float32":
        return BOUNDS[precision]
    own = {name: max(FLOORS[name], FACTOR * error) for name, error in yardstick.items()}
    return {name: min(most, own.get(name, most)) for name, most in BOUNDS[precision].items()}


def faults(errors, precision, yardstick=None):
    """Errors beyond their bounds, in words; empty if the contender may be timed."""
    most = bounds(precision, yardstick or {})
    return [f"{name} {value:.1e} > {most[name]:.1e}" for name, value in errors.items() if not value <= most[name]]
