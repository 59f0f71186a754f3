"""``make gpu-check`` without a GPU: what it says, and its parts on the stand-in."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import device_table
import pytest
import strict
from patience import HANG
from pytorch_rows_layers import ROWS

from benchmarks import device, gpu_check
from minidl import training
from minidl.ops import elementwise

ROOT = Path(__file__).resolve().parents[1]
SOME = ("conv2d", "max_pool2d", "batch_norm", "cross_entropy", "softmax", "mean", "matmul", "linear", "relu")


def test_without_a_gpu_it_is_one_line_and_status_2():
    code = "import sys; sys.modules['cupy'] = None; from benchmarks import gpu_check; sys.exit(gpu_check.main([]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 2 and done.stdout == ""
    remedy = "device 'cuda' needs CuPy: pip install 'minidl[cuda12x]' or 'minidl[cuda13x]'"
    assert done.stderr == f"gpu-check: no GPU: cpu (no cuda: {remedy})\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="this system has no make")
def test_make_knows_it():
    said = subprocess.run(
        ["make", "-n", "--no-print-directory", "gpu-check"], cwd=ROOT, capture_output=True, text=True, timeout=HANG
    ).stdout
    assert said.strip().endswith("-m benchmarks.gpu_check")


def test_the_table_of_operations_is_right_on_the_stand_in(monkeypatch, capsys, tmp_path):
    rows = [next(row for row in ROWS if row.name.startswith(name)) for name in SOME]
    monkeypatch.setattr(device_table, "ROWS", rows)
    with strict.pretend_gpu(monkeypatch):
        assert device_table.main(["--device", "cuda", "--json", str(tmp_path / "found.json")]) == 0
        assert json.loads((tmp_path / "found.json").read_text()) == {"rows": len(SOME), "of": len(SOME), "faults": {}}
        capsys.readouterr()
        right = elementwise.relu_forward.plain
        monkeypatch.setattr(
            elementwise.relu_forward, "plain", lambda x: right(x) * (1 + 1e-3 * isinstance(x, strict.StrictArray))
        )
        assert device_table.main(["--device", "cuda"]) == 1
        assert "relu" in capsys.readouterr().out
        assert device_table.main(["--device", "cuda", "--within", "-1"]) == 1
        assert f"0 of 0 rows, {len(SOME)} rows were left out for want of time" in capsys.readouterr().out


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """The commands of the parts, which are not run; a part's status by the word that its command must hold."""
    ran, statuses = [], {}

    def process(seconds, *command):
        ran.append((seconds, " ".join(command)))
        if "--json" in command:
            written = {"rows": 7, "of": 7, "faults": {}, "ratios": {device.BARS[0].name: {"ratio": 1.25}}}
            Path(command[command.index("--json") + 1]).write_text(json.dumps(written))
        return next((status for word, status in statuses.items() if word in ran[-1][1]), 0)

    monkeypatch.setattr(gpu_check, "process", process)
    monkeypatch.setenv("MINIDL_DATA", "")
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path))
    return ran, statuses


@pytest.mark.parametrize("failed, status, said", [
    (None, 0, "1.25"), ("googlenet", 1, "googlenet: FAILED, see above"),
    ("device_table", "stopped, its time was over", "operations: stopped, its time was over"),
])  # fmt: skip
def test_one_table_of_all_parts(monkeypatch, capsys, commands, tmp_path, failed, status, said):
    ran, statuses = commands
    if failed:
        statuses[failed] = status
    with strict.pretend_gpu(monkeypatch):
        assert gpu_check.main(["--json", str(tmp_path / "all.json")]) == (1 if failed else 0)
    out = capsys.readouterr().out
    assert said in out and "Stand-in, compute capability 9.0" in out and out.count("not measured") == len(device.BARS)
    assert len(ran) == 3 and sum(seconds for seconds, _ in ran) <= gpu_check.TOTAL - 30
    assert all("cuda" in command for _, command in ran)
    assert json.loads((tmp_path / "all.json").read_text())["operations"]["rows"] == 7


def test_the_run_is_on_cifar10_where_its_files_are(monkeypatch, capsys, commands):
    assert gpu_check.training(Path("."), False)["data"] == "digits"
    assert "cifar-10" in capsys.readouterr().out
    monkeypatch.setattr(gpu_check, "find", lambda *a, **o: {})
    assert gpu_check.training(Path("."), True)["data"] == "cifar10"
    assert ["--data digits" in commands[0][0][1], "--data cifar10" in commands[0][1][1]] == [True, True]
    assert "--max-steps 3" in commands[0][1][1] and "--device cuda" in commands[0][1][1]


def test_a_run_is_left_out_where_a_library_is_missing(monkeypatch, capsys, commands):
    monkeypatch.setattr(gpu_check, "is_there", lambda name: name != "tqdm")
    with strict.pretend_gpu(monkeypatch):
        assert gpu_check.main([]) == 1
    said = capsys.readouterr().out
    assert (
        "not installed: tqdm\n" in said
        and "training: left out, tqdm is not installed" in said
        and len(commands[0]) == 2
    )


def test_a_part_has_its_time_and_no_more(capfd):
    assert gpu_check.process(HANG, "-c", "import sys; sys.exit(3)") == 3
    assert gpu_check.process(0.0, "-c", "import time; time.sleep(600)") == "stopped, its time was over"


def test_the_trainings_options_are_those_of_train():
    """The command of the last part is one that train.py takes."""
    import train

    settings = training.parse(train.Settings, train.RECIPES, None, [*gpu_check.CIFAR10])
    assert settings.width == 1 and settings.batch_size == 512
