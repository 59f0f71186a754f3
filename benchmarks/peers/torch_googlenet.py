"""GoogLeNet in PyTorch, with the parameter names of `models.googlenet`, so that weights move both ways.

The variants `cifar` and `torchvision` only: the ones that are raced. Input (N, C, H, W).
"""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.googlenet import BLOCKS, VARIANTS, scaled


class ConvNormReLU(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs, outputs, size, eps, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=eps)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)

    def fold(self):
        """Make the batch norm part of the convolution."""
        self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


class Inception(nn.Module):
    """The four branches."""

    def __init__(self, inputs, channels, five, eps, ceil_mode):
        super().__init__()
        c1, c3_reduce, c3, c5_reduce, c5, c_pool = channels
        self.branch1 = ConvNormReLU(inputs, c1, 1, eps)
        self.branch2 = nn.Sequential(ConvNormReLU(inputs, c3_reduce, 1, eps), ConvNormReLU(c3_reduce, c3, 3, eps))
        self.branch3 = nn.Sequential(ConvNormReLU(inputs, c5_reduce, 1, eps), ConvNormReLU(c5_reduce, c5, five, eps))
        pool = nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=ceil_mode)
        self.branch4 = nn.Sequential(pool, ConvNormReLU(inputs, c_pool, 1, eps))

    def forward(self, x):
        from torch import cat

        return cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Sequential):
    """The layers one after the other, under the names that they have in `models.googlenet`."""

    def __init__(self, variant, num_classes, width, in_channels=3):
        super().__init__()
        v = VARIANTS[variant]
        pool = dict(stride=2, padding=0 if v.ceil_mode else 1, ceil_mode=v.ceil_mode)
        c1, channels = scaled(64, width), scaled(192, width)
        if v.large_input:
            self.conv1 = ConvNormReLU(in_channels, c1, 7, v.eps, stride=2)
            self.maxpool1 = nn.MaxPool2d(3, **pool)
            self.conv2 = ConvNormReLU(c1, c1, 1, v.eps)
            self.conv3 = ConvNormReLU(c1, channels, 3, v.eps)
            self.maxpool2 = nn.MaxPool2d(3, **pool)
        else:
            self.conv1 = ConvNormReLU(in_channels, channels, 3, v.eps)
        for name, row in BLOCKS.items():
            row = [scaled(c, width) for c in row]
            self.add_module(f"inception{name}", Inception(channels, row, v.five[0], v.eps, v.ceil_mode))
            channels = row[0] + row[2] + row[4] + row[5]
            if name == "3b":
                self.maxpool3 = nn.MaxPool2d(3, **pool)
            if name == "4e":
                self.maxpool4 = nn.MaxPool2d(v.last_pool, **({**pool, "padding": 0} if v.last_pool == 2 else pool))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, num_classes)

    def fold(self):
        """Evaluation mode with every batch norm folded into its convolution; returns the network."""
        self.eval()
        for module in self.modules():
            if isinstance(module, ConvNormReLU):
                module.fold()
        return self.requires_grad_(False)
