"""One network, one batch, one set of weights: what all contenders of a part are given, as files in a folder."""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


# Small networks: the name, arguments and options of each layer.
SAME, HALF = dict(padding=1), ("MaxPool2d", (2,), {})
LAYERS = {
    "mlp": (
        ("Linear", (784, 256), {}), ("ReLU", (), {}), ("Linear", (256, 128), {}), ("ReLU", (), {}),
        ("Linear", (128, 10), {}),
    ),
    "convnet": (
        ("Conv2d", (1, 8, 3), SAME), ("ReLU", (), {}), HALF, ("Conv2d", (8, 16, 3), SAME), ("ReLU", (), {}), HALF,
        ("Flatten", (), {}), ("Linear", (784, 10), {}),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A network and a batch for it.

    Attributes
    ----------
    variant, width : str, float
        Of `models.GoogLeNet`.
    batch, size, classes, channels : int
        Images, their height and width, classes, and channels of an image.
    layers : str
        A network of the table `LAYERS` in place of GoogLeNet.
    """

    variant: str = "cifar"
    width: float = 1.0
    batch: int = 64
    size: int = 32
    classes: int = 10
    channels: int = 3
    layers: str = ""

    def network(self):
        """minidl's network, without dropout, which would differ between engines."""
        import models
        from minidl import nn

        if self.layers:
            return self.chain(nn)
        options = dict(num_classes=self.classes, in_channels=self.channels, width=self.width, dropout=0.0)
        return models.GoogLeNet(self.variant, **options)

    def chain(self, nn):
        """The network of `LAYERS`, of the modules of `nn`: minidl's or PyTorch's, which have the same names."""
        return nn.Sequential(*[getattr(nn, name)(*args, **options) for name, args, options in LAYERS[self.layers]])

    def inputs(self, images):
        """Images (N, H, W, C) as the network takes them: (N, C, H, W), or rows of pixels."""
        is_flat = self.layers and LAYERS[self.layers][0][0] == "Linear"
        return images.reshape(len(images), -1) if is_flat else images.transpose(0, 3, 1, 2)


@contextlib.contextmanager
def folder_of(case, seed=0):
    """A temporary folder with the case: weights (safetensors' names in an .npz), images and labels."""
    with tempfile.TemporaryDirectory(prefix="minidl-benchmark-") as folder:
        folder, rng = Path(folder), np.random.default_rng(seed)
        np.savez(folder / "weights.npz", **_weights(case, rng))
        images = rng.standard_normal((case.batch, case.size, case.size, case.channels), np.float32)
        np.savez(folder / "batch.npz", images=images, labels=rng.integers(0, case.classes, case.batch))
        (folder / "case.json").write_text(json.dumps(asdict(case)))
        yield folder


def load(folder):
    """(case, weights by name, images (N, H, W, C), labels) from a folder."""
    folder = Path(folder)
    case = Case(**json.loads((folder / "case.json").read_text()))
    with np.load(folder / "weights.npz") as weights, np.load(folder / "batch.npz") as batch:
        return case, dict(weights), batch["images"], batch["labels"]


def _weights(case, rng):
    """Weights of the network as it begins, with batch norms drawn at random, or folding them would prove nothing."""
    import minidl

    minidl.manual_seed(0)
    weights = {name: tensor.data for name, tensor in case.network().state_dict().items()}
    draws = {
        "bn.weight": lambda n: rng.uniform(0.5, 1.5, n),
        "bn.bias": lambda n: rng.normal(0, 0.1, n),
        "running_mean": lambda n: rng.normal(0, 0.1, n),
        "running_var": lambda n: rng.uniform(0.5, 1.5, n),
    }
    for name, array in weights.items():
        for ending, draw in draws.items():
            if name.endswith(ending):
                array[...] = draw(array.shape)
    return weights
