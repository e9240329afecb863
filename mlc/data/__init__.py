"""Data for training: batches in a reproducible order, augmentation, running means of loss and accuracy.

    train = mlc.data.DataLoader(mlc.data.ArrayDataset(images, labels), batch_size=64, shuffle=True, seed=0)
    for x, y in train:
        loss.update(step(x, y), len(x))

Every random number is a function of (seed, epoch, number of the sample): neither the batch size, nor prefetching, nor where a run was
stopped and resumed changes it. NumPy alone is needed.
"""

from mlc.data.dataset import ArrayDataset, Dataset, Subset, random_split
from mlc.data.draws import Draws
from mlc.data.loader import DataLoader
from mlc.data.metrics import Accuracy, Mean
from mlc.data.monitor import Monitor
from mlc.data.transforms import CenterCrop, Compose, Normalize, RandomCrop, RandomHorizontalFlip, Transform

__all__ = [
    "Accuracy",
    "ArrayDataset",
    "CenterCrop",
    "Compose",
    "DataLoader",
    "Dataset",
    "Draws",
    "Mean",
    "Monitor",
    "Normalize",
    "RandomCrop",
    "RandomHorizontalFlip",
    "Subset",
    "Transform",
    "random_split",
]
