"""Validation phi over the epochs, with the selected epoch."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from san.figures.style import Run, figure, method_color, method_label, styled

__all__ = ["draw"]


@styled
def draw(run: Run) -> Figure:
    """Draw validation phi over the epochs, counted from 1, with a ring at the selected epoch."""
    drawn = figure(5.0, 3.4)
    axes = drawn.add_subplot()
    validated = {epoch: phi for epoch, phi in enumerate(run.phi_per_epoch, start=1) if phi is not None}
    color = method_color(run.activation)
    axes.plot(list(validated), list(validated.values()), color=color, marker=".", label=method_label(run.activation))
    best = validated[run.best_epoch]
    ring: dict[str, Any] = {"markersize": 8, "markerfacecolor": "none", "markeredgecolor": "black", "linestyle": "none"}
    axes.plot(run.best_epoch, best, "o", **ring, label=f"best epoch {run.best_epoch}: φ̄ = {best:.3f}")
    axes.set_xlim(0.5, len(run.phi_per_epoch) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(title=run.name, xlabel="epoch", ylabel="validation φ̄ (dimensionless)")
    drawn.legend(loc="outside lower center", ncols=2)
    return drawn
