"""Beat detectors of other libraries, to compare found beats with."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

__all__ = ["Detector", "installed_detectors"]

Detector = Callable[[NDArray[np.float64], float], NDArray[np.int64]]
"""Returns the samples of the beats in an electrocardiogram [samples], given its sampling frequency in hertz."""


def installed_detectors() -> Mapping[str, Detector]:
    """Return the detectors by name: ``xqrs`` of wfdb and, if it is installed, that of NeuroKit2."""
    return {"xqrs": _xqrs} | ({"neurokit2": _neurokit} if find_spec("neurokit2") else {})


def _xqrs(samples: NDArray[np.float64], sampling_frequency: float) -> NDArray[np.int64]:
    from wfdb.processing import xqrs_detect  # slow to import

    return np.asarray(xqrs_detect(samples, sampling_frequency, verbose=False), np.int64)


def _neurokit(samples: NDArray[np.float64], sampling_frequency: float) -> NDArray[np.int64]:
    import neurokit2

    found = neurokit2.ecg_peaks(samples, sampling_rate=sampling_frequency)[1]["ECG_R_Peaks"]
    return np.asarray(found, np.int64)
