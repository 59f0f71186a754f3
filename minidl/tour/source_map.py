"""The map of the source: which room imports which, read from the files, drawn in layers.

Rooms are the files and folders of the package. An arrow that a longer way implies is left out (the transitive
reduction of the graph), so the picture shows the fewest arrows that tell the whole order.
"""

from __future__ import annotations

import ast
from pathlib import Path

from minidl.graph import write_svg
from minidl.graph_layout import Box, arrange

PACKAGE = Path(__file__).parents[1]
LEFT_OUT = {"__init__", "checks", "once", "pytest_plugin", "tour"}  # imported everywhere, or doors
COLOURS = {"tensor": "#d6e4f5", "ops": "#d6e4f5", "nn": "#dcefdc", "optim": "#dcefdc", "kernels": "#f8e9b0"}


def rooms(package=PACKAGE):
    """{room: set of the rooms that it imports}.

    Examples
    --------
    >>> "tensor" in rooms()["ops"], "ops" in rooms()["tensor"]
    (True, False)
    """
    found = {}
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).with_suffix("").parts[0]
        if room not in LEFT_OUT:
            found.setdefault(room, set()).update(_imported(path, package) - {room})
    return {room: others & found.keys() for room, others in found.items()}


def _imported(path, package):
    """Rooms that one file imports."""
    names, tree = set(), ast.parse(path.read_text(encoding="utf-8"))
    unread = {id(n) for branch in ast.walk(tree) if _for_types(branch) for b in branch.body for n in ast.walk(b)}
    for node in ast.walk(tree):
        if id(node) in unread:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith(f"{package.name}.")}


def _for_types(node):
    """True for ``if TYPE_CHECKING:``: what stands under it never runs."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def reduced(graph):
    """The graph without the arrows that longer ways imply.

    Examples
    --------
    >>> reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    {'a': {'b'}, 'b': {'c'}, 'c': set()}
    """
    def implied(room, others):
        return any(room in _reached(graph, other) for other in others - {room})

    return {room: {o for o in others if not implied(o, others)} for room, others in graph.items()}


def _reached(graph, room):
    """All rooms that `room` imports, directly or by way of others."""
    found, todo = set(), [room]
    while todo:
        new = graph[todo.pop()] - found
        found |= new
        todo += new
    return found


def draw_map(package=PACKAGE):
    """The map as SVG; the same bytes for the same imports."""
    arrows, boxes = reduced(rooms(package)), {}
    while len(boxes) < len(arrows):
        ready = [room for room in sorted(arrows) if room not in boxes and arrows[room] <= boxes.keys()]
        if not ready:
            raise ValueError(f"rooms import each other in a circle: {', '.join(sorted(arrows.keys() - boxes.keys()))}")
        for room in ready:
            boxes[room] = Box((room,), COLOURS.get(room, "#eceff1"), [boxes[other] for other in sorted(arrows[room])])
    return write_svg(arrange(list(boxes.values())))
