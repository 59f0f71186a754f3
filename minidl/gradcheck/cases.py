"""The table of cases: one row per differentiable op (and variant), over which every check runs.

A new op is one new row in ``rows_calculus.py``, ``rows_layers.py`` or ``rows_everyday.py``. The table serves the
command line (``python -m minidl gradcheck``) and the test suite alike.
"""

from __future__ import annotations

import difflib

import numpy as np

from minidl.backend import Array
from minidl.gradcheck.case import Case
from minidl.gradcheck.rows_calculus import ROWS_OF_CALCULUS
from minidl.gradcheck.rows_everyday import ROWS_OF_EVERYDAY
from minidl.gradcheck.rows_layers import ROWS_OF_LAYERS

CASES: list[Case] = ROWS_OF_CALCULUS + ROWS_OF_LAYERS + ROWS_OF_EVERYDAY


def cases_named(name: str) -> list[Case]:
    """The rows of one op (``"conv2d"``), or one row (``"conv2d/groups"``).

    Raises
    ------
    KeyError
        If there is no such row; the message offers similar names.

    Examples
    --------
    >>> [case.name for case in cases_named("softmax")]
    ['softmax', 'softmax/axis0']
    """
    found = [case for case in CASES if name in (case.name, case.op)]
    if not found:
        near = difflib.get_close_matches(name, sorted({case.op for case in CASES} | {case.name for case in CASES}))
        offer = f"; did you mean {', '.join(near)}?" if near else ""
        raise KeyError(f"`name` is {name!r}, which is no row of the table{offer}")
    return found


def inputs_of(case: Case, seed: int = 0) -> list[Array]:
    """The inputs of a case: float64 arrays that depend on its name and `seed` alone."""
    return case.make_inputs(np.random.default_rng([seed, *case.name.encode()]))
