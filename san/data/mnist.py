"""MNIST and FashionMNIST from torchvision: images of 28 x 28 pixels."""

from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchvision import datasets

from san.data.arguments import checked_arguments
from san.data.scale import Scale
from san.data.splits import Labels, Splits
from san.ops.choices import check_choice

__all__ = ["Collection", "load"]

Collection = Literal["MNIST", "FashionMNIST"]

DATASETS = {"MNIST": datasets.MNIST, "FashionMNIST": datasets.FashionMNIST}
# Exceptions that torchvision raises if a file is missing, cannot be downloaded, or contradicts its header.
READ_ERRORS = (OSError, RuntimeError, ValueError, AssertionError, KeyError, TypeError)


@checked_arguments
def load(*, collection: Collection, n_validation: int, data_dir: str) -> Splits:
    """Read a collection from the data folder; download it if it is missing.

    The pixels are in [0, 1]. The last images of the training file are the validation split.

    Args:
        collection: ``MNIST`` or ``FashionMNIST``.
        n_validation: Number of images of the validation split.
        data_dir: Folder that contains ``MNIST/raw`` or ``FashionMNIST/raw``, or into which it is downloaded.

    Raises:
        FileNotFoundError: If the collection is missing or damaged and cannot be downloaded.
        ValueError: If the collection is unknown, or the validation split is empty or takes all training images.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-C.
    """
    check_choice("collection", collection, Collection)
    (training, labels), (test, test_labels) = (_read_file(collection, data_dir, train) for train in (True, False))
    n_training = len(training) - n_validation
    if n_validation < 1 or n_training < 1:
        raise ValueError(f"n_validation={n_validation} must be from 1 to {len(training) - 1}")
    sizes = [n_training, n_validation]
    train, validation = training.split(sizes)
    train_labels, validation_labels = labels.split(sizes)
    return Splits(
        name=collection.lower(),
        train=train,
        validation=validation,
        test=test,
        units="intensity",
        scale=Scale("none"),
        labels=Labels(DATASETS[collection].classes, train_labels, validation_labels, test_labels),
    )


def _read_file(collection: Collection, data_dir: str, train: bool) -> tuple[Tensor, Tensor]:
    """Return the pixels, [images, 1, 28, 28] in [0, 1], and the classes, of the training file or the test file."""
    folder = Path(data_dir).resolve() / collection / "raw"
    try:
        dataset = DATASETS[collection](data_dir, train=train, download=True)
    except READ_ERRORS as error:
        for empty in (folder, folder.parent):
            with suppress(OSError):
                empty.rmdir()
        raise FileNotFoundError(
            f"{collection}: its files are not in {folder} or are damaged, and could not be downloaded "
            f"({type(error).__name__}): put the four idx files there, or choose another data_dir, the folder that "
            f"contains {collection}/raw"
        ) from error
    return dataset.data.unsqueeze(1) / 255, dataset.targets.to(torch.int64)
