"""The style of the house as far as a program sees it: lines that fit, and docstrings on all public names."""

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = "minidl", "models", "benchmarks", "tests"
FILES = [ROOT / "train.py", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
COLUMNS = 120
WIDE = 1  # the printed table of products, as a doctest
CHAPTERS = "chapters", "solutions"  # of the tour: the text between their listings tells what they do
TAUGHT = [p for p in FILES if p.parent.name not in CHAPTERS and not p.is_relative_to(ROOT / "tests")]


def name_of(path):
    return str(path.relative_to(ROOT))


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text())


def test_lines_fit():
    lines = [(path, i, line) for path in FILES for i, line in enumerate(path.read_text().splitlines(), 1)]
    wide = [f"{name_of(path)}:{i}" for path, i, line in lines if len(line) > COLUMNS]
    assert len(wide) <= WIDE, wide


def is_public(node):
    return isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_")


def is_repeated(node):
    """Return whether this is a property's setter or an overload, which the documented function stands next to."""
    return any(ast.unparse(decorator).endswith((".setter", "overload")) for decorator in node.decorator_list)


@functools.cache
def classes():
    """The classes of the house by name, of which several may have the same."""
    found = {}
    for path in TAUGHT:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


def inherits(owner, name, seen=()):
    """Return whether a base of the class documents its method `name`: ``help`` shows that docstring."""
    bases = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in owner.bases} - set(seen)
    parents = [parent for base in bases for parent in classes().get(base, ())]
    if any(is_public(m) and m.name == name and ast.get_docstring(m) for parent in parents for m in parent.body):
        return True
    return any(inherits(parent, name, (*seen, *bases)) for parent in parents)


def without_docstring(tree):
    """The public functions, classes and methods that neither have nor inherit one."""
    for node in filter(is_public, tree.body):
        if not ast.get_docstring(node) and not is_repeated(node):
            yield node.name
        for method in filter(is_public, node.body if isinstance(node, ast.ClassDef) else ()):
            if not (ast.get_docstring(method) or is_repeated(method) or inherits(node, method.name)):
                yield f"{node.name}.{method.name}"


def test_public_names_have_docstrings():
    assert not [f"{name_of(path)}: {name}" for path in TAUGHT for name in without_docstring(tree_of(path))]


def test_a_missing_docstring_is_found():
    code = 'class A(Function):\n    def forward(self): ...\n    def other(self): ...\n\n\ndef f(): "What it does."\n'
    assert list(without_docstring(ast.parse(code))) == ["A", "A.other"]
