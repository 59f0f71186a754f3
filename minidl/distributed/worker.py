"""One process of ``python -m minidl launch``: runs a script, tied to the launcher.

    python -m minidl.distributed.worker SCRIPT [ARGUMENTS]

What it prints goes to the launcher through named pipes, apart from what mpiexec says. It
ends when the launcher is gone, however that has ended.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from minidl.distributed.tied import end_with, run_script
from minidl.distributed.transport import started_rank

OUT, ERR, ALIVE = "stdout", "stderr", "alive"  # named pipes in the launcher's folder


def main() -> None:
    """Meet the launcher, then run the script."""
    folder = Path(os.environ["MINIDL_LAUNCH"])
    for name, number in ((OUT, 1), (ERR, 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY), number)
    sys.stdout.reconfigure(line_buffering=True)
    end_with(os.open(folder / ALIVE, os.O_RDONLY))
    (folder / f"rank-{started_rank()}").write_text(str(os.getpid()))
    run_script()


if __name__ == "__main__":
    main()
