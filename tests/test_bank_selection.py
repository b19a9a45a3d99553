"""The epoch and the model that a bank and a sweep select, their results, and the file from which a bank resumes."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from conftest import results as stored_results
from torch.utils.data import DataLoader

from san import sweep
from san.activations import ReLU
from san.checkpoint import read
from san.cli.bank import evaluate_bank, shares, train_bank
from san.cli.parts import instantiate
from san.commands import sweep as sweep_command
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork
from san.training.callbacks import bank_selection
from san.training.callbacks.bank_selection import BankSelection

KERNELS_PER_MODEL = 2


class Bank(torch.nn.Module):
    """A bank of as many models as there are phis, with the number of the epoch as all weights."""

    def __init__(self, n_models):
        super().__init__()
        self.n_models = n_models
        self.kernel_sizes = [3] * (KERNELS_PER_MODEL * n_models)
        self.weight = torch.nn.Parameter(torch.full((KERNELS_PER_MODEL * n_models, 3), -1.0))


class Scripted(pl.LightningModule):
    """Have given phis, [epochs][models], as validation metrics; fail in a given epoch."""

    def __init__(self, phis, fails_in=None):
        super().__init__()
        self.phis, self.fails_in, self.metrics = phis, fails_in, {}
        self.network = Bank(len(phis[0]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def training_step(self, batch, batch_index):
        if self.current_epoch == self.fails_in:
            raise InterruptedError
        with torch.no_grad():
            self.network.weight.fill_(self.current_epoch)
        self.metrics["validation"] = {"phi": list(self.phis[self.current_epoch])}
        return self.network.weight.sum()

    def on_save_checkpoint(self, checkpoint):
        checkpoint["config"] = {}


def end_epochs(selection, phis, ckpt_path=None, fails_in=None):
    """Train a bank for epochs with the given phis, from the first or from the epoch of the checkpoint."""
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=len(phis), callbacks=[selection], logger=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Scripted(phis, fails_in), DataLoader(torch.zeros(1)), ckpt_path=ckpt_path, weights_only=True)


def epochs_of_weights(selection):
    """Return the epoch of the selected weights of each model, whose kernels are of one epoch."""
    by_model = selection.weight.unflatten(0, (-1, KERNELS_PER_MODEL))
    assert (by_model == by_model[:, :1, :1]).all()
    return by_model[:, 0, 0].tolist()


@pytest.fixture
def selection(tmp_path):
    return BankSelection(tmp_path / "bank.ckpt")


PHIS = [[0.9, 0.3, math.nan], [0.4, 0.5, math.nan], [0.7, 0.2, 0.8], [0.4, 0.6, math.nan]]


def test_each_model_has_the_weights_of_the_epoch_of_its_lowest_phi(selection):
    """Ties go to the first epoch; an epoch without a finite phi is never selected."""
    end_epochs(selection, PHIS)
    assert selection.best_epochs == [1, 2, 2]
    assert epochs_of_weights(selection) == [1, 2, 2]
    assert selection.phi_per_epoch(0) == [0.9, 0.4, 0.7, 0.4]
    assert selection.phi_per_epoch(1) == [0.3, 0.5, 0.2, 0.6]


def test_a_phi_of_minus_infinity_is_not_selected(selection):
    end_epochs(selection, [[-math.inf, 0.5], [0.5, math.inf]])
    assert selection.best_epochs == [1, 0]


def test_a_model_without_a_finite_phi_has_no_epoch_and_is_never_the_best_start(selection):
    end_epochs(selection, [[math.nan, 0.5, math.nan], [math.nan, 0.6, 0.9], [math.nan, 0.7, math.nan]])
    assert selection.best_epochs == [None, 0, 1]
    assert [selection.phi_at("best", model) for model in range(3)] == [math.inf, 0.5, 0.9]
    assert [selection.phi_at("last", model) for model in range(3)] == [math.inf, 0.7, math.inf]


def test_the_selection_is_restricted_to_some_models_in_their_order(selection):
    end_epochs(selection, PHIS)
    selection.keep([2, 0])
    assert selection.best_epochs == [2, 1]
    assert epochs_of_weights(selection) == [2, 1]
    assert selection.phi_per_epoch(1) == [0.9, 0.4, 0.7, 0.4]
    assert selection.phi_per_epoch(0)[2] == 0.8


def test_a_resumed_bank_selects_as_one_that_ran_through(selection, tmp_path):
    end_epochs(selection, PHIS[:2])
    resumed = BankSelection(tmp_path / "bank.ckpt")
    end_epochs(resumed, PHIS, ckpt_path=tmp_path / "bank.ckpt")
    through = BankSelection(tmp_path / "through.ckpt")
    end_epochs(through, PHIS)
    assert resumed.best_epochs == through.best_epochs
    assert str(resumed.validation_per_epoch) == str(through.validation_per_epoch)
    assert resumed.weight.equal(through.weight)
    untouched = BankSelection(tmp_path / "bank.ckpt")
    end_epochs(untouched, [*PHIS, [0.9, 0.9, 0.9]], ckpt_path=tmp_path / "bank.ckpt")
    assert epochs_of_weights(untouched) == [1, 2, 2]


def test_the_file_has_the_state_from_the_start_and_after_the_last_epoch(selection, monkeypatch):
    """No second passes between the two."""
    monkeypatch.setattr(bank_selection, "SAVE_INTERVAL", math.inf)
    with pytest.raises(InterruptedError):
        end_epochs(selection, PHIS, fails_in=0)
    assert (read(selection.path)["state_dict"]["network.weight"] == -1).all()
    selection = BankSelection(selection.path)
    end_epochs(selection, PHIS)
    assert (read(selection.path)["state_dict"]["network.weight"] == 3).all()
    before = selection.path.read_bytes()
    resumed = BankSelection(selection.path)
    with pytest.raises(InterruptedError):
        end_epochs(resumed, [*PHIS, PHIS[0]], ckpt_path=selection.path, fails_in=4)
    assert selection.path.read_bytes() == before


def test_at_least_a_second_passes_between_two_checkpoints(selection, monkeypatch):
    saved, clock = [], SimpleNamespace(seconds=0.0)

    def start_epoch(_):
        clock.seconds += 0.6

    def save_training(trainer, _):
        saved.append(trainer.current_epoch)

    selection.saved = 0.0
    monkeypatch.setattr(bank_selection, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    for name in ("save_initial", "save_training"):
        monkeypatch.setattr(bank_selection, name, save_training)
    monkeypatch.setattr(Scripted, "on_train_epoch_start", start_epoch)
    end_epochs(selection, [PHIS[0]] * 6)
    assert saved == [0, 1, 3, 5]


COMMON = ("trainer.enable_progress_bar=false", "logger=[]", "trainer.accelerator=cpu")


@pytest.fixture
def trained_bank(compose):
    def trained_bank(sizes, *overrides):
        named = ("activation=relu", "activation_name=relu")
        config = compose(*named, "n_kernels=2", *COMMON, *overrides, name="sweep")
        return train_bank(config, sizes, instantiate(config, "dataset"))

    return trained_bank


@pytest.mark.parametrize("tested_epoch", ["best", "last"])
def test_the_results_and_the_checkpoint_of_each_model_are_of_its_selected_epoch(trained_bank, tested_epoch):
    sizes = [3, 8, 30]
    options = ["trainer.max_epochs=5", "optimizer.lr=0.2", "n_starts=2", f"protocol.tested_epoch={tested_epoch}"]
    bank = trained_bank(sizes, *options)
    results, failures, checkpoints = evaluate_bank(bank)
    assert not failures
    epochs = [result["best_epoch"] for result in results]
    assert (len(set(epochs)) > 1) == (tested_epoch == "best")
    for size, result, checkpoint in zip(sizes, results, checkpoints, strict=True):
        per_epoch = result["phi_per_epoch"]
        assert result["best_epoch"] == (1 + per_epoch.index(min(per_epoch)) if tested_epoch == "best" else 5)
        assert result["validation"]["phi"] == per_epoch[result["best_epoch"] - 1]
        assert (checkpoint["epoch"], result["kernel_sizes"]) == (result["best_epoch"] - 1, [size, size])
        assert (checkpoint["config"]["kernel_size"], checkpoint["config"]["kernel_sizes"]) == (size, None)
        network = SparselyActivatedNetwork([size, size], ReLU())
        network.load_state_dict({"weight": checkpoint["state_dict"]["network.weight"]})
        for split in ("validation", "test"):
            x = bank.splits.examples[split]
            with torch.no_grad():
                ratio = inverse_compression_ratio(network.encode(x), 2 * size)
                loss = normalized_reconstruction_loss(network(x), x)
            expected = {"phi": phi(ratio, loss), "cr_inverse": ratio, "loss_normalized": loss}
            for name, values in expected.items():
                assert result[split][name] == pytest.approx(float(values.mean()), abs=1e-5)


@pytest.mark.parametrize("tested_epoch", ["best", "last"])
def test_of_several_starts_the_one_of_the_lowest_phi_in_its_tested_epoch_is_kept(trained_bank, tmp_path, tested_epoch):
    """The start of the lowest phi in its best epoch is not the start of the lowest phi in the last epoch."""
    options = ["trainer.max_epochs=6", "optimizer.lr=1.0", "n_starts=4", f"protocol.tested_epoch={tested_epoch}"]
    bank = trained_bank([5, 20], *options)
    stored = read(tmp_path / "checkpoints" / "relu-2-kernels-5-20.ckpt")["callbacks"]["BankSelection"]
    per_start = list(zip(*(metrics["phi"] for metrics in stored["validation_per_epoch"]), strict=True))
    kept = {"best": [], "last": []}
    for first in (0, 4):
        starts = per_start[first : first + 4]
        kept["best"].append(min(starts, key=min))
        kept["last"].append(min(starts, key=lambda phis: phis[-1]))
    assert kept["best"] != kept["last"]
    assert [tuple(bank.selection.phi_per_epoch(model)) for model in range(2)] == kept[tested_epoch]


def test_weights_are_counted_as_the_configuration_of_the_test_says(trained_bank):
    bank = trained_bank([4], "dataset=synthetic_images", "trainer.max_epochs=1", "metric.count_weights=samples")
    by_side = bank.config.copy()
    by_side.metric.count_weights = "side"
    (samples,), (side,) = (evaluate_bank(replace(bank, config=one))[0] for one in (bank.config, by_side))
    difference = 2 * (16 - 4) / bank.splits.test[0].numel()
    for split in ("validation", "test"):
        assert samples[split]["cr_inverse"] - side[split]["cr_inverse"] == pytest.approx(difference, abs=1e-6)


def test_a_model_without_an_epoch_or_a_finite_test_phi_has_failed(trained_bank):
    bank = trained_bank([3, 4, 5], "trainer.max_epochs=1")
    bank.selection.best_epochs[0] = None
    bank.selection.weight[4:] = math.nan
    results, failures, checkpoints = evaluate_bank(bank)
    assert [result["kernel_sizes"] for result in results] == [[4, 4]]
    assert list(failures) == ["relu, kernel size 3", "relu, kernel size 5"]
    assert len(checkpoints) == 1


@pytest.mark.parametrize(("protocol", "split"), [("honest", "validation"), ("paper", "test")])
def test_a_sweep_keeps_and_returns_the_model_of_the_lowest_phi_on_the_split_of_the_protocol(
    run, monkeypatch, tmp_path, protocol, split
):
    """Several banks, numbers of kernels and activations; the two splits select different models."""
    original, returned = sweep_command.sweep, []
    monkeypatch.setattr(sweep_command, "sweep", lambda config: returned.append(original(config)))
    code, said = run(
        sweep.main, *COMMON, "kernel_sizes=3..9", "n_kernels=[1,2]", "activations=[relu,identity]",
        "initialization=normal", "trainer.max_epochs=1", "max_memory=2e6", "dataset.split=[2,1,1]",
        f"protocol={protocol}", "optimizer.lr=0.05", "n_starts=2", "seed=5", "figure=[]", f"hydra.run.dir={tmp_path}",
    )  # fmt: skip
    assert code == 0, said
    assert torch.initial_seed() == 5
    models = stored_results(tmp_path)["models"]
    assert [(model["activation"], model["kernel_sizes"]) for model in models] == [
        (activation, [size] * n_kernels)
        for activation in ("relu", "identity")
        for n_kernels in (1, 2)
        for size in range(3, 10)
    ]
    banks = shares(range(3, 10), 2, torch.zeros(2, 1, 1000), 2e6)
    assert len(banks) > 1
    names = {f"relu-{first}-{last}.ckpt" for first, *_, last in banks}
    assert {path.name for path in (tmp_path / "checkpoints").glob("relu-[3-9]-*.ckpt")} == names
    best = {of: min(models, key=lambda model, of=of: model[of]["phi"]) for of in ("validation", "test")}
    assert best["validation"] != best["test"]
    selected = best[split]
    assert returned == [selected[split]["phi"]]
    checkpoint = read(tmp_path / "checkpoints" / "best.ckpt")
    assert checkpoint["config"]["activation_name"] == selected["activation"]
    assert [checkpoint["config"]["kernel_size"]] * checkpoint["config"]["n_kernels"] == selected["kernel_sizes"]


def test_a_sweep_reports_the_failures_of_all_banks(run, monkeypatch, tmp_path):
    def fail_first(bank):
        results, _, checkpoints = evaluate_bank(bank)
        return results[1:], {bank.name: "reason"}, checkpoints[1:]

    monkeypatch.setattr(sweep_command, "evaluate_bank", fail_first)
    code, said = run(
        sweep.main, *COMMON, "n_kernels=1", "kernel_sizes=[3,4]", "activations=[relu,identity]", "trainer.max_epochs=1",
        "figure=[]", f"hydra.run.dir={tmp_path}",
    )  # fmt: skip
    assert code == 1
    assert "2 of 4 models failed" in said
    assert [model["kernel_sizes"] for model in stored_results(tmp_path)["models"]] == [[4], [4]]


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_rank_writes_the_results_of_a_sweep(run, monkeypatch, tmp_path, rank):
    original = sweep_command.lowest_phi

    def as_rank(models, split):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        return original(models, split)

    monkeypatch.setattr(sweep_command, "lowest_phi", as_rank)
    arguments = (*COMMON, "kernel_sizes=3", "activation=relu", "trainer.max_epochs=1", "figure=[]")
    code, said = run(sweep.main, *arguments, f"hydra.run.dir={tmp_path}")
    assert code == 0, said
    for name in ("results.json", "sweep.csv", "checkpoints/best.ckpt"):
        assert (tmp_path / name).exists() == (rank == 0)
