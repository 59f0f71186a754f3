"""Temporary plain updates."""
from minidl.backend import array_module, is_array


def cast(value, like):
    return value.astype(like.dtype) if hasattr(value, "astype") else value


def _gradient(param, grad, weight_decay, maximize):
    if maximize:
        grad = -grad
    return grad + param * weight_decay if weight_decay != 0 else grad


def sgd(param, grad, momentum_buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    grad = _gradient(param, grad, weight_decay, maximize)
    if momentum_buffer is not None:
        if first:
            momentum_buffer[...] = grad
        else:
            momentum_buffer *= momentum
            momentum_buffer += grad * (1 - dampening)
        grad = grad + momentum_buffer * momentum if nesterov else momentum_buffer
    param -= grad * cast(lr, param)


def adam(param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize):
    xp = array_module(param)
    if decoupled and weight_decay != 0:
        param *= cast(1 - lr * weight_decay, param)
        weight_decay = 0
    grad = _gradient(param, grad, weight_decay, maximize)
    lerp(exp_avg, grad, 1 - beta1)
    exp_avg_sq *= beta2
    exp_avg_sq += grad * grad * (1 - beta2)
    if max_exp_avg_sq is not None:
        xp.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
        exp_avg_sq = max_exp_avg_sq
    root = cast((1 - beta2**step) ** 0.5, param)
    step_size = cast(lr / (1 - beta1**step), param)
    param -= step_size * (exp_avg / (xp.sqrt(exp_avg_sq) / root + eps))


def rmsprop(param, grad, square_avg, grad_avg, momentum_buffer, lr, alpha, eps, weight_decay, momentum, maximize):
    xp = array_module(param)
    grad = _gradient(param, grad, weight_decay, maximize)
    square_avg *= alpha
    square_avg += grad * grad * (1 - alpha)
    avg = square_avg
    if grad_avg is not None:
        lerp(grad_avg, grad, 1 - alpha)
        avg = square_avg - grad_avg * grad_avg
    grad = grad / (xp.sqrt(avg) + eps)
    if momentum_buffer is not None:
        momentum_buffer *= momentum
        momentum_buffer += grad
        grad = momentum_buffer
    param -= grad * cast(lr, param)


def lerp(start, end, weight):
    weight = cast(weight, start)
    difference = end - start
    nearer_end = array_module(start).where(weight < 0.5, 0, 1) if hasattr(weight, "dtype") else weight >= 0.5
    if hasattr(weight, "dtype"):
        xp = array_module(start)
        start[...] = xp.where(weight < 0.5, start + weight * difference, end - difference * (1 - weight))
    elif nearer_end:
        start[...] = end - difference * (1 - weight)
    else:
        start += weight * difference
