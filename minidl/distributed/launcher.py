"""Several processes of this machine, started through mpiexec, and one message when they end badly.

The rule of this file: whatever happens, no process stays behind, and the user reads one
line that says which process failed and how to go on.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from minidl.checks import refused
from minidl.distributed.worker import ALIVE, ERR, OUT

LOOK = 0.1  # seconds between two looks for the end of mpiexec


def find_mpiexec() -> str:
    """The mpiexec of this Python environment, else that of the system.

    Raises
    ------
    ValueError
        If there is none.
    """
    here = Path(sys.prefix) / "bin" / "mpiexec"
    found = str(here) if here.exists() else shutil.which("mpiexec")
    if found is None:
        raise ValueError("there is no mpiexec: pip install 'minidl[mpi]', or install the MPI of your system")
    return found


class Launch:
    """One call of mpiexec.

    Parameters
    ----------
    count : int
        Processes.
    argv : sequence of str
        Script and arguments.
    timeout : float, optional
        Seconds after which a process that does not answer ends all.

    Attributes
    ----------
    run : str or None
        After the end, the folder of the run that the script made, if it made one.
    failure : str or None
        After the end, what went wrong and was not said by the processes themselves.
    """

    count: int
    argv: Sequence[str]
    timeout: float | None
    mpiexec: str
    run: str | None
    failure: str | None
    asked: int | None  # the number of the last signal
    folder: Path  # what the processes leave for the launcher

    def __init__(self, count: int, argv: Sequence[str], timeout: float | None = None) -> None:
        if not Path(argv[0]).is_file():
            raise refused("SCRIPT", argv[0], "a Python file that exists")
        self.count, self.timeout, self.argv = count, timeout, argv
        self.mpiexec, self.run, self.failure = find_mpiexec(), None, None
        self.asked = None

    def __call__(self) -> int:
        """Run the processes to their end; the exit status."""
        with tempfile.TemporaryDirectory(prefix="minidl-launch-") as name:
            self.folder = Path(name)
            for pipe in (OUT, ERR, ALIVE):
                os.mkfifo(self.folder / pipe)
            # Open for reading and writing: that neither waits for the other end nor comes to an end itself.
            pipes = {os.open(self.folder / pipe, os.O_RDWR): number for pipe, number in ((OUT, 1), (ERR, 2))}
            alive = os.open(self.folder / ALIVE, os.O_RDWR)
            before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                return self._watched(pipes)
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                for pipe in (*pipes, alive):
                    os.close(pipe)

    def _watched(self, pipes):
        with open(self.folder / "mpiexec", "w+b") as said:
            process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                       env=self._environment(), start_new_session=True)  # fmt: skip
            try:
                while process.poll() is None:
                    _pass_on(pipes, LOOK)
                while _pass_on(pipes, 0):
                    pass
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            said.seek(0)
            self._conclude(process.returncode, said.read().decode("utf-8", "replace"))
        signalled = re.search(r"signal (\d+)", self.failure or "")  # MPIs differ in what they return then
        status = -int(signalled[1]) if signalled else process.returncode
        return status if status >= 0 else 128 - status

    def _command(self):
        version = subprocess.run([self.mpiexec, "--version"], capture_output=True, text=True).stdout
        options = ["--oversubscribe"] if "Open MPI" in version or "OpenRTE" in version else []
        worker = [sys.executable, "-m", "minidl.distributed.worker", *self.argv]
        return [self.mpiexec, *options, "-n", str(self.count), *worker]

    def _environment(self):
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {"MINIDL_LAUNCH": str(self.folder), "PYTHONPATH": os.pathsep.join(paths)}
        return {**os.environ, **own, **({"MINIDL_TIMEOUT": str(self.timeout)} if self.timeout else {})}

    def _ask(self, number, frame):
        """Hand a signal on to the processes, which stop where their state is whole; a second one ends them at once."""
        for pid in self._pids().values():
            try:
                os.kill(pid, signal.SIGTERM if self.asked is None else signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.asked = number

    def _pids(self):
        """{rank: process} of those that have begun."""
        files = {path.name.partition("-")[2]: path.read_text() for path in self.folder.glob("rank-*")}
        return {int(rank): int(pid) for rank, pid in files.items() if pid}

    def _conclude(self, status, said):
        run = self.folder / "run"
        self.run = run.read_text(encoding="utf-8") if run.exists() else None
        if status and not (self.folder / "explained").exists() and self.asked is None:
            self.failure = _who_died(said, self._pids()) or f"mpiexec ended with status {status}: {_one_line(said)}"


def _pass_on(pipes, seconds):
    """Copy what has come through the pipes, within `seconds`; whether there was any."""
    ready, _, _ = select.select(list(pipes), [], [], seconds)
    for pipe in ready:
        text = os.read(pipe, 1 << 16)
        while text:
            text = text[os.write(pipes[pipe], text) :]
    return bool(ready)


def _who_died(said: str, pids: dict[int, int]) -> str | None:
    """The process that ended first, from what mpiexec says; None if it names none.

    Examples
    --------
    >>> _who_died("=   PID 812 RUNNING AT here\\n=   EXIT CODE: 9\\n... Killed (signal 9)", {0: 811, 1: 812})
    'rank 1 died (process 812, signal 9)'
    >>> _who_died("prterun noticed that process rank 1 with PID 0 exited on\\nsignal 9 (Killed).", {0: 811, 1: 812})
    'rank 1 died (process 812, signal 9)'
    """
    by_rank, by_pid = re.search(r"process rank (\d+)", said), re.search(r"PID (\d+)", said)
    ranks = {pid: rank for rank, pid in pids.items()}
    rank = int(by_rank[1]) if by_rank else ranks.get(int(by_pid[1])) if by_pid else None
    if rank not in pids:
        return None
    number = re.search(r"signal (\d+)", said)
    return f"rank {rank} died (process {pids[rank]}{f', signal {number[1]}' if number else ''})"


def _one_line(said: str) -> str:
    return " ".join(said.split())[:400] or "it said nothing"
