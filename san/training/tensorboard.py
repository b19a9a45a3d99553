"""TensorBoard: one file of events for a run, with epochs, from 1, as steps."""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from torch.utils.tensorboard import SummaryWriter

__all__ = ["EPOCH", "TensorBoard"]

EPOCH = "epoch"  # the metric that is the step of the metrics beside it
LAST_OF_EPOCH = "train/loss"  # what Lightning logs at the end of an epoch
EVENTS = "events.out.tfevents.*"
SELECTED = "selected"  # group of the metrics and figures of the selected model
METRICS = ("phi", "cr_inverse", "loss_normalized")
TOGETHER = {"validation": {"φ̄, CR⁻¹, L̃": ["Multiline", [f"validation/{name}" for name in METRICS]]}}


class TensorBoard(TensorBoardLogger):
    """Log the training, the test and the figures of a run to one file of events.

    Lightning closes a logger after each training and each test, and what is logged later would begin another file.
    Here the file stays open until the logger is deleted; everything logged is written at once.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The writer of the file of events."""
        is_new = self._experiment is None
        if is_new:
            self._earlier = _event_files(Path(self.log_dir))
        writer: SummaryWriter = super().experiment
        if is_new:
            weakref.finalize(self, _close, writer)
        return writer

    @rank_zero_only
    def begin(self, folder: Path, resumed: Path | None, n_epochs: int) -> None:
        """Begin the run with the epochs that it resumes, and remove its files of earlier trainings from its folder.

        Args:
            folder: Folder of the run; files in other folders stay.
            resumed: Checkpoint or run folder that the training resumes; None for a new training.
            n_epochs: Number of complete epochs.
        """
        writer = self.experiment
        writer.add_custom_scalars(TOGETHER)
        files = [] if resumed is None or n_epochs == 0 else self._files_of(resumed)
        for event in _events_of_epochs(files, n_epochs):
            writer.file_writer.add_event(event, event.step, event.wall_time)
        writer.flush()
        if Path(self.log_dir).resolve().is_relative_to(folder.resolve()):
            for path in self._earlier:
                path.unlink()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics at the epoch that is among them, or at the given step.

        Those of the test are of the selected model, which :meth:`log_selected` logs at its epoch.
        """
        others = {name: value for name, value in metrics.items() if name != EPOCH and not name.startswith("test/")}
        super().log_metrics(others, int(metrics[EPOCH]) if EPOCH in metrics else step)

    @rank_zero_only
    def save(self) -> None:
        """Write everything that is logged."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write everything that is logged; Lightning calls it after each training and each test."""
        if self._experiment is not None:
            self.save()

    @rank_zero_only
    def log_selected(
        self,
        epoch: int,
        hyperparameters: Mapping[str, str | int],
        metrics: Mapping[str, float],
        figures: Mapping[str, Figure],
    ) -> None:
        """Log the selected model: its metrics beside its hyperparameters, in their order, and its figures.

        Args:
            epoch: Number of the selected epoch.
            hyperparameters: The hyperparameters by name.
            metrics: The metrics by name, first those to select a model by.
            figures: The figures by name.
        """
        selected = {f"{SELECTED}/{name}": value for name, value in metrics.items()}
        self.log_hyperparams(dict(hyperparameters), selected, epoch)
        for name, drawn in figures.items():
            self.experiment.add_figure(f"{SELECTED}/{name}", drawn, epoch)
        self.save()

    def _files_of(self, resumed: Path) -> list[Path]:
        """Return the files of this training in the folder of a run: of the same name, or of the only training."""
        folder = resumed if resumed.is_dir() else resumed.parent
        of_run = (folder.parent if folder.name == "checkpoints" else folder) / self.name
        folders = sorted({path.parent for path in of_run.glob(f"*/**/{EVENTS}")})
        same = [folder for folder in folders if folder.name == Path(self.log_dir).name]
        top = [folder for folder in folders if folder.parent == of_run]
        found = next((few[0] for few in (same, top) if len(few) == 1), None)
        if found is None:
            return []
        return self._earlier if found.resolve() == Path(self.log_dir).resolve() else _event_files(found)


def _event_files(folder: Path) -> list[Path]:
    """Return the files of events in a folder, the first one first."""
    return sorted(folder.glob(EVENTS))


def _events_of_epochs(files: list[Path], n_epochs: int) -> Iterator[Any]:
    """Yield the events until the end of an epoch."""
    for path in files:
        for event in LegacyEventFileLoader(str(path)).Load():
            if not event.HasField("summary"):
                continue
            yield event
            if event.step == n_epochs and any(value.tag == LAST_OF_EPOCH for value in event.summary.value):
                return


def _close(writer: SummaryWriter) -> None:
    with suppress(OSError):  # of a full disk, which the command has reported
        writer.close()
