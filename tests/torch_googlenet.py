"""GoogLeNet in PyTorch, written for the comparisons: an independent reading of the same tables, torchvision's names."""

import collections

import torch
import torch.nn.functional as F
from torch import nn

Variant = collections.namedtuple("Variant", "large norm bias five eps ceil last_pool dropout aux_dropout classes")
VARIANTS = {
    "cifar": Variant(False, True, False, (5,), 1e-5, False, 3, 0.0, 0.7, 10),
    "kuangliu": Variant(False, True, True, (3, 3), 1e-5, False, 3, 0.0, 0.7, 10),
    "paper": Variant(True, False, True, (5,), None, True, 3, 0.4, 0.7, 1000),
    "torchvision": Variant(True, True, False, (3,), 1e-3, True, 2, 0.2, 0.7, 1000),
}
ROWS = """
3a  64  96 128 16  32  32
3b 128 128 192 32  96  64
4a 192  96 208 16  48  64
4b 160 112 224 24  64  64
4c 128 128 256 24  64  64
4d 112 144 288 32  64  64
4e 256 160 320 32 128 128
5a 256 160 320 32 128 128
5b 384 192 384 48 128 128
"""


class BasicConv2d(nn.Module):
    def __init__(self, inputs, outputs, size, v, **options):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, bias=v.bias, **options)
        if v.norm:
            self.bn = nn.BatchNorm2d(outputs, eps=v.eps)

    def forward(self, x):
        x = self.conv(x)
        return F.relu(self.bn(x) if hasattr(self, "bn") else x, inplace=True)


class Inception(nn.Module):
    def __init__(self, inputs, c1, r3, c3, r5, c5, cp, v):
        super().__init__()
        self.branch1 = BasicConv2d(inputs, c1, 1, v)
        self.branch2 = nn.Sequential(BasicConv2d(inputs, r3, 1, v), BasicConv2d(r3, c3, 3, v, padding=1))
        layers, channels = [BasicConv2d(inputs, r5, 1, v)], r5
        for size in v.five:
            layers.append(BasicConv2d(channels, c5, size, v, padding=size // 2))
            channels = c5
        self.branch3 = nn.Sequential(*layers)
        pool = nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=v.ceil)
        self.branch4 = nn.Sequential(pool, BasicConv2d(inputs, cp, 1, v))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    def __init__(self, inputs, classes, v, scaled):
        super().__init__()
        self.fixed = v.large and not v.norm
        conv, hidden = scaled(128), scaled(1024)
        self.conv = BasicConv2d(inputs, conv, 1, v)
        self.fc1, self.fc2 = nn.Linear(conv * 16, hidden), nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(v.aux_dropout)

    def forward(self, x):
        x = F.avg_pool2d(x, 5, stride=3) if self.fixed else F.adaptive_avg_pool2d(x, (4, 4))
        x = torch.flatten(self.conv(x), 1)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """`forward` returns (logits, aux2, aux1) while training with heads, else logits."""

    def __init__(self, variant="cifar", classes=None, inputs=3, width=1.0, aux_logits=False, transform_input=False):
        super().__init__()
        self.v = v = VARIANTS[variant]
        self.transform_input = transform_input
        classes = classes or v.classes

        def scaled(channels):
            return channels if width == 1 else max(16, round(channels * width / 16) * 16)

        def pool(size, padding):
            return nn.MaxPool2d(size, stride=2, padding=0 if v.ceil else padding, ceil_mode=v.ceil)

        if v.large:
            self.conv1 = BasicConv2d(inputs, scaled(64), 7, v, stride=2, padding=3)
            self.maxpool1 = pool(3, 1)
            self.conv2 = BasicConv2d(scaled(64), scaled(64), 1, v)
            self.conv3 = BasicConv2d(scaled(64), scaled(192), 3, v, padding=1)
            self.maxpool2 = pool(3, 1)
        else:
            self.conv1 = BasicConv2d(inputs, scaled(192), 3, v, padding=1)
        channels = scaled(192)
        ends = {}
        for row in ROWS.strip().splitlines():
            name, *sizes = row.split()
            sizes = [scaled(int(size)) for size in sizes]
            setattr(self, f"inception{name}", Inception(channels, *sizes, v))
            channels = sizes[0] + sizes[2] + sizes[4] + sizes[5]
            ends[name] = channels
        for name, head in {"4a": "aux1", "4d": "aux2"}.items():  # after the blocks, as in torchvision
            setattr(self, head, InceptionAux(ends[name], classes, v, scaled) if aux_logits else None)
        self.maxpool3 = pool(3, 1)
        self.maxpool4 = pool(v.last_pool, 1)
        self.dropout = nn.Dropout(v.dropout)
        self.fc = nn.Linear(channels, classes)

    def stem(self, x):
        if self.transform_input:
            mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=torch.float64)
            x = ((x * std[:, None, None] + mean[:, None, None] - 0.5) / 0.5).to(x.dtype)
        x = self.conv1(x)
        if not self.v.large:
            return x

        def norm(x):  # Krizhevsky's formula by hand: k + alpha * (sum of squares over 5 channels)
            if self.v.norm:
                return x
            squares = F.pad(x * x, (0, 0, 0, 0, 2, 2))
            total = sum(squares[:, i : i + x.shape[1]] for i in range(5))
            return x / (2 + 1e-4 * total) ** 0.75

        x = norm(self.maxpool1(x))
        return self.maxpool2(norm(self.conv3(self.conv2(x))))

    def forward(self, x):
        x = self.inception3b(self.inception3a(self.stem(x)))
        x = a = self.inception4a(self.maxpool3(x))
        x = d = self.inception4d(self.inception4c(self.inception4b(x)))
        x = self.inception5b(self.inception5a(self.maxpool4(self.inception4e(x))))
        logits = self.fc(self.dropout(x.mean((2, 3))))
        if self.training and self.aux1 is not None:
            return logits, self.aux2(d), self.aux1(a)
        return logits
