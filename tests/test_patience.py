"""No test depends on a quiet machine: what it waits for is an event, and the one limit is that of `patience`."""

import ast
from pathlib import Path

import pytest

WAITING = ("wait", "join", "sleep")
# In processes that others kill or stop, a sleep is what they are busy with; a kill at a random moment needs one.
BUSY = {"killing.py", "test_tuning.py"}


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
