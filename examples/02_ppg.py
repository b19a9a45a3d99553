"""A pulse in a wearable's PPG: which activation and kernel size?
==============================================================

A wearable measures a photoplethysmogram (PPG): pulses on a baseline that drifts, with noise of motion. Which activation
function and which kernel size describe it best? φ answers without a label: it is the length of the vector (CR⁻¹, L̃) of
the stored numbers per sample and the reconstruction loss, and lower is better; :doc:`/phi` explains it. The figure at
the end shows φ̄, the mean of φ, of 15 models, the selected kernel, and the pulses that it describes.

The page is for one pulse wave per beat, and does not count the beats; :doc:`/gallery/05_respiration_rate` shows how to
count by events. For your own PPG, replace the commented line and delete the checks at the end. Your own file:
:doc:`/own_files` lists the formats and their options.
"""

from neurokit2 import ppg_simulate

import san
from san.data.signal import Signal

simulation_frequency = 100  # Hz
ppg = ppg_simulate(
    duration=120,
    sampling_rate=simulation_frequency,
    heart_rate=72,
    frequency_modulation=0.2,
    ibi_randomness=0.1,
    drift=1,
    motion_amplitude=0.2,
    powerline_amplitude=0.05,
    random_state=1,
    random_state_distort=1,
)
simulation = Signal("ppg", ppg, simulation_frequency, ("PPG",), ("a.u.",))
x = simulation  # your own file: x = san.read("mine.csv", column="PPG", sampling_frequency=100)
frequency = x.sampling_frequency

model = san.fit(
    x,
    activations=["extrema_pool_indices", "extrema", "phi_pursuit"],
    kernel_sizes=[round(seconds * frequency) for seconds in (0.1, 0.2, 0.4, 0.6, 0.8)],  # 0.1 to 0.8 s, in samples
    max_epochs=5,
)
print(model)

# %%
# The durations of the kernels, from 0.1 to 0.8 s, are a choice: from a part of a pulse to about one pulse. Without
# ``activations`` and ``kernel_sizes``, ``san.fit`` tries four activation functions with up to ten kernel sizes that fit
# the signal, for 30 epochs, which takes minutes. ``candidates`` has all models, the best first:

model.candidates.head(5)

# %%
# The column ``seconds`` is the time of training all kernel sizes of an activation function together.
#
# The selected model describes the recording by events: an event places the kernel at one time, with one amplitude.

description = model.encode(x)
print(description)
description.events.head(5)

# %%
# Figure
# ------
#
# Here, a short kernel needs more events, and a long kernel has more weights and fits fewer pulses: the lowest φ̄ is
# between the shortest and the longest kernel. The selected kernel is shorter than the time between two beats. It is a
# systolic wave, with a steep rise and a slower fall, and events of negative amplitude describe the valleys. φ̄ measures
# a description; it does not say that an event is a beat.

import matplotlib.pyplot as plt
import numpy as np

from san.figures.style import COLORS, method_color, method_label

(kernel,) = model.kernels
# sphinx_gallery_thumbnail_number = -1
figure, panels = plt.subplot_mosaic([["phi", "kernel"], ["ppg", "ppg"]], layout="constrained", width_ratios=[3, 2])
for activation, models in model.candidates.groupby("activation"):
    models = models.sort_values("kernel_size")
    sizes = models["kernel_size"] / frequency
    panels["phi"].plot(
        sizes, models["validation_phi"], "o-", color=method_color(activation), label=method_label(activation)
    )
best = model.candidates.iloc[0]
panels["phi"].plot(
    best["kernel_size"] / frequency, best["validation_phi"], "o", color="none", markeredgecolor="k", markersize=12
)
panels["phi"].set_ylim(bottom=0)
title = f"φ̄ of {len(model.candidates)} models (circle: selected)"
panels["phi"].set(xlabel="kernel size (s)", ylabel="validation φ̄", title=title)
panels["phi"].legend(frameon=False, loc="center right", fontsize="small")
panels["kernel"].plot(np.arange(len(kernel)) / frequency, kernel, color=COLORS["kernel"])
panels["kernel"].set(xlabel="time (s)", ylabel="weight", title="selected kernel")
times = np.arange(x.n_samples) / frequency
start = max(0, min(20, times[-1] - 10))  # in seconds; the figure shows ten seconds from here: choose your own
stop = start + 10
is_shown = (times >= start) & (times < stop)
shown, decoded = x.samples[is_shown], description.decode()[is_shown]
panels["ppg"].plot(times[is_shown], shown, color=COLORS["input"], linewidth=2.5, alpha=0.5, label=x.channels[0])
panels["ppg"].plot(times[is_shown], decoded, color=COLORS["reconstruction"], linewidth=1, label="reconstruction")
panels["ppg"].margins(y=0.2)
ylabel = f"{x.channels[0]} ({x.channel_units[0] or 'a.u.'})"
panels["ppg"].set(xlabel="time (s)", ylabel=ylabel, xlim=(start, stop))
panels["ppg"].legend(frameon=False, ncols=2, loc="upper right")
for axes in panels.values():
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Checks
# ------
#
# The statements of this page hold for its data; leave the checks out for your own recording.

events = description.events
is_negative = events["amplitude"] < 0
assert 0.1 * frequency < len(kernel) < 60 / 72 * frequency
assert kernel.argmax() < len(kernel) / 2
assert x.samples[events.loc[is_negative, "sample"]].mean() < x.samples[events.loc[~is_negative, "sample"]].mean()
