"""ONNX files run by minidl: ONNX's own cases, networks there and back, and files that want harm."""

import warnings

import numpy as np
import pytest

import minidl
import models
from minidl import explain, nn
from minidl.onnx import OnnxError, OnnxNetwork, as_onnx, export, load
from minidl.onnx.load import OPERATORS

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

# What minidl leaves to others: volumes, training, texts, and a type that NumPy has not.
BEYOND = ("_3d", "training_dropout", "equal_string", "bfloat16")


def cases():
    """ONNX's test cases whose nodes are all operators that minidl claims."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of overflows in what generates them
        from onnx.backend.test.case.node import collect_testcases

        return [
            case for case in collect_testcases(None) if {n.op_type for n in case.model.graph.node} <= set(OPERATORS)
        ]


def fault_of(case):
    """The first thing wrong with a case's results, or None."""
    try:
        network = OnnxNetwork(case.model)
        for inputs, expected in case.data_sets:
            with minidl.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # logarithms of 0 and the like are what some cases are about
                found = network(*[minidl.Tensor(np.asarray(x)) for x in inputs])
            for y, wanted in zip(
                found if isinstance(found, tuple) else (found,), map(np.asarray, expected), strict=True
            ):
                assert (y.dtype, y.shape) == (wanted.dtype, wanted.shape), f"{y.dtype} {y.shape}, not {wanted.dtype}"
                np.testing.assert_allclose(y.data, wanted, rtol=case.rtol or 1e-3, atol=case.atol or 1e-7)
    except (OnnxError, TypeError, AssertionError) as error:
        return f"{type(error).__name__}: {str(error).strip()[:100]}"
    return None


def test_the_cases_of_onnx_itself(capsys):
    faults = {case.name: fault_of(case) for case in cases()}
    failed = {name: fault for name, fault in faults.items() if fault}
    with capsys.disabled():
        print(f"\nONNX's own cases of {len(OPERATORS)} operators: {len(faults) - len(failed)} of {len(faults)} pass")
    assert len(faults) > 600 and len(failed) <= 0.05 * len(faults)
    unexpected = {name: fault for name, fault in failed.items() if not any(part in name for part in BEYOND)}
    assert not unexpected


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "as it is"])
@pytest.mark.parametrize("name", models.MODELS)
def test_there_and_back(name, fold, tmp_path):
    minidl.manual_seed(0)
    side = 64 if "paper" in name or "torchvision" in name else 16
    net, path = models.create(name, width=0.25).eval(), tmp_path / "net.onnx"
    export(net, path, (3, side, side), fold=fold, metadata={"size": side})
    loaded = load(path)
    images = minidl.tensor(np.random.default_rng(0).standard_normal((2, 3, side, side)), dtype="float32")
    with minidl.no_grad():
        np.testing.assert_allclose(loaded(images).data, net(images).data, atol=1e-5)
    assert loaded.metadata == {"size": str(side)} and not loaded.training
    if not fold:
        scales = [p for p in net.parameters() if p.ndim == 4]
        assert sum(p.numel() for p in loaded.parameters() if p.ndim == 4) == sum(p.numel() for p in scales)


def test_a_loaded_network_can_be_differentiated():
    minidl.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    loaded, images = OnnxNetwork(as_onnx(net, (1, 4, 4))), minidl.randn(2, 1, 4, 4)
    for network in (net, loaded):
        network(images).sum().backward()
    mine, theirs = ({p.shape: p.grad.data for p in network.parameters()} for network in (net, loaded))
    for shape, gradient in mine.items():
        np.testing.assert_allclose(theirs[shape], gradient, atol=1e-6)
    assert explain.occlusion(loaded, images[:1].detach()).falls.shape == (4, 4)


def proto_of(*nodes, constants=(), inputs=("x",), outputs=("y",), opset=17, domain=""):
    """A graph of one float input."""
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names] for names in (inputs, outputs)
    ]
    graph = helper.make_graph(list(nodes), "g", *values, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)])


def outside(tensor):
    """The tensor with its values kept in another file."""
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def damaged(tensor, dims=None, raw=None, kind=None):
    """The tensor with another claim about itself."""
    if dims is not None:
        tensor.dims[:] = dims
    if raw is not None:
        tensor.raw_data = raw
    if kind is not None:
        tensor.data_type = kind
    return tensor


def weight(values=((1.0, 2.0),)):
    return numpy_helper.from_array(np.array(values, np.float32), "w")


ADD = helper.make_node("Add", ["x", "w"], ["y"])
HOSTILE = [
    (
        lambda: proto_of(helper.make_node("LSTM", ["x"], ["h"]), helper.make_node("Resize", ["h"], ["y"])),
        "no LSTM, Resize",
    ),
    (lambda: proto_of(helper.make_node("Run", ["x"], ["y"], domain="evil")), "operators of 'evil'"),
    (lambda: proto_of(ADD, constants=[outside(weight())]), "`w` is kept in another file"),
    (lambda: proto_of(ADD, constants=[damaged(weight(), dims=[10**6, 10**6])]), "at most 268,435,456 elements"),
    (lambda: proto_of(ADD, constants=[damaged(weight(), dims=[-1, 2])]), r"shape \(-1, 2\)"),
    (lambda: proto_of(ADD, constants=[damaged(weight(), dims=[3, 2])]), "has 8 bytes, not 24"),
    (lambda: proto_of(ADD, constants=[damaged(weight(), raw=b"")]), "has 0 bytes, not 8"),
    (lambda: proto_of(ADD, constants=[damaged(weight(), kind=TensorProto.BFLOAT16)]), "has type bfloat16"),
    (lambda: proto_of(ADD, constants=[damaged(weight(), kind=99)]), "no ONNX network"),
    (lambda: proto_of(ADD), "reads `w`, which nothing before it makes"),
    (lambda: proto_of(helper.make_node("Add", ["x", "y"], ["y"])), "reads `y`, which nothing before it makes"),
    (lambda: proto_of(ADD, constants=[weight()], outputs=("z",)), "the output `z` is made by no node"),
    (lambda: proto_of(ADD, constants=[weight()], outputs=()), "the graph has no output"),
]


@pytest.mark.parametrize("make, message", HOSTILE, ids=range(len(HOSTILE)))
def test_files_that_cannot_be_run_say_why(make, message, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(OnnxError, match=message) as error:
        load(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_broken_files_are_named(tmp_path):
    whole = proto_of(ADD, constants=[weight()]).SerializeToString()
    path = tmp_path / "net.onnx"
    rng = np.random.default_rng(0)
    for contents in (
        b"", whole[:-9], b"\x80\x04.", rng.bytes(1000), bytes(1000), whole.replace(b"Add", b"\xff\xfe\xfd"),
    ):
        path.write_bytes(contents)
        with pytest.raises(OnnxError, match="net.onnx: "):
            load(path)
    for other in (tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(OnnxError, match="there is no such file"):
            load(other)


def numbers(*values):
    return numpy_helper.from_array(np.array(values, np.int64), "w")


LARGE = [
    (helper.make_node("Expand", ["x", "w"], ["y"]), numbers(10**5, 10**5)),
    (helper.make_node("Tile", ["x", "w"], ["y"]), numbers(10**5, 10**5)),
    (helper.make_node("ConstantOfShape", ["w"], ["y"]), numbers(10**5, 10**5)),
    (helper.make_node("Pad", ["x", "w"], ["y"]), numbers(0, 0, 10**9, 0)),
    (helper.make_node("Reshape", ["x", "w"], ["y"]), numbers(10**9, 10**9)),
    (helper.make_node("Gather", ["x", "w"], ["y"]), numbers(5)),
    (helper.make_node("AveragePool", ["i"], ["y"], kernel_shape=[1, 1], pads=[0, 0, 10**5, 10**5]), numbers(1)),
]


LARGE += [
    (helper.make_node(kind, ["c", "w"], ["y"]), numpy_helper.from_array(np.ones((1, 10**5), np.float32), "w"))
    for kind in ("Add", "Max", "MatMul", "Gemm")
]


@pytest.mark.parametrize("node, constant", LARGE, ids=lambda value: getattr(value, "op_type", ""))
def test_results_of_any_size_are_refused(node, constant):
    unsqueeze = [
        helper.make_node("Constant", [], ["n"], value_ints=[1, 1, 1, 2]),
        helper.make_node("Reshape", ["x", "n"], ["i"]),
    ]
    column = numpy_helper.from_array(np.ones((10**5, 1), np.float32), "c")
    with pytest.raises(OnnxError, match=f"{node.op_type} `y`: "):  # by the loader already, if it can know
        OnnxNetwork(proto_of(*unsqueeze, node, constants=[constant, column]))(minidl.ones(1, 2))


def test_lists_of_numbers_are_computed_once_and_parameters_each_time():
    nodes = [helper.make_node("Cast", ["n"], ["m"], to=TensorProto.INT64),
             helper.make_node("Reshape", ["x", "m"], ["r"]),
             helper.make_node("Transpose", ["w"], ["t"]), helper.make_node("MatMul", ["r", "t"], ["y"])]  # fmt: skip
    tensors = [weight(), numpy_helper.from_array(np.array([1, 2], np.int32), "n")]
    network = OnnxNetwork(proto_of(*nodes, constants=tensors))
    assert [step.kind for step in network.steps] == ["Reshape", "Transpose", "MatMul"]
    for _ in range(2):
        network(minidl.ones(2)).sum().backward()
    (parameter,) = network.parameters()
    assert parameter.grad.tolist() == [[2.0, 2.0]]
    with pytest.raises(OnnxError, match="minidl has no Cast"):
        OnnxNetwork(proto_of(helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64)))


def test_wrong_calls_are_named():
    network = OnnxNetwork(proto_of(ADD, constants=[weight()]))
    with pytest.raises(OnnxError, match="Add `y`: "):
        network(minidl.ones(2, 3))
    with pytest.raises(TypeError, match="2 inputs; accepted: 1, x"):
        network(minidl.ones(2), minidl.ones(2))
    assert network(minidl.ones(1, 2)).tolist() == [[2.0, 3.0]]


def test_names_of_constants_do_not_reach_attributes():
    tensors = [
        numpy_helper.from_array(np.ones((1, 2), np.float32), name) for name in ("steps", "forward", "a.b", "a/b")
    ]
    adds = [
        helper.make_node("Add", [f"s{k}" if k else "x", tensor.name], [f"s{k + 1}"]) for k, tensor in enumerate(tensors)
    ]
    network = OnnxNetwork(proto_of(*adds, constants=tensors, outputs=("s4",)))
    assert network(minidl.zeros(1, 2)).tolist() == [[4.0, 4.0]] and len(list(network.parameters())) == 4


def torch_networks():
    """Networks of PyTorch whose files hold what its exporter makes of layers, padding by hand and slices."""
    from torch import nn as theirs

    from tests import torch_googlenet

    yield torch_googlenet.GoogLeNet("paper", width=0.25, classes=7), 64
    block = theirs.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), theirs.BatchNorm2d(8), theirs.SiLU()
    pools = theirs.MaxPool2d(3, 2, 1, ceil_mode=True), theirs.AvgPool2d(2, ceil_mode=True), theirs.AdaptiveAvgPool2d(1)
    rest = (
        theirs.Conv2d(8, 8, 3, padding=1, groups=8), theirs.Hardswish(), *pools[:2], theirs.GELU(), theirs.Dropout2d(),
    )
    up = theirs.ConvTranspose2d(8, 6, 3, 2, 1, 1), theirs.PReLU(6), theirs.ReflectionPad2d(1), theirs.GroupNorm(2, 6)
    head = pools[2], theirs.Flatten(), theirs.Linear(6, 5), theirs.LayerNorm(5), theirs.ELU(), theirs.Softmax(1)
    yield theirs.Sequential(*block, *rest, *up, *head), 33


def test_files_that_pytorch_writes(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    for net, side in torch_networks():
        images, path = torch.randn(2, 3, side, side), tmp_path / "theirs.onnx"
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter's age
            torch.onnx.export(
                net.eval(), (images,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "N"}}
            )
            more = torch.randn(3, 3, side, side)
            found, expected = load(path)(minidl.tensor(more.numpy())), net(more).numpy()
        assert expected.std() > 1e-3
        np.testing.assert_allclose(found.detach().data, expected, atol=1e-4 * max(1, abs(expected).max()))
