"""Which algorithm computes which convolution: one table, read from the top, the first row that fits.

The table knows shapes only. It never times anything, so a network runs the same way, and
gives the same bits, today and tomorrow. Print it, or switch rows off:

    print(algorithms.table())
    with algorithms.override(winograd_f4_3=False):
        ...

``MINIDL_WINOGRAD=0`` switches both Winograd rows off from the start: they trade a little
precision (about 2 to 4 times the rounding error) for a quarter of the multiplications. Theirs
is float32 arithmetic only; an infinity or NaN spreads over its tile of the output, the infinity
perhaps as NaN, and inputs beyond about 1e36 overflow. The table counts the channels of a group.
Groups of channels are convolutions of their own, on slices that cost no copies: the last row
fits every convolution of one group, and one of many groups is *divided* into those, unless
a row takes it as a whole. A row's functions may still decline an array (Winograd takes
float32 only); then the next row that fits is taken.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from typing import Callable, NamedTuple


class Case(NamedTuple):
    """One convolution: what the table's rows look at.

    `inputs` and `outputs` are the channels of a group; `height` and `width` are those of the output of the
    forward convolution.
    """

    stage: str  # "forward", "input_grad" or "weight_grad"
    images: int
    inputs: int  # channels
    outputs: int
    kernel: tuple
    stride: tuple
    dilation: tuple
    height: int
    width: int
    groups: int = 1


class Rule(NamedTuple):
    """A row: the algorithm's name, when it is taken (in words and as a function), and its modules."""

    name: str
    when: str
    fits: Callable[[Case], bool]
    module: str
    weight_module: str
    implied: tuple = ()  # options that the functions need not be told


def _winograd(case, window, step):
    """Whether Winograd's tiles of `step` pixels pay: there must be enough of them to transform the weights for."""
    dense = case.kernel == (window, window) and case.stride == case.dilation == (1, 1)
    tiles = case.images * -(-case.height // step) * -(-case.width // step)
    enough = 4 if case.stage == "weight_grad" else 16
    return case.groups == 1 and dense and min(case.inputs, case.outputs) >= 16 and tiles >= enough


RULES = (
    Rule(
        "winograd_f4_3",
        "3x3, stride 1, 16 channels or more in and out, 16 tiles of 4x4 or more (gradient to the weight: 4)",
        lambda case: _winograd(case, 3, 4),
        "winograd_cpu",
        "winograd_weight_cpu",
        ("stride", "dilation"),
    ),
    Rule(
        "winograd_f2_5",
        "5x5, stride 1, 16 channels or more in and out, 16 tiles of 2x2 or more (gradient to the weight: 4)",
        lambda case: _winograd(case, 5, 2),
        "winograd_cpu",
        "winograd_weight_cpu",
        ("stride", "dilation"),
    ),
    Rule(
        "depthwise",
        "groups of one channel in and out, all of them at once",
        lambda case: case.groups > 1 and case.inputs == case.outputs == 1,
        "depthwise_cpu",
        "depthwise_cpu",
    ),
    Rule(
        "direct",
        "every other window; 1x1 is one matrix product",
        lambda case: case.groups == 1,
        "convolution_direct_cpu",
        "convolution_weight_cpu",
    ),
)

def _off_from_the_start():
    given = os.environ.get("MINIDL_WINOGRAD", "1")
    if given not in ("0", "1"):
        raise ValueError(f"MINIDL_WINOGRAD is {given!r}; accepted: 0, 1")
    return frozenset({"winograd_f4_3", "winograd_f2_5"} if given == "0" else ())


_off = _off_from_the_start()


def switched_off():
    """The names of the rows that are not used at present."""
    return _off


def algorithms(case):
    """The names of the rows that fit `case`, the preferred one first.

    Examples
    --------
    >>> stem = Case("forward", 64, 3, 192, (3, 3), (1, 1), (1, 1), 32, 32)
    >>> algorithms(stem)
    ['direct']
    """
    return [rule.name for rule in RULES if rule.name not in _off and rule.fits(case)]


def divided(case):
    """`case` and 1 where a row takes all its groups at once; else the case of one group, and how many there are.

    Examples
    --------
    >>> case = Case("forward", 64, 1, 1, (3, 3), (1, 1), (1, 1), 32, 32, groups=128)
    >>> divided(case)[1], divided(case._replace(inputs=4))[1]
    (1, 128)
    """
    return (case, 1) if algorithms(case) else (case._replace(groups=1), case.groups)


def run(case, *args, **options):
    """Compute `case` with the first row that fits it and takes the arguments."""
    for rule in RULES:
        if rule.name not in _off and rule.fits(case):
            result = _function(rule, case.stage)(*args, **{k: v for k, v in options.items() if k not in rule.implied})
            if result is not NotImplemented:
                return result
    return NotImplemented


FUNCTIONS = {"forward": "conv2d_launch", "input_grad": "conv2d_input_grad", "weight_grad": "conv2d_weight_grad"}


@functools.cache
def _function(rule, stage):
    """The function of a row for a stage; its module is imported when it is first needed."""
    module = rule.weight_module if stage == "weight_grad" else rule.module
    return getattr(importlib.import_module(f"minidl.kernels.{module}"), FUNCTIONS[stage])


@contextlib.contextmanager
def override(**rows):
    """Switch rows of the table off (``name=False``) or on again for the block.

    Raises
    ------
    ValueError
        If there is no such row, or it is the last one, which everything falls back on.
    """
    global _off
    names = [rule.name for rule in RULES[:-1]]
    unknown = [name for name in rows if name not in names]
    if unknown:
        raise ValueError(f"`override` of {', '.join(unknown)}; accepted: {', '.join(names)}")
    before = _off
    _off = (_off | {name for name, on in rows.items() if not on}) - {name for name, on in rows.items() if on}
    try:
        yield
    finally:
        _off = before


def table():
    """The table as text.

    Examples
    --------
    >>> print(table())  # doctest: +ELLIPSIS
    winograd_f4_3  3x3, stride 1...
    winograd_f2_5  5x5, stride 1...
    depthwise      groups of one channel...
    direct         every other window; 1x1 is one matrix product
    """
    width = max(len(rule.name) for rule in RULES)
    return "\n".join(
        f"{rule.name:{width}}  {rule.when}" + (" (switched off)" if rule.name in _off else "") for rule in RULES
    )
