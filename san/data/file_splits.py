"""From recordings in files to splits: one recording is divided in time, several by file."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from san.data.arguments import checked_arguments
from san.data.files import matching_files
from san.data.scale import Scale, Scaling
from san.data.scaling import Nan, check_fractions, finite_samples, scaled_splits, signal_splits, windows_of
from san.data.signal import Signal
from san.data.splits import Splits

__all__ = ["file_splits"]

log = logging.getLogger(__name__)


def file_splits(read: Callable[..., Signal], path: str, suffixes: Sequence[str], **options: Any) -> Splits:
    """Read one recording and divide it in time, or read several and split them by file.

    Args:
        read: Reads the recording in a file, ``read(path=...)``.
        path: Path of a file; of a folder, for all files in it and its subfolders with the suffixes; or a pattern such
            as ``data/*.edf``.
        suffixes: Suffixes of the format, in lower case.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If no file is there.
        ValueError: If a file cannot be read, the recordings have different units, sampling frequencies or numbers of
            channels, there are one or two of them in a folder, or an option is invalid or does not fit the recordings.
    """
    files = matching_files(path, suffixes)
    if files is None:
        signal = read(path=path)
        return signal_splits(
            signal.samples,
            name=signal.name,
            sampling_frequency=signal.sampling_frequency,
            channels=signal.channels,
            channel_units=signal.channel_units,
            **options,
        )
    if len(files) < 3:
        raise ValueError(
            f"path={path} has {len(files)} recordings, {', '.join(map(str, files))}: give three or more, for training, "
            "validation and test, or the path of one file, which is divided in time"
        )
    signals = [read(path=str(file)) for file in files]
    _refuse_differences(files, signals)
    return _split_by_file(files, signals, **options)


@checked_arguments
def _split_by_file(
    files: Sequence[Path],
    signals: Sequence[Signal],
    *,
    window: int,
    stride: int | None,
    fractions: Sequence[float],
    scaling: Scaling,
    nan: Nan,
    **scaling_options: Any,
) -> Splits:
    """Divide each recording into windows, and give whole files to the splits, in order of their paths."""
    step = window if stride is None else stride
    if window < 1 or step < 1:
        raise ValueError(f"window={window} and stride={stride} must be positive numbers of samples")
    check_fractions(fractions)
    windows = [
        _windows(f"{file}", signal, window, step, scaling, nan) for file, signal in zip(files, signals, strict=True)
    ]
    first, second = _cuts([len(part) for part in windows], fractions)
    bounds = {"training": (0, first), "validation": (first, second), "test": (second, len(files))}
    parts = []
    for split, (start, stop) in bounds.items():
        parts.append(torch.cat(windows[start:stop]))
        log.info("%s: %d examples of %s to %s", split, len(parts[-1]), files[start], files[stop - 1])
    kind = signals[0].name.partition("/")[0]
    folder = Path(os.path.commonpath([file.parent for file in files])).resolve().name
    return scaled_splits(
        parts,
        name=f"{kind}/{folder}",
        scaling=scaling,
        sampling_frequency=signals[0].sampling_frequency,
        channels=_common_names(signals),
        channel_units=signals[0].channel_units,
        **scaling_options,
    )


def _windows(place: str, signal: Signal, window: int, step: int, scaling: Scaling, nan: Nan) -> Tensor:
    """Return the windows of one recording, [windows, channels, samples]."""
    if signal.n_samples < window:
        raise ValueError(
            f"{place} has {signal.n_samples} samples, fewer than window={window}: lower window or remove the file"
        )
    samples: NDArray[np.float64] = finite_samples(signal.samples, nan, place, signal.channels)
    windows = windows_of(torch.from_numpy(samples), window, step)
    if scaling == "example":
        # Refuses a constant window, and names its file.
        Scale("example").statistics(windows, place, signal.channels)
    return windows


def _common_names(signals: Sequence[Signal]) -> tuple[str, ...]:
    """Return the name of each channel; empty where the recordings have different names."""
    names = [{*own} for own in zip(*(signal.channels for signal in signals), strict=True)]
    return tuple(own.pop() if len(own) == 1 else "" for own in names)


def _cuts(counts: Sequence[int], fractions: Sequence[float]) -> tuple[int, int]:
    """Return the first file of validation and of test, so that the fractions of the examples are as near as possible.

    Args:
        counts: Number of examples of each file, of three or more files.
        fractions: Fractions for training, validation and test, in order.
    """
    ends = np.cumsum(counts)
    wanted = np.cumsum(fractions)[:2] * ends[-1]
    first = 1 + int(np.abs(ends[:-2] - wanted[0]).argmin())
    second = 1 + first + int(np.abs(ends[first:-1] - wanted[1]).argmin())
    return first, second


def _refuse_differences(files: Sequence[Path], signals: Sequence[Signal]) -> None:
    """Refuse recordings that cannot be examples of one set; report different names of their channels."""
    first = signals[0]
    for file, signal in zip(files, signals, strict=True):
        if signal.n_channels != first.n_channels:
            raise ValueError(
                f"{file} has {signal.n_channels} channels, {files[0]} {first.n_channels}: all recordings must have the "
                "same number; choose channels that all of them have, such as channel=[0,1], or remove the others"
            )
        here, there = signal.sampling_frequency, first.sampling_frequency
        pairs: list[tuple[str, object, object]] = [("sampling_frequency", here, there)]
        for position, (own, other) in enumerate(zip(signal.channels, first.channels, strict=True)):
            name = "unit" if signal.n_channels == 1 else f"unit of channel {own or position}"
            pairs.append((name, signal.channel_units[position], first.channel_units[position]))
            if own != other:
                log.warning("%s has the channel %s, %s has %s", file, own, files[0], other)
        for name, found, expected in pairs:
            if found != expected:
                raise ValueError(
                    f"{file} has the {name} {found or 'unknown'}, {files[0]} {expected or 'unknown'}: all recordings "
                    "must have the same; remove or convert the others"
                )
