"""A plain convolutional network: the first one to read."""

from __future__ import annotations

from minidl import nn
from minidl.checks import positive_integers


class CNN(nn.Module):
    """Convolution, pooling, convolution, pooling, two dense layers; any image of at least 4x4 pixels.

    Parameters
    ----------
    num_classes, in_channels : int
    width : float
        Factor on the channel counts 32 and 64 and on the 128 hidden units.

    Examples
    --------
    >>> import minidl, models
    >>> models.CNN(in_channels=1)(minidl.zeros(2, 1, 28, 28)).shape
    (2, 10)
    """

    def __init__(self, num_classes=10, in_channels=3, width=1.0):
        super().__init__()
        check_width(width)
        positive_integers(num_classes=num_classes, in_channels=in_channels)
        c1, c2, hidden = (max(8, round(c * width)) for c in (32, 64, 128))
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, c1, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(c1, c2, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(4),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(c2 * 16, hidden), nn.ReLU(), nn.Dropout(0.25), nn.Linear(hidden, num_classes)
        )

    def forward(self, x):
        return self.classifier(self.features(x))


def check_width(width):
    """Raise a `ValueError` unless `width` is a factor for channel counts."""
    if not isinstance(width, (int, float)) or not width > 0:
        raise ValueError(f"`width` is {width!r}; accepted: a number > 0")
