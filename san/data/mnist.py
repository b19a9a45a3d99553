"""MNIST and FashionMNIST, by torchvision: images of 28 x 28 pixels."""

from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from torchvision import datasets

from san.data.splits import Labels, Splits

__all__ = ["load"]

# What torchvision raises where a file is absent, cannot be downloaded, or is not what its header claims.
DAMAGE = (OSError, RuntimeError, ValueError, AssertionError, KeyError, TypeError)
COLLECTIONS = {"MNIST": datasets.MNIST, "FashionMNIST": datasets.FashionMNIST}


def load(*, collection: str, n_validation: int, data_dir: str) -> Splits:
    """Read a collection from the data folder, or download it into it.

    The pixels are in [0, 1]. The last images of the training file are the validation split.

    Args:
        collection: ``MNIST`` or ``FashionMNIST``.
        n_validation: Images of the validation split.
        data_dir: Folder that has, or is given, ``MNIST/raw`` or ``FashionMNIST/raw``.

    Raises:
        FileNotFoundError: If the collection is neither there nor can be downloaded.
        ValueError: If there is no such collection, or the validation split takes all images.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-C.
    """
    if collection not in COLLECTIONS:
        raise ValueError(f"dataset.collection={collection} must be one of {', '.join(COLLECTIONS)}")
    (training, labels), (test, test_labels) = (_images(collection, data_dir, train) for train in (True, False))
    n_training = len(training) - n_validation
    if n_validation < 1 or n_training < 1:
        raise ValueError(
            f"dataset.n_validation={n_validation} must leave some of the {len(training)} images to train on"
        )
    parts = [n_training, n_validation]
    train, validation = training.split(parts)
    train_labels, validation_labels = labels.split(parts)
    return Splits(
        name=collection.lower(),
        train=train,
        validation=validation,
        test=test,
        units="intensity",
        labels=Labels(COLLECTIONS[collection].classes, train_labels, validation_labels, test_labels),
    )


def _images(collection: str, data_dir: str, train: bool) -> tuple[Tensor, Tensor]:
    """Return the pixels, [images, 1, 28, 28] in [0, 1], and the classes."""
    folder = Path(data_dir).resolve() / collection / "raw"
    try:
        found = COLLECTIONS[collection](data_dir, train=train, download=True)
    except DAMAGE as error:
        for empty in (folder, folder.parent):
            with suppress(OSError):
                empty.rmdir()
        raise FileNotFoundError(
            f"{collection}: its files are not, or not whole, in {folder}, and were not downloaded "
            f"({type(error).__name__}): put the four idx files there (paths.data_dir or SAN_DATA_DIR names the "
            f"folder above {collection})"
        ) from error
    return found.data.unsqueeze(1) / 255, found.targets.to(torch.int64)
