"""Read the samples of one channel of a WFDB record, and compare their checksum with the header."""

from typing import Any

import numpy as np
import wfdb
from numpy.typing import NDArray

__all__ = ["ChannelReader"]


class ChannelReader:
    """Read a channel in parts; once all samples have been read in order, compare their checksum with the header.

    The checksum is the sum of all samples, in 16 bits with sign, as the WFDB specification of headers, header(5),
    defines it; a header may have none. Each sample read is the mean of a frame, and NaN if a sample of the frame is
    invalid.

    Args:
        location: Path of the record without suffix, or its name in a database of PhysioNet.
        remote_database: Name of this database; None for files on disk.
        header: Header of the record, which has one segment.
        index: Index of the channel.
    """

    def __init__(self, location: str, remote_database: str | None, header: wfdb.Record, index: int) -> None:
        self.location, self.header, self.index = location, header, index
        self.options = {"pn_dir": remote_database, "channels": [index], "physical": False, "smooth_frames": False}
        self.total = self.end = 0

    def read(self, start: int, stop: int | None) -> wfdb.Record:
        """Return the record with the samples from start to before stop, or to the end if it is None.

        Raises:
            ValueError: If this completes the samples, and their checksum is not that of the header.
        """
        options = {**self.options, "sampfrom": start, "sampto": stop, "return_res": 32}
        content = wfdb.rdrecord(self.location, **options)
        n_per_frame = self.header.samps_per_frame[self.index] or 1
        if self.header.checksum[self.index] is not None:
            is_skewed = bool(self.header.skew[self.index])
            stored = wfdb.rdrecord(self.location, **options, ignore_skew=True) if is_skewed else content
            frames = stored.e_d_signal[0].reshape(-1, n_per_frame)
            self._add(frames, start, is_last=stop in (None, self.header.sig_len))
        invalid = None
        if n_per_frame > 1:  # wfdb would average an invalid sample with the others
            invalid = np.isnan(content.dac(expanded=True)[0]).reshape(-1, n_per_frame).any(1)
        content.d_signal, content.e_d_signal = content.smooth_frames("digital"), None
        content.dac(inplace=True)
        if invalid is not None:
            content.p_signal[invalid] = np.nan
        return content

    def _add(self, frames: NDArray[Any], start: int, *, is_last: bool) -> None:
        """Add the stored samples of a part, [frames, samples per frame], to the sum; refuse a wrong checksum."""
        if not start <= self.end < start + len(frames):
            return
        self.total += int(frames[self.end - start :].sum(dtype=np.int64))
        self.end = start + len(frames)
        expected = self.header.checksum[self.index]
        highest = 2**16 if expected >= 2**15 else 2**15  # some programs write it without sign
        found = (self.total + 2**16 - highest) % 2**16 - (2**16 - highest)
        if is_last and (found - expected) % 2**16:
            raise ValueError(
                f"channel {self.header.sig_name[self.index]} has the checksum {found}, the header gives {expected}: "
                f"get the files again, or write {found} into the header if its samples are right"
            )
