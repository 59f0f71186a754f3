"""Search for good settings of train.py: many short trainings, the poor ones ended early.

    python -m minidl sweep digits.ini                  # called again, it goes on; in two terminals, both work on it
    python -m minidl sweep digits.ini --trials 50      # more trials than the file says

    # digits.ini
    [fixed]
    epochs = 4
    [search]
    lr = 0.01 .. 1, log
    optimizer = sgd, adamw

The file's other settings: minidl/tuning/plan.py (extra: pip install minidl[tune]).
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import models
from minidl.data.errors import check, shown
from minidl.report.canvas import png
from minidl.training import whole
from minidl.training.atomic import write_bytes, write_text
from minidl.tuning.outcome import as_csv, importances, picture
from minidl.tuning.plan import read_plan
from minidl.tuning.study import finished, open_study, options, sweep

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", help="what to search, see above")
    parser.add_argument("--trials", type=whole(1), help="how many there are to be in the end (the file's, or 20)")
    parser.add_argument("--output", help="the folder for runs, table and picture (sweeps/NAME)")


def run(args: Namespace) -> None:
    """Run trials, then say what came out."""
    check(find_spec("optuna"), "sweeps need a package that is not installed: pip install 'minidl[tune]'")
    plan = read_plan(args.file)
    plan = dataclasses.replace(plan, trials=args.trials) if args.trials else plan
    folder = Path(args.output) if args.output else Path("sweeps") / plan.name
    study = open_study(plan)
    print(f"{shown(plan.name)}: {len(finished(study))} of {plan.trials} trials are done\n\ntrial  accuracy  settings")
    sweep(
        plan, study, Path(models.__file__).parents[1] / "train.py", folder, lambda line: print(shown(line), flush=True)
    )
    write_text(folder / "trials.csv", as_csv(study))
    shares = importances(study)
    write_bytes(folder / "what_mattered.png", png(picture(plan, study, shares)))
    say_outcome(plan, study, shares, folder)


def say_outcome(plan: Any, study: Any, shares: Any, folder: Path | str) -> None:
    """The best trial, what mattered, where things are."""
    if shares:
        print(
            "\nwhat explains the accuracy: " + ", ".join(f"{shown(name)} {share:.0%}" for name, share in shares.items())
        )
    if any(trial.value is not None for trial in finished(study)):
        best = study.best_trial
        words = (shown(word) for word in options({**plan.fixed, **best.params}))
        print(f"best: trial {best.number}, {best.value:.2%} of the validation images right\n"
              f"    python train.py {' '.join(words)}")
    else:
        print("\nno trial came to its end")
    print(f"{shown(folder)}: trials.csv, what_mattered.png, a run's folder per trial")
