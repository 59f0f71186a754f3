"""No test depends on a quiet machine: what it waits for is an event, and the one limit is that of `patience`."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import HANG

WAITING = ("wait", "join", "sleep")
# In processes that others kill or stop, a sleep is what they are busy with; a kill at a random moment needs one.
# The timeout of a group of ranks is what its tests are about.
BUSY = {"killing.py", "test_tuning.py", "test_distributed_group.py", "test_distributed_nccl.py"}


def seconds_in(tree):
    """Lines on which a number of seconds decides: as `timeout`, or as what a wait, a join or a sleep is given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            named = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
            waits = isinstance(node.func, ast.Attribute) and node.func.attr in WAITING
            for value in [*named, *(node.args if waits else ())]:
                if isinstance(value, ast.Constant) and type(value.value) in (int, float) and value.value > 0.1:
                    yield node.lineno


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_tests_wait_for_events_and_not_for_seconds(path):
    if path.name not in BUSY:
        assert not list(seconds_in(ast.parse(path.read_text()))), "wait for an event, for at most patience.HANG"


def test_seconds_are_found():
    text = "event.wait(5)\ntime.sleep(0.5)\nrun(timeout=30)\nrun(timeout=HANG)\nevent.wait()\ntable.get(name)"
    assert list(seconds_in(ast.parse(text))) == [1, 2, 3]


@pytest.mark.skipif(os.name == "nt", reason="this system has no background jobs that ignore Ctrl-C")
def test_tests_of_signals_pass_in_the_background_too():
    """In tests that a shell has started with ``&``, SIGINT is ignored when they begin."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider",
               "tests/test_training_signals.py::test_the_second_signal_ends_the_process_at_once"]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    out, _ = process.communicate(timeout=HANG)
    assert process.returncode == 0 and "2 passed" in out, out
