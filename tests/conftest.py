"""Shared set-up of the tests: where real data lies, how many examples hypothesis draws, no network, no display.

A test may be skipped for one of the reasons in :data:`SKIPS` only. They are counted at the end of the run, and any
other reason fails it: a check that never runs anywhere is not a check.
"""

import os
import signal
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# HYPOTHESIS_PROFILE chooses; a test that needs more examples in every run asks for them itself.
settings.register_profile("default", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("deep", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# A shell that starts the tests in the background has them, and the runs that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("MPLBACKEND", "Agg")
if "MPLCONFIGDIR" not in os.environ and not os.access(Path("~").expanduser(), os.W_OK):
    NOTES = tempfile.TemporaryDirectory()  # goes with this module
    os.environ["MPLCONFIGDIR"] = NOTES.name  # lest matplotlib say on every start that it cannot write at home

# `--doctest-modules` imports every module below `testpaths`. The helpers here hold no tests, and some need PyTorch.
HERE = Path(__file__).parent
collect_ignore = [str(path) for path in HERE.rglob("*.py") if not path.name.startswith(("test_", "conftest"))]

# How the reason of a skip begins.
SKIPS = (
    "PyTorch is not installed",
    "Numba is not installed",
    "onnx is not installed",
    "starlette is not installed",
    "optuna is not installed",
    "mpi4py is not installed",
    "tensorboard is not installed",
    "pyright is not installed",
    "simplejpeg is not installed",
    "real data is not here",
    "the fast forms are switched off",
    "CuPy is not installed",
    "cuTile is not installed",
    "not a git checkout",
    "this system has no",
)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
if "MINIDL_DATA" not in os.environ and SHARED_DATA.is_dir():
    os.environ["MINIDL_DATA"] = str(SHARED_DATA)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing opens a connection unless asked to download, and no test asks."""

    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def refuse(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            pytest.fail(f"a test tried to connect to {address}")
        return connect(self, address)

    def look_up(host, *args, **kwargs):
        if host not in (None, "localhost", "127.0.0.1", "::1"):
            pytest.fail(f"a test tried to look up {host}")
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def _reason(report):
    """The reason of a skipped test, as the test gave it."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _unknown(terminalreporter):
    """Reports of tests that were skipped for a reason that is not one of SKIPS."""
    return [r for r in terminalreporter.getreports("skipped") if not _reason(r).startswith(SKIPS)]


def pytest_sessionfinish(session):
    """Fail the run when a test was skipped for a reason that is not one of SKIPS."""
    terminalreporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminalreporter and not session.exitstatus and _unknown(terminalreporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    """Tables for people: skips by reason, PyTorch's samples, seeded faults and which test noticed them."""
    _summarise_skips(terminalreporter)
    _summarise_conformity(terminalreporter)
    _summarise_faults(terminalreporter)


def _summarise_skips(terminalreporter):
    reports = terminalreporter.getreports("skipped")
    counts = {reason: sum(_reason(r).startswith(reason) for r in reports) for reason in SKIPS}
    if reports:
        terminalreporter.section("skipped (a file that is skipped whole counts as one)")
    for reason, count in counts.items():
        if count:
            terminalreporter.write_line(f"{count:5}  {reason}")
    for report in _unknown(terminalreporter):
        terminalreporter.write_line(f"NOT A REASON THAT tests/conftest.py KNOWS: {report.nodeid}: {_reason(report)}")


def _summarise_conformity(terminalreporter):
    """PyTorch's own samples, and how many of them are equal (``test_conformity.py``)."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind) if r.when == "call"]
    lines = [line for r in reports if (line := dict(r.user_properties).get("conformity"))]
    if lines:
        terminalreporter.section("PyTorch's samples; differences on purpose: tests/conformity_table.py")
    for line in sorted(lines):
        terminalreporter.write_line(line)


def _summarise_faults(terminalreporter):
    """The seeded faults, and how many of them the suite has noticed (``test_faults.py``)."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind) if r.when == "call"]
    faults = [dict(r.user_properties) for r in reports if dict(r.user_properties).get("fault")]
    if faults:
        caught = sum("caught" in f for f in faults)
        terminalreporter.section(f"seeded faults: {caught} of {len(faults)} caught")
        for f in sorted(faults, key=lambda f: f["fault"]):
            terminalreporter.write_line(f"{f['fault']:<75} {f.get('caught', 'NOT CAUGHT')}"[:150])
