"""Versions, processor, kernels, threads, devices and memory."""

from __future__ import annotations

from minidl.training.info import facts


def add_arguments(parser):
    """`info` has no options."""


def run(args):
    """Print a table."""
    for name, value in facts().items():
        print(f"{name:<12}{value}")
