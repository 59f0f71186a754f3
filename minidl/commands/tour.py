"""Learn how deep learning really works: chapters to read, run and break.

    python -m minidl tour                  # the list of chapters
    python -m minidl tour 3                # run one: text, code, results, and what the checker says of the exercise
    python -m minidl tour --html book      # all of them as pages for a browser, glossary and map included
    python -m minidl tour --copy my-tour   # the chapters as files to work in
    python -m minidl tour my-tour/c03*.py  # run yours, with what you have written into the holes
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidl.tour.book import build
from minidl.tour.cells import chapters, solution_of, title_of
from minidl.tour.pieces import Code, Exercise, Prediction, Printed
from minidl.tour.source_map import draw_map
from minidl.tour.stage import Stage

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("chapter", nargs="?", help="its number, or a file of your own (default: list them)")
    parser.add_argument("--html", metavar="FOLDER", type=Path, help="write the book, or the page of one chapter")
    parser.add_argument("--copy", metavar="FOLDER", type=Path, help="copy the chapters to work in; keeps what is there")
    parser.add_argument("--solution", action="store_true", help="print what fills the hole of a chapter")
    parser.add_argument("--map", metavar="FILE", type=Path, help="draw the map of the source as SVG")


def run(args: Namespace) -> None:
    """List, run, copy or print."""
    path = None if args.chapter is None else path_of(args.chapter)
    if args.map:
        args.map.write_text(draw_map(), encoding="utf-8")
    if args.copy:
        _copy(args.copy)
    if args.html:
        build(args.html, None if path is None else [int(path.name[1:3])])
    if args.solution:
        print(_solution(path))
    elif path is not None and not args.html:
        _perform(path)
    if path is None and not (args.map or args.copy or args.html or args.solution):
        _list()


def path_of(chapter: str) -> Path:
    """The file of a chapter, given by number or path."""
    found = chapters()
    if chapter.isdecimal() and int(chapter) in found:
        return found[int(chapter)]
    if chapter.isdecimal() or not Path(chapter).is_file():
        raise ValueError(f"`chapter` is {chapter!r}; accepted: a number from 1 to {max(found)}, or a file")
    return Path(chapter).resolve()


def _list():
    for number, path in chapters().items():
        print(f"{number:>3}  {title_of(path)}")
    print("\npython -m minidl tour 1 runs the first; --html FOLDER makes a book of all.")


def _copy(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for path in chapters().values():
        if not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)
            print(folder / path.name)


def _solution(path):
    if path is None:
        raise ValueError("`--solution` needs a chapter, such as: tour 3 --solution")
    return Code(solution_of(path).read_text(encoding="utf-8").rstrip()).code


def _perform(path):
    """Run a chapter before the reader's eyes; at a terminal, each prediction waits for Enter."""
    terminal = sys.stdout
    asks = terminal.isatty() and sys.stdin.isatty()

    printed = False

    def tell(piece):
        nonlocal printed
        terminal.write(("\n" if printed and not isinstance(piece, Printed) else "") + piece.plain())
        printed = isinstance(piece, Printed)
        if asks and isinstance(piece, Prediction):
            terminal.write("         (Enter shows the result) ")
            terminal.flush()
            sys.stdin.readline()

    stage = Stage(path, tell).perform()
    solved = [exercise for exercise in stage.exercises if isinstance(exercise, Exercise) and exercise.hint is None]
    terminal.write(f"\n{len(solved)} of {len(stage.exercises)} exercises solved\n")
