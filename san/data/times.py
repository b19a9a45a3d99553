"""A column of times: the sampling frequency, and rows that are missing."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from san.data.names import index_of
from san.data.signal import TOLERANCE, agreed_frequency

__all__ = ["Sampling", "sampling_of", "time_column"]

HEADING = re.compile(
    r"(elapsed[ _]?)?(time|t|times|timestamp|timestamps|datetime|seconds|secs?|zeit|zeitstempel|tiempo|tijd)"
    r"(?P<unit>\W.*|_[a-zµμ]+)?"
)
PER_SECOND = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "milliseconds"), 1e3),
    **dict.fromkeys(("us", "µs", "μs"), 1e6),
    "ns": 1e9,
    "min": 1 / 60,
    "h": 1 / 3600,
}
QUOTES = " '\"[]"
MINUTES = r"\d+:\d\d\.\d+"  # and seconds, without hours
NAMED_SECONDS = ("seconds", "second", "secs", "sec")
JITTER = 0.1  # largest deviation of a regular time, in intervals, beside the rounding of the times
MAX_MISSING = 10  # missing rows for each row that is there, above which the times are no gaps

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampling:
    """Where the rows of a table are in time.

    Args:
        frequency: Sampling frequency in hertz; None if unknown.
        positions: Index of the sample of each row, increasing from 0; None if no row is missing.
    """

    frequency: float | None
    positions: NDArray[np.int64] | None = None

    def placed(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the samples at their positions, and NaN in the gaps between them."""
        if self.positions is None:
            return samples
        whole = np.full(int(self.positions[-1]) + 1, np.nan)
        whole[self.positions] = samples
        return whole


def time_column(time: int | str | bool | None, names: Sequence[str], place: str) -> int | None:
    """Return the index of the column of times; None if there is none.

    Args:
        time: The user's choice, an index or a heading; False for none; None for the first column with a heading such as
            ``time``, ``t [ms]``, ``timestamp``, ``time_s`` or ``Zeit (s)``.
        names: Headings of the columns.
        place: The file, for errors.

    Raises:
        ValueError: If there is no such column.
    """
    if time is False:
        return None
    if time is None:
        return next((index for index, name in enumerate(names) if HEADING.fullmatch(_plain(name))), None)
    return index_of("time", time, names, place)


def sampling_of(fields: "pd.Series[Any]", name: str, given: float | None, place: str) -> Sampling:
    """Return the sampling of a column of times.

    Times are numbers in the unit of the heading, or dates and clock times. Numbers without a unit are seconds if their
    interval is below 1 and the user gives no sampling frequency; otherwise they are only compared with each other.

    Args:
        fields: The column.
        name: Its heading.
        given: The user's sampling frequency in hertz; None if not given.
        place: The file and the column, for errors.

    Raises:
        ValueError: If the times do not increase regularly, or give another sampling frequency than the user.
    """
    advice = "give time=false to ignore this column, or resample the signal at regular times"
    times, per_second = _numbers_of(fields, name)
    if len(times) < 2:
        return Sampling(given)
    if np.isnan(times).any():
        row = int(np.isnan(times).argmax())
        raise ValueError(f"{place}: row {row} has no time, {fields.iloc[row]!r}: {advice}")
    steps = np.diff(times)
    if (steps <= 0).any():
        row = int((steps <= 0).argmax()) + 1
        raise ValueError(f"{place}: the time of row {row} is not after that of the row before it: {advice}")
    interval = float(np.median(steps))
    multiples = np.maximum(np.rint(steps / interval), 1).astype(np.float64)
    positions = np.concatenate([[0.0], np.cumsum(multiples)])
    if positions[-1] > (1 + MAX_MISSING) * len(times):
        raise ValueError(f"{place}: the times are irregular, most intervals are far above {interval:g}: {advice}")
    interval = float(times[-1] - times[0]) / float(positions[-1])
    resolution = _resolution(times)
    deviations = np.abs(times - times[0] - positions * interval)
    if deviations.max() > JITTER * interval + resolution:
        row = int(deviations.argmax())
        raise ValueError(
            f"{place}: the times are irregular, that of row {row} is {deviations.max():.3g} off a regular interval of "
            f"{interval:.6g}: {advice}"
        )
    n_missing = int(positions[-1]) + 1 - len(times)
    if n_missing:
        log.warning("%s: %d rows are missing in %d gaps", place, n_missing, int((multiples > 1).sum()))
    uncertainty = 2 * float(deviations.max()) / float(times[-1] - times[0])
    frequency = _frequency(interval, per_second, given, place, uncertainty)
    return Sampling(frequency, positions.astype(np.int64) if n_missing else None)


def _frequency(
    interval: float, per_second: float | None, given: float | None, place: str, uncertainty: float
) -> float | None:
    """Return the sampling frequency, an integer if it is one within the relative uncertainty of rounded times."""
    if per_second is None:
        if given is not None:
            units = sorted({"s": 1.0, "ms": 1e3, "us": 1e6, "rows": given}.items())
            found = [unit for unit, count in units if abs(count / interval - given) <= given * TOLERANCE]
            if not found:
                raise ValueError(
                    f"sampling_frequency={given:g} is not that of {place}, {1 / interval:.6g} hertz if its unit is "
                    "seconds: leave it out, or give time=false to ignore this column"
                )
            return given
        if interval >= 1:
            log.warning("%s has no unit: give sampling_frequency=, or the unit in the heading, such as time [s]", place)
            return None
        log.warning("%s has no unit: read as seconds", place)
        per_second = 1.0
    exact = per_second / interval
    if uncertainty > TOLERANCE and (given is None or abs(given - exact) <= exact * uncertainty):
        if given is None:
            log.warning("%s: about %.3g hertz, the times are rounded: give sampling_frequency=", place, exact)
        return given
    rounded = float(round(exact))
    is_round = rounded > 0 and abs(exact - rounded) <= exact * max(uncertainty, 1e-9)
    return agreed_frequency(given, rounded if is_round else float(f"{exact:.8g}"), place)


def _numbers_of(fields: "pd.Series[Any]", name: str) -> tuple[NDArray[np.float64], float | None]:
    """Return the times as numbers, NaN where there is none, and how many of their unit are a second, if known."""
    if pd.api.types.is_datetime64_any_dtype(fields.dtype):
        return _seconds(fields), 1.0
    numbers = pd.to_numeric(fields, errors="coerce").to_numpy(dtype="float64", copy=True)
    if not np.isnan(numbers).all():
        return numbers, _per_second(name)
    texts = fields.astype(str).str.strip(QUOTES).str.replace(",", ".")
    dates = pd.to_datetime(texts, errors="coerce", format="ISO8601", utc=True)
    if dates.notna().any():
        return _seconds(dates), 1.0
    is_short = texts.str.fullmatch(MINUTES)
    clock = pd.to_timedelta(texts.where(~is_short, "00:" + texts), errors="coerce")
    return clock.dt.total_seconds().to_numpy(dtype="float64"), 1.0


def _plain(name: str) -> str:
    """Return a heading without quotes, in lower case."""
    return name.strip(" '\"").lower()


def _seconds(dates: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return dates as seconds since the first."""
    seconds: NDArray[np.float64] = (dates - dates.dropna().iloc[0]).dt.total_seconds().to_numpy(dtype="float64")
    return seconds


def _per_second(name: str) -> float | None:
    """Return how many of the unit in a heading are a second; None without a known unit."""
    text = _plain(name)
    found = HEADING.fullmatch(text)
    unit = re.sub(r"[^a-zµμ]", " ", (found["unit"] or "") if found else text).split()
    known = [PER_SECOND[word] for word in unit if word in PER_SECOND]
    if not known and found and found[2] in NAMED_SECONDS:
        return 1.0
    return known[0] if len(known) == 1 else None


def _resolution(times: NDArray[np.float64]) -> float:
    """Return the unit of the last decimal of the times."""
    for decimals in range(10):
        if np.allclose(times, np.round(times, decimals), rtol=0, atol=1e-12 * max(1.0, float(np.abs(times).max()))):
            return float(10.0**-decimals)
    return 0.0
