"""Contenders take turns: round after round, the first place moving on by one each time."""

from __future__ import annotations

import statistics
import sys
import time
from typing import NamedTuple

from benchmarks.settings import available
from benchmarks.worker import Worker, WorkerError

PAUSE = 0.02  # seconds in which the threads of the last contender go to sleep


class Contender(NamedTuple):
    """A row of a table: its label, its engine, and what the engine is told."""

    label: str
    engine: str
    options: dict = {}
    env: dict = {}
    precision: str = "float32"


class Times(NamedTuple):
    """Seconds of one step in each round."""

    rounds: tuple

    @property
    def median(self):
        """Seconds of the round in the middle."""
        return statistics.median(self.rounds)

    def describe(self):
        """For the JSON file and the pictures."""
        return {"median": self.median, "low": min(self.rounds), "high": max(self.rounds), "rounds": list(self.rounds)}


def race(workers, rounds, method="turn", **options):
    """Times by name for the workers (a dictionary by name), which take turns."""
    names, times = list(workers), {name: [] for name in workers}
    for number in range(rounds if names else 0):
        progress(f"round {number + 1} of {rounds}")
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            time.sleep(PAUSE)
            times[name].append(workers[name].call(method, **options)["seconds"])
    progress("")
    return {name: Times(tuple(seconds)) for name, seconds in times.items()}


def progress(text):
    """One line that is overwritten, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text:40}\r", end="", file=sys.stderr, flush=True)


def enter(stack, contenders, settings, job, **options):
    """Start the job for each contender: workers by label. One that cannot start is left out, with a line."""
    workers = {}
    for contender in available(contenders):
        worker = stack.enter_context(Worker(contender.engine, settings.threads, contender.env))
        try:
            progress(f"preparing {contender.label}")
            worker.start(job, **options, **contender.options)
            workers[contender.label] = worker
        except WorkerError as error:
            leave_out(contender.label, worker, error)
    return workers


def leave_out(label, worker, error):
    """Go on without a contender that failed, after a line; minidl's own failure is raised."""
    if label.startswith("minidl"):
        raise error
    print(f"{label} is left out: {error.last_line}")
    worker.close()
