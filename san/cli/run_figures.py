"""The figures of a selected model in its run folder, shared by the commands that train."""

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from san.cli.model_results import Results
from san.data.splits import Splits
from san.extensions.recovery import Recovery
from san.figures.confusion_matrix import draw_confusion
from san.figures.planted import draw_planted
from san.figures.style import Run, save
from san.networks import SparselyActivatedNetwork

__all__ = ["Figures", "write_figures"]

Figures = Mapping[str, Callable[[Run], Figure]]
"""The functions that draw, by the name of their figure."""


def write_figures(
    figures: Figures, results: Results, network: SparselyActivatedNetwork, splits: Splits, folder: Path
) -> dict[str, Figure]:
    """Draw the figures of a model and write them to ``figures/``.

    The planted kernels of synthetic data and the confusions of a classifier are drawn, too.

    Args:
        figures: The functions that draw.
        results: The results of the model.
        network: Its network.
        splits: The examples; the first one of the test split is drawn.
        folder: The run folder.

    Returns:
        The figures, by name.
    """
    run = Run(
        name=splits.name,
        activation=results["activation"],
        network=network.cpu(),
        example=splits.test[0],
        phi_per_epoch=results["phi_per_epoch"],
        best_epoch=results["best_epoch"],
        sampling_frequency=splits.sampling_frequency,
        units=splits.units,
        channels=splits.channels,
    )
    drawn = {name: draw(run) for name, draw in figures.items()}
    if "planted" in results and figures:
        found = [Recovery(**one) for one in results["planted"]]
        drawn["planted"] = draw_planted(splits.planted, run.network.atoms, found, splits.name)
    if "classifier" in results and figures:
        drawn["confusion_matrix"] = draw_confusion(results["classifier"], splits.name)
    for name, figure in drawn.items():
        save(figure, folder / "figures" / name)
    return drawn
