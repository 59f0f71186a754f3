"""Measure minidl beside other engines on this machine.

    python -m benchmarks                            list the benchmarks
    python -m benchmarks googlenet                  the headline table
    python -m benchmarks googlenet --only training  one part of it
    python -m benchmarks googlenet --device cuda    the headline table on a GPU
    python -m benchmarks convolution --json convolution.json --picture convolution.png
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import sys
from pathlib import Path

import minidl
from benchmarks.settings import ROUNDS, Settings

NAMES = (
    "googlenet", "small", "job", "products", "convolution", "ops", "memory", "startup", "scaling", "ranks",
    "decode", "transfer", "records", "published", "settle", "ablation",
)  # fmt: skip


def _module(name):
    return importlib.import_module(f"benchmarks.{name}")


def listing():
    """One line per benchmark: its name, what it shows, its parts."""
    lines = [__doc__.strip(), "", "Benchmarks, and the parts that --only takes:"]
    for name in NAMES:
        module = _module(name)
        lines.append(f"  {name:12} {module.__doc__.splitlines()[0]}")
        lines.append(f"  {'':12} {', '.join(module.PARTS)}")
    return "\n".join(lines)


def parse(argv):
    """The benchmark's module, the settings and the paths from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=listing(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=NAMES, metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measured figure there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the results there (.png, .svg or .pdf)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="per contender (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each contender takes (%(default)s)")
    parser.add_argument("--only", metavar="PARTS", help="parts of the benchmark, with commas between them")
    devices = ("cpu", "cuda")
    parser.add_argument("--device", choices=devices, default="cpu", help="cuda for googlenet on a GPU (%(default)s)")
    parser.add_argument("--within", type=float, default=math.inf, help="seconds after which no part begins, on a GPU")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only shows that all works")
    args = parser.parse_args(argv)
    module = _module("device" if args.device == "cuda" and args.name == "googlenet" else args.name)
    if args.device == "cuda" and args.name != "googlenet":
        parser.error(f"`--device` is cuda, but {args.name} runs on the CPU; accepted: googlenet")
    if args.device == "cuda" and not minidl.cuda.is_available():
        parser.error(f"`--device` is cuda; {minidl.training.info.devices()}")
    parts = tuple(args.only.split(",")) if args.only else module.PARTS
    unknown = [part for part in parts if part not in module.PARTS]
    if unknown:
        parser.error(f"`--only` is {args.only!r}; accepted: {', '.join(module.PARTS)}")
    for option, path in (("--json", args.json), ("--picture", args.picture)):
        if path and not path.absolute().parent.is_dir():  # better now than after the measurements
            parser.error(f"`{option}` is {path}, in a folder that does not exist")
    if min(args.threads, args.rounds) < 1:
        parser.error(f"`--threads` is {args.threads} and `--rounds` is {args.rounds}; accepted: whole numbers from 1")
    return module, Settings(args.threads, args.rounds, parts, args.quick, args.device, args.within, args.json), args


def main(argv=None):
    """Run one benchmark; exit status 1 if a contender's results were wrong."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        print(listing())
        return 0
    module, settings, args = parse(argv)
    results = {"benchmark": args.name, **settings.describe()}
    settings.introduce(getattr(module, "ROUNDS", ROUNDS))
    results.update(module.run(settings))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
        print(f"figures written to {args.json}")
    if args.picture:
        module.draw(results, args.picture)
        print(f"picture drawn in {args.picture}")
    return 1 if results.get("wrong") else 0


if __name__ == "__main__":
    sys.exit(main())
