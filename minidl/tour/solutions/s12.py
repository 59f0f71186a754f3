"""Chapter 12: the longest of arithmetic, loads and waiting sets the pace."""


def share(R, V, latency, ports, loads, registers):
    """Between 0 and 1."""
    if R * V + V + 1 > registers:
        return 0.0
    busy = R * V / ports
    return busy / max(busy, (R + V) / loads, latency)


def mistake(R, V, latency, ports, loads, registers):
    """Loads forgotten."""
    return min(1.0, R * V / ports / latency) if R * V + V + 1 <= registers else 0.0
