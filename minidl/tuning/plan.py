"""The file of a sweep: which settings of train.py are fixed, which are searched, and how long.

    [sweep]
    trials = 20
    storage = digits.journal          # or sqlite:///digits.db, or postgresql://USER:PASSWORD@HOST/NAME,
                                      # which needs a driver: pip install 'psycopg[binary]'

    [fixed]
    data = digits
    epochs = 4

    [search]
    lr = 0.01 .. 1, log               # numbers from .. to, whole where both ends are
    optimizer = sgd, adamw            # or a choice

Names are those of train.py's options, whose own checks tell right values from wrong.
"""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidl.data.errors import check, shown

OWN = ("output", "overwrite", "resume", "lr_find", "checkpoint_every")  # the sweep's affair
KNOWN: dict[str, str | None] = {"trials": "20", "storage": None, "pruning": "yes", "seed": "0"}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, whole if both are, evenly spread over their logarithms if `log`."""

    low: float
    high: float
    log: bool = False

    def ask(self, trial: Any, name: str) -> Any:
        """A value for one trial."""
        suggest = trial.suggest_int if isinstance(self.low, int) else trial.suggest_float
        return suggest(name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of several texts."""

    values: tuple[Any, ...]

    def ask(self, trial: Any, name: str) -> Any:
        """A value for one trial."""
        return trial.suggest_categorical(name, self.values)


@dataclass(frozen=True)
class Plan:
    """A sweep as its file describes it; `search` maps names of options to a `Range` or `Choice`."""

    name: str
    trials: int
    storage: str
    pruning: bool
    seed: int
    fixed: dict[str, Any]
    search: dict[str, Range | Choice]


def read_plan(path: Path | str) -> Plan:
    """The `Plan` in the file at `path`.

    Raises
    ------
    ValueError
        A missing file, an unknown section or name, a range that is none: one line.
    """
    path = Path(path)
    check(
        path.is_file() and path.stat().st_size < 1 << 20, f"{shown(path)}: there is no such file, or a very large one"
    )
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",), default_section="")
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{shown(path)}: {shown(str(error).partition(chr(10))[0])}") from None
    unknown = set(parser.sections()) - {"sweep", "fixed", "search"}
    check(
        not unknown, f"{shown(path)}: section [{shown(min(unknown, default=''))}]; accepted: [sweep], [fixed], [search]"
    )
    sections = {name: {key.replace("-", "_"): value.strip() for key, value in parser[name].items()}
                for name in parser.sections()}
    search = {name: _domain(path, name, text) for name, text in sections.get("search", {}).items()}
    check(search, f"{shown(path)}: section [search] is missing or empty; write, for example, lr = 0.01 .. 1, log")
    fixed = sections.get("fixed", {})
    for name in (*search, *fixed):
        check(name not in OWN, f"{shown(path)}: `{name}` is the sweep's own affair")
    check(
        not set(search) & set(fixed),
        f"{shown(path)}: `{shown(min(set(search) & set(fixed), default=''))}` is fixed and searched",
    )
    return Plan(path.stem, fixed=fixed, search=search, **_settings(path, sections.get("sweep", {})))


def _settings(path, given):
    unknown = set(given) - set(KNOWN)
    check(not unknown, f"{shown(path)}: `{shown(min(unknown, default=''))}` in [sweep]; accepted: {', '.join(KNOWN)}")
    given = {**KNOWN, **given}
    for name in ("trials", "seed"):
        check(
            given[name].isdecimal() and len(given[name]) < 10,
            f"{shown(path)}: `{name}` is {shown(given[name])}; accepted: a whole number",
        )
    check(
        given["pruning"] in ("yes", "no"), f"{shown(path)}: `pruning` is {shown(given['pruning'])}; accepted: yes, no"
    )
    storage = given["storage"] or f"{path.stem}.journal"
    storage = storage if "://" in storage else str(path.parent / storage)
    return dict(
        trials=int(given["trials"]), seed=int(given["seed"]), pruning=given["pruning"] == "yes", storage=storage
    )


NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"


def _domain(path, name, text):
    """Content of a line of [search]."""
    where = f"{shown(path)}: `{shown(name)}` is {shown(text)}"
    found = re.fullmatch(rf"({NUMBER})\s*\.\.\s*({NUMBER})\s*(,\s*log)?", text)
    if found is None:
        values = tuple(value.strip() for value in text.split(","))
        check(
            len(set(values)) > 1 and all(values),
            f"{where}; accepted: LOW .. HIGH, LOW .. HIGH, log, or values with commas between",
        )
        return Choice(values)
    kind = int if all(re.fullmatch(r"[-+]?\d+", end) for end in found.group(1, 2)) else float
    low, high, log = kind(found[1]), kind(found[2]), bool(found[3])
    check(low < high and (low > 0 or not log), f"{where}; accepted: the lower end first, above 0 for log")
    return Range(low, high, log)
