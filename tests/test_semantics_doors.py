"""Every operation refuses what is no Tensor, or holds no numbers, in one line that names the argument.

The calls are made of the signatures: each argument that takes a Tensor gets, one after another, a list, None, a text,
a dictionary, and arrays of objects, texts and dates, masked ones and those of another machine's byte order.
"""

import inspect
import linecache
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import Tensor
from minidl.nn import functional

PACKAGE = str(Path(minidl.__file__).parent)
X, IMAGE, SEQUENCE, VECTOR = minidl.ones(2, 3), minidl.ones(1, 2, 4, 4), minidl.ones(1, 2, 4), minidl.ones(3)
LABELS, MASK, INDEX = minidl.tensor([0, 1]), X > 0, minidl.tensor([[0, 0, 0]])
USUAL = dict(  # what an argument without a default is given, by its name
    input=X, other=X, tensor=LABELS, tensors=[X, X], index=INDEX, indices=INDEX, weight=X, target=X, end=X, mask=MASK,
    condition=MASK, src=X, source=X, x1=X, x2=X, query=IMAGE, key=IMAGE, dim=0, dim0=0, dim1=1, dims=(0, 1), chunks=2,
    exponent=2.0, split_size_or_sections=1, pad=(1, 1), value=1.0, repeats=2, shifts=1, k=1, start=0, length=1,
    kernel_size=2, output_size=2, normalized_shape=(3,), num_groups=1, size=3, dtype="float64", running_mean=VECTOR,
    running_var=VECTOR, fill_value=1.0,
)  # fmt: skip
POOL, BINS = dict(input=IMAGE, kernel_size=2), dict(input=IMAGE, output_size=2)
CONV = dict(input=IMAGE, weight=minidl.ones(2, 2, 3, 3))
CONV_1D = dict(input=SEQUENCE, weight=minidl.ones(2, 2, 3))
OWN = {  # operations whose arguments must fit together in another way
    "conv2d": CONV, "conv_transpose2d": CONV, "conv1d": CONV_1D, "conv_transpose1d": CONV_1D,
    "max_pool2d": POOL, "avg_pool2d": POOL, "im2col": POOL, "unfold": POOL,
    "adaptive_avg_pool2d": BINS, "adaptive_max_pool2d": BINS, "global_avg_pool2d": dict(input=IMAGE),
    "max_pool1d": dict(POOL, input=SEQUENCE), "avg_pool1d": dict(POOL, input=SEQUENCE),
    "adaptive_avg_pool1d": dict(BINS, input=SEQUENCE), "adaptive_max_pool1d": dict(BINS, input=SEQUENCE),
    "col2im": dict(columns=minidl.ones(9, 8), input_shape=(1, 2, 4, 4), kernel_size=2),
    "fold": dict(input=minidl.ones(1, 8, 9), output_size=4, kernel_size=2),
    "cross_entropy": dict(input=X, target=LABELS), "nll_loss": dict(input=X, target=LABELS),
    "matmul": dict(input=X, other=minidl.ones(3, 2)), "mm": dict(input=X, mat2=minidl.ones(3, 2)),
    "bmm": dict(input=minidl.ones(1, 2, 3), mat2=minidl.ones(1, 3, 2)), "mv": dict(input=X, vec=VECTOR),
    "dot": dict(input=VECTOR, tensor=VECTOR), "outer": dict(input=VECTOR, vec2=VECTOR),
    "interpolate": dict(input=IMAGE, scale_factor=2), "grid_sample": dict(input=IMAGE, grid=minidl.zeros(1, 2, 2, 2)),
    "pixel_shuffle": dict(input=minidl.ones(1, 4, 2, 2), upscale_factor=2),
    "pixel_unshuffle": dict(input=IMAGE, downscale_factor=2), "dropout2d": dict(input=IMAGE),
    "instance_norm": dict(input=IMAGE), "instance_norm_train": dict(input=IMAGE),
    "binary_cross_entropy": dict(input=X * 0.5, target=X), "batch_norm_eval": dict(input=X, mean=VECTOR, var=VECTOR),
    "clamp": dict(input=X, min=X), "bitwise_and": dict(input=LABELS, other=LABELS),
    "bitwise_or": dict(input=LABELS, other=LABELS), "bitwise_xor": dict(input=LABELS, other=LABELS),
    "bitwise_not": dict(input=LABELS), "flip": dict(input=X, dims=0), "gather": dict(input=X, dim=0, index=INDEX),
    "index_select": dict(input=X, dim=0, index=LABELS), "index_add": dict(input=X, dim=0, index=LABELS, source=X),
    "prelu": dict(input=X, weight=VECTOR), "scatter_add": dict(input=X, dim=0, index=INDEX, src=X),
    "scatter_reduce": dict(input=X, dim=0, index=INDEX, src=X, reduce="prod"), "glu": dict(input=minidl.ones(2, 4)),
    "embedding": dict(input=LABELS, weight=X),
    "scaled_dot_product_attention": dict(query=IMAGE, key=IMAGE, value=IMAGE),
}  # fmt: skip
OPTIONAL = {"weight", "bias", "pos_weight"}
NO_TENSORS = set("eye from_numpy full linspace arange randint randperm zeros ones empty rand randn".split())
BAD = {
    "list": [1.0],
    "None": None,
    "text": "abc",
    "dict": {},
    "objects": np.array([None]),
    "texts": np.array(["a"]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "masked": np.ma.masked_array([1.0, 2.0], [0, 1]),
    "foreign": np.ones((2, 3), ">f4"),
}


def operations():
    """The public operations by name, those that take several Tensors one by one (``*tensors``) apart."""
    found = {}
    for module in (minidl, functional):
        for name, f in inspect.getmembers(module, inspect.isfunction):
            is_ours = f.__module__.startswith(("minidl.ops", "minidl.nn.functional"))
            if is_ours and name not in NO_TENSORS | {"tensor_of"}:
                kinds = [p.kind for p in inspect.signature(f).parameters.values()]
                if name in OWN or inspect.Parameter.VAR_POSITIONAL not in kinds:
                    found[name] = f
    return found


OPERATIONS = {
    name: f
    for name, f in operations().items()
    if not name.startswith("_") and name not in ("floating", "update_running", "scatter")
}


def usual(name):
    """Arguments with which an operation runs."""
    needed = [p.name for p in inspect.signature(OPERATIONS[name]).parameters.values() if p.default is p.empty]
    return OWN.get(name) or {argument: USUAL[argument] for argument in needed}


def is_clear(error):
    """Return whether the engine itself raised an error of one line that names something."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    path = trace.tb_frame.f_code.co_filename
    line = linecache.getline(path, trace.tb_lineno)
    ours = path.startswith(PACKAGE) and line.lstrip().startswith("raise")
    return ours and isinstance(error, (TypeError, ValueError)) and "`" in str(error) and "\n" not in str(error)


def bad_calls(name):
    """(description, arguments) of every call with one Tensor replaced by what is none."""
    arguments = usual(name)
    parameters = inspect.signature(OPERATIONS[name]).parameters
    for argument in [*arguments, *(OPTIONAL & set(parameters) - set(arguments))]:
        value = arguments.get(argument)
        several = isinstance(value, list) and isinstance(value[0], Tensor)
        if argument in arguments and not several and not isinstance(value, Tensor):
            continue
        for kind, bad in BAD.items():
            optional = argument not in arguments or parameters[argument].default is None
            if not (bad is None and optional):
                yield f"{argument}: {kind}", {**arguments, argument: [X, bad] if several else bad}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_what_is_no_tensor_is_refused_by_name(name):
    OPERATIONS[name](**usual(name))  # runs
    calls = list(bad_calls(name))
    assert calls
    for description, arguments in calls:
        try:
            OPERATIONS[name](**arguments)
        except Exception as error:  # of any kind: that is what is being asked
            assert is_clear(error), f"{description}: {type(error).__name__}: {error}"
        else:
            raise AssertionError(f"{description} was taken")
