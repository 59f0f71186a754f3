"""One process of ``python -m minidl launch``: runs a script, tied to the launcher.

    python -m minidl.distributed.worker SCRIPT [ARGUMENTS]

What it prints goes to the launcher through named pipes, apart from what mpiexec says. It
ends when the launcher is gone, however that has ended.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from pathlib import Path

from minidl.distributed.transport import started_rank

OUT, ERR, ALIVE = "stdout", "stderr", "alive"  # named pipes in the launcher's folder


def main() -> None:
    """Run the script as if it had been called on its own."""
    folder = Path(os.environ["MINIDL_LAUNCH"])
    for name, number in ((OUT, 1), (ERR, 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY), number)
    sys.stdout.reconfigure(line_buffering=True)
    alive = os.open(folder / ALIVE, os.O_RDONLY)
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    (folder / f"rank-{started_rank()}").write_text(str(os.getpid()))
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


def _end_with(alive: int) -> None:
    """Wait until no process has the other end of the pipe open, then end this one."""
    os.read(alive, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
