"""Trials: each is a process of train.py whose accuracy on validation images is followed epoch by epoch.

Optuna keeps what came out in a journal file or a database, so that several processes,
on one machine or on several that share the storage, work on one study, and a sweep that
was broken off goes on. A trial that is worse than the median of those before it at the
same epoch is ended (pruned).

T. Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework",
arXiv 1907.10902.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidl.data.errors import check, shown

if TYPE_CHECKING:
    from minidl.tuning.plan import Plan

PAUSE = 0.1  # seconds between two looks at a trial
METRIC = "val_accuracy"


def open_study(plan: Plan) -> Any:
    """The plan's Optuna study, new or as it was left.

    Raises
    ------
    ValueError
        The stored study searches something else, or the storage cannot be opened.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(storage=_storage(plan.storage), study_name=plan.name, direction="maximize", load_if_exists=True)
    except Exception as error:  # databases have errors of their own
        raise ValueError(f"`storage` cannot be opened: {type(error).__name__}: {str(error).partition(chr(10))[0]}") from None
    searched = {name: repr(domain) for name, domain in plan.search.items()} | {"fixed": plan.fixed}
    stored = study.user_attrs.get("plan", searched)
    check(stored == searched, f"the study `{shown(plan.name)}` was started with another [search] or [fixed]; "
          "name another `storage`, or rename the file")
    study.set_user_attr("plan", searched)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4) if plan.pruning else optuna.pruners.NopPruner()
    study.pruner, study.sampler = pruner, optuna.samplers.TPESampler(seed=plan.seed + len(study.trials))
    return study


def _storage(text):
    """A journal file's name, or the address of a database, as Optuna takes it."""
    import optuna

    if "://" in text:
        return text
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(text))


def finished(study: Any) -> list[Any]:
    """The trials that count: those that came to their end or were pruned."""
    from optuna.trial import TrialState

    return [trial for trial in study.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]


def sweep(plan: Plan, study: Any, script: Path | str, folder: Path | str, say: Callable[..., Any] = print) -> None:
    """Run trials until the study has as many as the plan wants.

    Parameters
    ----------
    plan : Plan
    study : optuna.Study
    script : path
        train.py.
    folder : path
        For the trials' runs, ``trial-0000`` and so on, and what they print.
    say : callable
        Takes a line for each trial.

    Raises
    ------
    ValueError
        train.py refuses a setting: its own line.
    """
    from optuna.trial import TrialState

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    while len(finished(study)) < plan.trials:
        trial = study.ask()
        chosen = {name: domain.ask(trial, name) for name, domain in plan.search.items()}
        state, value = TrialState.FAIL, None
        try:
            state, value = _followed(trial, [sys.executable, str(script), *options({**plan.fixed, **chosen})], folder)
        finally:
            study.tell(trial, value, state)
        outcome = f"{value:.2%}" if state == TrialState.COMPLETE else "pruned"
        say(f"{trial.number:>5}  {outcome:>8}  " + ", ".join(f"{name} {_short(v)}" for name, v in chosen.items()))


def options(settings: dict[str, Any]) -> list[str]:
    """Settings as train.py's options."""
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def _short(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _followed(trial, command, folder):
    """(state, best accuracy) of one process; whatever happens, it is ended."""
    from optuna.trial import TrialState

    run = folder / f"trial-{trial.number:04d}"
    said = folder / f"{run.name}.txt"
    with open(said, "w", encoding="utf-8") as log:
        process = subprocess.Popen([*command, "--output", str(run)], stdout=log, stderr=subprocess.STDOUT)
        try:
            accuracies, running = [], True
            while running:
                running = process.poll() is None  # before the look, so that the last one sees everything
                for entry in _entries(run / "metrics.jsonl")[len(accuracies) :]:
                    accuracies.append(entry[METRIC])
                    trial.report(entry[METRIC], entry["epoch"])
                if running and accuracies and trial.should_prune():
                    return TrialState.PRUNED, None
                time.sleep(PAUSE if running else 0)
        finally:
            process.terminate()
            process.wait()
    last = said.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
    check(process.returncode != 2, f"trial {trial.number}: {shown(last)}")
    if process.returncode or not accuracies:  # a loss that ran away is an answer too
        trial.set_user_attr("reason", shown(last[:500]))
        return TrialState.PRUNED, None
    return TrialState.COMPLETE, max(accuracies)


def _entries(path):
    """The epochs written so far."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
