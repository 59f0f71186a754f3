"""Sweeps: what a plan says, how trials are followed, ended and taken up again, what came out."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import HANG

from minidl.report.canvas import png
from minidl.tuning.outcome import as_csv, importances, picture
from minidl.tuning.plan import Choice, Range, read_plan
from minidl.tuning.study import finished, open_study, options, sweep

pytest.importorskip("optuna", reason="optuna is not installed")
ROOT = Path(__file__).resolve().parents[1]
PLAN = """
[sweep]
trials = 5
[fixed]
model = cnn
weight-decay = 0.001   # a remark
[search]
lr = 0.001 .. 1, log
batch_size = 8 .. 64
optimizer = sgd, adamw
"""
# Stands for train.py: the accuracy is known, a hopeless trial would never end by itself, another fails.
SCRIPT = """
import argparse, json, math, pathlib, sys, time
parser = argparse.ArgumentParser()
for name in ("output", "lr", "batch-size", "optimizer", "model", "weight-decay"):
    parser.add_argument("--" + name)
args = parser.parse_args()
assert args.model == "cnn" and args.weight_decay == "0.001"
if args.batch_size == "8":
    sys.exit("fake: error: the loss is nan")
if args.batch_size == "9":
    print("fake: error: `--batch-size` is 9")
    sys.exit(2)
folder = pathlib.Path(args.output)
folder.mkdir()
best = 1 - 0.2 * abs(math.log10(float(args.lr)) + 1)
for epoch in (1, 2, 3):
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"epoch": epoch, "val_accuracy": best * epoch / 3}) + "\\n")
if args.batch_size == "64":
    time.sleep(600)
"""


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "small.ini").write_text(PLAN)
    (tmp_path / "fake.py").write_text(SCRIPT)
    return read_plan(tmp_path / "small.ini")


def test_what_a_plan_says(plan, tmp_path):
    assert (plan.name, plan.trials, plan.pruning, plan.seed) == ("small", 5, True, 0)
    assert plan.storage == str(tmp_path / "small.journal") and plan.fixed == {"model": "cnn", "weight_decay": "0.001"}
    assert plan.search == {
        "lr": Range(0.001, 1.0, True), "batch_size": Range(8, 64), "optimizer": Choice(("sgd", "adamw")),
    }
    assert isinstance(plan.search["batch_size"].low, int)
    assert options(plan.fixed) == ["--model", "cnn", "--weight-decay", "0.001"]


WRONG = [
    ("", "section .search. is missing or empty"),
    ("[search]\nlr = 1", "`lr` is 1; accepted: LOW .. HIGH"),
    ("[search]\nlr = 1 .. 0.1", "`lr` is 1 .. 0.1; accepted: the lower end first"),
    ("[search]\nlr = 0 .. 1, log", "above 0 for log"),
    ("[search]\noptimizer = sgd, sgd", "values with commas between"),
    ("[search]\noptimizer = sgd,", "values with commas between"),
    ("[search]\noutput = a, b", "`output` is the sweep's own affair"),
    ("[search]\nlr = 0 .. 1\n[fixed]\nlr = 1", "`lr` is fixed and searched"),
    ("[search]\nlr = 0 .. 1\n[other]", r"section \[other\]; accepted"),
    ("[search]\nlr = 0 .. 1\n[sweep]\ntrials = -1", "`trials` is -1; accepted: a whole number"),
    ("[search]\nlr = 0 .. 1\n[sweep]\nprune = yes", "`prune` in .sweep.; accepted: trials"),
    ("[search]\nlr = 0 .. 1\n[sweep]\npruning = 1", "`pruning` is 1; accepted: yes, no"),
    ("lr = 1", "no section headers"),
    ("[search]\nlr = 0 .. 1\nlr = 0 .. 2", "already exists"),
]


@pytest.mark.parametrize("text, message", WRONG, ids=range(len(WRONG)))
def test_wrong_plans_are_one_line(tmp_path, text, message):
    (tmp_path / "wrong.ini").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_plan(tmp_path / "wrong.ini")
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)


def enqueued(plan, *trials):
    """The plan's study, in which the first trials are given."""
    study = open_study(plan)
    for lr, size in trials:
        study.enqueue_trial({"lr": lr, "batch_size": size, "optimizer": "sgd"})
    return study


def test_trials_are_followed_and_hopeless_ones_ended(plan, tmp_path):
    study, lines = enqueued(plan, (0.1, 16), (0.2, 16), (0.1, 32), (0.05, 16), (1.0, 64)), []
    sweep(plan, study, tmp_path / "fake.py", tmp_path / "out", lines.append)
    assert [trial.state.name for trial in finished(study)] == ["COMPLETE"] * 4 + ["PRUNED"]
    assert study.best_value == 1.0 and study.trials[0].intermediate_values == {1: 1 / 3, 2: 2 / 3, 3: 1.0}
    assert "100.00%  lr 0.1, batch_size 16, optimizer sgd" in lines[0] and "pruned  lr 1, batch_size 64" in lines[4]
    assert as_csv(study).splitlines()[:2] == [
        "trial,state,val_accuracy,epochs,batch_size,lr,optimizer", "0,complete,1.0,3,16,0.1,sgd",
    ]
    shares = importances(study)
    assert set(shares) == set(plan.search) and sum(shares.values()) == pytest.approx(1) and shares["lr"] > 0.5
    first = png(picture(plan, study, shares))
    assert first == png(picture(plan, study, importances(study))) and len(first) > 5000


def test_a_trial_of_a_sweep_that_an_mpi_started_works_alone(plan, tmp_path, monkeypatch):
    for name in ("PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.setenv(name, "2")
    script = "import os\nleft = {name for name in os.environ if name[:3] in ('PMI', 'OMP')}\n"
    script += "assert not left - {'OMP_NUM_THREADS'} and 'SLURM_STEP_NUM_TASKS' not in os.environ\n"
    (tmp_path / "fake.py").write_text(script + SCRIPT)
    study = enqueued(plan, (0.1, 16))
    sweep(dataclasses.replace(plan, trials=1), study, tmp_path / "fake.py", tmp_path / "out", lambda line: None)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"]


def test_a_failed_trial_is_an_answer_and_a_refused_setting_the_end(plan, tmp_path):
    plan = dataclasses.replace(plan, trials=2)
    study = enqueued(plan, (0.1, 8), (0.1, 16), (0.1, 9))
    sweep(plan, study, tmp_path / "fake.py", tmp_path / "out", lambda line: None)
    assert [trial.state.name for trial in study.trials[:2]] == ["PRUNED", "COMPLETE"]
    assert study.trials[0].user_attrs["reason"] == "fake: error: the loss is nan" and importances(study) == {}
    with pytest.raises(ValueError, match="trial 2: fake: error: `--batch-size` is 9"):
        sweep(dataclasses.replace(plan, trials=3), study, tmp_path / "fake.py", tmp_path / "out", lambda line: None)
    assert len(finished(study)) == 2


@pytest.mark.parametrize("storage", ["small.journal", "sqlite:///small.db"])
def test_a_sweep_goes_on_where_it_was(plan, tmp_path, monkeypatch, storage):
    monkeypatch.chdir(tmp_path)
    plan = dataclasses.replace(plan, trials=1, storage=storage)
    sweep(plan, enqueued(plan, (0.1, 16)), tmp_path / "fake.py", tmp_path / "out", lambda line: None)
    longer, said = dataclasses.replace(plan, trials=2), []
    sweep(longer, enqueued(longer, (0.2, 16)), tmp_path / "fake.py", tmp_path / "out", said.append)
    study = open_study(longer)
    assert len(said) == 1 and [trial.params["lr"] for trial in finished(study)] == [0.1, 0.2]
    other = dataclasses.replace(longer, fixed={})
    with pytest.raises(ValueError, match="the study `small` was started with another"):
        open_study(other)


def test_a_sweep_without_validation_is_refused(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = TOGETHER.replace("< 2", "< 1").replace("val_accuracy", "train_accuracy")
    (tmp_path / "bare.py").write_text(script)
    plan = dataclasses.replace(plan, trials=1)
    with pytest.raises(ValueError, match="trial 0 has no validation images; `--validation` has to be tenth"):
        sweep(plan, enqueued(plan, (0.1, 16)), tmp_path / "bare.py", tmp_path / "out", lambda line: None)


# Of two trials each waits for the other, so that one process alone would never come to an end.
TOGETHER = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
folder.mkdir()
while len([path for path in folder.parent.glob("trial-*") if path.is_dir()]) < 2:
    time.sleep(0.01)
(folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "val_accuracy": 0.5}))
"""
WORKER = """
import sys
from minidl.tuning.plan import read_plan
from minidl.tuning.study import open_study, sweep
plan = read_plan(sys.argv[1])
sweep(plan, open_study(plan), "together.py", "out")
"""


@pytest.mark.parametrize("storage", ["small.journal", "sqlite:///small.db"])
def test_two_processes_work_on_one_study(tmp_path, monkeypatch, storage):
    """They begin at the same moment, with a storage that neither has made."""
    monkeypatch.chdir(tmp_path)
    Path("together.py").write_text(TOGETHER)
    Path("small.ini").write_text(PLAN.replace("trials = 5", f"trials = 4\nstorage = {storage}"))
    options = dict(
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, "small.ini"], **options) for _ in range(2)]
    said = []
    try:
        for worker in workers:
            out, err = worker.communicate(timeout=HANG)
            assert worker.returncode == 0 and err == "", err
            said.append([int(line.split()[0]) for line in out.splitlines()])
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    done = finished(open_study(read_plan("small.ini")))
    assert sorted(said[0] + said[1]) == [trial.number for trial in done] == list(range(len(done)))
    assert all(said) and 4 <= len(done) <= 5  # each ends the trial that it has begun
    assert len({trial.params["lr"] for trial in done}) == len(done)  # none is tried twice


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_ended_leaves_no_process(tmp_path, number):
    (tmp_path / "together.py").write_text("import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\n"
                                          "os.rename('pid', 'begun')\ntime.sleep(600)\n")
    (tmp_path / "small.ini").write_text(PLAN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", WORKER, "small.ini"], cwd=tmp_path, env=environment)
    try:
        pid = int(eventually((tmp_path / "begun").read_text, FileNotFoundError))
    finally:
        process.send_signal(number)
        process.wait()
    with pytest.raises(ProcessLookupError):
        eventually(lambda: os.kill(pid, 0) or 1 / 0, ZeroDivisionError)  # as long as it is there


def eventually(function, error):
    """What `function` gives when it no longer raises `error`."""
    for _ in range(int(HANG / 0.1)):
        try:
            return function()
        except error:
            time.sleep(0.1)
    pytest.fail(f"nothing else than {error.__name__} for {HANG} seconds")


def test_tables_that_another_process_is_making_are_waited_for(plan, tmp_path, monkeypatch):
    import optuna
    from sqlalchemy.exc import IntegrityError

    create, calls = optuna.create_study, []

    def at_the_third_time(**options):
        calls.append(options)
        if len(calls) < 3:
            raise IntegrityError("CREATE TABLE", {}, Exception("exists already\n(in another process)"))
        return create(**options)

    monkeypatch.setattr(optuna, "create_study", at_the_third_time)
    monkeypatch.setattr("minidl.tuning.study.RETRIES", (0, 0))
    assert finished(open_study(plan)) == [] and len(calls) == 3
    calls.clear()
    monkeypatch.setattr("minidl.tuning.study.RETRIES", (0,))
    with pytest.raises(ValueError, match="`storage` cannot be opened: IntegrityError: .*exists already$"):
        open_study(plan)


def test_a_database_without_its_driver_is_one_line(plan, monkeypatch):
    for driver in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(ValueError, match=r"needs the driver psycopg.*: pip install 'psycopg") as error:
        open_study(dataclasses.replace(plan, storage="postgresql://me:secret@127.0.0.1/x"))
    assert "secret" not in str(error.value)


def test_a_storage_that_fails_in_between_is_one_line(plan, tmp_path, monkeypatch):
    from sqlalchemy.exc import OperationalError

    def gone(self):
        raise OperationalError("SELECT", {}, Exception("the server has gone\n(more)"))

    study = open_study(plan)
    monkeypatch.setattr(type(study), "ask", gone)
    with pytest.raises(ValueError, match="`storage` has failed, and the sweep can go on later: .*gone$"):
        sweep(plan, study, tmp_path / "fake.py", tmp_path / "out", lambda line: None)


def test_a_storage_that_is_none_is_one_line(plan, tmp_path):
    with pytest.raises(ValueError, match="`storage` cannot be opened") as error:
        open_study(dataclasses.replace(plan, storage="nonsense://x"))
    assert "\n" not in str(error.value)


def call(*argv, cwd):
    return subprocess.run([sys.executable, "-m", "minidl", "sweep", *argv], cwd=cwd, text=True, capture_output=True,
                          timeout=HANG, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip


@pytest.mark.slow
def test_from_the_command_line(tmp_path):
    (tmp_path / "digits.ini").write_text(
        "[fixed]\nmodel = cnn\nwidth = 0.25\nepochs = 1\n[search]\nlr = 0.05 .. 0.2, log\n")
    done = call("digits.ini", "--trials", "1", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "" and "best: trial 0" in done.stdout
    assert "python train.py --model cnn --width 0.25 --epochs 1 --lr 0." in done.stdout
    names = {path.name for path in (tmp_path / "sweeps" / "digits").iterdir()}
    assert names == {"trial-0000", "trial-0000.txt", "trials.csv", "what_mattered.png"}


def test_a_missing_file(tmp_path):
    done = call("nowhere.ini", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == (
        "python -m minidl sweep: error: nowhere.ini: there is no such file, or a very large one\n")
