"""Chapter 9: the size of the image cancels; the largest r that pays is the last below k k C K / (C + k k K)."""


def saving(C, K, k, r):
    """The cost directly, divided by the cost with a 1 x 1 convolution to r channels in front."""
    return k * k * C * K / (C * r + k * k * r * K)


def mistake(C, K, k, r):
    """The cost of the 1 x 1 forgotten."""
    return C / r
