"""Data: sets of images, transforms of batches, loaders.

Start with `load`, which knows the data sets by name, and `DataLoader`:

>>> from minidl import data
>>> digits = data.load("digits")
>>> loader = data.DataLoader(digits.train, batch_size=128, shuffle=True, transform=digits.transform("default"))
>>> images, labels = next(iter(loader))
>>> images.shape, labels.shape
((128, 1, 16, 16), (128,))
"""

from minidl.data.augmentation import PRESETS, augmentation
from minidl.data.catalogue import LOADERS, load
from minidl.data.dataset import ArrayDataset, Dataset, Subset, TensorDataset, stratified_split
from minidl.data.errors import DataError
from minidl.data.folder import ImageFolder
from minidl.data.geometry import RandomAffine, RandomRotation, RandomZoom
from minidl.data.image_archive import ImageArchive
from minidl.data.loader import DataLoader
from minidl.data.photometric import ColorJitter, Cutout, RandomErasing, ToChannels
from minidl.data.random import ImageRandom
from minidl.data.splits import DataSplits, load_folder
from minidl.data.transforms import (
    AlternatingFlip,
    CenterCrop,
    Compose,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    RandomShift,
    RandomVerticalFlip,
    Resize,
    ToFloat,
)

__all__ = [
    "LOADERS", "PRESETS", "AlternatingFlip", "ArrayDataset", "CenterCrop", "ColorJitter", "Compose", "Cutout",
    "DataError", "DataLoader", "DataSplits", "Dataset", "ImageArchive", "ImageFolder", "ImageRandom", "Normalize",
    "RandomAffine", "RandomCrop", "RandomErasing", "RandomHorizontalFlip", "RandomRotation", "RandomShift",
    "RandomVerticalFlip", "RandomZoom", "Resize", "Subset", "TensorDataset", "ToChannels", "ToFloat", "augmentation",
    "load", "load_folder", "stratified_split",
]
