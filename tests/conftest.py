"""Shared set-up of the tests: where real data lies, how many examples hypothesis draws, no network, no display."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import settings

# HYPOTHESIS_PROFILE chooses; a test that needs more examples in every run asks for them itself.
settings.register_profile("default", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("deep", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

os.environ.setdefault("MPLBACKEND", "Agg")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
if "MINIDL_DATA" not in os.environ and SHARED_DATA.is_dir():
    os.environ["MINIDL_DATA"] = str(SHARED_DATA)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing opens a connection unless asked to download, and no test asks."""

    connect = socket.socket.connect

    def refuse(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            raise AssertionError(f"a test tried to connect to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


def pytest_terminal_summary(terminalreporter):
    """The table of seeded faults, and how many of them the suite has noticed (``test_faults.py``)."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind) if r.when == "call"]
    faults = [dict(r.user_properties) for r in reports if dict(r.user_properties).get("fault")]
    if faults:
        caught = sum("caught" in f for f in faults)
        terminalreporter.section(f"seeded faults: {caught} of {len(faults)} caught")
        for f in sorted(faults, key=lambda f: f["fault"]):
            terminalreporter.write_line(f"{f['fault']:<75} {f.get('caught', 'NOT CAUGHT')}"[:150])
