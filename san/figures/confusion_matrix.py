"""The confusion matrices of a classifier on the reconstructions and of the same classifier on the original examples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from san.figures.style import figure, set_heading, styled

__all__ = ["draw_confusion"]


@styled
def draw_confusion(outcome: Mapping[str, Any], name: str) -> Figure:
    """Draw the confusion matrices of the test split, each row in percent of the examples of its true class.

    Args:
        outcome: An outcome of :meth:`san.training.stacking.Stacking.compare`.
        name: Name of the dataset.
    """
    classes = outcome["classes"]
    side = 1.8 + 0.42 * max(len(classes), 4)
    drawn = figure(2 * side + 0.9, side)
    panels = {"reconstructions": outcome["test"], "original examples": outcome["baseline"]["test"]}
    for index, (inputs, metrics) in enumerate(panels.items()):
        axes = drawn.add_subplot(1, 2, index + 1)
        counts = np.asarray(metrics["confusion"], dtype=float)
        percent = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
        image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
        for (row, column), value in np.ndenumerate(percent):
            color = "white" if value > 55 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize="small", color=color)
        places = range(len(classes))
        axes.set_xticks(places, classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(places, classes if index == 0 else [""] * len(classes))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(title=f"{inputs}, test accuracy {metrics['accuracy']:.1%}", xlabel="predicted class")
        if index == 0:
            axes.set_ylabel("true class")
    drawn.colorbar(image, ax=drawn.axes, label="share of the true class (%)", shrink=0.85)
    set_heading(drawn, name)
    return drawn
