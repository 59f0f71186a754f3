"""DataLoader: batches in an order that is a function of (seed, epoch), made ahead of time by threads.

The rule of this file: nothing depends on who makes a batch, or when. The order of the
images comes from (seed, epoch), the augmentation of an image from (seed, epoch, its
index), so any number of workers gives the same bits, and a run that stops in the middle
of an epoch can go on there. Threads rather than processes: the gathers, conversions and
image decoding all let go of Python's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import backend
from minidl.checks import integer
from minidl.data.dataset import stacked
from minidl.data.errors import check
from minidl.data.order import Order
from minidl.data.places import Placed, placed
from minidl.data.random import ImageRandom, permutation
from minidl.data.shards import Shards
from minidl.data.transforms import Compose, Normalize, to_float
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.data.dataset import Dataset


class DataLoader:
    """Iterate over `dataset` in batches of Tensors.

    For image data sets (``dataset.layout == "HWC"``) a batch is ``(images, labels)``:
    float32 of shape (N, C, H, W) with channels-last bytes, and int64 of shape (N,).
    Other data sets give their fields as they are, always in a tuple.

    Iterating does not advance the epoch: call `set_epoch` before each epoch, or every
    one has the same order and the same augmentation.

    Parameters
    ----------
    dataset : Dataset
        Anything with ``len()`` and integer indexing will do.
    batch_size : int
    shuffle : bool
    num_workers : int
        Threads that prepare batches ahead; 0 prepares each when it is asked for.
        The batches are the same, bit for bit, for any number.
    drop_last : bool
        Leave out the last batch where it is smaller than `batch_size`.
    seed : int
    transform : callable, optional
        ``transform(batch, random)``, such as a `Compose`: takes images (N, H, W, C) and
        an `ImageRandom`. Images that are still bytes after it are scaled to 0..1.
    device : str
        Where batches go. On a GPU crops, flips and normalisation of bytes happen there, to the CPU's bits.
    prefetch_factor : int
        Batches prepared ahead per worker.
    sampler : iterable of int with a length, optional
        The indices of an epoch, such as a `DistributedSampler`; instead of `shuffle`.
    shards : Shards, optional
        Cut every batch; what is given is then the list of this process's parts of it. A
        last batch with fewer items than there are shards is left out.

    Examples
    --------
    >>> from minidl.data import ArrayDataset, DataLoader
    >>> dataset = ArrayDataset(np.full((5, 4, 4, 3), 255, np.uint8), np.arange(5))
    >>> loader = DataLoader(dataset, batch_size=2, shuffle=True, seed=1)
    >>> for epoch in range(2):
    ...     loader.set_epoch(epoch)
    ...     for images, labels in loader:
    ...         print(epoch, images.shape, labels.data)
    0 (2, 3, 4, 4) [1 0]
    0 (2, 3, 4, 4) [2 4]
    0 (1, 3, 4, 4) [3]
    1 (2, 3, 4, 4) [3 0]
    1 (2, 3, 4, 4) [4 1]
    1 (1, 3, 4, 4) [2]
    """

    dataset: Dataset
    batch_size: int
    shuffle: bool
    num_workers: int
    drop_last: bool
    seed: int
    transform: Callable[..., Any] | None
    device: str | None
    prefetch_factor: int
    shards: Any
    sampler: Any

    def __init__(
        self, dataset: Any, batch_size: int = 1, shuffle: bool = False, *, num_workers: int = 0,
        drop_last: bool = False, seed: int = 0, transform: Any = None, device: str = "cpu", prefetch_factor: int = 2,
        sampler: Any = None, shards: Shards | None = None,
    ) -> None:
        check(hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"),
              f"`dataset` is {type(dataset).__name__}; accepted: a Dataset: something with a length and items")
        integer(batch_size, "batch_size", least=1)
        integer(num_workers, "num_workers", least=0)
        integer(prefetch_factor, "prefetch_factor", least=1)
        integer(seed, "seed")
        check(transform is None or callable(transform),
              f"`transform` is {transform!r}; accepted: a function of (batch, random), or None")
        backend.kind_named(device)
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, bool(shuffle)
        self.num_workers, self.drop_last, self.seed = num_workers, bool(drop_last), seed
        self.transform, self.device, self.prefetch_factor = transform, device, prefetch_factor
        check(sampler is None or not shuffle, "`sampler` and `shuffle` both choose the order; accepted: one of them")
        self.sampler, self.shards = sampler, shards or Shards(1, 0, 1)
        check(
            batch_size >= self.shards.count,
            f"`batch_size` is {batch_size}, too few for {self.shards.count} shards; "
            f"accepted: {self.shards.count} or more",
        )
        self.epoch: int = 0
        self._first = 0  # the batch that the next iteration starts with
        self._given = 0  # batches of this epoch handed out so far
        check(len(self) > 0, f"`dataset` has {len(dataset)} items: not one batch of {batch_size}"
              + (" with `drop_last`" if drop_last else ""))

    def __len__(self) -> int:
        """Batches per epoch."""
        whole, rest = divmod(self._items, self.batch_size)
        return whole + (rest >= self.shards.count and not self.drop_last)

    @property
    def _items(self):
        return len(self.dataset if self.sampler is None else self.sampler)

    def set_epoch(self, epoch: int | None) -> None:
        """Choose the order and augmentation of epoch number `epoch`."""
        integer(epoch, "epoch", least=0)
        if epoch != self.epoch:
            self.epoch, self._first, self._given = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """State of the loader, and all that its order depends on: plain numbers, for a checkpoint."""
        return {"epoch": self.epoch, "batch": self._given} | self._identity()

    def load_state_dict(self, state: Any) -> None:
        """Go on where `state` was taken: the next iteration starts with the batch after the last one given.

        Raises
        ------
        ValueError
            Where the state is of a loader with another data set size, batch size or seed.
        """
        for field, value in self._identity().items():
            check(state.get(field) == value, f"`state` has {field} {state.get(field)!r} but the loader has {value!r}")
        self.set_epoch(state["epoch"])
        self._first = self._given = state["batch"]

    def _identity(self):
        return {"items": len(self.dataset), "batch_size": self.batch_size, "shuffle": self.shuffle,
                "drop_last": self.drop_last, "seed": self.seed}

    def __iter__(self) -> Iterator[Any]:
        first, self._first = self._first, 0
        self._given = first
        for parts in self._batches(first):
            self._given += 1
            batches = [tuple(self._tensor(array) for array in arrays) for arrays in parts]
            yield batches if self.shards.count > 1 else batches[0]

    def _batches(self, first):
        """Batches from number `first` on, in order: lists of this process's parts, each a tuple of arrays."""
        epoch, n, size = self.epoch, self._items, self.batch_size
        order = np.fromiter(self.sampler, np.int64) if self.sampler is not None else self._order(n, epoch)
        parts = (np.asarray(order[b * size : (b + 1) * size]) for b in range(first, len(self)))
        if self.num_workers == 0:
            return (self._make(part, epoch) for part in parts)
        return self._prefetched(parts, epoch)

    def _order(self, n, epoch):
        """Something whose slices are the indices of an epoch, in order."""
        if not self.shuffle:
            return range(n)
        block = getattr(self.dataset, "block", None)
        return permutation(n, self.seed, epoch) if block is None else Order(n, self.seed, epoch, block)

    def _prefetched(self, parts, epoch):
        """Like the plain loop, with a queue of batches in the making; leaves no thread behind when closed."""
        workers = ThreadPoolExecutor(self.num_workers, thread_name_prefix="minidl-loader")
        waiting = iter(parts)
        queue = deque()

        def refill():
            for part in waiting:
                queue.append(workers.submit(self._make, part, epoch))
                if len(queue) >= self.num_workers * self.prefetch_factor:
                    return

        try:
            refill()
            while queue:
                arrays = queue.popleft().result()  # raises here what was raised in the worker
                refill()
                yield arrays
        finally:
            workers.shutdown(wait=True, cancel_futures=True)

    def _make(self, indices, epoch):
        """This process's parts of one batch."""
        return [self._make_part(part, epoch) for part in self.shards.cut(indices)]

    def _make_part(self, indices, epoch):
        """The arrays of a part; images transformed (but see `_steps`) and still (N, H, W, C)."""
        arrays = self._fetch(indices)
        if self._images and self._on_gpu:
            batch = placed(self.transform, arrays[0], ImageRandom(self.seed, epoch, indices))
            if batch is not None:
                return batch, *arrays[1:]
        first, last = self._steps
        if first is not None:
            arrays = (first(arrays[0], ImageRandom(self.seed, epoch, indices)), *arrays[1:])
        if self._images and last is None:
            arrays = (to_float(arrays[0]), *arrays[1:])
        return arrays

    @property
    def _steps(self):
        """The transform in two parts: for a GPU, bytes are sent and normalised there; a quarter of the traffic."""
        steps = getattr(self.transform, "transforms", [])
        if not self._images or not steps or type(steps[-1]) is not Normalize or not self._on_gpu:
            return self.transform, None
        return Compose(steps[:-1]), steps[-1]

    def _fetch(self, indices):
        if hasattr(self.dataset, "batch"):
            return self.dataset.batch(indices)
        return stacked([self.dataset[int(index)] for index in indices])

    @property
    def _images(self):
        return getattr(self.dataset, "layout", None) == "HWC"

    @property
    def _on_gpu(self):
        return backend.kind_named(self.device).device != "cpu"

    def _tensor(self, array):
        if type(array) is Placed:
            return Tensor(array.on(self.device).transpose(0, 3, 1, 2))
        array = backend.to_device(array, self.device)
        if not self._images or array.ndim != 4:
            return Tensor(array)
        _, last = self._steps
        return Tensor((array if last is None else last(array)).transpose(0, 3, 1, 2))
