"""Mistakes that users make are refused in one line that says what is meant, before data are read."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import COMMANDS, results

from san.cli import job_checks

# Refused while the command line is read and the configuration is composed: nothing is written, torch is not needed.
AT_ONCE = [
    # misspelled, or in other words
    ("train kernelsize=8", "kernelsize is not known (did you mean kernel_size?)"),
    ("train +kernelsize=8", "kernelsize is not known (did you mean kernel_size?)"),
    ("train ++kernelsize=8", "kernelsize is not known (did you mean kernel_size?)"),
    ("train Kernel_Size=8", "Kernel_Size is not known (did you mean kernel_size?)"),
    ("train activaton=relu", "activaton is not known (did you mean activation?)"),
    ("train activation=Extrema", "activation=Extrema is not known (did you mean extrema?)"),
    ("train activation=ExtremaPoolIndices", "(did you mean extrema_pool_indices?)"),
    ("train activation=RELU", "activation=RELU is not known (did you mean relu?)"),
    ("train dataset=phisionet", "dataset=phisionet is not known (did you mean physionet?)"),
    ("train optimizer=Adam", "optimizer=Adam is not known (did you mean adam?)"),
    ("train epochs=5", "epochs is not known (did you mean trainer.max_epochs?)"),
    ("train max_epochs=5", "max_epochs is not known (did you mean trainer.max_epochs?)"),
    ("train lr=0.1", "lr is not known (did you mean optimizer.lr?)"),
    ("train batchsize=4", "batchsize is not known (did you mean batch_size?)"),
    ("train trainer.epochs=5", "trainer.epochs is not known (did you mean trainer.max_epochs?)"),
    ("train +nonsense=1", "nonsense is not known; python -m san.train --help lists the keys"),
    ("train +metric.foo=1", "metric.foo is not known"),
    ("train -m +kernelsize=8,9", "kernelsize is not known (did you mean kernel_size?)"),
    ("train kernelsize=8,9", "kernelsize is not known (did you mean kernel_size?)"),
    ("reproduce table=1", "table is not known (did you mean tables?)"),
    ("train trainer.gradient_clip_val=1", "needs a plus: +trainer.gradient_clip_val=VALUE"),
    # of other choices
    ("train path=x.npy", "path is not known: it is a key of dataset=csv, edf, images"),
    ("train column=ECG", "column is not known: it is a key of dataset=csv"),
    ("train classifier.batch_size=3", "it is a key of classifier=cnn; choose one of them"),
    ("train activation.perturbations=3", "it is a key of activation=phi_pursuit; choose one of them"),
    # of other commands
    ("train activations=[relu]", "activations is not known (did you mean activation?): it is a key of san.sweep or"),
    ("train tables=[1]", "it is a key of san.reproduce"),
    ("sweep kernel_size=8", "kernel_size has no effect in san.sweep: give kernel_sizes=[8]"),
    ("sweep kernel_size=8,16", "kernel_size has no effect in san.sweep: give kernel_sizes=[8,16]"),
    ("sweep -m kernel_size=8,16", "kernel_size has no effect in san.sweep: give kernel_sizes=[8]"),
    ("train figure=[kernel]", "figure=[kernel] is not known (did you mean kernels?); choose some of "),
    (
        "train callbacks=[early_stoping]",
        "callbacks=[early_stoping] is not known (did you mean early_stopping?); choose",
    ),
    ("compare figure=[kernels]", "figure is not known: it is a group of san.train or san.sweep"),
    ("compare +figure=[kernels]", "figure is not known: it is a group of san.train or san.sweep"),
    ("compare kernel_size=8", "kernel_size has no effect in san.compare: give kernel_sizes=[8]"),
    ("compare activation=relu", "activation has no effect in san.compare: give activations=[relu]"),
    ("evaluate checkpoint=x kernel_size=8", "kernel_size is not known: it is a key of san.train"),
    ("evaluate checkpoint=x dataset=synthetic kernel_size=8", "in san.evaluate: the checkpoint has its own"),
    ("evaluate checkpoint=x dataset=synthetic batch_size=8", "in san.evaluate: the checkpoint has its own"),
    ("evaluate checkpoint=x trainer.max_epochs=3", "in san.evaluate: it is of trainings alone"),
    ("evaluate checkpoint=x seed=1", "seed has no effect in san.evaluate"),
    ("evaluate checkpoint=x protocol=paper", "protocol has no effect in san.evaluate"),
    ("encode checkpoint=x path=y n_kernels=2", "n_kernels is not known: it is a key of san.train"),
    ("encode checkpoint=x dataset=synthetic window=50", "window has no effect in san.encode: dataset=synthetic does"),
    ("decode checkpoint=x", "checkpoint is not known: it is a key of san.train"),
    # contradictions
    ("train n_kernels=3 kernel_sizes=[12,40]", "n_kernels=3 contradicts kernel_sizes=[12, 40]"),
    ("train kernel_size=8 kernel_sizes=[4,5]", "kernel_size=8 contradicts kernel_sizes=[4, 5]"),
    ("train -m kernel_size=8,9 kernel_sizes=[4,5]", "kernel_size=8 contradicts kernel_sizes=[4, 5]"),
    ("sweep activation=relu activations=[extrema]", "activation contradicts activations=['extrema']"),
    ("train border_tolerance=1 activation.density=9", "border_tolerance=1 contradicts activation.density=9"),
    ("train dataset=numpy path=x dataset.value_range=[0,1]", "contradicts dataset.scaling=example, it is of range"),
    ("train dataset=numpy path=x dataset.scaled_by=all", "contradicts dataset.scaling=example, it is of all and range"),
    ("train trainer.min_epochs=9 trainer.max_epochs=3", "trainer.min_epochs=9 contradicts trainer.max_epochs=3"),
    # words of a shell
    ("train kernel_size=8,16", "one for each job: python -m san.train -m kernel_size=8,16"),
    ("sweep activations=relu,extrema", "a list, which has brackets: python -m san.sweep 'activations=[relu,extrema]'"),
    ("train kernel_sizes=8,16", "a list, which has brackets: python -m san.train 'kernel_sizes=[8,16]'"),
    ("train logger=csv,tensorboard", "a list, which has brackets: python -m san.train 'logger=[csv,tensorboard]'"),
    ("train --kernel_size 8", "python -m san.train kernel_size=8"),
    ("train --kernel_size=8 --seed 1", "python -m san.train kernel_size=8 seed=1"),
    ("train --kernel-size 8", "python -m san.train kernel_size=8"),
    ("train -path=x.npy dataset=numpy", "python -m san.train path=x.npy dataset=numpy"),
    ("train kernel_size = 8", "spaces separate overrides, so an override has none: python -m san.train kernel_size=8"),
    ("train kernel_size= 8", "python -m san.train kernel_size=8"),
    ("train kernel_sizes=[8, 16]", "python -m san.train 'kernel_sizes=[8,16]'"),
    ("train kernel_size", "kernel_size cannot be read as KEY=VALUE; give a value, as in kernel_size=VALUE"),
    ("train dataset=numpy path=a=b.npy", "quote special characters, as in 'path=\"a=b.npy\"'"),
    ("train --cfg everything", "invalid choice: 'everything'"),
]
# Refused before the implementation of the command starts, which would read data or a checkpoint.
BEFORE_DATA = [
    ("train kernel_size=abc", "kernel_size=abc must be an integer of at least 1"),
    ("train kernel_size=8.5", "kernel_size=8.5 must be an integer of at least 1"),
    ("train kernel_size=100ms", "kernel_size=100ms must be an integer of at least 1"),
    ("train kernel_size=", "kernel_size= must be an integer of at least 1"),
    ("train kernel_sizes=8", "kernel_sizes=8 must be a list of integers, such as [10,20]"),
    ("train seed=-1", "seed=-1 must be an integer from 0"),
    ("train trainer.max_epochs=abc", "trainer.max_epochs=abc must be an integer or null"),
    ("train optimizer.lr=fast", "optimizer.lr=fast must be"),
    ("train decoder=exact", "decoder=exact must be one of paper, adjoint"),
    ("train initialization=zeros", "initialization=zeros must be one of normal, data"),
    ("train initial_kernels=k.npy", "initial_kernels=k.npy needs initialization=checkpoint"),
    ("train +dataset.foo=1", "dataset.foo is not an argument of load"),
    ("train +trainer.foo=1", "trainer.foo is not an argument of Trainer"),
    ("train +optimizer.foo=1", "optimizer.foo is not an argument of Adam"),
    ("train +activation.foo=1", "activation.foo is not an argument of Extrema"),
    ("train dataset=numpy", "dataset=numpy needs path=PATH"),
    ("train hydra.sweep.dir=x", "is of a multirun alone: python -m san.train -m"),
    ("train +sweep=kernel_size", "is of a multirun alone: python -m san.train -m"),
    ("train -m kernel_size=8,abc", "kernel_size=abc must be an integer of at least 1"),
    ("train -m decoder=paper,exact", "decoder=exact must be one of paper, adjoint"),
    ("train kernel_size=8,0 -m", "kernel_size=0 must be an integer of at least 1"),
    ("train checkpoint=nowhere", "checkpoint=nowhere is neither a checkpoint nor a run folder with a checkpoint"),
    ("sweep kernel_sizes=1-9", "kernel_sizes=1-9: 1-9 must be a number such as 8, or a range such as 1..250"),
    ("sweep n_starts=0", "n_starts=0 must be an integer of at least 1"),
    ("evaluate", "san.evaluate needs checkpoint=CHECKPOINT"),
    ("encode path=x", "san.encode needs checkpoint=CHECKPOINT"),
    ("decode", "san.decode needs path=PATH"),
    ("compare peer_examples=none", "peer_examples=none must be an integer"),
]
# Refused by the implementation.
LATER = [
    ("evaluate checkpoint=nowhere", "checkpoint=nowhere is neither"),
    ("encode checkpoint=nowhere path=x", "checkpoint=nowhere is neither"),
    ("encode checkpoint=x", "nothing to describe: give path=FILE"),
    ("decode path=nowhere", "path=nowhere is not there"),
    ("decode path=nowhere format=mp3", "format=mp3 must be one of npy, csv, wfdb"),
    ("compare activations=[Relu]", "activation=Relu must be one of"),
    ("compare activations=[] peers=[]", "leave nothing to compare"),
    ("sweep activations=relu", "activations=relu must be a list such as [extrema,relu], or auto"),
    ("reproduce tables=[9]", "tables=[9] must be some of"),
    ("train dataset=numpy path=/nowhere.npy", "/nowhere.npy is not there"),
]


@pytest.fixture
def refused(run, tmp_path, monkeypatch):
    """Run a mistaken command in an empty folder; return the only line that it says."""

    def refused(line):
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        name, *words = line.split(" ")
        words += [f"hydra.sweep.dir={tmp_path / 'out'}" if "-m" in words else f"hydra.run.dir={tmp_path / 'out'}"]
        code, said = run(COMMANDS[name].main, *words)
        assert code == 1
        assert said.startswith("san: ")
        assert "\n" not in said.strip()
        assert not list((tmp_path / "empty").iterdir())
        return said

    return refused


@pytest.mark.parametrize(("line", "said"), AT_ONCE)
def test_a_mistake_is_refused_before_anything_is_needed_or_written(refused, monkeypatch, tmp_path, line, said):
    monkeypatch.setattr(job_checks, "check_job", None)
    assert said in refused(line)
    assert not list(tmp_path.glob("out/**/train.log"))


@pytest.mark.parametrize(("line", "said"), BEFORE_DATA)
def test_a_mistake_is_refused_before_data_are_read(refused, monkeypatch, line, said):
    monkeypatch.setattr("san.cli.processes.run", None)
    assert said in refused(line)


@pytest.mark.parametrize(("line", "said"), LATER)
def test_a_mistake_is_refused_by_the_command(refused, line, said):
    assert said in refused(line)


def test_at_least_58_mistakes_are_tested():
    lines = [line for line, _ in (*AT_ONCE, *BEFORE_DATA, *LATER)]
    assert len(set(lines)) == len(lines) >= 58
    assert {line.split()[0] for line in lines} == COMMANDS.keys()


@pytest.mark.parametrize("line", ["train +kernelsize=8", "train --kernel_size=8", "sweep kernel_size=8"])
@pytest.mark.slow
def test_torch_is_not_imported_for_a_mistake(tmp_path, line):
    name, *words = line.split()
    program = f"import sys, san.{name}\ntry:\n    san.{name}.main()\nfinally:\n    print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (1, "False\n")
    assert said.stderr.startswith("san: ")
    assert len(said.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["activation=territory", "n_kernels=1"], "activation=territory with one kernel is extrema"),
        (["activation=relu", "border_tolerance=1"], "border_tolerance=1 has no effect: activation=relu has none"),
        (["restart_every=9"], "restart_every=9 has no effect in 1 epochs"),
        (["experiment=table1"], "experiment=table1 trains one model here; -m trains all models of the table"),
        (["kernel=rank1"], "kernel=rank1 has no effect: the examples have one channel"),
    ],
)
def test_a_choice_without_effect_is_logged(run_train, arguments, said):
    folder, _ = run_train("run", "debug=one_batch", "figure=[]", "logger=[]", *arguments)
    assert (folder / "train.log").read_text(encoding="utf-8").count(said) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["+trainer.gradient_clip_val=1", "+trainer.gradient_clip_algorithm=value"],
        ["+callbacks.timer._target_=pytorch_lightning.callbacks.Timer", "+callbacks.timer.duration=00:01:00:00"],
        ["+mine=0.02", "optimizer.lr=${mine}"],
        ["kernel_sizes=[5,9]", "n_kernels=2"],
        ["++kernel_size=8", "+checkpoint=null"],
    ],
)
def test_keys_that_something_reads_are_accepted(run_train, arguments):
    folder, _ = run_train("run", "debug=one_batch", "figure=[]", "logger=[]", *arguments)
    assert results(folder)["config"]["optimizer"]["lr"] == ("${mine}" if "+mine=0.02" in arguments else 0.01)


def test_the_option_of_a_multirun_may_be_anywhere(run_train):
    folder, _ = run_train("run", "seed=0,1", "debug=one_batch", "-m", "figure=[]", "logger=[]")
    assert [results(folder / job)["seed"] for job in "01"] == [0, 1]


def test_a_constant_signal_names_only_keys_of_its_dataset(refused, tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((10, 50)))
    said = refused(f"train dataset=numpy path={tmp_path / 'flat.npy'}")
    assert "is constant" in said
    assert "record" not in said
