"""A kernel that is ready to run, but for the memory it reads and writes.

Which tasks there are, how they lie in memory, the packed weights: all that follows from
shapes and weights, and is worked out once. Calling the launch with two addresses then
costs little more than the work itself, which counts where the work is small: one image.
Weights that change are packed, launched once, and forgotten.
"""

from __future__ import annotations

from numba import typeof

from minidl.kernels.cpu.machine import team
from minidl.kernels.cpu.machine.counter import new_counter
from minidl.kernels.cpu.machine.doors import door


class Launch:
    """``kernel(counter, n_tasks, source, target, *scratch, *args)`` for every thread of the team.

    It is called with the addresses of the first numbers it reads and writes; the caller holds both
    arrays until it returns.

    Parameters
    ----------
    kernel : compiled function
    tasks : int
    scratch : list of (size, dtype)
        Working memory of each thread.
    *args
        The other arguments. Arrays that they point at have to be given as arrays, or live in `owned`.
    owned : object
        Kept alive as long as the launch.

    Examples
    --------
    >>> import numpy as np
    >>> from minidl.kernels.cpu.convolution.direct import prepare_forward
    >>> from minidl.kernels.cpu.machine.memory import address
    >>> x, y = np.arange(16.0).reshape(1, 1, 4, 4), np.empty((1, 1, 3, 3))
    >>> run = prepare_forward(x, np.ones((1, 1, 2, 2)), None, (1, 1), ((0, 0), (0, 0)), (1, 1), False, y)
    >>> run(address(x), address(y))
    >>> y[0, 0, 0]
    array([10., 14., 18.])
    """

    def __init__(self, kernel, tasks, scratch, *args, owned=()):
        self.kernel, self.tasks, self.scratch, self.args, self.owned = kernel, tasks, scratch, args, owned
        self.calls, self.entry = 0, kernel

    def __call__(self, source, target):
        args = source, target, *[team.scratch(size, dtype) for size, dtype in self.scratch], *self.args
        if door.recorder is not None:
            door.recorder.keep(self.owned)
            return team.run(self.kernel, self.tasks, *args)
        self.calls += 1
        if self.calls == 2:  # launches that run once are not worth it
            self.entry = self._compiled(args)
        team.run(self.entry, self.tasks, *args)

    def _compiled(self, args):
        """The machine code for these arguments: from now on their types need not be looked at.

        It is asked for by `compile`: where launches are shared, another thread may still compile in its first call.
        """
        return self.kernel.compile((typeof(new_counter()), typeof(self.tasks), *map(typeof, args)))
