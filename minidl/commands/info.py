"""Versions, processor, kernels, threads, devices and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidl.training.info import facts

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """`info` has no options."""


def run(args: Namespace) -> None:
    """Print a table."""
    table = facts()
    width = max(map(len, table)) + 2
    for name, value in table.items():
        print(f"{name:<{width}}{value}")
