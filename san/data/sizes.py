"""Bounds on what a file may claim to hold, compared with its size before memory is reserved."""

from pathlib import Path

__all__ = ["refuse_excess"]

MAX_SAMPLES, MAX_SAMPLES_PER_BYTE = 10_000_000, 100


def refuse_excess(n_samples: int, file: Path) -> None:
    """Refuse a number of samples that is far beyond the size of the file, which may be a decompression bomb.

    Args:
        n_samples: The number of samples that the header claims.
        file: The file.

    Raises:
        ValueError: If it exceeds 10 million plus 100 for each byte of the file.
    """
    n_bytes = file.stat().st_size
    if n_samples > MAX_SAMPLES + MAX_SAMPLES_PER_BYTE * n_bytes:
        raise ValueError(f"it claims {n_samples} samples in {n_bytes} bytes")
