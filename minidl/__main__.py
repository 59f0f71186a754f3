"""The command line, ``python -m minidl COMMAND``: each command is a module with two functions.

``add_arguments(parser)`` declares the options, ``run(args)`` does the work and returns
the exit status. The module is imported only when its command is called; its docstring's
first line is the command's help.
"""

import argparse
import sys
from importlib import import_module

COMMANDS = {
    "info": ("minidl.training.info", "versions, processor, kernels, threads, devices and memory"),
    "gradcheck": ("minidl.gradcheck.cli", "check the derivatives of ops, of models or of your own function"),
}


def main(argv=None):
    """Run one command; returns its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="python -m minidl", description="A small deep-learning engine.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, help) in COMMANDS.items():
        command = commands.add_parser(name, help=help, description=help)
        if argv[:1] == [name]:
            import_module(module).add_arguments(command)
    args = parser.parse_args(argv)
    return import_module(COMMANDS[args.command][0]).run(args)


if __name__ == "__main__":
    sys.exit(main())
