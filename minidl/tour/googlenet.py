"""GoogLeNet in forty lines, for images of digits: the network of chapters 9 and 11.

C. Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842, table 1. The checkout's ``models/googlenet.py``
builds the published variants; this one is theirs for small images, with batch normalisation.
"""

from __future__ import annotations

from minidl import nn

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
HALVED_AFTER = ("3b", "4e")  # a pool after these blocks


def conv(inputs, outputs, size):
    """Convolution that keeps the image's size, batch normalisation and ReLU."""
    return nn.ConvNormReLU(inputs, outputs, size, padding=size // 2)


class Inception(nn.Branches):
    """Four branches side by side, joined along the channels."""

    def __init__(self, inputs, c1, c3_reduce, c3, c5_reduce, c5, c_pool):
        super().__init__()
        self.branch1 = conv(inputs, c1, 1)
        self.branch2 = nn.Sequential(conv(inputs, c3_reduce, 1), conv(c3_reduce, c3, 3))
        self.branch3 = nn.Sequential(conv(inputs, c5_reduce, 1), conv(c5_reduce, c5, 5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(inputs, c_pool, 1))
        self.outputs = c1 + c3 + c5 + c_pool


def googlenet(inputs=1, classes=10, width=1.0):
    """The stem, nine blocks and the classifier; `width` scales all channels but never below 4."""
    def scaled(channels):
        return max(4, round(channels * width))

    layers, channels = [conv(inputs, scaled(192), 3)], scaled(192)
    for name, row in BLOCKS.items():
        block = Inception(channels, *map(scaled, row))
        layers, channels = [*layers, block], block.outputs
        if name in HALVED_AFTER:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
