"""The rows that a captured training step of a small network is recorded as, as text and as a picture.

    python -m benchmarks.rows                                    print them
    python -m benchmarks.rows benchmarks/figures/rows.svg        draw them, too
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import minidl
from minidl import nn, optim
from minidl.report import canvas

COLOURS = {"kernel": canvas.BLUE, "numpy": canvas.ORANGE, "function": canvas.GREEN}


def recorded():
    """The record of a step: convolution, batch norm, ReLU, pool, linear; SGD with momentum."""
    minidl.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    )
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @minidl.capture
    def step(images, labels):
        loss = minidl.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    images, labels = minidl.ones(8, 1, 8, 8), minidl.tensor(np.arange(8) % 3)
    for _ in range(4):  # the first makes the momentum buffers, the second is recorded, the third compared
        step(images, labels)
    (records,) = step.replays.records.values()
    return records[0]


def lines(record):
    """(kind, text) of every row: its number, its name, the shapes of its arrays."""
    found = []
    for number, row in enumerate(record.rows, 1):
        shapes = [str(value.shape) for value in row.args if isinstance(value, np.ndarray)]
        found.append((row.kind, f"{number:3} {row.kind:8} {row.name:14} {' '.join(shapes)}".rstrip()))
    return found


def draw(record, path):
    """Write the rows to an SVG or PNG file, in columns, coloured by kind."""
    texts, columns = lines(record), 3
    per_column = -(-len(texts) // columns)
    figure = canvas.new_figure(4.2 * columns, 0.17 * per_column + 0.2)
    axes = figure.add_subplot()
    axes.set_axis_off()
    for i, (kind, text) in enumerate(texts):
        column, line = divmod(i, per_column)
        text = text if len(text) <= 52 else text[:51] + "…"
        axes.text(column / columns, 1 - line / per_column, text, color=COLOURS[kind], family="monospace", fontsize=7,
                  va="top", transform=axes.transAxes)  # fmt: skip
    path = Path(path)
    path.write_bytes(canvas.png(figure) if path.suffix == ".png" else canvas.svg(figure, "rows").encode())


def main(argv=None):
    """Print the rows, and draw them where a path is given."""
    record = recorded()
    print("\n".join(text for _, text in lines(record)))
    print(f"{len(record.rows)} rows in {len(record.program)} calls, {record.nbytes:,} bytes of memory of their own")
    for path in sys.argv[1:] if argv is None else argv:
        draw(record, path)
        print(f"picture drawn in {path}")


if __name__ == "__main__":
    main()
