"""The default job of train.py in PyTorch, as a process of its own: `python -m benchmarks.peers.torch_train SETTINGS`.

The same network with the same kind of first weights, the same images, moved as far, batches, steps, rates, weight decay
and smoothed labels; after each epoch validation, and the same rule for the weights to keep, which in the end meet the
test images. Images lie in memory as bytes and are moved by one gather for the batch, which is faster than a
`torch.utils.data.DataLoader` over single images; the losses are read at the end of an epoch. The pages, pictures and
checkpoints of a run are train.py's alone. Reading the data and the rule are minidl's own, whose import takes a third of
a second of this process.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.peers.torch_googlenet import GoogLeNet
from minidl.data import load
from minidl.training.state import as_good

# What is written out below; with other settings this would be another job.
WRITTEN = dict(data="digits", model="googlenet", optimizer="sgd", schedule="one-cycle", augmentation="default", ema=0.0,
               aux_weight=0.0, bias_lr=0.0, head_lr=0.0, validation="tenth", test_views="one",
               weights=None)  # fmt: skip
SHIFT = 2  # pixels, of the digits' own augmentation


class Part:
    """The images of a part, as bytes (N, C, H, W), and their labels; batches of them are normalised."""

    def __init__(self, dataset, mean, std, form):
        pixels, labels = dataset.batch(np.arange(len(dataset)))
        self.images, self.labels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)
        self.padded = F.pad(self.images, (SHIFT,) * 4)
        self.mean, self.std = (torch.tensor(row).reshape(-1, 1, 1) for row in (mean, std))
        self.form = form

    def __len__(self):
        return len(self.labels)

    def batch(self, chosen):
        """Images and labels at these indices."""
        return self.normalised(self.images[chosen]), self.labels[chosen]

    def moved(self, chosen):
        """The same, each image moved by up to `SHIFT` pixels each way."""
        N, (H, W) = len(chosen), self.images.shape[2:]
        down, right = torch.randint(0, 2 * SHIFT + 1, (2, N, 1))
        rows, columns = down + torch.arange(H), right + torch.arange(W)
        pixels = self.padded[chosen[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
        return self.normalised(pixels.permute(0, 3, 1, 2)), self.labels[chosen]

    def normalised(self, pixels):
        """Bytes as floats of mean 0 and deviation 1."""
        return ((pixels / 255 - self.mean) / self.std).contiguous(memory_format=self.form)


def initialise(module):
    """The first weights of `models.GoogLeNet`: K. He et al. (arXiv 1502.01852), small ones for the classifier."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def optimiser(model, settings):
    """SGD with Nesterov's momentum, in PyTorch's fastest form; vectors decay at a rate of their own."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [dict(params=matrices, weight_decay=settings["weight_decay"]),
              dict(params=vectors, weight_decay=settings["bias_decay"])]  # fmt: skip
    return torch.optim.SGD(groups, settings["lr"], momentum=0.9, nesterov=True, fused=True)


def judged(model, part, size):
    """Loss and share of right answers."""
    model.eval()
    losses, right = [], 0
    with torch.inference_mode():
        for chosen in torch.arange(len(part)).split(size):
            images, labels = part.batch(chosen)
            logits = model(images)
            losses.append(F.cross_entropy(logits, labels, reduction="sum"))
            right += (logits.argmax(1) == labels).sum()
    return float(sum(losses)) / len(part), int(right) / len(part)


def train(settings, model, parts):
    """The job's loop; the weights of the best epoch, and the number of steps."""
    size, most = settings["batch_size"], settings["max_steps"] or sys.maxsize
    optimizer, per_epoch = optimiser(model, settings), -(-len(parts["train"]) // size)
    steps = max(2, settings["epochs"] * per_epoch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings["lr"], steps, pct_start=0.25, cycle_momentum=False
    )
    highest, done, best = 0.0, 0, {}
    for _ in range(settings["epochs"]):
        model.train()
        losses, right = [], 0
        for chosen in torch.randperm(len(parts["train"])).split(size)[: most - done]:
            images, labels = parts["train"].moved(chosen)
            logits = model(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=settings["label_smoothing"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
            right += (logits.argmax(1) == labels).sum()
            done += 1
        loss, accuracy = judged(model, parts["val"], size)
        train_loss = float(sum(losses)) / len(losses)
        print(f"train loss {train_loss:.4f}, {int(right)} right; val loss {loss:.4f}, {accuracy:.2%}", flush=True)
        highest = max(highest, accuracy)
        if as_good(accuracy, highest, len(parts["val"])):
            best = copy.deepcopy(model.state_dict())
        if done == most:
            break
    return best, done


def main(text):
    """The job with these settings (JSON: those of train.py, threads, memory order): results in the folder `output`."""
    settings = json.loads(text)
    other = {name: settings[name] for name, value in WRITTEN.items() if settings[name] != value}
    if other:
        raise ValueError(f"`settings` has {other}; accepted: {({name: WRITTEN[name] for name in other})}")
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(settings["seed"])
    form = torch.channels_last if settings["channels_last"] else torch.contiguous_format
    images = load(settings["data"])
    if images.augmentation != "shift":
        raise ValueError(f"{images.name} is augmented by {images.augmentation}; accepted: shift")
    parts = {name: Part(getattr(images, name), images.mean, images.std, form) for name in ("train", "val", "test")}
    model = GoogLeNet("cifar", len(images.class_names), settings["width"], images.channels)
    model = model.apply(initialise).to(memory_format=form)
    best, steps = train(settings, model, parts)
    model.load_state_dict(best)
    loss, accuracy = judged(model, parts["test"], settings["batch_size"])
    folder = Path(settings["output"])
    folder.mkdir(parents=True)
    torch.save(best, folder / "model.pt")
    parameters = sum(p.numel() for p in model.parameters())
    summary = {"test_accuracy": accuracy, "test_loss": loss, "parameters": parameters, "steps": steps}
    (folder / "summary.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    main(sys.argv[1])
