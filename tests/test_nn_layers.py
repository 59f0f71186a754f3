"""Every layer beside PyTorch's: defaults, printed form, outputs, gradients, running statistics, wrong options."""

import inspect

import numpy as np
import pytest

import minidl
from minidl import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

IMAGE, ROWS = (3, 4, 7, 6), (5, 6)
# constructor: (arguments, options, shape of the input)
LAYERS = [
    ("Linear", (6, 4), {}, (2, 5, 6)),
    ("Linear", (6, 4), {"bias": False}, ROWS),
    ("Conv2d", (4, 6, 3), {}, IMAGE),
    ("Conv2d", (4, 6, (3, 2), 2, 1), {"dilation": (1, 2), "groups": 2, "bias": False}, IMAGE),
    ("Conv2d", (4, 2, (4, 3)), {"padding": "same"}, IMAGE),
    ("Conv2d", (4, 2, 1), {"padding": "valid"}, IMAGE),
    ("ConvTranspose2d", (4, 6, 3), {}, IMAGE),
    ("ConvTranspose2d", (4, 6, 3, 2, 1, 1, 2), {"dilation": 2, "bias": False}, IMAGE),
    ("MaxPool2d", (3,), {}, IMAGE),
    ("MaxPool2d", (3, 2, 1, 1, False, True), {}, IMAGE),
    ("AvgPool2d", (2,), {}, IMAGE),
    ("AvgPool2d", ((3, 2), 2, 1, True, False), {}, IMAGE),
    ("AvgPool2d", (2,), {"divisor_override": 3}, IMAGE),
    ("AdaptiveAvgPool2d", (1,), {}, IMAGE),
    ("AdaptiveAvgPool2d", ((4, None),), {}, IMAGE),
    ("BatchNorm2d", (4,), {}, IMAGE),
    ("BatchNorm2d", (4, 1e-3, 0.3), {"affine": False}, IMAGE),
    ("BatchNorm2d", (4,), {"momentum": None}, IMAGE),
    ("BatchNorm2d", (4,), {"track_running_stats": False}, IMAGE),
    ("BatchNorm1d", (6,), {}, ROWS),
    ("BatchNorm1d", (5,), {}, (4, 5, 3)),
    ("LayerNorm", (6,), {}, (2, 5, 6)),
    ("LayerNorm", ((5, 6), 1e-3), {"bias": False}, (2, 5, 6)),
    ("LayerNorm", (6,), {"elementwise_affine": False}, ROWS),
    ("GroupNorm", (2, 4), {}, IMAGE),
    ("GroupNorm", (1, 6, 1e-3, False), {}, ROWS),
    ("LocalResponseNorm", (5,), {}, (3, 9, 4, 4)),
    ("LocalResponseNorm", (2, 0.3, 0.6, 2.0), {}, (3, 9, 4, 4)),
    ("Dropout", (0.0,), {}, ROWS),
    ("Dropout2d", (0.0,), {}, IMAGE),
    ("Flatten", (), {}, IMAGE),
    ("Flatten", (2, 3), {}, IMAGE),
    ("Unflatten", (1, (2, 3)), {}, ROWS),
    ("AdaptiveMaxPool2d", (2,), {}, IMAGE),
    ("AdaptiveMaxPool2d", ((3, None),), {}, IMAGE),
    ("ReflectionPad2d", ((1, 0, 2, 3),), {}, IMAGE),
    ("ReplicationPad2d", (2,), {}, IMAGE),
    ("CircularPad2d", ((1, 0, 2, 3),), {}, IMAGE),
    ("ZeroPad2d", (2,), {}, IMAGE),
    ("ZeroPad2d", ((1, 0, 2, 3),), {}, IMAGE),
    ("Identity", (), {}, ROWS),
    ("ReLU", (), {}, ROWS),
    ("ReLU", (True,), {}, ROWS),
    ("LeakyReLU", (0.2, True), {}, ROWS),
    ("ELU", (), {"alpha": 0.7, "inplace": True}, ROWS),
    ("SiLU", (), {}, ROWS),
    ("GELU", (), {}, ROWS),
    ("GELU", ("tanh",), {}, ROWS),
    ("Sigmoid", (), {}, ROWS),
    ("Tanh", (), {}, ROWS),
    ("Softplus", (), {}, ROWS),
    ("Softplus", (3.0, 1.0), {}, ROWS),
    ("LogSigmoid", (), {}, ROWS),
    ("Softmax", (1,), {}, ROWS),
    ("LogSoftmax", (), {"dim": 0}, ROWS),
]
IDS = [f"{name}{args}{options or ''}" for name, args, options, _ in LAYERS]


def _pair(name, args, options):
    """Our layer and PyTorch's with the same weights in float64."""
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    for parameter in ours.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    _send(ours, theirs)
    return ours.double(), theirs.double()


def _send(ours, theirs):
    state = {name: torch.from_numpy(np.array(value.numpy())) for name, value in ours.state_dict().items()}
    theirs.load_state_dict(state)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch's, with an even window
@pytest.mark.parametrize("name, args, options, shape", LAYERS, ids=IDS)
def test_output_and_gradients_in_both_modes_and_state_both_ways(name, args, options, shape):
    ours, theirs = _pair(name, args, options)
    source = np.random.default_rng(0)
    for training in (True, True, True, False):
        x = source.normal(size=shape)
        a, b = minidl.Tensor(x, requires_grad=True), torch.from_numpy(x.copy()).requires_grad_()
        y, z = ours.train(training)(a), theirs.train(training)(b.clone())  # a clone, since `inplace` is real there
        assert y.shape == tuple(z.shape) and np.allclose(y.data, z.detach().numpy(), rtol=1e-10, atol=1e-12)
        upstream = source.normal(size=y.shape)
        y.backward(minidl.Tensor(upstream))
        z.backward(torch.from_numpy(upstream))
        assert np.allclose(a.grad.data, b.grad.numpy(), rtol=1e-9, atol=1e-11)
    for (key, p), q in zip(ours.named_parameters(), theirs.parameters()):
        assert np.allclose(p.grad.data, q.grad.numpy(), rtol=1e-9, atol=1e-10), key
    state = theirs.state_dict()
    assert set(state) == set(ours.state_dict())
    for key, value in ours.state_dict().items():
        assert np.allclose(value.numpy(), state[key].numpy(), rtol=1e-10, atol=1e-12), key
        assert value.dtype.name == str(state[key].dtype).removeprefix("torch.")
    ours.load_state_dict({key: value.numpy() for key, value in state.items()})


@pytest.mark.parametrize("name, args, options, shape", LAYERS, ids=IDS)
def test_printed_form(name, args, options, shape):
    ours, theirs = repr(getattr(nn, name)(*args, **options)), repr(getattr(torch.nn, name)(*args, **options))
    # Newer versions of PyTorch print a `bias` of norms; `inplace` of activations has no meaning here.
    drop = (", bias=True", ", bias=False", ", inplace=True", "inplace=True") if "Norm" in name or "LU" in name else ()
    for text in drop:
        theirs = theirs.replace(text, "")
    assert ours == theirs


@pytest.mark.parametrize("name", sorted({row[0] for row in LAYERS} - {"Identity"} | {"Embedding"}))
def test_defaults_and_their_order(name):
    def named(cls):
        parameters = list(inspect.signature(cls).parameters.values())
        return [(p.name, p.default) for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD]

    ours, theirs = named(getattr(nn, name)), named(getattr(torch.nn, name))
    if name == "Unflatten":
        ours, theirs = [p[0] for p in ours], [p[0] for p in theirs]
    assert ours == theirs[: len(ours)]


LOSSES = [
    ("CrossEntropyLoss", {"label_smoothing": 0.1, "ignore_index": 2}, "labels"),
    ("CrossEntropyLoss", {"reduction": "none"}, "labels"),
    ("NLLLoss", {}, "labels"),
    ("MSELoss", {}, "values"),
    ("L1Loss", {"reduction": "sum"}, "values"),
    ("BCEWithLogitsLoss", {}, "values"),
]


@pytest.mark.parametrize("name, options, kind", LOSSES)
def test_losses(name, options, kind):
    source = np.random.default_rng(0)
    x = source.normal(size=(6, 4))
    t = source.integers(0, 4, 6) if kind == "labels" else source.uniform(size=(6, 4))
    ours = getattr(nn, name)(**options)(minidl.Tensor(x), minidl.Tensor(t))
    theirs = getattr(torch.nn, name)(**options)(torch.from_numpy(x), torch.from_numpy(t))
    assert np.allclose(ours.data, theirs.numpy(), rtol=1e-12)


def test_cross_entropy_with_class_weights_as_a_module():
    source = np.random.default_rng(0)
    x, t, w = source.normal(size=(6, 4)), source.integers(0, 4, 6), source.uniform(size=4)
    ours = nn.CrossEntropyLoss(minidl.Tensor(w))(minidl.Tensor(x), minidl.Tensor(t))
    theirs = torch.nn.CrossEntropyLoss(torch.from_numpy(w))(torch.from_numpy(x), torch.from_numpy(t))
    assert np.allclose(ours.data, theirs.numpy(), rtol=1e-12)


def test_embedding_and_its_repeated_rows():
    ours, theirs = nn.Embedding(5, 3), torch.nn.Embedding(5, 3)
    _send(ours, theirs)
    index = np.array([[1, 1, 4], [0, 1, 4]])
    y, z = ours(minidl.Tensor(index)), theirs(torch.from_numpy(index))
    assert np.array_equal(y.data, z.detach().numpy())
    (y * y).sum().backward()
    (z * z).sum().backward()
    assert np.allclose(ours.weight.grad.data, theirs.weight.grad.numpy())
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: nn.Linear(0, 3), "`in_features` is 0; accepted: an integer >= 1"),
        (lambda: nn.Conv2d(4, 6, 3, groups=4), "`groups` is 4, which must divide 4 and 6 channels"),
        (lambda: nn.Conv2d(4, 6, 0), "`kernel_size` is 0; accepted: numbers >= 1"),
        (lambda: nn.Conv2d(4, 6, 3, padding="full"), "`padding` is 'full'; accepted: an int, a pair"),
        (lambda: nn.Conv2d(4, 6, 3, stride=2, padding="same"), "'same' needs stride 1"),
        (lambda: nn.MaxPool2d(0), "`kernel_size` is 0; accepted: numbers >= 1"),
        (lambda: nn.AvgPool2d(2, stride=(1, 2, 3)), "`stride` is (1, 2, 3); accepted: an int or a pair"),
        (lambda: nn.Dropout(-0.1), "`p` is -0.1; accepted: 0 to 1"),
        (lambda: nn.GroupNorm(3, 4), "`num_groups` is 3, which must divide `num_channels` 4"),
        (lambda: nn.ZeroPad2d((1, 2)), "`padding` is (1, 2); accepted: an int or"),
        (lambda: nn.BatchNorm2d(3)(minidl.zeros(2, 4, 3, 3)), "accepted: 4 axes, 3 channels"),
        (lambda: nn.BatchNorm1d(3)(minidl.zeros(2, 3, 3, 3)), "accepted: 2 or 3 axes, 3 channels"),
        (lambda: nn.BatchNorm1d(3)(minidl.zeros(1, 3)), "1 value per channel"),
        (lambda: nn.LocalResponseNorm(0), "`size` is 0"),
        (lambda: nn.Dropout2d()(minidl.zeros(2, 3)), "`input` has shape (2, 3); accepted: (N, C, H, W) or (C, H, W)"),
    ],
)
def test_wrong_options_are_named(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: nn.ReLU(True, 3), "takes from 1 to 2 positional arguments but 3 were given"),
        (lambda: nn.ELU(slope=3), "unexpected keyword argument 'slope'"),
        (lambda: nn.Softmax(1, dim=1), "multiple values for argument 'dim'"),
    ],
)
def test_wrong_activation_options_are_named(call, message):
    with pytest.raises(TypeError) as caught:
        call()
    assert message in str(caught.value)
