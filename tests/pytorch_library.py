"""PyTorch as a library of the table in ``pytorch_table.py``."""

import torch

torch.set_num_threads(1)


class Theirs:
    """PyTorch as a library of the table: what minidl has in one namespace it has in several."""

    nn, optim = torch.nn, torch.optim
    norm = staticmethod(torch.linalg.vector_norm)

    def __getattr__(self, name):
        for place in (torch.nn.functional, torch):
            if hasattr(place, name):
                return getattr(place, name)
        raise AttributeError(name)

    def leaf(self, array):
        return torch.tensor(array, requires_grad=array.dtype.kind == "f")

    def constant(self, array):
        return torch.tensor(array)

    def grad(self, y, inputs, create_graph=False):
        if not y.requires_grad:
            return tuple(torch.zeros_like(x) for x in inputs)
        return torch.autograd.grad(y, inputs, create_graph=create_graph, allow_unused=True, materialize_grads=True)

    def numpy(self, y):
        return y.detach().numpy(force=True)
