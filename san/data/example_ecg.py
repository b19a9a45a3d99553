"""The electrocardiogram that the package ships, for examples and first trials."""

from san.data import wfdb_record
from san.data.signal import Signal
from san.data.wfdb_files import RECORDS, SHIPPED_DATABASE, SHIPPED_RECORD

__all__ = ["example_ecg"]


def example_ecg() -> Signal:
    """Return the shipped electrocardiogram, as :func:`san.read` reads it: mitdb/208, lead MLII, 300 s at 360 Hz, in mV.

    The record is five minutes of record 208 of the MIT-BIH Arrhythmia Database, <https://physionet.org/content/mitdb/>,
    of a patient with many ventricular beats. It has no annotations. Its license is the Open Data Commons Attribution
    License v1.0; ``san/data/records/README.md`` has the attribution.

    Reference:
        Moody and Mark, "The impact of the MIT-BIH Arrhythmia Database", IEEE Eng. in Med. and Biol. 20(3), 2001.
        Goldberger et al., "PhysioBank, PhysioToolkit, and PhysioNet", Circulation 101(23), 2000.

    Example:
        >>> x = example_ecg()
        >>> x.n_samples, x.sampling_frequency, x.channels, x.channel_units
        (108000, 360.0, ('MLII',), ('mV',))
    """
    return wfdb_record.read(path=str(RECORDS / SHIPPED_DATABASE / SHIPPED_RECORD), channel="MLII")
