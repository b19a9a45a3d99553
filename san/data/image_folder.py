"""The user's own images: all images of a folder, in gray or in colors."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps

from san.data.arguments import checked_arguments
from san.data.files import existing_folder
from san.data.scaling import ScaledBy, Scaling, scaled_splits, split_in_order
from san.data.splits import Splits
from san.ops.choices import check_choice

__all__ = ["Mode", "load"]

Mode = Literal["grey", "rgb"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Of Pillow, which would otherwise recognize by content any format, and run Ghostscript for PostScript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SWAPS_AXES = (5, 6, 7, 8)  # values of the EXIF orientation
OF_RUNS = (".hydra", "multirun.yaml", "results.json")  # in the folder of a run or a multirun
WHITE_IS_ZERO = 0  # a value of the TIFF tag PhotometricInterpretation
PHOTOMETRIC_INTERPRETATION = 262
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 2**26  # of an image, above which Pillow warns of a decompression bomb
# Of all images together. Photographs have 1 to 20 pixels per byte, blank images up to thousands.
MAX_UNEXPECTED_PIXELS, MAX_PIXELS_PER_BYTE = 50_000_000, 20

# Names of the channels of each mode; the only channel of gray images has none.
CHANNELS = {"grey": ("",), "rgb": ("red", "green", "blue")}

log = logging.getLogger(__name__)


@checked_arguments
def load(
    *,
    path: str,
    size: Sequence[int] | None,
    fractions: Sequence[float],
    scaling: Scaling,
    value_range: Sequence[float],
    scaled_by: ScaledBy,
    scale: Mapping[str, Any] | None = None,
    mode: Mode = "grey",
    max_pixels: int = MAX_UNEXPECTED_PIXELS,
) -> Splits:
    """Read all images of a folder and its subfolders, in the order of their paths.

    Black is 0, and 1 is the largest value that the pixels of the file can have: 255 for 8 bits, 65535 for 16 bits.
    Pixels stored as floating-point numbers or 32-bit integers have no such value: they are read as they are, if all of
    them are in [0, 1]. Colors become gray by the luma of ITU-R 601-2, or three channels. The EXIF orientation is
    applied, color profiles are not.

    Args:
        path: Path of the folder.
        size: Rows and columns to resize every image to; None if all images have the same size.
        fractions: Fractions of the images for training, validation and test, in order.
        scaling: Scaling of the pixels, which are in [0, 1]; see :func:`san.data.scaling.scaled_splits`.
        value_range: Values that the minimum and the maximum are scaled to, if scaling is ``range``.
        scaled_by: Images with the statistics for ``all`` and ``range``; see :func:`san.data.scaling.scaled_splits`.
        scale: Scale of a checkpoint, whose statistics replace those of these images.
        mode: ``grey`` for one channel; ``rgb`` for the channels red, green and blue, which are equal in a gray image.
        max_pixels: Most pixels of all images together, beside 20 for each byte of their files.

    Raises:
        FileNotFoundError: If the folder does not exist or has no image.
        ValueError: If an image cannot be read, has several frames, transparent pixels, 16-bit colors or pixels without
            a range, or differs in size, if the files are too small for the pixels they claim, or a choice is unknown.
    """
    check_choice("mode", mode, Mode)
    if size is not None and (len(size) != 2 or min(size) < 1 or prod(size) > MAX_PIXELS):
        raise ValueError(
            f"size={list(size)} must be two positive numbers of pixels, [rows, columns], of {MAX_PIXELS} pixels at most"
        )
    folder = existing_folder(path, f"give a folder of {', '.join(SUFFIXES)} files")
    files = _image_files(folder)
    shapes = _shapes(files)
    _refuse_bombs(shapes, folder, max_pixels)
    shape = _common_shape(shapes) if size is None else tuple(size)
    # Pixels that scaling does not change are read in their final precision, which needs half the memory.
    dtype = torch.get_default_dtype() if scaling == "none" else torch.float64
    images = torch.empty(len(files), len(CHANNELS[mode]), *shape, dtype=dtype)
    values = images.numpy()
    for image, file in zip(values, files, strict=True):
        image[:] = _read_image(file, shape, mode, resize=size is not None, dtype=values.dtype)
    parts = split_in_order(images, fractions, folder.name)
    return scaled_splits(
        parts,
        name=f"images/{folder.name}",
        scaling=scaling,
        value_range=value_range,
        scaled_by=scaled_by,
        scale=scale,
        channels=CHANNELS[mode],
    )


def _image_files(folder: Path) -> list[Path]:
    """Return the images of a folder and its subfolders by their suffixes, sorted; report the files skipped."""
    found = sorted(file for file in folder.rglob("*") if not file.is_dir())
    of_runs = {parent for parent in {file.parent for file in found} if _has_outputs(parent, folder)}
    outputs = {file for file in found if file.parent in of_runs}
    files = [file for file in found if file not in outputs]
    if figures := [file for file in outputs if file.suffix.lower() in SUFFIXES]:
        log.warning("%s: %d images skipped that are outputs of runs, such as %s", folder, len(figures), min(figures))
    skipped = [file for file in files if file.suffix.lower() not in SUFFIXES]
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not images:
        raise FileNotFoundError(f"path={folder} has no image: give a folder of {', '.join(SUFFIXES)} files")
    if skipped:
        log.warning("%s: %d files skipped by their suffix, the first %s", folder, len(skipped), skipped[0])
    return images


def _has_outputs(parent: Path, folder: Path) -> bool:
    """Return whether a folder in another one is in the folder of a run, or has the figures of the run that this is."""
    above = parent.relative_to(folder).parts
    is_figure = above[:1] == ("figures",) and _is_run(folder)
    return is_figure or any(_is_run(folder.joinpath(*above[:depth])) for depth in range(1, len(above) + 1))


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in OF_RUNS)


def _shapes(files: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Return the rows and columns of each image, from its header."""
    shapes = {}
    for file in files:
        with _opened(file) as image:
            columns, rows = image.size
            # Pillow applies the orientation of a TIFF file itself; to ask a PNG file can decode its pixels.
            if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
                orientation = None
            else:
                orientation = image.getexif().get(ExifTags.Base.Orientation)
            shapes[file] = (columns, rows) if orientation in SWAPS_AXES else (rows, columns)
    return shapes


def _refuse_bombs(shapes: Mapping[Path, tuple[int, int]], folder: Path, max_pixels: int) -> None:
    """Refuse images that would take much memory and time, although their files are small."""
    n_bytes = sum(file.stat().st_size for file in shapes)
    n_pixels = sum(map(prod, shapes.values()))
    if n_pixels > max_pixels + MAX_PIXELS_PER_BYTE * n_bytes:
        raise ValueError(
            f"{folder} has images of {n_pixels} pixels in {n_bytes} bytes, which may be decompression bombs: if they "
            f"are yours, add +dataset.max_pixels={n_pixels}"
        )


def _common_shape(shapes: Mapping[Path, tuple[int, int]]) -> tuple[int, int]:
    """Return the rows and columns of all images, and refuse images that differ in size."""
    shape = next(iter(shapes.values()))
    for file, found in shapes.items():
        if found != shape:
            raise _differs(file, found, shape)
    return shape


def _differs(file: Path, found: tuple[int, ...], expected: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"{file} has {found[0]} x {found[1]} pixels (rows x columns), the images before it have {expected[0]} x "
        f"{expected[1]}: give size=[rows,columns] to resize all"
    )


def _read_image(file: Path, shape: tuple[int, ...], mode: Mode, *, resize: bool, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the pixels of an image in [0, 1], [channels, rows, columns]; one channel if it is gray."""
    with _opened(file) as image:
        plain, white = _plain(image, mode)
        pixels = np.asarray(plain)
        if white is None and not ((pixels >= 0) & (pixels <= 1)).all():
            raise ValueError(
                f"its {pixels.dtype} pixels are from {pixels.min():g} to {pixels.max():g} and have no largest value: "
                "rescale all images to [0, 1] by the same numbers, or save them with 16 bits, without sign"
            )
        if resize:
            if plain.mode not in ("L", "RGB"):  # Pillow rounds 16-bit pixels wrongly
                plain = Image.fromarray(pixels.astype(np.float32))
            pixels = np.asarray(plain.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
    if pixels.shape[:2] != shape:
        raise _differs(file, pixels.shape, shape)
    channels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    scaled = channels.astype(dtype)
    scaled /= white or 1
    return scaled


def _plain(image: ImageFile.ImageFile, mode: Mode) -> tuple[Image.Image, float | None]:
    """Return an image in gray or in colors, and the value of white; None if the format has no such value."""
    stored = str([tile.args for tile in image.tile])  # known until the pixels are loaded
    is_16_bit = image.mode.startswith("I;16")
    if not is_16_bit and image.mode != "I" and (";16" in stored or _is_wide_ppm(image)):
        raise ValueError(
            "it has colors or transparency of 16 bits, of which only 8 can be read: save it in 16-bit gray"
        )
    tags = image.getexif() if image.format == "TIFF" else {}
    if tags.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO and image.mode not in ("1", "L"):  # Pillow inverts these
        raise ValueError("white is stored as 0 (WhiteIsZero), which is read for 8 bits only: invert it")
    ImageOps.exif_transpose(image, in_place=True)
    if _has_transparent_pixels(image):
        raise ValueError("it has transparent pixels: put it on a background, and save it without transparency")
    if is_16_bit:
        return image, 4095 if ";12" in stored else 65535
    if image.mode == "I" and image.format == "PPM":  # Pillow scales all of them to 16 bits
        return image, 65535
    if image.mode in ("I", "F"):
        return image, None
    if image.mode == "L":
        return image, 255
    if image.mode in ("1", "LA"):
        return image.convert("L"), 255
    colors = image.convert("RGB")
    return colors if mode == "rgb" else colors.convert("L"), 255


def _is_wide_ppm(image: ImageFile.ImageFile) -> bool:
    """Return whether an image is a PPM file with more than 8 bits per channel."""
    arguments = image.tile[0].args if image.format == "PPM" else ""
    return isinstance(arguments, tuple) and image.mode == "RGB" and arguments[1] > 255


def _has_transparent_pixels(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    if image.mode.startswith("I;16"):
        return bool((np.asarray(image) == image.info["transparency"]).any())
    return bool((np.asarray(image.convert("RGBA").getchannel("A")) < 255).any())


@contextmanager
def _opened(file: Path) -> Iterator[ImageFile.ImageFile]:
    """Open an image with one frame, and raise every error on it as a ``ValueError`` that names the file."""
    try:
        if not file.is_file():
            raise ValueError("it is not a regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                # The second picture of a JPEG file (format MPO) is a preview, a depth map or a gain map of the first.
                if getattr(image, "is_animated", False) and image.format != "MPO":
                    raise ValueError("it has several pages or frames: save each as an image of its own")
                yield image
    except Exception as error:
        raise ValueError(f"{file} cannot be read as an image: {error}") from error
