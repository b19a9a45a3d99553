"""Write the shipped record, PhysioNet mitdb/208, from its copy in SciPy 1.11.4, or check the shipped record.

    python tools/ship_mitdb_208.py           # writes san/data/records/mitdb/208.hea and 208.dat
    python tools/ship_mitdb_208.py --check   # compares every sample; exits with code 1 if any differs

Both download the wheel of SciPy 1.11.4 with pip, without installing it.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import wfdb

RECORDS = Path(__file__).parents[1] / "san" / "data" / "records" / "mitdb"
GAIN, BASELINE, SAMPLING_FREQUENCY = 200.0, 1024, 360
COMMENTS = [
    "Five minutes of lead MLII of record 208 of the MIT-BIH Arrhythmia Database, as shipped by SciPy 1.11.4",
    "PhysioNet, https://physionet.org/content/mitdb/, Open Data Commons Attribution License v1.0",
    "Moody GB, Mark RG. IEEE Eng in Med and Biol 20(3):45-50, 2001",
    "Goldberger AL et al. Circulation 101(23):e215-e220, 2000",
]


def source() -> np.ndarray:
    """Return the samples, in units of the analogue-to-digital converter, from the wheel of SciPy 1.11.4."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, "--python-version=3.11", "--dest", folder, "scipy==1.11.4"], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return np.load(io.BytesIO(archive.read("scipy/misc/ecg.dat")))["ecg"].astype(np.int64)


def main() -> int:
    """Write the record unless asked to check only, and compare it with its source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only, without writing")
    check = parser.parse_args().check
    samples = source()
    if not check:
        RECORDS.mkdir(parents=True, exist_ok=True)
        wfdb.wrsamp(
            "208",
            fs=SAMPLING_FREQUENCY,
            units=["mV"],
            sig_name=["MLII"],
            d_signal=samples[:, None],
            fmt=["212"],
            adc_gain=[GAIN],
            baseline=[BASELINE],
            comments=COMMENTS,
            write_dir=str(RECORDS),
        )
    shipped = wfdb.rdrecord(str(RECORDS / "208"), physical=False)
    same = shipped.fs == SAMPLING_FREQUENCY and np.array_equal(shipped.d_signal[:, 0], samples)
    print(f"{len(samples)} samples at the source, {shipped.sig_len} shipped: {'equal' if same else 'DIFFERENT'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
