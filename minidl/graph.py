"""`draw_graph`: the computation graph of a tensor as an SVG picture, from input to output.

The graph is read from the nodes of the tensor, laid out in layers (``graph_layout.py``), and written as text: no
other program is needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from minidl.graph_layout import GAP, LINE, Box, arrange
from minidl.tensor import Tensor, edge_of, enable_grad, grad

# colour of a box by the kind of operation: that of the first row with a word that is in the name
FAMILIES: dict[str, tuple[str, ...]] = {
    "#d6e4f5": ("Conv", "MatMul", "Linear", "Im2Col", "Col2Im"),
    "#dcefdc": ("Norm",),
    "#fde3cf": ("Relu", "Sigmoid", "Tanh", "Elu", "Softmax", "Softplus"),
    "#f3d9e8": ("Pool", "Extreme"),
    "#f8e9b0": ("Concat", "Branches"),
    "#e4dcf4": ("Entropy", "Dropout"),
}
PLAIN, LEAF, RESULT = "#eceff1", "#ffffff", "#cfd8dc"
MOST = 6  # numbers of a tensor that are written into its box


def draw_graph(
    tensor: Tensor, path: str | os.PathLike[str] | None = None, params: Any = None,
    expand: Sequence[str] = ("BranchesOp",), values: Mapping[str, Tensor] | None = None,
) -> str:
    """The graph that computed `tensor`, as SVG.

    Parameters
    ----------
    tensor : Tensor or tuple of Tensor
        Results that require grad; their graph must not have been freed for `expand` to work.
    path : str or path, optional
        File for the picture.
    params : dict of str to Tensor, or Module, optional
        Names of leaves, such as ``dict(model.named_parameters())``. A named parameter is a line in
        the box of the operation that uses it; other leaves are boxes.
    expand : sequence of str
        Fused operations that are drawn as their definition, when their inputs are still there.
    values : dict of str to Tensor, optional
        Tensors of a small graph whose names, values and gradients are written into their boxes: those of the
        (one-element) `tensor` with respect to them. Of more than six numbers there is the shape alone.

    Returns
    -------
    str
        The SVG.

    Raises
    ------
    ValueError
        If the tensor has no graph, or one of `values` is no part of it.

    Examples
    --------
    >>> import minidl
    >>> x = minidl.tensor([1.0, 2.0], requires_grad=True)
    >>> draw_graph((x * x).sum())[:4]
    '<svg'
    """
    results = [tensor] if isinstance(tensor, Tensor) else [t for t in tensor if isinstance(t, Tensor)]
    if not any(t.node for t in results):
        raise ValueError("`tensor` has no graph: compute it from a tensor that requires grad, outside of no_grad()")
    named = params.named_parameters() if hasattr(params, "named_parameters") else (params or {}).items()
    reader = _Reader({id(p): name for name, p in named}, expand)
    reader.annotate(results, values or {})
    boxes = reader.read(results)
    svg = write_svg(arrange(boxes))
    if path is not None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(svg)
    return svg


# ---------------------------------------------------------------- reading the graph


class _Reader:
    """Walks from the results back, making one box per operation and leaf."""

    def __init__(self, names, expand):
        self.names, self.expand = names, expand
        self.boxes, self.unfolded, self.notes = {}, {}, {}

    def annotate(self, results, values):
        """Note name, value and gradient of the tensors of `values`, to be written into their boxes."""
        if values and any(result.data.size != 1 for result in results):
            raise ValueError(f"`values` needs one number to differentiate; `tensor` has shape {results[0].shape}")
        wanted = {name: x for name, x in values.items() if x.requires_grad}
        found = grad(results, list(wanted.values()), retain_graph=True, allow_unused=True) if wanted else ()
        gradients = dict(zip(wanted, found))
        for name, x in values.items():
            if gradients.get(name) is None:
                raise ValueError(f"`values` names {name!r}, which is no part of the graph of `tensor`")
            lines = f"{name} = {_numbers(x)}", f"gradient {_numbers(gradients[name])}"
            self.notes[self.key(edge_of(x))] = lines if x.data.size <= MOST else (name,)

    def read(self, results):
        """All boxes, inputs before results."""
        for k, result in enumerate(results):
            if result.node is not None:
                name = "output" if len(results) == 1 else f"output {k}"
                above = self.box_of(edge_of(result))
                self.boxes[name] = Box((name, _shape(result.shape)), RESULT, [above])
        return list(self.boxes.values())

    def box_of(self, edge):
        """The box at which an edge begins; boxes above it are made as well, without recursion."""
        edge = self.resolve(edge)
        todo = [edge]
        while todo:
            missing = [e for e in self.inputs(todo[-1].node) if self.key(e) not in self.boxes]
            if missing and self.key(todo[-1]) not in self.boxes:
                todo += missing[::-1]
                continue
            done = todo.pop()
            if self.key(done) not in self.boxes:
                self.boxes[self.key(done)] = self.new_box(done)
        return self.boxes[self.key(edge)]

    def new_box(self, edge):
        node, shape = edge.node, _shape(edge.shape)
        notes = self.notes.get(self.key(edge), ())
        shape = () if len(notes) == 2 else (shape,)
        if node is None:
            return Box((notes or (self.names.get(id(edge.leaf), "input"),)) + shape, LEAF)
        own = [f"{self.names[id(e.leaf)]} {_shape(e.shape)}" for e in filter(None, node.edges) if self.is_parameter(e)]
        above = [self.boxes[self.key(e)] for e in self.inputs(node)]
        return Box((node.name, *notes, *own, *shape), _colour(node.name), above)

    def inputs(self, node):
        """The edges to draw above an operation: not those to its parameters."""
        edges = () if node is None else filter(None, node.edges)
        return [self.resolve(e) for e in edges if not self.is_parameter(e)]

    def is_parameter(self, edge):
        return edge.node is None and id(edge.leaf) in self.names

    def key(self, edge):
        return id(edge.leaf if edge.node is None else edge.node)

    def resolve(self, edge):
        """The edge to the result of the definition, in place of one to a fused operation that is to be expanded."""
        node = edge.node
        if node is None or node.name not in self.expand or not hasattr(node, "definition"):
            return edge
        if node not in self.unfolded:
            self.unfolded[node] = _unfold(node)
        results = self.unfolded[node]
        return edge if results is None else edge_of(results[edge.index])


def _unfold(node):
    """Outputs of the definition of a fused operation, computed from its saved inputs; None if these were freed."""
    try:
        saved = iter(node.saved_tensors)
    except RuntimeError:
        return None
    with enable_grad():
        return node.definition(*[next(saved) if given else None for given in node.given], **node.options)


def _numbers(tensor):
    """The numbers of a small tensor, short."""
    return " ".join(f"{value:.4g}" for value in tensor.detach().flatten().tolist())


def _shape(shape):
    return " × ".join(map(str, shape)) if shape else "one number"


def _colour(name):
    return next((colour for colour, words in FAMILIES.items() if any(word in name for word in words)), PLAIN)


# ---------------------------------------------------------------- SVG

STYLE = (
    ".graph text{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;text-anchor:middle;fill:#37474f}"
    ".graph .name{font-weight:bold;fill:#102027}.graph .arrow{fill:none;stroke:#78909c;stroke-width:1.3}"
    ".graph rect{stroke:#90a4ae}"
)
HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0.8L8 4L0 7.2z" fill="#78909c"/></marker></defs>'
)


def write_svg(layers: list[list[Box]]) -> str:
    """The SVG picture of boxes that have been placed."""
    boxes = [box for layer in layers for box in layer]
    width = max(b.x + b.width / 2 for b in boxes) + GAP
    height = max(b.y + b.height / 2 for b in boxes) + GAP
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    parts = [f'<svg class="graph" xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{STYLE}</style>", HEAD]
    parts.append('<rect width="100%" height="100%" fill="white" style="stroke:none"/>')
    parts += [_arrow(box, k) for box in boxes if box.lines for k in range(len(box.above))]
    parts += [_box(box) for box in boxes if box.lines]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _box(box):
    left, top = box.x - box.width / 2, box.y - box.height / 2
    size = f'width="{box.width:.1f}" height="{box.height:.1f}"'
    rect = f'<rect x="{left:.1f}" y="{top:.1f}" {size} rx="5" fill="{box.colour}"/>'
    lines = []
    for k, line in enumerate(box.lines):
        kind = "name" if k == 0 else "note"
        lines.append(f'<text class="{kind}" x="{box.x:.1f}" y="{top + (k + 1) * LINE:.1f}">{escape(line)}</text>')
    return f"<g>{rect}{''.join(lines)}</g>"


def _arrow(box, k):
    """A smooth line from the box above, through the bends, to the top of `box`."""
    points = [(box.x, box.y - box.height / 2)]
    above = box.above[k]
    while not above.lines:
        points += [(above.x, above.y + above.span / 2), (above.x, above.y - above.span / 2)]
        above = above.above[0]
    points.append((above.x, above.y + above.height / 2))
    points.reverse()
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        middle = (y0 + y1) / 2
        path += f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    return f'<path class="arrow" d="{path}" marker-end="url(#head)"/>'
