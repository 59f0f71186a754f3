"""The end of a run in which something went wrong: one message, and no process stays behind.

The rule of this file: a process that cannot go on tells the others. One that waits for
it answers with nothing, one that cannot go on either with its own line. What all say,
one says; what one says names it, and ends all.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from minidl.distributed.group import FAREWELL, LENGTH, NAP, Group
from minidl.distributed.processes import world

PATIENCE = 60.0  # seconds for the answer of a process that computes


def leave(line: str, status: int) -> NoReturn:
    """End this process with one line on stderr, and with it all others.

    Raises
    ------
    SystemExit
        With `status`, where all processes end for the same reason.
    """
    group = world()
    speaks, alike = settled(group, line)
    if speaks:
        announce(line if alike else f"rank {group.rank}: {line}")
    elif not alike:
        time.sleep(PATIENCE)  # in which the one that speaks ends all
    if not alike:
        group.transport.abort(status)
    raise SystemExit(status)


def settled(group: Group, line: str) -> tuple[bool, bool]:
    """(This process is the one that speaks, all say the same `line`).

    Of those with a line, the one of the lowest rank speaks. A process that has told one of
    them that it goes on, and then cannot, has none: what it has said holds for all.
    """
    own = "" if group.answered else line
    lines = {group.rank: own} | farewells(group, own)
    speaker = min((rank for rank in lines if lines[rank]), default=None)
    return group.rank == speaker, list(lines.values()) == [line] * group.size


def farewells(group: Group, line: str) -> dict[int, str]:
    """Tell the others `line`; what they say in turn, by rank: their own last line, or nothing if they go on working."""
    text = np.zeros(LENGTH, np.uint8)
    data = line.encode("utf-8", "replace")[:LENGTH]
    text[: len(data)] = np.frombuffer(data, np.uint8)
    sent = [group.transport.send(text, rank, FAREWELL) for rank in group.others]
    awaited, found, end = set(group.others) - group.late, {}, time.monotonic() + PATIENCE
    while awaited and time.monotonic() < end:
        for rank in [rank for rank in awaited if group.transport.has_sent(rank, FAREWELL)]:
            answer = np.empty(LENGTH, np.uint8)
            request = group.transport.receive(answer, rank, FAREWELL)
            while not request.done():
                time.sleep(NAP)
            found[rank] = answer.tobytes().rstrip(b"\0").decode("utf-8", "replace")
            awaited.remove(rank)
        all(request.done() for request in sent)  # an MPI moves messages while it is asked for them
        time.sleep(NAP)
    return found


def announce(text: str) -> None:
    """Print on stderr, and let the launcher know that the end has been explained."""
    print(text, file=sys.stderr, flush=True)
    note("explained", "")


def note(name: str, text: str) -> None:
    """Leave a file for ``python -m minidl launch``, where that started this process."""
    folder = os.environ.get("MINIDL_LAUNCH")
    if folder and os.path.isdir(folder):
        Path(folder, name).write_text(text, encoding="utf-8")


def end_all_on_error() -> None:
    """From here on, an exception that nothing catches ends all processes, after its traceback."""

    def hook(kind: Any, error: Any, trace: Any) -> None:
        lines = "".join(traceback.format_exception(kind, error, trace))
        announce(f"rank {world().rank}:\n{lines}")
        world().transport.abort(1)

    sys.excepthook = hook
