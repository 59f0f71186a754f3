"""Arguments that nothing should be called with, and the verdict on what a call of them leads to.

A call may give a result, as it does in PyTorch, or raise one of four errors from a line of the engine's own that says
in one line which argument it is about. It may not warn: an infinity or a NaN is a result.
"""

import linecache
import math
import random
import warnings
from pathlib import Path

import numpy as np

import minidl
from minidl import Tensor

PACKAGE = str(Path(minidl.__file__).parent)
ERRORS = TypeError, ValueError, IndexError, RuntimeError, NotImplementedError
NUMPYS = ["operands could not", "cannot reshape", "AxisError", "ufunc", "umba", "setting an array", "zero-size array"]


def _tensor(value, dtype="float32", shape=(2, 3)):
    return Tensor(np.full(shape, value, dtype))


TENSORS = {
    "0-d": _tensor(1, shape=()), "0-d integer": _tensor(1, "int64", ()), "empty": _tensor(1, shape=(0,)),
    "no rows": _tensor(1, shape=(0, 3)), "no columns": _tensor(1, shape=(2, 0)),
    "no images": _tensor(1, shape=(0, 2, 4, 4)), "no channels": _tensor(1, shape=(1, 0, 4, 4)),
    "no pixels": _tensor(1, shape=(1, 2, 0, 4)), "vector": _tensor(1, shape=(5,)), "matrix": _tensor(1, shape=(4, 7)),
    "3 axes": _tensor(1, shape=(2, 3, 5)), "4 axes": _tensor(1, shape=(3, 5, 2, 7)),
    "5 axes": _tensor(1, shape=(1, 2, 3, 2, 2)), "one": _tensor(1, shape=(1, 1)), "zeros": _tensor(0),
    "negative": _tensor(-1), "integers": Tensor(np.arange(6).reshape(2, 3)), "negative integers": _tensor(-2, "int64"),
    "2**40": _tensor(2**40, "int64"), "2**63 - 1": _tensor(2**63 - 1, "int64"), "-2**63": _tensor(-(2**63), "int64"),
    "int8": _tensor(-128, "int8"), "uint8": _tensor(255, "uint8"), "mask": Tensor(np.array([[True, False, True]] * 2)),
    "float16": _tensor(6e4, "float16"), "float64": _tensor(1e300, "float64"), "NaN": _tensor(math.nan),
    "inf": _tensor(math.inf), "-inf": _tensor(-math.inf), "huge": _tensor(3e38), "tiny": _tensor(1e-45),
    "NaN image": _tensor(math.nan, shape=(1, 2, 4, 4)), "huge image": _tensor(3e38, shape=(1, 2, 4, 4)),
    "complex": _tensor(1, "complex64"), "every third row": Tensor(np.ones((6, 4), "float32")[::3, :3]),
}  # fmt: skip
OTHERS = {
    "2**40": 2**40, "-2**40": -(2**40), "2**63": 2**63, "2**70": 2**70, "10**400": 10**400, "-1": -1, "-2": -2,
    "0": 0, "1": 1, "2": 2, "7": 7, "500": 500, "1.5": 1.5, "-0.5": -0.5, "nan": math.nan, "inf": math.inf,
    "-inf": -math.inf, "1e300": 1e300, "True": True, "False": False, "None": None, "text": "abc", "empty text": "",
    "list": [], "tuple": (), "(0,)": (0,), "(1, 2)": (1, 2), "(1, 2, 3)": (1, 2, 3), "(-1, -1)": (-1, -1),
    "(0, 0)": (0, 0), "[2**40]": [2**40], "(2**40, 0)": (2**40, 0), "[None]": [None], "list of text": ["a"],
    "[1.5]": [1.5], "[[1]]": [[1]], "dict": {}, "set": {1}, "object": object(), "1j": 1j,
    "0-d tensor": _tensor(2, shape=()), "tensor": _tensor(2, shape=(3,)), "np.int64": np.int64(2),
    "np.float32": np.float32(0.5), "array": np.ones(2), "objects": np.array([None]),
    "masked": np.ma.masked_array([1.0], [1]), "foreign": np.ones((2, 3), ">f4"), "function": len, "type": int,
    "bytes": b"abc", "range": range(3), "list of bool": [True, False], "tensors": [_tensor(1)],
    "tensor and None": [_tensor(1), None], "unlike tensors": [_tensor(1), _tensor(1, shape=(4, 5))],
}  # fmt: skip
VALUES = {**{f"tensor: {name}": value for name, value in TENSORS.items()}, **OTHERS}


def drawn(name, share=5):
    """One in `share` of the hostile values, others for every `name`, the same in every run; all for a `share` of 1."""
    names = sorted(VALUES)
    chosen = names if share == 1 else random.Random(name).sample(names, len(names) // share)
    return {key: VALUES[key] for key in chosen}


def problem(call):
    """None for a result or a clear refusal; otherwise a line on what happened."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)  # PyTorch warns of a lost half, too
            call()
    except Exception as error:  # of any kind: that is what is being asked
        return None if is_clear(error) else f"{type(error).__name__}: {error}"
    return None


def is_clear(error):
    """Return whether a line of the engine's own raised an error of the user's that says what is wrong in one line."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    path = trace.tb_frame.f_code.co_filename
    line = linecache.getline(path, trace.tb_lineno)
    ours = path.startswith(PACKAGE) and line.lstrip().startswith("raise")
    text = str(error)
    return (
        ours and type(error) in ERRORS and "\n" not in text and "`" in text and not any(word in text for word in NUMPYS)
    )
