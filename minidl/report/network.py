"""A network drawn as in the GoogLeNet paper: blocks side by side, joined by concat, each labelled with its cost.

C. Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842, figure 3, whose
colours these are: blue for convolutions, red for pools, green for joining, yellow for
the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minidl import nn
from minidl.evaluation.cost import Row, layers_of
from minidl.graph import write_svg
from minidl.graph_layout import Box, arrange

if TYPE_CHECKING:
    from minidl.nn.module import Module

CONV, POOL, JOIN, ANSWER, OTHER, IMAGE = "#cfe2f3", "#f4cccc", "#d9ead3", "#fff2cc", "#eceff1", "#ffffff"


def draw_network(model: Module, rows: Sequence[Any], shape: tuple[int, ...]) -> str:
    """The network as SVG.

    Parameters
    ----------
    model : Module
    rows : list of Row
        The result of `cost_of` for it.
    shape : tuple of int
        Of a batch of images, (N, C, H, W).

    Returns
    -------
    str

    Examples
    --------
    >>> from minidl.evaluation import cost_of
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 2))
    >>> "conv 3 × 3" in draw_network(net, cost_of(net, (1, 3, 3, 3)), (1, 3, 3, 3))
    True
    """
    modules = dict(layers_of(model))
    boxes = [Box(("images", _size(shape)), IMAGE)]
    ends, previous = {}, boxes[0]  # the last box of each layer
    for row in rows:
        above = ends.get(row.sources[0], previous) if row.sources else boxes[0]
        made = _boxes(modules[row.name], row, above)
        boxes += made
        ends[row.name] = made[-1]
        previous = previous if row.training_only else made[-1]
    return write_svg(arrange(boxes))


def _boxes(module, row, above):
    """The boxes of one layer, the last of which is its output."""
    notes = _notes(row)
    if not isinstance(module, nn.Branches):
        return [Box((*_words(module), *notes), _colour(module, row), [above])]
    made, ends = [], []
    for branch in module.children():
        end = above
        for layer in branch if isinstance(branch, nn.Sequential) else [branch]:
            end = Box(_words(layer), _colour(layer, row), [end])
            made.append(end)
        ends.append(end)
    return [*made, Box((f"{row.name}: concat", *notes), JOIN, ends)]


def _words(module):
    """First line of a layer's box."""
    if isinstance(module, nn.ConvNormReLU):
        return (f"{_window('conv', module.conv)}", f"{module.conv.out_channels} channels")
    if isinstance(module, nn.Conv2d):
        return (_window("conv", module), f"{module.out_channels} channels")
    if isinstance(module, nn.MaxPool2d):
        return (_window("max pool", module),)
    if isinstance(module, nn.Linear):
        return (f"linear {module.in_features:,} to {module.out_features:,}",)
    return (_plain(type(module).__name__),)


def _window(kind, module):
    size, stride = (v if isinstance(v, tuple) else (v, v) for v in (module.kernel_size, module.stride))
    return f"{kind} {size[0]} × {size[1]}" + (f" / {stride[0]}" if stride[0] != 1 else "")


def _plain(name):
    """A class name in words: AdaptiveAvgPool2d is adaptive avg pool.

    >>> _plain("AdaptiveAvgPool2d"), _plain("ReLU")
    ('adaptive avg pool', 'ReLU')
    """
    name = name.removesuffix("2d")
    if 2 * sum(map(str.isupper, name)) > len(name):
        return name
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()


def _notes(row: Row):
    """Size of the output and cost of a layer."""
    notes = [_size(row.shape)]
    if row.parameters:
        notes.append(f"{_short(row.parameters)} parameters")
    if row.multiply_adds:
        notes.append(f"{_short(row.multiply_adds)} multiply-adds")
    return [*notes, *(["in training only"] if row.training_only else [])]


def _short(count):
    """A count with three digits.

    >>> _short(1447214)
    '1.45 M'
    """
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= factor:
            return f"{count / factor:.3g}{unit}"
    return str(count)


def _size(shape):
    """Height x width x channels of an image, or how many numbers."""
    if len(shape) == 4:
        N, C, H, W = shape
        return f"{H} × {W} × {C}"
    return f"{shape[-1]:,} numbers"


def _colour(module, row):
    if isinstance(module, (nn.ConvNormReLU, nn.Conv2d)):
        return CONV
    if "Pool" in type(module).__name__:
        return POOL
    return ANSWER if isinstance(module, nn.Linear) or row.training_only else OTHER
