"""Trials: each is a process of train.py whose accuracy on validation images is followed epoch by epoch.

Optuna keeps what came out in a journal file or a database, so that several processes,
on one machine or on several that share the storage, work on one study, and a sweep that
was broken off goes on. Where an MPI or srun has started them, each trial is still a
process of its own. A trial that is worse than the median of those before it at the
same epoch is ended (pruned).

T. Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework",
arXiv 1907.10902.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidl.data.errors import check, shown
from minidl.distributed import tied
from minidl.distributed.transport import alone

if TYPE_CHECKING:
    from minidl.tuning.plan import Plan

PAUSE = 0.1  # seconds between two looks at a trial
RETRIES = (0.2, 0.5, 1.0, 2.0)  # seconds between two tries to open a database
LOCKED = 60  # seconds for which a process waits while another writes to the SQLite file
DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
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
        study = _created(plan)
    except ImportError as error:
        raise ValueError(_driver_for(error.__cause__ or error)) from None
    except Exception as error:  # databases have errors of their own
        raise ValueError(f"`storage` cannot be opened: {_first_line(error)}") from None
    searched = {name: repr(domain) for name, domain in plan.search.items()} | {"fixed": plan.fixed}
    stored = study.user_attrs.get("plan", searched)
    check(stored == searched, f"the study `{shown(plan.name)}` was started with another [search] or [fixed]; "
          "name another `storage`, or rename the file")
    study.set_user_attr("plan", searched)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4) if plan.pruning else optuna.pruners.NopPruner()
    study.pruner = pruner
    return study


def _created(plan):
    """Optuna's study; tried again for a moment, since of processes that begin together only one makes the tables."""
    import optuna
    from sqlalchemy.exc import DBAPIError

    for pause in (*RETRIES, None):
        try:
            return optuna.create_study(
                storage=_storage(plan.storage), study_name=plan.name, direction="maximize", load_if_exists=True
            )
        except DBAPIError:
            if pause is None:
                raise
            time.sleep(pause)


def _storage(text):
    """A journal file's name, or the address of a database, as Optuna takes it."""
    import optuna

    if "://" not in text:
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(text))
    if text.startswith("sqlite:"):  # several processes write: each waits for its turn
        return optuna.storages.RDBStorage(text, engine_kwargs={"connect_args": {"timeout": LOCKED}})
    return text


def _driver_for(error):
    """The line for a database whose Python package is missing."""
    driver = getattr(error, "name", None) or "of its database"
    return f"`storage` needs the driver {driver}, which is not installed: pip install '{DRIVERS.get(driver, driver)}'"


def _first_line(error):
    return f"{type(error).__name__}: {shown(str(error).partition(chr(10))[0])}"


def finished(study: Any) -> list[Any]:
    """The trials that count: those that came to their end or were pruned."""
    from optuna.trial import TrialState

    return [trial for trial in study.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]


def sweep(plan: Plan, study: Any, script: Path | str, folder: Path | str, say: Callable[..., Any] = print) -> None:
    """Run trials until the study has as many as the plan wants; where several processes do, each ends what it began.

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
        train.py refuses a setting: its own line. Or the storage has failed.
    """
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        while len(finished(study)) < plan.trials:
            _try_one(plan, study, script, folder, say)
    except (OptunaError, SQLAlchemyError) as error:  # a server that has gone, a disk that is full
        said = _first_line(error.__cause__ or error)
        raise ValueError(f"`storage` has failed, and the sweep can go on later: {said}") from None


def _try_one(plan, study, script, folder, say):
    """One trial, told to the study whatever happens."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    trial = study.ask()
    study.sampler = TPESampler(seed=plan.seed + trial.number)  # of processes that begin together, each tries its own
    chosen = {name: domain.ask(trial, name) for name, domain in plan.search.items()}
    state, value = TrialState.FAIL, None
    try:
        state, value = _followed(trial, [str(script), *options({**plan.fixed, **chosen})], folder)
    finally:
        study.tell(trial, value, state)
    outcome = f"{value:.2%}" if state == TrialState.COMPLETE else "pruned"
    say(f"{trial.number:>5}  {outcome:>8}  " + ", ".join(f"{name} {_short(v)}" for name, v in chosen.items()))


def options(settings: dict[str, Any]) -> list[str]:
    """Settings as train.py's options."""
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def _short(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _followed(trial, argv, folder):
    """(state, best accuracy) of one process; whatever happens, it is ended, and it ends with this one."""
    from optuna.trial import TrialState

    run = folder / f"trial-{trial.number:04d}"
    said = folder / f"{run.name}.txt"
    with open(said, "w", encoding="utf-8") as log:
        command = [sys.executable, tied.__file__, *argv, "--output", str(run)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                                   env=alone(os.environ))  # fmt: skip
        try:
            accuracies, running = [], True
            while running:
                running = process.poll() is None  # before the look, so that the last one sees everything
                for entry in _entries(run / "metrics.jsonl")[len(accuracies) :]:
                    found = f"trial {trial.number} has no validation images"
                    check(METRIC in entry, f"{found}; `--validation` has to be tenth")
                    accuracies.append(entry[METRIC])
                    trial.report(entry[METRIC], entry["epoch"])
                if running and accuracies and trial.should_prune():
                    return TrialState.PRUNED, None
                time.sleep(PAUSE if running else 0)
        finally:
            process.terminate()
            process.wait()
            process.stdin.close()
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
