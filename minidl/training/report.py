"""The end of a run: the test set is read, once, and the results are printed, written and drawn."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import shlex
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import nn
from minidl.backend import Array
from minidl.data.errors import check_file, shown
from minidl.evaluation import cost_of
from minidl.report import figures
from minidl.report.canvas import png
from minidl.report.curves import learning_curves
from minidl.report.looks import looks
from minidl.report.run_page import RunResults, run_page
from minidl.training.atomic import write_bytes, write_json, write_text
from minidl.training.identity import PER_RUN, read_json
from minidl.training.info import version
from minidl.training.machine import peak_memory_mb
from minidl.training.metrics import evaluate
from minidl.training.settings import flag
from minidl.training.test_time import evaluate_views, views
from minidl.training.together import leads

if TYPE_CHECKING:
    from minidl.training.run import Run
    from minidl.training.state import TrainingState

PRINCIPAL = ("numpy", "numba", "scikit-learn", "matplotlib")  # libraries whose version is part of a result
UNREADABLE = (ArithmeticError, LookupError, OSError, RecursionError, TypeError, ValueError)  # what wrong JSON ends in
DRAWN = ("epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy", "lr")


def finish(run: Any, state: Any, data: Any, loader: Any) -> Any:
    """Test the best weights, write the run's results and print them.

    Parameters
    ----------
    run : Run
    state : TrainingState
        Its model ends with the weights of the best epoch.
    data : DataSplits
    loader : DataLoader
        Over the test images.

    Returns
    -------
    dict
        The contents of ``summary.json``.
    """
    state.model.load_state_dict(state.best_weights)
    if leads():
        run.write_weights(state.best_weights)
        run.write_history(state.history)
    test = tested(run.settings, state.model, data, loader)
    return _written(run, state, data, test) if leads() else summarise(run.settings, state, test)


def tested(settings: Any, model: Any, data: Any, loader: Any) -> Any:
    """The answers to the test images: to each as it is, or, with ``--test-views many``, the mean of several views."""
    if settings.test_views == "one":
        return evaluate(model, loader)
    options = dict(batch_size=loader.batch_size, num_workers=loader.num_workers, device=loader.device)
    return evaluate_views(model, loader.dataset, views(loader.transform, data.flips), **options)


def _written(run, state, data, test):
    """The contents of ``summary.json``, after all results were written and shown."""
    table = classification_table(test, data.class_names)
    write_text(run.own_path("report.txt"), table)
    draw(run, state, data, test)
    summary = summarise(run.settings, state, test)
    write_json(run.own_path("summary.json"), summary)
    write_text(run.own_path("report.html"), run_page(results_of(run, state, data, test)))
    show(run, state, summary, table)
    return summary


def classification_table(test: Any, class_names: Sequence[str]) -> str:
    """Precision, recall and F1 of every class, as text (scikit-learn's classification report)."""
    from sklearn.metrics import classification_report

    names = [shown(name) for name in class_names]
    return classification_report(test.labels, test.predictions, labels=range(len(names)), target_names=names,
                                 digits=4, zero_division=0)


def draw(run: Run, state: TrainingState, data: Any, test: Any) -> None:
    """All pictures of the run."""
    from sklearn.metrics import confusion_matrix

    title = f"{run.settings.model} on {data.name}"
    counts = confusion_matrix(test.labels, test.predictions, labels=range(len(data.class_names)))
    score = f"{test.accuracy:.2%} of {len(test.labels):,} test images right"
    pictures = {
        "learning_curves": learning_curves([state.history], title, state.best["epoch"], run.settings.label_smoothing),
        "confusion_matrix": figures.confusion_matrix(counts, data.class_names, f"{title}: {score}"),
    }
    wrong = worst(test)[:20]
    if wrong.size:
        columns = test.labels[wrong], test.predictions[wrong], test.confidences[wrong]
        pictures["mistakes"] = figures.mistakes(data.test.batch(wrong)[0], *columns, data.class_names,
                                                f"{title}: the surest of its mistakes")
    for name, figure in pictures.items():
        write_bytes(run.own_path(f"figures/{name}.png"), png(figure))


def worst(test: Any) -> Array:
    """The indices of the wrong answers, the surest first."""
    wrong = np.flatnonzero(test.predictions != test.labels)
    return wrong[np.argsort(-test.confidences[wrong], kind="stable")]


def results_of(run: Run, state: TrainingState, data: Any, test: Any) -> RunResults:
    """Material of the page of the run."""
    settings = {name: value for name, value in dataclasses.asdict(run.settings).items() if name not in PER_RUN}
    shape = (2, data.channels, data.image_size, data.image_size)

    def images(indices):
        return data.test.batch(indices)[0]

    return RunResults(
        title=f"{run.settings.model} on {data.name}",
        histories=[state.history, *histories_of_other_seeds(run)],
        best=state.best,
        settings=settings,
        command=repeating(run.settings),
        versions={"python": platform.python_version(), **{name: version(name) for name in PRINCIPAL}},
        class_names=tuple(data.class_names),
        evaluation=test,
        images=images,
        model=state.model,
        rows=cost_of(state.model, shape),
        shape=shape,
        looks=looks(state.model, data.transform("none"), images, test, data.class_names),
    )


def repeating(settings: Any) -> str:
    """The command that makes the same run again, with every setting that is not train.py's default."""
    words = ["python train.py"]
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in PER_RUN and value != field.default:
            words.append(flag(field.name) + ("" if value is True else f" {shlex.quote(str(value))}"))
    return " ".join(words)


def histories_of_other_seeds(run: Run) -> list[list[dict[str, Any]]]:
    """The histories of finished runs next to this one that differ from it in nothing but the seed."""
    apart = ("seed", *PER_RUN)
    own = {name: value for name, value in dataclasses.asdict(run.settings).items() if name not in apart}
    drawn = [name for name in DRAWN if name in run.state.history[0]]
    found = []
    for path in sorted(run.folder.absolute().parent.glob("*/summary.json")):
        with contextlib.suppress(*UNREADABLE):  # no run, or a broken one
            config = read_json(path.parent / "config.json", "the settings of a run")
            history = path.parent / "metrics.jsonl"
            same = {name: value for name, value in config.items() if name not in apart} == own
            if same and config["seed"] != run.settings.seed:
                check_file(history, at_most=1 << 28)
                lines = [json.loads(line) for line in history.read_text().splitlines()]
                found.append([{name: float(line[name]) for name in drawn} for line in lines])
    return [history for history in found if history]


def summarise(settings: Any, state: TrainingState, test: Any) -> dict[str, Any]:
    """The fields of ``summary.json``."""
    return {
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "parameters": nn.utils.count_parameters(state.model),
        "seconds": round(state.seconds, 2),
        "images_per_second": round(statistics.median(entry["images_per_second"] for entry in state.history), 1),
        "peak_memory_mb": peak_memory_mb(),
        "model": settings.model,
        "data": settings.data,
        "seed": settings.seed,
    }


def show(run: Run, state: TrainingState, summary: dict[str, Any], table: str) -> None:
    """Print the results and where they are."""
    which = f"epoch {state.best['epoch']} (chosen on validation)" if state.choosing else "the last epoch"
    print(f"\nTest images, read once, with the weights of {which}:\n\n{table}")
    print(f"test accuracy {summary['test_accuracy']:.2%}, loss {summary['test_loss']:.4f}, "
          f"{summary['parameters']:,} parameters, {summary['seconds']:.0f} s from start to end")
    print(f"{shown(run.folder)}{os.sep}  holds the weights, summary.json, pictures, and report.html, "
          "the page to look at first")
