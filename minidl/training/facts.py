"""The facts in a checkpoint, which may come from a stranger: every value is looked at before it is used.

The rule of this file: a value is as one that this run would write, or the checkpoint is
refused. So no number from a file decides how much memory is asked for, and no wrong type
turns up in the middle of an epoch.
"""

from __future__ import annotations

from typing import Any

from minidl.data.errors import check, shown


def check_facts(facts: dict[str, Any], own: dict[str, Any], steps_per_epoch: int, validated: bool = True) -> None:
    """Hold `facts` from a file to the run's `own`, which have the same form.

    A run that is not `validated` may have entries with the figures of validation: an earlier version took them down.

    Raises
    ------
    ValueError
        Naming the first field that does not fit.
    """
    for name in ("param_groups", "schedule", "loader", "seconds"):
        check_like(name, facts[name], own[name])
    for name, value in [("epoch", facts["epoch"]), ("step", facts["step"])]:
        _check_count(name, value)
    for name, value in [("seed", facts["random"]["seed"]), ("layers", facts["random"]["layers"]),
                        *facts["random"]["uses"].items()]:
        _check_count(f"random {name}", value)
    _check_history(facts, validated)
    _check_place(facts, steps_per_epoch)


def check_like(name: str, found: Any, own: dict[str, Any]) -> None:
    """Raise a `ValueError` unless `found` has the keys, the lengths and the kinds of values of `own`.

    Examples
    --------
    >>> check_like("schedule", {"last_epoch": 3, "rates": [0.1]}, {"last_epoch": 0, "rates": [1.0]})
    >>> check_like("schedule", {"last_epoch": "three", "rates": [0.1]}, {"last_epoch": 0, "rates": [1.0]})
    Traceback (most recent call last):
    ValueError: `schedule last_epoch` is 'three'; accepted: a value like 0
    """
    if isinstance(own, dict):
        fits = isinstance(found, dict) and set(found) == set(own)
        inner = own if fits else ()
    elif isinstance(own, (list, tuple)):
        fits = isinstance(found, (list, tuple)) and len(found) == len(own)
        inner = range(len(own)) if fits else ()
    else:
        fits, inner = _kind(found) == _kind(own) or own is None and _kind(found) == "number", ()
    check(fits, f"`{shown(name)}` is {shown(repr(found)[:60])}; accepted: a value like {shown(repr(own)[:60])}")
    for key in inner:
        check_like(f"{name} {key}", found[key], own[key])


def _kind(value):
    """The kind of a value, one for all that may stand for one another, as 0 and 0.0; large integers have their own."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**64:
        return "large number"
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)


def _check_count(name, value):
    check(type(value) is int and 0 <= value < 2**64, f"`{shown(name)}` is {shown(repr(value)[:60])}; accepted: a count")


def _check_history(facts, validated):
    history, best = facts["history"], facts["best"]
    check(isinstance(history, list) and len(history) == facts["epoch"],
          f"`history` does not have one entry for each of {facts['epoch']} epochs")
    for number, entry in enumerate(history, 1):
        norms = {name: 0.0 for name in entry["gradient_norms"]}
        names = ENTRY + VALIDATION if validated or VALIDATION[0] in entry else ENTRY
        check_like(f"history {number}", entry, dict.fromkeys(names, 0.0) | {"gradient_norms": norms})
    check(best in (history or [None]), "`best` is no entry of `history`")


ENTRY = ("epoch", "train_loss", "train_accuracy", "lr", "seconds", "images_per_second")
VALIDATION = ("val_loss", "val_accuracy")


def _check_place(facts, steps_per_epoch):
    """The place in the epoch and the place in the data are one."""
    meter, loader = facts["meter"], facts["loader"]
    if meter is None:
        check(loader["epoch"] != facts["epoch"] or loader["batch"] == 0, "`loader` is within an epoch, the run is not")
        return
    check_like("meter norms", meter["norms"], {name: 0.0 for name in meter["norms"]})
    _check_count("meter steps", meter["steps"])
    _check_count("loader batch", loader["batch"])
    check(loader["epoch"] == facts["epoch"] and loader["batch"] <= meter["steps"] <= steps_per_epoch,
          f"`meter` and `loader` say epoch {loader['epoch']}, step {loader['batch']} of {meter['steps']}; "
          f"accepted: epoch {facts['epoch']}, at most {steps_per_epoch} steps")
