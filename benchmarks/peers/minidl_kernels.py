"""Single kernels of minidl: convolutions, passes over activations and parameters; and what this machine can do."""

from __future__ import annotations

import operator

import numpy as np

import minidl
import minidl.nn.functional as F
from benchmarks.inputs import convolution_arrays, sample
from benchmarks.jobs import Job
from benchmarks.peers import shared
from minidl import optim
from minidl.backend import channels_last
from minidl.kernels.cpu.convolution import algorithms
from minidl.ops import convolution


class Convolution(Job):
    """One convolution at a time: `choose` it and one of its three directions, then take turns."""

    def __init__(self, threads, dtype="float32"):
        self.dtype = dtype

    def choose(self, shape):
        """Make the arrays of a shape [N, C, H, K, k]."""
        x, weight, grad = (array.astype(self.dtype) for array in convolution_arrays(shape))
        x, grad = channels_last(x.transpose(0, 3, 1, 2)), channels_last(grad.transpose(0, 3, 1, 2))
        p = shape[-1] // 2
        padding = ((p, p), (p, p))
        self.steps = {
            "forward": lambda: convolution.conv2d_forward(x, weight, None, padding=padding),
            "input_grad": lambda: convolution.conv2d_input_grad(grad, weight, x.shape, padding=padding),
            "weight_grad": lambda: convolution.conv2d_weight_grad(grad, x, weight.shape, padding=padding),
        }
        self.results = {stage: None for stage in self.steps}

    def turn(self, stage, seconds):
        """A turn with one of the directions."""
        self.step = self.steps[stage]
        return super().turn(seconds)

    def check(self, path):
        """Write what is compared with float64; the algorithms that ran, by direction."""
        ran, found = {}, {}
        for stage, self.step in self.steps.items():
            with algorithm_of(stage, ran):
                self.rehearse()
            found[stage] = sample(stage, self.step())
        np.savez(path, **found)
        return ran


class algorithm_of:
    """Note which row of the table of algorithms computes within the block, under `stage` in the dictionary `ran`."""

    def __init__(self, stage, ran):
        self.stage, self.ran, self.find = stage, ran, algorithms.function_of

    def __enter__(self):
        def find(rule, stage):
            function = self.find(rule, stage)

            def watched(*args, **options):
                result = function(*args, **options)
                if result is not NotImplemented:
                    self.ran[self.stage] = rule.name
                return result

            return watched

        algorithms.function_of = find

    def __exit__(self, *_):
        algorithms.function_of = self.find
        self.ran.setdefault(self.stage, "plain")


class Kernels(shared.Kernels):
    """The passes over activations and parameters."""

    functions = {
        "batch norm + ReLU": lambda x, *affine: F.batch_norm(x, None, None, *affine, training=True, relu=True),
        "max pool 3x3, stride 1": lambda x: F.max_pool2d(x, 3, 1, 1),
        "max pool 3x3, stride 2": lambda x: F.max_pool2d(x, 3, 2, 1),
        "softmax cross-entropy": F.cross_entropy,
    }
    optimizers = {
        "SGD with momentum": lambda parameters: optim.SGD(parameters, lr=0.01, momentum=0.9),
        "Adam": lambda parameters: optim.Adam(parameters, lr=0.01),
    }
    parameter, array = staticmethod(minidl.Tensor), operator.attrgetter("data")

    def tensor(self, array):
        """The array as a tensor, images (N, H, W, C) as (N, C, H, W) in the same memory."""
        return minidl.Tensor(channels_last(array.transpose(0, 3, 1, 2)) if array.ndim == 4 else array)


class Machine(Job):
    """Floating-point operations per second in registers, bytes per second from memory."""

    def __init__(self, threads):
        from benchmarks import peak

        self.measurements = {"flops": peak.flops, "bandwidth": peak.bandwidth}

    def measure(self):
        """Both measurements, by name."""
        return {name: function() for name, function in self.measurements.items()}


JOBS = {"convolution": Convolution, "kernels": Kernels, "machine": Machine}
