"""Validation phi over the epochs, with the selected epoch."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from san.figures.style import Run, figure, method_color, method_label, styled

__all__ = ["draw"]


@styled
def draw(run: Run) -> Figure:
    """Draw validation phi over the epochs, counted from 1, with a ring at the selected epoch."""
    drawn = figure(5.0, 3.2)
    axes = drawn.add_subplot()
    color = method_color(run.activation)
    validated = {epoch: phi for epoch, phi in enumerate(run.phi_per_epoch, start=1) if phi is not None}
    axes.plot(list(validated), list(validated.values()), color=color, marker=".", label=method_label(run.activation))
    best = validated[run.best_epoch]
    axes.plot(run.best_epoch, best, "o", markersize=8, markerfacecolor="none", markeredgecolor="black")
    axes.annotate(
        f"epoch {run.best_epoch}: {best:.3f}", (run.best_epoch, best), (0, 9), textcoords="offset points", ha="right"
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=run.name, xlabel="epoch", ylabel="validation φ̄ (dimensionless)")
    axes.legend()
    return drawn
