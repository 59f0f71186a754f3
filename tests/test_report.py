"""Pages and pictures: whole, self-contained, the same bytes twice, and safe against names from data."""

import copy
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import models
import train as train_script
from minidl import nn
from minidl.evaluation import calibration, cost_of, scores
from minidl.explain import BlockView
from minidl.report import curves, figures, page
from minidl.report.canvas import png, svg
from minidl.report.looks import SIDE, branch_use, heated
from minidl.report.network import draw_network
from tests.html_checks import assert_self_contained

HOSTILE = ["<script>alert(1)</script>", "a\x1b[31mred", "$\\frac{", "x" * 200, "雪", '" onload="x']
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 6, 80)
PROBABILITIES = RNG.dirichlet(np.ones(6), 80)


def history(epochs, aux=False):
    return [dict(epoch=e, train_loss=3 / e, val_loss=2 / e, train_accuracy=e / (e + 1), val_accuracy=(e + 1) / (e + 2),
                 lr=0.1 / e, gradient_norms={"conv1": 0.1 * e, "fc": 1.0, **({"aux1": 0.5} if aux else {})})
            for e in range(1, epochs + 1)]  # fmt: skip


RESULT = scores(LABELS, PROBABILITIES, HOSTILE)
CHARTS = {
    "curves": lambda: curves.learning_curves([history(1)], HOSTILE[2], 1, 0.1),
    "band": lambda: curves.curve([history(9), history(7)], "loss", 3),
    "accuracy": lambda: curves.curve([history(50)], "accuracy", 3),
    "gradients": lambda: curves.gradient_norms(history(4, aux=True)),
    "confusion": lambda: figures.confusion_matrix(RESULT["confusion_matrix"], HOSTILE, HOSTILE[0]),
    "of two": lambda: figures.confusion_matrix([[1, 0], [3, 0]], ["a", "b"]),
    "of hundred": lambda: figures.confusion_matrix(np.eye(100, dtype=int), [str(k) for k in range(100)]),
    "reliability": lambda: figures.reliability(RESULT["calibration"]),
    "one bin": lambda: figures.reliability(calibration([0], np.eye(2)[[0]])),
    "classes": lambda: figures.class_bars(RESULT["classes"]),
    "mistakes": lambda: figures.mistakes(np.zeros((7, 8, 8, 1)), LABELS[:7], LABELS[:7], np.ones(7), HOSTILE, "m"),
    "none": lambda: figures.gallery(np.zeros((0, 8, 8, 3), np.uint8), [], "nothing"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_charts_are_whole_and_the_same_twice(name):
    first, second = CHARTS[name](), CHARTS[name]()
    assert png(first).startswith(b"\x89PNG") and png(first) == png(second)
    drawn = svg(first, name)
    assert drawn == svg(second, name) and drawn.startswith("<svg") and drawn.rstrip().endswith("</svg>")
    assert "currentColor" in drawn and "<metadata" not in drawn and "script" not in drawn


def test_without_validation_there_is_no_curve_of_it():
    bare = [{name: value for name, value in entry.items() if not name.startswith("val_")} for entry in history(5)]
    cases = (history(5), ["training", "validation", "best epoch, 5"]), (bare, ["training", "last epoch, 5"])
    for entries, labels in cases:
        axes = curves.curve([entries, entries[:4]], "loss", 5).axes[0]
        assert [text.get_text().removesuffix(", mean of 2") for text in axes.get_legend().get_texts()] == labels
    # one of both, and the line at the last epoch
    assert len(curves.curve([history(5), bare], "accuracy", 5).axes[0].lines) == 2


def test_axes_are_not_squashed_by_the_first_epochs():
    entries = history(12)
    entries[0]["train_loss"], entries[1]["val_loss"], entries[0]["val_accuracy"] = 900.0, 80.0, 0.001
    loss, accuracy = (curves.curve([entries], metric, 12).axes[0] for metric in ("loss", "accuracy"))
    later = [entry[f"{part}_loss"] for entry in entries[2:] for part in ("train", "val")]
    assert max(later) <= loss.get_ylim()[1] < 2 * max(later)
    assert 40 < accuracy.get_ylim()[0] and accuracy.get_ylim()[1] <= 100.5
    assert "began at 900" in [text.get_text() for text in loss.texts]


def test_names_from_data_are_escaped_everywhere():
    cells = [page.image(np.zeros((4, 4, 3)), under=name) for name in HOSTILE]
    text = page.page(HOSTILE[0], page.table(HOSTILE, [HOSTILE]), page.figure(HOSTILE[0], *cells, kind="images"),
                     page.numbers([(HOSTILE[5], HOSTILE[1])]), page.code(HOSTILE[0]), page.paragraph(HOSTILE[5]),
                     page.section(HOSTILE[0], page.details(HOSTILE[0], "")))
    assert_self_contained(text)
    assert "\x1b" not in text and "<script" not in text and "&lt;script&gt;" in text


@pytest.mark.parametrize("name", ["cnn", "googlenet", "googlenet-kuangliu"])
def test_every_layer_and_branch_is_drawn(name):
    model = models.create(name, width=0.25, **({} if name == "cnn" else {"aux_logits": True}))
    rows = cost_of(model, (1, 3, 16, 16))
    drawing = draw_network(model, rows, (1, 3, 16, 16))
    assert drawing == draw_network(model, rows, (1, 3, 16, 16))
    convs = sum(isinstance(m, nn.Conv2d) for m in model.modules()) - 2 * (name != "cnn")  # those of the heads apart
    assert drawing.count(">conv ") == convs and drawing.count("concat") == 9 * (name != "cnn")
    assert drawing.count(">in training only<") == 2 * (name != "cnn")
    assert "re l u" not in drawing


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Three short runs, the first two with equal settings, the third with another seed."""
    folder, argv = tmp_path_factory.mktemp("runs"), sys.argv
    texts = {}
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        quick = ["--model", "cnn", "--width", "0.25", "--epochs", "3", "--seed", str(seed)]
        sys.argv = ["train.py", *quick, "--output", str(folder / name)]
        try:
            train_script.main()
        finally:
            sys.argv = argv
        texts[name] = (folder / name / "report.html").read_text()
    return folder, texts


def test_the_page_of_a_run_is_self_contained(pages):
    folder, texts = pages
    reader = assert_self_contained(texts["one"])
    assert reader.seen.count("svg") == 8 and reader.seen.count("figcaption") == 10
    assert texts["one"].count("Good:") == 9  # each caption says what good looks like
    accuracy = json.loads((folder / "one/summary.json").read_text())["test_accuracy"]
    assert f"<b>{accuracy:.2%}</b>" in texts["one"] and "9,802" in texts["one"]
    assert "python train.py --model cnn --width 0.25 --epochs 3 --batch-size 32" in texts["one"]


def test_equal_runs_have_equal_pages(pages):
    assert pages[1]["one"] == pages[1]["two"]


def test_another_seed_makes_a_band(pages):
    assert "Bands:" not in pages[1]["two"] and "of 3 runs that differ in the seed" in pages[1]["three"]


def test_broken_neighbours_are_left_out(pages):
    from minidl.training.report import histories_of_other_seeds

    folder = pages[0]

    class Run:
        pass

    run = Run()
    run.folder, config = folder / "three", json.loads((folder / "three/config.json").read_text())
    run.settings = train_script.Settings(**config)
    run.state = SimpleNamespace(history=history(1))
    assert len(histories_of_other_seeds(run)) == 2
    lines = (folder / "one/metrics.jsonl").read_text()
    entry = json.loads(lines.splitlines()[0])
    for broken in ("", "[", "[1]", json.dumps({**entry, "lr": "<b>"}), json.dumps({"epoch": 1}), "[" * 100_000,
                   json.dumps({**entry, "lr": 10**400})):
        (folder / "one/metrics.jsonl").write_text(broken)
        assert len(histories_of_other_seeds(run)) == 1
    (folder / "one/metrics.jsonl").write_text(lines)
    other = copy.deepcopy(config) | {"lr": 0.5, "seed": 0}
    (folder / "one/config.json").write_text(json.dumps(other))
    assert len(histories_of_other_seeds(run)) == 1


def test_heat_is_where_it_should_be():
    image = np.full((8, 8, 1), 100, np.uint8)
    heat = np.zeros((8, 8))
    heat[2, 6] = 1
    pair = heated(image, heat)
    assert pair.shape == (SIDE, 2 * SIDE + SIDE // 32, 3) and np.allclose(pair[:, :SIDE], 100 / 255)
    over = pair[:, -SIDE:]
    y, x = np.unravel_index((over[..., 0] - over[..., 2]).argmax(), (SIDE, SIDE))  # cividis ends in yellow
    assert (y * 8 // SIDE, x * 8 // SIDE) == (2, 6)


def test_the_use_of_branches_is_drawn_as_measured():
    views = [BlockView("inception3a", ("one", "two"), np.zeros((2, 3, 4, 4)), np.array([[1.0, 2, 3], [-1, -1, -1]]))]
    heights = [bar.get_height() for bar in branch_use(views).axes[0].patches]
    assert heights == [2.0, -1.0]
