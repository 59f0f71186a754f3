"""The benchmarks in miniature: everything runs, is checked and is written down; no time is judged."""

import json
import math

import numpy as np
import pytest

from benchmarks import (
    ablation, ablation_table, chain, compare, decode, googlenet, job, ops, pictures, products, published, race, ranks,
    ranks_model, records, report, settings, settle, transfer,
)
from benchmarks.__main__ import NAMES, main
from benchmarks.case import Case, folder_of, load
from benchmarks.convolution import flop, layers
from benchmarks.kept import Kept
from benchmarks.settings import Engine, Settings, processor
from benchmarks.worker import Worker, WorkerError
import minidl
import models
from minidl import data, nn, training
from minidl.kernels.cpu.machine import team

ABSENT = Engine("Absent", "absent_jobs", ("absent",), "absent==1.0")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a benchmark in miniature on one thread: (exit status, figures). The peers, slow to import, only if told."""

    def run(name, *options, contenders=("minidl",)):
        settings._is_installed.cache_clear()
        installed = settings.available
        monkeypatch.setattr(race, "available", lambda given: [c for c in installed(given) if c.label in contenders])
        if contenders == ("minidl",):
            monkeypatch.setitem(settings.ENGINES, "torch", ABSENT)
        figures, drawn = tmp_path / "figures.json", tmp_path / "picture.png"
        arguments = ["--quick", "--threads", "1", "--rounds", "2", "--json", str(figures), "--picture", str(drawn)]
        status = main([name, *arguments, *options])
        assert drawn.stat().st_size > 5_000
        return status, json.loads(figures.read_text())

    return run


def test_the_list_names_every_benchmark(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in NAMES)


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["googlenet", "--only", "lunch"], ["ops", "--rounds", "0"], ["ops", "--threads", "0"],
     ["ops", "--json", "no/such/folder/a.json"]],
)
def test_a_wrong_option_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and "usage" in capsys.readouterr().err


def test_googlenet(run, capsys):
    status, figures = run("googlenet", "--only", "training", contenders=("minidl", "PyTorch channels_last"))
    assert status == 0 and figures["threads"] == 1 and not figures["wrong"]
    row = figures["parts"]["training"]["rows"]["minidl"]
    assert len(row["rounds"]) == 2 and row["errors"]["logits"] < 1e-4
    assert "errors against float64" in capsys.readouterr().out


def test_googlenet_without_peers(run):
    status, figures = run("googlenet", "--only", "inference-1,memory")
    assert status == 0 and list(figures["parts"]["inference-1"]["rows"]) == ["minidl"]
    assert figures["parts"]["memory"]["rows"]["minidl"]["rise"] > 0


def test_what_is_wrong_is_not_timed(run, monkeypatch, capsys):
    monkeypatch.setitem(compare.BOUNDS, "float32", {"logits": 0.0})
    status, figures = run("googlenet", "--only", "inference-1")
    assert status == 1 and len(figures["wrong"]) == 1
    assert "median" not in figures["parts"]["inference-1"]["rows"]["minidl"]
    assert "minidl is WRONG: logits" in capsys.readouterr().out


@pytest.mark.parametrize("name, part", [("googlenet", "inference-1"), ("convolution", "3x3"), ("ops", "chain")])
def test_no_times_of_what_is_wrong_after_the_race(run, monkeypatch, name, part):
    checks, errors = [], compare.errors

    def wrong_every_second_time(found, wanted):
        checks.append(found)
        return {name: error if len(checks) % 2 else 1.0 for name, error in errors(found, wanted).items()}

    monkeypatch.setattr(compare, "errors", wrong_every_second_time)
    status, figures = run(name, "--only", part)
    assert status == 1 and figures["wrong"] and len(checks) % 2 == 0
    assert '"median"' not in json.dumps({key: figures.get(key) for key in ("parts", "layers")})


def test_training_is_compared_from_the_same_weights_however_often():
    case = Case(width=0.125, batch=2, size=8)
    with folder_of(case) as folder, Worker("minidl", threads=1) as worker:
        worker.start("network", folder=str(folder), mode="train")
        for name in ("first", "last"):
            worker.call("check", path=str(folder / f"{name}.npz"))
            worker.call("turn")
        with np.load(folder / "first.npz") as first, np.load(folder / "last.npz") as last:
            assert all(np.array_equal(first[name], last[name]) for name in first)


def test_adam_is_compared_from_its_beginning_however_often(tmp_path):
    with Worker("minidl", threads=1) as worker:
        worker.start("kernels")
        worker.call("choose", name="Adam", quick=True)
        for name in ("first", "last"):
            worker.call("check", path=str(tmp_path / f"{name}.npz"))
            worker.call("turn")
        with np.load(tmp_path / "first.npz") as first, np.load(tmp_path / "last.npz") as last:
            assert all(np.array_equal(first[name], last[name]) for name in first)


def test_convolution(run):
    status, figures = run("convolution", "--only", "3x3")
    assert status == 0 and figures["peak"]["flops"] > 0
    for layer in figures["layers"]:
        assert set(layer["times"]) == {"forward", "input_grad", "weight_grad"} == set(layer["algorithms"]["minidl"])


def test_ops(run):
    status, figures = run("ops")
    assert status == 0 and "Chain of 40 tiny operations" in figures["parts"]
    assert all("median" in rows["minidl"] for rows in figures["parts"].values())


def test_startup_and_scaling(run):
    status, figures = run("startup", "--only", "import")
    assert status == 0 and figures["parts"]["import"]["minidl"]["median"] > 0
    status, figures = run("scaling", "--only", "batch")
    assert status == 0 and [point["value"] for point in figures["parts"]["batch"]] == [1, 4]


def test_transfer(run):
    """In miniature, with real data where it lies; the parts of a set are the images of its classes, numbered anew."""
    images = data.load("digits")
    part = transfer.restricted(images, [3, 8])
    assert part.class_names == ("3", "8") and part.name == "digits (3 to 8)"
    expected = images.test.batch(np.flatnonzero(np.isin(images.test.labels, [3, 8])))
    np.testing.assert_array_equal(part.test.images, expected[0])
    assert [[3, 8][label] for label in part.test.labels] == expected[1].tolist()
    chosen = transfer.few(images.train, 7, seed=1)
    assert np.bincount(chosen.labels).tolist() == [7] * 10 and len({*chosen.indices}) == 70
    assert transfer.few(images.train, 7, seed=2).indices.tolist() != chosen.indices.tolist()


def test_transfer_in_miniature(run, monkeypatch):
    images = data.load("digits")
    halves = [transfer.restricted(images, classes) for classes in (range(5), range(5, 10))]
    monkeypatch.setattr(transfer, "sets", lambda part: halves)
    status, figures = run("transfer", "--only", "digits")
    rows = figures["parts"]["digits"]["rows"]
    expected = [(method, seed) for method in transfer.METHODS for seed in (0, 1)]
    assert status == 0 and [(row["method"], row["seed"]) for row in rows] == expected
    assert {row["images"] for row in rows} == {10} and all(0 <= row["accuracy"] <= 1 for row in rows)
    again = run("transfer", "--only", "digits")[1]["parts"]["digits"]["rows"]
    assert again == rows  # the same bits


def test_records_in_miniature(run, tmp_path):
    status, figures = run("records", "--only", "cifar10-inception", "--rounds", "1")
    assert status == 0 and [(row["preset"], row["seed"]) for row in figures["rows"]] == [("cifar10-inception", 1)]
    assert all(0 <= row["test_accuracy"] <= 1 and row["parameters"] > 1000 for row in figures["rows"])


def test_a_finished_record_is_taken_and_one_that_was_cut_off_is_resumed(tmp_path, monkeypatch):
    summary = {"test_accuracy": 0.5, "test_loss": 1.0, "seconds": 2.0, "parameters": 3, "seed": 1, "data": "mnist"}
    asked = []

    def train(options, threads):
        asked.append(options)
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a/summary.json").write_text(json.dumps(summary))

    monkeypatch.setattr(records, "train", train)
    expected = {name: value for name, value in summary.items() if name != "data"}
    assert records.result("mnist", 1, tmp_path / "a", 2) == expected == records.result("mnist", 1, tmp_path / "a", 2)
    assert asked == [("--preset", "mnist", "--seed", "1", "--output", str(tmp_path / "a"))]
    (tmp_path / "a/summary.json").unlink()
    (tmp_path / "a/checkpoint-0001.safetensors").write_bytes(b"")
    records.result("mnist", 1, tmp_path / "a", 2)
    assert asked[1:] == [("--resume", str(tmp_path / "a"))]


def test_a_record_with_other_settings_is_refused(tmp_path, monkeypatch):
    """Finished or cut off: a resumed run would go on with its own settings."""
    (tmp_path / "config.json").write_text(json.dumps({**training.PRESETS["mnist"], "seed": 1, "lr": 0.5}))
    monkeypatch.setattr(records, "train", None)
    for name in ("checkpoint-0001.safetensors", "summary.json"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(SystemExit, match="was made with `lr` 0.5, but preset mnist has 0.24: move it away"):
            records.result("mnist", 1, tmp_path, 2)


def test_records_of_other_presets_stay_in_the_file(tmp_path, monkeypatch, capsys):
    """Each row says what it was measured on; a preset that is named again has its new rows only."""
    scores = {"mnist": 0.996, "digits": 0.99, "cifar10-fast": 0.944}

    def result(preset, seed, folder, threads, changes):
        return dict(test_accuracy=scores[preset], test_loss=0.1, seconds=60.0, parameters=5, seed=seed)

    monkeypatch.setattr(records, "result", result)
    path = tmp_path / "records.json"
    for only, seeds, threads in (("mnist", 2, 1), ("digits", 1, 2), ("cifar10-fast,mnist", 1, 2)):
        given = ["--only", only, "--rounds", str(seeds), "--threads", str(threads), "--json", str(path)]
        assert main(["records", *given]) == 0
    rows = [(row["preset"], row["seed"], row["threads"]) for row in json.loads(path.read_text())["rows"]]
    assert rows == [("digits", 1, 2), ("mnist", 1, 2), ("cifar10-fast", 1, 2)]
    line = f"| mnist | 99.60 | - | 99.60 to 99.60 | 1 | 99.6 | 60 s | 3 min | 2 threads, {processor()} |"
    assert capsys.readouterr().out.count(line) == 1


def test_ablation_in_miniature(run, capsys):
    """A row is measured with the whole network, seed after seed."""
    status, figures = run("ablation", "--only", "no-reduction,auxiliary")
    rows = figures["rows"]
    assert status == 0 and [(row["row"], row["seed"]) for row in rows] == [
        (name, seed) for seed in (1, 2) for name in ("all-parts", "no-reduction", "auxiliary")]  # fmt: skip
    assert rows[1]["multiply_adds"] > 1.5 * rows[0]["multiply_adds"] and all(row["gradient_ratio"] > 0 for row in rows)
    assert figures["differences"].keys() == {"no-reduction", "auxiliary"}
    said = capsys.readouterr().out
    assert "; seeds 1 to 2\n" in said and "  no 1x1 convolutions before the larger ones: " in said


def test_every_row_of_the_ablation_changes_the_network():
    found, plan = set(), ablation.Plan(width=0.25)
    for part in ablation.ROWS:
        net = models.create("fast-inception", **ablation.options_of(part, plan))
        image = minidl.Tensor(np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32))
        outputs = training.as_tuple(net(image))
        found.add((len(outputs), nn.utils.count_parameters(net), round(float(outputs[0].data[0, 0]), 9)))
    assert len(found) == len(ablation.ROWS)
    widths = {part: ablation.options_of(part, plan)["width"] for part in ablation.ROWS}
    assert widths == {**dict.fromkeys(ablation.ROWS, 0.25), "half-width": 0.125, "double-width": 0.5}


def test_finished_rows_of_the_ablation_are_not_measured_again(tmp_path, monkeypatch):
    """What was cut off keeps what is done, other rates make other rows; the threads are those that were asked for."""
    monkeypatch.setattr(ablation, "KEPT", tmp_path / "runs/ablation.json")
    measured, before = [], team.num_threads()

    def measure(part, seed, plan):
        measured.append((part, seed, team.num_threads()))
        if seed == 3:
            raise KeyboardInterrupt
        return dict(multiply_adds=1, seconds=1.0, processor_seconds=2.0, accuracy=0.5, gradient=1.0, gradient_ratio=1.0)

    monkeypatch.setattr(ablation, "measure", measure)
    one, two, three = (settings.Settings(rounds=rounds, parts=("5x5",), threads=1) for rounds in (1, 2, 3))
    ablation.run(one)
    with pytest.raises(KeyboardInterrupt):
        ablation.run(three)
    assert len(ablation.run(two)["rows"]) == 4 and team.num_threads() == before
    assert measured == [(part, seed, 1) for seed in (1, 2) for part in (ablation.BASE, "5x5")] + [("all-parts", 3, 1)]
    monkeypatch.setitem(training.PRESETS["cifar10-inception"], "lr", 0.5)
    ablation.run(one)
    assert len(measured) == 7


def test_kept_rows_of_two_commands_are_in_one_file(tmp_path):
    first, second = (Kept(tmp_path / "rows.json") for _ in range(2))
    for kept, seed in ((first, 1), (second, 2), (first, 3)):
        kept.row({"seed": seed, "sizes": (1, 2)}, lambda: {"accuracy": 0.5})
    assert [row["seed"] for row in Kept(tmp_path / "rows.json").rows] == [1, 2, 3]
    assert Kept(tmp_path / "rows.json").row({"sizes": (1, 2)}, None)["seed"] == 1


def test_the_ablation_compares_equal_seeds():
    """Seeds that one of both lacks are left out; the error is that of the mean of the differences."""
    rows = [dict(row=ablation.BASE, seed=seed, accuracy=0.5 + 0.1 * seed) for seed in (1, 2, 3)]
    rows += [
        dict(row="5x5", seed=seed, accuracy=0.5 + 0.1 * seed + by) for seed, by in ((3, 0.01), (2, 0.02), (7, 0.3))
    ]
    mean, error, interval, shows = ablation_table.difference(rows, "5x5")
    assert (mean, error) == (pytest.approx(1.5), pytest.approx(0.5))
    assert interval == pytest.approx(12.706 * error, rel=1e-4) and shows == "nothing"  # t of one degree of freedom
    assert ablation_table.difference(rows[:4], "5x5") == (pytest.approx(1.0), None, None, None)
    for name, some in (("5x5", rows[3:]), (ablation.BASE, rows)):
        assert ablation_table.difference(some, name) is None
    assert ablation.medians([(math.nan, 1.0)]) == (None, None)


@pytest.mark.parametrize("by, shows", [((1.0, 1.1, 1.2), "better"), ((-1.0, -1.1, -1.2), "worse"),
                                       ((0.1, 0.2, 0.5), "nothing"), ((0.0, 0.0, 0.0), "nothing")])  # fmt: skip
def test_what_a_difference_shows(by, shows):
    """Three seeds show something beyond 4.3 standard errors: the third line has 2.2, which chance brings often."""
    rows = [dict(row=ablation.BASE, seed=seed, accuracy=0.5) for seed in range(3)]
    rows += [dict(row="5x5", seed=seed, accuracy=0.5 + by[seed] / 100) for seed in range(3)]
    assert ablation_table.difference(rows, "5x5").shows == shows


@pytest.mark.parametrize("wrong", [False, True])
def test_ranks(run, monkeypatch, capsys, wrong):
    """On given measurements; what is measured by real processes runs with everything else, in miniature."""

    def process(count, threads, job, *arguments):
        if job == "sums":
            return {size: 1e-4 + 1e-9 * int(size) for size in arguments[0].split(",")}
        shards = int(arguments[1])
        weights = f"{shards}" + "!" * (wrong and count == 2)
        return {"seconds": [1.6 / (count * threads)], "sums": [0.01], "bytes": 4_000_000, "digest": weights}

    monkeypatch.setattr(ranks, "process", process)
    monkeypatch.setattr(ranks, "find_spec", lambda name: True)
    monkeypatch.setattr(ranks, "cores", lambda: 2)
    status, figures = run("ranks")
    text = capsys.readouterr().out
    assert status == wrong == len(figures["wrong"]) / 2 and ("WRONG: 2 x 1" in text) == wrong
    assert "2 x 1, 8 shards: 1.00 of the throughput of 1 x 2" in text and "1.2% of" in text
    (check,) = figures["checks"]
    assert check["predicted"] == pytest.approx(0.8 + 1e-4 + 4e-3, rel=0.05) and check["measured"] == 0.8
    monkeypatch.setattr(ranks, "find_spec", lambda name: None)
    status, figures = run("ranks")
    assert status == 0 and {row["ranks"] for row in figures["rows"]} == {1}
    assert "pip install 'minidl[mpi]'" in capsys.readouterr().out


def test_the_cost_of_a_sum():
    """Segments and a ring move 2 (n - 1) / n times the array, a tree all of it up and down each level."""
    for n, levels in ((2, 1), (8, 3)):
        cost = {way: ranks_model.WAYS[way](n, 1e9, 0.0, 1e9) for way in ranks_model.WAYS}
        messages = 2 * (n - 1) * ranks_model.SENDING
        assert cost["segments"] == cost["ring"] == pytest.approx(2 * (n - 1) / n + messages)
        assert cost["tree"] == pytest.approx(2 * levels * (1 + ranks_model.SENDING))
    waiting = {way: ranks_model.WAYS[way](16, 0, 1.0, 1e9) for way in ranks_model.WAYS}
    assert {way: round(seconds) for way, seconds in waiting.items()} == {"segments": 2, "ring": 30, "tree": 8}
    assert ranks_model.efficiency(2, 1.0, 125e6, "1 Gbit/s") == pytest.approx(0.5, abs=1e-3)
    assert ranks_model.fit({"1000": 1e-3, "1001000": 3e-3}) == (1e-3, pytest.approx(2e-9))


@pytest.mark.slow
def test_everything_with_everyone_in_miniature(run):
    everyone = [*googlenet.CONTENDERS, googlenet.ONNX_RUNTIME, *ops.CHAIN]
    for name in [name for name in NAMES if name != "transfer"]:  # which needs two downloaded data sets
        assert run(name, contenders=[contender.label for contender in everyone])[0] == 0


def test_pytorch_takes_the_weights_by_name():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks.peers.torch_googlenet import GoogLeNet

    for variant in ("cifar", "torchvision"):
        case = Case(variant, width=0.125, batch=1, classes=7)
        names = {name: tensor.shape for name, tensor in case.network().state_dict().items()}
        theirs = {name: tuple(tensor.shape) for name, tensor in GoogLeNet(variant, 7, 0.125).state_dict().items()}
        assert names == theirs


def test_a_case_is_the_same_for_every_contender():
    case = Case(width=0.125, batch=3, size=8)
    with folder_of(case) as first, folder_of(case) as second:
        (found, weights, images, labels), (_, others, *_) = load(first), load(second)
    assert found == case and images.shape == (3, 8, 8, 3) and images.dtype == np.float32 and labels.shape == (3,)
    assert all(np.array_equal(weights[name], others[name]) for name in weights)
    assert not np.all(weights["conv1.bn.running_var"] == 1)


def test_errors():
    wanted = {"logits": np.array([1.0, -4.0]), "grad/a": np.array([3.0, 4.0]), "grad/b": np.array([0.1])}
    found = {"logits": np.array([1.0, -4.4]), "grad/a": np.array([3.0, 4.0]), "grad/b": np.array([0.2])}
    errors = compare.errors(found, wanted)
    assert errors["logits"] == pytest.approx(0.1) and errors["worst gradient"] == pytest.approx(1)
    assert errors["gradients"] == pytest.approx(0.02, rel=1e-2)
    assert [fault.split()[0] for fault in compare.faults(errors, "float32")] == ["logits", "worst"]
    assert not compare.faults(compare.errors(wanted, wanted), "float32")


def test_the_bound_of_float32_is_a_multiple_of_pytorchs_own_error():
    most, least, factor = compare.BOUNDS["float32"]["gradients"], compare.FLOORS["gradients"], compare.FACTOR
    for own, bound in ((1e-6, least), (6e-3, factor * 6e-3), (1.0, most), (float("inf"), most)):
        assert compare.bounds("float32", {"gradients": own})["gradients"] == bound
    assert compare.bounds("float32", {}) == compare.BOUNDS["float32"]
    assert compare.bounds("bf16", {"gradients": 1e-6}) == compare.BOUNDS["bf16"]
    assert compare.faults({"gradients": 0.04}, "float32", {"gradients": 6e-3}) == ["gradients 4.0e-02 > 3.6e-02"]
    assert not compare.faults({"gradients": 0.04}, "float32")


@pytest.mark.parametrize("found", [np.array([np.nan, 1.0]), np.array([np.inf, 1.0]), np.array([1.0])])
def test_what_is_not_finite_or_of_another_shape_is_wrong(found):
    assert compare.faults(compare.errors({"logits": found}, {"logits": np.ones(2)}), "bf16")


class Runner:
    """Stands in for a worker: notes its turns."""

    def __init__(self, name, order):
        self.name, self.order = name, order

    def call(self, method, **options):
        self.order.append(self.name)
        return {"seconds": float(len(self.order))}


def test_contenders_take_turns_and_places():
    order = []
    times = race.race({name: Runner(name, order) for name in "abc"}, rounds=3)
    assert order == list("abcbcacab")
    assert times["a"].rounds == (1.0, 6.0, 8.0) and times["a"].median == 6
    assert race.race({}, rounds=3) == {}


def test_a_worker_answers_and_tells_its_errors(capfd):
    with Worker("minidl", threads=1) as worker:
        worker.start("chain", length=8)
        assert worker.call("turn")["seconds"] > 0
        with pytest.raises(WorkerError, match="no_such_call"):
            worker.call("no_such_call")
        with pytest.raises(WorkerError, match="KeyError"):
            worker.start("lunch")
        worker.process.kill()
        worker.process.wait()
        with pytest.raises(WorkerError, match="ended with status"):
            worker.call("turn")


def test_a_missing_peer_is_one_line(monkeypatch, capsys):
    settings._is_installed.cache_clear()
    monkeypatch.setitem(settings.ENGINES, "absent", ABSENT)
    contenders = [race.Contender("Absent", "absent"), race.Contender("minidl", "minidl")]
    assert [c.label for c in settings.available(contenders)] == ["minidl"]
    assert capsys.readouterr().out == "Absent is left out; to see it: pip install absent==1.0\n"


def test_ratios_are_against_the_best_of_the_others():
    rows = {"minidl": {"median": 2.0}, "PyTorch eager": {"median": 9.0}, "PyTorch channels_last": {"median": 5.0}}
    found = googlenet.ratios({"training": {"rows": rows}})
    assert found == {"training step, PyTorch's best float32": {"ratio": 2.5, "at least": 2.0, "aim": 2.5}}


def test_layers_of_the_network():
    shapes = layers(1)
    assert len(shapes) == len(set(shapes)) and shapes[0] == (1, 3, 32, 192, 3)
    assert max(flop(shape) for shape in shapes) == flop((1, 128, 32, 192, 3))


def test_the_chain_is_known_without_computing():
    y = (chain.start() * chain.weight() + chain.weight()) / chain.weight() - chain.weight()
    np.testing.assert_allclose(y, chain.wanted(4)["y"], atol=1e-6)


def test_machine_and_numbers_in_words():
    assert processor() and Settings().describe()["machine"] == processor()
    assert report.threads(1) == "1 thread" and report.small(None) == "-"
    assert pictures.suited("seconds", {"a": {"median": 0.02}}) == ("milliseconds", {"a": {"median": 20.0}})


def test_decode(run):
    status, figures = run("decode", "--only", "throughput,memory", contenders=("minidl", "minidl, decoded"))
    assert status == 0 and list(figures["parts"]["throughput"]["rows"]) == ["minidl", "minidl, decoded"]
    points = [(p["kind"], p["pictures"], p["state"]) for p in figures["parts"]["memory"]["points"]]
    assert points == [(kind, 200, state) for kind in ("archive", "folders") for state in ("listed", "kept")]


def test_a_training_and_its_waiting_for_data(run, capsys):
    labels = ["a batch that is there", "1 worker"]
    status, figures = run("decode", "--only", "training", contenders=labels)
    rows = figures["parts"]["training"]["rows"]
    assert status == 0 and list(rows) == labels and not figures["wrong"]
    assert all(0 < row["waited"] < 1 for row in rows.values())
    assert "waiting for data" in capsys.readouterr().out


def test_pictures_that_differ_are_not_timed(run, monkeypatch, capsys):
    monkeypatch.setattr(decode, "_wrong", lambda looks: ["minidl, archives is WRONG: pictures of mean difference 1.0"])
    status, figures = run("decode", "--only", "throughput", contenders=("minidl", "minidl, archives"))
    assert status == 1 and list(figures["parts"]["throughput"]["rows"]) == ["minidl"]
    assert "minidl, archives is WRONG" in capsys.readouterr().out


def test_the_difference_between_pictures_is_judged():
    right = np.zeros((2, 3, 4, 4))
    assert decode._wrong({"minidl": right, "a": right + 0.1, "b": right + 0.3, "c": right * np.nan}) == [
        "b is WRONG: pictures of mean difference 0.300", "c is WRONG: pictures of mean difference nan"]


def test_small_work(run, capsys):
    status, figures = run("small", "--only", "mlp-32,chain")
    assert status == 0 and not figures["wrong"] and list(figures["parts"]) == ["mlp-32", "chain"]
    assert figures["parts"]["mlp-32"]["rows"]["minidl"]["errors"]["worst gradient"] < 1e-4
    assert figures["ratios"]["chain"] == [None, None]  # nothing to compare with is here
    assert "Small work" in capsys.readouterr().out


def test_products(run, capsys):
    status, figures = run("products", "--only", "forward", contenders=("minidl", "NumPy"))
    cells = [row["cell"] for row in figures["parts"]["forward"]]
    assert status == 0 and len(cells) == 27 and [40, 16, 1] in cells
    assert all(set(row["seconds"]) == {"minidl", "NumPy"} for row in figures["parts"]["forward"])
    assert figures["reached"][0] == 18 and "of 18 cells from 16 rows on reach 0.9" in capsys.readouterr().out


def test_a_wrong_product_is_not_timed(run, monkeypatch):
    monkeypatch.setattr(products, "BOUND", 0.0)
    status, figures = run("products", "--only", "weight")
    assert status == 1 and "weight (40, 40, 40): minidl" in figures["wrong"]


def test_long_products_have_fewer_rounds(capsys):
    """Three at least, of all contenders, until the time of a cell is spent; a short one has all."""

    class Stub:
        def __init__(self, factor):
            self.factor, self.asked = factor, []

        def call(self, method, **options):
            if method == "row":
                self.asked.append([cell[0] for cell in options["cells"]])
                rows = self.asked[-1]
                return [{"seconds": self.factor * M, "error": 0.0, "all": 0.04 * M} for M in rows]

    workers = {"minidl": Stub(2.0), "NumPy": Stub(3.0)}
    rows = products.measure("forward", [(16, 1, 1), (1, 1, 1)], workers, Settings(rounds=6))
    assert [row["rounds"] for row in rows] == [3, 4]
    assert all(worker.asked == [[16, 1]] * 3 + [[1]] for worker in workers.values())
    assert rows[0]["seconds"] == {"minidl": 32.0, "NumPy": 48.0} and products.summary(rows) == (1, 1, 1.5)
    whole = products.estimate(products.SIZES, Settings(parts=products.PARTS))
    assert 60 < whole < 360 < products.estimate(products.SIZES, Settings(parts=products.PARTS, threads=1)) * 2


@pytest.mark.slow
def test_the_job_in_miniature(run, capsys):
    status, figures = run("job", "--rounds", "1")
    row = figures["parts"]["digits"]["rows"]["minidl"]
    assert status == 0 and row["steps"] == 2 and len(row["rounds"]) == 1 and len(row["accuracies"]) == 2
    assert "first run, nothing compiled" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [False, True])
def test_the_job_is_the_same_for_all_who_take_turns(monkeypatch, tmp_path, capsys, wrong):
    """On given runs: the first of each is no round, seeds are those of the round, and other work is wrong."""
    asked = []

    def timed(contender, seed, output, settings, environment):
        asked.append((contender.label, seed))
        steps = 99 if wrong and contender.label != "minidl" else 41
        return {"seconds": 10.0 + seed, "test_accuracy": 0.9, "test_loss": 0.1, "parameters": 5, "steps": steps}

    monkeypatch.setattr(job, "timed", timed)
    monkeypatch.setattr(race, "available", lambda given: given[:2])
    status = main(["job", "--rounds", "2", "--json", str(tmp_path / "a.json")])
    figures = json.loads((tmp_path / "a.json").read_text())
    row = figures["parts"]["digits"]["rows"]["minidl"]
    names = ("minidl", "PyTorch eager")
    assert asked == [(names[(number + place) % 2], number) for number in range(3) for place in range(2)]
    assert row["first"] == 10.0 and row["rounds"] == [11.0, 12.0]
    assert status == wrong and figures["wrong"] == ["PyTorch eager: 99 steps in place of 41"] * wrong
    assert ("WRONG" in capsys.readouterr().out) == wrong


def test_the_job_in_pytorch_is_told_every_setting_of_train_py(tmp_path):
    torch = job.CONTENDERS[2]
    python, _, module, text = job.command_of(torch, 7, tmp_path, Settings(threads=1))
    told = json.loads(text)
    recipe = training.RECIPES["digits"]
    assert module == "benchmarks.peers.torch_train"
    assert told["seed"] == 7 and told["channels_last"] and told["threads"] == 1
    assert {name: told[name] for name in recipe} == recipe and told["label_smoothing"] == 0.1


def test_pytorch_moves_images_as_far_and_refuses_another_job(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks.peers import torch_train

    images = data.load("digits")
    part = torch_train.Part(images.test, images.mean, images.std, torch.contiguous_format)
    chosen = torch.arange(200)
    still, labels = part.batch(chosen)
    expected = images.transform("none")(images.test.batch(np.arange(200))[0])
    np.testing.assert_allclose(still.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
    assert labels.tolist() == images.test.labels[:200].tolist()
    moved, _ = part.moved(chosen)
    wide = np.pad(
        still.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=float(-images.mean[0] / images.std[0])
    )
    places = set()
    for before, after in zip(wide, moved.numpy()):
        fits = [(down, right) for down in range(5) for right in range(5)
                if np.allclose(before[:, down : down + 16, right : right + 16], after, atol=1e-5)]  # fmt: skip
        assert len(fits) == 1
        places.update(fits)
    assert len(places) == 25
    settings = json.loads(job.command_of(job.CONTENDERS[1], 0, tmp_path / "a", Settings())[-1])
    with pytest.raises(ValueError, match="'optimizer': 'adam'"):
        torch_train.main(json.dumps(settings | {"optimizer": "adam"}))


def test_settle_in_miniature(run, monkeypatch, capsys):
    monkeypatch.setattr(settle, "GRID", ((0.05, 8), (0.1, 8)))
    status, figures = run("settle", "--only", "fold-2")
    pairs = [row["left_out"] for row in figures["rows"]]
    assert status == 0 and pairs == [pair for pair in ([1, 2], [2, 3], [2, 4], [2, 5]) for _ in range(2)] + [[2]]
    (fold,) = figures["folds"]
    assert fold["right"] == figures["rows"][-1]["right"]["2"] and fold["images"] == 288 and figures["choice"] is None
    assert f"together: {fold['right'] / 288:.2%} of 288 images" in capsys.readouterr().out


def test_a_fold_has_no_part_in_the_choice_that_it_judges(tmp_path, monkeypatch):
    """On fold 1 another setting is by far the best, which every fold but the first is to see; each run is made once."""
    made = []

    def measure(images, left_out, setting, plan):
        made.append((*left_out, *setting))
        right = {
            str(fold): 300 * (setting == (0.2, 12)) if fold == 1 else 100 + (setting == (0.1, 8)) for fold in left_out
        }
        return {"right": right, "images": {str(fold): 360 for fold in left_out}, "epoch": 1, "seconds": 1.0}

    monkeypatch.setattr(settle, "KEPT", tmp_path / "runs/settle.json")
    monkeypatch.setattr(settle, "measure", measure)
    some, every = (settle.run(Settings(parts=parts)) for parts in (settle.PARTS[:1], settle.PARTS))
    chosen = [(fold["lr"], fold["epochs"], fold["right"]) for fold in every["folds"]]
    assert chosen == [(0.1, 8, 0), *[(0.2, 12, 100)] * 4]
    assert some["folds"] == every["folds"][:1] and some["choice"] is None and every["choice"] == (0.2, 12)
    assert len(made) == len({*made}) == 10 * len(settle.GRID) + 5
    assert [row["chosen"] for row in every["settings"]] == [0, 1, 0, 0, 0, 4]


def test_what_is_left_out_is_not_learnt_from():
    """Folds are parts of the training images, and the test images of the digits are in none."""
    images, digits = settle.whole(), data.load("digits")
    labels = images["all"].labels
    assert sorted(np.concatenate([*images["folds"].values()])) == list(range(1437))
    for fold in images["folds"].values():
        assert np.abs(np.bincount(labels[fold]) - np.bincount(labels) / 5).max() <= 1
    parts = settle.without(images, [2, 5])
    learnt, val, test = (part.indices.tolist() for part in (parts.train, parts.val, parts.test))
    assert sorted(test) == sorted([*images["folds"][2], *images["folds"][5]]) and len(val) == 87
    assert sorted([*learnt, *val, *test]) == list(range(1437))
    seen = {image.tobytes() for part in (parts.train, parts.val, parts.test) for image in all_of(part)}
    assert seen == {image.tobytes() for part in (digits.train, digits.val) for image in all_of(part)}
    assert not seen & {image.tobytes() for image in all_of(digits.test)}


def all_of(part):
    """The images of a part."""
    return part.batch(np.arange(len(part)))[0]


def test_published_results_have_a_source_and_ours_are_those_of_the_records(run, monkeypatch, tmp_path, capsys):
    measured = (900.0, 0.94), (800.0, 0.943), (1000.0, 0.943)
    runs = [dict(preset="cifar10-fast", threads=4, seconds=seconds, test_accuracy=score) for seconds, score in measured]
    records_of = {"machine": "A family 1 model 2, 4 cores", "threads": 2}
    (tmp_path / "records.json").write_text(json.dumps({**records_of, "rows": [*runs, {**runs[0], "preset": "mnist"}]}))
    monkeypatch.setattr(published, "RECORDS", tmp_path / "records.json")
    status, figures = run("published")
    rows = {row["name"]: row for row in figures["rows"]}
    assert status == 0 and len(rows) == len(published.PUBLISHED) + 1
    assert all("/" in row["source"] for row in rows.values())
    ours = rows["minidl, cifar10-fast"]
    assert (ours["seconds"], ours["accuracy"], ours["hardware"]) == (900.0, pytest.approx(94.2), "4 cores, A family 1")
    published_steps = rows["airbench94, Muon"]["peta"] * training.PRESETS["cifar10-fast"]["epochs"] / 8
    assert ours["peta"] == pytest.approx(published_steps, rel=0.05)  # the network is the published one
    monkeypatch.setattr(published, "RECORDS", tmp_path / "nothing.json")
    assert len(published.run(Settings())["rows"]) == len(published.PUBLISHED)
    assert "our own results are left out" in capsys.readouterr().out


def test_labels_do_not_overlap():
    from matplotlib.text import Text

    picture = pictures.figure(6, 4)
    axes = picture.subplots()
    labels = []
    for x in range(8):
        axes.plot([x / 8], [0.0], "o")
        labels.append(axes.annotate(f"a long name\n{x}", (x / 8, 0.0), xytext=(0, 14), textcoords="offset points",
                                    arrowprops={"arrowstyle": "-"}))  # fmt: skip
    published.apart(picture, labels)
    [label.get_window_extent() for label in labels]
    boxes = [Text.get_window_extent(label) for label in labels]
    assert not [(a, b) for a in range(8) for b in range(a) if boxes[a].overlaps(boxes[b])]
    inside = axes.get_window_extent()
    assert all(inside.x0 < box.x0 and box.x1 < inside.x1 for box in boxes)
