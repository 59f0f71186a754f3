"""The commands that explain, export and serve a run, each as a process on real data; their answers to wrong input."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_lab import train_in
from patience import HANG

import minidl.__main__ as command_line
from minidl import data

ROOT = Path(__file__).resolve().parents[1]


def python(*argv, cwd, status=0):
    """The stdout and stderr of a Python process."""
    process = subprocess.run([sys.executable, *map(str, argv)], cwd=cwd, text=True, capture_output=True, timeout=HANG,
                             env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.returncode == status and "Traceback" not in process.stderr, (process.stdout, process.stderr)
    return process.stdout, process.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the run "short" on the digits, and a test image as a file."""
    folder = tmp_path_factory.mktemp("deploy")
    train_in(folder, "--model", "cnn", "--width", "0.25", "--epochs", "3", "--output", "short")
    image, label = data.load("digits").test[3]
    Image.fromarray(image[..., 0]).save(folder / "scan.png")
    return folder


@pytest.fixture
def refused(folder, monkeypatch, capsys):
    """``refused(*argv)``: the one line that a command says to wrong input, in this process."""
    monkeypatch.chdir(folder)

    def call(*argv):
        with pytest.raises(SystemExit) as exit:
            command_line.main(list(map(str, argv)))
        out, err = capsys.readouterr()
        assert exit.value.code == 2 and out == "" and err.count("\n") == 1
        assert err.startswith(f"python -m minidl {argv[0]}: error: ")
        return err

    return call


def test_explain(folder, monkeypatch, capsys):
    out, err = python("-m", "minidl", "explain", "short", "test:3", cwd=folder)
    assert err == "" and "Grad-CAM at features: strongest at row" in out and "nearest training images" in out
    drawn = folder / "short" / "explain" / "test-3"
    names = {path.name for path in drawn.iterdir()}
    assert names == {"grad_cam.png", "occlusion.png", "filters.png", "nearest.png"}  # no blocks, so no branches
    monkeypatch.chdir(folder)
    argv = ["explain", "short", "scan.png", "--output", "mine", "--class", "5", "--nearest", "0"]
    assert command_line.main(argv) == 0
    from_file = capsys.readouterr().out
    # the same picture, so the same answer
    assert out.splitlines()[0].startswith(from_file.splitlines()[0] + "; it is ")
    assert "explained: 5" in from_file
    assert {path.name for path in (folder / "mine").iterdir()} == names - {"nearest.png"}
    assert (folder / "mine" / "filters.png").read_bytes() == (drawn / "filters.png").read_bytes()


WRONG = [
    (("explain", "short", "missing.png"), "missing.png: expected a file"),
    (("explain", "short", "short/config.json"), "expected a picture"),
    (("explain", "short", "test:360"), "`IMAGE` is test:360; accepted: a file, or test:0 to test:359"),
    (("explain", "short", "test:-1"), "`IMAGE` is test:-1"),
    (("explain", "short", "scan.png", "--class", "ten"), "`--class` is ten; accepted: 0, 1"),
    (("explain", "short", "scan.png", "--layer", "conv9"), "`layer` is 'conv9', which gives no maps"),
    (("explain", "short", "scan.png", "--window", "17"), "`window` is 17"),
    (("explain", "nowhere", "scan.png"), "nowhere"),
    (("export", "short", "model.pt"), "`FILE` is model.pt; accepted: a name ending in .onnx"),
    (("export", "nowhere", "model.onnx"), "nowhere"),
    (("export", "short", "no/such/model.onnx"), "no/such"),
    (("serve", "nowhere"), "nowhere"),
    (("serve", "short", "--port", "80x"), "--port"),
    (("explain", "short", "test:1", "--output", "scan.png"), "scan.png: File exists"),
]


@pytest.mark.parametrize("argv, message", WRONG, ids=lambda value: " ".join(value)[:40])
def test_wrong_input_is_one_line(refused, argv, message):
    if argv[0] == "export":
        pytest.importorskip("onnx", reason="onnx is not installed")
    if argv[0] == "serve":
        pytest.importorskip("uvicorn", reason="starlette is not installed")
    assert message in refused(*argv)


def test_export(folder):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnx is not installed")
    out, err = python("-m", "minidl", "export", "short", "model.onnx", cwd=folder)
    assert err == "" and "images (N, 1, 16, 16) to logits (N, 10)" in out and "the same logits within" in out
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    test = data.load("digits").test
    pixels, labels = test.batch(np.arange(len(test)))
    images = (pixels.transpose(0, 3, 1, 2) / np.float32(255) - json.loads(facts["mean"])[0]) / json.loads(facts["std"])[
        0
    ]
    (logits,) = session.run(["logits"], {"images": images.astype(np.float32)})
    accuracy = json.loads((folder / "short" / "summary.json").read_text())["test_accuracy"]
    assert abs(np.mean(logits.argmax(axis=1) == labels) - accuracy) < 0.006  # what the metadata say is enough
    assert json.loads(facts["class_names"]) == list("0123456789") and accuracy > 0.5


CLIENT = """
import json, sys, urllib.error, urllib.request
url, picture = sys.argv[1], open(sys.argv[2], "rb").read()
def get(path, data=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data)) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
answers = [get("/"), get("/predict", b"nonsense"), get("/../etc/passwd"), get("/predict", picture), get("/about")]
print(json.dumps(answers))
"""


def test_serve(folder):
    """A process on loopback; the client is another one, since tests may open no connection."""
    pytest.importorskip("uvicorn", reason="starlette is not installed")
    options = dict(cwd=folder, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    files = set(folder.rglob("*"))
    command = [sys.executable, "-m", "minidl", "serve", "short", "--port"]
    server = subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline()).group()
        client = [sys.executable, "-c", CLIENT, url, "scan.png"]
        done = subprocess.run(client, capture_output=True, timeout=HANG, **options)
        answers = json.loads(done.stdout)
        assert [status for status, _ in answers] == [200, 400, 404, 200, 200], done.stderr
        assert len(json.loads(answers[3][1])["predictions"]) == 10 and "root:" not in answers[2][1]
        busy = subprocess.run([*command, url.rpartition(":")[2]], capture_output=True, timeout=HANG, **options)
        assert busy.returncode == 2 and "accepted: a free port" in busy.stderr and busy.stderr.count("\n") == 1
    finally:
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=HANG)
    assert "Traceback" not in err and set(folder.rglob("*")) == files  # nothing was written
