"""The command line, ``python -m minidl COMMAND``.

Each command is a file of ``minidl/commands``, imported only when it is called; its rules
stand in that package's docstring.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from minidl.training.settings import Parser, fail, usage_errors

DESCRIPTION = "A small deep-learning engine. Training itself is the job of train.py, at the top of the checkout."

COMMANDS = (  # in the order of a project's life
    "tour", "data", "summary", "launch", "sweep", "evaluate", "compare", "predict", "explain", "export", "serve",
    "gradcheck", "info",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run one command; returns its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = Parser(prog="python -m minidl", description=DESCRIPTION, formatter_class=_formatter)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name in COMMANDS:
        text = docstring(name).replace("%", "%%")
        command = commands.add_parser(name, help=text.partition("\n")[0], description=text, formatter_class=_formatter)
        if argv[:1] == [name]:
            imported(name).add_arguments(command)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 0
    program = f"{parser.prog} {args.command}"
    try:
        with usage_errors(program):
            return _called(args)
    except KeyboardInterrupt:
        fail("interrupted", program, status=130)


def _called(args):
    """The exit status of a command; 141, and not a word, where the reader of its output has gone (``| head``)."""
    try:
        status = imported(args.command).run(args) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # for what Python still has to flush at its end
        return 141


def _formatter(prog):
    formatter = argparse.RawDescriptionHelpFormatter(prog, max_help_position=20, width=120)
    formatter._action_max_length = 14  # argparse forgets that commands are indented, and breaks the longest line
    return formatter


def docstring(name: str) -> str:
    """That of a command, read without importing it."""
    source = (Path(__file__).parent / "commands" / f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source))


def imported(name: str) -> ModuleType:
    """The module of a command."""
    try:
        return import_module(f"minidl.commands.{name}")
    except ModuleNotFoundError as error:
        if error.name != "models":
            raise
        fail("the networks are in the folder `models` of the checkout: call this command there", f"minidl {name}")


if __name__ == "__main__":
    sys.exit(main())
