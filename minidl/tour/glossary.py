"""The glossary: the field's terms, each with its meaning, the file where it lives, and the chapter that teaches it."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """One row; `place` is a file of the package in which the term can be found."""

    term: str
    meaning: str
    place: str
    chapter: int


TERMS = tuple(Term(*row) for row in (
    ("adjoint", "The linear map A* with `<A x, y> = <x, A* y>`; a gradient goes backwards through A as A*.",
     "minidl/ops/im2col.py", 4),
    ("argmax", "The place of the largest value; max pooling keeps it for later.", "minidl/ops/max_pooling.py", 8),
    ("backward", "The part of an operation that turns the gradient with respect to its output into those with respect "
     "to its inputs.", "minidl/tensor/function.py", 3),
    ("batch", "The images of one step of training.", "minidl/training/progress.py", 5),
    ("batch normalisation", "Subtract a channel's mean over the batch, and divide by its deviation.",
     "minidl/ops/normalisation.py", 8),
    ("block", "On a GPU: what computes one share of a result; blocks have no order.",
     "minidl/kernels/gpu/__init__.py", 16),
    ("broadcasting", "Stretching an axis of length 1 to match another operand; its adjoint is a sum.",
     "minidl/ops/shape.py", 4),
    ("capture", "Recording a step once and replaying what it computed, without the Python.", "minidl/captured.py", 15),
    ("central difference", "`(f(x+h) - f(x-h)) / 2h`: a slope measured to about ten digits.",
     "minidl/gradcheck/differences.py", 1),
    ("chain rule", "Slopes multiply along a path, and add up over paths.", "minidl/tensor/walk.py", 2),
    ("channels-last", "The order of bytes in which all channels of a pixel are adjacent.", "minidl/backend.py", 9),
    ("col2im", "The adjoint of im2col: windows are added back to where they lay.", "minidl/ops/im2col.py", 6),
    ("concat", "Joining along an axis; its adjoint cuts.", "minidl/ops/joining.py", 9),
    ("convolution", "The same weighted sum in every window of an image.", "minidl/ops/convolution.py", 6),
    ("cross entropy", "Minus the logarithm of the probability that was given to the right class.",
     "minidl/ops/losses.py", 5),
    ("dilation", "The distance between neighbouring cells of a window; at 2 there is a pixel between them.",
     "minidl/ops/geometry.py", 6),
    ("dropout", "Zeroing a random part of the numbers while training; its mask is a function of a key.",
     "minidl/ops/dropout.py", 14),
    ("epoch", "One pass over all images of the training set.", "minidl/training/progress.py", 5),
    ("filter", "The weights of a convolution that make one channel of its output.",
     "minidl/kernels/cpu/convolution/winograd.py", 6),
    ("FMA", "Fused multiply-add: `a * b + c` by one instruction, rounded once.",
     "minidl/kernels/cpu/machine/simd.py", 12),
    ("fused", "Several operations as one, in one pass over memory.", "minidl/ops/fused.py", 12),
    ("grid", "How many blocks of a GPU a launch has, along each axis.", "minidl/kernels/gpu/tiles.py", 16),
    ("Hessian", "The matrix of second derivatives; its largest eigenvalue bounds the learning rate.",
     "minidl/gradcheck/derivatives.py", 11),
    ("im2col", "Every window of an image as a row of a matrix, so that a convolution is one product.",
     "minidl/ops/im2col.py", 6),
    ("im2col row", "One window of an image as a row of the matrix: its pixels, with all channels of each.",
     "minidl/tour/chapters/c06_convolution_as_im2col.py", 6),
    ("Inception", "Branches of different windows side by side, joined along the channels.", "minidl/nn/branches.py", 9),
    ("Jacobian", "The matrix of the derivatives of all outputs with respect to all inputs; never built here.",
     "minidl/tensor/walk.py", 3),
    ("kernel", "A compiled loop inside a faster form; on a GPU, the program of a block. In `kernel_size`: the window "
     "of a convolution.",
     "minidl/kernels/table.py", 12),
    ("lane", "The place of one number in a vector register.", "minidl/kernels/cpu/machine/simd.py", 12),
    ("latency", "The cycles from the beginning of an instruction to its result.", "minidl/tour/measure.py", 12),
    ("leaf", "A tensor that was not computed: an input or a parameter, where gradients end up.",
     "minidl/tensor/core.py", 3),
    ("learning rate", "The factor between a gradient and a step.", "minidl/optim/sgd.py", 10),
    ("logit", "A number per class before softmax; the largest is the answer.", "minidl/ops/losses.py", 5),
    ("max pooling", "The largest number of each window.", "minidl/ops/max_pooling.py", 8),
    ("momentum", "The part of the last step that goes into the next.", "minidl/optim/sgd.py", 10),
    ("Muon", "Momentum whose step is made orthogonal: all directions of a matrix alike.", "minidl/optim/muon.py", 17),
    ("node", "One call of an operation, a point of the graph that the walk visits.", "minidl/tensor/function.py", 3),
    ("optimiser", "The rule that turns gradients into new weights.", "minidl/optim/optimizer.py", 10),
    ("padding", "Rings of zeros around an image, so that windows fit at its edges.", "minidl/ops/geometry.py", 6),
    ("Philox", "Random numbers as a function of a key and a counter.", "minidl/philox.py", 14),
    ("power iteration", "Multiplying by a matrix again and again: what is left is its main eigenvector.",
     "minidl/gradcheck/sharpness.py", 11),
    ("ReLU", "`max(x, 0)`; the gradient goes through where the number did.", "minidl/ops/elementwise.py", 5),
    ("register tile", "A block of sums that stays in the processor's registers for a whole reduction.",
     "minidl/kernels/cpu/tile/tile.py", 12),
    ("replay", "Running the rows of a captured step on the numbers that lie in memory now.", "minidl/captured.py", 15),
    ("roofline", "The smaller of the peak and of intensity times bandwidth: no loop is faster.",
     "minidl/tour/chapters/c12_the_register_tile.py", 12),
    ("row", "Of a captured step: a function, the arrays it reads and the one it writes.", "minidl/captured.py", 15),
    ("sharpness", "The largest eigenvalue of the Hessian.", "minidl/gradcheck/sharpness.py", 11),
    ("softmax", "Exponentials divided by their sum: numbers as probabilities.", "minidl/ops/losses.py", 5),
    ("stride", "The pixels by which a window moves from one output to the next.", "minidl/ops/geometry.py", 6),
    ("transposed convolution", "The gradient of a convolution with respect to its input, used forwards.",
     "minidl/ops/convolution.py", 7),
    ("upstream gradient", "The gradient that arrives at an operation's output from what was computed after it.",
     "minidl/tensor/core.py", 4),
    ("vector-Jacobian product", "`J^T y'`: what a backward computes.", "minidl/tensor/function.py", 3),
    ("weight decay", "A pull of every weight towards 0, added to its gradient.", "minidl/optim/sgd.py", 10),
    ("whitening", "A map after which inputs are uncorrelated, with mean square 1.",
     "minidl/tour/chapters/c17_ninety_four_percent.py", 17),
    ("Winograd", "Convolution as a product of polynomials: 4 multiplications for 6.",
     "minidl/kernels/cpu/convolution/winograd.py", 13),
))  # fmt: skip
