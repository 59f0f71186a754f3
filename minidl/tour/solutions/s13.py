"""Chapter 13: values at 0, 1 and infinity; the middle coefficient is what is left of the value at 1."""


def multiply(a0, a1, b0, b1):
    """The coefficients of (a0 + a1 t) (b0 + b1 t), by three products."""
    at_0, at_1, at_infinity = a0 * b0, (a0 + a1) * (b0 + b1), a1 * b1
    return at_0, at_1 - at_0 - at_infinity, at_infinity


def mistake(a0, a1, b0, b1):
    """Right, by four products."""
    return a0 * b0, a0 * b1 + a1 * b0, a1 * b1
