"""A multirun ends with the table of its finished jobs, and with exit code 1 if a job or its summary failed."""

import gc
import re
import weakref
from pathlib import Path

import pytest
from conftest import table

from san import compare, evaluate
from san.cli.launch import command
from san.storage.files import write_json, write_text

configurations, in_memory = [], []
METRICS = {"phi": 0.5, "cr_inverse": 0.3, "loss_normalized": 0.4, "accuracy": None}


def job(config):
    """Write the results of a training that takes no time; kernels of 2000 samples are too long."""
    if config.kernel_size == 2000:
        raise ValueError("kernel_size=2000 is too long")
    results = {"dataset": "mine", "activation": config.activation_name, "seed": 0, "best_epoch": 0,
               "kernel_sizes": [config.kernel_size], "validation": METRICS, "test": METRICS}  # fmt: skip
    write_json(Path(config.paths.output_dir, "results.json"), results)
    write_text(Path(config.paths.output_dir, "checkpoints", "best.ckpt"), "weights")
    return 0.5


def remember(config):
    """Run a job, and note how many configurations of jobs are in memory."""
    configurations.append(weakref.ref(config))
    gc.collect()
    in_memory.append(sum(reference() is not None for reference in configurations))
    return job(config)


@pytest.fixture
def multirun(monkeypatch, capsys, tmp_path):
    """Run a multirun in this process; return its exit code, standard output and standard error."""

    def multirun(*arguments, main=None):
        where = f"hydra.sweep.dir={tmp_path / 'jobs'}"
        monkeypatch.setattr("sys.argv", ["san", "-m", *arguments, where])
        code, reason = 0, ""
        try:
            (main or command("train", implementation=f"{__name__}.job"))()
        except SystemExit as stop:
            code, reason = (1, stop.code) if isinstance(stop.code, str) else (stop.code or 0, "")
        said = capsys.readouterr()
        return code, said.out, said.err + reason

    return multirun


def rows_of(said):
    """Return the kernel sizes of the rows of the table on the console, sorted."""
    return sorted(int(line.split("│")[1]) for line in said.splitlines() if line.startswith("│"))


def failures_of(said):
    """Return the lines of the failures: one, or the rows of a table."""
    return [line for line in said.splitlines() if re.match(r" *job \d+ (failed: | )", line)]


@pytest.mark.parametrize("file", ["sweep.csv", "sweep.png", "checkpoints"])
def test_a_summary_that_cannot_be_written_is_an_error_after_the_table(multirun, tmp_path, file):
    blocked = tmp_path / "jobs" / file
    if file == "checkpoints":
        blocked.parent.mkdir()
        blocked.write_text("a file where a folder is needed", encoding="utf-8")
    else:
        (blocked / "full").mkdir(parents=True)
    code, said, reason = multirun("kernel_size=8,16")
    assert (code, rows_of(said)) == (1, [8, 16])
    assert reason.startswith("san: ")
    assert file in reason
    assert len(reason.strip().splitlines()) == 1


def test_a_full_disk_at_the_summary_is_an_error_after_the_table(multirun, monkeypatch):
    def no_space(*_args):
        raise OSError(28, "No space left on device", "sweep.csv")

    monkeypatch.setattr("san.reporting.results.write_csv", no_space)
    code, said, reason = multirun("kernel_size=8,16")
    assert (code, rows_of(said)) == (1, [8, 16])
    assert "the disk is full" in reason


@pytest.mark.parametrize("text", ["{", "[]", '{"kernel_sizes": [8]}', '"text"'])
def test_earlier_results_that_cannot_be_read_are_a_failed_job(multirun, tmp_path, text):
    for job in ("7", "8"):
        (tmp_path / "jobs" / job / ".hydra").mkdir(parents=True)
    (tmp_path / "jobs" / "7" / "results.json").write_text(text, encoding="utf-8")
    code, said, _ = multirun("kernel_size=8,16")
    assert (code, rows_of(said)) == (1, [8, 16])
    (line,) = failures_of(said)
    assert line.startswith(f"job 7 failed: {tmp_path / 'jobs' / '7' / 'results.json'} cannot be read")
    assert [row["kernel_size"] for row in table(tmp_path / "jobs" / "sweep.csv")] == ["8", "16"]


def test_a_reason_that_cannot_be_written_ends_the_multirun_with_the_table_of_the_finished_jobs(multirun, monkeypatch):
    def no_space(path, _text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("san.cli.launch.write_text", no_space)
    code, said, reason = multirun("kernel_size=8,2000,16")
    assert (code, rows_of(said)) == (1, [8])
    assert "kernel_size=2000 is too long" in said
    assert "the disk is full" in reason
    assert len(reason.splitlines()) == 1


def test_an_error_of_hydra_between_two_jobs_is_one_line_after_the_table(multirun, monkeypatch):
    def no_space(*_args):
        raise OSError(28, "No space left on device", ".hydra")

    def fill(config):
        monkeypatch.setattr("hydra.core.utils._save_config", no_space)
        return job(config)

    monkeypatch.setitem(globals(), "fill", fill)
    code, said, reason = multirun("kernel_size=8,16", main=command("train", implementation=f"{__name__}.fill"))
    assert (code, rows_of(said)) == (1, [8])
    assert reason.startswith("san: [Errno 28] No space left on device: '.hydra'; the disk is full")
    assert len(reason.splitlines()) == 1


def test_a_multirun_that_ends_early_has_the_table_of_its_finished_jobs(multirun, monkeypatch):
    def stop(config):
        if config.kernel_size == 16:
            raise SystemExit(3)
        return job(config)

    monkeypatch.setitem(globals(), "stop", stop)
    code, said, _ = multirun("kernel_size=8,16,20", main=command("train", implementation=f"{__name__}.stop"))
    assert (code, rows_of(said)) == (3, [8])


def test_a_bug_of_the_summary_is_raised(multirun, monkeypatch):
    def bug(*_args):
        raise ZeroDivisionError

    monkeypatch.setattr("san.reporting.results.draw_sweep", bug)
    with pytest.raises(ZeroDivisionError):
        multirun("kernel_size=8,16")


def test_results_older_than_the_failure_of_their_job_are_not_in_the_table(multirun, tmp_path):
    assert multirun("kernel_size=8,16")[0] == 0
    code, said, _ = multirun("kernel_size=2000,16")
    assert (code, rows_of(said)) == (1, [16])
    assert (tmp_path / "jobs" / "0" / "results.json").is_file()


def test_failed_jobs_of_commands_without_a_table_are_listed(multirun, tmp_path):
    code, said, _ = multirun(f"checkpoint={tmp_path / 'nowhere'},{tmp_path / 'gone'}", main=evaluate.main)
    assert code == 1
    assert ["nowhere" in line for line in failures_of(said)] == [True, False]
    code, said, _ = multirun("activations=[]", "peers=[]", "seed=0,1", main=compare.main)
    assert code == 1
    assert [line.split()[:2] for line in failures_of(said)] == [["job", "0"], ["job", "1"]]


def test_a_table_in_a_file_is_as_wide_as_its_content(multirun, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "20")
    code, said, _ = multirun("kernel_size=8,16", "activation=extrema_pool_indices,relu")
    assert code == 0, said
    assert "…" not in said
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line.startswith("│")]
    rows = [
        [row["activation"], row["kernel_size"], "0.5000", "0.5000", "0.3000", "0.4000"]
        for row in table(tmp_path / "jobs" / "sweep.csv")
    ]
    assert len(lines) == 4
    assert sorted(lines) == sorted(rows)


def test_a_finished_job_leaves_no_configuration_in_memory(multirun):
    configurations.clear()
    in_memory.clear()
    assert multirun("kernel_size=5,6,7,8", main=command("train", implementation=f"{__name__}.remember"))[0] == 0
    assert in_memory == [1, 1, 1, 1]
