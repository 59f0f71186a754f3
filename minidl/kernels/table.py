"""The list of what is faster where: for a kind of arrays, operation -> module that has a form of the same name.

Operations are written as the first storey knows them: module below ``minidl``, then function, `Fused` class, or method
of a module. Nothing is registered anywhere else.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import warnings

CPU = {
    "captured.Replays": "cpu.capture.replays",
    "nn.branches.Branches.join": "cpu.blocks.branches",
    "ops.activations.Gelu": "cpu.activations",
    "ops.average_pooling.adaptive_avg_pool2d_adjoint": "cpu.pooling.average",
    "ops.average_pooling.adaptive_avg_pool2d_forward": "cpu.pooling.average",
    "ops.average_pooling.avg_pool2d_adjoint": "cpu.pooling.average",
    "ops.average_pooling.avg_pool2d_forward": "cpu.pooling.average",
    "ops.convolution.conv2d_forward": "cpu.convolution.forms",
    "ops.convolution.conv2d_input_grad": "cpu.convolution.forms",
    "ops.convolution.conv2d_weight_grad": "cpu.convolution.forms",
    "ops.dropout.dropout_forward": "cpu.random",
    "ops.elementwise.relu_forward": "cpu.elementwise",
    "ops.elementwise.relu_grad": "cpu.elementwise",
    "ops.losses.CrossEntropy": "cpu.losses",
    "ops.matmul.linear_forward": "cpu.products.forms",
    "ops.matmul.matmul_forward": "cpu.products.forms",
    "ops.max_pooling.max_pool2d_forward": "cpu.pooling.maximum",
    "ops.max_pooling.max_pool2d_scatter": "cpu.pooling.maximum",
    "ops.max_pooling.max_pool2d_values": "cpu.pooling.values",
    "ops.normalisation.BatchNorm": "cpu.normalisation.channels",
    "ops.normalisation.BatchNormEval": "cpu.normalisation.channels",
    "ops.normalisation.LayerNorm": "cpu.normalisation.rows",
    "ops.normalisation.LocalResponseNorm": "cpu.normalisation.rows",
    "ops.reduction.sum_forward": "cpu.reduction",
    "optim.adam.adam_update": "cpu.optimisers",
    "optim.rmsprop.rmsprop_update": "cpu.optimisers",
    "optim.sgd.sgd_update": "cpu.optimisers",
    "optim.updates.lerp": "cpu.optimisers",
    "philox.fill_uint32": "cpu.random",
}
GPU = {
    "captured.Replays": "gpu.capture",
    "data.places.looked_up": "gpu.places",
    "nn.branches.Branches.join": "gpu.branches",
    "ops.average_pooling.adaptive_avg_pool2d_adjoint": "gpu.pooling",
    "ops.average_pooling.adaptive_avg_pool2d_forward": "gpu.pooling",
    "ops.average_pooling.avg_pool2d_adjoint": "gpu.pooling",
    "ops.average_pooling.avg_pool2d_forward": "gpu.pooling",
    "ops.convolution.conv2d_forward": "gpu.convolution",
    "ops.convolution.conv2d_input_grad": "gpu.convolution",
    "ops.convolution.conv2d_weight_grad": "gpu.convolution",
    "ops.dropout.dropout_forward": "gpu.random",
    "ops.losses.CrossEntropy": "gpu.losses",
    "ops.matmul.linear_forward": "gpu.products",
    "ops.matmul.matmul_forward": "gpu.products",
    "ops.max_pooling.max_pool2d_forward": "gpu.pooling",
    "ops.max_pooling.max_pool2d_gather": "gpu.pooling",
    "ops.max_pooling.max_pool2d_scatter": "gpu.pooling",
    "ops.normalisation.BatchNorm": "gpu.normalisation",
    "ops.normalisation.BatchNormEval": "gpu.normalisation",
    "ops.reduction.sum_forward": "gpu.reduction",
    "optim.adam.adam_update": "gpu.optimisers",
    "optim.sgd.sgd_update": "gpu.optimisers",
    "philox.fill_uint32": "gpu.random",
}
FORMS = {"cpu": CPU, "gpu": GPU}
# Packages without which everything runs in its plain form, or "module:function" that raises where kernels do not run.
COMPILERS = {"cpu": ("numba",), "gpu": ("cuda.tile", "numba", "minidl.kernels.gpu.random:probe")}


def find(operation, family):
    """The form of `operation` for a family of arrays (`backend.ArrayKind.family`), or None.

    Examples
    --------
    >>> find("ops.convolution.conv2d_forward", "cpu").__module__
    'minidl.kernels.cpu.convolution.forms'
    """
    module = FORMS.get(family, {}).get(operation)
    if module is None or not all(map(_can_compile, COMPILERS[family])):
        return None
    return getattr(importlib.import_module(f"minidl.kernels.{module}"), operation.rpartition(".")[2])


def machine():
    """Facts about this processor as the kernels see it, to print: names and values."""
    if not all(map(_can_compile, COMPILERS["cpu"])):
        return {}
    return importlib.import_module("minidl.kernels.cpu.machine").facts()


@functools.cache
def _can_compile(compiler):
    """Return whether `compiler` is installed, and not switched off as Numba can be; one that fails is told of once."""
    module, _, probe = compiler.partition(":")
    if probe:
        return _succeeds(getattr(importlib.import_module(module), probe))
    try:
        found = importlib.util.find_spec(compiler) is not None
    except ModuleNotFoundError:  # the package that it is a part of is not there either
        found = False
    return found and (compiler != "numba" or os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0"))


def _succeeds(probe):
    try:
        probe()
    except Exception as error:  # a compiler that is missing, a driver that is too old, a GPU that it does not know
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        warnings.warn(
            f"the GPU's kernels cannot run, operations take their plain forms: {reason}", RuntimeWarning, stacklevel=2
        )
        return False
    return True
