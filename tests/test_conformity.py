"""PyTorch's own samples of operators, modules and optimisers: equal, refused clearly, or different on purpose.

Counts stand at the end of the run; the deliberate differences, with reasons, in ``conformity_table.py``.
"""

import collections

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("expecttest", reason="PyTorch is not installed with what its own samples need, expecttest")

import minidl  # noqa: E402
from conformity import KINDS, Verdict, is_clear, judge, judge_all, operators, refusal_of, verdict_of  # noqa: E402
from conformity_table import DIFFERENCES  # noqa: E402
from conformity_training import judge_modules, judge_optimisers  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
LEAST = 0.97  # share of the samples that PyTorch accepts which are equal

PARTS = {"operators": judge_all, "modules": judge_modules, "optimisers": judge_optimisers}
EXTENTS = [pytest.param(3, id="a_third"), pytest.param(1, id="all", marks=pytest.mark.slow)]


def excused(verdicts):
    """The verdicts, those about deliberate differences renamed, and the rows of the table that were needed."""
    rows, used = [], set()
    for verdict in verdicts:
        row = next((d for d in DIFFERENCES if verdict.kind == "differs" and d.excuses(verdict)), None)
        if row:
            used.add(row)
            verdict = Verdict(verdict.operator, verdict.sample, "on purpose", verdict.text)
        rows.append(verdict)
    return rows, used


def line(part, verdicts, counts):
    """The counts in words, for the end of the run."""
    names = len({verdict.operator for verdict in verdicts})
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in (*KINDS[:-1], "on purpose", "differs"))
    return f"{len(verdicts):6} samples of {names:3} {part:<11} {kinds}"


@pytest.mark.parametrize("every", EXTENTS)
@pytest.mark.parametrize("part", PARTS)
def test_samples_are_equal_refused_or_different_on_purpose(part, every, record_property):
    verdicts, used = excused(PARTS[part](every))
    counts = collections.Counter(verdict.kind for verdict in verdicts)
    record_property("conformity", line(part, verdicts, counts))
    wrong = [str(verdict) for verdict in verdicts if verdict.kind == "differs"]
    assert not wrong, f"{len(wrong)} samples differ:\n" + "\n".join(wrong[:40])
    accepted = sum(counts.values()) - counts["both refuse"]
    assert counts["equal"] >= LEAST * accepted, f"{counts['equal']} of {accepted} samples are equal"
    if every == 1 and part == "operators":
        assert used == set(DIFFERENCES), "rows of the table that excuse nothing"


# ---------------------------------------------------------------- the judge itself


WRONG = {  # in what: a square that is wrong in it alone
    "value": lambda x: x * x * 1.0001,
    "shape": lambda x: (x * x).unsqueeze(0),
    "dtype float16": lambda x: (x * x).astype("float16"),
    "gradient 0": lambda x: x * x.detach(),
    "second derivative 0": lambda x: 2 * x * x.detach() - (x * x).detach(),
    "requires_grad False": lambda x: (x * x).detach(),
    "2 outputs instead of 1": lambda x: (x * x, x),
    "int instead of a Tensor": lambda x: 1,
    "AttributeError": lambda x: x.nothing,
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_operator_is_noticed(what):
    (info,) = [info for info, _ in operators() if info.name == "square"]
    found = [verdict for verdict in judge(info, WRONG[what]) if verdict.sample.startswith("float64[20")]
    assert found and all(verdict.kind == "differs" and what in verdict.text for verdict in found)
    assert {verdict.kind for verdict in judge(info, minidl.square)} == {"equal"}


def test_a_row_of_the_table_excuses_no_other_difference():
    for row in DIFFERENCES:
        assert not row.excuses(Verdict("relu", "float64[2]", "differs", "value: 1 instead of 0"))


def test_an_error_from_inside_is_no_clear_refusal():
    assert verdict_of("add", "", lambda: None.data).kind == "differs"
    assert verdict_of("add", "", lambda: minidl.Tensor([1.0]).data.reshape(3)).kind == "differs"
    assert verdict_of("dropout", "", lambda: minidl.dropout(minidl.ones(1), 2.0)).kind == "refused"
    assert verdict_of("dropout", "", lambda: minidl.dropout(minidl.ones(1), chance=2.0)).kind == "refused"


def test_what_pytorch_refuses_is_to_be_refused():
    assert refusal_of("dropout", "", "", lambda: minidl.dropout(minidl.ones(1), 2.0)).kind == "both refuse"
    assert refusal_of("dropout", "", "probability", lambda: minidl.ones(1)).kind == "differs"
    assert not is_clear(ValueError("`x` from no file of minidl"))
