"""Exported networks: ONNX Runtime gives the same logits, values are named after layers, what has no form is refused."""

import numpy as np
import pytest

import minidl
import models
from minidl import nn
from minidl.onnx import TraceError, as_onnx, export

pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnx is not installed")


def logits_of(proto, images):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": images})[0]


def stirred(net):
    """Running statistics, scales and shifts away from 0 and 1, as training leaves them."""
    rng = np.random.default_rng(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in ((module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 2),
                                      (module.weight, 0.5, 1.5), (module.bias, -0.3, 0.3)):  # fmt: skip
                tensor.data[...] = rng.uniform(low, high, tensor.shape)
    return net


def assert_same(net, shape, fold=True):
    """Equal logits for batches of one and of three; the proto, for more questions."""
    proto = as_onnx(net, shape, fold)
    for N in (1, 3):
        images = np.random.default_rng(N).standard_normal((N, *shape)).astype(np.float32)
        with minidl.no_grad():
            expected = net.eval()(minidl.tensor(images)).numpy()
        assert expected.std() > 1e-3
        np.testing.assert_allclose(logits_of(proto, images), expected, atol=1e-4 * max(1, abs(expected).max()))
    return proto


SIZES = {"cnn": 28, "googlenet-paper": 64, "googlenet-torchvision": 64}
CASES = [
    (name, options)
    for name in models.MODELS
    for options in ({}, {"aux_logits": True})
    if not (name in ("cnn", "fast") and options)
]
CASES += [("googlenet-torchvision", {"transform_input": True})]


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "as it is"])
@pytest.mark.parametrize(
    "name, options", CASES, ids=lambda value: "-".join(value) if isinstance(value, dict) else value
)
def test_onnx_runtime_gives_the_same_logits(name, options, fold):
    minidl.manual_seed(0)
    net = stirred(models.create(name, width=0.25, **options))
    side = SIZES.get(name, 16)
    kinds = {node.op_type for node in assert_same(net, (3, side, side), fold).graph.node}
    normed = name not in ("cnn", "googlenet-paper")
    pooled = name.startswith("fast")  # a pool stands between a convolution and its norm, which stays
    assert ("BatchNormalization" in kinds) == (normed and not fold or pooled)


class Mixed(nn.Module):
    """Most of the operations that have an ONNX form, one after the other."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2)
        self.norm = nn.LayerNorm((8, 8))
        self.lrn = nn.LocalResponseNorm(3)
        self.shared = nn.Conv2d(4, 4, 3, padding="same", dilation=2, groups=2, bias=False)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.odd = nn.AdaptiveAvgPool2d((3, 2))
        self.fc = nn.Linear(24, 5)

    def forward(self, x):
        x = self.lrn(self.norm(self.up(x)))
        x = self.shared(x).tanh() + self.shared(x.sigmoid()) * 0.5 - x / 2.0
        x = minidl.concat([x.relu(), x.exp().clamp(0.1, 3.0)], dim=1).reshape(-1, 4, 16, 8)
        x = minidl.maximum(x, -x).pad((1, 0, 0, 1)) ** 2.0
        x = self.odd(self.pool(x))
        x = x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)
        x = minidl.log_softmax(self.fc(x), 1)
        return x - x.amax(1, keepdim=True) + minidl.softmax(x, 1).sum(1, keepdim=True)


def test_other_layers_and_operations():
    minidl.manual_seed(1)
    net = Mixed()
    proto = assert_same(net, (2, 4, 4))
    names = [tensor.name for tensor in proto.graph.initializer]
    assert [name for name in names if "shared" in name] == ["shared.weight"] and len(set(names)) == len(names)


def test_a_reshape_that_moves_images_is_no_flatten():
    class Rows(nn.Module):
        def forward(self, x):
            return x.permute(1, 0, 2, 3).reshape(-1, 4).reshape(2 * x.shape[0], 4)

    assert_same(Rows(), (2, 2, 2))


def test_padding_modes_and_sequences():
    minidl.manual_seed(2)
    net = nn.Sequential(nn.ReflectionPad2d(2), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.CircularPad2d(1),
                        nn.AdaptiveAvgPool2d(2), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(),
                        nn.Linear(16, 3))  # fmt: skip
    proto = assert_same(stirred(net), (3, 6, 6))
    assert [node.op_type for node in proto.graph.node].count("BatchNormalization") == 1  # the one after a pool stays


def test_names_tell_the_layer():
    proto = as_onnx(models.create("googlenet", width=0.25), (3, 16, 16))
    names = [node.name for node in proto.graph.node]
    assert names[0] == "conv1/conv/Conv" and names[-1] == "fc/Gemm" and "inception4c/branch3/1/conv/Conv" in names
    assert len(set(names)) == len(names) and [len(node.input) for node in proto.graph.node][-1] == 3
    assert {"fc.weight", "fc.bias", "inception3a.branch1.conv.folded_weight"} <= {
        t.name for t in proto.graph.initializer
    }
    assert not any("running" in tensor.name for tensor in proto.graph.initializer)


def test_the_file_says_what_images_must_look_like(tmp_path):
    import onnx

    export(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), tmp_path / "net.onnx", (3, 2, 2), metadata={"mean": [0.5]})
    proto = onnx.load(tmp_path / "net.onnx")
    assert {prop.key: prop.value for prop in proto.metadata_props} == {"mean": "[0.5]"}
    (images,), (logits,) = proto.graph.input, proto.graph.output
    assert (images.name, logits.name) == ("images", "logits") and images.type.tensor_type.shape.dim[0].dim_param == "N"


def test_the_network_is_left_as_it_was():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)).train()
    net[1].eval()
    as_onnx(net, (1, 4, 4))
    assert [module.training for module in net] == [True, False, True, True]
    np.testing.assert_array_equal(net[1].running_mean.data, 0)


class Cube(minidl.Function):
    """An operation that ONNX cannot know."""

    def forward(self, x):
        return x**3


REFUSED = [
    (lambda x: Cube.apply(x), "`Cube` in layer .* is no operation of minidl"),
    (lambda x: x.cumsum(1), "`Cumsum` in layer .* has no ONNX form"),
    (lambda x: minidl.tensor(x.data * 2) + x, "reads a tensor that depends on the images"),
    (lambda x: x * float(x.sum()), "`Mul` in layer .* has options that depend on the images"),
    (lambda x: x.relu() if x.shape[0] == 2 else -x, "runs other operations for other images"),
    (lambda x: x[:1] + x, "has options that depend on|has no ONNX form"),
    (lambda x: x.detach(), "no recorded operation made"),
    (lambda x: (x, x), "returned a tuple"),
    (
        lambda x: x.expand(x.shape[0], x.shape[0], 2, 4).reshape(x.shape[0], x.shape[0], 8),
        "in several axes of its result",
    ),
]


@pytest.mark.parametrize("function, message", REFUSED, ids=range(len(REFUSED)))
def test_what_no_graph_can_say_is_refused(function, message):
    class Refused(nn.Module):
        def forward(self, x):
            return function(x)

    with pytest.raises(TraceError, match=message):
        as_onnx(Refused(), (1, 2, 4))
