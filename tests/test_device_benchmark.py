"""The benchmark on a GPU, without one: on the stand-in, and PyTorch's side of it on the CPU."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import strict

from benchmarks import compare, device, googlenet, race
from benchmarks.__main__ import main
from benchmarks.case import folder_of
from benchmarks.peers import minidl_device
from benchmarks.race import Contender
from benchmarks.settings import Settings
from benchmarks.worker import WorkerError
from minidl import backend
from minidl.dispatch import using

SMALL = device.miniature(device.TABLES["tf32-64"].case)
WITHOUT_TORCH = importlib.util.find_spec("torch") is None


@pytest.fixture(scope="module")
def case():
    """The folder of a miniature, and what minidl's plain forms say of it in float64."""
    with folder_of(SMALL) as folder, using("plain"):
        minidl_device.Network(folder, "train", 1, device="cpu", dtype="float64").check(folder / "wanted.npz")
        with np.load(folder / "wanted.npz") as wanted:
            yield folder, dict(wanted)


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    """A turn of one step."""
    monkeypatch.setattr(minidl_device.Network, "STEPS", 1)
    monkeypatch.setattr(googlenet, "TURN", 0.0)


def test_minidls_step_agrees_with_float64(monkeypatch, case):
    folder, wanted = case
    with strict.pretend_gpu(monkeypatch):
        job = minidl_device.Network(folder, "train", 1, device="cuda")
        job.check(folder / "found.npz")
        assert job.model.fc.weight.device == "cuda" and "highest" in job.flags()
        assert job.turn()["seconds"] > 0
        strict.events.clear()
        with strict.no_host_sync():
            job.one_step()
        assert strict.events == []  # neither a transfer nor a wait
    with np.load(folder / "found.npz") as found:
        assert not compare.faults(compare.errors(found, wanted), "float32")


@pytest.mark.skipif(WITHOUT_TORCH, reason="PyTorch is not installed")
@pytest.mark.parametrize("options, precision", [({}, "float32"), ({"channels_last": True}, "bf16")])
def test_pytorchs_step_agrees_with_float64(case, options, precision, monkeypatch):
    import torch.backends

    from benchmarks.peers import torch_device

    # PyTorch's own test library, which another test of this process may have imported, freezes the flags.
    monkeypatch.setitem(torch.backends.flags_frozen.__globals__, "__allow_nonbracketed_mutation_flag", True)
    folder, wanted = case
    job = torch_device.Network(folder, "train", 1, device="cpu", precision=precision, **options)
    job.check(folder / "found.npz")
    assert job.turn()["seconds"] > 0
    assert f"autocast {precision == 'bf16'}" in job.flags() and "cudnn.allow_tf32" in job.flags()
    with np.load(folder / "found.npz") as found:
        assert not compare.faults(compare.errors(found, wanted), precision)


def on_cpu(monkeypatch, *labels):
    """Let the tables run on the CPU, with these contenders."""
    for name, part in device.TABLES.items():
        chosen = tuple(c for c in part.contenders if c.label in labels)
        monkeypatch.setitem(device.TABLES, name, part._replace(contenders=chosen))


@pytest.mark.slow
def test_the_tables_are_measured_in_order_while_there_is_time(monkeypatch, capsys):
    on_cpu(monkeypatch, device.OURS)
    monkeypatch.setattr(minidl_device.Network, "wait", lambda self: None)
    settings = Settings(1, 1, ("tf32-64",), quick=True, device="cpu", within=float("inf"))
    monkeypatch.setattr(googlenet, "Worker", InProcess)
    monkeypatch.setattr(race, "Worker", InProcess)
    with using("plain"):
        results = device.run(settings)
    assert not results["wrong"] and list(results["parts"]) == ["tf32-64"]
    said = capsys.readouterr().out
    assert "minidl: set_float32_matmul_precision('high')" in said and "Training step, 32x32, TF32, batch 8" in said
    late = device.run(Settings(1, 1, ("float32-64", "tf32-64"), quick=True, device="cpu", within=-1.0))
    assert late["left out"] == ["float32-64", "tf32-64"] and not late["parts"]
    assert "no time was left for float32-64, tf32-64" in capsys.readouterr().out


class InProcess:
    """A worker that is no process, so that the stand-in and what a test changes hold in it."""

    def __init__(self, engine, threads, env=None):
        self.engine, self.threads = engine, threads

    def start(self, job, **options):
        self.job = minidl_device.JOBS[job](threads=self.threads, **options)

    def call(self, method, **options):
        return json.loads(
            json.dumps(getattr(self.job, method)(**{n: str(v) if n == "path" else v for n, v in options.items()}))
        )

    def close(self):
        pass

    __enter__ = lambda self: self  # noqa: E731
    __exit__ = lambda self, *exception: None  # noqa: E731


def test_what_was_measured_is_written_down_part_by_part(monkeypatch, tmp_path, capsys):
    rows = {label: {"median": 1.0} for label in (device.OURS, *device.EAGER)}

    def measure(name, *rest):
        if name == "bf16-512":
            raise WorkerError("Traceback\nRuntimeError: no memory")
        assert not seen or json.loads((tmp_path / "a.json").read_text())["ratios"]
        seen.append(name)
        return {"rows": rows}

    seen = []
    monkeypatch.setattr(googlenet, "measure_part", measure)
    results = device.run(Settings(1, 1, device.PARTS, device="cuda", json=tmp_path / "a.json"))
    assert seen == [name for name in device.PARTS if name != "bf16-512"] and len(seen) == 8
    assert results["wrong"] == ["bf16-512: RuntimeError: no memory"]
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads(json.dumps(results))


def test_who_takes_part():
    labels = {name: [c.label for c in part.contenders] for name, part in device.TABLES.items()}
    assert len(labels) == 9
    assert all(name[:4] == [device.OURS, device.CAPTURED, *device.EAGER] for name in labels.values())
    assert device.COMPILE in labels["bf16-512"] and device.GRAPHS in labels["bf16-64"]
    assert {c.precision for part in device.TABLES.values() for c in part.contenders} == set(device.PRECISIONS)
    assert all(
        isinstance(c, Contender) and c.precision in compare.BOUNDS for p in device.TABLES.values() for c in p.contenders
    )


def test_ratios_are_against_the_best_and_captured_where_the_bar_says_so():
    rows = {device.OURS: {"median": 1.0}, device.CAPTURED: {"median": 0.5}, "PyTorch eager": {"median": 3.0},
            "PyTorch channels_last": {"median": 2.0}, device.COMPILE: {"median": 1.0},
            device.GRAPHS: {"median": 0.75}}  # fmt: skip
    found = device.ratios({"tf32-512": {"rows": rows}, "bf16-64": {"rows": rows}})
    assert [bar["ratio"] for bar in found.values()] == [2.0, 1.5]


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(backend, "_kinds", {np.ndarray: backend._kinds[np.ndarray]})
    with pytest.raises(SystemExit) as stop:
        main(["googlenet", "--device", "cuda"])
    assert stop.value.code == 2 and "no cuda: device 'cuda' needs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["ops", "--device", "cuda"])
    assert "ops runs on the CPU; accepted: googlenet" in capsys.readouterr().err
