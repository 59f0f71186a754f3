"""Command-line options from a dataclass: each field is a setting, its help text says when to change it.

The rule of this file: a wrong value ends the program with one line and exit status 2,
before anything is trained. Values are looked for in this order: the command line, the
preset, the recipe of the data set, the field's default. A resumed run has the settings it was
started with; an option that says otherwise is refused by name.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from minidl import cuda
from minidl.data.catalogue import ALIASES
from minidl.data.decoded import bytes_of
from minidl.data.errors import shown
from minidl.distributed import leave
from minidl.training.identity import ADDED, PER_RUN, saved_settings
from minidl.training.together import usual_shards


def free_text(text: str) -> str:
    """The type of an option that is free text: a shell's unset variable, which leaves it empty, is an error."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} found; accepted: text that is not empty")
    return text


def option(default: Any, help: str, type: Any = free_text) -> Any:
    """A dataclass field that is a command-line option.

    Parameters
    ----------
    default
        None where the recipe of the data set decides.
    help : str
    type : callable
        Text to value; raises `argparse.ArgumentTypeError` saying what is accepted.
    """
    return dataclasses.field(default=default, metadata={"help": help, "type": type})


def whole(least: float, most: float | None = None) -> Any:
    """The type of an option that is a whole number from `least` to `most`."""
    return _checked(int, f"a whole number, {least} or more" + (f", at most {most}" if most else ""),
                    lambda value: least <= value and (most is None or value <= most))


def number(least: float, most: float = math.inf, *, above: bool = False) -> Any:
    """The type of an option that is a number from `least` (or above it) to `most`.

    Examples
    --------
    >>> number(0, 1)("0.5")
    0.5
    """
    words = f"a number above {least}" if above else f"a number, {least} or more"
    words += "" if most == math.inf else f", at most {most}"
    return _checked(float, words, lambda value: least <= value <= most and (value > least or not above)
                    and math.isfinite(value))


def size(text: str) -> str:
    """The type of an option that is a number of bytes: checked text, such as 500m or 4g."""
    try:
        bytes_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} found; accepted: {size.accepted}") from None
    return text


size.accepted = "bytes, as in 0, 500m or 4g"


def switch(text: str) -> Any:
    """The type of an option that is on where it is named and takes no value."""
    return {"False": False, "True": True}[text]


def one_of(choices: Any) -> Any:
    """The type of an option that is one of the strings `choices`."""
    return _checked(str, ", ".join(choices), lambda value: value in choices)


def device(text: str) -> str:
    """The type of an option that is a device: ``cpu``, ``cuda``, or ``auto``, which is cuda where there is one."""
    name = _checked(str, "cpu, cuda, or auto", re.compile(r"cpu|cuda(:\d{1,3})?|auto").fullmatch)(text)
    return cuda.best_device() if name == "auto" else name


def _checked(convert, accepted, passes):
    def parse_value(text):
        try:
            value = convert(text)
            if passes(value):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r} found; accepted: {accepted}")

    parse_value.accepted = accepted
    return parse_value


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        fail(message, self.prog)


def fail(message: str, program: str | None = None, status: int = 2) -> NoReturn:
    """End the program with one line on stderr; of several processes, all."""
    lines = " ".join(str(message).split("\n"))
    leave(f"{program or program_name()}: error: {shown(lines)}", status)


def program_name() -> str:
    """Name of the running script in messages."""
    return sys.argv[0].rpartition("/")[2] or "minidl"


def resume_command(folder: Path) -> str:
    """The command that goes on with the run in `folder`."""
    return f"python {program_name()} --resume {shown(shlex.quote(str(folder)))}"


@contextlib.contextmanager
def usage_errors(program: str | None = None) -> Any:
    """Inside, an error is the user's: a wrong value, file or device, said in one line with exit status 2."""
    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted", program, status=130)
    except MemoryError as error:
        fail(f"not enough memory: {error or 'a smaller batch or image needs less'}", program)
    except (ValueError, OSError, RuntimeError) as error:
        fail(_described(error), program)


def _described(error):
    if isinstance(error, OSError) and error.filename is not None:
        return f"{shown(error.filename)}: {error.strerror}"
    return str(error) or type(error).__name__


def parse(
    settings_type: type, recipes: Any, description: str | None = None, argv: Sequence[str] | None = None,
    presets: Any = None,
) -> Any:  # fmt: skip
    """The settings of a run: command line, then preset, then recipe, then defaults.

    Parameters
    ----------
    settings_type : dataclass
        Whose fields were made by `option`.
    recipes : dict
        Defaults by data set; "folder" is for folders of pictures.
    description : str, optional
        The text that ``--help`` shows above the options.
    argv : list of str, optional
        The default is the command line of this process.
    presets : dict, optional
        Values by the name that the option ``--preset`` gives, among them perhaps ``data``.

    Returns
    -------
    settings_type

    Raises
    ------
    SystemExit
        With status 2 and one line, where a value is wrong.
    """
    given = vars(_parser(settings_type, description).parse_args(argv))
    if given.get("resume"):
        with usage_errors():
            return _resumed(settings_type, given, saved_settings(given["resume"]))
    defaults = {f.name: f.default for f in dataclasses.fields(settings_type)}
    asked = (presets or {}).get(given.get("preset"), {}) | given
    values = {**defaults, **recipe_for(asked.get("data", defaults["data"]), recipes), **asked}
    if values.get("shards") == 0:
        values["shards"] = usual_shards()
    return settings_type(**values)


def recipe_for(data: Any, recipes: Any) -> Any:
    """The row of `recipes` for a data set's name, or "folder"."""
    name = ALIASES.get(data.lower(), data.lower())
    return recipes.get(name, recipes["folder"])


def _parser(settings_type, description):
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                     allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for f in dataclasses.fields(settings_type):
        kind = f.metadata["type"]
        if kind is switch:
            parser.add_argument(flag(f.name), action="store_true", help=f.metadata["help"])
            continue
        accepted = f"; {kind.accepted}" if hasattr(kind, "accepted") else ""
        default = "depends on the data" if f.default is None else f"default {f.default}"
        text = f"{f.metadata['help']} ({default}{accepted})"
        parser.add_argument(flag(f.name), type=kind, help=text.replace("%", "%%"), metavar=f.name.upper())
    return parser


def _check_saved(folder, name, value, kind):
    """Hold the settings of a file to those that the command line accepts."""
    try:
        fits = value is None or kind(str(value)) == value
    except (argparse.ArgumentTypeError, LookupError):
        fits = False
    if not fits:
        raise ValueError(f"{shown(folder)}: its configuration has {shown(value)} for `{name}`; accepted: "
                         f"{getattr(kind, 'accepted', kind.__name__)}")


def flag(name: str) -> str:
    """The option's spelling on the command line."""
    return "--" + name.replace("_", "-")


def _resumed(settings_type, given, saved):
    """The saved settings, after a check that `given` does not contradict them."""
    fields = {f.name: f for f in dataclasses.fields(settings_type)}
    missing = {name: fields[name].default for name in PER_RUN if name in fields}
    saved = missing | {name: value for name, value in ADDED.items() if name in fields} | saved
    for name in sorted(set(saved) ^ set(fields)):
        raise ValueError(f"the configuration of {shown(given['resume'])} does not fit this version: "
                         f"`{shown(name)}` is in one only")
    for name, value in saved.items():
        _check_saved(given["resume"], name, value, fields[name].metadata["type"])
    for name, value in given.items():
        if name not in PER_RUN and saved[name] != value:
            raise ValueError(f"`{flag(name)}` is {value} but {given['resume']} was started with {saved[name]}; "
                             "leave it out to resume, or start a new run")
    for name in [name for name in ("output", "overwrite") if name in given]:
        raise ValueError(f"`{flag(name)}` does not go with `--resume`: the run stays in its folder, and goes on")
    return settings_type(**{**saved, **given, "output": given["resume"]})
