"""Tables as text: aligned columns, numbers right, names left; and as Markdown."""

from __future__ import annotations


def table(title, columns, rows, note=""):
    """Print a table; cells are strings."""
    widths = [max(len(str(row[i])) for row in [columns, *rows]) for i in range(len(columns))]
    print(f"\n{title}")
    for row in [columns, ["-" * width for width in widths], *rows]:
        cells = [f"{str(cell):{'<' if i == 0 else '>'}{width}}" for i, (cell, width) in enumerate(zip(row, widths))]
        print("  " + "  ".join(cells).rstrip())
    if note:
        print(f"  {note}")


def markdown(columns, rows):
    """The same table for a README.

    Examples
    --------
    >>> print(markdown(["preset", "mean %"], [["mnist", "99.70"]]))
    | preset | mean % |
    |---|--:|
    | mnist | 99.70 |
    """
    lines = [f"| {' | '.join(map(str, line))} |" for line in [columns, *rows]]
    return "\n".join([lines[0], "|---|" + "--:|" * (len(columns) - 1), *lines[1:]])


def seconds(value):
    """A time with a unit that suits it.

    Examples
    --------
    >>> seconds(1.234), seconds(0.01234), seconds(0.00001234)
    ('1.234 s', '12.34 ms', '12.34 us')
    """
    for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if value * factor >= 0.9995 or unit == "us":
            return f"{value * factor:.4g} {unit}" if value * factor < 1000 else f"{value * factor:.0f} {unit}"


def spread(times):
    """Smallest and largest of the rounds."""
    return f"{seconds(min(times.rounds))} .. {seconds(max(times.rounds))}"


def threads(count):
    """ "1 thread", "2 threads"."""
    return f"{count} thread{'s' * (count != 1)}"


def where(results):
    """Machine and threads of a benchmark's results, for the title of a picture."""
    return f"{threads(results['threads'])}, {results['machine']}"


def size(count):
    """Bytes in MiB or GiB.

    Examples
    --------
    >>> size(3 << 20), size(3 << 30)
    ('3 MiB', '3.00 GiB')
    """
    return f"{count / 2**20:.0f} MiB" if count < 1 << 30 else f"{count / 2**30:.2f} GiB"


def times(value):
    """A ratio, such as "2.34x"; a dash for None."""
    return "-" if value is None else f"{value:.2f}x"


def small(value):
    """An error, such as "3.1e-06"; a dash for None."""
    return "-" if value is None else f"{value:.1e}"
