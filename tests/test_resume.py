"""A training resumes from a checkpoint of the same experiment alone."""

import shutil

import numpy as np
import pytest
import torch
from conftest import results

from san.reporting import provenance

COMPUTED = ("test", "validation", "phi_per_epoch", "best_epoch", "dataset", "fingerprint")
PART = "provenance"


def numbers(folder):
    return {key: results(folder)[key] for key in COMPUTED}


def log_of(folder):
    (log,) = folder.glob("*.log")
    return log.read_text(encoding="utf-8")


@pytest.fixture
def arguments(tmp_path):
    """Write a signal; return the overrides of a short training on it."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal(600).cumsum())
    return [
        "dataset=numpy", f"path={tmp_path / 'x.npy'}", "dataset.window=60", "kernel_size=9", "figure=[]", "logger=[]",
    ]  # fmt: skip


@pytest.fixture
def trained(run_train, arguments):
    return run_train("trained", *arguments, "trainer.max_epochs=2")[0]


def rewrite(folder, change):
    """Change the content of all checkpoints of a run."""
    for path in (folder / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)


def of_an_earlier_version(content):
    """Give a checkpoint the form of versions that stored no provenance, and named some classes in other modules."""
    del content[PART]
    for key in ("initialization", "restart_every"):
        del content["config"][key]


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        (["activation=relu"], ["activation=extrema in the checkpoint, activation=relu here"]),
        (
            ["decoder=adjoint", "optimizer.lr=0.1", "seed=1"],
            [
                "decoder=paper in the checkpoint, decoder=adjoint here",
                "optimizer.lr=0.01 in the checkpoint, optimizer.lr=0.1 here",
                "seed=0 in the checkpoint, seed=1 here",
            ],
        ),
        (["border_tolerance=1"], ["border_tolerance=3 in the checkpoint, border_tolerance=1 here"]),
        (["kernel_sizes=[9,9]"], ["kernel_sizes=null in the checkpoint, kernel_sizes=[9, 9] here"]),
        (["dataset.scaling=none"], ["dataset.scaling=example in the checkpoint, dataset.scaling=none here"]),
        (
            ["callbacks=[early_stopping]"],
            [
                "no callbacks.early_stopping._target_ in the checkpoint, "
                "callbacks.early_stopping._target_=pytorch_lightning.callbacks.EarlyStopping here"
            ],
        ),
    ],
)
def test_another_experiment_is_refused_with_each_difference(run_train, arguments, trained, change, differences):
    folder, line = run_train("other", *arguments, *change, f"checkpoint={trained}", fails=True)
    assert line == (
        f"san: checkpoint={trained} is of another experiment: {'; '.join(differences)}; to resume it, give the values "
        "of the checkpoint; to start anew, leave out checkpoint="
    )
    assert not (folder / "checkpoints").exists()


def test_another_dataset_is_refused_by_its_loader_and_what_it_sets(run_train, trained):
    _, line = run_train("other", "dataset=synthetic", "kernel_size=9", f"checkpoint={trained}", fails=True)
    loaders = [f"dataset._target_=san.data.{name}.load" for name in ("numpy_array", "synthetic")]
    assert f"{loaders[0]} in the checkpoint, {loaders[1]} here" in line
    assert "border_tolerance=3 in the checkpoint, border_tolerance=2 here; " in line
    assert "dataset.window" not in line
    assert "other examples" not in line


@pytest.mark.slow
def test_what_cannot_change_the_training_may_change_and_the_numbers_are_those_of_one_run(
    run_train, arguments, trained, tmp_path
):
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes())
    others = [
        f"path={tmp_path / 'moved' / 'x.npy'}", "logger=csv", "figure=[kernels]", "num_workers=1",
        "callbacks=[lr_monitor]", f"paths.cache_dir={tmp_path / 'cache'}", "trainer.log_every_n_steps=3",
        "kernel_figure_every=1", "trainer.accelerator=auto", "trainer.enable_progress_bar=false",
        "+trainer.max_time=00:01:00:00", "protocol.selected_by=test", "skip_finished=true",
    ]  # fmt: skip
    longer = [*arguments, "trainer.max_epochs=4"]
    through, _ = run_train("through", *longer)
    resumed, _ = run_train("resumed", *longer, *others, f"checkpoint={trained}")
    expected = numbers(through)
    found = numbers(resumed)
    assert found.pop("fingerprint")["data"] == expected.pop("fingerprint")["data"]
    assert found == expected
    assert "other code" not in log_of(resumed)


def test_the_options_of_the_run_need_no_repetition(run_train, arguments, tmp_path):
    options = [
        "activation=relu",
        "n_kernels=2",
        "callbacks=[early_stopping]",
        "optimizer.lr=0.02",
        "trainer.max_epochs=2",
    ]
    trained, _ = run_train("trained", *arguments, *options)
    through, _ = run_train("through", *arguments, *options, "trainer.max_epochs=4")
    resumed, _ = run_train("resumed", f"checkpoint={trained}", "trainer.max_epochs=4", as_user=True)
    assert numbers(resumed) == numbers(through)
    assert not (resumed / "figures").exists()
    assert not (resumed / "tensorboard").exists()
    for folder in (trained, resumed):
        shutil.rmtree(folder / ".hydra")
    _, line = run_train("other", f"checkpoint={resumed}", "kernel_size=8", "activation=extrema", fails=True)
    assert "activation=relu in the checkpoint, activation=extrema here; " in line
    assert "kernel_size=9 in the checkpoint, kernel_size=8 here" in line


def test_a_checkpoint_does_not_decide_where_files_are_read_and_written(run_train, arguments, trained, tmp_path):
    def redirect(content):
        config = content["config"]
        config["paths"] = {key: str(tmp_path / "elsewhere") for key in config["paths"]}
        config["callbacks"]["phi_checkpoint"]["dirpath"] = str(tmp_path / "elsewhere")
        config["figure"] = {"../../elsewhere": {"_target_": "san.figures.kernels.draw", "_partial_": True}}

    rewrite(trained, redirect)
    resumed, _ = run_train("resumed", f"checkpoint={trained}", "trainer.max_epochs=3", as_user=True)
    assert not (tmp_path / "elsewhere").exists()
    assert (resumed / "checkpoints" / "best.ckpt").is_file()
    assert "checkpoint= does not decide figure.../../elsewhere" in log_of(resumed)


def test_typed_keys_are_compared_with_the_options_of_the_checkpoint(run_train, trained):
    _, line = run_train("other", f"checkpoint={trained}", "trainer.min_epochs=3", fails=True)
    assert "trainer.min_epochs=3 contradicts trainer.max_epochs=2" in line


def test_a_multirun_is_resumed_by_job_or_as_a_whole(run_train, arguments):
    folder, _ = run_train("jobs", "-m", *arguments, "seed=0,1", "trainer.max_epochs=1")
    _, line = run_train("other", f"checkpoint={folder}", fails=True)
    assert f"is a multirun: resume one of its jobs by checkpoint={folder / '0'}, or all by -m hydra.sweep.dir=" in line


def test_replaced_data_of_the_same_name_is_refused(run_train, arguments, trained, tmp_path):
    np.save(tmp_path / "x.npy", np.load(tmp_path / "x.npy")[::-1])
    for early in (False, True):
        if early:
            rewrite(trained, of_an_earlier_version)
        folder, line = run_train("other", *arguments, f"checkpoint={trained}", "trainer.max_epochs=3", fails=not early)
        assert ("numpy/x has other examples here than in the checkpoint" in line) == (not early)
    assert "without fingerprints of its code and data" in log_of(folder)


def test_a_change_of_the_code_is_announced_and_remembered(run_train, arguments, trained, monkeypatch):
    longer = [*arguments, "trainer.max_epochs=4"]
    through, _ = run_train("through", *longer)
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "_source", {"san": "edited"}.get)
        resumed, _ = run_train("resumed", *longer, f"checkpoint={trained}")
        edited, _ = run_train("edited", *longer)
    code, other = (results(folder)["fingerprint"]["code"] for folder in (through, edited))
    mixed = numbers(resumed)
    assert f"WARNING san.cli.resume: checkpoint={trained} was trained by other code" in log_of(resumed)
    assert mixed.pop("fingerprint")["code"] == f"{code}+{other}"
    assert mixed == {key: value for key, value in numbers(through).items() if key != "fingerprint"}
    again, _ = run_train("again", *longer, "trainer.max_epochs=5", f"checkpoint={resumed}")
    assert results(again)["fingerprint"]["code"] == f"{code}+{other}+{code}"


def test_a_checkpoint_of_an_earlier_version_resumes_and_its_configuration_is_compared(run_train, arguments, trained):
    longer = [*arguments, "trainer.max_epochs=4"]
    through, _ = run_train("through", *longer)
    rewrite(trained, of_an_earlier_version)
    _, line = run_train("other", *longer, "activation=relu", "seed=2", f"checkpoint={trained}", fails=True)
    assert "activation=extrema in the checkpoint, activation=relu here; seed=0 in the checkpoint, seed=2 here" in line
    _, line = run_train("other", *longer, "initialization=data", f"checkpoint={trained}", fails=True)
    assert "initialization=normal in the checkpoint, initialization=data here" in line
    resumed, _ = run_train("resumed", *longer, f"checkpoint={trained}")
    expected, found = numbers(through), numbers(resumed)
    assert found.pop("fingerprint")["code"] == f"unknown+{expected.pop('fingerprint')['code']}"
    assert found == expected


def test_no_resolver_of_a_checkpoint_is_called(run_train, arguments, trained, monkeypatch):
    def refer(content):
        of_an_earlier_version(content)
        content["config"]["seed"] = "${oc.env:SECRET}"

    monkeypatch.setenv("SECRET", "1234")
    rewrite(trained, refer)
    resumed, _ = run_train("resumed", *arguments, "trainer.max_epochs=3", f"checkpoint={trained}")
    assert "these keys are not compared: no seed in the checkpoint, seed=0 here" in log_of(resumed)


@pytest.mark.parametrize(
    "part",
    [
        "text", {}, {"code": 1, "data": "", "settings": {}}, {"code": "", "data": "", "settings": []},
        {"code": "", "data": "", "settings": {"x": [0] * 20_000}},
    ],
)  # fmt: skip
def test_a_damaged_provenance_is_one_line(run_train, arguments, trained, part):
    rewrite(trained, lambda content: content.update({PART: part}))
    _, line = run_train("other", *arguments, f"checkpoint={trained}", fails=True)
    assert line.startswith("san: ")
    assert "checkpoint" in line
    assert "\n" not in line.strip()
