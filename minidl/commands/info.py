"""Versions, processor, kernels, threads, devices and memory."""

from __future__ import annotations

from minidl.training.info import facts


def add_arguments(parser):
    """`info` has no options."""


def run(args):
    """Print a table."""
    table = facts()
    width = max(map(len, table)) + 2
    for name, value in table.items():
        print(f"{name:<{width}}{value}")
