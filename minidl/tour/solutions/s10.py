"""Chapter 10: decay joins the gradient, the buffer sums up, the rate comes last."""


def sgd_step(w, gradient, buffer, lr, momentum, decay):
    """The new w and the new buffer."""
    buffer = momentum * buffer + gradient + decay * w
    return w - lr * buffer, buffer


def mistake(w, gradient, buffer, lr, momentum, decay):
    """Decay left out of the buffer."""
    buffer = momentum * buffer + gradient
    return w - lr * (buffer + decay * w), buffer
