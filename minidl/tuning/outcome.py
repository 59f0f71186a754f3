"""The outcome of a sweep: a table of its trials, and a picture of what mattered.

Importance is the share of the variance of the accuracy that a setting explains alone, in
a forest fitted to the trials (F. Hutter et al., "An Efficient Approach for Assessing
Hyperparameter Importance", ICML 2014).
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from minidl.report.canvas import BLUE, ORANGE, name_of, new_figure
from minidl.tuning.plan import Range
from minidl.tuning.study import finished

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from minidl.tuning.plan import Plan

LEAST = 4  # whole trials below which nothing is said about importance


def importances(study: Any) -> dict[str, float]:
    """{setting: share}, the largest first; empty where there are too few trials, or all are alike."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    values = _whole(study)
    if len(values) < LEAST or len({trial.value for trial in values}) < 2:
        return {}
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def _whole(study):
    return [trial for trial in finished(study) if trial.value is not None]


def as_csv(study: Any) -> str:
    """All finished trials as CSV, in the order in which they began."""
    names = sorted({name for trial in finished(study) for name in trial.params})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trial", "state", "val_accuracy", "epochs", *names])
    for trial in finished(study):
        epochs = max(trial.intermediate_values, default=0)
        writer.writerow(
            [trial.number, trial.state.name.lower(), trial.value, epochs, *[trial.params.get(n) for n in names]]
        )
    return file.getvalue()


def picture(plan: Plan, study: Any, shares: Any) -> Figure:
    """Accuracy over each searched setting, a dot per trial, the most important setting first."""
    names = [*shares, *(name for name in plan.search if name not in shares)]
    figure = new_figure(max(3.4 * len(names), 4.5), 3.6)
    figure.suptitle(name_of(f"{plan.name}: {len(finished(study))} trials", 100))
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False, sharey=True)[0], names):
        _panel(axes, plan.search[name], name, study)
        axes.set_title(f"explains {shares[name]:.0%}" if name in shares else "", fontsize=9)
    figure.axes[0].set_ylabel("validation images right (%)")
    if figure.axes[0].lines:
        figure.axes[0].legend(fontsize=8)
    return figure


def _panel(axes, domain, name, study):
    axes.set_xlabel(name_of(name))
    if isinstance(domain, Range):
        axes.set_xscale("log" if domain.log else "linear")
        axes.xaxis.set_minor_formatter("")
        edge = (domain.high / domain.low) ** 0.05 if domain.log else 0.05 * (domain.high - domain.low)
        axes.set_xlim(
            *((domain.low / edge, domain.high * edge) if domain.log else (domain.low - edge, domain.high + edge))
        )
        place = float
    else:
        axes.set_xticks(range(len(domain.values)), [name_of(value, 16) for value in domain.values])
        axes.set_xlim(-0.5, len(domain.values) - 0.5)
        place = domain.values.index
    pruned = [trial for trial in finished(study) if trial.value is None and trial.intermediate_values]
    last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
    for trials, values, colour, mark, label in (
        (_whole(study), [trial.value for trial in _whole(study)], BLUE, "o", "to the end"),
        (pruned, last, ORANGE, "x", "pruned, as they were"),
    ):
        if not trials:
            continue
        where = [place(trial.params[name]) for trial in trials]
        axes.plot(where, [100 * value for value in values], mark, color=colour, markersize=5, label=label)
