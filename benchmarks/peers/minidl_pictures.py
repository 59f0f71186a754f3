"""Jobs that read pictures from the disk, on minidl."""

from __future__ import annotations

import hashlib
import os
import statistics
import time

import models
from benchmarks.jobs import Job, forget_peak, peak, resident
from benchmarks.photographs import BATCH, MEAN, STD, means
from minidl import cross_entropy, optim
from minidl.data import Compose, DataLoader, ImageArchive, ImageFolder, Normalize, decoding, load
from minidl.training import EpochMeter, Progress


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


class Training(Job):
    """Steps of a training, as train.py takes them: `workers` None for one batch again and again."""

    def __init__(self, threads, folder, size, batch, steps, model, width, workers):
        images = load(f"{folder}/files", image_size=size)
        loader = DataLoader(images.train, batch, shuffle=True, drop_last=True, num_workers=workers or 0,
                            transform=images.transform("default"))
        self.loader = [next(iter(loader))] * steps if workers is None else loader
        self.model = models.create(model, num_classes=len(images.class_names), in_channels=images.channels, width=width)
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.steps, self.shares, self.epoch = steps, [], 0

    def look(self):
        """A digest of the first batch."""
        images, labels = next(iter(self.loader))
        return hashlib.sha256(images.data.tobytes() + labels.data.tobytes()).hexdigest()

    def rehearse(self):
        self.learn(2)

    def step(self):
        self.shares.append(self.learn(self.steps))

    def waited(self, rounds):
        """The share of the time waited for data that the bar shows, in the middle of the last rounds."""
        return statistics.median(self.shares[-rounds:])

    def learn(self, steps):
        """Take steps; the bar's share of time waited for data."""
        progress, meter = Progress(1, steps), EpochMeter(steps)
        for images, labels in progress.track(self.loader, meter):
            logits = self.model(images)
            loss = cross_entropy(logits, labels)
            self.model.zero_grad()
            loss.backward()
            meter.add(loss, logits, labels, 0.01)
            self.optimizer.step()
        share, self.epoch = progress.waits.share, self.epoch + 1
        if isinstance(self.loader, DataLoader):
            self.loader.set_epoch(self.epoch)
        return share


class Listing(Job):
    """An archive, or a folder with class folders, is listed, divided, and read here and there."""

    def __init__(self, threads, place):
        self.place = place

    def grow(self):
        """Bytes by which the resident size rises, and seconds that the listing takes."""
        kind = ImageFolder if os.path.isdir(self.place) else ImageArchive
        before = resident()
        forget_peak()
        start = time.perf_counter()
        whole = kind(self.place, 8)
        seconds = time.perf_counter() - start
        train, _ = whole.divided(0.1, 0)
        loader = DataLoader(train, BATCH, shuffle=True)
        for _, (images, _) in zip(range(20), loader):
            images.data[0, 0, 0, 0]
        return {"seconds": seconds, "rise": resident() - before, "peak": peak() - before}


JOBS = {"pictures": Pictures, "training": Training, "listing": Listing}
