"""A page about the kernels of a description: the shape of each, where it fires, and its numbers."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from san.data.splits import Splits
from san.extensions.signs import shown_atoms
from san.figures.channels import MAX_LEADS, channels_first
from san.figures.images import RGB
from san.figures.kernel_page import (
    MAX_DRAWN_SAMPLES,
    Chart,
    Excerpt,
    event_counts_png,
    image_example_png,
    image_kernel_png,
)
from san.figures.style import kernels_to_draw, method_label, time_axis
from san.reporting.pages import html_page, png_address
from san.storage.files import write_text
from san.storage.text import printable
from san.use.description import Array, Description
from san.use.kernel_numbers import (
    KernelNumbers,
    energy_explained,
    event_energies,
    kernel_numbers,
    own_reconstruction,
)
from san.use.model import Model

__all__ = ["MAX_TEST_SAMPLES", "write_kernel_page", "write_test_page"]

AMPLITUDES = "amplitudes of its events"
MAX_TEST_SAMPLES = 2**16  # samples of the test examples on the page of a run
METRICS = {
    "phi": ("φ̄", "the mean length of (CR⁻¹, L̃): 0 is perfect, an empty description has 1"),
    "cr_inverse": ("CR⁻¹", "the numbers that a description stores, weights and events, per sample"),
    "loss_normalized": ("L̃", "the reconstruction loss over the loss of reconstructing zeros: 0 is exact"),
}


def write_test_page(model: Model, splits: Splits, path: Path) -> None:
    """Write the page of a training: test examples, evenly spaced ones if there are too many.

    Args:
        model: The trained model.
        splits: The examples that it was trained with.
        path: Path of the page.
    """
    n_examples = len(splits.test)
    n_described = min(n_examples, max(1, MAX_TEST_SAMPLES // splits.test[0].numel()))
    indices = torch.linspace(0, n_examples - 1, n_described, dtype=torch.float64).round().long()
    statistics = splits.test_statistics
    if statistics is not None:
        statistics = type(statistics)(
            *(value[indices] if isinstance(value, torch.Tensor) else value for value in statistics)
        )
    description = model.encode_scaled(splits.test[indices], statistics)
    note = ""
    if n_described < n_examples:
        note = f"{n_described} of the {n_examples} test examples, evenly spaced; results.json has the metrics of all"
    is_physical = splits.scale is not None and description.scale == splits.scale
    write_kernel_page(
        model,
        description,
        path,
        names=[f"test example {index}" for index in indices.tolist()],
        note=note,
        amplitude="" if is_physical and (any(splits.channel_units) or model.scale.kind != "none") else splits.units,
    )


def write_kernel_page(
    model: Model,
    description: Description,
    path: str | os.PathLike[str],
    *,
    names: Sequence[str] = (),
    note: str = "",
    amplitude: str = "",
) -> None:
    """Write a self-contained HTML page about the kernels of a description.

    Of too many kernels to read, those whose events have the most energy are on the page, which says so.

    Args:
        model: The model.
        description: A description by the model.
        path: Path of the page.
        names: Name of each recording; by default its index.
        note: The selection of the recordings, if there is one.
        amplitude: Label of the amplitudes; by default that of the description.
    """
    fs = description.origin.sampling_frequency
    label = amplitude or description.amplitude_label
    shown, kernels_note = kernels_to_draw(event_energies(description))
    numbers = kernel_numbers(model, description, shown)
    in_time = description.network.n_dims == 1
    panels = _Panels(description, names or [f"example {index}" for index in range(description.shape[0])], label)
    page = html_page(
        "kernels.html.jinja",
        name=printable(description.origin.name),
        activation=method_label(model.activation),
        metrics=[
            {"symbol": symbol, "value": f"{getattr(description, key):.4f}", "meaning": meaning}
            for key, (symbol, meaning) in METRICS.items()
        ],
        phi=description.phi,
        explained=energy_explained(description),
        described=_described(description),
        noun="windows" if _is_divided(description) else "examples",
        notes=[one for one in (note, f"{kernels_note}: no others are on this page" if kernels_note else "") if one],
        rate="second" if in_time and fs is not None else "example",
        is_image=not in_time,
        longest=MAX_DRAWN_SAMPLES,
        n_channels=description.shape[1],
        most_channels=MAX_LEADS,
        form=description.network.kernel,
        kernels=[
            {
                **own._asdict(),
                "m": description.network.kernel_sizes[own.kernel],
                "size_with_units": _size(description, own.kernel),
                "facts": _facts(description, own, label),
                "panels": panels.of(own),
            }
            for own in numbers
        ],
    )
    write_text(Path(path), page)


class _Panels:
    """The figures of each kernel, with their captions."""

    def __init__(self, description: Description, names: Sequence[str], label: str) -> None:
        self.description, self.names, self.label = description, names, label
        self.chart = Chart()
        self.atoms = shown_atoms(description.network)
        self.decoded = description.decode().reshape(description.shape)
        self.ranked = _best_median_worst(description)

    def of(self, numbers: KernelNumbers) -> list[dict[str, Any]]:
        """Return the address, the caption, the alternative text and the kind of each figure of a kernel."""
        is_image = self.description.network.n_dims == 2
        drawn = self._of_image(numbers) if is_image else self._of_signal(numbers)
        for rank, window in self.ranked.items() if numbers.n_events else ():
            excerpt = self._excerpt(window, numbers.kernel)
            count = int((self.description.windows[window].places[:, 0] == numbers.kernel).sum())
            drawn[f"{rank}: {self._named(window)}; {_counted(count, 'event')}"] = (
                image_example_png(excerpt)
                if is_image
                else self.chart.example(excerpt, time_label=self._time_label, label=self.label)
            )
        return [
            {
                "address": png_address(content),
                "caption": caption,
                "alt": f"kernel {numbers.kernel}, {caption}",
                "is_picture": is_image and caption != AMPLITUDES,
            }
            for caption, content in drawn.items()
        ]

    @property
    def _time_label(self) -> str:
        return time_axis(1, self.description.origin.sampling_frequency)[1]

    def _of_signal(self, numbers: KernelNumbers) -> dict[str, bytes]:
        fs = self.description.origin.sampling_frequency
        labels = self.description.origin.labels
        atom = channels_first(self.atoms[numbers.kernel], 1).double().numpy()
        times, time_label = time_axis(atom.shape[1], fs)
        if numbers.n_events == 0:
            return {"shape": self.chart.kernel(times, atom, time_label=time_label, label="weight", labels=labels)}
        typical = _typical(numbers.amplitudes)
        caption = f"shape of its typical event: the kernel times {typical:.3g}"
        drawn = {
            caption: self.chart.kernel(times, atom * typical, time_label=time_label, label=self.label, labels=labels)
        }
        if len(numbers.intervals):
            caption = f"intervals between its events: {len(numbers.intervals)}"
            drawn[caption] = self.chart.histogram(numbers.intervals, label=time_label.replace("time", "interval"))
        drawn[AMPLITUDES] = self.chart.histogram(numbers.amplitudes, label=f"event {self.label}")
        return drawn

    def _of_image(self, numbers: KernelNumbers) -> dict[str, bytes]:
        atom = channels_first(self.atoms[numbers.kernel], 2).double().numpy()
        colors = "in its colors, gray zero" if len(atom) == RGB else "red positive, blue negative, white zero"
        drawn = {f"shape: {colors}": image_kernel_png(atom)}
        if numbers.n_events == 0:
            return drawn
        own = self.description.events[self.description.events["kernel"] == numbers.kernel]
        counts = np.zeros(self.description.shape[2:])
        np.add.at(counts, (own["row"].to_numpy(), own["column"].to_numpy()), 1)
        caption = f"events at each pixel over all examples: white 0, black {_counted(int(counts.max()), 'event')}"
        drawn[caption] = event_counts_png(counts)
        drawn[AMPLITUDES] = self.chart.histogram(numbers.amplitudes, label=f"event {self.label}")
        return drawn

    def _excerpt(self, index: int, kernel: int) -> Excerpt:
        """Return a window; of a long signal, the samples around its largest event of the kernel."""
        window, samples = self.description.windows[index], self.description.parts[index]
        reconstruction = self.decoded[window.example]
        is_signal, n_samples = self.description.network.n_dims == 1, samples.shape[1]
        if is_signal:
            reconstruction = reconstruction[:, window.start : window.start + n_samples]
        own = own_reconstruction(self.description, index, kernel)
        is_own = window.places[:, 0] == kernel
        events = window.places[is_own, 1:].numpy()
        times = window.start + np.arange(n_samples)
        first = 0
        if is_signal and n_samples > MAX_DRAWN_SAMPLES:
            largest = int(window.amplitudes[is_own].abs().argmax()) if len(events) else None
            middle = n_samples // 2 if largest is None else int(events[largest, 0])
            first = min(max(0, middle - MAX_DRAWN_SAMPLES // 2), n_samples - MAX_DRAWN_SAMPLES)
            events = events[(events[:, 0] >= first) & (events[:, 0] < first + MAX_DRAWN_SAMPLES)]
        drawn = slice(first, first + MAX_DRAWN_SAMPLES) if is_signal else slice(None)
        seconds = times / (self.description.origin.sampling_frequency or 1)
        channels = self._drawn_channels(kernel)
        return Excerpt(
            seconds[drawn],
            samples[channels, drawn],
            reconstruction[channels, drawn],
            own[channels, drawn] != 0,
            events - first,
            [self._channel(channel, samples[channel, drawn]) for channel in channels],
        )

    def _drawn_channels(self, kernel: int) -> list[int]:
        """Return the channels of an excerpt; of too many, those with the most energy of the kernel."""
        n_channels = self.description.shape[1]
        if self.description.network.n_dims == 2 or n_channels <= MAX_LEADS:
            return list(range(n_channels))
        energies = channels_first(self.atoms[kernel], 1).square().sum(1)
        return sorted(energies.topk(MAX_LEADS).indices.tolist())

    def _channel(self, channel: int, samples: Array) -> str:
        """Return the label of a channel with the range that it is scaled to."""
        origin = self.description.origin
        return f"{origin.labels[channel]}: {np.ptp(samples):.2g} {origin.channel_units[channel]}".strip()

    def _named(self, index: int) -> str:
        window, phi = self.description.windows[index], self.description.metrics["phi"].iloc[index]
        name = printable(self.names[window.example])
        if _is_divided(self.description):
            fs = self.description.origin.sampling_frequency
            name += f" from sample {window.start}" if fs is None else f" from {window.start / fs:.6g} s"
        return f"{name}, φ = {phi:.3f}"


def _is_divided(description: Description) -> bool:
    """Return whether some recording is described in several windows."""
    return len(description.windows) > description.shape[0]


def _described(description: Description) -> str:
    found = _counted(description.shape[0], "example")
    return f"{found} in {_counted(len(description.windows), 'window')}" if _is_divided(description) else found


def _best_median_worst(description: Description) -> Mapping[str, int]:
    """Return the windows of the lowest, the middle and the highest φ, each window once."""
    order = description.metrics["phi"].argsort(kind="stable").tolist()
    found = {"best": order[0], "worst": order[-1], "median": order[(len(order) - 1) // 2]}
    first: NDArray[np.int64] = np.unique(list(found.values()), return_index=True)[1]
    kept = {name: window for place, (name, window) in enumerate(found.items()) if place in first}
    return {name: kept[name] for name in ("best", "median", "worst") if name in kept}


def _typical(amplitudes: Array) -> float:
    """Return the median absolute amplitude, with the sign of most events."""
    sign = -1.0 if (amplitudes < 0).sum() > (amplitudes > 0).sum() else 1.0
    return sign * float(np.median(np.abs(amplitudes)))


def _size(description: Description, kernel: int) -> str:
    """Return the size of a kernel with its units."""
    size, fs = description.network.kernel_sizes[kernel], description.origin.sampling_frequency
    if description.network.n_dims == 2:
        return f"{size} × {size} pixels"
    return _counted(size, "sample") + ("" if fs is None else f", {size / fs:.3g} s")


def _facts(description: Description, numbers: KernelNumbers, label: str) -> list[str]:
    """Return a description of the events of a kernel, in words."""
    n_examples = description.shape[0]
    if numbers.n_events == 0:
        return [f"It never fires in {_counted(n_examples, 'example')}: its weights cost without use."]
    fired = f"{_counted(numbers.n_events, 'event')} in {numbers.n_examples} of {_counted(n_examples, 'example')}."
    facts = [fired, f"Event {label}: {_quartiles(numbers.amplitudes)}."]
    if len(numbers.intervals):
        unit = "s" if description.origin.sampling_frequency is not None else "samples"
        facts.append(f"Intervals ({unit}): {_quartiles(numbers.intervals)}.")
    elif description.network.n_dims == 1:
        facts.append("No intervals: no example has two of its events.")
    return facts


def _quartiles(values: Array) -> str:
    if len(values) == 1:
        return f"{values[0]:.3g}"
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"median {median:.3g}, middle half from {low:.3g} to {high:.3g}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count != 1 else ''}"
