"""PhysioNet: a channel or several of one WFDB record, divided into signals of equal length."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from san.data.arguments import checked_arguments
from san.data.names import Channels
from san.data.scale import Scale
from san.data.scaling import Nan, finite_samples
from san.data.signal import one_or_several
from san.data.splits import Splits, standardize
from san.data.wfdb_files import SHIPPED_DATABASE, SHIPPED_RECORD, find_record, first_record, read_channels
from san.ops.choices import check_choice

__all__ = ["Precision", "load"]

Precision = Literal["float64", "float32"]

SAFE_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)  # cannot lead to a parent folder


@checked_arguments
def load(
    *,
    database: str | None,
    record: str | int | None,
    channel: Channels,
    signal_length: int,
    split: Sequence[int],
    nan: Nan,
    first_records: Mapping[str, str | None],
    data_dir: str,
    precision: Precision = "float64",
) -> Splits:
    """Read a record from the data folder, the package or PhysioNet, in this order; keep downloaded samples.

    Each channel of each signal is scaled to mean zero and sample standard deviation one.

    Args:
        database: Name of the database; None for the database of the shipped record, mitdb/208.
        record: Name of the record; None for the first record of the database.
        channel: Index or name of a channel, several, or ``all``; None for the only channel.
        signal_length: Samples per signal.
        split: Numbers of signals for training, validation and test, in order from the start of the record.
        nan: Treatment of invalid samples: ``refuse`` the record, or ``interpolate`` linearly between valid samples.
        first_records: First record per database. For None or another database, the first line of the database's file
            RECORDS names it.
        data_dir: Data folder, with records at ``physionet/<database>/<record>.hea``.
        precision: Precision of the scaling. In float64, samples that equal the mean of their signal are zero, and have
            no activations; in float32 they hardly ever are, as in the paper.

    Raises:
        FileNotFoundError: If the record is in none of the three places.
        ValueError: If an argument is invalid, the channel is unknown, the record is too short, a sample is invalid or a
            signal is constant.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-A.
    """
    check_choice("precision", precision, Precision)
    if signal_length < 1 or len(split) != 3 or min(split) < 1:
        raise ValueError(f"signal_length={signal_length} and the three numbers of split={list(split)} must be positive")
    if database == "all":
        raise ValueError("database=all is a choice of a multirun, one run for each database: add -m")
    databases = Path(data_dir) / "physionet"
    if database is None:
        database, record = SHIPPED_DATABASE, record or SHIPPED_RECORD
    _refuse_path("database", database)
    if record is None:
        record = first_records.get(database) or first_record(database, databases)
    _refuse_path("record", record)
    name = f"physionet/{database}/{record}"
    n_samples = signal_length * sum(split)
    path, local_channel = find_record(database, str(record), channel, n_samples, databases)
    content = read_channels(name, path, local_channel, n_samples)
    samples = content.p_signal.T
    if samples.shape[1] < n_samples:
        raise ValueError(
            f"{name} has {content.sig_len} samples of the {n_samples} asked for: "
            f"lower signal_length={signal_length} or split={list(split)}"
        )
    channels, units = (tuple(map(str, own)) for own in (content.sig_name, content.units))
    finite = np.atleast_2d(finite_samples(one_or_several(samples), nan, name, channels))
    # [examples, channels, samples]
    signals = torch.from_numpy(finite).unflatten(1, (-1, signal_length)).transpose(0, 1).contiguous()
    scale = Scale("example")
    train, validation, test = standardize(signals.to(getattr(torch, precision)), name, channels).split(list(split))
    return Splits(
        name=name,
        train=train,
        validation=validation,
        test=test,
        sampling_frequency=float(content.fs),
        scale=scale,
        channels=channels,
        channel_units=units,
        test_statistics=scale.statistics(signals[-split[2] :], name, channels),
    )


def _refuse_path(argument: str, name: object) -> None:
    """Refuse a name that could be read as a path to another folder."""
    if not SAFE_NAME.fullmatch(str(name)):
        raise ValueError(f"{argument}={name} must be a name of letters, digits, '-', '_' and '.'")
