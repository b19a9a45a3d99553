"""Draw the pictures of the documentation in docs/drawings/: the first result, and one drawing for each concept.

    python tools/drawings.py          # all drawings, about two minutes
    python tools/drawings.py network  # one of them

The first result is drawn by the Python lines of docs/index.md, as a reader runs them; the other drawings use its model
of the shipped ECG, except the network and the channels, which use a synthetic signal.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc
from numpy.typing import NDArray

import san
from san.activations import Extrema
from san.figures.style import COLORS, figure, save, styled
from san.networks import SparselyActivatedNetwork

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "drawings"
Array = NDArray[np.float64]
INPUT, KERNEL, SIMILARITY, GREY = COLORS["input"], COLORS["kernel"], COLORS["similarity"], "#999999"
WINDOW = 1000  # samples
BANK_SIZES = (5, 10, 20, 30, 40, 60, 80, 120, 160, 250)


class Step(NamedTuple):
    """The description of a signal after a number of events.

    Args:
        reconstruction: The reconstruction, [samples].
        cr_inverse: CR⁻¹.
        loss: L̃, of absolute errors.
    """

    reconstruction: Array
    cr_inverse: float
    loss: float

    @property
    def phi(self) -> float:
        """Length of the vector (CR⁻¹, L̃)."""
        return float(np.hypot(self.cr_inverse, self.loss))


def main() -> None:
    """Draw the named drawings, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drawings", nargs="*", choices=[[], *DRAWINGS], help="the drawings; without one, all")
    FOLDER.mkdir(exist_ok=True)
    for name in parser.parse_args().drawings or DRAWINGS:
        save(DRAWINGS[name](), FOLDER / name, formats=["png"])
        print(f"docs/drawings/{name}.png")


@cache
def first_result() -> dict[str, Any]:
    """Run the Python lines of the landing page in an empty folder, and return their variables."""
    page = (DOCS / "index.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    names: dict[str, Any] = {}
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            exec(code, names)  # noqa: S102 (the project's own page)
        finally:
            os.chdir(here)
    return names


def draw_first_result() -> Figure:
    """Draw the description that the lines of the landing page draw."""
    drawn: Figure = first_result()["description"].plot(start=0, stop=1800)
    return drawn


@styled
def draw_network() -> Figure:
    """Draw the four signals of a network of one kernel, from the input to the reconstruction."""
    kernel = _spindle(40)
    x = _planted(kernel, [50, 110, 190, 250], [1.0, -0.7, 1.4, 0.8], 300)
    network = SparselyActivatedNetwork([len(kernel)], Extrema(border_tolerance=3), decoder="adjoint")
    with torch.no_grad():
        network.kernels[0].copy_(torch.from_numpy(kernel / np.linalg.norm(kernel)))
        batch = torch.from_numpy(x).float().view(1, 1, -1)
        similarity = network.similarity(batch)[0, 0].numpy()
        maps = network.encode(batch)
        reconstruction = network.decode(maps)[0, 0].numpy()
    chosen = maps[0, 0].numpy()
    drawn = figure(7.0, 5.6)
    rows = drawn.add_gridspec(4, 2, width_ratios=[4, 1])
    panels = [drawn.add_subplot(rows[row, 0]) for row in range(4)]
    steps = ["input x", "similarity s = x * w", "activation map α: the events", "reconstruction x̂ = α * w"]
    for number, (axes, step) in enumerate(zip(panels, steps, strict=True), 1):
        axes.set(title=f"{number}. {step}", xlim=(0, len(x)), yticks=[])
        axes.spines["left"].set_visible(False)
        axes.tick_params(labelbottom=number == 4)
    panels[0].plot(x, color=INPUT)
    panels[1].plot(similarity, color=SIMILARITY)
    panels[2].axhline(0, color=GREY, linewidth=0.5)
    _stems(panels[2], chosen)
    panels[3].plot(x, color=INPUT, alpha=0.5, label="x")
    panels[3].plot(reconstruction, color=KERNEL, label="x̂")
    panels[3].set_xlabel("time (samples)")
    panels[3].legend(loc="upper right", ncols=2)
    notes = {
        1: "compare with the\nkernel w",
        2: "select a few: the\nactivation function",
        3: "place the kernel\nat each event",
    }
    for row in range(1, 4):
        side = drawn.add_subplot(rows[row, 1])
        side.set_axis_off()
        if row == 2:
            side.text(0.5, 0.5, notes[row], transform=side.transAxes, ha="center", va="center")
        else:
            side.plot(kernel, color=KERNEL)
            side.set_title(notes[row], loc="center", fontsize=9)
    return drawn


@styled
def draw_phi() -> Figure:
    """Draw the descriptions of one window of the shipped ECG by 0, 1, 2, ... events in the plane of CR⁻¹ and L̃."""
    _, _, steps = _pursuit()
    best = min(range(len(steps)), key=lambda count: steps[count].phi)
    drawn = figure(5.6, 5.4)
    axes = drawn.add_subplot()
    for radius in (0.2, 0.4, 0.6, 0.8, 1.0):
        axes.add_patch(Arc((0, 0), 2 * radius, 2 * radius, theta1=0, theta2=90, color=GREY, linewidth=0.6))
        if radius > 0.2:  # the curve is there
            at = radius * np.sqrt(0.5)
            axes.text(
                at, at, f"φ = {radius:g}", color="#666666", rotation=-45, ha="center", va="center", backgroundcolor="w"
            )
    axes.plot(
        [step.cr_inverse for step in steps], [step.loss for step in steps], color=INPUT, label="0, 1, 2, ... events"
    )
    first, chosen, last = steps[0], steps[best], steps[-1]
    axes.plot(first.cr_inverse, first.loss, "o", color="black", clip_on=False)
    _note(axes, "no event: nothing is described", first, (0.12, 1.06))
    axes.plot([0, chosen.cr_inverse], [0, chosen.loss], color=KERNEL, linewidth=1.5)
    axes.plot(chosen.cr_inverse, chosen.loss, "o", color=KERNEL)
    _note(axes, f"{best} events: the shortest vector, φ = {chosen.phi:.2f}", chosen, (0.34, 0.19))
    axes.plot(last.cr_inverse, last.loss, "o", color="black")
    _note(axes, f"{len(steps) - 1} events: longer, hardly better", last, (0.47, 0.07))
    axes.set(
        xlim=(0, 1.1), ylim=(0, 1.1), aspect="equal", title="One window of 1,000 samples, two kernels of 40 samples"
    )
    axes.set(xlabel="CR⁻¹: numbers stored per sample (dimensionless)", ylabel="L̃: reconstruction loss (dimensionless)")
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.95))
    return drawn


@styled
def draw_pursuit() -> Figure:
    """Draw the reconstruction after a few events of a pursuit, and φ over the number of events."""
    x, times, steps = _pursuit()
    best = min(range(len(steps)), key=lambda count: steps[count].phi)
    counts = (1, 5, best)
    drawn = figure(7.0, 5.6)
    rows = drawn.add_gridspec(4, 1, height_ratios=[1, 1, 1, 1.3])
    for row, count in enumerate(counts):
        axes = drawn.add_subplot(rows[row])
        axes.plot(times, x, color=INPUT, alpha=0.5, label="recording")
        axes.plot(times, steps[count].reconstruction, color=KERNEL, label="reconstruction")
        axes.set(title=f"{count} event{'s' * (count > 1)}: φ = {steps[count].phi:.2f}", xlim=(0, times[-1]), yticks=[])
        axes.spines["left"].set_visible(False)
        axes.tick_params(labelbottom=row == 2)
        if row == 0:
            axes.legend(loc="upper right", ncols=2)
        if row == 2:
            axes.set_xlabel("time (s)")
    axes = drawn.add_subplot(rows[3])
    axes.plot([step.phi for step in steps], color=INPUT)
    for count in counts:
        axes.plot(count, steps[count].phi, "o", color=KERNEL)
    axes.set(xlabel="number of events", ylabel="φ (dimensionless)", xlim=(-1, len(steps)), ylim=(0, 1.1))
    axes.set_title("the pursuit stops where φ is lowest")
    return drawn


@styled
def draw_bank() -> Figure:
    """Draw φ̄ over the kernel size of a bank of models, with the learned kernel of each."""
    ecg = san.example_ecg()
    x, frequency = ecg.samples[:36000], ecg.sampling_frequency
    models = [
        san.fit(x, sampling_frequency=frequency, activations=["extrema"], kernel_sizes=[size], max_epochs=15)
        for size in BANK_SIZES
    ]
    scores = [float(model.candidates["validation_phi"].iloc[0]) for model in models if model.candidates is not None]
    best = int(np.argmin(scores))
    drawn = figure(7.0, 3.8)
    rows = drawn.add_gridspec(2, len(models), height_ratios=[1, 2.2])
    for column, model in enumerate(models):
        axes = drawn.add_subplot(rows[0, column])
        axes.plot(model.kernels[0], color=KERNEL if column == best else GREY)
        axes.set_title(f"{BANK_SIZES[column]}", loc="center")
        axes.set_axis_off()
    axes = drawn.add_subplot(rows[1, :])
    axes.plot(scores, "o-", color=INPUT)
    axes.plot(best, scores[best], "o", color=KERNEL, markersize=8, label=f"selected: {BANK_SIZES[best]} samples")
    axes.set(xticks=range(len(models)), xticklabels=[f"{size}" for size in BANK_SIZES], xlim=(-0.5, len(models) - 0.5))
    axes.set(xlabel="kernel size m (samples)", ylabel="validation φ̄ (dimensionless)", ylim=(0, 1))
    axes.legend(loc="lower right")
    return drawn


@styled
def draw_channels() -> Figure:
    """Draw three channels, their common events and the kernel of rank 1 that all channels share."""
    kernel, weights = _spindle(40), (1.0, 0.5, -0.7)
    shared = _planted(kernel, [50, 110, 190, 250], [1.0, 0.7, 1.3, 0.8], 300)
    noise = np.random.default_rng(1).normal(0, 0.05, (3, 300))
    drawn = figure(7.0, 4.8)
    rows = drawn.add_gridspec(4, 2, width_ratios=[4, 1])
    for channel, weight in enumerate(weights):
        axes = drawn.add_subplot(rows[channel, 0])
        axes.plot(weight * shared + noise[channel], color=INPUT)
        axes.set(title=f"channel {channel}", xlim=(0, 300), ylim=(-1.7, 1.7), yticks=[])
        axes.tick_params(labelbottom=False)
        axes.spines["left"].set_visible(False)
        side = drawn.add_subplot(rows[channel, 1])
        side.plot(weight * kernel, color=KERNEL)
        side.set(ylim=(-1.2, 1.2))
        side.set_title(f"{weight:g} · waveform".replace("-", "−"), loc="center")
        side.set_axis_off()
    axes = drawn.add_subplot(rows[3, 0])
    events = np.zeros(300)
    events[[50, 110, 190, 250]] = [1.0, 0.7, 1.3, 0.8]
    axes.axhline(0, color=GREY, linewidth=0.5)
    _stems(axes, events)
    axes.set(
        title="one activation map: an event places all channels", xlim=(0, 300), yticks=[], xlabel="time (samples)"
    )
    axes.spines["left"].set_visible(False)
    return drawn


@cache
def _pursuit(n_events: int = 160) -> tuple[Array, Array, list[Step]]:
    """Describe a window of the shipped ECG by orthogonal matching pursuit; return it, its times and each step."""
    model = first_result()["model"]
    signal = first_result()["x"]
    x = signal.samples[:WINDOW]
    x = (x - x.mean()) / x.std()
    atoms = np.array([_planted(kernel, [at], [1.0], WINDOW, 0) for kernel in model.kernels for at in range(WINDOW)])
    norms = np.linalg.norm(atoms, axis=1)
    n_weights = sum(len(kernel) for kernel in model.kernels)
    chosen: list[int] = []
    steps = [Step(np.zeros(WINDOW), 0.0, 1.0)]
    for count in range(1, n_events + 1):
        chosen.append(int(np.argmax(abs(atoms @ (x - steps[-1].reconstruction)) / norms)))
        used = atoms[chosen].T
        reconstruction = used @ np.linalg.lstsq(used, x, rcond=None)[0]
        loss = float(abs(x - reconstruction).mean() / abs(x).mean())
        steps.append(Step(reconstruction, (n_weights + 2 * count) / WINDOW, loss))
    return x, np.arange(WINDOW) / signal.sampling_frequency, steps


def _spindle(size: int) -> Array:
    """Return a waveform of three half waves in a Gaussian envelope."""
    time = np.linspace(-1, 1, size)
    return np.asarray(np.cos(2.2 * np.pi * time) * np.exp(-((time / 0.45) ** 2)))


def _planted(
    kernel: Array, places: Sequence[int], amplitudes: Sequence[float], length: int, noise: float = 0.05
) -> Array:
    """Return a signal with the kernel at each place, its middle sample there, cropped at the borders."""
    events = np.zeros(length + len(kernel) - 1)
    events[np.asarray(places)] = amplitudes
    first = (len(kernel) - 1) // 2
    signal = np.convolve(events[:length], kernel)[first : first + length]
    return np.asarray(signal + np.random.default_rng(0).normal(0, noise, length))


def _stems(axes: Axes, samples: Array) -> None:
    """Draw a vertical line with a dot at each sample that is not zero."""
    (places,) = np.nonzero(samples)
    axes.vlines(places, 0, samples[places], color=COLORS["activation"])
    axes.plot(places, samples[places], "o", color=COLORS["activation"], markersize=3)


def _note(axes: Axes, text: str, step: Step, place: tuple[float, float]) -> None:
    arrow = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6}
    axes.annotate(text, (step.cr_inverse, step.loss), place, arrowprops=arrow, va="center", backgroundcolor="w")


DRAWINGS: dict[str, Callable[[], Figure]] = {
    "first_result": draw_first_result,
    "network": draw_network,
    "phi": draw_phi,
    "bank": draw_bank,
    "pursuit": draw_pursuit,
    "channels": draw_channels,
}

if __name__ == "__main__":
    main()
