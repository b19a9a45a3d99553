"""The forward pass of one example, step by step, as in Fig. 2 of the paper."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from san.figures.style import COLORS, Run, figure, label, show_image, styled, time_axis

__all__ = ["draw"]


@styled
def draw(run: Run) -> Figure:
    """Draw the input, the kernels, the similarity and activation maps, and the partial and whole reconstructions."""
    network, x = run.network, run.example.unsqueeze(0)
    with torch.no_grad():
        similarity, maps = network.similarity(x)[0], network.encode(x)[0]
        steps = {
            "similarity": similarity,
            "maps": maps,
            "partial": network.partial_reconstructions(maps.unsqueeze(0))[0],
            "reconstruction": network.decode(maps.unsqueeze(0))[0],
        }
    return _signals(run, steps) if network.n_dims == 1 else _images(run, steps)


def _signals(run: Run, steps: dict[str, Tensor]) -> Figure:
    x, n_kernels = run.example[0].numpy(), len(steps["maps"])
    times, time_label = time_axis(len(x), run.sampling_frequency)
    drawn = figure(7.0, 7.5)
    grid = drawn.add_gridspec(6, n_kernels, height_ratios=[2, 1.4, 2, 2, 2, 2])
    whole = dict(xlim=(times[0], times[-1]), ylabel="amplitude")

    axes = drawn.add_subplot(grid[0, :])
    axes.plot(times, x, color=COLORS["input"])
    axes.set(title=f"{run.name}: input x ({run.units})", **whole)
    for index in range(n_kernels):
        column = [drawn.add_subplot(grid[row, index]) for row in range(1, 5)]
        number = f"$^{{({index + 1})}}$" if n_kernels > 1 else ""
        kernel = run.network.patterns[index].detach().numpy()
        start = (len(x) - len(kernel)) // 2
        column[0].plot(times[start : start + len(kernel)], kernel, color=COLORS["kernel"])
        column[0].set_title(f"kernel w{number}, {len(kernel)} samples, as it reconstructs")
        column[1].plot(times, steps["similarity"][index], color=COLORS["similarity"])
        column[1].set_title(f"similarity s{number}")
        _stems(column[2], times, steps["similarity"][index], steps["maps"][index])
        count = int(steps["maps"][index].count_nonzero())
        column[2].set_title(f"activation map α{number}: {label(run.activation)}, {count} of {len(x)} not zero")
        column[3].plot(times, steps["partial"][index], color=COLORS["reconstruction"])
        column[3].set_title(f"partial reconstruction r{number}")
        for each in column:
            each.set(**whole)
    axes = drawn.add_subplot(grid[5, :])
    axes.plot(times, x, color=COLORS["input"], alpha=0.4, label="x")
    axes.plot(times, steps["reconstruction"][0], color=COLORS["reconstruction"], label="x̂")
    axes.set(title="reconstruction x̂", xlabel=time_label, **whole)
    axes.legend(loc="upper right", ncols=2)
    return drawn


def _stems(axes: Axes, times: object, similarity: Tensor, activations: Tensor) -> None:
    axes.plot(times, similarity, color=COLORS["similarity"], alpha=0.4)
    kept = activations.nonzero().flatten()
    if len(kept):
        axes.vlines([times[i] for i in kept], 0, activations[kept], color=COLORS["activation"], linewidth=0.8)
    axes.plot([times[i] for i in kept], activations[kept], "o", color=COLORS["activation"], markersize=2.5)


def _images(run: Run, steps: dict[str, Tensor]) -> Figure:
    n_kernels = len(steps["maps"])
    drawn = figure(9.0, 1.7 * max(n_kernels, 1) + 0.4)
    grid = drawn.add_gridspec(n_kernels, 6)
    show_image(drawn.add_subplot(grid[:, 0]), run.example[0], "input x")
    for index in range(n_kernels):
        number = f"$^{{({index + 1})}}$" if n_kernels > 1 else ""
        count = int(steps["maps"][index].count_nonzero())
        panels = {
            f"kernel w{number}": run.network.patterns[index],
            f"similarity s{number}": steps["similarity"][index],
            f"activation α{number}: {count}": steps["maps"][index],
            f"partial r{number}": steps["partial"][index],
        }
        for column, (title, image) in enumerate(panels.items(), start=1):
            show_image(drawn.add_subplot(grid[index, column]), image, title)
    show_image(drawn.add_subplot(grid[:, 5]), steps["reconstruction"][0], "reconstruction x̂")
    drawn.suptitle(f"{run.name}, {label(run.activation)}: red above, blue below zero, each panel to its own extreme")
    return drawn
