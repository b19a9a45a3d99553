"""Read the samples of channels of a WFDB record, and compare their checksums with the header."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import wfdb
from numpy.typing import NDArray

__all__ = ["ChannelReader"]


class ChannelReader:
    """Read channels in parts; once all samples have been read in order, compare their checksums with the header.

    The checksum of a channel is the sum of all its samples, in 16 bits with sign, as the WFDB specification of headers,
    header(5), defines it; a header may have none. Each sample read is the mean of a frame, and NaN if a sample of the
    frame is invalid.

    Args:
        location: Path of the record without suffix, or its name in a database of PhysioNet.
        remote_database: Name of this database; None for files on disk.
        header: Header of the record, which has one segment.
        indices: Indices of the channels.
    """

    def __init__(self, location: str, remote_database: str | None, header: wfdb.Record, indices: Sequence[int]) -> None:
        self.location, self.header, self.indices = location, header, list(indices)
        self.options = {"pn_dir": remote_database, "channels": self.indices, "physical": False, "smooth_frames": False}
        self.totals, self.end = [0] * len(self.indices), 0

    def read(self, start: int, stop: int | None) -> wfdb.Record:
        """Return the record with the samples from start to before stop, or to the end if it is None.

        Raises:
            ValueError: If this completes the samples, and a checksum is not that of the header.
        """
        options = {**self.options, "sampfrom": start, "sampto": stop, "return_res": 32}
        content = wfdb.rdrecord(self.location, **options)
        n_per_frame = [self.header.samps_per_frame[index] or 1 for index in self.indices]
        if any(self.header.checksum[index] is not None for index in self.indices):
            is_skewed = any(self.header.skew[index] for index in self.indices)
            stored = wfdb.rdrecord(self.location, **options, ignore_skew=True) if is_skewed else content
            frames = [own.reshape(-1, count) for own, count in zip(stored.e_d_signal, n_per_frame, strict=True)]
            self._add(frames, start, is_last=stop in (None, self.header.sig_len))
        invalid = {}
        if max(n_per_frame) > 1:  # wfdb would average an invalid sample with the others
            for position, (own, count) in enumerate(zip(content.dac(expanded=True), n_per_frame, strict=True)):
                invalid[position] = np.isnan(own).reshape(-1, count).any(1)
        content.d_signal, content.e_d_signal = content.smooth_frames("digital"), None
        content.dac(inplace=True)
        for position, is_invalid in invalid.items():
            content.p_signal[is_invalid, position] = np.nan
        return content

    def _add(self, frames: Sequence[NDArray[Any]], start: int, *, is_last: bool) -> None:
        """Add the stored samples of a part to the sums; refuse a wrong checksum.

        Args:
            frames: The samples of each channel, [frames, samples per frame].
            start: The first frame.
            is_last: Whether the part ends the record.
        """
        n_frames = len(frames[0])
        if not start <= self.end < start + n_frames:
            return
        for position, own in enumerate(frames):
            self.totals[position] += int(own[self.end - start :].sum(dtype=np.int64))
        self.end = start + n_frames
        for index, total in zip(self.indices, self.totals, strict=True):
            if is_last and self.header.checksum[index] is not None:
                self._compare(index, total)

    def _compare(self, index: int, total: int) -> None:
        expected = self.header.checksum[index]
        highest = 2**16 if expected >= 2**15 else 2**15  # some programs write it without sign
        found = (total + 2**16 - highest) % 2**16 - (2**16 - highest)
        if (found - expected) % 2**16:
            raise ValueError(
                f"channel {self.header.sig_name[index]} has the checksum {found}, the header gives {expected}: "
                f"get the files again, or write {found} into the header if its samples are right"
            )
