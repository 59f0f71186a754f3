"""Pictures: where the errors of one gradient lie, and a heat map of op x check."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from minidl.gradcheck.report import Report

TINY, HUGE = 1e-17, 1.0  # ends of the colour scale of relative errors
WRONG, RIGHT, INK = "#c0392b", "#2471a3", "#2c3e50"


def _figure(size):
    """A figure that no window ever shows, whatever backend is set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_errors(error: Exception, path: Path | str) -> None:
    """Save two panels for a `GradientError`: backward over differences, and the error at every element.

    Raises
    ------
    ValueError
        If the error compares no arrays (a kink or a changed input, say).
    """
    if error.gradient is None:
        raise ValueError(f"the check {error.check!r} compared no arrays: there is nothing to draw")
    figure = _figure((10, 4.4))
    scatter, image = figure.subplots(1, 2)
    _draw_scatter(scatter, error)
    _draw_image(figure, image, error)
    title = f"order {error.order}: `{error.function}` to `{error.argument}`. {error.hint or ''}"
    figure.suptitle(textwrap.fill(title, 120), fontsize=10)
    figure.savefig(path, dpi=150)


def _draw_scatter(axes, error):
    """Right gradients lie on the diagonal; a wrong factor turns the line, a wrong sign mirrors it."""
    x, y = np.asarray(error.expected, float).reshape(-1), np.asarray(error.gradient, float).reshape(-1)
    wrong = ~np.isclose(x, y, rtol=1e-5, atol=1e-7)
    ends = [float(np.nanmin([x, y])), float(np.nanmax([x, y]))]
    axes.plot(ends, ends, color="0.7", lw=1, zorder=0, label="right")
    for which, colour, label in ((~wrong, RIGHT, "agree"), (wrong, WRONG, "disagree")):
        axes.scatter(x[which], y[which], s=18, color=colour, alpha=0.8, lw=0, label=f"{int(which.sum())} {label}")
    axes.set_xlabel("differences")
    axes.set_ylabel("backward")
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_image(figure, axes, error):
    gap = np.abs(np.asarray(error.gradient, float) - np.asarray(error.expected, float))
    scale = max(float(np.max(np.abs(error.expected))), 1e-300)
    rows = gap.reshape(1, -1) if gap.ndim < 2 else gap.reshape(-1, gap.shape[-1])
    shown = axes.imshow(np.log10(np.maximum(rows / scale, TINY)), cmap="magma", vmin=-16, vmax=0, aspect="auto")
    figure.colorbar(shown, ax=axes, label="log10 of |backward - differences| / largest value")
    axes.set_xlabel("last axis" if gap.ndim > 1 else "element")
    axes.set_ylabel("" if gap.ndim < 2 else "axis 0" if gap.ndim == 2 else f"axes 0 to {gap.ndim - 2}, flattened")
    axes.set_title(f"shape {gap.shape}; worst at {error.index}", fontsize=9)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.get_major_locator().set_params(integer=True)
    if gap.ndim < 2:
        axes.set_yticks([])


def draw_heat_map(reports: list[Report], path: Path | str) -> None:
    """Save a heat map, op x check, of the largest relative error; grey where a check does not apply.

    Parameters
    ----------
    reports : list of Report
    path : str or path
        The suffix says the format, PNG by default.
    """
    rows = [row for report in reports for row in report.rows]
    columns = list(dict.fromkeys((r.order, r.check) for r in rows if not math.isnan(r.error)))
    columns.sort(key=lambda column: column[0])
    values = np.array([[report.worst(check, order) for order, check in columns] for report in reports]).reshape(
        len(reports), len(columns)
    )
    parts = -(-len(reports) // 60)  # side by side, so that a long table stays readable
    height = -(-len(reports) // parts)
    figure = _figure((1.5 + parts * (1.9 + 0.27 * len(columns)), 2.2 + 0.165 * height))
    axes = figure.subplots(1, parts, squeeze=False)[0]
    for k, panel in enumerate(axes):
        rows = slice(k * height, (k + 1) * height)
        shown = _draw_panel(panel, reports[rows], columns, values[rows])
    figure.colorbar(shown, ax=list(axes), label="largest relative error", shrink=0.5, format="%.0e")
    failed = sum(not report.passed for report in reports)
    figure.suptitle(f"{len(reports)} rows, {failed} failed; red names failed, grey cells do not apply", fontsize=10)
    figure.savefig(path, dpi=130)


def _draw_panel(axes, reports, columns, values):
    from matplotlib.colors import LogNorm

    axes.set_facecolor("0.92")
    shown = axes.imshow(
        np.ma.masked_invalid(np.clip(values, TINY, HUGE)), cmap="viridis", norm=LogNorm(TINY, HUGE), aspect="auto"
    )
    axes.set_xticks(range(len(columns)), [f"{order} {check}" for order, check in columns], rotation=90, fontsize=7)
    axes.set_yticks(range(len(reports)), [report.function for report in reports], fontsize=6)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for label, report in zip(axes.get_yticklabels(), reports):
        label.set_color(INK if report.passed else WRONG)
    return shown
