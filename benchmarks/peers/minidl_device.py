"""The training step on minidl, on a GPU."""

from __future__ import annotations

import numpy as np

import minidl
from benchmarks.peers import minidl_jobs, shared
from minidl import backend, dispatch

PRECISIONS = {"float32": "highest", "tf32": "high", "bf16": "medium"}


class Network(shared.OnDevice, minidl_jobs.Network):
    """GoogLeNet's training step with the batch on the device."""

    def __init__(self, folder, mode, threads, device="cuda", dtype="float32", precision="float32", capture=False):
        super().__init__(folder, mode, threads, dtype)
        minidl.set_float32_matmul_precision(PRECISIONS[precision])
        self.model.to(device)
        self.x, self.y = self.x.to(device), self.y.to(device)
        if capture:
            self.one_step = minidl.capture(self.one_step)
        self.captured = capture

    def one_step(self):
        """A step of training; logits and loss, at which it does not look."""
        found = self.gradients()
        self.optimizer.step()
        return found

    def check(self, path):
        """Write the results that are compared with float64 ones: of the step that is raced."""
        self.one_step()
        self.restore()
        logits, loss = self.one_step()
        found = {f"grad/{name}": self.array(p.grad).copy() for name, p in self.model.named_parameters()}
        found |= {"logits": self.array(logits).copy(), "loss": loss.item()}
        np.savez(path, **found, **{"loss after a step": self.one_step()[1].item()})

    @staticmethod
    def array(tensor):
        """A Tensor of the device as a NumPy array."""
        return backend.to_numpy(tensor.data)

    @staticmethod
    def wait():
        """Wait for the device."""
        minidl.cuda.synchronize()

    def flags(self):
        """The settings that decide the precision and the forms."""
        precision = minidl.get_float32_matmul_precision()
        return (
            f"set_float32_matmul_precision({precision!r}), {dispatch.kernels_in_use()} forms, captured {self.captured}"
        )


JOBS = {"network": Network}
