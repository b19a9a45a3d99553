"""``python -m san.evaluate``: the test figures of a checkpoint, on its own data or on other."""

import math
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from san.assembly import build, check_numbers, describe, warn_of_dead_kernels
from san.command import command, instantiate
from san.train import sizes_of
from san.trust import own_parts

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from san.data.recording import Recording
    from san.training import SANModule

__all__ = ["evaluate", "main"]

# What is used of the configuration in a checkpoint.
PARTS = ("activation", "activation_name", "batch_size", "classifier", "decoder", "kernel_size", "kernel_sizes", "loss",
         "metric", "n_kernels", "network", "optimizer", "seed")  # fmt: skip
PLAIN = {"_target_": "san.networks.SparselyActivatedNetwork", "_partial_": True}  # of a checkpoint without a network
NUMBERS = ("batch_size", "n_kernels", "seed")


def evaluate(config: DictConfig) -> float:
    """Test a checkpoint, write ``results.json`` and print the table.

    Returns:
        The test phi.
    """
    from san.callbacks import progress
    from san.checkpoint import find, load_state, load_weights, read, refuse_other_sizes
    from san.datamodule import SplitsDataModule
    from san.results import print_run, write_json

    path = find(config.checkpoint, "best")
    checkpoint = read(path)
    trained = _trained(checkpoint["config"], config)
    dataset = trained.dataset if config.dataset is None else config.dataset
    splits: Any = instantiate(dataset) if config.chunk is None else _open(dataset, config.chunk)
    n_kernels, longest = _extent(trained)
    refuse_other_sizes(checkpoint, [n_kernels, *[longest] * splits.n_dims], path)
    module = build(trained, splits, [sizes_of(trained)])
    load_weights(module, checkpoint, path)

    def new_trainer() -> Any:
        shown = progress(config.trainer.enable_progress_bar)
        return instantiate(config.trainer, logger=False, enable_checkpointing=False, callbacks=shown)

    trainer = new_trainer()
    if config.chunk is None:
        trainer.test(module, SplitsDataModule(splits.examples, trained.batch_size, None), verbose=False)
    else:
        _test_in_pieces(module, splits, config.chunk, trainer)
    classification = None
    if "classifier" in checkpoint and trained.classifier and splits.labels is not None:
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


def _trained(stored: Any, config: DictConfig) -> DictConfig:
    """Return what is used of the configuration in a checkpoint; where data and results are is not its business.

    Raises:
        ValueError: If it lacks a part, or has a number that cannot be one.
    """
    parts = PARTS if config.dataset is not None else (*PARTS, "dataset")
    given = {"paths": OmegaConf.to_container(config.paths, resolve=True)}
    found = {
        "kernel_sizes": None, "classifier": {}, "initialization": "normal", "restart_every": None, "network": PLAIN,
        **own_parts(stored, parts, given),
    }  # fmt: skip
    missing = [part for part in parts if part not in found]
    if missing:
        raise ValueError(f"the configuration in checkpoint={config.checkpoint} has no {missing[0]}")
    if isinstance(found.get("dataset"), dict) and "data_dir" in found["dataset"]:
        found["dataset"]["data_dir"] = config.paths.data_dir
    trained = OmegaConf.create(found)
    if not isinstance(trained.activation_name, str):
        raise ValueError(f"activation_name in checkpoint={config.checkpoint} must be a name")
    if not OmegaConf.is_dict(trained.metric):
        raise ValueError(f"metric in checkpoint={config.checkpoint} must be keys and values")
    check_numbers(trained, (*NUMBERS, "kernel_size" if trained.kernel_sizes is None else "kernel_sizes"))
    return trained


def _extent(trained: DictConfig) -> tuple[int, int]:
    """Return how many kernels there are, and the samples a side of the largest."""
    if trained.kernel_sizes is None:
        return trained.n_kernels, trained.kernel_size
    return len(trained.kernel_sizes), max(trained.kernel_sizes)


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
    pieces = OmegaConf.create({"dataset": {**dataset, "_target_": f"{module}.stream", "chunk": chunk}})
    recording: Recording = instantiate(pieces.dataset)
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
