"""WFDB records: where they are, and how one channel is read."""

import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import wfdb
from requests.adapters import HTTPAdapter
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from wfdb.io import _url
from wfdb.io._signal import BYTES_PER_SAMPLE

__all__ = ["SHIPPED", "find", "first_record", "read_channel"]

RECORDS = Path(__file__).parent / "records"
SHIPPED = ("mitdb", "208")
WAITS = (1.0, 3.0)  # seconds before the second and the third attempt
LARGEST_HEADER, LONGEST_LINE = 100_000, 1_000  # bytes, characters
MOST_PER_FRAME, MOST_SKEW = 10_000, 1_000  # samples of all channels of a file, frames
MOST_PER_BYTE = 100  # samples in a compressed format
PATIENCE = 30.0  # seconds that a server may be silent

Content = TypeVar("Content")

log = logging.getLogger(__name__)


def find(database: str, record: str, channel: int | str, n_samples: int, local: Path) -> tuple[Path, int | str]:
    """Return where a channel of a record is, and which channel it is there.

    The data folder comes first, then what the package ships, then PhysioNet. From PhysioNet only the samples asked for
    are read, and kept in the data folder as a record of their own, complete or not at all.

    Args:
        database: Name of the database.
        record: Name of the record.
        channel: Index or name.
        n_samples: How many from the start are needed.
        local: Folder of the databases.

    Raises:
        FileNotFoundError: If no place has the record.
        ValueError: If PhysioNet's has no such channel, or is damaged.
    """
    for folder in (local, RECORDS):
        path = folder / database / record
        if _is_record(path):
            log.info("reading %s", path)
            return path, channel
    part = local / database / f"{record}-{_file_name(channel)}-{n_samples}"
    if not _is_record(part):
        _fetch(database, record, channel, n_samples, part)
    log.info("reading %s", part)
    return part, 0


def first_record(database: str, local: Path) -> str:
    """Return the first record that a database lists.

    Raises:
        FileNotFoundError: If no place has the list.
    """
    file = local / database / "RECORDS"
    try:
        names = file.read_text().split() if file.is_file() else _persist(lambda: wfdb.get_record_list(database))
        return str(names[0])
    except (OSError, ValueError, IndexError) as error:
        raise _unavailable(database, "list of records", file, error) from error


def read_channel(name: str, path: Path, channel: int | str, n_samples: int | None) -> wfdb.Record:
    """Read one channel of a record on disk.

    Args:
        name: What to call the record in an error.
        path: Of the record, without suffix.
        channel: Index or name.
        n_samples: How many to read at most; None for all.

    Raises:
        ValueError: If there is no such channel, or the files are damaged.
    """
    return _read(name, str(path), None, channel, n_samples)


def _read(name: str, place: str, remote: str | None, channel: int | str, n_samples: int | None) -> wfdb.Record:
    with _damage_named(name):
        if remote is None:
            _refuse_long_lines(Path(f"{place}.hea"))
        header = wfdb.rdheader(place, pn_dir=remote)
    if isinstance(header, wfdb.MultiRecord):
        raise ValueError(f"{name} is in {header.n_seg} segments, which are records of their own: give one of them")
    index = _channel(channel, header.sig_name or [], name)
    lengths = [length for length in (n_samples, header.sig_len) if length is not None]
    with _damage_named(name):
        _refuse_false_claims(header, index, min(lengths, default=None), Path(place).parent if remote is None else None)
        return wfdb.rdrecord(place, pn_dir=remote, channels=[index], sampto=min(lengths, default=None))


def _refuse_long_lines(path: Path) -> None:
    """Refuse a header whose parsing by wfdb would take minutes."""
    size = path.stat().st_size
    if size > LARGEST_HEADER:
        raise ValueError(f"a header of {size} bytes, {LARGEST_HEADER} at most are read")
    lines = path.read_text(encoding="ascii", errors="ignore").splitlines()
    if any(len(line) > LONGEST_LINE for line in lines if not line.lstrip().startswith("#")):
        raise ValueError(f"a line of the header has more than {LONGEST_LINE} characters")


def _refuse_false_claims(header: wfdb.Record, index: int, n_samples: int | None, folder: Path | None) -> None:
    """Refuse a header that claims more than its files have, as wfdb reserves memory for what is claimed.

    Args:
        header: The header.
        index: Of the channel to be read.
        n_samples: To be read; None for all, of which the header does not tell the number.
        folder: Where the files are; None where they are remote, and their sizes are not known.
    """
    if header.n_sig != len(header.file_name):
        raise ValueError(f"the header claims {header.n_sig} channels and describes {len(header.file_name)}")
    shared = [other for other, file in enumerate(header.file_name) if file == header.file_name[index]]
    per_frame = sum(header.samps_per_frame[other] for other in shared)
    skew, start, fmt = (
        max(header.skew[other] or 0 for other in shared),
        header.byte_offset[index] or 0,
        header.fmt[index],
    )
    if not 0 < per_frame <= MOST_PER_FRAME or skew > MOST_SKEW:
        raise ValueError(f"the header claims {per_frame} samples a frame, skewed by {skew}: "
                         f"{MOST_PER_FRAME} and {MOST_SKEW} at most")  # fmt: skip
    if n_samples is None and header.file_name[index] != header.file_name[0]:
        raise ValueError("the header does not tell the number of samples")
    if folder is None:
        return
    file = folder / header.file_name[index]
    if not file.is_file():
        raise ValueError(f"{file} is not a file")
    size = file.stat().st_size
    claimed = start + (n_samples or 0) * per_frame * BYTES_PER_SAMPLE.get(fmt, 1 / MOST_PER_BYTE)
    if claimed > size:
        raise ValueError(f"{file} has {size} bytes of at least {claimed:.0f} that the header claims")


def _fetch(database: str, record: str, channel: int | str, n_samples: int, part: Path) -> None:
    """Keep the first samples of a channel, at their original gain and offset."""
    name = f"physionet/{database}/{record}"
    log.info("reading %s from PhysioNet", name)
    try:
        with _progress(name):
            content = _persist(lambda: _read(name, record, database, channel, n_samples))
    except OSError as error:
        raise _unavailable(database, f"record {record}", part.with_name(f"{record}.hea"), error) from error
    content.fmt = ["32"]
    part.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=part.parent) as folder:
        wfdb.wrsamp(
            part.name, fs=content.fs, units=content.units, sig_name=content.sig_name, d_signal=content.adc(),
            fmt=content.fmt, adc_gain=content.adc_gain, baseline=content.baseline, write_dir=folder,
            comments=[f"{len(content.p_signal)} samples of {name}, https://physionet.org/content/{database}/"],
        )  # fmt: skip
        for suffix in (".dat", ".hea"):
            Path(folder, part.name + suffix).replace(part.with_name(part.name + suffix))


def _file_name(channel: int | str) -> str:
    """Write an index or a name in the letters of a record's name, no two alike."""
    if isinstance(channel, int):
        return f"channel_{channel}"
    return "named_" + re.sub(r"[^0-9A-Za-z]", lambda match: f"_{ord(match[0]):x}_", channel)


def _persist(read: Callable[[], Content]) -> Content:
    """Read from PhysioNet, and again after a pause where the connection fails."""
    for scheme in ("http://", "https://"):
        _url._get_session().mount(scheme, _Impatient())
    for wait in WAITS:
        try:
            return read()
        except FileNotFoundError:
            raise
        except OSError as error:
            log.warning("PhysioNet: %s, trying again in %g s", type(error).__name__, wait)
            time.sleep(wait)
    return read()


class _Impatient(HTTPAdapter):
    """Give up on a server that is silent; wfdb, which has no setting for it, would wait without end."""

    def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().send(request, **{**kwargs, "timeout": PATIENCE})


@contextmanager
def _progress(name: str) -> Iterator[None]:
    """Show on a terminal that something is being read; wfdb does not tell how much of it is there."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task(f"reading {name} from PhysioNet", total=None)
        yield


def _is_record(path: Path) -> bool:
    return path.with_name(f"{path.name}.hea").is_file()


def _unavailable(database: str, what: str, file: Path, error: Exception) -> FileNotFoundError:
    absent = isinstance(error, FileNotFoundError | ValueError | IndexError)
    remote = "has none of that name" if absent else f"cannot be reached ({type(error).__name__})"
    return FileNotFoundError(
        f"no {what} of the database {database}: {file.resolve()} is not there, only {'/'.join(SHIPPED)} is shipped, "
        f"and PhysioNet {remote}; check dataset.database and dataset.record, or put the WFDB files there "
        "(paths.data_dir or SAN_DATA_DIR names the folder above physionet)"
    )


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{name} cannot be read, its files are damaged or incomplete: {error}") from error


def _channel(channel: int | str, names: Sequence[str], record: str) -> int:
    if isinstance(channel, int) and 0 <= channel < len(names):
        return channel
    if channel in names:
        return names.index(str(channel))
    choices = ", ".join(f"{index} ({name})" for index, name in enumerate(names))
    raise ValueError(f"{record} has no channel {channel}: dataset.channel can be {choices}")
