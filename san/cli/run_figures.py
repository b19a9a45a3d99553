"""The figures of a selected model in its run folder, shared by the commands that train."""

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from san.cli.model_results import Results
from san.data.splits import Splits
from san.figures.style import Run, save
from san.networks import SparselyActivatedNetwork

__all__ = ["Figures", "write_figures"]

Figures = Mapping[str, Callable[[Run], Figure]]
"""The functions that draw, by the name of their figure."""


def write_figures(
    figures: Figures, results: Results, network: SparselyActivatedNetwork, splits: Splits, folder: Path
) -> None:
    """Draw the figures of a model and write them to ``figures/``.

    Args:
        figures: The functions that draw.
        results: The results of the model.
        network: Its network.
        splits: The examples; the first one of the test split is drawn.
        folder: The run folder.
    """
    run = Run(
        name=splits.name,
        activation=results["activation"],
        network=network.cpu(),
        example=splits.test[0],
        phi_per_epoch=results["phi_per_epoch"],
        best_epoch=results["best_epoch"] + 1,  # figures count epochs from 1
        sampling_frequency=splits.sampling_frequency,
        units=splits.units,
        channels=splits.channels,
    )
    for name, draw in figures.items():
        save(draw(run), folder / "figures" / name)
