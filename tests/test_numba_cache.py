"""The cache of the compiled operators, which may fail without any effect on a result."""

import errno

import numpy as np
import pytest
from numba.core.caching import FunctionCache

from san.ops.compiled import threads


@pytest.mark.parametrize("method", ["save_overload", "load_overload"])
def test_a_cache_on_a_full_or_broken_disk_costs_time_alone(monkeypatch, caplog, tmp_path, method):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(FunctionCache, method, fail)
    threads._warn_of_cache.cache_clear()
    double = threads.compiled(_double)
    assert double(np.array([1.0, 2.0])).tolist() == [2.0, 4.0]
    assert double(np.array([1, 2])).tolist() == [2, 4]
    (record,) = caplog.records
    assert "No space left on device: numba's cache in " in record.message
    assert "NUMBA_CACHE_DIR" in record.message


def _double(values):
    return 2 * values
