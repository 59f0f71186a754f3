"""Single kernels of minidl: convolutions, passes over activations and parameters; and what this machine can do."""

from __future__ import annotations

import numpy as np

import minidl
import minidl.nn.functional as F
from benchmarks.inputs import convolution_arrays, kernel_arrays, sample
from benchmarks.jobs import Job
from minidl import optim
from minidl.backend import channels_last
from minidl.kernels import algorithms, convolution


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
            "forward": lambda: convolution.conv2d(x, weight, None, padding=padding),
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
        for stage, step in self.steps.items():
            with algorithm_of(stage, ran):
                found[stage] = sample(stage, step())
        np.savez(path, **found)
        return ran


class algorithm_of:
    """Note which row of the table of algorithms computes within the block, under `stage` in the dictionary `ran`."""

    def __init__(self, stage, ran):
        self.stage, self.ran, self.find = stage, ran, algorithms._function

    def __enter__(self):
        def find(rule, stage):
            function = self.find(rule, stage)

            def watched(*args, **options):
                result = function(*args, **options)
                if result is not NotImplemented:
                    self.ran[self.stage] = rule.name
                return result

            return watched

        algorithms._function = find

    def __exit__(self, *_):
        algorithms._function = self.find
        self.ran.setdefault(self.stage, "plain")


def _leaf(array):
    """What an image (N, H, W, C) or any other array becomes, to be differentiated."""
    array = channels_last(array.transpose(0, 3, 1, 2)) if array.ndim == 4 else array
    return minidl.Tensor(array, requires_grad=True)


def _image(array):
    return minidl.Tensor(channels_last(array.transpose(0, 3, 1, 2)))


def _batch_norm(x, weight, bias, grad):
    x, weight, bias, grad = _leaf(x), _leaf(weight), _leaf(bias), _image(grad)

    def step():
        x.grad = weight.grad = bias.grad = None
        y = F.batch_norm(x, None, None, weight, bias, training=True, relu=True)
        y.backward(grad)
        return y, x.grad, weight.grad, bias.grad

    return step


def _max_pool(stride):
    def build(x, grad):
        x, grad = _leaf(x), _image(grad)

        def step():
            x.grad = None
            y = F.max_pool2d(x, 3, stride, 1)
            y.backward(grad)
            return y, x.grad

        return step

    return build


def _cross_entropy(x, labels):
    x, labels = _leaf(x), minidl.Tensor(labels)

    def step():
        x.grad = None
        y = F.cross_entropy(x, labels)
        y.backward()
        return y, x.grad

    return step


def _optimizer(make):
    def build(**arrays):
        parameters = [minidl.Tensor(arrays[f"p{i}"], requires_grad=True) for i in range(len(arrays) // 2)]
        for i, parameter in enumerate(parameters):
            parameter.grad = minidl.Tensor(arrays[f"g{i}"])
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
    "SGD with momentum": _optimizer(lambda parameters: optim.SGD(parameters, lr=0.01, momentum=0.9)),
    "Adam": _optimizer(lambda parameters: optim.Adam(parameters, lr=0.01)),
}


class Kernels(Job):
    """One of the kernels, forward and backward: `choose` it, then take turns."""

    def __init__(self, threads, dtype="float32"):
        self.dtype = dtype

    def choose(self, name, quick):
        self.step = KERNELS[name](**kernel_arrays(name, quick, self.dtype))

    def check(self, path):
        np.savez(path, **{str(i): sample("forward", value.data) for i, value in enumerate(self.step())})


class Machine(Job):
    """Floating-point operations per second in registers, bytes per second from memory."""

    def __init__(self, threads):
        from benchmarks import peak

        self.measurements = {"flops": peak.flops, "bandwidth": peak.bandwidth}

    def measure(self):
        return {name: function() for name, function in self.measurements.items()}


JOBS = {"convolution": Convolution, "kernels": Kernels, "machine": Machine}
