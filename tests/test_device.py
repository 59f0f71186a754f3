"""The device "cuda" from the first name to a finished run, on a stand-in for CuPy (see ``strict.py``)."""

# ruff: noqa: F811 (fixtures come by import)

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import strict
from patience import HANG
from PIL import Image
from run_lab import SHORT, STEPS, at_step, ended, few_digits, run_train, without_page  # noqa: F401

import minidl
import minidl.__main__ as command_line
import models
from minidl import backend, training
from minidl.data import DataLoader
from minidl.serve.answers import Answerer
from minidl.training import checkpoint, open_run

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def gpu(monkeypatch):
    """The stand-in as the module ``cupy``; runs end without pictures."""
    without_page(monkeypatch)
    with strict.pretend_gpu(monkeypatch) as cupy:
        yield cupy


# ---------------------------------------------------------------- names


def test_the_names_that_pytorch_users_type(gpu):
    device = minidl.device("cuda" if minidl.cuda.is_available() else "cpu")
    x = minidl.ones(2, 3).to(device)
    assert x.device == "cuda" == device.type and device.index is None
    assert x.cpu().device == "cpu" and x.cpu().cuda().device == "cuda"
    assert minidl.zeros(2, device="cuda:0").device == "cuda"
    assert minidl.nn.Linear(2, 2).cuda().weight.device == "cuda"
    assert minidl.nn.Linear(2, 2, device="cuda").to("cpu").weight.device == "cpu"
    assert minidl.cuda.device_count() == 1 and minidl.cuda.get_device_name() == "Stand-in"
    assert minidl.cuda.get_device_capability() == (9, 0)
    minidl.cuda.synchronize()


def test_a_process_computes_on_one_gpu(gpu):
    with pytest.raises(
        ValueError, match="'cuda:1'; accepted: cpu, cuda.*; a process computes on one cuda, and CUDA_VISIBLE_DEVICES=1"
    ):
        minidl.ones(1).to("cuda:1")


def test_a_transfer_keeps_the_order_of_memory(gpu):
    x = backend.channels_last(np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5))
    there = backend.to_device(x, "cuda")
    back = backend.to_device(there, "cpu")
    assert backend.is_channels_last(there) and backend.is_channels_last(back) and np.array_equal(back, x)
    assert strict.events == ["asarray()", "asnumpy()"]


# ---------------------------------------------------------------- runs


KINDS = {
    "averaged": [*SHORT, "--ema", "0.9"],
    "adamw, plateau": [*SHORT, "--optimizer", "adamw", "--lr", "0.003", "--schedule", "plateau"],
    "rmsprop": [*SHORT, "--optimizer", "rmsprop", "--lr", "0.001", "--augmentation", "strong", "--workers", "1"],
    "shards": [*SHORT, "--shards", "4"],
    "googlenet": ["--model", "googlenet", "--width", "0.1", "--aux-weight", "0.3", "--batch-size", "64", "--seed", "1"],
}


def newest(folder):
    """Arrays and facts of the newest checkpoint."""
    return checkpoint.load_newest(folder)


def assert_near(folder, other, tolerance=2e-4):
    """The newest checkpoints of two runs hold the same places and streams, and numbers that differ by rounding."""
    (arrays, facts), (found, own) = newest(folder), newest(other)
    assert facts["random"] == own["random"] and facts["loader"] == own["loader"] and set(arrays) == set(found)
    for name in set(arrays) - {"meter/seconds"}:
        np.testing.assert_allclose(found[name], arrays[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind == "googlenet" else ()) for kind in KINDS]
)
def test_a_run_on_the_gpu_is_the_run_on_the_cpu(gpu, run_train, tmp_path, kind):
    """train.py from the first batch to the report; masks, initial values and order of the data are the same."""
    for device in ("cpu", "auto"):
        run_train(*KINDS[kind], "--epochs", "1", "--device", device, "--output", device)
    assert strict.events
    assert_near(tmp_path / "cpu", tmp_path / "auto")
    assert json.loads((tmp_path / "auto" / "config.json").read_text())["device"] == "cuda"


@pytest.mark.parametrize("first, second", [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_goes_on_where_the_other_device_left_it(gpu, run_train, at_step, tmp_path, first, second):
    """Weights, slots, averages, the epoch's figures: a checkpoint is the same file, whatever device wrote it."""
    argv = [*KINDS["averaged"], "--epochs", "2", "--checkpoint-every", "1"]
    run_train(*argv, "--device", first, "--output", "straight")

    def stop():
        raise KeyboardInterrupt

    at_step(11, stop)
    assert ended(run_train, *argv, "--device", first, "--output", "moved")[0] == 130
    at_step(0, stop)
    strict.events.clear()
    run_train("--resume", "moved", "--device", second)
    assert ("asarray()" in strict.events) == (second == "cuda")
    assert_near(tmp_path / "straight", tmp_path / "moved")


@pytest.mark.parametrize("preset", ["none", "standard", "strong"])
def test_images_are_sent_as_bytes_and_normalised_there_to_the_same_bits(gpu, monkeypatch, preset):
    sent, images = [], few_digits()
    monkeypatch.setattr(
        gpu, "asarray", lambda array: (sent.append((array.ndim, array.dtype)), strict.Cupy.asarray(gpu, array))[1]
    )
    batches = []
    for device in ("cpu", "cuda"):
        options = dict(batch_size=24, shuffle=True, seed=2, transform=images.transform(preset), device=device)
        batches.append([(x.cpu().data, y.cpu().data, x.data) for x, y in DataLoader(images.train, **options)])
    for (x, y, _), (found, labels, there) in zip(*batches, strict=True):
        assert found.tobytes() == x.tobytes() and np.array_equal(labels, y) and backend.is_channels_last(there)
    assert {dtype.name for ndim, dtype in sent if ndim == 4} == {"uint8"}
    sent_once = 2 if preset == "strong" else 1  # mean and deviation, or a table
    assert sum(dtype == np.float32 for ndim, dtype in sent) == sent_once
    assert {dtype.name for ndim, dtype in sent if ndim == 2} == ({"int32", "float32"} if preset != "strong" else set())


def test_a_step_waits_for_nothing_and_sends_one_batch(gpu, run_train, monkeypatch):
    """Between two steps of one epoch, images, their pixels' places and labels go to the device; nothing comes back."""
    after_step = training.Run.after_step
    monkeypatch.setattr(training.Run, "after_step", lambda *a: (strict.events.append("step"), after_step(*a)))
    monkeypatch.setattr(training.Progress, "_show", lambda *a: None)  # which looks at the loss twice a second
    run_train(*KINDS["averaged"], "--epochs", "1", "--device", "cuda")
    steps = " ".join(strict.events).split("step")
    assert len(steps) == STEPS + 1
    assert {part.strip() for part in steps[1 : STEPS - 1]} == {"asarray() asarray() asarray()"}


@pytest.mark.slow
def test_what_follows_a_run_works_on_the_device(gpu, run_train, tmp_path, monkeypatch):
    """A range test, transfer learning, the commands and the server's answers."""
    run_train(*KINDS["averaged"], "--epochs", "1", "--device", "cuda", "--output", "run")
    run_train(*SHORT, "--device", "cuda", "--weights", "run", "--freeze", "all-but-head", "--epochs", "1")
    monkeypatch.setattr(training, "report_range_test", lambda *a: None)  # a picture
    run_train(*SHORT, "--device", "cuda", "--lr-find")
    image = np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "digit.png")
    commands = ["evaluate", "run"], ["predict", "run", "digit.png"], ["explain", "run", "digit.png"], ["summary", "run"]
    for command in commands:
        strict.events.clear()
        assert command_line.main([*command, "--device", "cuda"]) == 0
        assert "asarray()" in strict.events, command
    networks = [open_run("run", models.create, device) for device in ("cpu", "cuda")]
    first, second = (Answerer(trained).answer((tmp_path / "digit.png").read_bytes()) for trained in networks)
    assert [guess["class"] for guess in first["predictions"]] == [guess["class"] for guess in second["predictions"]]


def test_a_loss_that_is_not_finite_is_found_on_the_device(gpu, run_train):
    status, said = ended(run_train, *SHORT, "--device", "cuda", "--lr", "1e30", "--schedule", "constant")
    assert status == 1 and "learning rate 1e+30" in said and said.count("\n") == 1


# ---------------------------------------------------------------- CuPy that is missing, broken, or without a driver

BANNER = '''
"""
================================================================
Failed to import CuPy.

Original error:
  ImportError: libcublas.so.13: cannot open shared object file
================================================================
"""'''
RUNTIME = "class cuda:\n  class runtime:\n    def getDeviceCount():\n      "
CUPIES = {
    "absent": ("raise ModuleNotFoundError('No module named cupy', name='cupy')",
               "CuPy: pip install 'minidl[cuda12x]' or 'minidl[cuda13x]'"),
    "half": ("import minidl_has_no_such_module",
             "CuPy, which cannot be imported: No module named 'minidl_has_no_such_module'"),
    "broken": (f"raise ImportError({BANNER})",
               "CuPy, which cannot be imported: ImportError: libcublas.so.13: cannot open shared object file"),
    "no driver": (RUNTIME + "raise RuntimeError('cudaErrorInsufficientDriver: too old')",
                  "a GPU and its driver: cudaErrorInsufficientDriver: too old"),
    "no GPU": (RUNTIME + "return 0", "a GPU and its driver: no GPU is here"),
}  # fmt: skip
USE = """
import sys, minidl
assert "cupy" not in sys.modules and not minidl.cuda.is_available() and minidl.cuda.device_count() == 0
for make in (lambda: minidl.ones(1).cuda(), minidl.cuda.synchronize):
    try:
        make()
    except RuntimeError as error:
        print(error)
print(minidl.training.device("auto"), minidl.ones(2).sum().item())
minidl.training.parse(train.Settings, train.RECIPES, None, ["--device", "auto"])
"""


@pytest.mark.parametrize("state", CUPIES)
def test_minidl_works_whatever_state_cupy_is_in(tmp_path, state):
    code, said = CUPIES[state]
    (tmp_path / "cupy.py").write_text(code + "\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run([sys.executable, "-c", "import train" + USE], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": path}, timeout=HANG)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"device 'cuda' needs {said}"] * 2 + ["cpu 2.0"]
