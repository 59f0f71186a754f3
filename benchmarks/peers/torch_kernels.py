"""Single kernels of PyTorch, channels-last: convolutions, and the passes over activations and parameters."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.inputs import convolution_arrays, sample
from benchmarks.jobs import Job
from benchmarks.peers import shared


class Convolution(Job):
    """One convolution at a time: `choose` it and one of its three directions, then take turns."""

    def __init__(self, threads, dtype="float32"):
        torch.set_num_threads(threads)
        self.dtype = dtype

    def choose(self, shape):
        """Make the tensors of a shape [N, C, H, K, k]; weights channels-last too, as PyTorch wants them."""
        x, weight, grad = (torch.from_numpy(array.astype(self.dtype)) for array in convolution_arrays(shape))
        x, grad = x.permute(0, 3, 1, 2), grad.permute(0, 3, 1, 2)
        weight = weight.contiguous(memory_format=torch.channels_last)
        p = shape[-1] // 2

        def backward(*wanted):
            return torch.ops.aten.convolution_backward(
                grad, x, weight, None, [1, 1], [p, p], [1, 1], False, [0, 0], 1, [*wanted, False]
            )

        self.steps = {
            "forward": lambda: F.conv2d(x, weight, padding=p),
            "input_grad": lambda: backward(True, False)[0],
            "weight_grad": lambda: backward(False, True)[1],
        }

    def turn(self, stage, seconds):
        """A turn with one of the directions."""
        self.step = self.steps[stage]
        with torch.inference_mode():
            return super().turn(seconds)

    def check(self, path):
        """Write what is compared with float64."""
        found = {}
        with torch.inference_mode():
            for stage, self.step in self.steps.items():
                self.rehearse()
                found[stage] = sample(stage, self.step().numpy())
        np.savez(path, **found)


def array(tensor):
    """A tensor as an array; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


class Kernels(shared.Kernels):
    """The passes over activations and parameters."""

    functions = {
        "batch norm + ReLU": lambda x, *affine: F.relu(F.batch_norm(x, None, None, *affine, True), inplace=True),
        "max pool 3x3, stride 1": lambda x: F.max_pool2d(x, 3, 1, 1),
        "max pool 3x3, stride 2": lambda x: F.max_pool2d(x, 3, 2, 1),
        "softmax cross-entropy": F.cross_entropy,
    }
    optimizers = {
        "SGD with momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, fused=True),
        "Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, fused=True),
    }
    parameter, array = staticmethod(torch.from_numpy), staticmethod(array)

    def __init__(self, threads, dtype="float32"):
        torch.set_num_threads(threads)
        super().__init__(threads, dtype)

    def tensor(self, array):
        """The array as a tensor, images (N, H, W, C) as (N, C, H, W) in the same memory."""
        tensor = torch.from_numpy(array)
        return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


JOBS = {"convolution": Convolution, "kernels": Kernels}
