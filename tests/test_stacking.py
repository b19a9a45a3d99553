"""Classifiers on the reconstructions, trained by ``san.train``."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import results, table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from san import evaluate
from san.checkpoint import read
from san.cli.parts import instantiate
from san.data.splits import Labels, Splits
from san.networks import SparselyActivatedNetwork
from san.reporting import provenance
from san.training.classifiers import CNN, FNN
from san.training.data_module import Examples


@pytest.fixture
def alone(write_images, tmp_path):
    """Write twenty images, ten for training and ten for validation, one of each class in both; return overrides."""
    write_images("MNIST")
    return [
        "dataset=mnist", "dataset.n_validation=10", "batch_size=5", "trainer.max_epochs=2", "kernel_size=3",
        f"paths.data_dir={tmp_path}", f"paths.cache_dir={tmp_path / 'cache'}",
    ]  # fmt: skip


@pytest.fixture
def arguments(alone):
    """Return the same overrides with a classifier."""
    return [*alone, "classifier=fnn", "classifier.batch_size=5"]


def reconstructions(folder, splits, activation):
    network = SparselyActivatedNetwork([3, 3], activation, 2)
    checkpoint = read(folder / "checkpoints" / "best.ckpt")
    network.load_state_dict({"weight": checkpoint["state_dict"]["network.weight"]})
    with torch.no_grad():
        return {split: network(x) for split, x in splits.examples.items()}, checkpoint["classifier"]


def test_the_classifier_is_tested_on_reconstructions_and_the_baseline_on_originals(run_train, compose, arguments):
    folder, _ = run_train("run", *arguments, "trainer.max_epochs=1")
    config = compose(*arguments)
    splits = instantiate(config, "dataset")
    examples, state = reconstructions(folder, splits, instantiate(config, "activation"))
    classifier = FNN((28, 28), 10)
    classifier.load_state_dict(state)
    predicted, true = classifier(examples["test"]).argmax(1), splits.labels.test
    left = results(folder)
    tested = left["classifier"]["test"]
    assert left["test"]["accuracy"] == tested["accuracy"] == pytest.approx(float((predicted == true).float().mean()))
    for label, (precision, recall, row) in enumerate(
        zip(tested["precision"], tested["recall"], tested["confusion"], strict=True)
    ):
        found, right = int((predicted == label).sum()), int(((predicted == label) & (true == label)).sum())
        assert precision == pytest.approx(right / found if found else 0)
        assert recall == pytest.approx(right / int((true == label).sum()))
        assert row == [int(((true == label) & (predicted == other)).sum()) for other in range(10)]
    change = 100 * (tested["accuracy"] - left["classifier"]["baseline"]["test"]["accuracy"])
    assert left["classifier"]["accuracy_change"] == pytest.approx(change)
    assert left["classifier"]["classes"][3] == "3 - three"


def test_training_the_classifier_is_adam_on_the_cross_entropy(run_train, compose, arguments):
    folder, _ = run_train("run", *arguments, "shuffle=false", "protocol=paper", "classifier.max_epochs=3")
    config = compose(*arguments)
    splits = instantiate(config, "dataset")
    examples, state = reconstructions(folder, splits, instantiate(config, "activation"))
    torch.manual_seed(0)
    classifier = FNN((28, 28), 10)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.01)
    for _ in range(3):
        for x, labels in zip(examples["train"].split(5), splits.labels.train.split(5), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(classifier(x), labels).backward()
            optimizer.step()
    for name, value in classifier.state_dict().items():
        assert torch.allclose(value, state[name], atol=1e-6)


@pytest.mark.parametrize(("protocol", "selected"), [("honest", "best"), ("paper", "last")])
def test_the_epoch_is_selected_by_validation_accuracy_or_is_the_last(run_train, arguments, protocol, selected):
    folder, _ = run_train("run", *arguments, f"protocol={protocol}", "classifier.max_epochs=12", "logger=tensorboard")
    events = EventAccumulator(str(folder / "tensorboard" / "mnist-extrema-2-kernels-m3" / "classifier")).Reload()
    accuracies = [event.value for event in events.Scalars("validation/accuracy")]
    found = results(folder)["classifier"]
    assert found["best_epoch"] == (1 + accuracies.index(max(accuracies)) if selected == "best" else 12)
    assert found["validation_accuracy"] == pytest.approx(accuracies[found["best_epoch"] - 1])
    assert accuracies.index(max(accuracies)) < 11


@pytest.mark.slow
def test_runs_with_the_same_baseline_share_it(run_train, arguments, tmp_path):
    folder, _ = run_train("sweep", "-m", *arguments, "kernel_size=2,3", "trainer.max_epochs=1,2")
    (kept,) = (tmp_path / "cache").iterdir()
    rows = table(folder / "sweep.csv")
    assert [float(row["test_accuracy"]) for row in rows] == [
        results(folder / str(job))["test"]["accuracy"] for job in range(4)
    ]
    baselines = [results(folder / str(job))["classifier"]["baseline"] for job in range(4)]
    assert all(baseline == baselines[0] for baseline in baselines)
    for change in ("seed=1", "classifier.optimizer.lr=0.1", "dataset.n_validation=9", "protocol=paper"):
        before = len(list((tmp_path / "cache").iterdir()))
        run_train("other", *arguments, change, fails=change.startswith("dataset"))
        assert len(list((tmp_path / "cache").iterdir())) == before + (not change.startswith("dataset"))
    kept.write_text("{", encoding="utf-8")
    again, _ = run_train("again", *arguments)
    assert results(again)["classifier"]["baseline"] == baselines[0]


@pytest.mark.slow
def test_a_baseline_is_of_the_data_and_the_code_that_it_is_shown_with(run_train, arguments, tmp_path, monkeypatch):
    """Replace the pixels of the same files by those of class 0 alone, then edit the classifier."""

    def baseline(name, *overrides):
        before = set((tmp_path / "cache").glob("*"))
        folder, _ = run_train(name, *arguments, "trainer.max_epochs=1", "figure=[]", *overrides)
        return results(folder)["classifier"]["baseline"], len(set((tmp_path / "cache").iterdir()) - before)

    first, _ = baseline("first")
    assert baseline("again", "logger=csv", "trainer.log_every_n_steps=2", "num_workers=0") == (first, 0)
    for file in (tmp_path / "MNIST" / "raw").glob("*-images-idx3-ubyte"):
        content = np.frombuffer(file.read_bytes(), np.uint8).copy()
        content[16:] = content[16:][::-1]
        file.write_bytes(content.tobytes())
    second, n_new = baseline("second")
    assert n_new == 1
    assert second != first
    forward = FNN.forward
    monkeypatch.setattr(FNN, "forward", lambda self, x: -forward(self, x.flip(-1)))
    monkeypatch.setattr(provenance, "_source", {"san": "edited"}.get)
    third, n_new = baseline("third")
    assert n_new == 1
    assert third != second


def test_memory_mapped_reconstructions_give_the_same_results(run_train, arguments, tmp_path):
    in_memory, _ = run_train("memory", *arguments)
    mapped, _ = run_train("mapped", *arguments, "classifier.max_memory=0")
    assert "memory-mapped" in (mapped / "train.log").read_text(encoding="utf-8")
    assert results(mapped)["classifier"] == results(in_memory)["classifier"]
    assert all(path.suffix == ".json" for path in (tmp_path / "cache").iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("typed")
def test_a_classifier_leaves_figures_and_is_evaluated_from_its_checkpoint(run, run_train, arguments, tmp_path):
    folder, _ = run_train("run", *arguments, as_user=True)
    assert (folder / "figures" / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(folder / "tensorboard" / "mnist-extrema-2-kernels-m3")).Reload()
    assert "selected/confusion_matrix" in events.Tags()["images"]
    where = [f"paths.data_dir={tmp_path}", f"hydra.run.dir={tmp_path / 'evaluated'}"]
    code, said = run(evaluate.main, f"checkpoint={folder}", *where)
    assert code == 0, said
    assert results(tmp_path / "evaluated")["test"] == results(folder)["test"]
    assert results(tmp_path / "evaluated")["classifier"]["test"] == results(folder)["classifier"]["test"]


def test_the_test_split_changes_nothing_but_the_test_metrics(run_train, arguments, monkeypatch):
    """Compare two trainings with different test examples: weights, selected epochs and classifiers are equal."""
    first, _ = run_train("first", *arguments)
    original = Splits.__post_init__

    def with_other_test_examples(self):
        object.__setattr__(self, "test", self.test.flip(-1) * 2)
        object.__setattr__(self.labels, "test", self.labels.test.flip(0))
        original(self)

    monkeypatch.setattr(Splits, "__post_init__", with_other_test_examples)
    second, _ = run_train("second", *arguments)
    one, other = results(first), results(second)
    assert one["test"] != other["test"]
    for key in ("best_epoch", "validation", "phi_per_epoch"):
        assert one[key] == other[key]
    for key in ("best_epoch", "validation_accuracy"):
        assert one["classifier"][key] == other["classifier"][key]
        assert one["classifier"]["baseline"][key] == other["classifier"]["baseline"][key]
    states = [read(folder / "checkpoints" / "best.ckpt") for folder in (first, second)]
    for part in ("state_dict", "classifier"):
        assert all(torch.equal(value, states[1][part][name]) for name, value in states[0][part].items())


def test_the_test_split_is_read_by_the_final_test_alone(run_train, alone, monkeypatch):
    read_splits = []
    original = Examples.__getitem__

    def recorded(self, index):
        read_splits.append(len(self.x))
        return original(self, index)

    monkeypatch.setattr(Examples, "__getitem__", recorded)
    run_train("run", *alone, "dataset.n_validation=8", "trainer.max_epochs=3")
    n_test = 10
    assert read_splits.count(n_test) == 2
    assert read_splits[-2:] == [n_test] * 2


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (["dataset.n_validation=5"], "no validation example is of the class 1 - one, 2 - two"),
        (["batch_size=11"], "batch_size=11 exceeds the 10 training examples"),
        (["classifier.batch_size=11"], "classifier.batch_size=11 exceeds the 10 training examples"),
    ],
)
def test_mistakes_are_reported_before_anything_is_trained(run_train, arguments, bad, said):
    folder, line = run_train("run", *arguments, *bad, fails=True)
    assert said in line
    assert "\n" not in line.strip()
    assert not (folder / "checkpoints").exists()


def test_a_dataset_without_classes_is_reported(run_train):
    _, line = run_train("run", "dataset=synthetic", "classifier=cnn", fails=True)
    assert "has no classes; use classifier=none" in line


def test_the_cnn_has_the_layers_of_the_paper():
    cnn = CNN([178], 3)
    shapes = [tuple(parameter.shape) for parameter in cnn.parameters() if parameter.dim() > 1]
    assert shapes == [(3, 1, 5), (16, 3, 5), (120, 656), (84, 120), (3, 84)]
    assert CNN([28, 28], 10)(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    with pytest.raises(ValueError, match="the CNN does not fit examples of 15 samples"):
        CNN([15], 3)


def test_every_example_has_one_label():
    x = torch.randn(3, 1, 9)
    labels = Labels(["a"], *[torch.zeros(3, dtype=torch.int64)] * 3)
    assert Splits("x", x, x, x, labels=labels).labels is labels
    with pytest.raises(ValueError, match="x: 3 labels for 2 test examples"):
        Splits("x", x, x, x[:2], labels=copy.copy(labels))


def test_dead_kernels_are_reported(run_train, alone):
    """Use a kernel of one negative weight: no pixel is negative, so ReLU keeps no activation."""
    one_weight = ["activation=relu", "kernel_size=1", "n_kernels=1", "trainer.max_epochs=1"]
    found = []
    for seed in range(4):
        folder, _ = run_train(f"{seed}", *alone, *one_weight, f"seed={seed}")
        dead = read(folder / "checkpoints" / "best.ckpt")["state_dict"]["network.weight"].item() < 0
        said = (folder / "train.log").read_text(encoding="utf-8")
        assert results(folder)["dead_kernels"] == ([0] if dead else [])
        assert ("relu, kernel size 1: 1 of 1 kernels are dead (0)" in said) == dead
        assert (results(folder)["test"]["phi"] == pytest.approx(1, abs=1e-4)) == dead
        found.append(dead)
    assert set(found) == {True, False}
