"""The tour: each chapter runs, its hole is open and its solution fills it; the book stands alone."""

import ast
import functools
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from html_checks import Reader

import minidl
import models
from minidl import __main__ as command_line
from minidl.dispatch import using
from minidl.tour import googlenet
from minidl.tour.book import body_of, build
from minidl.tour.cells import chapters, read_cells, solution_of, title_of
from minidl.tour.drawing import Drawing
from minidl.tour.glossary import TERMS
from minidl.tour.markdown import inline, to_html
from minidl.tour.pieces import Picture, Prediction, verdict
from minidl.tour.source_map import draw_map, reduced, rooms
from minidl.tour.stage import Stage
from minidl.tour.tape import Value

ROOT = Path(__file__).resolve().parents[1]
SLOW = (5, 10, 11)  # chapters of more than three seconds
KERNELS = (12, 14, 15, 16)  # chapters about the second storey
CHAPTERS = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in chapters()]
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS)


def forms_of(chapter):
    """The plain forms of operations for a quick chapter of the first storey: nothing is compiled for it."""
    return using("fast" if chapter in SLOW + KERNELS else "plain")


@functools.cache
def performed(chapter):
    """The performance of a chapter."""
    with forms_of(chapter):
        return Stage(chapters()[chapter]).perform()


@each_chapter
def test_a_chapter_asks_shows_and_ends_in_a_hole(chapter):
    stage = performed(chapter)
    pieces = [piece for _, shown in stage.scenes for piece in shown]
    pictures = [piece for piece in pieces if isinstance(piece, Picture)]
    assert sum(isinstance(piece, Prediction) for piece in pieces) >= 2 and pictures
    assert all(len(picture.alt) > 60 for picture in pictures)
    assert [exercise.hint for exercise in stage.exercises if exercise.hint] and pieces[-1] is stage.exercises[-1]


@each_chapter
def test_holes_are_open_and_solutions_fill_them(chapter):
    path = chapters()[chapter]
    solution = runpy.run_path(str(solution_of(path)))
    for exercise in performed(chapter).exercises:
        name = exercise.hole.__name__
        assert _has_hole(path, name) and not _has_hole(solution_of(path), name)
        assert exercise.hint is not None and "Traceback" not in exercise.hint
        with forms_of(chapter):
            assert verdict(exercise.check, solution[name]) is None
            hint = verdict(exercise.check, solution["mistake"])
        assert hint is not None and hint != exercise.hint and not hint.startswith(("TypeError", "NameError")), hint
        print(hint)


def _has_hole(path, name):
    """True where the definition of `name` has ``...`` for a statement."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (definition,) = [node for node in tree.body if getattr(node, "name", None) == name]
    dots = [node for node in ast.walk(definition) if isinstance(node, ast.Expr)]
    return any(isinstance(node.value, ast.Constant) and node.value.value is Ellipsis for node in dots)


@each_chapter
def test_a_page_is_well_formed_and_needs_no_other_file(chapter):
    body = body_of(performed(chapter))
    reader = Reader(body)
    assert not {"script", "link", "iframe"} & set(reader.seen) and reader.seen.count("h1") == 1
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert all(value.startswith("#") for name, value in reader.attributes if name in ("src", "href"))
    assert len(body) < 400_000


def test_results_are_folded_away_under_their_prediction():
    body = body_of(performed(4))
    asked, _, rest = body.partition('<details class="ask">')
    folded, _, after = rest.partition("</details>")
    assert "[101.0, 202.0, 303.0]" in folded and "<figure>" in folded and "It had to be a sum" in after
    assert "101" not in asked


def test_numbers_of_chapters_are_in_order():
    assert list(chapters()) == sorted(chapters()) and len({title_of(p) for p in chapters().values()}) == len(chapters())
    assert all(solution_of(path).is_file() for path in chapters().values())


def test_emphasis_reaches_over_code():
    assert inline("**1. `s`.** is *for every `x * y`* **so**") == (
        "<strong>1. <code>s</code>.</strong> is <em>for every <code>x * y</code></em> <strong>so</strong>"
    )
    assert inline("`a *b` and `c* <d`") == "<code>a *b</code> and <code>c* &lt;d</code>"


def test_no_mark_of_markdown_is_left_on_a_page():
    for path in chapters().values():
        for cell in read_cells(path):
            if cell.kind == "text":
                words = re.sub(r"<(code|pre).*?</\1>", "", to_html(cell.source), flags=re.DOTALL)
                assert not re.findall(r".{0,30}[*`].{0,30}", words), path


def test_lines_of_chapters_fit_a_page():
    for path in chapters().values():
        for cell in Stage(path).cells:
            assert all(len(line) <= 92 for line in (cell.shown.splitlines() if cell.kind == "code" else ())), path


def test_the_book_stands_alone(tmp_path):
    build(tmp_path, [1, 2], tell=lambda line: None)
    pages = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert pages.keys() == {"index.html", "01.html", "02.html", "glossary.html", "map.html"}
    for text in pages.values():
        reader = Reader(text)
        links = {value for name, value in reader.attributes if name == "href"}
        assert links <= pages.keys() and "index.html" in links
        assert not set(re.findall(r"https?://[^\s\"'<)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert "prefers-color-scheme:dark" in text and "width=device-width" in text and "<script" not in text
        names = re.findall(r'\bid="([^"]+)"', text)
        assert len(names) == len(set(names))
    assert '<a href="02.html">' in pages["01.html"] and "prefers-reduced-motion" in pages["02.html"]


def test_a_chapter_is_plain_python(tmp_path):
    process = subprocess.run([sys.executable, chapters()[1]], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0 and process.stderr == "" and "not solved yet" in process.stdout


def test_a_traceback_names_the_line_of_the_chapter(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text('# %% [markdown]\n# # Mine\n\n# %%\nprint("before")\n\n# %%\n1 / 0\n')
    heard = []
    with pytest.raises(ZeroDivisionError) as error:
        Stage(path, heard.append).perform()
    assert error.traceback[-1].lineno == 7 and heard[2].text == "before"


def test_output_belongs_to_the_cell_that_makes_it(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text('# %%\ndef f():\n    print("f")\n\n# %% [markdown]\n# words\n\n# %%\nf()\nprint("g")\n')
    scenes = Stage(path).perform().scenes
    assert [[piece.text for piece in pieces] for _, pieces in scenes] == [[], [], ["f\ng\n"]]


# ---------------------------------------------------------------- the command


def test_the_command_lists_runs_and_copies(tmp_path, capsys):
    assert command_line.main(["tour"]) == 0
    assert all(title_of(path) in capsys.readouterr().out for path in list(chapters().values())[:1])
    assert command_line.main(["tour", "--copy", str(tmp_path)]) == 0
    mine = tmp_path / chapters()[1].name
    mine.write_text(mine.read_text().replace("    ...\n", "    return 1 / (1 + math.exp(-x))\n"))
    assert command_line.main(["tour", "--copy", str(tmp_path)]) == 0  # keeps what was written
    capsys.readouterr()
    assert command_line.main(["tour", str(mine)]) == 0
    assert capsys.readouterr().out.endswith("1 of 1 exercises solved\n")
    assert command_line.main(["tour", "1", "--solution"]) == 0
    assert "math.exp(-x)" in capsys.readouterr().out


@pytest.mark.parametrize("chapter", ["99", "0", "nothing.py"])
def test_a_chapter_that_is_not_there_is_one_line(chapter, capsys):
    with pytest.raises(SystemExit) as exit:
        command_line.main(["tour", chapter])
    err = capsys.readouterr().err
    assert exit.value.code == 2 and err.count("\n") == 1 and "`chapter`" in err


def test_importing_minidl_leaves_the_tour_alone():
    code = "import sys, minidl; print([name for name in sys.modules if name.startswith('minidl.tour')])"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert process.stdout.strip() == "[]"


# ---------------------------------------------------------------- glossary, map, tape, pictures


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.term)
def test_a_term_lives_where_the_glossary_says(term):
    text = re.sub(r"[\W_]+", " ", (ROOT / term.place).read_text(encoding="utf-8").lower())
    assert re.sub(r"[\W_]+", " ", term.term.lower()) in text and term.chapter in chapters()


def test_the_map_is_current():
    current = (ROOT / "benchmarks" / "figures" / "map.svg").read_text(encoding="utf-8") == draw_map()
    assert current, "the imports have changed: python -m minidl tour --map benchmarks/figures/map.svg"


def test_the_map_shows_every_way():
    whole = rooms()
    assert {"tensor", "ops", "nn", "kernels"} <= whole.keys() and "kernels" not in whole["ops"]

    def reached(graph, room):
        return graph[room].union(*(reached(graph, other) for other in graph[room]))

    fewest = reduced(whole)
    assert all(reached(fewest, room) == reached(whole, room) for room in whole)
    assert sum(map(len, fewest.values())) < sum(map(len, whole.values()))


def test_the_tape_agrees_with_minidl():
    rng = np.random.default_rng(0)

    def f(a, b, c):
        d = a * b + c
        return (d * d - a).tanh() * d + 2.0 * b

    for numbers in rng.uniform(-1, 1, (20, 3)):
        values, tensors = [Value(x) for x in numbers], [minidl.tensor(x, requires_grad=True) for x in numbers]
        f(*values).backward()
        f(*tensors).backward()
        assert [v.grad for v in values] == pytest.approx([t.grad.item() for t in tensors], rel=1e-12)


def test_the_small_googlenet_is_that_of_the_models():
    assert googlenet.BLOCKS == models.googlenet.BLOCKS
    count = sum(p.numel() for p in googlenet.googlenet(inputs=3).parameters())
    assert count == sum(p.numel() for p in models.GoogLeNet("cifar").parameters())


def test_a_moving_picture_stands_still_where_motion_is_unwanted():
    drawing = Drawing(2)
    drawing.since(1).text(0, 0, "stays")
    drawing.during(0).text(0, 0, "goes")
    svg = str(drawing)
    assert svg.count("@media(prefers-reduced-motion:no-preference)") == 2 and "[class^=during]{opacity:0}" in svg
    assert "@keyframes since1of2{0%,33.33%{opacity:0}33.34%,100.00%{opacity:1}}" in svg
