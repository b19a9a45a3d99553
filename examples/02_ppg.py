"""A pulse in a wearable's PPG: which activation and kernel size?
==============================================================

A wearable measures a photoplethysmogram (PPG): pulses on a baseline that drifts, with noise of motion. Which activation
function and which kernel size describe it best? φ answers without a label: it is the length of the vector (CR⁻¹, L̃) of
the stored numbers per sample and the reconstruction loss, and lower is better. The figure at the end shows φ̄, the mean
of φ, of 15 models, the selected kernel, and the pulses that it describes.
"""

from neurokit2 import ppg_simulate

import san

frequency = 100  # Hz
x = ppg_simulate(
    duration=120,
    sampling_rate=frequency,
    heart_rate=72,
    frequency_modulation=0.2,
    ibi_randomness=0.1,
    drift=1,
    motion_amplitude=0.2,
    powerline_amplitude=0.05,
    random_state=1,
    random_state_distort=1,
)  # your own file: x = san.read("mine.csv", column="PPG", sampling_frequency=100).samples

model = san.fit(
    x,
    sampling_frequency=frequency,
    activations=["extrema_pool_indices", "extrema", "phi_pursuit"],
    kernel_sizes=[10, 20, 40, 60, 80],
    max_epochs=5,
)
print(model)

# %%
# Without ``activations`` and ``kernel_sizes``, ``san.fit`` tries four activation functions with up to ten kernel sizes
# that fit the signal. ``candidates`` has all models, the best first:

model.candidates.head(5)

# %%
# The selected model describes the recording by events: an event places the kernel at one time, with one amplitude.

description = model.encode(x)
print(description)
description.events.head(5)

# %%
# Figure
# ------
#
# A short kernel needs more events, and a long kernel has more weights and fits fewer pulses: the lowest φ̄ is between
# the shortest and the longest kernel. The selected kernel is shorter than the time between two beats. It is a systolic
# wave, with a steep rise and a slower fall, and events of negative amplitude describe the valleys. φ̄ measures a
# description; it does not say that an event is a beat.

import matplotlib.pyplot as plt
import numpy as np

from san.figures.style import COLORS, method_color, method_label

events = description.events
(kernel,) = model.kernels
assert 10 < len(kernel) < 60 / 72 * frequency
assert kernel.argmax() < len(kernel) / 2
assert x[events.loc[events["amplitude"] < 0, "sample"]].mean() < x[events.loc[events["amplitude"] > 0, "sample"]].mean()
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
panels["phi"].set(
    xlabel="kernel size (s)", ylabel="validation φ̄", ylim=(0, 0.8), title="φ̄ of 15 models (circle: selected)"
)
panels["phi"].legend(frameon=False, loc="center right", fontsize="small")
panels["kernel"].plot(np.arange(len(kernel)) / frequency, kernel, color=COLORS["kernel"])
panels["kernel"].set(xlabel="time (s)", ylabel="weight", title="selected kernel")
times = np.arange(len(x)) / frequency
panels["ppg"].plot(times, x, color=COLORS["input"], linewidth=2.5, alpha=0.5, label="PPG")
panels["ppg"].plot(times, description.decode(), color=COLORS["reconstruction"], linewidth=1, label="reconstruction")
panels["ppg"].set(xlabel="time (s)", ylabel="PPG (a.u.)", xlim=(20, 30), ylim=(0, 3.6))
panels["ppg"].legend(frameon=False, ncols=2, loc="upper right")
for axes in panels.values():
    axes.spines[["top", "right"]].set_visible(False)
plt.show()
