"""An array of one's own, in NumPy's file format."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from san.data.scaling import scaled_splits, signal_splits, split_in_order
from san.data.splits import Splits

__all__ = ["load"]


def load(*, path: str, sampling_frequency: float | None, **how: Any) -> Splits:
    """Read signals or images.

    Args:
        path: Of a ``.npy`` file: [samples], one long signal that is cut into windows; [examples, samples]; or
            [examples, rows, columns], images.
        sampling_frequency: In hertz; None where it is not known.
        **how: They are cut, split and scaled; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, cut or scaled as asked.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"path={path} is not there: give a .npy file")
    try:
        # Mapped, as a header may claim what the file does not have.
        array = np.load(file, mmap_mode="r", allow_pickle=False).astype(np.float64)
    except Exception as error:
        raise ValueError(f"path={path} cannot be read as an array of numbers: {error}") from error
    name = f"numpy/{file.stem}"
    if array.ndim == 1:
        return signal_splits(array, name=name, sampling_frequency=sampling_frequency, **how)
    if array.ndim not in (2, 3):
        raise ValueError(f"path={path} has {array.ndim} axes: 1 is a long signal, 2 are signals, 3 are images")
    return scaled_splits(
        split_in_order(torch.from_numpy(array).unsqueeze(1), how["fractions"], name),
        name=name,
        scaling=how["scaling"],
        value_range=how["value_range"],
        sampling_frequency=sampling_frequency if array.ndim == 2 else None,
    )
