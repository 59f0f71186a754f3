"""The graph of a `Value` as a picture: numbers, slopes at the arrows, and the backward walk in motion."""

from __future__ import annotations

from minidl.graph_layout import Box, arrange
from minidl.tour.drawing import Drawing, number
from minidl.tour.tape import ancestors

WIDTH, HEIGHT, ACROSS, DOWN = 116, 46, 1.1, 1.32  # of a box; stretch of the layout


def draw_tape(result, names, gradients=True):
    """The values that `result` was computed from.

    Parameters
    ----------
    result : Value
        After its ``backward()``.
    names : dict of str to Value
    gradients : bool
        Draw the walk, a step per value from young to old; otherwise numbers and slopes alone.
    """
    order = sorted(ancestors(result), key=lambda value: value.age)
    labels, boxes = {value: name for name, value in names.items()}, _boxes(order)
    drawing = Drawing(len(order) if gradients else 0)
    for value in order:
        for points, _, _ in _ways(value, boxes):
            drawing.line(points, "soft", 1.6, tips=1)
    for value in order:
        _value(drawing, value, boxes[value], labels.get(value, ""), gradients)
    for step, value in enumerate(order[::-1] if gradients else ()):
        _visit(drawing, step, value, boxes)
    drawing.always()
    for value in order:
        for points, slope, side in _ways(value, boxes):
            _slope(drawing, points[-2:], slope, side)
    return drawing


def _boxes(order):
    """A box for each value, placed; inputs on top."""
    boxes = {}
    for value in order:
        boxes[value] = Box(("x" * 15,) * 2, above=[boxes[parent] for parent in dict.fromkeys(value.parents)])
    arrange(list(boxes.values()))
    return boxes


def _ways(value, boxes):
    """(points, slope, side) of each arrow to a value; two from one parent lie side by side."""
    box, unique = boxes[value], list(dict.fromkeys(value.parents))
    for k, (parent, slope) in enumerate(zip(value.parents, value.slopes)):
        way = [box.above[unique.index(parent)]]
        while not way[-1].lines:
            way.append(way[-1].above[0])
        twice = len(unique) < len(value.parents)
        side = 2 * k - 1 if twice else 1 if way[0].x >= box.x else -1
        shift = 14 * side if len(value.parents) == 2 else 0
        bends = [(b.x * ACROSS, b.y * DOWN) for b in way[-2::-1]]
        top = way[-1].x * ACROSS + (shift if twice else 0), way[-1].y * DOWN + HEIGHT / 2
        yield [top, *bends, (box.x * ACROSS + shift, box.y * DOWN - HEIGHT / 2)], slope, side


def _slope(drawing, points, slope, side):
    """The slope next to the last piece of an arrow."""
    (x0, y0), (x1, y1) = points
    words = f"×{number(slope)}"
    drawing.text(x0 + 0.5 * (x1 - x0) + side * (6 + 3.3 * len(words)), y0 + 0.5 * (y1 - y0), words, "s h")


def _value(drawing, value, box, label, gradients):
    x, y = box.x * ACROSS, box.y * DOWN
    drawing.box(x - WIDTH / 2, y - HEIGHT / 2, WIDTH, HEIGHT, "" if value.parents else "soft")
    words = f"{label} = {number(value.number)}" if label else number(value.number)
    drawing.text(x, y - 10 if gradients else y, words, "t")
    if value.parents:
        drawing.text(x - WIDTH / 2 - 8 - 4 * len(value.name), y, value.name, "w h")


def _visit(drawing, step, value, boxes):
    """One step of the walk: the value is marked, its gradient stands, and arrows lead to its parents."""
    x, y = boxes[value].x * ACROSS, boxes[value].y * DOWN
    drawing.since(step).text(x, y + 11, f"gradient {number(value.grad)}", "s")
    drawing.during(step).box(x - WIDTH / 2 - 3, y - HEIGHT / 2 - 3, WIDTH + 6, HEIGHT + 6, "b", 3)
    for points, _, _ in _ways(value, boxes):
        drawing.line(points[::-1], "b", 2.4, tips=1)
