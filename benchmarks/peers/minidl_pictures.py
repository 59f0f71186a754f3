"""Jobs that read pictures from the disk, on minidl."""

from __future__ import annotations

import os
import time

from benchmarks.jobs import Job, forget_peak, peak, resident
from benchmarks.photographs import BATCH, MEAN, STD, means
from minidl.data import Compose, DataLoader, ImageArchive, ImageFolder, Normalize, decoding


class Pictures(Job):
    """An epoch of batches, in shuffled order."""

    def __init__(self, threads, folder, size, kind, only_pillow=False, cache=0):
        if only_pillow:
            decoding._simplejpeg = lambda: None
        data = ImageFolder(f"{folder}/files", size) if kind == "folder" else ImageArchive(f"{folder}/archives", size)
        if cache:
            data.keep_decoded(cache)
        options = dict(batch_size=BATCH, transform=Compose([Normalize(MEAN, STD)]), num_workers=threads)
        self.plain = DataLoader(data, **options)
        self.loader = DataLoader(data, shuffle=True, **options)

    def look(self):
        """The first pictures, each as the means of 4 x 4 parts."""
        images, _ = next(iter(self.plain))
        return means(images.data[:8])

    def step(self):
        for images, _ in self.loader:
            images.data[0, 0, 0, 0]
        self.loader.set_epoch(self.loader.epoch + 1)


class Listing(Job):
    """An archive is listed, divided, and read here and there."""

    def __init__(self, threads, archive):
        self.archive = archive
        os.utime(archive, (1, 1))  # old enough for its list to be kept

    def grow(self):
        """Bytes by which the resident size rises, and seconds that the listing takes."""
        before = resident()
        forget_peak()
        start = time.perf_counter()
        whole = ImageArchive(self.archive, 8)
        seconds = time.perf_counter() - start
        train, _ = whole.divided(0.1, 0)
        loader = DataLoader(train, BATCH, shuffle=True)
        for _, (images, _) in zip(range(20), loader):
            images.data[0, 0, 0, 0]
        return {"seconds": seconds, "rise": resident() - before, "peak": peak() - before}


JOBS = {"pictures": Pictures, "listing": Listing}
