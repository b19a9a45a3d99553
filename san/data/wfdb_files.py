"""Locate WFDB records, download samples from PhysioNet, and read channels."""

import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import wfdb
from numpy.typing import NDArray
from requests.adapters import HTTPAdapter
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

# Private, because wfdb has no public way to set a timeout on its session.
from wfdb.io import _url

from san.data.names import Channels, indices_of
from san.data.signal import one_or_several
from san.data.wfdb_samples import ChannelReader

__all__ = [
    "RECORDS",
    "SHIPPED_DATABASE",
    "SHIPPED_RECORD",
    "find_record",
    "first_record",
    "open_channels",
    "read_channels",
]

RECORDS = Path(__file__).parent / "records"
SHIPPED_DATABASE, SHIPPED_RECORD = "mitdb", "208"
WAITS = (1.0, 3.0)  # seconds before the second and the third attempt to read from PhysioNet
RESPONSE_TIMEOUT = 30.0  # seconds without a byte from the server
MAX_HEADER_BYTES, MAX_HEADER_LINE_CHARACTERS = 100_000, 1_000
MAX_SAMPLES_PER_FRAME, MAX_SKEW_FRAMES = 10_000, 1_000  # of all channels in a file; of a channel
# Of each format of fixed size, as the WFDB specification of signal files, signal(5), defines it.
BYTES_PER_SAMPLE = {
    "8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3,
}  # fmt: skip

# A compressed format has no least number of bytes per sample.
COMPRESSED, MAX_UNEXPECTED_SAMPLES, MAX_SAMPLES_PER_BYTE = ("508", "516", "524"), 10_000_000, 100
DIFFERENCES = "8"  # the format of differences, which only a reader from the first sample can add up

Content = TypeVar("Content")

log = logging.getLogger(__name__)

_was_reached = True  # PhysioNet, by the last attempts of this process; all jobs of a multirun may need it


def find_record(
    database: str, record: str, channel: Channels, n_samples: int, databases: Path
) -> tuple[Path, Channels]:
    """Return the path of a record that has the channels, and their indices or names in it.

    The data folder comes first, then the package, then PhysioNet. Only the needed samples are read from PhysioNet; the
    data folder keeps them as a separate record of these channels, which is written completely or not at all.

    Args:
        database: Name of the database.
        record: Name of the record.
        channel: Index or name of a channel, several, or ``all``.
        n_samples: Number of samples needed from the start of the record.
        databases: Folder of the databases in the data folder.

    Raises:
        FileNotFoundError: If the record is in none of the three places.
        ValueError: If the record on PhysioNet has no such channel or is damaged.
    """
    for folder in (databases, RECORDS):
        path = folder / database / record
        if _is_record(path):
            log.info("reading %s", path)
            return path, channel
    excerpt = databases / database / f"{record}-{_file_name(channel)}-{n_samples}"
    if not _is_record(excerpt):
        _download(database, record, channel, n_samples, excerpt)
    log.info("reading %s", excerpt)
    return excerpt, 0 if isinstance(channel, int) or (isinstance(channel, str) and channel != "all") else "all"


def first_record(database: str, databases: Path) -> str:
    """Return the first record in the list of a database, from the data folder or PhysioNet.

    Args:
        database: Name of the database.
        databases: Folder of the databases in the data folder.

    Raises:
        FileNotFoundError: If neither place has the list, or the list is empty.
    """
    file = databases / database / "RECORDS"
    try:
        if file.is_file():
            names = file.read_text(encoding="utf-8").split()
        else:
            names = _with_retries(lambda: wfdb.get_record_list(database))
        return str(names[0])
    except (OSError, ValueError, IndexError) as error:
        raise _unavailable(database, "list of records", file, error) from error


def read_channels(name: str, path: Path, channel: Channels, n_samples: int | None) -> wfdb.Record:
    """Read channels of a record on disk.

    Args:
        name: Name of the record in errors.
        path: Path of the record, without suffix.
        channel: Index or name of a channel, several, or ``all``; None for the only channel.
        n_samples: Maximum number of samples to read, from the start; None for all.

    Raises:
        ValueError: If there is no such channel, or the files are damaged: for example, if all samples are read and the
            checksum of the header is not theirs.
    """
    return _read(name, str(path), None, channel, n_samples)


def open_channels(
    name: str, path: Path, channel: Channels
) -> tuple[Callable[[int, int], NDArray[np.float64]], int, float, tuple[str, ...], tuple[str, ...]]:
    """Open channels of a record on disk for reading in chunks.

    Args:
        name: Name of the record in errors.
        path: Path of the record, without suffix.
        channel: Index or name of a channel, several, or ``all``; None for the only channel.

    Returns:
        A function that reads samples, ``read_samples(start, stop)``, as [samples] of one channel and [channels,
        samples] of several; the number of samples; the sampling frequency in hertz; and the names and the units of the
        channels. The function raises ``ValueError`` if the files are damaged, and for a wrong checksum once all samples
        have been read in order.

    Raises:
        ValueError: If there is no such channel, or the header is damaged or has no number of samples, or the format of
            the samples does not allow it.
    """
    reader, n_samples = _open(name, str(path), None, channel, None)
    header = reader.header
    if not n_samples:
        raise ValueError(f"{name} cannot be read in chunks: its header does not give the number of samples")
    if any(header.fmt[index] == DIFFERENCES for index in reader.indices):
        raise ValueError(f"{name} cannot be read in chunks: its format {DIFFERENCES} stores differences of samples")

    def read_samples(start: int, stop: int) -> NDArray[np.float64]:
        with _damage_as_value_error(name):
            signal = reader.read(start, stop).p_signal
        if len(signal) != stop - start:
            raise ValueError(f"{name} ends at sample {start + len(signal)}, but its header gives {n_samples}")
        return one_or_several(np.asarray(signal.T, dtype=np.float64))

    names, units = (tuple(str(own[index]) for index in reader.indices) for own in (header.sig_name, header.units))
    return read_samples, n_samples, float(header.fs), names, units


def _read(
    name: str, location: str, remote_database: str | None, channel: Channels, n_samples: int | None
) -> wfdb.Record:
    """Read channels of a record on disk, or of a record in a database of PhysioNet."""
    reader, stop = _open(name, location, remote_database, channel, n_samples)
    with _damage_as_value_error(name):
        return reader.read(0, stop)


def _open(
    name: str, location: str, remote_database: str | None, channel: Channels, n_samples: int | None
) -> tuple[ChannelReader, int | None]:
    """Return a reader of channels, and where to stop; None for the end, which the header does not give."""
    folder = Path(location).parent if remote_database is None else None
    with _damage_as_value_error(name):
        if folder is not None:
            _refuse_long_header(Path(f"{location}.hea"))
        header = wfdb.rdheader(location, pn_dir=remote_database)
    if isinstance(header, wfdb.MultiRecord):
        raise ValueError(f"{name} has {header.n_seg} segments, each a separate record: give one of them")
    names = [signal or str(position) for position, signal in enumerate(header.sig_name or [])]
    indices = indices_of("channel", channel, names, name)
    if header.sig_len == 0:
        raise ValueError(f"{name} has no samples")
    stop = min((int(length) for length in (n_samples, header.sig_len) if length is not None), default=None)
    with _damage_as_value_error(name):
        for index in indices:
            _refuse_excessive_claims(header, index, stop, folder)
    for index in indices:
        if header.samps_per_frame[index] > 1:
            log.warning(
                "%s, channel %s: the %d samples of each frame are averaged",
                name,
                names[index],
                header.samps_per_frame[index],
            )
    return ChannelReader(location, remote_database, header, indices), stop


def _refuse_long_header(path: Path) -> None:
    """Refuse a header that wfdb would take minutes to parse."""
    size = path.stat().st_size
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {size} bytes, {MAX_HEADER_BYTES} at most are read")
    lines = path.read_text(encoding="ascii", errors="ignore").splitlines()  # as wfdb decodes it
    if any(len(line) > MAX_HEADER_LINE_CHARACTERS for line in lines if not line.lstrip().startswith("#")):
        raise ValueError(f"a line of the header has more than {MAX_HEADER_LINE_CHARACTERS} characters")


def _refuse_excessive_claims(header: wfdb.Record, index: int, n_samples: int | None, folder: Path | None) -> None:
    """Refuse a header that claims more samples than its files have, because wfdb reserves memory for the claim.

    Args:
        header: The header.
        index: Index of the channel to read.
        n_samples: Number of samples to read; None for all, if the header does not give their number.
        folder: Folder of the files; None for remote files, whose sizes are unknown.
    """
    if header.n_sig != len(header.file_name):
        raise ValueError(f"the header claims {header.n_sig} channels and describes {len(header.file_name)}")
    if header.fmt[index] not in {*BYTES_PER_SAMPLE, *COMPRESSED}:
        raise ValueError(f"the header gives the format {header.fmt[index]}, which wfdb does not read")
    in_same_file = [other for other, file in enumerate(header.file_name) if file == header.file_name[index]]
    per_frame = sum(header.samps_per_frame[other] for other in in_same_file)
    skew = max(header.skew[other] or 0 for other in in_same_file)
    if not 0 < per_frame <= MAX_SAMPLES_PER_FRAME or skew > MAX_SKEW_FRAMES:
        raise ValueError(
            f"the header claims {per_frame} samples a frame, skewed by {skew}: "
            f"{MAX_SAMPLES_PER_FRAME} and {MAX_SKEW_FRAMES} at most"
        )
    is_compressed = header.fmt[index] in COMPRESSED
    if n_samples is None and (is_compressed or header.file_name[index] != header.file_name[0]):
        raise ValueError("the header does not give the number of samples")
    if folder is None:
        return
    file = folder / header.file_name[index]
    if not file.is_file():
        raise ValueError(f"{file} is not a file")
    size = file.stat().st_size
    if is_compressed and per_frame * (n_samples or 0) > MAX_UNEXPECTED_SAMPLES + MAX_SAMPLES_PER_BYTE * size:
        raise ValueError(f"{file} has {size} bytes, too few for the {n_samples} samples that the header claims")
    bytes_per_frame = per_frame * BYTES_PER_SAMPLE.get(header.fmt[index], 0)
    claimed = (header.byte_offset[index] or 0) + (n_samples or 0) * bytes_per_frame
    if claimed > size:
        raise ValueError(f"{file} has {size} bytes of at least {claimed:.0f} that the header claims")


def _download(database: str, record: str, channel: Channels, n_samples: int, excerpt: Path) -> None:
    """Write the first samples of channels on PhysioNet to a record on disk, with their original gain and offset."""
    name = f"physionet/{database}/{record}"
    log.info("reading %s from PhysioNet", name)
    try:
        with _progress(name):
            content = _with_retries(lambda: _read(name, record, database, channel, n_samples))
    except OSError as error:
        raise _unavailable(database, f"record {record}", excerpt.with_name(f"{record}.hea"), error) from error
    content.fmt = ["32"] * len(content.sig_name)
    excerpt.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=excerpt.parent) as folder:
        wfdb.wrsamp(
            excerpt.name,
            fs=content.fs,
            units=content.units,
            sig_name=content.sig_name,
            d_signal=content.adc(),
            fmt=content.fmt,
            adc_gain=content.adc_gain,
            baseline=content.baseline,
            write_dir=folder,
            comments=[f"{len(content.p_signal)} samples of {name}, https://physionet.org/content/{database}/"],
        )
        for suffix in (".dat", ".hea"):
            Path(folder, excerpt.name + suffix).replace(excerpt.with_name(excerpt.name + suffix))


def _file_name(channel: Channels) -> str:
    """Encode indices or names in the characters allowed in a record's name, so that no two encodings are equal."""
    if isinstance(channel, int):
        return f"channel_{channel}"
    if not isinstance(channel, str):
        return "-".join(["channels", *map(_file_name, channel or ())])
    return "named_" + re.sub(r"[^0-9A-Za-z]", lambda match: f"_{ord(match[0]):x}_", channel)


def _with_retries(read: Callable[[], Content]) -> Content:
    """Read from PhysioNet; after a failed connection, pause and try again, unless PhysioNet was just not reached."""
    global _was_reached
    for scheme in ("http://", "https://"):
        _url._get_session().mount(scheme, _TimeoutAdapter())
    waits = iter(WAITS if _was_reached else ())
    while True:
        try:
            content = read()
        except FileNotFoundError:
            _was_reached = True
            raise
        except OSError as error:
            wait = next(waits, None)
            if wait is None:
                _was_reached = False
                raise
            log.warning("PhysioNet: %s, trying again in %g s", type(error).__name__, wait)
            time.sleep(wait)
        else:
            _was_reached = True
            return content


class _TimeoutAdapter(HTTPAdapter):
    """Close a connection on which the server is silent; without it, wfdb waits forever."""

    def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().send(request, **{**kwargs, "timeout": RESPONSE_TIMEOUT})


@contextmanager
def _progress(name: str) -> Iterator[None]:
    """Show on a terminal that a download is running; wfdb does not report how far it is."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task(f"reading {name} from PhysioNet", total=None)
        yield


def _is_record(path: Path) -> bool:
    return path.with_name(f"{path.name}.hea").is_file()


def _unavailable(database: str, item: str, file: Path, error: Exception) -> FileNotFoundError:
    """Return the error for a record or a list of records that no place has."""
    is_absent = isinstance(error, FileNotFoundError | ValueError | IndexError)
    physionet = "PhysioNet does not have it" if is_absent else f"PhysioNet cannot be reached ({type(error).__name__})"
    return FileNotFoundError(
        f"no {item} of the database {database}: {file.resolve()} is not there, and {physionet}; check database and "
        "record, or put the WFDB files there (data_dir is the folder above physionet)"
    )


@contextmanager
def _damage_as_value_error(name: str) -> Iterator[None]:
    """Raise every error of wfdb on damaged files as a ``ValueError`` that names the record."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{name} cannot be read, its files are damaged or incomplete: {error}") from error
