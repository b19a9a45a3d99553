"""Gait from a three-axis accelerometer
====================================

An accelerometer at the lower back measures three channels. Each step is one event in all of them: an impact upward and
backward, and to the right or to the left by the foot. Two kernels, each one waveform times a weight of each channel,
learn the two feet without a label. The figure at the end shows the steps of each foot, and the cadence.
"""

import numpy as np

rng = np.random.default_rng(0)
simulation_frequency, duration = 50, 90  # Hz, s
steps = [0.5]
while steps[-1] < duration - 1.5:  # from 95 to 120 steps per minute; the intervals vary by 3 %
    cadence = np.interp(steps[-1], [30, 60], [95, 120])
    steps.append(steps[-1] + 60 / cadence * (1 + 0.03 * rng.standard_normal()))
steps = np.array(steps)
times = np.arange(duration * simulation_frequency) / simulation_frequency
since = np.maximum(times - steps[:, None], 0)  # [steps, samples]
impacts = np.exp(-since / 0.1) * np.sin(2 * np.pi * 3 * since)
foot = np.arange(len(steps)) % 2  # right, left, right, ...
sizes = np.outer([4, -2, 0], np.ones(len(steps))) + np.outer([0, 0, 2], 1 - 2 * foot)  # m/s²
sizes *= 1 + 0.1 * rng.standard_normal(len(steps))
samples = sizes @ impacts + 0.1 * rng.standard_normal((3, len(times))) + [[9.81], [0], [0]]

# %%
# In this model of the trunk's acceleration, each step is a damped oscillation, whose sideward part alternates (after
# Zijlstra and Hof, Gait & Posture 18(2), 2003); the noise is 0.1 m/s². For your own recording, replace the commented
# line and delete the checks at the end, with the vertical channel first; the page then skips the comparisons with the
# simulation. Your own file: :doc:`/own_files` lists the formats and their options.
#
# Learned kernels depend on the initial ones. Three trainings start from different ones, and φ̄ on the last part of the
# recording selects a model, without a label. The duration of the kernels, 0.4 s, is a choice: shorter than the time
# between two steps.

import san
from san.data.signal import Signal

simulation = Signal("gait", samples, simulation_frequency, ("vertical", "forward", "sideward"), ("m/s²",) * 3)
x = simulation  # your own file: x = san.read("mine.csv", column=["x", "y", "z"], sampling_frequency=50)
frequency = x.sampling_frequency

sizes = [round(0.4 * frequency)]  # 0.4 s, in samples
options = {"activations": ["phi_pursuit"], "kernel_sizes": sizes, "n_kernels": 2, "kernel": "rank1", "max_epochs": 10}
models = [san.fit(x, **options, random_state=seed) for seed in range(3)]
phis = [model.candidates["validation_phi"].min() for model in models]
model = models[int(np.argmin(phis))]
description = model.encode(x, window=None)  # as a whole, so that no step is at the border of two windows
print("validation φ̄ of the three models:", *(f"{phi:.3f}" for phi in phis))
print(description)
model.plot()

# %%
# Relative to the vertical weight, the forward weights of the two kernels have the same sign and the sideward weights
# have opposite signs: the kernels are the two feet. An event of a step is high; the other events describe noise and
# details of the waveform.

vertical, forward, sideward = np.array([np.linalg.svd(kernel)[0][:, 0] for kernel in model.kernels]).T
heights = description.events["amplitude"].abs()
found = description.events[heights > 0.5 * heights.quantile(0.95)]

peaks = [int(np.abs(kernel).max(0).argmax()) for kernel in model.kernels]
shifts = np.subtract(peaks, description.centres) / frequency  # from the place of an event to the peak of its kernel
found = found.assign(time=found["time"] + shifts[found["kernel"]]).sort_values("time")
print(f"{len(found)} high events")
if x is simulation:
    distances = np.abs(found["time"].to_numpy()[:, None] - steps)  # [events, steps]
    is_found = distances.min(0) < 0.1
    print(f"{is_found.sum()} of {len(steps)} simulated steps have one less than 0.1 s away")
    of_foot = [found["kernel"].to_numpy()[distances.argmin(0)][is_found & (foot == side)] for side in (0, 1)]
    n_consistent = sum(np.bincount(kernels).max() for kernels in of_foot)
    print(f"{n_consistent} of them have the kernel of their foot")

# %%
# Figure
# ------
#
# The cadence is 60 s divided by the mean of nine successive intervals, without the two shortest and the two longest,
# so that a missing or an extra event has little effect. The sideward sign tells the feet apart; which one is the right
# foot depends on the direction of the axis. Real gait has double impacts, turns and pauses: look at the events of your
# own recording before you count steps.

import matplotlib.pyplot as plt
from scipy.stats import trim_mean

from san.figures.style import COLORS

# sphinx_gallery_thumbnail_number = -1
times = np.arange(x.n_samples) / frequency
start = max(0, min(20, times[-1] - 6))  # in seconds; the figure shows six seconds from here: choose your own
stop = start + 6
is_shown = (times >= start) & (times < stop)
figure, (trace, cadence) = plt.subplots(2, 1, layout="constrained")
colors = (COLORS["input"], "0.4", COLORS["similarity"])
centred = x.samples - x.samples.mean(1, keepdims=True)
apart = float(f"{8 * centred.std():.1g}")  # between two channels
for row, (channel, color, name) in enumerate(zip(centred, colors, x.channels, strict=True)):
    offset = (2 - row) * apart
    trace.plot(times[is_shown], channel[is_shown] + offset, color=color, linewidth=1)
    trace.text(stop + 0.05, offset, name, color=color, va="center")
for kernel, marker in enumerate("v^"):
    own = found.loc[(found["kernel"] == kernel) & found["time"].between(start, stop), "time"]
    sign = "+" if sideward[kernel] / vertical[kernel] > 0 else "−"
    label = f"kernel {kernel} ({x.channels[2]} {sign})"
    trace.plot(own, np.full(len(own), 3 * apart), marker, color=(COLORS["kernel"], "k")[kernel], label=label)
unit = x.channel_units[0] or "a.u."
trace.set(xlabel="time (s)", ylabel=f"acceleration ({unit}),\noffset by {apart:g}", xlim=(start, stop))
trace.set_ylim(-0.5 * apart, 4 * apart)
trace.legend(frameon=False, loc="upper right", ncols=2)
seconds = found["time"].to_numpy()
intervals = np.lib.stride_tricks.sliding_window_view(np.diff(seconds), 9)
measured = 60 / trim_mean(intervals, 0.25, axis=1)
cadence.plot(seconds[4:-5], measured, ".", color=COLORS["kernel"], label="events of both kernels")
if x is simulation:
    cadence.plot(times, np.interp(times, [30, 60], [95, 120]), color="0.4", label="simulation")
cadence.margins(y=0.25)
cadence.set(xlabel="time (s)", ylabel="cadence (steps/min)", xlim=(0, x.n_samples / frequency))
cadence.legend(frameon=False, loc="lower right")
for axes in (trace, cadence):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Checks
# ------
#
# The statements of this page hold for its data; leave the checks out for your own recording.

assert (forward / vertical < 0).all()
assert np.prod(sideward / vertical) < 0
assert is_found.mean() > 0.98
assert n_consistent > 0.98 * is_found.sum()
assert np.bincount(of_foot[0]).argmax() != np.bincount(of_foot[1]).argmax()
