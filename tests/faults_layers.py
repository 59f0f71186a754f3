"""Seeded faults in the calculus of networks: convolution, pooling, normalisation, losses, dropout."""

import numpy as np
import test_batches
from faults import after, changed, fault, first, instead, test_of
from faults_ops import backward

from minidl.ops import average_pooling, conv_transpose, convolution, dropout, losses, max_pooling, normalisation

# ---------------------------------------------------------------- convolution and pooling

square = lambda d: d.transpose(0, 1) if d.shape[0] == d.shape[1] else d  # noqa: E731
backward(
    "conv2d",
    "weight gradient transposed",
    convolution.Conv2d,
    lambda right, node, g: changed(1, square)(right(node, g)),
)
backward(
    "conv2d",
    "bias gradient of one image only",
    convolution.Conv2d,
    lambda right, node, g: (*right(node, g)[:2], g[:1].sum((0, 2, 3))),
)
backward(
    "conv2d",
    "sign in the second derivative",
    convolution.ConvWeightGrad,
    lambda right, node, g: changed(1, lambda d: -d)(right(node, g)),
)
backward(
    "conv2d",
    "second derivative to the weight lost",
    convolution.ConvInputGrad,
    lambda right, node, g: changed(1, lambda d: d * 0.0)(right(node, g)),
)
fault(
    "conv2d",
    "'same' for even windows pads on the wrong side",
    after(convolution, "paddings", lambda r, padding, *a: tuple(p[::-1] for p in r) if padding == "same" else r),
    first("conv2d"),
)
for name, by_batch in {"training chooses as for one image": False, "evaluation chooses by the batch": True}.items():
    fault(
        "conv2d",
        name,
        instead(
            convolution,
            "conv2d_forward",
            lambda right, *a, by_batch, said=by_batch, **o: right(*a, **o, by_batch=said),
        ),
        test_of(test_batches.test_a_layer_in_training_chooses_by_the_number_of_images_and_one_in_evaluation_does_not),
    )
fault(
    "conv_transpose2d",
    "output padding beyond the stride lost",
    instead(
        conv_transpose,
        "_beyond_stride",
        lambda right, p, extra, stride: (right(p, extra, stride)[0][::-1], right(p, extra, stride)[1]),
    ),
    first("conv_transpose2d"),
)
backward(
    "avg_pool2d",
    "1/N missing",
    average_pooling.AvgPool2d,
    lambda right, node, g: right(node, g) * float(np.prod(node.options["kernel_size"])),
)
backward(
    "max_pool2d",
    "second derivative of another window",
    max_pooling.MaxPoolScatter,
    lambda right, node, g: changed(0, lambda d: d.flip(3))(right(node, g)),
)
backward(
    "adaptive_avg_pool2d",
    "gradient to the mirrored pixel",
    average_pooling.AdaptiveAvgPool2d,
    lambda right, node, g: changed(0, lambda d: d.flip(2))(right(node, g)),
)

# ---------------------------------------------------------------- normalisation, losses, dropout


def outside_the_root(right, x, weight, bias, eps, relu):
    axes = (0,) + tuple(range(2, x.ndim))
    deviation = x - x.mean(axes, keepdim=True)
    var = (deviation * deviation).mean(axes, keepdim=True)
    y = normalisation._affine(deviation / (var.sqrt() + eps), weight, bias, relu)
    return y, var.flatten(), var.flatten()


fault(
    "batch_norm_train",
    "eps outside the root",
    instead(normalisation.BatchNorm, "definition", outside_the_root),
    first("batch_norm_train"),
)
fault(
    "batch_norm_train",
    "statistics held constant in the backward",
    instead(normalisation.BatchNorm, "definition", lambda right, x, *a, **o: _constant_statistics(x, *a, **o)),
    first("batch_norm_train"),
)


def _constant_statistics(x, weight, bias, eps, relu):
    axes = (0,) + tuple(range(2, x.ndim))
    mean, var = x.detach().mean(axes, keepdim=True), x.detach().var(axes, unbiased=False, keepdim=True)
    y = normalisation._affine((x - mean) * (var + eps).rsqrt(), weight, bias, relu)
    return y, mean.flatten(), var.flatten()


fault(
    "batch_norm_eval",
    "shift not scaled",
    instead(
        normalisation.BatchNormEval,
        "definition",
        lambda right, x, mean, var, weight, bias, eps, relu: right(
            x, mean * (var + eps).sqrt(), var, weight, bias, eps, relu
        ),
    ),
    first("batch_norm_eval"),
)
fault(
    "layer_norm",
    "variance divided by n - 1",
    instead(
        normalisation.LayerNorm,
        "definition",
        lambda right, x, weight, bias, axes, eps: right(
            x * ((x.data.size / _rows(x, axes) - 1) / (x.data.size / _rows(x, axes))) ** 0.5, weight, bias, axes, eps
        ),
    ),
    first("layer_norm"),
)


def _rows(x, axes):
    return int(np.prod([n for axis, n in enumerate(x.shape) if axis not in axes]))


fault(
    "local_response_norm",
    "even window leans to the wrong side",
    instead(normalisation.LocalResponseNorm, "definition", lambda right, x, **o: (right(x.flip(1), **o)[0].flip(1),)),
    first("local_response_norm"),
)
fault(
    "local_response_norm",
    "alpha not divided by the size",
    instead(
        normalisation.LocalResponseNorm,
        "definition",
        lambda right, x, size, alpha, **o: right(x, size=size, alpha=alpha * size, **o),
    ),
    first("local_response_norm"),
)
backward("softmax", "projection missing", losses.Softmax, lambda right, node, g: (node.saved_tensors[0] * g, None))
backward(
    "log_softmax",
    "softmax without the sum of the upstream",
    losses.LogSoftmax,
    lambda right, node, g: (g - node.saved_tensors[0].exp(), None),
)
fault(
    "cross_entropy",
    "label smoothing off by K",
    instead(
        losses,
        "_cross_entropy_of_indices",
        lambda right, logits, target, weight, ignore, s, reduction: right(
            logits, target, weight, ignore, s * (1 - 1 / logits.shape[1]), reduction
        ),
    ),
    first("cross_entropy"),
)
fault(
    "cross_entropy",
    "weighted mean divided by the number of rows",
    instead(
        losses,
        "_cross_entropy_of_indices",
        lambda right, logits, target, weight, ignore, s, reduction: (
            right(logits, target, weight, ignore, s, "sum") / float((target.data != ignore).sum())
            if reduction == "mean"
            else right(logits, target, weight, ignore, s, reduction)
        ),
    ),
    first("cross_entropy"),
)
fault(
    "cross_entropy",
    "ignored rows count in the mean",
    instead(losses, "_at_labels", lambda right, *a: (right(*a)[0], right(*a)[1] * 0.0 + 1.0, right(*a)[2])),
    first("cross_entropy"),
)
backward(
    "dropout",
    "another mask in the backward",
    dropout.Dropout,
    lambda right, node, g: (dropout.Dropout.apply(g, node.p, (node.key[0], node.key[1], node.key[2] + 1)), None, None),
)
backward(
    "dropout",
    "not scaled in the backward",
    dropout.Dropout,
    lambda right, node, g: changed(0, lambda d: d * (1 - node.p))(right(node, g)),
)
