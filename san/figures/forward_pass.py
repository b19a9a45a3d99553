"""The forward pass of one example, step by step, as in Fig. 2 of the paper."""

import logging
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from san.extensions.signs import shown_atoms, signs
from san.figures.channels import Curve, EventRow, channel_labels, channels_first, stacked_figure
from san.figures.images import RGB, ImageColumn, image_figure
from san.figures.style import COLORS, Run, activation_label, active_kernels_to_draw, method_label, styled, time_axis

__all__ = ["draw"]

log = logging.getLogger(__name__)

Steps = dict[str, Tensor]
SUPERSCRIPTS = str.maketrans("()0123456789", "⁽⁾⁰¹²³⁴⁵⁶⁷⁸⁹")


@styled
def draw(run: Run) -> Figure:
    """Draw the input, the kernels, the similarity and activation maps, and the partial and complete reconstructions.

    Of too many kernels to read, those whose partial reconstructions have the most energy are drawn, and kernels without
    activations are not; the title says so. Each kernel has a positive largest deflection, and its maps the same sign.
    """
    network, x = run.network, run.example.unsqueeze(0)
    with torch.no_grad():
        maps = network.encode(x)[0]
        sign = signs(network).view(-1, *[1] * network.n_dims)
        steps = {
            "similarity": sign * network.similarity(x)[0],
            "maps": sign * maps,
            "partial": network.partial_reconstructions(maps.unsqueeze(0))[0],
            "reconstruction": network.decode(maps.unsqueeze(0))[0],
        }
    energies = steps["partial"].flatten(1).square().sum(1).tolist()
    indices, note = active_kernels_to_draw(energies, maps.flatten(1).count_nonzero(1).tolist())
    title = f"{run.name}, {method_label(run.activation)}"
    if note:
        log.info("the figure of the forward pass shows %s", note)
        title += f": {note}"
    return (_images if network.n_dims == 2 else _signals)(run, steps, indices, title)


def _signals(run: Run, steps: Steps, indices: Sequence[int], title: str) -> Figure:
    """Draw the channels below one another, and the activations of each kernel, one row for all channels.

    Partial reconstructions of one channel are drawn, too, unless one kernel makes the reconstruction.
    """
    x = run.example.double().numpy()
    times, time_label = time_axis(x.shape[1], run.sampling_frequency)
    rows = []
    for index in indices:
        activations = steps["maps"][index]
        kept = activations.nonzero().flatten()
        number = _number(run, index)
        partial = f"partial reconstruction r{number}", steps["partial"][index].double().numpy()
        rows.append(
            EventRow(
                index,
                f"activations α{number}: {len(kept)} of {len(activations)} samples, over the similarity s{number}",
                times[kept.numpy()],
                activations[kept].double().numpy(),
                steps["similarity"][index].double().numpy(),
                partial if len(x) == 1 and len(indices) > 1 else None,
            )
        )
    unit = run.units.removeprefix("amplitude").strip(" ()")
    return stacked_figure(
        title,
        times,
        time_label,
        [
            Curve("input x", x, COLORS["input"], 0.5),
            Curve("reconstruction x̂", steps["reconstruction"].double().numpy(), COLORS["reconstruction"]),
        ],
        rows,
        run.network,
        labels=channel_labels(run.channels or ("",) * len(x)) if len(x) > 1 else ("amplitude",),
        units=[unit] * len(x),
        event_label=activation_label(run.units),
        sampling_frequency=run.sampling_frequency,
    )


def _images(run: Run, steps: Steps, indices: Sequence[int], title: str) -> Figure:
    atoms, numbers = shown_atoms(run.network), {index: _number(run, index) for index in indices}
    columns = [
        ImageColumn(run.units, {"input x": run.example}, is_natural=True),
        ImageColumn(
            "weight", {f"kernel w{number}": channels_first(atoms[index], 2) for index, number in numbers.items()}
        ),
        ImageColumn(
            "similarity",
            {f"similarity s{number}": steps["similarity"][index].unsqueeze(0) for index, number in numbers.items()},
        ),
        ImageColumn(
            activation_label(run.units),
            {
                f"activations α{number}: {int(steps['maps'][index].count_nonzero())}": steps["maps"][index].unsqueeze(0)
                for index, number in numbers.items()
            },
        ),
        ImageColumn(
            run.units,
            {f"partial r{number}": channels_first(steps["partial"][index], 2) for index, number in numbers.items()},
        ),
        ImageColumn(run.units, {"reconstruction x̂": steps["reconstruction"]}, is_natural=True),
    ]
    if run.network.channels == RGB:
        title += "\nkernels and partial reconstructions in their colors, gray where they are zero"
    elif run.network.channels > 1:
        title += "\nchannels side by side"
    return image_figure(title, [column for column in columns if column.images], _limits(run.example))


def _number(run: Run, index: int) -> str:
    """Return the superscript of a kernel, empty if it is the only one."""
    return f"({index})".translate(SUPERSCRIPTS) if len(run.network.kernel_sizes) > 1 else ""


def _limits(image: Tensor) -> tuple[float, float]:
    return float(image.min()), float(image.max())
