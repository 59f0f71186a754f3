"""The plan of the house, enforced: who may import whom, and what may stand nowhere."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import HANG

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = "minidl/**/*.py", "models/*.py", "*.py", "benchmarks/**/*.py"
FILES = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
CORE = [path for path in FILES if path.is_relative_to(ROOT / "minidl")]
TREES = {path: ast.parse(path.read_text()) for path in FILES}

# room: the rooms that it may import from, itself apart
ALLOWED = {
    "once": set(),
    "memory": set(),
    "backend": {"memory"},
    "checks": {"backend"},
    "dispatch": {"backend"},
    "philox": {"dispatch", "backend"},
    "captured": {"tensor", "dispatch", "backend"},
    "cuda": {"backend"},
    "precision": {"cuda", "backend"},
    "random": {"philox", "backend"},
    "tensor": {"backend"},
    "ops": {"tensor", "dispatch", "backend", "random", "philox", "graph"},
    "nn": {"ops", "tensor", "dispatch", "backend", "random"},
    "optim": {"ops", "tensor", "dispatch", "backend"},
    "data": {"ops", "tensor", "dispatch", "backend", "philox"},
    "graph_layout": set(),
    "graph": {"graph_layout", "tensor"},
    "anomaly": {"nn", "ops", "tensor", "backend"},
    "gradcheck": {"anomaly", "graph", "nn", "ops", "tensor", "dispatch", "backend", "random"},
    "explain": {"nn", "data", "ops", "tensor", "backend"},
    "evaluation": {"nn", "data", "ops", "tensor", "backend"},
    "distributed": {"nn", "data", "ops", "tensor", "backend", "random"},
    "report": {"evaluation", "explain", "graph", "graph_layout", "nn", "data", "ops", "tensor", "backend"},
    "training": {
        "cuda", "distributed", "evaluation", "report", "anomaly", "nn", "optim", "data", "ops", "tensor", "dispatch",
        "backend", "random",
    },
    "onnx": {"nn", "ops", "tensor", "backend"},
    "serve": {"explain", "training", "data", "backend"},
    "tuning": {"distributed", "report", "data"},
    "pytest_plugin": {"gradcheck"},
    # The tour shows both storeys, and nothing imports it.
    "tour": {
        "kernels", "memory", "philox", "graph", "graph_layout", "gradcheck", "nn", "optim", "data", "ops", "tensor",
    },
    # The second storey: nothing above may import it.
    "kernels": {
        "captured", "precision", "nn", "optim", "ops", "tensor", "random", "philox", "dispatch", "backend", "memory",
    },
}
EVERYWHERE = {"checks", "once"}  # arguments are asked for in one way in all rooms, and what is made once is made so
TOP = {None, "__main__", "commands"}  # minidl/__init__.py gathers what users import; commands may call everything
HEAVY = set(
    "cupy cupyx numba llvmlite matplotlib sklearn scipy PIL pooch requests safetensors tqdm torch onnx onnxruntime"
    " starlette uvicorn optuna sqlalchemy tensorboard mpi4py threadpoolctl resource simplejpeg".split()
)


def name_of(path):
    return str(path.relative_to(ROOT))


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module):
    parts = module.split(".")
    return parts[1] if parts[0] == "minidl" and len(parts) > 1 else None


def imports_of(tree):
    """(line, module, is inside a function) of every import; ``from a import b`` is a.b where that is a module.

    Imports for type checkers alone are left out: they never run.
    """
    unread = {id(n) for branch in ast.walk(tree) if is_for_types(branch) for b in branch.body for n in ast.walk(b)}
    inner = {id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.Lambda)) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if id(node) in unread:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if is_module(name) else node.module for name in full]
        else:
            continue
        for name in names:
            yield node.lineno, name, id(node) in inner


def is_for_types(node):
    """Return whether this is ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id.endswith("TYPE_CHECKING")


def is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


each_file = pytest.mark.parametrize("path", FILES, ids=name_of)
each_core_file = pytest.mark.parametrize("path", CORE, ids=name_of)


@each_core_file
def test_rooms_import_only_what_the_plan_allows(path):
    room = room_of(module_of(path))
    if room in TOP:
        return
    assert room in ALLOWED, f"the plan has no room {room}"
    for line, module, _ in imports_of(TREES[path]):
        other = room_of(module)
        if module.split(".")[0] in ("models", "train", "benchmarks", "tests") or other in ("__main__", "commands"):
            raise AssertionError(f"{name_of(path)}:{line} imports {module}")
        if module.split(".")[0] == "minidl" and other not in (None, room):
            allowed = other in ALLOWED[room] | EVERYWHERE
            assert allowed, f"{name_of(path)}:{line}: {room} may not import {module}"


def test_there_are_no_import_cycles():
    graph = {
        module_of(path): {m for _, m, _ in imports_of(TREES[path]) if m.startswith("minidl.") and is_module(m)}
        for path in CORE
    }
    done, trail = set(), []

    def visit(module):
        assert module not in trail, "import cycle: " + " -> ".join(trail[trail.index(module) :] + [module])
        if module in done or module not in graph:
            return
        trail.append(module)
        for other in sorted(graph[module] - {module}):
            visit(other)
        trail.pop()
        done.add(module)

    for module in graph:
        visit(module)


@functools.cache
def is_heavy(module):
    """A third-party package that takes long to import, a module of one system only, or a file built on one."""
    if module.split(".")[0] in HEAVY:
        return True
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return path in TREES and any(is_heavy(m) for _, m, inside in imports_of(TREES[path]) if not inside)


@each_core_file
def test_imports_stand_at_the_top(path):
    for line, module, inside in imports_of(TREES[path]):
        excused = is_heavy(module) or path.name == "pytest_plugin.py"  # which every run of pytest loads
        assert excused or not inside, f"{name_of(path)}:{line}: import of {module} inside a function"


@each_core_file
def test_cupy_is_named_in_the_backend_only(path):
    if path.name == "backend.py":
        return
    for line, module, _ in imports_of(TREES[path]):
        assert module.split(".")[0] not in ("cupy", "cupyx"), f"{name_of(path)}:{line} imports {module}"


@each_core_file
def test_names_are_written_out(path):
    """No module or class gets a name from a string: grep, editors and type checkers find every one."""
    inside = {id(n) for f in ast.walk(TREES[path]) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(TREES[path]):
        where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "globals", f"{where} calls globals()"
            owner = node.args[0] if node.func.id == "setattr" else None
            of_class = isinstance(owner, ast.Name) and owner.id[0].isupper()
            assert owner is None or id(node) in inside and not of_class, f"{where} gives a class or module its names"
        if isinstance(node, ast.Assign) and id(node) not in inside:
            for target in node.targets:
                of_class = isinstance(target, ast.Attribute) and ast.unparse(target.value).split(".")[-1][0].isupper()
                assert not of_class, f"{where} adds {ast.unparse(target)} from outside of the class"


FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "imp"}
FORBIDDEN_CALLS = {"eval", "exec", "extractall", "compile", "__import__"}


@each_file
def test_nothing_runs_what_it_reads(path):
    for line, module, _ in imports_of(TREES[path]):
        assert module.split(".")[0] not in FORBIDDEN_MODULES, f"{name_of(path)}:{line} imports {module}"
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Call):
            bare = node.func.id if isinstance(node.func, ast.Name) else None
            method = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = bare if bare in FORBIDDEN_CALLS else method if method == "extractall" else None
            assert called is None, f"{name_of(path)}:{node.lineno} calls {called}"
            for keyword in node.keywords:
                unpickles = keyword.arg == "allow_pickle" and getattr(keyword.value, "value", True) is not False
                assert not unpickles, f"{name_of(path)}:{node.lineno} allows pickles"


@each_file
def test_no_absolute_paths(path):
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("/"):
            assert not node.value.startswith(("/home/", "/work/", "/tmp/", "/root/", "/Users/")), (
                f"{name_of(path)}:{node.lineno} holds the path {node.value}"
            )


def test_the_top_level_holds_what_the_plan_says():
    expected = {"minidl", "models", "benchmarks", "tests", "train.py", "setup.cfg", "README.md", "Makefile",
                "pyproject.toml", "LICENSE", ".ci", ".gitignore"}  # fmt: skip
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} <= expected


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=HANG)


def test_importing_minidl_is_light_and_quick():
    heavy = "numba llvmlite matplotlib sklearn scipy cupy torch PIL pooch tqdm safetensors".split()
    code = (
        "import sys, time, numpy\n"
        "begin = time.process_time()  # of this process alone: other tests may run beside it\n"
        "import minidl\n"
        f"print(time.process_time() - begin, *[name for name in {heavy} if name in sys.modules])"
    )
    results = [run_python(code) for _ in range(3)]
    assert all(result.returncode == 0 for result in results), results[0].stderr
    seconds, *loaded = zip(*(result.stdout.split() for result in results))
    assert not loaded and min(map(float, seconds)) < 0.5


def test_minidl_works_without_cupy_and_in_its_plain_form_without_numba():
    code = (
        "import os, sys; os.environ['MINIDL_KERNELS'] = 'plain'\n"
        "sys.modules.update(numba=None, llvmlite=None, cupy=None)\n"
        "import minidl\n"
        "x = minidl.ones(1, 1, 4, 4, requires_grad=True)\n"
        "minidl.conv2d(x, minidl.ones(2, 1, 3, 3)).relu().sum().backward()\n"
        "print(x.grad.sum().item())\n"
        "try: minidl.ones(1, device='cuda')\n"
        "except RuntimeError as error: print(error)\n"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "72.0" and "needs CuPy: pip install" in result.stdout


def code_lines(path):
    """Lines of code: neither blank, comment nor docstring."""
    tree, text = TREES[path], path.read_text().splitlines()
    strings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    return sum(1 for i, line in enumerate(text, 1) if line.strip() and line.strip()[0] != "#" and i not in strings)


MOST_ON_THE_PATH = 3500  # lines of code that a reader of the first storey has before them
OUTSIDE = {  # files of the path's rooms that teach nothing new
    "ops": "__init__ activations attention clipping collective comparison conv_transpose creation embedding extremes"
    " objectives products remainders resampling rescaling sampling scattering selecting sequences sorting tiling",
    "nn": "__init__ activations attention conv_transpose everyday folded inference padding sequences synchronised"
    " utils",
    "optim": "__init__ averaging cycles joint lookahead lr_scheduler muon onecycle plateau rmsprop schedules sequence",
    "tensor": "__init__",
}


def files_named_in(text):
    """The Python files that a part of the README links to."""
    return [ROOT / name for name in re.findall(r"\]\(([\w/]+\.py)\)", text)]


def test_the_reading_path_is_short_and_leaves_nothing_out(capsys):
    """The README names every file of the first storey's path, in order; together they can be read in a weekend."""
    section = (ROOT / "README.md").read_text().partition("## Reading it")[2].partition("## How to add")[0]
    table, _, rest = section.partition("What these stand on")
    path, helpers = files_named_in(table), files_named_in(rest.partition("The second storey")[0])
    counts = [sum(code_lines(file) for file in files) for files in (path, helpers)]
    with capsys.disabled():
        print(f"\nlines of code on the reading path: {counts[0]}, and {counts[1]} in what it stands on")
    assert len(set(path + helpers)) == len(path + helpers) and counts[0] <= MOST_ON_THE_PATH
    for room, outside in OUTSIDE.items():
        files = {file.stem for file in (ROOT / "minidl" / room).glob("*.py")}
        named = {file.stem for file in path + helpers if file.parent.name == room}
        assert not files - named - set(outside.split()), room
        assert not named & set(outside.split()), room


def test_files_and_functions_stay_short(capsys):
    long_files = {name_of(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 300}
    functions = [
        (node.end_lineno - node.body[0].lineno + 1 - _docstring_lines(node), f"{name_of(path)}:{node.name}")
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    rooms = {}
    for path in CORE:
        room = room_of(module_of(path)) or "minidl"
        rooms[room] = rooms.get(room, 0) + code_lines(path)
    with capsys.disabled():
        print("\nlines of code:", ", ".join(f"{room} {n}" for room, n in sorted(rooms.items())))
    assert not long_files
    assert sorted(functions)[len(functions) // 2][0] <= 5
    assert not [f for f in functions if f[0] > 45]


def _docstring_lines(node):
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return first.end_lineno - first.lineno + 1 if is_docstring else 0
