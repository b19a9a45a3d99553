"""The images of a folder of one's own, in grey."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS as EXTENSIONS
from torchvision.datasets.folder import default_loader, has_file_allowed_extension
from torchvision.transforms import functional as transforms

from san.data.scaling import scaled_splits, split_in_order
from san.data.splits import Splits

__all__ = ["load"]


def load(
    *,
    path: str,
    size: Sequence[int] | None,
    fractions: Sequence[float],
    scaling: str,
    value_range: Sequence[float],
) -> Splits:
    """Read all images of a folder and those below it, in the order of their paths.

    Args:
        path: Of the folder.
        size: Rows and columns to resize to; None where all images have the same size.
        fractions: For training, validation and test, in order.
        scaling: Of the pixels, which are in [0, 1]; see :func:`san.data.scaling.scaled_splits`.
        value_range: The least and the largest value, where scaling is ``range``.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
        ValueError: If an image cannot be read, or is of another size.
    """
    folder = Path(path)
    files = sorted(file for file in folder.rglob("*") if has_file_allowed_extension(file.name, EXTENSIONS))
    if not files:
        raise FileNotFoundError(f"path={path} has no image: give a folder of {', '.join(EXTENSIONS)} files")
    images = [_read(file, size) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"{file} has {tuple(image.shape[1:])} pixels, {files[0].name} {tuple(images[0].shape[1:])}: "
                "give dataset.size=[rows,columns] to resize all"
            )
    parts = split_in_order(torch.stack(images), fractions, folder.name)
    return scaled_splits(parts, name=f"images/{folder.name}", scaling=scaling, value_range=value_range)


def _read(file: Path, size: Sequence[int] | None) -> Tensor:
    try:
        grey = transforms.to_grayscale(default_loader(str(file)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as an image: {error}") from error
    if size is not None:
        grey = transforms.resize(grey, list(size))
    pixels: Tensor = transforms.pil_to_tensor(grey)
    return pixels.double() / 255
