"""PyTorch's own samples of its operators, run on both sides and compared: one verdict for each sample.

The samples are those of `torch.testing._internal`, which come with PyTorch's wheel. Operators are matched by name
(`NAMES` lists those that are spelled differently). A sample's verdict is one of

- ``equal``: same shapes, dtypes and values, same gradients, and in float64 same second derivatives;
- ``refused``: minidl says in one line which argument it does not take;
- ``both refuse``: neither library takes it, and minidl says why;
- ``differs``: another value, another dtype, or an error from deep inside.

`python tests/conformity.py softmax` prints every sample of an operator that is not equal.
"""

from __future__ import annotations

import functools
import linecache
import re
import sys
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import minidl

torch.set_num_threads(1)
PACKAGE = str(Path(minidl.__file__).parent)
DTYPES = (torch.float64, torch.float32, torch.int64, torch.bool)
TOLERANCES = {"float64": 1e-9, "float32": 5e-5}  # relative to the largest number of the array
KINDS = ("equal", "refused", "both refuse", "differs")
SIGNATURE = r"[\w.<>]+\(\) (got an unexpected keyword argument|got multiple values|takes|missing \d+ required)"

# PyTorch's name: minidl's, where they differ
NAMES = {
    "rsub": lambda x, other, alpha=1: minidl.sub(other, x, alpha=alpha),
    "true_divide": "div",
    "split_with_sizes": "split",
    "einsum": lambda operands, equation: minidl.einsum(equation, operands),
    "zero_": lambda x: x.clone().zero_(),
    "where": lambda x, condition, other: minidl.where(condition, x, other),
    "linalg.diagonal": lambda x, offset=0, dim1=-2, dim2=-1: minidl.diagonal(x, offset, dim1, dim2),
    "nn.functional.embedding": lambda weight, index, **options: minidl.embedding(index, weight, **options),
    "nn.functional.upsample_nearest": None,
    "linalg.vector_norm": lambda x, ord=2, dim=None, keepdim=False: minidl.norm(x, ord, dim, keepdim),
    "nn.functional.upsample_bilinear": None,
    "unfold": None,  # of one axis of a tensor, not of an image's windows
}
# Their values are random, or undefined: shapes and dtypes are compared.
RANDOM = {
    "empty", "empty_like", "rand_like", "randn", "randn_like", "randint",
    "nn.functional.dropout", "nn.functional.dropout2d",
}  # fmt: skip


@dataclass
class Verdict:
    """The outcome of one sample."""

    operator: str
    sample: str
    kind: str  # "equal", "refused" or "differs"
    text: str = ""

    def __str__(self):
        return f"{self.operator}({self.sample}): {self.kind}: {self.text}"


def ours(name):
    """minidl's function for PyTorch's operator `name`, or None."""
    short = name.removeprefix("nn.functional.")
    found = NAMES.get(name, short)
    if not isinstance(found, str):
        return found
    places = (minidl.nn.functional,) if short != name else (minidl, minidl.Tensor)
    for place in places:
        attribute = getattr(place, found, None)
        if callable(attribute):
            return attribute
        if isinstance(attribute, property):
            return attribute.fget
    return None


def operators():
    """The operators of PyTorch's table that both have, with minidl's function."""
    return [(info, function) for info in op_db if (function := ours(info.name)) is not None]


# ---------------------------------------------------------------- from one library to the other


def convert(value, leaves):
    """An argument of a sample for minidl; those Tensors that want a gradient are kept in `leaves`, by their twin's id.

    A tensor that stands in two places becomes one Tensor in two places.
    """
    if isinstance(value, torch.Tensor):
        if id(value) in leaves:
            return leaves[id(value)]
        tensor = minidl.Tensor(np.array(value.detach().numpy(), order="K"), requires_grad=value.requires_grad)
        if value.requires_grad:
            leaves[id(value)] = tensor
        return tensor
    if isinstance(value, torch.dtype):
        return torch.empty(0, dtype=value).numpy().dtype
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(convert(v, leaves) for v in value)
    if isinstance(value, dict):
        return {key: convert(v, leaves) for key, v in value.items()}
    if isinstance(value, slice):
        return slice(*(convert(v, leaves) for v in (value.start, value.stop, value.step)))
    return value


def torch_leaves(value):
    """The Tensors within an argument that want a gradient, each once, in the order of `convert`."""
    if isinstance(value, torch.Tensor):
        return [value] if value.requires_grad else []
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, slice):
        value = [value.start, value.stop, value.step]
    found = [t for v in value for t in torch_leaves(v)] if isinstance(value, (list, tuple)) else []
    return list({id(t): t for t in found}.values())


def describe(value):
    """An argument in a few characters."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        left, right = "[]" if isinstance(value, list) else "()"
        return left + ", ".join(map(describe, value)) + right
    if isinstance(value, dict):
        return ", ".join(f"{key}={describe(v)}" for key, v in value.items())
    return repr(value)


def flat(outputs):
    """Outputs as a flat list of tensors and numbers."""
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, (list, tuple)):
        return [y for output in outputs for y in flat(output)]
    return [] if outputs is None else [outputs]


def as_array(y):
    """A tensor of either side, or a number, as a NumPy array."""
    if isinstance(y, torch.Tensor):
        return y.numpy(force=True)
    return y.detach().numpy() if isinstance(y, minidl.Tensor) else np.asarray(y)


# ---------------------------------------------------------------- comparing


class Different(Exception):
    """The two sides disagree; the message says in what."""


def check_arrays(what, found, expected, values=True):
    """Same shape, dtype, non-finite places and, to rounding, numbers."""
    if found.shape != expected.shape:
        raise Different(f"{what}: shape {found.shape} instead of {expected.shape}")
    if found.dtype != expected.dtype:
        raise Different(f"{what}: dtype {found.dtype} instead of {expected.dtype}")
    if not values:
        return
    if found.dtype.kind != "f":
        if not np.array_equal(found, expected):
            raise Different(f"{what}: {_first(found, expected, found != expected)}")
        return
    finite = np.isfinite(expected)
    scale = np.abs(expected, where=finite, out=np.zeros_like(expected)).max(initial=1.0)
    with np.errstate(all="ignore"):
        wrong = np.where(
            finite,
            ~(np.abs(found - expected) <= TOLERANCES.get(str(found.dtype), 2e-3) * scale),
            ~((found == expected) | (np.isnan(found) & np.isnan(expected))),
        )
    if wrong.any():
        raise Different(f"{what}: {_first(found, expected, wrong)}")


def _first(found, expected, wrong):
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{found[place]} instead of {expected[place]} at {place}"


def derivatives(library, outputs, leaves, upstream, directions):
    """Gradients of (outputs * upstream), and of (gradients * directions) if `directions` are given."""
    options = dict(allow_unused=True, materialize_grads=True)
    first = library.grad(_dot(outputs, upstream), leaves, create_graph=directions is not None, **options)
    if directions is None:
        return first, ()
    total = _dot(first, directions)
    if not getattr(total, "requires_grad", False):
        return first, [x * 0 for x in leaves]
    return first, library.grad(total, leaves, **options)


def _dot(xs, ys):
    return functools.reduce(lambda a, b: a + b, [(x * y).sum() for x, y in zip(xs, ys)])


class Torch:
    """PyTorch's `grad` under minidl's name."""

    grad = staticmethod(torch.autograd.grad)


def compare(theirs, mine, their_leaves, my_leaves, second, is_random=False):
    """Raise `Different` unless outputs and derivatives of the two sides agree."""
    theirs, mine = flat(theirs), flat(mine)
    if len(theirs) != len(mine):
        raise Different(f"{len(mine)} outputs instead of {len(theirs)}")
    for i, (a, b) in enumerate(zip(mine, theirs)):
        if isinstance(b, torch.Tensor) and not isinstance(a, minidl.Tensor):
            raise Different(f"value: {type(a).__name__} instead of a Tensor")
        check_arrays("value" if len(mine) == 1 else f"output {i}", as_array(a), as_array(b), not is_random)
    graded = [i for i, y in enumerate(theirs) if isinstance(y, torch.Tensor) and y.requires_grad]
    for i in range(len(mine)):
        if their_leaves and getattr(mine[i], "requires_grad", False) != (i in graded):
            raise Different(f"output {i}: requires_grad {mine[i].requires_grad}")
    if not graded or not their_leaves or is_random:
        return
    check_derivatives([theirs[i] for i in graded], [mine[i] for i in graded], their_leaves, my_leaves, second)


def check_derivatives(theirs, mine, their_leaves, my_leaves, second):
    """Compare the gradients of a random sum of the outputs, and the gradients of a random sum of these."""
    rng = np.random.default_rng(0)
    upstream = [rng.standard_normal(y.shape).astype(as_array(y).dtype) for y in theirs]
    directions = [rng.standard_normal(x.shape).astype(as_array(x).dtype) for x in their_leaves] if second else None
    try:
        expected = derivatives(Torch, theirs, their_leaves, *_as(torch.tensor, upstream, directions))
    except RuntimeError as error:  # PyTorch has no second derivative here, whatever its table says
        if directions is None or "is not implemented" not in str(error):
            raise
        return check_derivatives(theirs, mine, their_leaves, my_leaves, second=False)
    found = derivatives(minidl, mine, my_leaves, *_as(minidl.Tensor, upstream, directions))
    for order, a, b in zip(("gradient", "second derivative"), found, expected):
        for i, (x, y) in enumerate(zip(a, b)):
            check_arrays(f"{order} {i}", as_array(x), as_array(y))


def _as(kind, *lists):
    return [None if arrays is None else [kind(x) for x in arrays] for arrays in lists]


# ---------------------------------------------------------------- verdicts


def is_clear(error):
    """Return whether minidl itself says in one line which argument is wrong, rather than an error from inside."""
    if not isinstance(error, (ValueError, TypeError, RuntimeError, IndexError)) or "\n" in str(error):
        return False
    if isinstance(error, TypeError) and re.match(SIGNATURE, str(error)):
        return True  # Python's own, at the door: it names the function and the argument
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    path = trace.tb_frame.f_code.co_filename
    line = linecache.getline(path, trace.tb_lineno)
    return path.startswith(PACKAGE) and line.lstrip().startswith("raise") and "`" in str(error)


def verdict_of(operator, sample, run):
    """Run a comparison, and put what came of it into one of the kinds."""
    try:
        with np.errstate(all="ignore"):
            run()
    except Different as difference:
        return Verdict(operator, sample, "differs", str(difference))
    except Exception as error:  # of any kind: that is what is being judged
        kind, text = "refused" if is_clear(error) else "differs", f"{type(error).__name__}: {error}".splitlines()[0]
        return Verdict(operator, sample, kind, text)
    return Verdict(operator, sample, "equal")


def chosen(name, dtype, samples, every):
    """Every `every`-th sample, beginning at a place that depends on the name, so that all kinds of samples occur."""
    start = zlib.crc32(f"{name} {dtype}".encode()) % every
    return [s for i, s in enumerate(samples) if i % every == start or i == 0]


def judge(info, function, every=1):
    """The verdicts on all samples of one operator (or on one in `every`)."""
    name = info.name + (f".{info.variant_test_name}" if info.variant_test_name else "")
    supported = info.supported_dtypes("cpu")
    for dtype in (d for d in DTYPES if d in supported):
        differentiable = info.supports_autograd and dtype in info.supported_backward_dtypes("cpu")
        second = differentiable and info.supports_gradgrad and dtype == torch.float64
        torch.manual_seed(0)
        samples = info.sample_inputs_func(info, "cpu", dtype, differentiable)
        for sample in chosen(name, dtype, samples, every):
            yield judge_sample(info, function, name, sample, second)


def judge_sample(info, function, name, sample, second):
    """The verdict on one sample."""
    given = (sample.input, sample.args, sample.kwargs)
    parts = [describe(x) for x in (sample.input, *sample.args)] + ([describe(sample.kwargs)] if sample.kwargs else [])
    leaves = {}
    input, args, kwargs = (convert(x, leaves) for x in given)
    theirs = info.op(sample.input, *sample.args, **sample.kwargs)
    is_random = info.name in RANDOM or kwargs.get("dropout_p", 0.0) > 0

    def run():
        compare(theirs, function(input, *args, **kwargs), torch_leaves(given), [*leaves.values()], second, is_random)

    return verdict_of(name, ", ".join(parts), run)


def judge_errors(info, function):
    """The verdicts on the calls that PyTorch refuses: minidl refuses them too, and clearly."""
    torch.manual_seed(0)
    for wrong in info.error_inputs_func(info, "cpu") if info.error_inputs_func else ():
        sample = wrong.sample_input
        parts = [describe(x) for x in (sample.input, *sample.args, sample.kwargs)]
        try:
            input, args, kwargs = (convert(x, {}) for x in (sample.input, sample.args, sample.kwargs))
        except (TypeError, ValueError):
            continue  # dtypes that NumPy has not, or too many axes for it
        yield refusal_of(info.name, ", ".join(parts), wrong.error_regex, lambda: function(input, *args, **kwargs))


def refusal_of(operator, sample, regex, run):
    """The verdict on a call that is to be refused."""
    try:
        run()
    except Exception as error:  # of any kind: that is what is being judged
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        return Verdict(operator, sample, "both refuse" if is_clear(error) else "differs", text)
    return Verdict(operator, sample, "differs", f"accepted, but PyTorch refuses: {regex}")


def judge_all(every=1, names=()):
    """All verdicts on the operators that both have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for info, function in operators():
            if not names or info.name in names or info.name.removeprefix("nn.functional.") in names:
                yield from judge(info, function, every)
                yield from judge_errors(info, function)


if __name__ == "__main__":
    verdicts = list(judge_all(names=sys.argv[1:]))
    for verdict in verdicts:
        if verdict.kind != "equal":
            print(verdict)
    print({kind: sum(v.kind == kind for v in verdicts) for kind in KINDS})
