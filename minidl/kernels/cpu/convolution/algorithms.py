"""The choice of an algorithm for a convolution: one table, read from the top, the first row that fits.

The table knows shapes and dtypes only. It never times anything, so a network runs the same way, and
gives the same bits, today and tomorrow. Print it, or switch rows off:

    print(algorithms.table())
    print(algorithms.chosen((64, 192, 32, 32), (208, 192, 3, 3), padding=1))
    with algorithms.override(winograd_f4_3=False):
        ...

``MINIDL_WINOGRAD=0`` switches both Winograd rows off from the start: they trade a little
precision (about 2 to 4 times the rounding error) for fewer multiplications: 4 times fewer for 3x3
windows, 2.8 times for 5x5. They compute in float32 only; an infinity or NaN spreads over its tile
of the output, the infinity perhaps as NaN, and inputs beyond about 1e36 overflow. Where neighbouring
pixels share a vector it spreads to those, as NaN. The table counts the channels of a group.
Groups of channels are convolutions of their own, on slices that cost no copies: the last row
fits every convolution of one group, and one of many groups is *divided* into those, unless
a row takes it as a whole. A row's functions may still decline arrays that lie in an unusual
way; then the next row that fits is taken.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import Callable, NamedTuple

from minidl.checks import positive_pair
from minidl.kernels.cpu.convolution import depthwise, direct, neighbours, weight, winograd_forward, winograd_weight
from minidl.kernels.cpu.tile.sweep import TileSize
from minidl.ops.geometry import output_size, paddings


class ConvolutionCase(NamedTuple):
    """One convolution: what the table's rows look at.

    `inputs` and `outputs` are the channels of a group; `height` and `width` are those of the output of the
    forward convolution. `images` is 1 for any number of them, where that shall not matter.
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
    dtype: str = "float32"


class Condition(NamedTuple):
    """One requirement of a row, in words and as a function."""

    words: str
    holds: Callable[[ConvolutionCase], bool]


class Rule(NamedTuple):
    """A row: the algorithm's name, when it is taken, and its three functions, which all rows have alike.

    ``prepare_forward(x, weight, bias, stride, padding, dilation, relu, out)`` returns a Launch, to be called with the
    addresses of arrays like `x` and `out`, as often as wanted. The two gradients are computed at once:
    ``input_grad(grad, weight, input_shape, stride, padding, dilation, out, accumulate)`` and
    ``weight_grad(grad, x, weight_shape, stride, padding, dilation)``. All take channels-last arrays.
    """

    name: str
    conditions: tuple
    prepare_forward: Callable
    input_grad: Callable
    weight_grad: Callable

    @property
    def when(self):
        """The conditions in words."""
        return ", ".join(condition.words for condition in self.conditions)

    def fits(self, case):
        """Return whether all conditions hold."""
        return all(condition.holds(case) for condition in self.conditions)


def _window(size):
    def holds(case):
        return case.kernel == (size, size) and case.stride == case.dilation == (1, 1) and case.groups == 1

    return Condition(f"{size}x{size}, stride 1", holds)


def _channels(least):
    return Condition(f"{least} channels or more in and out", lambda case: min(case.inputs, case.outputs) >= least)


def _tiles(size, least, least_for_weight):
    """Enough tiles of the output to make up for transforming the weights."""

    def holds(case):
        tiles = case.images * -(-case.height // size) * -(-case.width // size)
        return tiles >= (least_for_weight if case.stage == "weight_grad" else least)

    words = f"{least} tiles of {size}x{size} or more (gradient with respect to the weight: {least_for_weight})"
    return Condition(words, holds)


FLOAT32 = Condition("float32", lambda case: case.dtype == "float32")
ONE_CHANNEL = Condition(
    "groups of one channel in and out, all of them at once",
    lambda case: case.groups > 1 and case.inputs == case.outputs == 1,
)
ONE_GROUP = Condition("every other window; 1x1 is one matrix product", lambda case: case.groups == 1)
FEW_CHANNELS = Condition(
    "half a vector of channels or less out (gradient with respect to the input: in)",
    lambda case: 2 * (case.inputs if case.stage == "input_grad" else case.outputs) <= TileSize.of(case.dtype).lanes,
)
SEVERAL_COLUMNS = Condition(
    "stride 1, several columns",
    lambda case: case.kernel[1] > 1 and case.stride == case.dilation == (1, 1) and case.groups == 1,
)
WINOGRAD = winograd_forward.prepare_forward, winograd_forward.input_grad, winograd_weight.weight_grad
DEPTHWISE = depthwise.prepare_forward, depthwise.input_grad, depthwise.weight_grad
NEIGHBOURS = neighbours.prepare_forward, neighbours.input_grad, neighbours.weight_grad

RULES = (
    Rule("winograd_f4_3", (_window(3), FLOAT32, _channels(16), _tiles(4, 16, 4)), *WINOGRAD),
    Rule("winograd_f2_5", (_window(5), FLOAT32, _channels(16), _tiles(2, 16, 4)), *WINOGRAD),
    Rule("depthwise", (ONE_CHANNEL,), *DEPTHWISE),
    Rule("neighbours", (SEVERAL_COLUMNS, FEW_CHANNELS), *NEIGHBOURS),
    Rule("direct", (ONE_GROUP,), direct.prepare_forward, direct.input_grad, weight.weight_grad),
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
    >>> stem = ConvolutionCase("forward", 64, 3, 192, (3, 3), (1, 1), (1, 1), 32, 32)
    >>> algorithms(stem)
    ['direct']
    """
    return [rule.name for rule in _fitting(case, _off)]


@functools.lru_cache(maxsize=4096)
def _fitting(case, off):
    """The rows that fit `case`, but for those that are `off`."""
    return [rule for rule in RULES if rule.name not in off and rule.fits(case)]


def chosen(shape, weight_shape, stride=1, padding=0, dilation=1, groups=1, dtype="float32"):
    """The row that each stage of a convolution uses: of `shape` (N, C, H, W) with weights (K, C / groups, kh, kw).

    Examples
    --------
    >>> chosen((64, 192, 32, 32), (208, 192, 3, 3), padding=1)["forward"]
    'winograd_f4_3'
    """
    (N, C, H, W), (K, _, *kernel) = shape, weight_shape
    stride, dilation = positive_pair(stride, "stride"), positive_pair(dilation, "dilation")
    frame = paddings(padding, kernel, stride, dilation)
    OH, OW = output_size((H, W), kernel, stride, frame, dilation)
    case = ConvolutionCase("", N, C // groups, K // groups, tuple(kernel), stride, dilation, OH, OW, groups, dtype)
    stages = {stage: divided(case._replace(stage=stage))[0] for stage in ("forward", "input_grad", "weight_grad")}
    return {stage: algorithms(case)[0] for stage, case in stages.items()}


def divided(case):
    """`case` and 1 where a row takes all its groups at once; else the case of one group, and how many there are.

    Examples
    --------
    >>> case = ConvolutionCase("forward", 64, 1, 1, (3, 3), (1, 1), (1, 1), 32, 32, groups=128)
    >>> divided(case)[1], divided(case._replace(inputs=4))[1]
    (1, 128)
    """
    return (case, 1) if _fitting(case, _off) else (case._replace(groups=1), case.groups)


def run(case, *args, **options):
    """Do `case` with the first row that fits it and takes the arguments: its result, or a Launch of the forward.

    The last row declines nothing that has one group.
    """
    for rule in _fitting(case, _off):
        result = function_of(rule, case.stage)(*args, **options)
        if result is not NotImplemented:
            return result
    return NotImplemented


def function_of(rule, stage):
    """The function that does a stage of convolution by the algorithm of a row."""
    return rule.prepare_forward if stage == "forward" else getattr(rule, stage)


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
    neighbours     stride 1, several columns...
    direct         every other window; 1x1 is one matrix product
    """
    width = max(len(rule.name) for rule in RULES)
    return "\n".join(
        f"{rule.name:{width}}  {rule.when}" + (" (switched off)" if rule.name in _off else "") for rule in RULES
    )
