"""The calculus: one family of operations per file.

Reading order: promotion, arithmetic, unary, elementwise, reduction, extremes, shape, padding, joining, indexing,
matmul, convolution, pooling, fused, normalisation, losses, dropout. Outside the reading order, since they teach
nothing new: products, selecting, scattering, tiling, sorting, remainders, resampling, sampling, attention, objectives,
activations, sequences, rescaling, embedding, collective. An operation is a `Function` and a lower-case function next
to it. To add one, write both in the file of its family, import the function in ``minidl/__init__.py``
and name it in `__all__` there; if it is to be a method of Tensor, add its line to ``methods.py``.
"""

from minidl.ops.methods import Methods
from minidl.ops.operators import Operators
from minidl.tensor import Tensor

Tensor.__bases__ += (Methods, Operators)  # as `tensor/core.py` declares them to type checkers
