"""``python -m san.evaluate``: the test figures of a checkpoint, on its own data or on other."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from san.assembly import build, describe, warn_of_dead_kernels
from san.command import command, instantiate
from san.train import sizes_of

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
    splits = instantiate(trained.dataset if config.dataset is None else config.dataset)
    module = build(trained, splits, [sizes_of(trained)])
    load_weights(module, checkpoint, path)

    def new_trainer() -> Any:
        return instantiate(config.trainer, logger=False, enable_checkpointing=False, callbacks=[progress()])

    trainer = new_trainer()
    trainer.test(module, SplitsDataModule(splits.examples, trained.batch_size, None), verbose=False)
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


main = command("evaluate", evaluate)

if __name__ == "__main__":
    main()
