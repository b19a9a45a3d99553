"""``python -m san.evaluate``: the test figures of a checkpoint, on its own data or on other."""

import math
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from san.assembly import build, describe, warn_of_dead_kernels
from san.command import command, instantiate
from san.train import sizes_of

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from san.data.recording import Recording
    from san.training import SANModule

__all__ = ["evaluate", "main"]


def evaluate(config: DictConfig) -> float:
    """Test a checkpoint, write ``results.json`` and print the table.

    Returns:
        The test phi.
    """
    from san.callbacks import progress
    from san.checkpoint import find, load_state, load_weights, read
    from san.datamodule import SplitsDataModule
    from san.results import print_run, write_json

    path = find(config.checkpoint, "best")
    checkpoint = read(path)
    trained = OmegaConf.create({**checkpoint["config"], "paths": config.paths})
    dataset = trained.dataset if config.dataset is None else config.dataset
    splits: Any = instantiate(dataset) if config.chunk is None else _open(dataset, config.chunk)
    module = build(trained, splits, [sizes_of(trained)])
    load_weights(module, checkpoint, path)

    def new_trainer() -> Any:
        return instantiate(config.trainer, logger=False, enable_checkpointing=False, callbacks=[progress()])

    trainer = new_trainer()
    if config.chunk is None:
        trainer.test(module, SplitsDataModule(splits.examples, trained.batch_size, None), verbose=False)
    else:
        _test_in_pieces(module, splits, config.chunk, trainer)
    classification = None
    if "classifier" in checkpoint and splits.labels is not None:
        stacking = instantiate(trained.classifier)
        classifier = stacking.new_classifier(splits, trained.seed)
        load_state(classifier, checkpoint["classifier"], path)
        module.network.to(trainer.strategy.root_device)
        classification = stacking.test(
            classifier, module.network, splits, cache=Path(config.paths.cache_dir), trainer=new_trainer()
        )
    results = {
        **describe(trained, splits, module, 0, classification),
        "best_epoch": checkpoint["epoch"],
        "checkpoint": str(path),
        "config": OmegaConf.to_container(config),
        "trained": checkpoint["config"],
    }
    if trainer.is_global_zero:
        warn_of_dead_kernels(results)
        folder = Path(config.paths.output_dir)
        write_json(folder / "results.json", results)
        print_run(results, folder)
    return float(results["test"]["phi"])


def _open(dataset: DictConfig, chunk: Any) -> "Recording":
    """Open the recording of a dataset whose module has a function ``stream`` beside its ``load``."""
    if not isinstance(chunk, int) or isinstance(chunk, bool) or chunk < 1:
        raise ValueError(f"chunk={chunk} must be an integer, 1 or more, or null to read all at once")
    module = str(dataset.get("_target_")).rpartition(".")[0]
    if not module.startswith("san.data.") or not hasattr(import_module(module), "stream"):
        raise ValueError(
            f"chunk={chunk}: {module} cannot read in pieces; give a WFDB record (dataset=wfdb path=RECORD) or one long "
            "signal in a .npy file (dataset=numpy path=FILE)"
        )
    pieces = OmegaConf.create({**dataset, "_target_": f"{module}.stream", "chunk": chunk})
    recording: Recording = instantiate(pieces)
    return recording


def _test_in_pieces(module: "SANModule", recording: "Recording", chunk: int, trainer: "pl.Trainer") -> None:
    """Give a module the figures that a test on the whole recording would."""
    from san.streaming import describe as describe_in_pieces

    if trainer.world_size > 1:
        raise ValueError(f"trainer.devices={trainer.world_size}: a recording in pieces is read by one process")
    device = trainer.strategy.root_device
    description = describe_in_pieces(
        module.network.to(device), lambda start, stop: recording.read(start, stop).to(device), recording.n_samples,
        chunk=chunk, loss=module.loss,
    )  # fmt: skip
    cr_inverse = description.inverse_compression_ratio(module.n_weights[0])
    loss = description.normalized_reconstruction_loss()
    if not math.isfinite(loss):
        raise FloatingPointError("the test loss is not finite: the checkpoint's weights are not, or are too large")
    figures = {"phi": math.hypot(cr_inverse, loss), "cr_inverse": cr_inverse, "loss_normalized": loss}
    module.figures["test"] = {name: [value] for name, value in figures.items()}
    module.dead_kernels = [kernel for kernel, count in enumerate(description.n_activations) if not count]


main = command("evaluate", evaluate)

if __name__ == "__main__":
    main()
