"""Jobs that read pictures from the disk, with torchvision and PyTorch's DataLoader."""

from __future__ import annotations

import re
import sys

import torch
from torch.utils.data import DataLoader

from benchmarks.jobs import Job
from benchmarks.photographs import BATCH, MEAN, STD, means


def torchvision():
    """The package; where its compiled half was built for another PyTorch, the other half, which is all that is used."""
    declared = torch.library.Library("torchvision", "FRAGMENT")
    for _ in range(8):
        try:
            import torchvision.datasets
            import torchvision.transforms.v2

            torchvision.declared = declared
            return torchvision
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if not missing:
                raise
            declared.define(f"{missing[1]}(Tensor x) -> Tensor")
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
    raise RuntimeError("torchvision does not fit this PyTorch")


def decoded(path):
    """A picture as a tensor of bytes, without Pillow: by torchvision's decoder, or where it has none by simplejpeg."""
    import torchvision.io

    contents = torchvision.io.read_file(path) if hasattr(torch.ops.image, "decode_jpeg") else None
    if contents is not None:
        return torchvision.io.decode_jpeg(contents, torchvision.io.ImageReadMode.RGB)
    import simplejpeg

    with open(path, "rb") as file:
        return torch.from_numpy(simplejpeg.decode_jpeg(file.read())).permute(2, 0, 1)


class Pictures(Job):
    """An epoch of batches, in shuffled order."""

    def __init__(self, threads, folder, size, tensors):
        torch.set_num_threads(threads)
        v2 = torchvision().transforms.v2
        shape = [v2.Resize(size, antialias=True), v2.CenterCrop(size)]
        numbers = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        transform = v2.Compose([*shape, *numbers] if tensors else [*shape, v2.PILToTensor(), *numbers])
        options = {"loader": decoded} if tensors else {}
        data = torchvision().datasets.ImageFolder(f"{folder}/files", transform, **options)
        self.plain = DataLoader(data, BATCH)
        self.loader = DataLoader(data, BATCH, shuffle=True, num_workers=threads, persistent_workers=True)

    def look(self):
        """The first pictures, each as the means of 4 x 4 parts."""
        images, _ = next(iter(self.plain))
        return means(images[:8].numpy())

    def step(self):
        for images, _ in self.loader:
            images[0, 0, 0, 0]


JOBS = {"pictures": Pictures}
