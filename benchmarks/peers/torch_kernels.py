"""Single kernels of PyTorch, channels-last: convolutions, and the passes over activations and parameters."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.inputs import convolution_arrays, kernel_arrays, sample
from benchmarks.jobs import Job


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
        with torch.inference_mode():
            np.savez(path, **{stage: sample(stage, step().numpy()) for stage, step in self.steps.items()})


def _leaf(array):
    """What an image (N, H, W, C) or any other array becomes, to be differentiated."""
    tensor = torch.from_numpy(array)
    return (tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor).requires_grad_()


def _batch_norm(x, weight, bias, grad):
    x, weight, bias, grad = _leaf(x), _leaf(weight), _leaf(bias), torch.from_numpy(grad).permute(0, 3, 1, 2)

    def step():
        x.grad = weight.grad = bias.grad = None
        y = F.relu(F.batch_norm(x, None, None, weight, bias, training=True), inplace=True)
        y.backward(grad)
        return y, x.grad, weight.grad, bias.grad

    return step


def _max_pool(stride):
    def build(x, grad):
        x, grad = _leaf(x), torch.from_numpy(grad).permute(0, 3, 1, 2)

        def step():
            x.grad = None
            y = F.max_pool2d(x, 3, stride, 1)
            y.backward(grad)
            return y, x.grad

        return step

    return build


def _cross_entropy(x, labels):
    x, labels = _leaf(x), torch.from_numpy(labels)

    def step():
        x.grad = None
        y = F.cross_entropy(x, labels)
        y.backward()
        return y, x.grad

    return step


def _optimizer(make):
    def build(**arrays):
        parameters = [torch.from_numpy(arrays[f"p{i}"]).requires_grad_() for i in range(len(arrays) // 2)]
        for i, parameter in enumerate(parameters):
            parameter.grad = torch.from_numpy(arrays[f"g{i}"])
        optimizer = make(parameters)

        def step():
            optimizer.step()
            return parameters

        return step

    return build


KERNELS = {
    "batch norm + ReLU": _batch_norm,
    "max pool 3x3, stride 1": _max_pool(1),
    "max pool 3x3, stride 2": _max_pool(2),
    "softmax cross-entropy": _cross_entropy,
    "SGD with momentum": _optimizer(lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True)),
    "Adam": _optimizer(lambda p: torch.optim.Adam(p, lr=0.01, fused=True)),
}


class Kernels(Job):
    """One of the kernels, forward and backward: `choose` it, then take turns."""

    def __init__(self, threads, dtype="float32"):
        torch.set_num_threads(threads)
        self.dtype = dtype

    def choose(self, name, quick):
        self.step = KERNELS[name](**kernel_arrays(name, quick, self.dtype))

    def check(self, path):
        np.savez(path, **{str(i): sample("forward", value.detach().numpy()) for i, value in enumerate(self.step())})


JOBS = {"convolution": Convolution, "kernels": Kernels}
