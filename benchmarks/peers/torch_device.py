"""The training step on PyTorch, on a GPU, in the way that suits PyTorch best."""

from __future__ import annotations

import contextlib
import functools

import torch

from benchmarks.case import load
from benchmarks.peers import shared, torch_jobs, torch_kernels
from benchmarks.peers.shared import LEARNING_RATE, MOMENTUM
from benchmarks.peers.torch_googlenet import GoogLeNet


class Network(shared.OnDevice, torch_jobs.Network):
    """GoogLeNet's training step with the batch on the device."""

    def __init__(
        self, folder, mode, threads, device="cuda", dtype="float32", precision="float32", channels_last=False,
        compile=None,
    ):
        torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
        torch.backends.cudnn.allow_tf32 = precision != "float32"
        torch.backends.cudnn.benchmark = True
        case, weights, images, labels = load(folder)
        self.model = GoogLeNet(case.variant, case.classes, case.width, case.channels)
        self.reload = functools.partial(
            self.model.load_state_dict, {n: torch.from_numpy(w) for n, w in weights.items()}
        )
        self.reload()
        form = torch.channels_last if channels_last else torch.contiguous_format
        self.model.to(device, getattr(torch, dtype), memory_format=form)
        self.x = torch.from_numpy(case.inputs(images)).to(device, getattr(torch, dtype)).contiguous(memory_format=form)
        self.y = torch.from_numpy(labels).to(device)
        rounded = precision == "bf16"
        self.precision = torch.autocast(device, torch.bfloat16) if rounded else contextlib.nullcontext()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
        self.device, self.options = device, {"autocast": rounded, "channels_last": channels_last, "compile": compile}
        self.step, self.predicts = {"train": self.train}[mode], False
        if compile:
            self.model = torch.compile(self.model, mode=compile)

    def one_step(self):
        """A step of training without a look at the loss."""
        self.gradients()
        self.optimizer.step()

    @staticmethod
    def array(tensor):
        """A tensor of the device as a NumPy array."""
        return torch_kernels.array(tensor.detach().cpu())

    def wait(self):
        """Wait for the device."""
        if self.device != "cpu":
            torch.cuda.synchronize()

    def flags(self):
        """The settings that decide the precision and the algorithms, as PyTorch tells them."""
        said = {
            "matmul precision": torch.get_float32_matmul_precision(),
            "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        }
        said |= {"cudnn.benchmark": torch.backends.cudnn.benchmark, **self.options}
        return ", ".join(f"{name} {value}" for name, value in said.items())


JOBS = {"network": Network}
