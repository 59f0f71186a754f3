"""Layers, losses and optimisers take PyTorch's arguments, and their state is where PyTorch has it."""

import copy

import numpy as np
import pytest
from semantics import check_refused, pytorch

import minidl
from minidl import nn

IMAGE = np.random.default_rng(0).standard_normal((2, 3, 6, 5)).astype(np.float32)
ROWS = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)

LAYERS = {  # (layer of either library's nn, input)
    "Conv2d(reflect)": (lambda N: N.Conv2d(3, 4, 3, padding=(2, 1), padding_mode="reflect"), IMAGE),
    "Conv2d(replicate)": (lambda N: N.Conv2d(3, 4, 3, padding=1, padding_mode="replicate", stride=2), IMAGE),
    "Conv2d(circular, same)": (lambda N: N.Conv2d(3, 4, (2, 3), padding="same", padding_mode="circular"), IMAGE),
    "Conv2d(NumPy's integers)": (lambda N: N.Conv2d(np.int64(3), np.int64(4), np.int64(3)), IMAGE),
    "Conv2d(device, dtype)": (lambda N: N.Conv2d(3, 4, 3, device="cpu", dtype=None), IMAGE),
    "ConvTranspose2d": (lambda N: N.ConvTranspose2d(3, 4, 3, padding_mode="zeros", device="cpu"), IMAGE),
    "BatchNorm2d(bias=False)": (lambda N: N.BatchNorm2d(3, bias=False), IMAGE),
    "GroupNorm(bias=False)": (lambda N: N.GroupNorm(3, 3, bias=False), IMAGE),
    "LayerNorm(bias=False)": (lambda N: N.LayerNorm(6, bias=False, device="cpu"), ROWS),
    "BatchNorm1d(device)": (lambda N: N.BatchNorm1d(6, device="cpu", dtype=None), ROWS),
    "Linear(device)": (lambda N: N.Linear(6, 2, device="cpu", dtype=None), ROWS),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_equals_pytorchs(name):
    torch = pytorch()
    make, x = LAYERS[name]
    ours, theirs = make(nn), make(torch.nn)
    state = {key: minidl.tensor(value.numpy()) for key, value in theirs.state_dict().items()}
    ours.load_state_dict(state)
    assert list(ours.state_dict()) == list(state)
    np.testing.assert_allclose(
        ours(input=minidl.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5
    )


def test_a_frame_of_the_image_is_kept_when_a_network_is_folded():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4), nn.ReLU()).eval()
    x = minidl.tensor(IMAGE)
    with minidl.no_grad():
        expected = net(x)
        found = nn.inference.fold(copy.deepcopy(net))(x)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_layers_are_made_in_a_dtype():
    for layer in (
        nn.Linear(2, 3, dtype="float64"), nn.Conv2d(1, 1, 1, dtype=np.float64), nn.GroupNorm(1, 2, dtype=float),
    ):
        assert {p.dtype for p in layer.parameters()} == {np.dtype("float64")}
    norm = nn.BatchNorm2d(2, dtype="float64")
    assert [b.dtype for b in norm.buffers()] == [np.float64, np.float64, np.int64]


LOSSES = {
    "CrossEntropyLoss": ("weight", (4,)),
    "NLLLoss": ("weight", (4,)),
    "BCEWithLogitsLoss": ("pos_weight", (4,)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_weights_of_a_loss_are_buffers(name):
    torch = pytorch()
    option, shape = LOSSES[name]
    loss = getattr(nn, name)(**{option: minidl.ones(*shape)})
    assert (
        list(loss.state_dict()) == list(getattr(torch.nn, name)(**{option: torch.ones(shape)}).state_dict()) == [option]
    )
    loss.double()
    assert getattr(loss, option).dtype == np.float64
    loss.load_state_dict({option: minidl.full(shape, 3.0)})
    assert getattr(loss, option).tolist() == [3.0] * 4
    logits, target = minidl.zeros(2, 4).double(), minidl.tensor([0, 1]) if option == "weight" else minidl.ones(2, 4)
    assert loss(logits, target).dtype == np.float64


def test_options_are_attributes():
    assert nn.CrossEntropyLoss(label_smoothing=0.1).label_smoothing == 0.1
    assert nn.LeakyReLU(0.2).negative_slope == 0.2
    loss = nn.MSELoss()
    loss.reduction = "sum"
    assert loss(minidl.zeros(3), minidl.ones(3)).item() == 3.0


def test_strict_loading_does_without_a_count_of_batches():
    norm = nn.Sequential(nn.BatchNorm2d(2))
    state = {name: value for name, value in norm.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert norm.load_state_dict(state) == ([], [])
    with pytest.raises(RuntimeError, match="missing 0.running_mean"):
        norm.load_state_dict({name: value for name, value in state.items() if "mean" not in name})


SIGNATURES = {
    "SGD": dict(foreach=True),
    "Adam": dict(fused=True, capturable=True),
    "AdamW": dict(foreach=False, fused=None),
    "RMSprop": dict(foreach=True, capturable=False),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_optimisers_take_pytorchs_forms(name):
    w = nn.Parameter(minidl.ones(2))
    w.grad = minidl.ones(2)
    plain = nn.Parameter(minidl.ones(2))
    plain.grad = minidl.ones(2)
    getattr(minidl.optim, name)([w], lr=0.1, **SIGNATURES[name]).step()
    getattr(minidl.optim, name)([plain], lr=0.1).step()
    assert w.tolist() == plain.tolist() != [1.0, 1.0]
    with pytest.raises(ValueError, match="`differentiable` is True; accepted: False"):
        getattr(minidl.optim, name)([w], differentiable=True)


def test_weights_are_saved_and_loaded(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    path = tmp_path / "net.safetensors"
    minidl.save(net.state_dict(), path)
    other = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    assert other.load_state_dict(minidl.load(path)) == ([], [])
    assert all(minidl.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values()))


def test_weights_of_a_run_are_loaded_and_their_damage_is_noticed(tmp_path):
    from minidl.training import checkpoint

    path = tmp_path / "model.safetensors"
    checkpoint.save_arrays(path, {"weight": np.arange(3.0)}, {"identity": {}})
    assert minidl.load(path)["weight"].tolist() == [0.0, 1.0, 2.0]
    contents = bytearray(path.read_bytes())
    contents[-1] ^= 1
    path.write_bytes(contents)
    with pytest.raises(ValueError, match="sha256"):
        minidl.load(path)


def test_weights_go_to_safetensors_and_come_from_it(tmp_path):
    torch_form = pytest.importorskip("safetensors.torch", reason="PyTorch is not installed")
    torch = pytorch()
    minidl.save({"w": minidl.ones(2, 3)}, tmp_path / "ours.safetensors")
    assert torch_form.load_file(tmp_path / "ours.safetensors")["w"].shape == (2, 3)
    torch_form.save_file({"w": torch.full((2,), 5.0)}, tmp_path / "theirs.safetensors")
    assert minidl.load(tmp_path / "theirs.safetensors")["w"].tolist() == [5.0, 5.0]


def test_what_is_no_safetensors_file_is_refused(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"\x80\x02}q\x00.")
    for path in (tmp_path / "net.pth", tmp_path / "none"):
        with pytest.raises(ValueError) as error:
            minidl.load(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


REFUSALS = {
    "Conv2d mode": (lambda L: L.nn.Conv2d(1, 1, 1, padding_mode="mirror"),
                    "`padding_mode` is 'mirror'; accepted: 'zeros'"),
    "ConvTranspose2d mode": (lambda L: L.nn.ConvTranspose2d(1, 1, 1, padding_mode="reflect"), "accepted: 'zeros'"),
    "Linear size": (lambda L: L.nn.Linear(2.5, 1), "`in_features` is 2.5; accepted: an integer >= 1"),
    "Linear dtype": (lambda L: L.nn.Linear(2, 1, dtype=int), "`dtype` is dtype('int64'); accepted: a floating-point"),
    "Dropout": (lambda L: L.nn.Dropout("a"), "`p` is 'a'; accepted: 0 to 1"),
    "Unflatten": (lambda L: L.nn.Unflatten(1, 2.0), "`size` is 2.0; accepted: integers"),
    "loss weight": (lambda L: L.nn.CrossEntropyLoss(weight=[1.0]), "`weight` is a list; accepted: Tensor or None"),
    "both forms": (
        lambda L: L.optim.SGD([L.nn.Parameter(L.ones(1))], foreach=True, fused=True),
        "`fused` and `foreach` are both True; accepted: one of them",
    ),
    "save": (lambda L: L.save([1], "file"), "`obj` is [1]; accepted: a dict of tensors by name"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_fits_nowhere_is_refused_in_one_line(name):
    check_refused(REFUSALS[name])
