"""Sugiyama's layout: boxes in layers, with few crossings and straight chains.

It takes four steps. Every box is put into the layer of its longest path from the inputs; an arrow over several
layers is cut into pieces, one per layer; every layer is sorted by barycentres, so that few arrows cross; and
x coordinates move towards those of the neighbours. Parallel branches of the network are drawn side by side.

Reference: K. Sugiyama, S. Tagawa and M. Toda, "Methods for visual understanding of hierarchical
system structures", IEEE Trans. Systems, Man and Cybernetics 11, 1981.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CHARACTER, LINE, PADDING, GAP, RISE = 6.6, 15, 9, 26, 40  # of a letter, a line, a box's inside, between boxes


@dataclass(eq=False)
class Box:
    """One operation, input or result; without lines of text, a bend of a long arrow."""

    lines: tuple[str, ...] = ()
    colour: str = "#eceff1"
    above: list[Box] = field(default_factory=list)  # the boxes it takes its inputs from
    below: list[Box] = field(default_factory=list)
    layer: int = 0
    x: float = 0.0
    y: float = 0.0
    span: float = 0.0  # height of its layer, which a long arrow crosses straight down
    slot: float = 0.0  # width kept free for it: that of the widest box of its chain, so that chains can be straight

    @property
    def width(self) -> float:
        """In pixels."""
        return max(map(len, self.lines)) * CHARACTER + 2 * PADDING if self.lines else 2.0

    @property
    def height(self) -> float:
        """In pixels."""
        return len(self.lines) * LINE + PADDING if self.lines else 0.0


def arrange(boxes: list[Box]) -> list[list[Box]]:
    """Place every box; returns the layers, which also hold the bends of long arrows."""
    for box in boxes:  # inputs come before what uses them, so one pass is enough
        box.layer = max((b.layer + 1 for b in box.above), default=0)
    for leaf in (box for box in boxes if not box.above):
        leaf.layer = min((b.layer for b in boxes if any(a is leaf for a in b.above)), default=1) - 1
    layers = [[] for _ in range(max(b.layer for b in boxes) + 1)]
    for box in boxes:
        layers[box.layer].append(box)
    for box in boxes:
        box.above = [_bent(above, box.layer, layers) for above in box.above]
    for box in (b for layer in layers for b in layer):
        for above in box.above:
            above.below.append(box)
    _order(layers)
    _place(layers)
    return layers


def _bent(above, end, layers):
    """The last of the bends, one per layer, of an arrow from `above` to layer `end`; `above` itself if it is near."""
    for number in range(above.layer + 1, end):
        above = Box(above=[above], layer=number)
        layers[number].append(above)
    return above


def _order(layers, sweeps=8):
    """Sort each layer by the mean position of its neighbours, downwards and upwards, so that few arrows cross."""
    for sweep in range(sweeps):
        down = sweep % 2 == 0
        path = layers if down else layers[::-1]
        for fixed, layer in zip(path, path[1:]):
            place = {id(box): i for boxes in (layer, fixed) for i, box in enumerate(boxes)}
            layer.sort(key=lambda b: _mean([place[id(n)] for n in (b.above if down else b.below)], place[id(b)]))


def _mean(values, default):
    return sum(values) / len(values) if values else default


def _place(layers, sweeps=60):
    """Move each box to the mean of its neighbours, as far as the order of its layer allows."""
    _make_slots(layers)
    y = GAP
    for layer in layers:
        height = max(b.height for b in layer)
        x = 0.0
        for box in layer:
            box.x, box.y, box.span = x + box.slot / 2, y + height / 2, height
            x += box.slot + GAP
        y += height + RISE
    for sweep in range(2 * sweeps):
        down, last = sweep % 2 == 0, sweep >= sweeps
        for layer in layers if down else layers[::-1]:
            sides = [b.above + b.below if last else (b.above if down else b.below) or b.above or b.below for b in layer]
            _settle(layer, [_pull(b, side) for b, side in zip(layer, sides)])
    left = min(b.x - b.width / 2 for layer in layers for b in layer)
    for box in (b for layer in layers for b in layer):
        box.x += GAP - left


def _make_slots(layers):
    """The widest box of a chain, a row of boxes with one arrow in and one out, sets the width of all of them."""
    for box in (b for layer in layers for b in layer):
        box.slot = max(box.width, box.above[0].slot if _in_chain(box) else 0.0)
    for box in (b for layer in layers[::-1] for b in layer):
        if _in_chain(box):
            box.above[0].slot = max(box.above[0].slot, box.slot)


def _in_chain(box):
    return len(box.above) == 1 and len(box.above[0].below) == 1


def _pull(box, neighbours):
    """Position at which the neighbours pull a box, and their strength; links of a chain pull most, to straighten it."""
    pulls = [(_stiffness(box, other), other.x) for other in neighbours]
    total = sum(stiffness for stiffness, _ in pulls)
    return (sum(stiffness * x for stiffness, x in pulls) / total, total) if total else (box.x, 1.0)


def _stiffness(a, b):
    return 30.0 if _in_chain(max(a, b, key=lambda box: box.layer)) else 1.0


def _settle(layer, pulls):
    """The x coordinates nearest to the wishes that keep the order and the gaps: boxes that touch share their mean.

    Wishes are weighted by their strength, so each layer in turn lowers one energy, that of springs along the
    arrows, and the picture converges.
    """
    blocks = []  # [sum of strength * (wish - offset), sum of strengths, boxes with offsets]
    for box, (wish, strength) in zip(layer, pulls):
        blocks.append([strength * wish, strength, [(box, 0.0)]])
        while len(blocks) > 1 and _overlap(blocks[-2], blocks[-1]) > 0:
            total, strength, members = blocks.pop()
            (last, offset), (first, _) = blocks[-1][2][-1], members[0]
            shift = offset + (last.slot + first.slot) / 2 + GAP
            blocks[-1][0] += total - strength * shift
            blocks[-1][1] += strength
            blocks[-1][2] += [(box_, offset_ + shift) for box_, offset_ in members]
    for total, strength, members in blocks:
        for box, offset in members:
            box.x = total / strength + offset


def _overlap(left, right):
    (last, offset), (first, _) = left[2][-1], right[2][0]
    return left[0] / left[1] + offset + (last.slot + first.slot) / 2 + GAP - right[0] / right[1]
