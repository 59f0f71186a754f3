"""Chapter 10: decay joins the gradient, the buffer sums up, the rate comes last."""


def sgd_step(w, gradient, buffer, lr, momentum, decay):
    """The new w and the new buffer."""
    buffer = momentum * buffer + gradient + decay * w
    return w - lr * buffer, buffer
