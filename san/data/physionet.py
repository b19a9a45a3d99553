"""PhysioNet: one channel of one WFDB record, cut into signals of equal length."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from san.data.scaling import finite
from san.data.splits import Splits, standardize
from san.data.wfdb_files import SHIPPED, find, first_record, read_channel

__all__ = ["load"]

NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)  # never a folder above


def load(
    *,
    database: str | None,
    record: str | int | None,
    channel: int | str,
    signal_length: int,
    split: Sequence[int],
    nan: str,
    first_records: Mapping[str, str | None],
    data_dir: str,
) -> Splits:
    """Read a record from the data folder, the package or PhysioNet, whichever has it first, and keep what is fetched.

    Each signal is given mean zero and sample standard deviation one.

    Args:
        database: Name of the database; None for that of the shipped record, mitdb/208.
        record: Name of the record; None for the first of the database.
        channel: Index or name of the channel.
        signal_length: Samples of a signal.
        split: How many signals are for training, validation and test, in this order from the record's start.
        nan: What to do about invalid samples: ``refuse`` the record, or ``interpolate`` linearly between valid ones.
        first_records: The first record of known databases; where it is None, and for any other, it is the first line
            of its RECORDS.
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
    if database == "all":
        raise ValueError("dataset.database=all is a choice of a multirun, one run for each database: add -m")
    for key, value in (("database", database), ("record", record)):
        if value is not None and not NAME.fullmatch(str(value)):
            raise ValueError(f"dataset.{key}={value} must be a name of letters, digits, '-', '_' and '.'")
    local = Path(data_dir) / "physionet"
    if database is None:
        database, record = SHIPPED[0], record or SHIPPED[1]
    if record is None:
        record = first_records.get(database) or first_record(database, local)
    name = f"physionet/{database}/{record}"
    n_samples = signal_length * sum(split)
    path, there = find(database, str(record), channel, n_samples, local)
    content = read_channel(name, path, there, n_samples)
    samples = content.p_signal[:, 0]
    if len(samples) < n_samples:
        raise ValueError(
            f"{name} has {content.sig_len} samples of the {n_samples} asked for: "
            f"lower dataset.signal_length={signal_length} or dataset.split={list(split)}"
        )
    signals = torch.from_numpy(finite(samples, nan, name)).view(-1, 1, signal_length)
    train, validation, test = standardize(signals, name).split(list(split))
    return Splits(name=name, train=train, validation=validation, test=test, sampling_frequency=float(content.fs))
