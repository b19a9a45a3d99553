"""The cache of the compiled operators, which may fail without any effect on a result."""

import errno

import numpy as np
import pytest
from numba.core.caching import FunctionCache

from san.ops.compiled import threads


@pytest.fixture
def double(monkeypatch, tmp_path):
    """Compile a function with a cache in the folder of the test, as a new process would."""
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    threads._warn_of_cache.cache_clear()
    return lambda: threads.compiled(_double)(np.array([1.0, 2.0])).tolist()


@pytest.mark.parametrize("method", ["save_overload", "load_overload"])
def test_a_cache_on_a_full_disk_costs_time_alone(monkeypatch, caplog, double, method):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FunctionCache, method, fail)
    assert double() == double() == [2.0, 4.0]
    (record,) = caplog.records
    assert "No space left on device: numba's cache in " in record.message
    assert "NUMBA_CACHE_DIR" in record.message


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("left", [0, 20])
def test_a_damaged_cache_costs_time_alone(caplog, tmp_path, double, suffix, left):
    assert double() == [2.0, 4.0]
    for file in tmp_path.rglob(f"*.{suffix}"):
        file.write_bytes(file.read_bytes()[:left])
    assert double() == [2.0, 4.0]
    (record,) = caplog.records
    assert "numba's cache in " in record.message


def _double(values):
    return 2 * values
