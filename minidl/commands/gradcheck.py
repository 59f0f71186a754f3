"""Check the derivatives of ops, of models or of your own function.

    python -m minidl gradcheck                        # every op of the table
    python -m minidl gradcheck conv2d softmax/axis0   # all rows of an op, or one row
    python -m minidl gradcheck googlenet --width 0.25 # a model: every parameter, along random directions
    python -m minidl gradcheck mymodule:f --shapes 2,3 3,4

An argument of a function without a shape has its default, if that is a Tensor, or the shape 3,4. A function that takes
nothing may return what is to be checked: a function and its inputs. The exit status is 0 if everything passed, 1 if
something failed, 2 if a name is unknown.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.commands.writing import writable
from minidl.gradcheck.arguments import inputs_for
from minidl.gradcheck.cases import CASES, cases_named, inputs_of
from minidl.gradcheck.check import check_gradients
from minidl.gradcheck.picture import draw_heat_map
from minidl.gradcheck.report import GradientError, Report, Row
from minidl.training import number, whole

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

VALUES = ("direction", "jacobian", "complex step")
COLUMNS = (*((check, 1) for check in (*VALUES, "float32")), *((check, 2) for check in VALUES))


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="op, row, model or MODULE:FUNCTION (all ops)")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="save a heat map, op x check, as PNG")
    parser.add_argument("--order", type=whole(1, 2), default=None, help="highest derivative (default: 2, for models 1)")
    parser.add_argument(
        "--seed", type=whole(0, 2**64 - 1), default=0, help="of inputs, upstream gradients and directions"
    )
    parser.add_argument("--shapes", nargs="+", type=_shape, help="of the inputs of MODULE:FUNCTION, such as 2,3 4")
    parser.add_argument("--width", type=number(0, 8, above=True), default=0.25,
                        help="width of a model's layers (default: %(default)s)")
    parser.add_argument("--verbose", action="store_true", help="print every check of every row")


def _shape(text):
    try:
        return tuple(int(n) for n in text.split(",") if n)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; write 2,3") from None


def run(args: Namespace) -> int:
    """Check the targets, print the table, return the exit status."""
    if args.picture:
        writable("--picture", args.picture, (".png",))
    try:
        found = [jobs_of(target, args) for target in args.targets] or [_table(CASES, args)]
    except (KeyError, ValueError, ImportError, AttributeError) as error:
        print(f"gradcheck: {error.args[0] if error.args else error}", file=sys.stderr)
        return 2
    start = time.perf_counter()
    reports = [_report(name, job, args.verbose) for name, job in _with_header(sum(found, []))]
    failed = [report for report in reports if not report.passed]
    for failure in (failure for report in failed for failure in report.failures):
        print(f"\n{failure}")
    print(f"\n{len(reports)} checked, {len(failed)} failed, {time.perf_counter() - start:.1f} s")
    if args.picture:
        draw_heat_map(reports, args.picture)
        print(f"heat map: {args.picture}")
    return 1 if failed else 0


def _with_header(jobs):
    print("largest relative error at order".ljust(36) + "".join(f"{order:>13}" for _, order in COLUMNS))
    print(" " * 36 + "".join(f"{check:>13}" for check, _ in COLUMNS))
    yield from jobs


def _report(name, job, verbose):
    """Run one check and print its line."""
    try:
        report = job()
    except Exception as error:  # an op that raises is a failed row, not the end of the table
        text = f"`{name}` raised {type(error).__name__}: {error}"
        report = Report(name, [Row(1, "raised", "", float("nan"), 0.0, False, failure=GradientError(text, "raised"))])
    cells = "".join(f"{_cell(report.worst(check, order)):>13}" for check, order in COLUMNS)
    print(f"{name[:35]:36}{cells}  {'ok' if report.passed else 'FAIL'}", flush=True)
    if verbose:
        print(report)
    return report


def _cell(value):
    return "-" if np.isnan(value) else f"{value:.0e}" if value else "0"


def jobs_of(target: str, args: Namespace) -> list[tuple[str, Callable[..., Any]]]:
    """(name, function that returns a report) for everything that `target` stands for."""
    if ":" in target:
        module, _, attribute = target.partition(":")
        named = getattr(importlib.import_module(module), attribute)
        function, inputs = inputs_for(named, target, args.shapes, args.seed)
        options = dict(order=args.order or 2, name=target, seed=args.seed, raise_exception=False)
        return [(target, lambda: check_gradients(function, *inputs, **options))]
    if args.shapes:
        raise ValueError(f"`--shapes` is for MODULE:FUNCTION; {target} has inputs of its own")
    models = _models()
    if target in models:
        return [(target, lambda: _check_model(models[target], target, args))]
    try:
        return _table(cases_named(target), args)
    except KeyError as error:
        raise KeyError(f"{error.args[0]}; models: {', '.join(models) or 'none (run in the checkout)'}") from None


def _table(cases, args):
    def job(case):
        options = dict(case.options, order=min(case.order, args.order or case.order))
        inputs = inputs_of(case, args.seed)
        return check_gradients(
            case.function, *inputs, name=case.name, float32=True, seed=args.seed, raise_exception=False, **options
        )

    return [(case.name, lambda case=case: job(case)) for case in cases]


def _models():
    """The table of networks, which are used from the checkout; empty elsewhere."""
    try:
        return importlib.import_module("models").MODELS
    except ImportError:
        return {}


def _check_model(make, name, args):
    """Directional checks through every parameter, in training mode, on two random images."""
    model = make(num_classes=10, width=args.width)
    size = 64 if "torchvision" in name or "paper" in name else 16
    images = np.random.default_rng(args.seed).standard_normal((2, 3, size, size))
    options = dict(order=args.order or 1, directions=1, full_limit=0, largest_step=2.0**-16)
    return check_gradients(model, images, seed=args.seed, name=name, raise_exception=False, **options)
