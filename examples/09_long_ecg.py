"""Half an hour of an electrocardiogram: where is the description good?
====================================================================

A model that is trained on the first two minutes describes the whole recording. φ of each window says where the
description is good, without a look at 30 minutes of waveforms, and the events give the heart rate.

The figure shows φ and the heart rate over half an hour, and the best and the worst window, of eight seconds each.
"""

# %%
# The recording is simulated, so that the truth is known. Each beat is a sum of five Gaussian waves, P, Q, R, S and T,
# with the phases and widths of the model of McSharry et al. (IEEE Trans. Biomed. Eng. 50(3), 2003). The heart rate
# rises from 60 to 90 beats per minute and falls again, and varies by 3 % with a period of 4 s. Minutes 8 to 10 have
# muscle noise, minutes 20 to 22 an electrode that drifts.
#
# For your own recording, of at least 16 s, replace the line of ``x`` and delete the checks at the end: everything below
# takes the sampling frequency and the duration from ``x``, and skips the comparison with the simulation. Your own file:
# :doc:`/own_files` lists the formats and their options.

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import san
from san.data.signal import Signal
from san.figures.style import COLORS
from san.use.beats import find_beats

RATE, SECONDS = 125, 1800  # Hz and s, of the simulation
rng = np.random.default_rng(0)
time = np.arange(RATE * SECONDS) / RATE


def true_rate(seconds):
    """Return the heart rate in beats per minute."""
    return 60 + 30 * np.sin(np.pi * seconds / SECONDS) ** 2


phase = 2 * np.pi * np.cumsum(true_rate(time) * (1 + 0.03 * np.sin(0.5 * np.pi * time))) / 60 / RATE  # 2π each beat
angle = np.mod(phase + np.pi, 2 * np.pi) - np.pi  # 0 at the R peak
waves = [(-1.22, 0.12, 0.25), (-0.26, -0.25, 0.1), (0, 1.2, 0.1), (0.26, -0.3, 0.1), (1.75, 0.3, 0.4)]  # rad, mV, rad
samples = sum(height * np.exp(-((angle - place) ** 2) / (2 * width**2)) for place, height, width in waves)
samples = samples + 0.02 * rng.standard_normal(len(samples))
disturbed = {"muscle noise": (8, 10), "electrode drift": (20, 22)}  # minutes
noise, drift = (slice(60 * RATE * first, 60 * RATE * last) for first, last in disturbed.values())
samples[noise] += 0.4 * rng.standard_normal(120 * RATE)
samples[drift] += 0.02 * rng.standard_normal(120 * RATE).cumsum()
simulation = Signal("simulation", samples, RATE, ("ECG",), ("mV",))

x = simulation  # your own: x = san.read("mine.csv", column="ECG", sampling_frequency=250)
frequency = x.sampling_frequency

# %%
# Train on two minutes, describe thirty. The duration of the kernels and of the windows is a choice: a kernel of 190 ms
# is longer than a QRS complex, and a window of 8 s has several beats.

size, window = round(0.19 * frequency), round(8 * frequency)  # 190 ms and 8 s, in samples
options = {"activations": ["phi_pursuit"], "kernel_sizes": [size], "n_kernels": 2, "window": window, "max_epochs": 8}
model = san.fit(replace(x, samples=x.samples[: round(120 * frequency)]), **options)
description = model.encode(x)
beats = find_beats(description)
description.plot()

# %%
# ``description.metrics`` has φ, CR⁻¹ and L̃ of each window, and ``description.events`` the events of the recording. The
# window is that of the training, 8 s; ``model.encode(x, window=None)`` describes the recording as one window instead,
# with one φ.

metrics = description.metrics
minutes = metrics["start"].to_numpy() / frequency / 60
beat_minutes = beats[1:] / frequency / 60
heart_rate = 60 * frequency / np.diff(beats)

# %%
# The simulation has a true heart rate. A beat interval is wrong if its heart rate differs from the true one by more
# than 10 beats per minute.


def part_of(moments):
    """Return the part of the recording of each moment in minutes."""
    names = np.full(len(moments), "clean", dtype=object)
    for name, (first, last) in disturbed.items():
        names[(moments >= first) & (moments < last)] = name
    return names


if x is simulation:
    parts = part_of(minutes)
    phi = {part: metrics["phi"][parts == part] for part in ("clean", *disturbed)}
    error = np.abs(heart_rate - true_rate(60 * beat_minutes))
    wrong = {part: np.mean(error[part_of(beat_minutes) == part] > 10) for part in phi}
    for part, values in phi.items():
        lowest, highest = values.min(), values.max()
        print(f"{part:15}: φ {lowest:.2f} to {highest:.2f}, {wrong[part]:.0%} of the beat intervals are wrong")

# %%
# Every window of muscle noise has a higher φ than every clean window, and the heart rate is meaningless there: **read φ
# before the beats**. φ does not find the drift: a slow wave needs few events, and is described as well as the
# heartbeats, although more of the beats are wrong. φ also rises with the heart rate, because the model is trained on
# the slowest part. Recordings of days are evaluated in chunks of bounded memory: see :doc:`/streaming`. :doc:`/beats`
# scores beats on annotated records.

# sphinx_gallery_thumbnail_number = -1
figure = plt.figure(figsize=(10, 6.5), layout="constrained")
grid = figure.add_gridspec(3, 2)
over_time, rates = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, :])
over_time.plot(minutes, metrics["phi"], color=COLORS["similarity"])
over_time.set(ylabel="φ (dimensionless)")
over_time.set_ylim(bottom=0)
rates.plot(beat_minutes, heart_rate, ".", color=COLORS["input"], markersize=2, alpha=0.4, label="found, beat to beat")
if x is simulation:
    rates.plot(time / 60, true_rate(time), color="black", label="simulated")
    for name, span in disturbed.items():
        for axes in (over_time, rates):
            axes.axvspan(*span, color="0.85", zorder=0)
        over_time.text(span[0] + 0.1, 0.03, name, fontsize="small")
rates.set(xlabel="time (min)", ylabel="heart rate (1/min)")
rates.legend(frameon=False, loc="upper left", markerscale=4)
for axes in (over_time, rates):
    axes.set_xlim(0, x.n_samples / frequency / 60)
reconstruction = description.decode()
for column, (name, index) in enumerate((("best", metrics["phi"].idxmin()), ("worst", metrics["phi"].idxmax()))):
    start = metrics["start"][index]
    recorded, decoded = (one[start : start + window] for one in (x.samples, reconstruction))
    seconds = np.arange(len(recorded)) / frequency
    axes = figure.add_subplot(grid[2, column])
    axes.plot(seconds, recorded, color=COLORS["input"], alpha=0.5, label="recording")
    axes.plot(seconds, decoded, color=COLORS["reconstruction"], label="reconstruction")
    axes.set_title(f"{name}: minute {minutes[index]:.1f}, φ {metrics['phi'][index]:.2f}", fontsize="medium")
    axes.set(xlabel="time in the window (s)", ylabel=f"{x.channel} ({x.unit or 'unknown unit'})")
    over_time.plot(minutes[index], metrics["phi"][index], "o", color=COLORS["kernel"])
    over_time.annotate(name, (minutes[index], metrics["phi"][index]), (4, 5), textcoords="offset points")
axes.legend(frameon=False, loc="upper left", ncols=2)
axes.margins(y=0.25)  # room for the legend
for axes in figure.axes:
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Checks
# ------
#
# The statements of this page hold for its data; leave the checks out for your own recording.

assert phi["muscle noise"].min() > phi["clean"].max() > phi["electrode drift"].max()
assert wrong["clean"] < 0.1 < wrong["electrode drift"] < wrong["muscle noise"]
