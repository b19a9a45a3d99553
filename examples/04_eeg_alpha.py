"""Alpha bursts in an EEG
======================

Alpha waves of an electroencephalogram (EEG) come in bursts of about ten cycles per second, in a background whose power
falls with frequency. Two kernels of 0.3 s learn from the recording itself; one of them becomes three cycles of alpha,
and its high events are bursts. The figure at the end shows these events in the bursts of a simulation, and the kernels.
"""

import numpy as np

rng = np.random.default_rng(0)
simulation_frequency, duration = 128, 120  # Hz, s
n_samples = duration * simulation_frequency
hertz = np.fft.rfftfreq(n_samples, 1 / simulation_frequency)[1:]
spectrum = (rng.standard_normal(len(hertz)) + 1j * rng.standard_normal(len(hertz))) / np.sqrt(hertz)  # power 1/f
background = np.fft.irfft([0, *spectrum], n_samples)
eeg = 10 * background / background.std()  # µV
starts = np.cumsum(rng.uniform(2, 5, size=duration))
bursts = [(start, start + rng.uniform(0.6, 1.2)) for start in starts[starts < duration - 2]]
heights_of_bursts = rng.uniform(8, 24, size=len(bursts))  # µV
for (start, stop), height in zip(bursts, heights_of_bursts, strict=True):
    samples = np.arange(int(start * simulation_frequency), int(stop * simulation_frequency))
    wave = np.sin(2 * np.pi * (10 * samples / simulation_frequency + rng.uniform()))
    eeg[samples] += height * np.hanning(len(samples)) * wave

# %%
# The simulation adds bursts of 10 Hz, 8 to 24 µV high, to a background with a power of 1/f and a deviation of 10 µV
# (Donoghue et al., Nature Neuroscience 23, 2020; Cole and Voytek, Journal of Neurophysiology 122, 2019). For your own
# recording, replace the commented line and delete the checks at the end; the page then skips the comparisons with the
# simulation. Its sampling frequency must be above 60 Hz, for the filter. Your own file: :doc:`/own_files` lists the
# formats and their options.
#
# Slow waves are filtered out first, because kernels describe the waves of the highest energy. The duration of the
# kernels, 0.305 s, is a choice: three cycles of 10 Hz.

from dataclasses import replace

from scipy.signal import butter, sosfiltfilt

import san
from san.data.signal import Signal

simulation = Signal("eeg", eeg, simulation_frequency, ("EEG",), ("µV",))
recording = simulation  # your own file: recording = san.read("mine.csv", column="Oz", sampling_frequency=250)
frequency = recording.sampling_frequency
band_pass = butter(2, [2, 30], "bandpass", fs=frequency, output="sos")
x = replace(recording, samples=sosfiltfilt(band_pass, recording.samples))

sizes = [round(0.305 * frequency)]  # 305 ms, in samples
options = {"kernel_sizes": sizes, "n_kernels": 2, "scaling": "all"}
model = san.fit(x, activations=["extrema"], **options)
description = model.encode(x, window=None)  # as a whole, so that no burst is at the border of two windows
print(description)

# %%
# Extrema, the activation function of the paper, keeps the events of a kernel about a kernel size apart, so that an
# event stands for three cycles. φ pursuit has a lower φ̄, because it also describes the background, with more events:
# φ measures a description, not a detection.

pursuit = san.fit(x, activations=["phi_pursuit"], max_epochs=2, **options).encode(x, window=None)
print(pursuit)

# %%
# The alpha kernel is the one whose spectrum has its peak nearest to 10 Hz, and an event of it is a burst if it is
# higher than three times the median event:

peaks = [np.fft.rfftfreq(1024, 1 / frequency)[np.abs(np.fft.rfft(kernel, 1024)).argmax()] for kernel in model.kernels]
alpha = int(np.abs(np.array(peaks) - 10).argmin())
events = description.events[description.events["kernel"] == alpha]
heights = events["amplitude"].abs()
threshold = 3 * heights.median()
found = events["time"][heights > threshold].to_numpy()
print(f"spectral peaks of the kernels: {peaks[0]:.1f} Hz and {peaks[1]:.1f} Hz; kernel {alpha} is alpha")
print(f"{len(found)} high events")

if recording is simulation:
    is_in_burst = np.array([any(start <= time < stop for start, stop in bursts) for time in found])
    is_found = np.array([any(start <= time < stop for time in found) for start, stop in bursts])
    print(f"{is_found.sum()} of {len(bursts)} bursts are found")
    print(f"the {(~is_found).sum()} missed bursts are at most {heights_of_bursts[~is_found].max():.0f} µV high")
    print(f"{is_in_burst.sum()} of {len(found)} high events are in a burst")

# %%
# Figure
# ------

import matplotlib.pyplot as plt

from san.figures.style import COLORS

# sphinx_gallery_thumbnail_number = -1
times = np.arange(x.n_samples) / frequency
first = 0  # in seconds; the figure shows twenty seconds from here: choose your own
last = first + 20
is_shown = (times >= first) & (times < last)
names = [["eeg", "eeg"], ["events", "events"], ["kernel 0", "kernel 1"]]
figure, panels = plt.subplot_mosaic(names, figsize=(6.4, 6), layout="constrained")
unit = x.channel_units[0] or "a.u."
panels["eeg"].plot(times[is_shown], x.samples[is_shown], color=COLORS["input"], linewidth=0.8)
panels["eeg"].set(ylabel=f"{x.channels[0]}, 2 to 30 Hz ({unit})", xlim=(first, last))
for is_high, color, label in ((False, "0.6", "other events"), (True, COLORS["kernel"], "high events")):
    own = events[((heights > threshold) == is_high) & events["time"].between(first, last)]
    panels["events"].vlines(own["time"], 0, own["amplitude"], color=color, label=f"{label} of kernel {alpha}")
for level in (-threshold, threshold):
    panels["events"].axhline(level, color="k", linestyle=":", linewidth=1)
panels["events"].set(xlabel="time (s)", ylabel=f"amplitude ({unit})", xlim=(first, last))
if recording is simulation:
    for name in ("eeg", "events"):
        for start, stop in bursts:
            planted = panels[name].axvspan(start, stop, color="#F0E442", alpha=0.5, linewidth=0)
    planted.set_label("planted burst")
panels["events"].legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.25), fontsize="small")
for index, kernel in enumerate(model.kernels):
    axes = panels[f"kernel {index}"]
    axes.plot(np.arange(len(kernel)) / frequency, kernel, color=COLORS["kernel"] if index == alpha else "0.6")
    axes.set(xlabel="time (s)", ylabel="weight", title=f"kernel {index}: {peaks[index]:.1f} Hz")
for axes in panels.values():
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Checks
# ------
#
# The statements of this page hold for its data; leave the checks out for your own recording.

assert pursuit.phi < description.phi
assert len(pursuit.events) > len(description.events)
assert abs(peaks[alpha] - 10) < 1
assert events["sample"].diff().min() > 0.9 * len(model.kernels[alpha])
