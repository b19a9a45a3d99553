"""Beats of an electrocardiogram from the events of a description, found without a label, and their score."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from wfdb import rdann

from san.data.files import reason
from san.extensions.signs import shown_atoms
from san.figures.channels import channels_first
from san.use.description import Array, Description

__all__ = [
    "BEAT_SYMBOLS",
    "BeatScore",
    "Candidates",
    "Samples",
    "annotated_beats",
    "beat_candidates",
    "beat_kernel",
    "find_beats",
    "score_beats",
]

Samples = NDArray[np.int64]

# The beat annotations of PhysioNet's table of codes; other codes mark rhythm, noise, waves and comments.
BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")
REFRACTORY_SECONDS = 0.2  # the ventricles cannot depolarize again earlier (Pan and Tompkins)
PERIOD_SECONDS = 2.0  # longer than the interval between two beats at 30 or more beats per minute
THRESHOLD_FRACTION = 0.25  # between the heights of noise and beats (Pan and Tompkins)
MATCH_SECONDS = 0.15  # between a found and a reference beat (ANSI/AAMI EC57)


class Candidates(NamedTuple):
    """Possible beats, in order.

    Args:
        samples: Sample of the largest deflection of each candidate, [candidates].
        heights: Absolute value of its deflection in the unit of the channel that it is the largest of, [candidates].
    """

    samples: Samples
    heights: Array


class BeatScore(NamedTuple):
    """Agreement of found beats with reference beats.

    Args:
        sensitivity: Matched fraction of the reference beats, in [0, 1].
        positive_predictivity: Matched fraction of the found beats, in [0, 1]; 0 if none is found.
        matched: Number of reference beats that are found.
        missed: Number of reference beats that are not found.
        extra: Number of found beats that match no reference beat.
    """

    sensitivity: float
    positive_predictivity: float
    matched: int
    missed: int
    extra: int


def find_beats(description: Description) -> Samples:
    """Find the beats of an electrocardiogram, without labels.

    The kernel of :func:`beat_kernel` gives the candidates of :func:`beat_candidates`. A candidate is a beat if its
    height exceeds the threshold of Pan and Tompkins, ``noise + 0.25 (signal - noise)``. Their running estimates are
    medians here: ``signal`` is the median over periods of 2 s, each of which has a beat at 30 or more beats per minute,
    of the largest height; ``noise`` is the median height of the candidates below the threshold, starting from 0, until
    it does not change. One threshold applies to the whole recording, whose gain must therefore be constant.

    Args:
        description: Description of one recording with a known sampling frequency.

    Returns:
        The sample of each beat, [beats], in order: the largest deflection of the kernel, which is the R peak if the
        kernel has the form of a QRS complex.

    Raises:
        ValueError: If the description has several recordings or images, or no sampling frequency.

    Reference:
        Pan and Tompkins, "A Real-Time QRS Detection Algorithm", IEEE Trans. Biomed. Eng. 32(3), 1985.
    """
    frequency = _sampling_frequency(description)
    if description.events.empty:
        return np.empty(0, np.int64)
    samples, heights = beat_candidates(description, beat_kernel(description))
    n_samples = description.shape[2]
    n_periods = max(1, int(n_samples / (PERIOD_SECONDS * frequency)))
    largest = np.zeros(n_periods)
    np.maximum.at(largest, (samples * n_periods // n_samples).clip(0, n_periods - 1), heights)
    found: Samples = samples[heights > _threshold(heights, float(np.median(largest)))]
    return found


def beat_kernel(description: Description) -> int:
    """Return the kernel whose events explain the most energy of the slope, the difference of neighboring samples.

    The QRS complex is the steepest wave of an electrocardiogram, although a T wave or a wandering baseline may have
    more energy. The energies of several channels, as they are scaled, add up.

    Args:
        description: Description with at least one event.

    Returns:
        Index of the kernel, from 0.
    """
    events = description.events
    energies = [
        float((events["amplitude"][events["kernel"] == index] ** 2).sum() * np.square(np.diff(atom)).sum())
        for index, atom in enumerate(_atoms(description))
    ]
    return int(np.argmax(energies))


def beat_candidates(description: Description, kernel: int) -> Candidates:
    """Return the events of a kernel that are the largest within the refractory period of 200 ms.

    An event is placed at the largest deflection of the kernel over its samples and channels, cropped to the recording.
    Its height is the absolute value of this deflection, so that beats of both signs are candidates. From the highest
    event down, each removes the events that are nearer than 200 ms.

    Args:
        description: Description of one recording with a known sampling frequency.
        kernel: Index of the kernel, from 0.

    Raises:
        ValueError: If the description has several recordings or images, or no sampling frequency.
    """
    refractory = REFRACTORY_SECONDS * _sampling_frequency(description)
    is_own = (description.events["kernel"] == kernel).to_numpy()
    events = description.events[is_own]
    atom = _atoms(description)[kernel]
    channel, peak = divmod(int(np.abs(atom).argmax()), atom.shape[1])
    samples = events["sample"].to_numpy() - description.centres[kernel] + peak
    samples = samples.clip(0, description.shape[2] - 1)
    heights = np.abs(events["amplitude"].to_numpy() * atom[channel, peak]) * description.sizes[is_own, channel]
    kept = np.zeros(len(samples), bool)
    is_free = np.ones(len(samples), bool)
    for index in np.argsort(-heights, kind="stable"):
        if is_free[index]:
            kept[index] = True
            first = np.searchsorted(samples, samples[index] - refractory, "right")
            is_free[first : np.searchsorted(samples, samples[index] + refractory, "left")] = False
    return Candidates(samples[kept], heights[kept])


def score_beats(found: ArrayLike, reference: ArrayLike, sampling_frequency: float) -> BeatScore:
    """Compare found beats with reference beats by ``wfdb.processing.compare_annotations``.

    A reference beat and a found beat match if they are at most 150 ms apart; each matches at most once.

    Args:
        found: Samples of the found beats, [beats], in order.
        reference: Samples of the reference beats, [beats], in order; of annotations, those in ``BEAT_SYMBOLS``.
        sampling_frequency: In hertz.

    Raises:
        ValueError: If there is no reference beat, samples are not in order, or the frequency is not positive.

    Reference:
        ANSI/AAMI EC57, "Testing and Reporting Performance Results of Cardiac Rhythm and ST Segment Measurement
        Algorithms".
    """
    if not 0 < sampling_frequency < np.inf:
        raise ValueError(f"sampling_frequency={sampling_frequency} must be positive (hertz)")
    found, reference = _in_order(found, "found"), _in_order(reference, "reference")
    if not len(reference):
        raise ValueError("reference has no beat: give the samples of annotations in BEAT_SYMBOLS")
    if not len(found):
        return BeatScore(0.0, 0.0, 0, len(reference), 0)
    from wfdb.processing import compare_annotations  # slow to import

    compared = compare_annotations(reference, found, int(MATCH_SECONDS * sampling_frequency) + 1)
    return BeatScore(
        compared.sensitivity, compared.positive_predictivity, int(compared.tp), int(compared.fn), int(compared.fp)
    )


def annotated_beats(record: str | Path, sampling_frequency: float) -> Samples | None:
    """Return the beats in the annotations of a WFDB record, [beats]; None if it has no ``.atr`` file.

    Args:
        record: Path of the record, with or without ``.hea``.
        sampling_frequency: In hertz, of the samples to return.

    Raises:
        ValueError: If the annotations cannot be read.
    """
    path = str(record).removesuffix(".hea")
    if not Path(f"{path}.atr").is_file():
        return None
    try:
        annotation = rdann(path, "atr")
    except Exception as error:  # wfdb raises errors of many kinds
        raise ValueError(f"{path}.atr has no annotations that wfdb can read: {reason(error)}") from error
    is_beat = [symbol in BEAT_SYMBOLS for symbol in annotation.symbol]
    ratio = sampling_frequency / (annotation.fs or sampling_frequency)
    beats: Samples = np.unique((np.asarray(annotation.sample)[is_beat] * ratio).round().astype(np.int64))
    return beats


def _sampling_frequency(description: Description) -> float:
    """Return the sampling frequency of a description of one recording; refuse others."""
    if description.network.n_dims != 1:
        raise ValueError("the description is of images: beats are found in one recording")
    if description.shape[0] != 1:
        raise ValueError(f"the description has {description.shape[0]} recordings: describe one, [samples]")
    frequency = description.origin.sampling_frequency
    if frequency is None:
        raise ValueError(
            "the sampling frequency is unknown: read or encode the recording with sampling_frequency=, in hertz"
        )
    return frequency


def _atoms(description: Description) -> Sequence[NDArray[np.float32]]:
    """Return the kernels as an event places them, each [channels, m]."""
    return [channels_first(atom, 1).numpy() for atom in shown_atoms(description.network)]


def _threshold(heights: Array, signal: float) -> float:
    """Return the threshold between noise and beats; it rises with the noise below it, and so converges."""
    noise = 0.0
    while True:
        threshold = noise + THRESHOLD_FRACTION * (signal - noise)
        below = heights[heights <= threshold]
        above_noise = max(noise, float(np.median(below))) if len(below) else noise
        if above_noise == noise:
            return threshold
        noise = above_noise


def _in_order(samples: ArrayLike, name: str) -> Samples:
    """Return samples as integers; refuse samples that are not in order."""
    array = np.asarray(samples)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name} is {array.dtype} of the shape {list(array.shape)}: give whole samples, [beats]")
    if (np.diff(array.astype(np.int64)) <= 0).any():
        raise ValueError(f"{name} has samples that do not rise: sort them, and give each beat once")
    return array.astype(np.int64)
