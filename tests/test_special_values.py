"""Overflow, infinities, NaN, denormals, 0-d and empty arrays: every faster form of the table against its plain form.

One element of one input, or of the gradient that comes from above, gets a special value. Results and gradients of the
two forms are then finite, plus infinity, minus infinity and NaN in the same places, and near to each other where they
are finite. A difference has to stand in `DIFFERENCES` with its reason; every row there is needed.
"""

import importlib
import importlib.util
import re
from dataclasses import dataclass

import numpy as np
import pytest

import minidl
from minidl import dispatch, nn, optim
from minidl.kernels.table import CPU
from minidl.nn import functional as F

pytestmark = pytest.mark.filterwarnings("ignore")
VALUES = {
    "inf": lambda kind: np.inf, "-inf": lambda kind: -np.inf, "nan": lambda kind: np.nan,
    "huge": lambda kind: 0.9 * kind.max, "-huge": lambda kind: -0.9 * kind.max,
    "denormal": lambda kind: kind.smallest_subnormal,
}  # fmt: skip
IMAGE, LABELS = (2, 16, 9, 11), minidl.tensor(np.arange(6) % 4)
CASES = {}  # name: (function of Tensors, shapes of its inputs, rows of the kernels' table)


def case(name, function, *shapes, rows):
    """Add an operation to the survey; its rows are written without the module's path where that is clear."""
    CASES[name] = function, shapes, {row for row in CPU for wanted in rows.split() if row.endswith("." + wanted)}


def convolution(name, weight, **options):
    """A convolution of `IMAGE`, which has a gradient to both inputs."""
    case(f"conv2d {name}", lambda x, w: minidl.conv2d(x, w, **options), IMAGE, weight,
         rows="conv2d_forward conv2d_input_grad conv2d_weight_grad")  # fmt: skip


convolution("1x1", (16, 16, 1, 1))
convolution("3x3", (16, 16, 3, 3), padding=1)
convolution("5x5", (16, 16, 5, 5), padding=2)
convolution("3x3 stride 2", (16, 16, 3, 3), padding=1, stride=2)
convolution("3x3 dilated", (16, 16, 3, 3), padding=2, dilation=2)
convolution("3x3 in groups", (16, 4, 3, 3), padding=1, groups=4)
convolution("depthwise", (16, 1, 3, 3), padding=1, groups=16)
case("linear", minidl.linear, (7, 33), (20, 33), (20,), rows="linear_forward")
case("matmul", minidl.matmul, (7, 33), (33, 20), rows="matmul_forward")
case("matmul of stacks", minidl.matmul, (3, 7, 33), (3, 33, 20), rows="matmul_forward")
case("relu", minidl.relu, IMAGE, rows="relu_forward relu_grad")
case("gelu", minidl.gelu, (7, 33), rows="Gelu")
case("sum", lambda x: x.sum((0, 2, 3)), IMAGE, rows="sum_forward")
case("mean of columns", lambda x: x.mean(0), (130, 9), rows="sum_forward")
case("dropout", lambda x: F.dropout(x, 0.4), IMAGE, rows="dropout_forward")
for reduction in ("mean", "sum", "none"):
    case(f"cross_entropy {reduction}", lambda x, r=reduction: minidl.cross_entropy(x, LABELS, reduction=r), (6, 5),
         rows="CrossEntropy")  # fmt: skip
case("cross_entropy smooth", lambda x, w: minidl.cross_entropy(x, LABELS, w.detach() ** 2, label_smoothing=0.2),
     (6, 5), (5,), rows="CrossEntropy")  # fmt: skip
POOLS = "max_pool2d_forward max_pool2d_scatter"
case("max_pool2d", lambda x: minidl.max_pool2d(x, 3, 2, 1), IMAGE, rows=POOLS)
case("max_pool2d stride 1", lambda x: minidl.max_pool2d(x, 3, 1, 1), IMAGE, rows=POOLS)
case("max_pool2d without gradient", lambda x: minidl.max_pool2d(x.detach(), 3, 2, 1), IMAGE, rows="max_pool2d_values")
case("avg_pool2d", lambda x: minidl.avg_pool2d(x, 3, 2, 1), IMAGE, rows="avg_pool2d_forward avg_pool2d_adjoint")
case("adaptive_avg_pool2d", lambda x: minidl.adaptive_avg_pool2d(x, (4, 5)), IMAGE,
     rows="adaptive_avg_pool2d_forward adaptive_avg_pool2d_adjoint")  # fmt: skip
for relu in (False, True):
    case(f"batch_norm_train{' relu' * relu}", lambda x, w, b, r=relu: minidl.batch_norm_train(x, w, b, relu=r)[0],
         IMAGE, (16,), (16,), rows="BatchNorm")  # fmt: skip
    case(f"batch_norm_eval{' relu' * relu}",
         lambda x, m, v, w, b, r=relu: minidl.batch_norm_eval(x, m.detach(), v.detach() ** 2, w, b, relu=r), IMAGE,
         (16,), (16,), (16,), (16,), rows="BatchNormEval")  # fmt: skip
case("layer_norm", lambda x, w, b: minidl.layer_norm(x, (20,), w, b), (7, 20), (20,), (20,), rows="LayerNorm")
case("local_response_norm", lambda x: minidl.local_response_norm(x, 5, k=2.0), IMAGE, rows="LocalResponseNorm")


class Block(nn.Branches):
    """A block whose branches the second storey runs together."""

    def __init__(self):
        super().__init__()
        self.one = nn.ConvNormReLU(16, 16, 1)
        self.two = nn.ConvNormReLU(16, 32, 1)
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.ConvNormReLU(16, 16, 1))


def block(x):
    """The joint output of a block with the same weights each time."""
    minidl.manual_seed(0)
    return Block().to(str(x.dtype))(x)


case("block", block, IMAGE, rows="join")
OPTIMISERS = {
    "SGD": (optim.SGD, dict(lr=0.1, momentum=0.9, weight_decay=0.01), "sgd_update"),
    "Adam": (optim.Adam, dict(lr=0.1, weight_decay=0.01), "adam_update"),
    "Adam amsgrad": (optim.Adam, dict(lr=0.1, amsgrad=True), "adam_update"),
    "RMSprop": (optim.RMSprop, dict(lr=0.1, momentum=0.9, centered=True), "rmsprop_update"),
}


def stepped(kind, options):
    """The weights after two steps with the same gradient, of which a part is special."""

    def run(weights, gradient):
        parameter = nn.Parameter(weights.data.copy())
        optimiser = kind([parameter], **options)
        for _ in range(2):
            parameter.grad = minidl.Tensor(gradient.data.copy())
            optimiser.step()
        return parameter.detach()

    return run


for name, (kind, options, row) in OPTIMISERS.items():
    case(name, stepped(kind, options), (40,), (40,), rows=row)


def averaged(start, end):
    """An exponential moving average after one step, which is `lerp` of weights."""
    model = nn.Linear(start.shape[0], 1, bias=False).to(str(start.dtype))
    model.weight.data[...] = start.data
    average = optim.ExponentialMovingAverage(model, decay=0.9)
    average.update_parameters()
    model.weight.data[...] = end.data
    average.update_parameters()
    return minidl.Tensor(average.averages["weight"].copy())


case("lerp", averaged, (40,), (40,), rows="lerp")


@dataclass(frozen=True)
class Difference:
    """Lines of `differences` (a regular expression for their beginning), and the reason."""

    lines: str
    reason: str


DIFFERENCES = [
    Difference(
        r"conv2d (3x3|5x5), float32, (-?(inf|huge)|nan) in",
        "Winograd's sums are over a tile, and of differences: see minidl/kernels/cpu/convolution/winograd.py",
    ),
    Difference(
        r"(cross_entropy \w+|batch_norm_train( relu)?|layer_norm|gelu|block), float\d\d, -?inf in upstream: gradient",
        "an infinite upstream gradient is multiplied and subtracted in another order: infinity, or NaN of 0 * infinity",
    ),
    Difference(
        r"(batch_norm_\w+( relu)?|layer_norm), float\d\d, -?inf in input [13]: ",
        "an infinite scale: the definition subtracts infinities where the kernel, which has one product less, does not",
    ),
    Difference(
        r"(batch_norm_train( relu)?|layer_norm|block), float\d\d, -?huge in (input 1|upstream): ",
        "a product near the largest number overflows, or does not: kernels multiply by the scale in another order",
    ),
    Difference(
        r"cross_entropy smooth, float32, -?huge in input [01]: the output: ",
        "the kernel takes the mean of losses, and the sum of their weights, in float64",
    ),
]

# ---------------------------------------------------------------- the survey


def inputs(name, dtype):
    """The arrays of a case, images with the channels last in memory, as layers have them."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in CASES[name][1]]
    return [np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if x.ndim == 4 else x for x in arrays]


def outcome(name, arrays, place, value, forms):
    """Outputs and gradients with `value` in the middle of the input at `place`; the upstream gradient comes last."""
    arrays = [x.copy(order="K") for x in arrays]
    if place < len(arrays):
        arrays[place][tuple(n // 2 for n in arrays[place].shape)] = value
    minidl.manual_seed(1)
    with dispatch.using(forms), np.errstate(all="ignore"):
        leaves = [minidl.Tensor(x, requires_grad=True) for x in arrays]
        y = CASES[name][0](*leaves)
        found = {"the output": y.detach().numpy()}
        if y.requires_grad:
            upstream = np.empty_like(y.detach().numpy())
            upstream[...] = np.random.default_rng(1).standard_normal(y.shape)
            if place == len(arrays):
                upstream[tuple(n // 2 for n in y.shape)] = value
            gradients = minidl.grad(y, leaves, minidl.Tensor(upstream), materialize_grads=True)
            found |= {f"gradient {i}": g.numpy() for i, g in enumerate(gradients)}
    return found


def unlike(found, expected):
    """In what two arrays differ, or None."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{found.dtype}{found.shape} instead of {expected.dtype}{expected.shape}"
    same_kind = np.where(
        np.isfinite(expected), np.isfinite(found), (found == expected) | np.isnan(found) & np.isnan(expected)
    )
    if not same_kind.all():
        where = tuple(int(i) for i in np.argwhere(~same_kind)[0])
        return f"{found[where]} instead of {expected[where]} in {(~same_kind).sum()} of {found.size} places"
    finite = np.isfinite(expected)
    with np.errstate(all="ignore"):
        far = np.abs(found[finite].astype(float) - expected[finite]).max(initial=0)
        scale = np.abs(expected[finite]).max(initial=1).astype(float)
    allowed = (1e-3 if expected.dtype == np.float32 else 1e-9) * scale
    return f"finite numbers differ by {far:.2g}" if far > allowed else None


def differences(name, dtype):
    """Lines on all that differs between the two forms of a case."""
    arrays = inputs(name, dtype)
    for place in range(len(arrays) + 1):
        for word, value in VALUES.items():
            value = value(np.finfo(dtype))
            plain, fast = (outcome(name, arrays, place, value, forms) for forms in ("plain", "fast"))
            what = f"input {place}" if place < len(arrays) else "upstream"
            for key in plain:
                if line := unlike(fast[key], plain[key]):
                    yield f"{name}, {dtype}, {word} in {what}: {key}: {line}"


@pytest.fixture(autouse=True, scope="module")
def small_arrays_take_the_faster_forms():
    """Faster forms that leave small arrays to NumPy take them here."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("numba") is not None:
            for module in {importlib.import_module(f"minidl.kernels.{name}") for name in CPU.values()}:
                for name in [name for name in vars(module) if name.startswith("LARGE")]:
                    patch.setattr(module, name, 0)
        yield


each = pytest.mark.parametrize("name", CASES)


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forms_agree_on_special_values(name, dtype):
    found = [line for line in differences(name, dtype) if not any(re.match(d.lines, line) for d in DIFFERENCES)]
    assert not found, f"{len(found)} differences that no row of DIFFERENCES is about:\n" + "\n".join(found[:20])


def test_every_difference_is_needed():
    if dispatch.kernels_in_use() == "plain":
        pytest.skip("the fast forms are switched off")
    names = "conv2d 3x3", "cross_entropy smooth", "batch_norm_train", "batch_norm_eval relu", "layer_norm"
    lines = [line for name in names for line in differences(name, "float32")]
    assert [d.lines for d in DIFFERENCES if not any(re.match(d.lines, line) for line in lines)] == []


def test_every_row_of_the_table_is_surveyed():
    """All but the replay of captured steps, which runs these forms, and Philox's integers: their tests compare bits."""
    others = {"captured.Replays", "philox.fill_uint32"}
    assert set().union(*(rows for _, _, rows in CASES.values())) == CPU.keys() - others


@each
def test_the_faster_forms_are_those_that_run(name, monkeypatch):
    """No case is so small, or so unusual, that its forms leave it to the definition."""
    if dispatch.kernels_in_use() == "plain":
        pytest.skip("the fast forms are switched off")
    taken = set()
    for row in CASES[name][2]:
        module, _, function = row.rpartition(".")
        place = importlib.import_module(f"minidl.{module.removesuffix('.Branches')}")
        op = getattr(place, function, None)
        if isinstance(op, dispatch.Dispatched):
            monkeypatch.setitem(op.forms, np.ndarray, noting(op.find(np.empty(1)), taken, row))
        elif op is not None:
            form = dispatch.form_for(row, np.empty(1))
            monkeypatch.setattr(form, "forward", staticmethod(noting(form.forward, taken, row)))
    outcome(name, inputs(name, "float32"), 99, 0, "fast")
    assert taken == {row for row in CASES[name][2] if not row.endswith("join")}


def noting(form, taken, row):
    """The form, which adds its row to `taken` when it takes its arguments."""

    def run(*arguments, **options):
        result = form(*arguments, **options)
        if result is not NotImplemented:
            taken.add(row)
        return result

    return run


NO_IMAGE = (0, *IMAGE[1:])
EMPTY = {  # other shapes of a case's inputs: 0-d, or without an element
    "relu": [[()], [(0,)], [(0, 3)], [NO_IMAGE]],
    "gelu": [[()], [(0,)], [(2, 0)]],
    "dropout": [[()], [(0,)], [(2, 0)]],
    "sum": [[NO_IMAGE], [(2, 0, 3, 4)], [(2, 3, 0, 4)]],
    "mean of columns": [[(0, 3)], [(2, 0)]],
    "linear": [[(0, 5), (4, 5), (4,)], [(5,), (4, 5), (4,)], [(3, 0), (4, 0), (4,)]],
    "matmul": [[(0, 5), (5, 4)], [(3, 0), (0, 4)], [(3, 5), (5, 0)], [(5,), (5,)]],
    "matmul of stacks": [[(0, 3, 5), (0, 5, 4)], [(2, 3, 0), (2, 0, 4)]],
    "conv2d 1x1": [[NO_IMAGE, (16, 16, 1, 1)]],
    "conv2d 3x3": [[NO_IMAGE, (16, 16, 3, 3)], [(1, 16, 1, 1), (16, 16, 3, 3)]],
    "conv2d depthwise": [[NO_IMAGE, (16, 1, 3, 3)]],
    "max_pool2d": [[NO_IMAGE], [(1, 3, 1, 1)]],
    "max_pool2d without gradient": [[NO_IMAGE], [(1, 3, 1, 1)]],
    "avg_pool2d": [[NO_IMAGE], [(1, 3, 1, 1)]],
    "adaptive_avg_pool2d": [[NO_IMAGE], [(1, 3, 1, 1)]],
    "batch_norm_eval": [[NO_IMAGE, (16,), (16,), (16,), (16,)]],
    "layer_norm": [[(0, 20), (20,), (20,)]],
    "local_response_norm": [[NO_IMAGE], [(1, 1, 1, 1)]],
    "SGD": [[(), ()], [(0,), (0,)]],
    "Adam": [[(), ()], [(0,), (0,)]],
    "RMSprop": [[(), ()], [(0,), (0,)]],
}


@pytest.mark.parametrize("name", EMPTY)
def test_forms_agree_on_what_is_0d_or_empty(name):
    for shapes in EMPTY[name]:
        arrays = [np.asarray(np.random.default_rng(0).standard_normal(shape), np.float32) for shape in shapes]
        plain, fast = (outcome(name, arrays, 99, 0, forms) for forms in ("plain", "fast"))
        assert {key: unlike(fast[key], plain[key]) for key in plain} == dict.fromkeys(plain), shapes
