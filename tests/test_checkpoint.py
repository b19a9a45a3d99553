import math
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from san.checkpoint import PhiCheckpoint, find, read
from san.storage.checkpoints import load_weights
from san.training.callbacks.phi_checkpoint import MONITOR
from san.training.san_module import SANModule


class Scripted(pl.LightningModule):
    """Log given phis, one per epoch, and set the weight to the number of the epoch."""

    def __init__(self, phis):
        super().__init__()
        self.phis = phis
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def training_step(self, batch, batch_index):
        with torch.no_grad():
            self.weight.fill_(self.current_epoch)
        self.log("train/loss", 0.0)
        return self.weight.sum()

    def validation_step(self, batch, batch_index):
        self.log(MONITOR, self.phis[self.current_epoch])


def end_epochs(callback, *phis, ckpt_path=None):
    """Train for epochs with the given phis, from the first or from the epoch of the checkpoint."""
    loader = DataLoader(torch.zeros(1))
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=len(phis), callbacks=[callback], logger=False, num_sanity_val_steps=0,
        log_every_n_steps=1, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Scripted(phis), loader, loader, ckpt_path=ckpt_path, weights_only=True)


@pytest.fixture
def callback(tmp_path):
    return PhiCheckpoint(tmp_path / "run" / "checkpoints", {"key": "value"})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_best_is_the_epoch_of_the_lowest_phi_and_last_is_the_last_epoch(callback):
    folder = callback.dirpath
    end_epochs(callback, 0.9, 0.44231, 0.7)
    assert names(folder) == ["best.ckpt", "epoch02-phi0.4423.ckpt", "last.ckpt"]
    assert read(folder / "best.ckpt")["state_dict"]["weight"] == 1
    assert read(folder / "epoch02-phi0.4423.ckpt")["epoch"] == 1
    assert read(folder / "last.ckpt")["state_dict"]["weight"] == 2
    assert callback.best_model_score == pytest.approx(0.44231)
    assert [set(metrics) for metrics in callback.validation_per_epoch] == [{"phi"}] * 3
    assert callback.best_model_path == str(folder / "best.ckpt")


def test_the_last_epoch_is_resumed_from_if_it_is_also_the_best(callback):
    end_epochs(callback, 0.9, 0.4)
    last = read(callback.dirpath / "last.ckpt")
    assert (last["epoch"], last["state_dict"]["weight"]) == (1, 1)
    assert last["callbacks"][callback.state_key]["best_epoch"] == 1


@pytest.mark.parametrize("n_epochs", [0, 2])
def test_a_training_that_stops_within_an_epoch_resumes_from_the_state_before_it(callback, monkeypatch, n_epochs):
    """The initial state is written before the first epoch; resuming writes nothing until an epoch ends."""
    phis = [0.9, 0.4, 0.7][: n_epochs + 1]
    path = callback.dirpath / "last.ckpt"
    if n_epochs:
        end_epochs(callback, *phis[:n_epochs])
    before = path.read_bytes() if n_epochs else None

    def stop(self, batch, batch_index):
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(Scripted, "training_step", stop)
        with pytest.raises(InterruptedError):
            end_epochs(callback, *phis, ckpt_path=path if n_epochs else None)
    assert before is None or path.read_bytes() == before
    resumed = PhiCheckpoint(callback.dirpath, {})
    resumed.adopt(path)
    end_epochs(resumed, *phis, ckpt_path=path)
    assert resumed.phi_per_epoch == pytest.approx(phis)
    assert read(path)["state_dict"]["weight"] == n_epochs


def test_only_the_first_rank_deletes_the_best_epoch_before(callback, monkeypatch):
    monkeypatch.setattr(pl.Trainer, "is_global_zero", False)
    end_epochs(callback, 0.9, 0.4)
    assert names(callback.dirpath) == [
        "best.ckpt", "epoch01-phi0.9000.ckpt", "epoch02-phi0.4000.ckpt", "last.ckpt",
    ]  # fmt: skip


def test_a_checkpoint_has_the_given_configuration_or_that_of_the_module(tmp_path):
    end_epochs(PhiCheckpoint(tmp_path / "given", {"key": "value"}), 0.4)
    assert read(tmp_path / "given" / "best.ckpt")["config"] == {"key": "value"}
    end_epochs(PhiCheckpoint(tmp_path / "none"), 0.4)
    with pytest.raises(ValueError, match="parts are missing"):
        read(tmp_path / "none" / "best.ckpt")


def test_the_first_of_equal_epochs_is_the_best(callback):
    end_epochs(callback, 0.5, 0.5)
    assert callback.best_epoch == 0


@pytest.mark.usefixtures("untyped")
def test_the_papers_protocol_keeps_the_last_epoch(tmp_path):
    callback = PhiCheckpoint(tmp_path, {}, tested_epoch="last")
    end_epochs(callback, 0.4, 0.5, math.nan)
    assert callback.best_epoch == 1
    assert names(tmp_path) == ["best.ckpt", "epoch02-phi0.5000.ckpt", "last.ckpt"]
    with pytest.raises(ValueError, match=r"tested_epoch=first must be one of best, last"):
        PhiCheckpoint(tmp_path, {}, tested_epoch="first")


def test_an_epoch_without_a_finite_phi_is_never_the_best(callback):
    assert callback.best_model_path == ""
    assert callback.best_model_score == math.inf
    end_epochs(callback, math.nan, -math.inf, 0.9, math.nan)
    assert callback.best_epoch == 2
    assert names(callback.dirpath) == ["best.ckpt", "epoch03-phi0.9000.ckpt", "last.ckpt"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_resuming_carries_the_best_epoch_and_the_history_over(callback, tmp_path, elsewhere):
    end_epochs(callback, 0.9, 0.4, 0.7)
    folder = tmp_path / "other" if elsewhere else callback.dirpath
    resumed = PhiCheckpoint(folder, {})
    assert resumed.adopt(callback.dirpath / "last.ckpt") == folder / "last.ckpt"
    assert names(folder) == ["best.ckpt", "epoch02-phi0.4000.ckpt", "last.ckpt"]
    assert resumed.phi_per_epoch == pytest.approx([0.9, 0.4, 0.7])
    end_epochs(resumed, 0.9, 0.4, 0.7, 0.5, 0.3, 0.6, ckpt_path=folder / "last.ckpt")
    assert resumed.phi_per_epoch == pytest.approx([0.9, 0.4, 0.7, 0.5, 0.3, 0.6])
    assert names(folder) == ["best.ckpt", "epoch05-phi0.3000.ckpt", "last.ckpt"]


def test_resuming_from_the_best_epoch_goes_back_to_it(callback, tmp_path):
    end_epochs(callback, 0.9, 0.4)
    early = tmp_path / "early.ckpt"
    early.write_bytes((callback.dirpath / "best.ckpt").read_bytes())
    end_epochs(callback, 0.9, 0.4, 0.3, ckpt_path=early)
    resumed = PhiCheckpoint(tmp_path / "other", {})
    resumed.adopt(early)
    assert read(resumed.dirpath / "best.ckpt")["epoch"] == 1
    assert resumed.best_model_score == pytest.approx(0.4)


def test_resuming_without_the_best_epoch_is_refused(callback, tmp_path):
    end_epochs(callback, 0.4, 0.9)
    alone = tmp_path / "last.ckpt"
    alone.write_bytes((callback.dirpath / "last.ckpt").read_bytes())
    with pytest.raises(FileNotFoundError, match=r"epoch01-phi0.4000.ckpt, the best epoch before last.ckpt"):
        PhiCheckpoint(tmp_path / "other", {}).adopt(alone)


def test_the_best_epoch_that_an_earlier_version_named_by_its_index_is_resumed(callback, tmp_path):
    """Skip a file of the same name whose epoch is another one."""
    end_epochs(callback, 0.9, 0.4, 0.7)
    folder = callback.dirpath
    (folder / "epoch02-phi0.4000.ckpt").rename(folder / "epoch01-phi0.4000.ckpt")
    (folder / "epoch02-phi0.4000.ckpt").write_bytes((folder / "last.ckpt").read_bytes())
    resumed = PhiCheckpoint(tmp_path / "other", {})
    resumed.adopt(folder / "last.ckpt")
    assert names(resumed.dirpath) == ["best.ckpt", "epoch02-phi0.4000.ckpt", "last.ckpt"]
    assert read(resumed.dirpath / "best.ckpt")["epoch"] == 1


def test_weights_alone_are_not_resumed(callback, tmp_path):
    end_epochs(callback, 0.4)
    checkpoint = torch.load(callback.dirpath / "best.ckpt", weights_only=True) | {"callbacks": {}}
    torch.save(checkpoint, tmp_path / "weights.ckpt")
    with pytest.raises(ValueError, match=r"weights\.ckpt has weights but no training state to resume"):
        PhiCheckpoint(tmp_path / "other", {}).adopt(tmp_path / "weights.ckpt")
    assert not (tmp_path / "other").exists()


def test_a_folder_stands_for_its_checkpoint(callback, tmp_path):
    end_epochs(callback, 0.4)
    folder = callback.dirpath
    for given in (folder / "best.ckpt", folder, folder.parent):
        assert find(given, "best") == folder / "best.ckpt"
    with pytest.raises(FileNotFoundError, match="neither a checkpoint nor a run folder"):
        find(tmp_path / "nothing", "best")


def test_broken_and_foreign_files_are_refused(callback, tmp_path):
    end_epochs(callback, 0.4)
    whole = (callback.dirpath / "best.ckpt").read_bytes()
    path = tmp_path / "broken.ckpt"
    for content in (b"", b"text", whole[:20], whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken.ckpt is not a checkpoint of san"):
            read(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="parts are missing"):
        read(path)
    torch.save(SimpleNamespace(), path)
    with pytest.raises(ValueError, match="not a checkpoint of san"):
        read(path)


def test_weights_of_another_shape_are_refused(tmp_path):
    module = SANModule.__new__(SANModule)
    torch.nn.Module.__init__(module)
    module.weight = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match=r"has weights of shapes \{'weight': \(3,\)\}, not \{'weight': \(2,\)\}"):
        load_weights(module, {"state_dict": {"weight": torch.zeros(3)}}, tmp_path / "x.ckpt")
