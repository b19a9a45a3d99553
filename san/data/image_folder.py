"""The user's own images: all images of a folder, in gray."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS, default_loader, has_file_allowed_extension
from torchvision.transforms import functional as transforms

from san.data.scaling import Scaling, scaled_splits, split_in_order
from san.data.splits import Splits

__all__ = ["load"]


def load(
    *,
    path: str,
    size: Sequence[int] | None,
    fractions: Sequence[float],
    scaling: Scaling,
    value_range: Sequence[float],
) -> Splits:
    """Read all images of a folder and its subfolders, in the order of their paths.

    Args:
        path: Path of the folder.
        size: Rows and columns to resize every image to; None if all images have the same size.
        fractions: Fractions of the images for training, validation and test, in order.
        scaling: Scaling of the pixels, which are in [0, 1]; see :func:`san.data.scaling.scaled_splits`.
        value_range: Smallest and largest value after scaling, if scaling is ``range``.

    Raises:
        FileNotFoundError: If the folder does not exist or has no image.
        ValueError: If an image cannot be read or differs in size, or a choice is unknown.
    """
    folder = Path(path)
    files = sorted(file for file in folder.rglob("*") if has_file_allowed_extension(file.name, IMG_EXTENSIONS))
    if not files:
        raise FileNotFoundError(f"path={path} has no image: give a folder of {', '.join(IMG_EXTENSIONS)} files")
    images = [_read_image(file, size) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"{file} has {tuple(image.shape[1:])} pixels, {files[0].name} {tuple(images[0].shape[1:])}: "
                "give size=[rows,columns] to resize all"
            )
    parts = split_in_order(torch.stack(images), fractions, folder.name)
    return scaled_splits(parts, name=f"images/{folder.name}", scaling=scaling, value_range=value_range)


def _read_image(file: Path, size: Sequence[int] | None) -> Tensor:
    """Return the gray pixels of an image, [1, rows, columns] in [0, 1] and float64."""
    try:
        gray = transforms.to_grayscale(default_loader(str(file)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as an image: {error}") from error
    if size is not None:
        gray = transforms.resize(gray, list(size))
    pixels: Tensor = transforms.pil_to_tensor(gray)
    return pixels.double() / 255
