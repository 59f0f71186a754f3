"""A program as a user writes it, which type checkers read (``test_types.py``): a network, training, hooks, a file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import minidl
from minidl import Tensor, nn, optim
from minidl.data import DataLoader, TensorDataset
from minidl.gradcheck import check_gradients
from minidl.nn import functional as F


class Cube(minidl.Function):
    """x ** 3, with a derivative by hand."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.save_for_backward(x)
        return x**3

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved_tensors
        return grad * 3 * x**2


class Block(nn.Module):
    """Two convolutions with a way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, kernel_size=(3, 3), padding="same")

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.first(x)))
        return (x + self.second(y)).relu()


class Net(nn.Module):
    """A small residual network."""

    def __init__(self, classes: int, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
        self.blocks = nn.ModuleList([Block(width) for _ in range(2)])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(width, classes)
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.drop(self.pool(x).flatten(1)))


def stripes(count: int, side: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Images of horizontal (0) and vertical (1) stripes, with noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    wave = np.sin(np.arange(side) * np.pi / 2)
    images = np.where(labels[:, None, None] == 0, wave[:, None], wave[None, :])
    noisy = images + rng.normal(0, 0.3, (count, side, side))
    return noisy[:, None].astype(np.float32), labels.astype(np.int64)


@minidl.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of the images that `model` classifies rightly."""
    model.eval()
    answers = model(images).argmax(dim=1)
    model.train()
    return (answers == labels).float().mean().item()


def train(model: nn.Module, loader: DataLoader, epochs: int) -> list[float]:
    """The mean loss of every epoch."""
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.05)
    history: list[float] = []
    for _ in range(epochs):
        losses = []
        for images, labels in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(images), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=5.0)
            optimizer.step()
            losses.append(loss.item())
        schedule.step()
        history.append(sum(losses) / len(losses))
    return history


def watch(model: Net, images: Tensor) -> dict[str, tuple[int, ...]]:
    """The shapes of what the pool receives and of its gradient, by hooks."""
    shapes: dict[str, tuple[int, ...]] = {}

    def forward_hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shapes["output"] = output.shape
        output.register_hook(gradient_hook)

    def gradient_hook(grad: Tensor) -> None:
        shapes["gradient"] = grad.shape

    handle = model.pool.register_forward_hook(forward_hook)
    model(images).sum().backward()
    handle.remove()
    return shapes


def arithmetic() -> list[float]:
    """Operators, methods, reductions and second derivatives."""
    minidl.manual_seed(1)
    x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = (2 * x - x / 3 + x**2).clamp(min=0.5).sum(dim=0, keepdim=True)
    (dx,) = minidl.grad(y.mean(), x, create_graph=True)
    (d2x,) = minidl.grad(dx.sum(), x)
    stacked = minidl.stack([dx, d2x]).permute(1, 0).reshape(-1, 2)
    best, where = stacked.max(dim=1)
    Cube.apply(x).sum().backward()
    assert x.grad is not None and check_gradients(Cube.apply, minidl.randn(3, dtype="float64"))
    picked = stacked[where[0].item() :, ::2]
    return [*best.tolist(), *x.grad.tolist(), float(picked.norm()), stacked.T.shape[0]]


def main(folder: Path) -> float:
    """Train, save, load again, and return the accuracy of the loaded network."""
    minidl.manual_seed(0)
    images, labels = stripes(64)
    loader = DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True, seed=0)
    model = Net(classes=2)
    history = train(model, loader, epochs=3)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, loss", *(f"{loss:.3f}" for loss in history))
    print(watch(model, minidl.tensor(images[:2])), arithmetic())

    path = folder / "net.safetensors"
    minidl.save(model.state_dict(), path)
    twin = Net(classes=2)
    result = twin.load_state_dict(minidl.load(path))
    assert not result.missing_keys and not result.unexpected_keys
    return accuracy(twin, minidl.tensor(images), minidl.tensor(labels))


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
