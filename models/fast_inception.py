"""A slim Inception network for small images, with what makes `models.fast` learn fast; every part can be left out.

A whitening layer and one convolution, pooled, lead to two stages of two blocks (for images of 32x32 pixels: on 15x15,
7x7, 7x7 and 3x3 maps). The first block of a stage halves its maps, in each branch right after the last convolution,
so that norm and activation see a quarter of the pixels. The branches' first layers begin, taken together, as the
identity on the block's input, so that each block passes it on. 106 million multiply-adds an image, less than
`models.fast` needs. Blocks: C. Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842; two 3x3 convolutions
in place of the 5x5, and branches side by side that halve the maps: C. Szegedy et al., "Rethinking the Inception
Architecture for Computer Vision", arXiv 1512.00567, sections 3.1 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from minidl import nn
from minidl.checks import positive_integers
from minidl.nn import init
from models.cnn import check_width
from models.fast import Whitening, pass_on, unscaled_norm

STEM = 64
# blocks of a stage, the last row for all further ones: (1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection); the
# first, second, fourth and last add up to the block's inputs (of the very first block to three times as many)
EARLY = (64, 64, 160, 32, 64, 32), (96, 128, 176, 48, 64, 48)
LATE = (112, 160, 256, 64, 96, 48), (160, 192, 256, 80, 96, 80)


@dataclass(frozen=True)
class Parts:
    """Parts of the network that an ablation takes out or exchanges.

    Attributes
    ----------
    blocks : pair of int
        Blocks on the larger and on the smaller maps.
    reduction : bool
        1x1 convolutions before the 3x3 and 5x5 ones.
    pooling : bool
        The branch that pools; without it the 1x1 branch has its channels too.
    five : bool
        One 5x5 convolution in place of two 3x3.
    norm : str
        "batch", "local" (local response) or "none".
    dirac, whitening : bool
        Convolutions that begin as the identity; a frozen first layer that whitens.
    """

    blocks: tuple = (2, 2)
    reduction: bool = True
    pooling: bool = True
    five: bool = False
    norm: str = "batch"
    dirac: bool = True
    whitening: bool = True

    def conv(self, inputs, outputs, size, first=0, halve=False):
        """Convolution, pool if `halve`, norm and GELU; the identity on the inputs from `first` on, if `dirac`."""
        pool = [nn.MaxPool2d(2)] if halve else []
        return nn.Sequential(self.bare(inputs, outputs, size, first), *pool, *self.after(outputs))

    def bare(self, inputs, outputs, size, first=0):
        """The convolution alone."""
        conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=self.norm != "batch")
        if self.dirac:
            pass_on(conv, first % inputs)
        return conv

    def after(self, channels):
        """The layers after a convolution."""
        norms = {"batch": [unscaled_norm(channels)], "local": [nn.LocalResponseNorm(5)], "none": []}
        if self.norm not in norms:
            raise ValueError(f"`norm` is {self.norm!r}; accepted: {', '.join(norms)}")
        return [*norms[self.norm], nn.GELU()]


class Inception(nn.Branches):
    """Branches side by side: 1x1; 1x1 and 3x3; 1x1 and two 3x3; pool and 1x1."""

    def __init__(self, in_channels, channels, parts, halve=False):
        super().__init__()
        c1, c3_reduce, c3, c5_reduce, c5, c_pool = channels
        self.out_channels = c1 + c3 + c5 + c_pool
        c1 = c1 if parts.pooling else c1 + c_pool
        self.branch1 = parts.conv(in_channels, c1, 1, 0, halve)
        self.branch2 = nn.Sequential(*_reduced(parts, in_channels, c3_reduce, c1))
        inputs = c3_reduce if parts.reduction else in_channels
        self.branch2.append(parts.conv(inputs, c3, 3, 0 if parts.reduction else c1, halve))
        first = c1 + c3_reduce
        self.branch3 = nn.Sequential(*_reduced(parts, in_channels, c5_reduce, first))
        inputs = c5_reduce if parts.reduction else in_channels
        sizes = [5] if parts.five else [3, 3]
        for number, size in enumerate(sizes):
            begins = first if not (parts.reduction or number) else 0
            last = halve and number == len(sizes) - 1
            self.branch3.append(parts.conv(c5 if number else inputs, c5, size, begins, last))
        self.branch4 = None
        if parts.pooling:
            pool = nn.MaxPool2d(2) if halve else nn.MaxPool2d(3, stride=1, padding=1)
            self.branch4 = nn.Sequential(pool, parts.conv(in_channels, c_pool, 1, first + c5_reduce))

    def forward(self, x):
        """Call every branch on `x` and join the results along the channels."""
        branches = [self.branch1, self.branch2, self.branch3, self.branch4]
        return self.join(x, *[branch for branch in branches if branch is not None])


def _reduced(parts, inputs, outputs, first):
    return [parts.conv(inputs, outputs, 1, first)] if parts.reduction else []


class FastInception(nn.Module):
    """Whitening layer, convolution, blocks, global maximum, classifier; images of at least 16x16 pixels.

    Parameters
    ----------
    num_classes, in_channels : int
    width : float
        Factor on the channel counts of the convolution and the blocks.
    aux_logits : bool
        A second classifier on the blocks of the larger maps, which answers in training only.
    **parts
        What else is different, see `Parts`.

    Examples
    --------
    >>> import minidl, models
    >>> models.FastInception(width=0.25)(minidl.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """

    def __init__(self, num_classes=10, in_channels=3, width=1.0, aux_logits=False, **parts):
        super().__init__()
        check_width(width)
        positive_integers(num_classes=num_classes, in_channels=in_channels)
        self.parts = parts = replace(Parts(), **parts)
        self.whiten = Whitening(in_channels)
        if not parts.whitening:
            self.whiten.weight.requires_grad_(True)
        stem = max(8, round(STEM * width / 8) * 8)
        self.conv = parts.bare(self.whiten.out_channels, stem, 3)
        self.first = nn.Sequential(nn.MaxPool2d(2), *parts.after(stem))
        self.early, channels = _blocks(stem, EARLY, width, parts, parts.blocks[0])
        self.aux = nn.Linear(channels, num_classes, bias=False) if aux_logits else None
        self.late, channels = _blocks(channels, LATE, width, parts, parts.blocks[1])
        self.gelu = nn.GELU()
        self.fc = nn.Linear(channels, num_classes, bias=False)
        for head in (self.fc, self.aux):
            if head is not None:
                init.normal_(head.weight, std=1 / head.weight.shape[1])

    def begin(self, images):
        """Set the whitening layer from normalised training images, before the first step."""
        if self.parts.whitening:
            self.whiten.begin(images)

    def forward(self, x):
        x = self.first(self.conv(self.gelu(self.whiten(x))))
        x = self.early(x)
        aux = self.aux(x.amax((2, 3))) if self.training and self.aux is not None else None
        logits = self.fc(self.late(x).amax((2, 3)))
        return logits if aux is None else (logits, aux)


def _blocks(channels, rows, width, parts, count):
    """`count` blocks in a row, and the number of channels after them."""
    blocks = nn.Sequential()
    for number in range(count):
        row = [max(8, round(c * width / 8) * 8) for c in rows[min(number, len(rows) - 1)]]
        blocks.append(Inception(channels, row, parts, halve=number == 0))
        channels = blocks[-1].out_channels
    return blocks, channels
