"""A small network that learns fast: a whitening layer, then three groups of two 3x3 convolutions.

K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, section 2, which goes back to D. Page's
ResNet-9 and to T. Balsam's hlb-CIFAR10. The first layer is not trained: its 2x2 filters whiten patches of the images.
Each further convolution begins as the identity on as many channels as it has inputs, so that at first the whole
network passes its input on, as a residual network does. Batch norm has no scale, since the next convolution has one.
"""

from __future__ import annotations

from minidl import nn
from minidl.checks import positive_integers
from minidl.nn import init
from models.cnn import check_width

GROUPS = (64, 256, 256)  # channels


class ConvGroup(nn.Sequential):
    """Convolution, pool, norm, GELU; convolution, norm, GELU: half the side, `channels` channels."""

    def __init__(self, in_channels, channels):
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            unscaled_norm(channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            unscaled_norm(channels),
            nn.GELU(),
        )
        pass_on(self[0]), pass_on(self[4])


def pass_on(conv, first=0):
    """Make `conv` the identity on its input channels from `first` on, round the end; other outputs stay random."""
    outputs, inputs, *window = conv.weight.shape
    rows = conv.weight.detach()[:inputs]
    init.zeros_(rows)
    turned = min(rows.shape[0], inputs - first)  # outputs that are there before the inputs begin anew
    init.dirac_(rows[:turned, first:])
    init.dirac_(rows[turned:])


def unscaled_norm(channels):
    """Batch norm with shifts only, whose running statistics forget quickly, as few steps as there are."""
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


class Whitening(nn.Conv2d):
    """A 2x2 convolution with frozen filters, set by `begin`; its shifts are trained."""

    def __init__(self, in_channels):
        super().__init__(in_channels, 2 * in_channels * 4, 2)
        self.weight.requires_grad_(False)
        init.zeros_(self.bias)

    def begin(self, images):
        """Make the filters those that whiten `images`, a Tensor (N, in_channels, H, W) of normalised ones."""
        init.whiten_(self.weight, images)


class FastNet(nn.Module):
    """Three groups behind a whitening layer; images of at least 16x16 pixels.

    Parameters
    ----------
    num_classes, in_channels : int
    width : float
        Factor on the channel counts 64, 256 and 256.

    Examples
    --------
    >>> import minidl, models
    >>> models.FastNet(width=0.25)(minidl.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """

    def __init__(self, num_classes=10, in_channels=3, width=1.0):
        super().__init__()
        check_width(width)
        positive_integers(num_classes=num_classes, in_channels=in_channels)
        self.whiten = Whitening(in_channels)
        channels = self.whiten.out_channels
        groups = []
        for outputs in (max(channels, round(c * width / 8) * 8) for c in GROUPS):
            groups.append(ConvGroup(channels, outputs))
            channels = outputs
        self.groups = nn.Sequential(nn.GELU(), *groups)
        self.fc = nn.Linear(channels, num_classes, bias=False)
        init.normal_(self.fc.weight, std=1 / channels)

    def begin(self, images):
        """Set the whitening layer from normalised training images, before the first step."""
        self.whiten.begin(images)

    def forward(self, x):
        x = self.groups(self.whiten(x))
        return self.fc(x.amax((2, 3)))
