"""GoogLeNet (Inception v1) and its variants, built from minidl's own ops.

C. Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842, table 1.

One network, described by tables: the layers before the inception blocks, the nine blocks,
what stands behind some of them, and what the variants differ in. The parameters bear
torchvision's names, so weights move both ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Optional

import minidl
from minidl import nn
from minidl.nn import ConvNormReLU, init
from minidl.checks import positive_integers
from models.cnn import check_width

# layer: (window, stride, channels), table 1's first rows; pools keep their input's channels
STEM = {
    "conv1": (7, 2, 64),
    "maxpool1": (3, 2, None),
    "conv2": (1, 1, 64),
    "conv3": (3, 1, 192),
    "maxpool2": (3, 2, None),
}
SMALL_STEM = {"conv1": (3, 1, 192)}  # of 32x32 images

# block: (1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection), table 1 row by row
BLOCKS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOLS = {"3b": "maxpool3", "4e": "maxpool4"}  # what stands behind these blocks
HEADS = {"4a": "aux1", "4d": "aux2"}


@dataclass(frozen=True)
class Variant:
    """All in which the published GoogLeNets differ.

    Attributes
    ----------
    large_input : bool
        224x224 with the 7x7 stem; otherwise 32x32 with one 3x3 convolution.
    norm : bool
        Batch normalisation after every convolution, instead of local response normalisation.
    bias : bool
        Bias in the convolutions.
    five : tuple of int
        Windows of the branch that the paper calls "5x5".
    eps : float
        Of the batch normalisation.
    ceil_mode, last_pool : bool, int
        Let pools count windows that hang over the edge; the window of the pool before 5a.
    dropout, aux_dropout : float
        Before the classifier, and in the auxiliary heads.
    num_classes : int
        By default.
    """

    large_input: bool
    norm: bool
    bias: bool
    five: tuple = (5,)
    eps: float = 1e-5
    ceil_mode: bool = False
    last_pool: int = 3
    dropout: float = 0.0
    aux_dropout: float = 0.7
    num_classes: int = 10

    def conv(self, inputs, outputs, size, stride=1):
        """A convolution that keeps the image's size (divided by `stride`), normalised and cut at 0."""
        options = dict(norm=self.norm, bias=self.bias, eps=self.eps)
        return ConvNormReLU(inputs, outputs, size, stride=stride, padding=size // 2, **options)

    def pool(self, window):
        """A pool that halves the image; one that counts no window over the edge is padded instead."""
        padding = 0 if self.ceil_mode or window == 2 else 1
        return nn.MaxPool2d(window, stride=2, padding=padding, ceil_mode=self.ceil_mode)


VARIANTS = {
    "cifar": Variant(large_input=False, norm=True, bias=False),
    "kuangliu": Variant(large_input=False, norm=True, bias=True, five=(3, 3)),
    "paper": Variant(large_input=True, norm=False, bias=True, ceil_mode=True, dropout=0.4, num_classes=1000),
    # Its "5x5" is 3x3: a known deviation that published weights depend on.
    "torchvision": Variant(
        large_input=True,
        norm=True,
        bias=False,
        five=(3,),
        eps=1e-3,
        ceil_mode=True,
        last_pool=2,
        dropout=0.2,
        num_classes=1000,
    ),
}


def scaled(channels, width):
    """`channels` times `width`, rounded to a multiple of 16, at least 16."""
    return channels if width == 1 else max(16, round(channels * width / 16) * 16)


class Inception(nn.Branches):
    """Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and 5x5; pool and 1x1."""

    def __init__(self, in_channels, channels, variant):
        super().__init__()
        c1, c3_reduce, c3, c5_reduce, c5, c_pool = channels
        conv = variant.conv
        inputs = [c5_reduce] + [c5] * (len(variant.five) - 1)
        self.branch1 = conv(in_channels, c1, 1)
        self.branch2 = nn.Sequential(conv(in_channels, c3_reduce, 1), conv(c3_reduce, c3, 3))
        self.branch3 = nn.Sequential(
            conv(in_channels, c5_reduce, 1), *[conv(c, c5, size) for c, size in zip(inputs, variant.five)]
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=variant.ceil_mode), conv(in_channels, c_pool, 1)
        )
        self.out_channels = c1 + c3 + c5 + c_pool

    def forward(self, x):
        """Call every branch on `x` and join the results along the channels."""
        return self.join(x, self.branch1, self.branch2, self.branch3, self.branch4)


class AuxiliaryHead(nn.Module):
    """A small classifier on an inner block, whose loss adds to the gradients of the layers before it in training."""

    def __init__(self, in_channels, num_classes, width, variant):
        super().__init__()
        channels, hidden = scaled(128, width), scaled(1024, width)
        # The paper's 5x5 average pool with stride 3 gives 4x4 on its 14x14 maps.
        fixed = variant.large_input and not variant.norm
        self.pool = nn.AvgPool2d(5, stride=3) if fixed else nn.AdaptiveAvgPool2d(4)
        self.conv = variant.conv(in_channels, channels, 1)
        self.fc1 = nn.Linear(channels * 4 * 4, hidden)
        self.dropout = nn.Dropout(variant.aux_dropout)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x):
        x = self.conv(self.pool(x)).flatten(1)
        return self.fc2(self.dropout(self.fc1(x).relu()))


class GoogLeNetOutputs(NamedTuple):
    """Outputs of a network with auxiliary heads while training; torchvision's order."""

    logits: minidl.Tensor
    aux_logits2: Optional[minidl.Tensor]
    aux_logits1: Optional[minidl.Tensor]


class GoogLeNet(nn.Module):
    """GoogLeNet; input (N, in_channels, H, W), logits (N, num_classes).

    Parameters
    ----------
    variant : str
        A row of :data:`VARIANTS`.
    num_classes, in_channels : int
        `num_classes` defaults to the variant's.
    width : float
        Factor on every channel count, rounded to a multiple of 16.
    aux_logits : bool
        Build the auxiliary heads at 4a and 4d; they answer in training only.
    dropout : float, optional
        Before the classifier; default the variant's.
    transform_input : bool
        Undo ImageNet's normalisation and apply (x - 0.5) / 0.5, as weights from TensorFlow want it.

    Examples
    --------
    >>> import minidl, models
    >>> net = models.GoogLeNet("cifar", width=0.25).eval()
    >>> net(minidl.zeros(1, 3, 32, 32)).shape
    (1, 10)
    """

    def __init__(
        self, variant="cifar", num_classes=None, in_channels=3, width=1.0, aux_logits=False, dropout=None,
        transform_input=False,
    ):  # fmt: skip
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"`variant` is {variant!r}; accepted: {', '.join(VARIANTS)}")
        check_width(width)
        if transform_input and in_channels != 3:
            raise ValueError(f"`transform_input` needs 3 channels, found `in_channels` {in_channels}")
        self.variant = v = VARIANTS[variant]
        self.transform_input = transform_input
        num_classes = v.num_classes if num_classes is None else num_classes
        positive_integers(num_classes=num_classes, in_channels=in_channels)
        channels = self._add_stem(in_channels, width)
        # Krizhevsky's alpha multiplies the sum of squares; PyTorch's multiplies their mean, hence the 5.
        self.lrn = None if v.norm else nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)
        ends = {}  # block: how many channels it gives
        for name, row in BLOCKS.items():
            block = Inception(channels, [scaled(c, width) for c in row], v)
            setattr(self, f"inception{name}", block)
            ends[name] = channels = block.out_channels
            if name in POOLS:
                setattr(self, POOLS[name], v.pool(v.last_pool if name == "4e" else 3))
        for name, head in HEADS.items():
            setattr(self, head, AuxiliaryHead(ends[name], num_classes, width, v) if aux_logits else None)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(v.dropout if dropout is None else dropout)
        self.fc = nn.Linear(channels, num_classes)
        self.apply(_initialise)

    def _add_stem(self, channels, width):
        """Make the layers before block 3a; how many channels they give."""
        for name, (window, stride, outputs) in (STEM if self.variant.large_input else SMALL_STEM).items():
            if outputs is None:
                setattr(self, name, self.variant.pool(window))
            else:
                inputs, channels = channels, scaled(outputs, width)
                setattr(self, name, self.variant.conv(inputs, channels, window, stride))
        return channels

    def forward(self, x):
        if self.transform_input:
            x = _to_half(x)
        x = self.stem(x)
        x = self.inception3b(self.inception3a(x))
        x = self.inception4a(self.maxpool3(x))
        aux1 = self.aux1(x) if self.training and self.aux1 is not None else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if self.training and self.aux2 is not None else None
        x = self.maxpool4(self.inception4e(x))
        x = self.avgpool(self.inception5b(self.inception5a(x))).flatten(1)
        logits = self.fc(self.dropout(x))
        return logits if aux1 is None else GoogLeNetOutputs(logits, aux2, aux1)

    def stem(self, x):
        """The layers before block 3a."""
        x = self.conv1(x)
        if not self.variant.large_input:
            return x
        x = self.maxpool1(x)
        x = self.conv2(x if self.lrn is None else self.lrn(x))
        x = self.conv3(x)
        return self.maxpool2(x if self.lrn is None else self.lrn(x))


def _to_half(x):
    """From ImageNet's mean and deviation per channel to (x - 0.5) / 0.5."""
    means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    scale = minidl.tensor([d / 0.5 for d in deviations], dtype=x.dtype, device=x.device)
    shift = minidl.tensor([(m - 0.5) / 0.5 for m in means], dtype=x.dtype, device=x.device)
    return x * scale.reshape(1, 3, 1, 1) + shift.reshape(1, 3, 1, 1)


def _initialise(module):
    """Kaiming initialisation (arXiv 1502.01852) for what feeds a ReLU, small weights for the classifier."""
    if isinstance(module, nn.Conv2d):
        init.kaiming_normal_(module.weight, nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        init.trunc_normal_(module.weight, std=0.01)
    if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
        init.zeros_(module.bias)
