"""Chapter 15: first fit, the lowest gap among the arrays that are alive."""


def place(lives):
    """The start of each array."""
    starts = []
    for first, _, size in lives:
        alive = sorted((start, start + other[2]) for start, other in zip(starts, lives) if other[1] >= first)
        start = 0
        for begin, end in alive:
            if start + size <= begin:
                break
            start = max(start, end)
        starts.append(start)
    return starts


def mistake(lives):
    """An array that dies in the row in which another is made gives its place too early."""
    starts = []
    for first, _, size in lives:
        alive = sorted((start, start + other[2]) for start, other in zip(starts, lives) if other[1] > first)
        start = 0
        for begin, end in alive:
            if start + size <= begin:
                break
            start = max(start, end)
        starts.append(start)
    return starts
