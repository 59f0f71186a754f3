"""Contenders in processes of their own, which answer calls: one line of JSON each way.

    with Worker("torch", threads=2) as worker:
        worker.start("network", folder="...", mode="train")    # builds benchmarks.peers.torch_jobs.JOBS["network"]
        worker.call("turn")                                    # {"seconds": 1.23}

A process of its own gives each engine its own memory, its own thread pool and its own
settings, and nothing that one of them does to the interpreter touches another.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

from benchmarks.settings import ENGINES

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = ("MINIDL_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerError(RuntimeError):
    """A call failed in the other process, whose traceback is the text."""

    @property
    def last_line(self):
        """Message of an error, without its traceback."""
        return str(self).strip().splitlines()[-1][:300]


class Worker:
    """The parent's end: starts the process, calls it, ends it."""

    def __init__(self, engine, threads, env=None):
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        settings = dict.fromkeys(THREAD_VARIABLES, str(threads))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, **settings, "PYTHONPATH": path, **(env or {})},
            text=True,
        )
        self.threads = threads

    def start(self, job, **options):
        """Build the job that the following calls go to."""
        return self.call("start", job=job, threads=self.threads, **options)

    def call(self, method, **options):
        """The answer of the job's method; a `WorkerError` if it raised or the process died."""
        try:
            self.process.stdin.write(json.dumps([method, options]) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"the process ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["result"]

    def close(self):
        """End the process."""
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except BrokenPipeError:
                pass
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def serve(engine, calls, answers):
    """The child's loop: read a call, do it, answer; ends when the parent closes the pipe."""
    job = None
    for line in calls:
        method, options = json.loads(line)
        try:
            if method == "start":
                jobs = importlib.import_module(f"benchmarks.peers.{ENGINES[engine].jobs}").JOBS
                job = jobs[options.pop("job")](**options)
                result = None
            else:
                result = getattr(job, method)(**options)
            answer = {"result": result}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever an engine prints goes to the terminal, not between the answers
    serve(sys.argv[1], sys.stdin, pipe)
