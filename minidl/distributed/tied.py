"""A script that is tied to the process which starts it, and ends when that is gone, however it has ended.

    python minidl/distributed/tied.py SCRIPT [ARGUMENTS]

Called like this, it ends when the other end of its stdin is closed. It imports nothing of minidl, which would cost
time.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from pathlib import Path


def end_with(pipe: int) -> None:
    """End this process as soon as no other has the far end of `pipe` open."""

    def wait() -> None:
        os.read(pipe, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_script() -> None:
    """Run the script that this process's arguments name, as if it had been called on its own."""
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    end_with(sys.stdin.fileno())
    run_script()
