"""Products of matrices and vectors under their own names, and the sum of products that einsum spells out.

All of them end in `matmul`, so their derivatives are its own.
"""

from __future__ import annotations

import math

from minidl.checks import refused
from minidl.ops.matmul import matmul
from minidl.ops.promotion import tensor_of
from minidl.ops.selecting import diagonal
from minidl.tensor import Tensor


def _check_axes(name, **tensors):
    """Each tensor, given as ``argument=(tensor, axes)``, has that many axes."""
    for argument, (tensor, axes) in tensors.items():
        if tensor_of(tensor, argument).ndim != axes:
            raise ValueError(f"`{argument}` of {name}() has shape {tensor.shape}; accepted: {axes} axes")


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Product of two matrices, (n, k) and (k, m)."""
    _check_axes("mm", input=(input, 2), mat2=(mat2, 2))
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of a batch of matrices, (b, n, k) and (b, k, m), one by one."""
    _check_axes("bmm", input=(input, 3), mat2=(mat2, 3))
    if input.shape[0] != mat2.shape[0]:
        raise ValueError(f"`input` holds {input.shape[0]} matrices but `mat2` {mat2.shape[0]}")
    return matmul(input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Product of a matrix (n, m) and a vector (m,)."""
    _check_axes("mv", input=(input, 2), vec=(vec, 1))
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Sum of the products of two vectors' elements."""
    _check_axes("dot", input=(input, 1), tensor=(tensor, 1))
    return matmul(input, tensor)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Every product of an element of one vector with one of the other: (n,) and (m,) give (n, m)."""
    _check_axes("outer", input=(input, 1), vec2=(vec2, 1))
    return input.unsqueeze(1) * vec2


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Sum of products over the indices that `equation` names, after Einstein's convention.

    The operands are joined from left to right, each time by one batched matrix product.

    Parameters
    ----------
    equation : str
        ``"ij,jk->ik"``: a letter for each axis of each operand; those missing on the right are summed over. ``...``
        stands for axes that broadcast. Without ``->`` the letters that occur once follow, in alphabetical order.
    operands : Tensor
        As many as the equation has terms, or one list of them.

    Raises
    ------
    ValueError
        If the equation does not fit the operands.

    Examples
    --------
    >>> import minidl
    >>> a = minidl.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> minidl.einsum("ii->", a).backward()
    >>> a.grad
    tensor([[1., 0.],
            [0., 1.]])
    """
    operands = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    if not isinstance(equation, str):
        raise refused("equation", equation, "a text such as 'ij,jk->ik'", TypeError)
    for i, x in enumerate(operands):
        tensor_of(x, f"operands[{i}]")
    terms, output = _terms(equation, operands)
    joined, labels = _without_repeats(operands[0], terms[0], equation)
    for k in range(1, len(operands)):
        right, right_labels = _without_repeats(operands[k], terms[k], equation)
        wanted = set(output).union(*terms[k + 1 :])
        joined, labels = _join(joined, labels, right, right_labels, wanted, equation)
    summed = [i for i, label in enumerate(labels) if label not in output]
    joined = joined.sum(tuple(summed)) if summed else joined
    labels = [label for label in labels if label in output]
    return joined.permute(*[labels.index(label) for label in output]) if labels else joined


def _terms(equation, operands):
    """The labels of each operand's axes and of the output's; those of ``...`` are numbers from the last axis on."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(operands):
        raise ValueError(f"`equation` {equation!r} has {len(texts)} terms but there are {len(operands)} operands")
    spare = [x.ndim - len(text.replace("...", "")) for text, x in zip(texts, operands)]
    widest = max((n for n, text in zip(spare, texts) if "..." in text), default=0)
    terms = [_labels(text, n if "..." in text else 0) for text, n in zip(texts, spare)]
    for term, x in zip(terms, operands):
        if len(term) != x.ndim:
            raise ValueError(f"`equation` {equation!r} names {len(term)} axes of an operand of shape {x.shape}")
    letters = [label for term in terms for label in term if isinstance(label, str)]
    if arrow:
        output = _labels(right, widest)
    else:
        output = [*range(-widest, 0), *sorted(label for label in set(letters) if letters.count(label) == 1)]
    if len(set(output)) != len(output) or not {x for x in output if isinstance(x, str)} <= set(letters):
        raise ValueError(f"`equation` {equation!r} has an output whose letters are not those of its terms, each once")
    return terms, output


def _labels(text, count):
    before, dots, after = text.partition("...")
    if not (before + after).isalpha() and before + after:
        raise ValueError(f"`equation` holds {text!r}; accepted: letters, commas, spaces, '...' and one '->'")
    return [*before, *range(-count, 0), *after] if dots else [*text]


def _without_repeats(x, labels, equation):
    """A letter that one operand names twice stands for the diagonal."""
    labels = list(labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if x.shape[first] != x.shape[second]:
                raise ValueError(f"`equation` {equation!r} names axes of different lengths {label!r}: shape {x.shape}")
            x = diagonal(x, 0, first, second)
            labels = [n for i, n in enumerate(labels) if i not in (first, second)] + [label]
    return x, labels


def _join(a, a_labels, b, b_labels, wanted, equation):
    """Multiply two operands, and sum over what nothing else names: (batch, rows, inner) @ (batch, inner, columns)."""
    a, a_labels = _summed(a, a_labels, set(b_labels) | wanted)
    b, b_labels = _summed(b, b_labels, set(a_labels) | wanted)
    length = {}
    for x, labels in ((a, a_labels), (b, b_labels)):
        for label, n in zip(labels, x.shape):
            if length.get(label, 1) != 1 and n not in (1, length[label]):
                raise ValueError(f"`equation` {equation!r}: {label!r} stands for lengths {length[label]} and {n}")
            length[label] = n if length.get(label, 1) == 1 else length[label]
    both = [label for label in a_labels if label in b_labels]
    batch, inner = [x for x in both if x in wanted], [x for x in both if x not in wanted]
    rows, columns = [x for x in a_labels if x not in both], [x for x in b_labels if x not in both]
    sizes = [math.prod(length[label] for label in group) for group in (batch, rows, inner, columns)]
    a = _arranged(a, a_labels, batch + rows + inner, length).reshape(sizes[0], sizes[1], sizes[2])
    b = _arranged(b, b_labels, batch + inner + columns, length).reshape(sizes[0], sizes[2], sizes[3])
    labels = batch + rows + columns
    return matmul(a, b).reshape(tuple(length[label] for label in labels)), labels


def _summed(x, labels, kept):
    axes = tuple(i for i, label in enumerate(labels) if label not in kept)
    return (x.sum(axes) if axes else x), [label for label in labels if label in kept]


def _arranged(x, labels, order, length):
    x = x.permute(*[labels.index(label) for label in order]) if order else x
    return x.broadcast_to(tuple(length[label] for label in order))
