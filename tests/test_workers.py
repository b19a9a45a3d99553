"""Worker processes that share independent work."""

import logging

import pytest

from san.cli.workers import computed, end_workers


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_worker_processes_log_is_logged_once(caplog, jobs):
    lines = ["first", "second", "third"]
    assert list(computed(logging.getLogger("san.of_test").warning, lines, jobs)) == [None] * 3
    end_workers()
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("san.of_test", line) for line in lines
    ]
