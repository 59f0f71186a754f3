"""Weights from elsewhere: what is taken over, what begins anew, what stays as it is while the rest learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from patience import HANG
from safetensors.numpy import load_file, save_file

import minidl
import models
from minidl import nn, training
from minidl.training import CheckpointError, freeze, load_weights, save_arrays
from minidl.training.transfer import head_names

ROOT = Path(__file__).resolve().parents[1]


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


def python(*argv, cwd, status=0):
    process = subprocess.run([sys.executable, str(ROOT / "train.py"), *map(str, argv)], cwd=cwd, text=True,
                             capture_output=True, timeout=HANG, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.returncode == status, (process.stdout, process.stderr)
    return process.stdout, process.stderr


def test_train_with_frozen_layers_and_go_on(tmp_path):
    """The frozen part is bitwise that of the first run, statistics included, and a resumed run is the straight one."""
    quick = ["--model", "googlenet", "--width", "0.125", "--max-steps"]
    python(*quick, "3", "--output", "first", cwd=tmp_path)
    begun = ["--weights", "first", "--freeze", "stem,3a,3b,4a,4b,4c,4d", "--seed", "1", "--max-steps"]
    out, err = python(*quick[:-1], *begun, "4", "--output", "second", cwd=tmp_path)
    assert "arrays taken over" in out
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    kept = ("conv1.", *(f"inception{name}." for name in ("3a", "3b", "4a", "4b", "4c", "4d")))
    assert all((first[name] == second[name]).all() for name in first if name.startswith(kept))
    moved = [name for name in first if not name.startswith(kept) and (first[name] != second[name]).any()]
    assert any("running_mean" in name for name in moved) and "fc.weight" in moved
    norms = json.loads((tmp_path / "second/metrics.jsonl").read_text())["gradient_norms"]
    assert list(norms) == ["inception4e", "inception5a", "inception5b", "fc"]
    alone = python(*quick, "1", "--freeze", "stem", cwd=tmp_path, status=2)[1]
    assert "`--freeze` is stem without `--weights`" in alone
    assert "not a readable" in python(*quick, "1", "--weights", "nowhere", cwd=tmp_path, status=2)[1]


def test_evaluation_mode_of_a_model_is_left_alone():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 9, 3))
    frozen = training.freeze(net, "0,1")
    assert [module.training for module in net] == [False, False, True, True] and len(frozen) == 2
