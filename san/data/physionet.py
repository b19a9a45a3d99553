"""PhysioNet: one channel of one WFDB record, cut into signals of equal length."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import wfdb

from san.data.scaling import finite
from san.data.splits import Splits, standardize

__all__ = ["load", "read_channel"]

RECORDS = Path(__file__).parent / "records"
SHIPPED = ("mitdb", "208")
REMOTE = (OSError, ValueError, IndexError)

log = logging.getLogger(__name__)


def load(
    *,
    database: str | None,
    record: str | int | None,
    channel: int | str,
    signal_length: int,
    split: Sequence[int],
    nan: str,
    first_records: Mapping[str, str],
    data_dir: str,
) -> Splits:
    """Read a record from the data folder, the package or PhysioNet, whichever has it first.

    Each signal is given mean zero and sample standard deviation one.

    Args:
        database: Name of the database; None for that of the shipped record, mitdb/208.
        record: Name of the record; None for the first of the database.
        channel: Index or name of the channel.
        signal_length: Samples of a signal.
        split: How many signals are for training, validation and test, in this order from the record's start.
        nan: What to do about invalid samples: ``refuse`` the record, or ``interpolate`` linearly between valid ones.
        first_records: The first record of known databases; for any other it is the first line of its RECORDS.
        data_dir: Folder in which ``physionet/<database>/<record>.hea`` is looked for first.

    Raises:
        FileNotFoundError: If no place has the record.
        ValueError: If the channel is unknown, the record too short, or a sample or signal cannot be used.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-A.
    """
    if signal_length < 1 or len(split) != 3 or min(split) < 1:
        raise ValueError(f"dataset.signal_length={signal_length} and the three numbers of dataset.split={split} "
                         "must be positive")  # fmt: skip
    local = Path(data_dir) / "physionet"
    if database is None:
        database, record = SHIPPED[0], record or SHIPPED[1]
    if record is None:
        record = first_records.get(database) or _first_record(database, local)
    name = f"physionet/{database}/{record}"
    n_samples = signal_length * sum(split)
    content = read_channel(name, *_find(database, str(record), local), channel, n_samples)
    samples = content.p_signal[:, 0]
    if len(samples) < n_samples:
        raise ValueError(
            f"{name} has {content.sig_len} samples of the {n_samples} asked for: "
            f"lower dataset.signal_length={signal_length} or dataset.split={list(split)}"
        )
    signals = torch.from_numpy(finite(samples, nan, name)).view(-1, 1, signal_length)
    train, validation, test = standardize(signals, name).split(list(split))
    return Splits(name=name, train=train, validation=validation, test=test, sampling_frequency=float(content.fs))


def read_channel(name: str, place: str, remote: str | None, channel: int | str, n_samples: int | None) -> wfdb.Record:
    """Read one channel of a record.

    Args:
        name: What to call the record in an error.
        place: Path of the record without suffix, or its name on PhysioNet.
        remote: The database on PhysioNet; None for a file.
        channel: Index or name.
        n_samples: How many to read at most; None for all.

    Raises:
        ValueError: If there is no such channel, or the files are damaged.
    """
    with _damage_named(name):
        header = wfdb.rdheader(place, pn_dir=remote)
    index = _channel(channel, header.sig_name, name)
    lengths = [length for length in (n_samples, header.sig_len) if length is not None]
    with _damage_named(name):
        return wfdb.rdrecord(place, pn_dir=remote, channels=[index], sampto=min(lengths, default=None))


def _find(database: str, record: str, local: Path) -> tuple[str, str | None]:
    """Return the path of a record without suffix and None, or its name and the remote database."""
    for folder in (local, RECORDS):
        path = folder / database / record
        if path.with_name(f"{path.name}.hea").is_file():
            log.info("reading %s", path)
            return str(path), None
    try:
        wfdb.rdheader(record, pn_dir=database)
    except REMOTE as error:
        raise _unavailable(database, f"record {record}", f"{record}.hea", local, error) from error
    log.info("reading %s/%s from PhysioNet", database, record)
    return record, database


def _first_record(database: str, local: Path) -> str:
    records = local / database / "RECORDS"
    try:
        names = records.read_text().split() if records.is_file() else wfdb.get_record_list(database)
    except REMOTE as error:
        raise _unavailable(database, "list of records", "RECORDS", local, error) from error
    return str(names[0])


def _unavailable(database: str, what: str, file: str, local: Path, error: Exception) -> FileNotFoundError:
    absent = isinstance(error, FileNotFoundError | ValueError | IndexError)
    remote = "has none of that name" if absent else f"cannot be reached ({type(error).__name__})"
    return FileNotFoundError(
        f"no {what} of the database {database}: {local.resolve() / database / file} is not there, only "
        f"{'/'.join(SHIPPED)} is shipped, and PhysioNet {remote}; check dataset.database and dataset.record, "
        "or put the WFDB files there (paths.data_dir or SAN_DATA_DIR names the folder above physionet)"
    )


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ValueError(f"{name} cannot be read, its files are damaged or incomplete: {error}") from error


def _channel(channel: int | str, names: Sequence[str], record: str) -> int:
    if isinstance(channel, int) and 0 <= channel < len(names):
        return channel
    if channel in names:
        return names.index(str(channel))
    choices = ", ".join(f"{index} ({name})" for index, name in enumerate(names))
    raise ValueError(f"{record} has no channel {channel}: dataset.channel can be {choices}")
