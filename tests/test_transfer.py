"""Weights from elsewhere: what is taken over, what begins anew, what stays as it is while the rest learns."""

# ruff: noqa: F401, F811 (fixtures come by import)

import json

import numpy as np
import pytest
from run_lab import assert_same_end, at_step, ended, run_train, without_page
from safetensors.numpy import load_file, save_file

import minidl
import models
from minidl import nn, training
from minidl.training import CheckpointError, freeze, load_weights, save_arrays
from minidl.training.transfer import head_names


def weights_of(model):
    return {name: value.data.copy() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A plain safetensors file of a GoogLeNet without auxiliary heads, for 7 classes."""
    minidl.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "seven.safetensors"
    save_file(weights_of(models.create("googlenet", num_classes=7, width=0.25)), path)
    return path


def test_heads_of_other_classes_begin_anew(file):
    net = models.create("googlenet", num_classes=3, width=0.25, aux_logits=True)
    before, there = weights_of(net), load_file(file)
    taken = load_weights(net, file)
    assert taken.fresh == ["fc.weight", "fc.bias"] and taken.unexpected == []
    assert taken.missing and all(name.startswith(("aux1.", "aux2.")) for name in taken.missing)
    for name, value in weights_of(net).items():
        expected = before if name in taken.fresh or name in taken.missing else there
        np.testing.assert_array_equal(value, expected[name])
    said = "\n".join(taken.lines(file))
    assert "begun anew, for other classes: fc.weight, fc.bias" in said and "aux1.conv.conv.weight" in said


def test_the_same_classes_keep_their_head_and_other_names_do_not(tmp_path):
    net = models.create("cnn", num_classes=3, width=0.25)
    facts = {"identity": {"data": {"class_names": ["a", "b", "c"]}}}
    save_arrays(tmp_path / "w", weights_of(net), facts)
    assert load_weights(net, tmp_path / "w", ["a", "b", "c"]).fresh == []
    assert load_weights(net, tmp_path / "w", ["a", "b", "d"]).fresh == ["classifier.4.weight", "classifier.4.bias"]
    assert load_weights(net, tmp_path / "w").fresh == []


def test_torchvision_s_googlenet_fits(tmp_path):
    """The names are torchvision's: all but the heads is taken over, and gives the same features."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from safetensors.torch import save_file as save_torch

    from tests import torch_googlenet

    torch.manual_seed(0)
    theirs = torch_googlenet.GoogLeNet("torchvision", width=0.125, classes=11, aux_logits=True)
    save_torch(theirs.state_dict(), tmp_path / "theirs.safetensors")
    ours = models.create("googlenet-torchvision", num_classes=11, width=0.125).eval()
    taken = load_weights(ours, tmp_path / "theirs.safetensors")
    assert taken.missing == [] and taken.fresh == [] and all(name.startswith("aux") for name in taken.unexpected)
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(images)).numpy()
    np.testing.assert_allclose(ours(minidl.tensor(images)).detach().numpy(), expected, atol=1e-4)
    four = models.create("googlenet-torchvision", num_classes=4, width=0.125)
    other = load_weights(four, tmp_path / "theirs.safetensors")
    assert other.fresh == ["fc.weight", "fc.bias"] and len(other.loaded) == len(taken.loaded) - 2


def test_what_does_not_fit_is_refused_and_changes_nothing(file, tmp_path):
    for net, message in (
        (models.create("googlenet", width=0.5), "conv1.* has shape"),
        (models.create("googlenet", width=0.25, in_channels=1), "another --model or --width"),
        (models.create("cnn"), "has no array with a name of CNN"),
    ):
        before = weights_of(net)
        with pytest.raises(ValueError, match=message) as error:
            load_weights(net, file)
        assert str(file) in str(error.value) and "\n" not in str(error.value)
        assert all((value == before[name]).all() for name, value in weights_of(net).items())
    for name, content in (("cut", file.read_bytes()[:1000]), ("text", b"no weights"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match="not a readable safetensors file"):
            load_weights(models.create("cnn"), tmp_path / name)
    with pytest.raises(CheckpointError, match="nowhere"):
        load_weights(models.create("cnn"), tmp_path / "nowhere")


@pytest.mark.parametrize("names, frozen", [
    ("stem", ["conv1"]), ("stem,3a", ["conv1", "inception3a"]), ("inception5b, fc", ["inception5b", "fc"]),
    ("inception3a.branch1", ["inception3a.branch1"]),
])  # fmt: skip
def test_names_of_frozen_layers(names, frozen):
    net = models.create("googlenet", width=0.25).train()
    freeze(net, names)
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad == (not name.startswith(tuple(f"{layer}." for layer in frozen))), name
    for name, module in net.named_modules():
        inside = any(name == layer or name.startswith(f"{layer}.") for layer in frozen)
        assert module.training == (not inside)


@pytest.mark.parametrize("name", models.MODELS)
def test_all_but_the_head(name):
    net = models.create(name, width=0.125)
    freeze(net, "all-but-head")
    trained = {name.rpartition(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert trained == set(head_names(net)) == ({"classifier.4"} if name == "cnn" else {"fc"})


def test_wrong_names_are_said():
    for names in ("6a", "", "stem,,3a", "conv1;3a"):
        with pytest.raises(ValueError, match="`freeze` names .*accepted: all-but-head, stem, conv1, inception3a"):
            freeze(models.create("googlenet", width=0.125), names)
    with pytest.raises(ValueError, match="no parameter is left to train"):
        freeze(models.create("cnn"), "features,classifier")
    with pytest.raises(ValueError, match="names 'stem'; accepted: all-but-head, features, classifier, with"):
        freeze(models.create("cnn"), "stem")  # it has no branches, and so nothing before them


def test_frozen_layers_cost_no_backward():
    """No node of the graph belongs to a frozen stem: the image's own gradient is not wanted either."""
    net = models.create("googlenet", width=0.125).train()
    images = minidl.randn(2, 3, 16, 16)

    def nodes(output):
        seen, todo = set(), [output.node]
        while todo:
            node = todo.pop()
            if node is not None and node not in seen:
                seen.add(node)
                todo += [edge.node for edge in node.edges if edge is not None]
        return len(seen)

    whole = nodes(net(images))
    frozen = freeze(net, "stem,3a,3b,4a,4b,4c,4d,4e,5a")
    net.train()
    for part in frozen:
        part.eval()
    assert nodes(net(images)) < whole / 3


SMALL = ["--model", "googlenet", "--width", "0.125", "--batch-size", "64", "--epochs", "2"]  # 2 steps in an epoch
FROZEN = ["stem", "3a", "3b", "4a", "4b", "4c", "4d"]
KEPT = ("conv1.", *(f"inception{name}." for name in FROZEN[1:]))


def test_train_with_frozen_layers_and_go_on(run_train, at_step, tmp_path, capsys, monkeypatch):
    """The frozen part is bitwise that of the file, statistics included, and a resumed run is the straight one.

    What it began with is in its checkpoint: the file may have gone.
    """
    without_page(monkeypatch)
    save_file(weights_of(models.create("googlenet", width=0.125, in_channels=1)), tmp_path / "first.safetensors")
    begun = [*SMALL, *"--weights first.safetensors --seed 1 --checkpoint-every 1 --freeze".split(), ",".join(FROZEN)]
    run_train(*begun, "--output", "straight")
    assert "arrays taken over" in capsys.readouterr().out
    first, second = (load_file(tmp_path / name) for name in ("first.safetensors", "straight/model.safetensors"))
    assert all((first[name] == second[name]).all() for name in first if name.startswith(KEPT))
    moved = [name for name in first if not name.startswith(KEPT) and (first[name] != second[name]).any()]
    assert any("running_mean" in name for name in moved) and "fc.weight" in moved
    norms = json.loads((tmp_path / "straight/metrics.jsonl").read_text().splitlines()[0])["gradient_norms"]
    assert list(norms) == ["inception4e", "inception5a", "inception5b", "fc"]

    def stop():
        raise KeyboardInterrupt

    at_step(3, stop)
    assert ended(run_train, *begun, "--output", "broken")[0] == 130
    (tmp_path / "first.safetensors").unlink()
    at_step(0, stop)
    run_train("--resume", "broken")
    assert_same_end(tmp_path / "straight", tmp_path / "broken")


def test_wrong_weights_end_before_the_training(run_train, tmp_path):
    assert "`--freeze` is stem without `--weights`" in ended(run_train, *SMALL, "--freeze", "stem")[1]
    (tmp_path / "text.safetensors").write_text("no weights")
    for path in ("nowhere", "text.safetensors", "."):
        status, said = ended(run_train, *SMALL, "--weights", path)
        assert status == 2 and "not a readable" in said and said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_evaluation_mode_of_a_model_is_left_alone():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 9, 3))
    frozen = training.freeze(net, "0,1")
    assert [module.training for module in net] == [False, False, True, True] and len(frozen) == 2
