"""train.py as a user calls it: what a run leaves, what bad input says, how it stops."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from patience import HANG
from safetensors.numpy import load_file

import minidl
import minidl.__main__ as command_line
import models
import train as train_script
from minidl import backend, training
from minidl.training import folder as run_folder

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["--model", "cnn", "--width", "0.25", "--epochs", "1", "--batch-size", "128"]
# A dead proxy: where a file is missing, the download fails at once instead of succeeding.
OFFLINE = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}


def command(*argv, cwd, **env):
    options = dict(cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return subprocess.Popen([sys.executable, str(ROOT / "train.py"), *map(str, argv)],
                            env={**os.environ, **OFFLINE, **env}, **options)


def train(*argv, cwd, status=0, **env):
    process = command(*argv, cwd=cwd, **env)
    out, err = process.communicate(timeout=HANG)
    assert process.returncode == status, (out, err)
    return out, err


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """``refused(*argv)``: the one line that train.py says, in this process; nothing trained and no folder made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIDL_DATA", "")

    def call(*argv):
        monkeypatch.setattr("sys.argv", ["train.py", *map(str, argv)])
        with pytest.raises(SystemExit) as exit:
            train_script.main()
        out, err = capsys.readouterr()
        assert exit.value.code == 2 and out == "" and not (tmp_path / "runs").exists()
        assert err.startswith("train.py: error: ") and err.count("\n") == 1
        return err

    return call


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One finished run, and what it printed."""
    folder = tmp_path_factory.mktemp("a finished run")
    out, err = train(*QUICK, "--epochs", "2", cwd=folder)
    return folder / "runs" / "digits-cnn-1", out, err


def test_files_of_a_run(finished):
    run, out, err = finished
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert names >= {"config.json", "metrics.jsonl", "summary.json", "model.safetensors", "report.txt",
                     "figures/learning_curves.png", "figures/confusion_matrix.png", "checkpoint-0002.safetensors"}
    assert not [name for name in names if name.endswith(".tmp")]


def test_overwrite_removes_every_file_that_a_run_writes(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    (tmp_path / "run/tensorboard").mkdir()
    for name in ("tensorboard/events.out.tfevents.1", "figures/.mistakes.png.7.tmp", ".report.html.7.tmp", "notes"):
        (tmp_path / "run" / name).write_text("")
    run_folder._named_folder(tmp_path / "run", overwrite=True)[1].release()
    left = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert left == {".lock", "notes"}
    with pytest.raises(LookupError, match="page.html is no file of a run; accepted: checkpoint-"):
        run_folder.own_path(tmp_path, "page.html")


def test_metrics_have_one_object_per_epoch(finished):
    entries = [json.loads(line) for line in (finished[0] / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in entries] == [1, 2]
    assert all(set(entry) == {"epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds",
                              "images_per_second", "gradient_norms"} for entry in entries)
    for entry in entries:
        assert list(entry["gradient_norms"]) == ["features.0", "features.3", "classifier.1", "classifier.4"]
        assert all(0 < norm < 100 for norm in entry["gradient_norms"].values())


def test_summary(finished):
    run, out, err = finished
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary) == {"test_accuracy", "test_loss", "parameters", "seconds", "images_per_second",
                            "peak_memory_mb", "model", "data", "seed"}
    assert (summary["model"], summary["data"], summary["seed"]) == ("cnn", "digits", 0)
    assert 0.1 < summary["test_accuracy"] <= 1
    assert 0 < summary["seconds"] < 300 and 50 < summary["peak_memory_mb"] < 4000
    assert f"{summary['test_accuracy']:.2%}" in out


def test_weights_load_into_a_network(finished):
    weights = load_file(finished[0] / "model.safetensors")
    model = models.create("cnn", in_channels=1, width=0.25)
    model.load_state_dict(weights)
    assert np.isfinite(model.eval()(minidl.zeros(1, 1, 16, 16)).detach().numpy()).all()


def test_what_is_printed(finished):
    run, out, err = finished
    said = "2/2", "precision", "test accuracy", os.path.join("runs", "digits-cnn-1")
    assert not [words for words in said if words not in out]
    assert err == "" and max(map(len, out.splitlines())) <= 120  # no bar without a terminal


def test_runs_are_numbered_and_never_overwritten(finished):
    run = finished[0]
    before = {path: path.read_bytes() for path in run.rglob("*.*")}
    train(*QUICK, "--max-steps", "1", cwd=run.parents[1])
    assert (run.parent / "digits-cnn-2").is_dir() and before == {path: path.read_bytes() for path in run.rglob("*.*")}
    out, err = train(*QUICK, "--output", run, cwd=run.parents[1], status=2)
    assert "`--output`" in err and "exists already" in err


def test_bad_data_is_refused(refused, tmp_path):
    assert "neither one of digits, mnist" in refused("--data", "minst")
    assert "`image_size` is for folders" in refused("--image-size", "32")
    assert "`data_dir` is for official files" in refused("--data-dir", tmp_path)
    (tmp_path / "pictures").mkdir()
    assert "`data_dir` is for official files" in refused("--data", "pictures", "--data-dir", tmp_path)


@pytest.mark.parametrize("option", ["data", "data-dir", "weights", "freeze", "output", "resume"])
def test_an_option_that_a_shell_has_left_empty_is_refused(refused, option):
    assert f"--{option}: '' found; accepted: text" in refused(*QUICK, f"--{option}", "")


def test_options_of_a_training_are_refused_by_a_range_test(refused):
    assert "`--max-steps` does not go with `--lr-find`" in refused(*QUICK, "--lr-find", "--max-steps", "1")
    assert "`--overwrite` does not go with `--lr-find`" in refused(*QUICK, "--lr-find", "--overwrite", "--output", "x")


def test_a_range_test_whose_picture_cannot_be_drawn_is_not_begun(refused, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(training, "range_test", lambda *a: pytest.fail("the test has run"))
    assert "file: File exists" in refused(*QUICK, "--lr-find", "--output", "file")


def test_bad_folders_are_refused(refused, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    assert "pictures" in refused("--data", "pictures")
    for name in ("one", "two"):
        (pictures / name).mkdir()
    assert "pictures" in refused("--data", "pictures")
    for name in ("one", "two"):
        (pictures / name / "broken.png").write_bytes(b"no picture")
    assert "broken.png" in refused("--data", "pictures")


def test_a_corrupted_file_is_refused(refused, tmp_path):
    folder = tmp_path / "cifar-10"
    folder.mkdir()
    for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]:
        (folder / name).write_bytes(b"\0" * 3072)
    said = refused("--data", "cifar10", "--data-dir", tmp_path)
    assert "data_batch_1.bin" in said


def test_bad_devices_networks_and_folders_are_refused(refused, tmp_path):
    assert "'tpu' found; accepted: cpu, cuda, or auto" in refused("--device", "tpu")
    assert "no auxiliary heads" in refused("--model", "cnn", "--aux-weight", "0.3")
    (tmp_path / "file").write_text("")
    assert "which is a file" in refused(*QUICK, "--output", "file")
    assert "file" in refused(*QUICK, "--output", "file/below")
    assert "--model" in refused("--model", "resnet")
    assert "expected a run's folder" in refused("--resume", "nowhere")


def test_a_missing_gpu_is_said(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(backend, "_kinds", {np.ndarray: backend._kinds[np.ndarray]})
    assert "needs CuPy: pip install" in refused("--device", "cuda")


def test_offline_without_files_is_said(tmp_path):
    out, err = train("--data", "mnist", cwd=tmp_path, status=2, MINIDL_DATA="", MINIDL_CACHE=str(tmp_path))
    said = err.splitlines()[-1]
    assert said.startswith("train.py: error: mnist: not found") and "train-images-idx3-ubyte.gz" in said
    assert out == "" and not (tmp_path / "runs").exists()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    out, err = train(*QUICK, "--lr", "1e30", "--schedule", "constant", cwd=tmp_path, status=1)
    assert "epoch 1, step" in err and "learning rate 1e+30" in err and "checkpoint-0000.safetensors" in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("checkpoint*")] == ["checkpoint-0000.safetensors"]


def test_sigterm_is_one_line_with_the_command_that_resumes(tmp_path):
    process = command(*QUICK, "--epochs", "100000", cwd=tmp_path)
    for line in process.stdout:
        if "1/100000" in line:  # the run goes on, however slowly, until the signal has come
            break
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=HANG)
    assert process.returncode == 143 and err.strip().count("\n") == 0
    assert "python train.py --resume runs/digits-cnn-1 goes on after epoch" in err
    assert len(list(tmp_path.rglob("checkpoint-*.safetensors"))) == 2 and not list(tmp_path.rglob("summary.json"))


def test_class_names_are_escaped_in_the_terminal(tmp_path):
    from PIL import Image

    for name, colour in (("a\x1b[31mred", 250), ("b$\\frac{", 5)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(12):
            Image.new("L", (8, 8), colour).save(tmp_path / "pictures" / name / f"{k}.png")
    out, err = train("--data", "pictures", "--image-size", "8", *QUICK, cwd=tmp_path)
    assert "\x1b" not in out and "a\\x1b[31mred" in out
    assert "\x1b" not in (tmp_path / "runs/pictures-cnn-1/report.txt").read_text()


def test_info(capsys):
    assert command_line.main(["info"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("processor", "memory", "kernels", "threads", "devices", "numpy"))


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as exit:
        command_line.main([name, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert exit.value.code == 0 and command_line.docstring(name).partition("\n")[0] in said


def test_the_command_line_without_a_command():
    process = subprocess.run([sys.executable, "-m", "minidl"], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0 and process.stderr == ""
    places = [process.stdout.index(f"\n    {name}") for name in command_line.COMMANDS]
    assert places == sorted(places)


def test_a_wrong_command_is_one_line(capsys):
    with pytest.raises(SystemExit) as exit:
        command_line.main(["predikt"])
    out, err = capsys.readouterr()
    assert exit.value.code == 2 and out == "" and err.count("\n") == 1 and "gradcheck" in err


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_digits_reach_98_percent_in_two_minutes(tmp_path, seed):
    train("--seed", seed, cwd=tmp_path)
    summary = json.loads((tmp_path / "runs/digits-googlenet-1/summary.json").read_text())
    assert summary["test_accuracy"] >= 0.98 and summary["seconds"] <= 120
