"""The commands as a user calls them, each as a process on real data; and what they say to wrong input."""

import json
import os
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
from tests.html_checks import assert_self_contained

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["--model", "cnn", "--width", "0.25", "--batch-size", "64"]


def python(*argv, cwd, status=0):
    """The stdout and stderr of a Python process."""
    process = subprocess.run([sys.executable, *map(str, argv)], cwd=cwd, text=True, capture_output=True, timeout=HANG,
                             env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"})
    assert process.returncode == status and "Traceback" not in process.stderr, (process.stdout, process.stderr)
    return process.stdout, process.stderr


def minidl(*argv, cwd, status=0):
    return python("-m", "minidl", *argv, cwd=cwd, status=status)


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


@pytest.fixture
def called(folder, monkeypatch, capsys):
    """``called(*argv)``: what a command prints, in this process."""
    monkeypatch.chdir(folder)

    def call(*argv):
        assert command_line.main(list(map(str, argv))) == 0
        return capsys.readouterr().out

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two runs on the digits, "short" and "longer", and a few of the test images as files."""
    folder = tmp_path_factory.mktemp("commands")
    for name, epochs in (("short", 1), ("longer", 6)):
        train_in(folder, *QUICK, "--epochs", epochs, "--output", name)
    (folder / "pictures" / "deeper").mkdir(parents=True)
    images, labels = data.load("digits").test.batch(np.arange(6))
    for k, image in enumerate(images):
        name = f"{'deeper/' if k > 3 else ''}{k}-is-{labels[k]}.png"
        Image.fromarray(image[..., 0]).save(folder / "pictures" / name)
    return folder


def test_data(folder, called):
    out, err = minidl("data", "digits", "--html", "card.html", "--picture", "card.png", cwd=folder)
    assert "1,293" in out and "test in train: 0 exact duplicates" in out and err == ""
    assert (folder / "card.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(called("data", "digits", "--json", "--most", "100", "--html", "again.html"))
    assert sum(found["counts"]["train"]) == 1293 and found["looked_at"] == {"train": 100, "val": 100, "test": 100}
    assert_self_contained((folder / "card.html").read_text())


def test_data_of_a_folder_with_names_that_attack(called, tmp_path):
    for name in ("<script>x", "a\x1b[31m"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for k in range(12):
            Image.new("RGB", (20, 20), (10 * k, 90, 200)).save(tmp_path / "set" / name / f"{k}.png")
    out = called("data", tmp_path / "set", "--html", tmp_path / "card.html")
    assert "\x1b" not in out and "a\\x1b[31m" in out
    assert "&lt;script&gt;x" in (tmp_path / "card.html").read_text()
    assert_self_contained((tmp_path / "card.html").read_text())


def test_evaluate(folder):
    out, err = minidl("evaluate", "longer", "--pictures", "drawn", cwd=folder)
    accuracy = json.loads((folder / "longer/summary.json").read_text())["test_accuracy"]
    assert f"{accuracy:.2%}" in out and "macro F1" in out and "ECE" in out and err == ""
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (folder / "drawn").iterdir())
    assert {path.name for path in (folder / "drawn").iterdir()} == {"confusion_matrix.png", "reliability.png"}


def test_evaluate_as_json_with_views(folder, called):
    plain, views = (json.loads(called("evaluate", "longer", "--json", *tta)) for tta in ([], ["--tta"]))
    summary = json.loads((folder / "longer/summary.json").read_text())
    assert plain["accuracy"] == summary["test_accuracy"] and plain["loss"] == pytest.approx(summary["test_loss"])
    assert views["test_time_augmentation"] and abs(views["accuracy"] - plain["accuracy"]) < 0.1
    assert views["loss"] != plain["loss"] and len(views["classes"]) == 10 and views["images"] == 360


def test_compare(folder, called):
    out, err = minidl("compare", "short", "longer", "--picture", "differ.png", cwd=folder)
    assert "longer is better, and that is more than chance" in out and "McNemar" in out
    assert (folder / "differ.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads(called("compare", "longer", "short", "longer", "--json"))
    assert [len(result[field]) for field in ("runs", "pairs")] == [3, 3] and result["runs"][2]["run"] == "short"
    assert {pair["p"] for pair in result["pairs"] if pair["first"] == pair["second"]} == {1.0}
    dataset = data.load("digits").test
    assert all(row["true"] == str(dataset[row["index"]][1]) for row in result["differing"])


def test_predict(folder, called):
    out, err = minidl("predict", "longer", "pictures", "--batch-size", "4", cwd=folder)
    lines = out.splitlines()
    assert len(lines) == 6 and err == "" and lines[0].startswith("pictures/0-is-")
    rows = [json.loads(line) for line in called("predict", "longer", "pictures", "--json", "--top", "3").splitlines()]
    right = [row["image"].partition("-is-")[2][0] == row["predictions"][0]["class"] for row in rows]
    assert sum(right) >= 4
    for line, row in zip(lines, rows):
        best = row["predictions"][0]
        assert line.startswith(f"{row['image']}  {best['class']} {best['probability']:.1%}")
        assert len(row["predictions"]) == 3 and sum(p["probability"] for p in row["predictions"]) <= 1.000003


def test_predict_names_broken_pictures_and_goes_on(folder, tmp_path):
    for k in range(3):
        Image.new("RGB", (30 + k, 20), (k, 0, 90)).save(tmp_path / f"{k}.jpg")
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:-12])
    (tmp_path / "a\x1b[31m.png").write_bytes(b"no picture")
    out, err = minidl("predict", folder / "longer", tmp_path, "--json", cwd=tmp_path, status=3)
    rows = [json.loads(line) for line in out.splitlines()]
    assert ["error" in row for row in rows] == [False, True, False, True]
    assert "1.jpg: left out, expected a whole picture" in err and "2 of 4 pictures could not be read" in err
    assert "\x1b" not in err


def test_summary(folder, called):
    out, err = minidl("summary", "googlenet", "--repeats", "1", "--batch-size", "2", cwd=folder)
    assert "5,871,914" in out and "1447.2" in out and "backward ms" in out
    result = json.loads(called("summary", "longer", "--repeats", "0", "--json"))
    parameters = json.loads((folder / "longer/summary.json").read_text())["parameters"]
    assert sum(row["parameters"] for row in result["layers"]) == parameters and result["input"] == [8, 1, 16, 16]


def test_wrong_input_is_one_line(refused, folder):
    assert "nowhere: expected a file" in refused("evaluate", "nowhere")
    assert "neither one of digits" in refused("evaluate", "short", "--data", "nowhere")
    assert "--part" in refused("evaluate", "short", "--part", "rest")
    assert "`RUN` was given 1 time; accepted: two runs or more" in refused("compare", "short")
    assert "there is no such file" in refused("predict", "short", "nowhere.png")
    assert "--batch-size" in refused("predict", "short", "pictures", "--batch-size", "0")
    assert "neither one of digits" in refused("data", "nowhere")
    assert "in a folder that does not exist" in refused("data", "digits", "--html", "no/card.html")
    assert "`MODEL` is 'resnet'" in refused("summary", "resnet")
    assert "does not go with a run" in refused("summary", "short", "--width", "2")
    assert "accepted: a name ending in .svg" in refused("summary", "cnn", "--picture", "a.png")
    assert "accepted: a name ending in .png" in refused("data", "digits", "--picture", "a.svg")
    assert "in a folder that does not exist" in refused("compare", "short", "longer", "--picture", "no/a.png")
    assert "accepted: cpu, cuda, or auto" in refused("summary", "cnn", "--device", "tpu")
    assert "accepted: a whole number, 1 or more, at most 2" in refused("gradcheck", "relu", "--order", "7")
    assert "accepted: a whole number, 0 or more" in refused("gradcheck", "relu", "--seed", "-1")
    (folder / "file").write_text("no folder, and no weights")
    assert "file: File exists" in refused("evaluate", "short", "--pictures", "file")
    assert "file: expected a checkpoint" in refused("evaluate", "file")
    assert "deeper/model.safetensors: expected a file" in refused("predict", "pictures/deeper", "pictures")
    assert "with the classes airplane" in refused("evaluate", "short", "--data", other_classes(folder))


def test_too_little_memory_is_one_line(refused, monkeypatch):
    def too_large(*args):
        raise MemoryError("Unable to allocate 24.0 TiB")

    monkeypatch.setattr("minidl.commands.summary.cost_of", too_large)
    assert "not enough memory: Unable to allocate 24.0 TiB" in refused("summary", "cnn")


def other_classes(folder):
    """A folder of pictures of two classes that no digit is one of; its name has spaces and letters beyond ASCII."""
    for name in ("airplane", "bü rd"):
        (folder / "zwei Klassen é" / name).mkdir(parents=True)
        for k in range(12):
            Image.new("RGB", (9, 9), (20 * k, 0, 0)).save(folder / "zwei Klassen é" / name / f"{k}.png")
    return "zwei Klassen é"


def test_paths_with_spaces_and_letters_beyond_ascii(folder, called):
    (folder / "mein Lauf ü").mkdir()
    (folder / "mein Lauf ü/model.safetensors").write_bytes((folder / "short/model.safetensors").read_bytes())
    assert called("predict", "mein Lauf ü", "pictures").count("\n") == 6
    assert called("summary", "mein Lauf ü", "--repeats", "0").startswith("mein Lauf ü, images of 1x16x16")
    said = called("compare", "short", "mein Lauf ü", "--picture", "ü.png")
    assert "may be chance" in said and not (folder / "ü.png").exists()  # the runs differ on no image


HEAVY_FOR_HELP = {"matplotlib", "sklearn", "scipy", "numba", "PIL", "safetensors", "pooch", "optuna", "onnx",
                  "onnxruntime",
                  "starlette", "uvicorn", "cupy", "torch"}  # fmt: skip


def test_help_is_quick():
    """The imports of each command's help, rather than the time it takes, which is the machine's."""
    code = """
import sys, minidl.__main__ as m
for name in ("", *m.COMMANDS):
    try:
        m.main([name, "--help"] if name else [])
    except SystemExit:
        pass
    print(name, sorted(HEAVY & {*sys.modules}), file=sys.stderr)
"""
    out, err = python("-c", code.replace("HEAVY", repr(HEAVY_FOR_HELP)), cwd=ROOT)
    assert [line.split(" ", 1)[1] for line in err.splitlines()] == ["[]"] * (1 + len(command_line.COMMANDS)), err
    assert all(f"python -m minidl {name}" in out for name in command_line.COMMANDS)


def test_the_readme_shows_what_is_there():
    lines = (ROOT / "README.md").read_text().splitlines()
    shown = {line.split("python -m minidl ")[1].split()[0] for line in lines if "$ python -m minidl " in line}
    assert {"data", "summary", "evaluate", "compare", "predict"} <= shown <= set(command_line.COMMANDS)


def test_a_reader_that_goes_away_is_no_error(folder):
    command = f"{sys.executable} -m minidl data digits --json | head -n 1; exit ${{PIPESTATUS[0]}}"
    process = subprocess.run(["bash", "-c", command], cwd=folder, text=True, capture_output=True, timeout=HANG,
                             env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"})
    assert process.stderr == "" and process.stdout == "{\n" and process.returncode in (0, 141)
