"""The respiratory rate from the events of one kernel
==================================================

A belt around the chest measures respiration, whose rate changes. One kernel learns a part of a breath: its positive
events are inspirations and its negative events expirations, at any rate. The time from one inspiration to the next
gives the rate. The figure at the end shows it beside the simulated rate and that of NeuroKit2's peak detector.

For your own recording, replace the commented line and delete the checks at the end; the page then skips the comparisons
with the simulation. Your own file: :doc:`/own_files` lists the formats and their options.
"""

import numpy as np
from neurokit2 import rsp_peaks, rsp_simulate

import san
from san.data.signal import Signal

simulation_frequency, seconds = 25, 60  # Hz, of each rate
rates = [12, 18, 24, 15]  # breaths per minute
parts = [
    rsp_simulate(
        seconds, sampling_rate=simulation_frequency, respiratory_rate=rate, random_state=0, random_state_distort=0
    )
    for rate in rates
]
simulation = Signal("respiration", np.concatenate(parts), simulation_frequency, ("respiration",), ("a.u.",))
x = simulation  # your own file: x = san.read("mine.csv", column="RSP", sampling_frequency=25)
frequency = x.sampling_frequency
duration = x.n_samples / frequency

model = san.fit(
    x,
    activations=["phi_pursuit"],
    kernel_sizes=[round(size * frequency) for size in (0.8, 1.2, 1.6, 2.4)],  # 0.8 to 2.4 s, in samples
    scaling="all",
    max_epochs=5,
)
description = model.encode(x)
print(description)
start = min(40, duration / 2)  # in seconds; the figure shows forty seconds from here: choose your own
description.plot(start=round(start * frequency), stop=round((start + 40) * frequency))

# %%
# The durations of the kernels, from 0.8 to 2.4 s, are a choice: parts of a breath, and φ̄ selects one.
#
# The simulation varies the time, the amplitude and the pauses of each breath. A fast breath is one positive and one
# negative event; a slow one is several. Successive events of one sign are therefore one inspiration or expiration, at
# their mean time weighted by amplitude:

events = description.events
run = np.sign(events["amplitude"]).diff().ne(0).cumsum()
weight = events["amplitude"].abs()
centre = (events["time"] * weight).groupby(run).sum() / weight.groupby(run).sum()
is_inspiration = events["amplitude"].groupby(run).first() > 0
breaths = centre[is_inspiration].to_numpy()

centred = x.samples - x.samples.mean()  # NeuroKit2 looks for breaths between zero crossings
peaks = rsp_peaks(centred, sampling_rate=frequency)[1]["RSP_Peaks"] / frequency
print(f"{len(breaths)} breaths by the events, {len(peaks)} by NeuroKit2")
if x is simulation:
    print(f"{sum(rate * seconds / 60 for rate in rates):.0f} breaths in the simulation, by minute:", *rates)
print("breaths per minute (events, NeuroKit2):")
minutes = range(int(duration / 60))
counts = [[np.sum(one // 60 == minute) for one in (breaths, peaks)] for minute in minutes]
for minute in minutes:
    print(f"  minute {minute + 1}: {counts[minute][0]}, {counts[minute][1]}")

# %%
# Figure
# ------
#
# Each point is the rate of one breath, 60 s divided by the time since the last one; the line is the mean rate of the
# simulation. The points vary, as the simulated breaths do. A cough or a movement would have events, too: look at the
# events of your own recording before you trust a rate.

import matplotlib.pyplot as plt

from san.figures.style import COLORS

# sphinx_gallery_thumbnail_number = -1
figure, (trace, rate_of_breath) = plt.subplots(2, 1, sharex=True, layout="constrained", height_ratios=[1, 2])
trace.plot(np.arange(x.n_samples) / frequency, x.samples, color=COLORS["input"], linewidth=0.8)
trace.set(ylabel=f"{x.channels[0]} ({x.channel_units[0] or 'a.u.'})")
if x is simulation:
    rate_of_breath.stairs(
        rates, np.arange(len(rates) + 1) * seconds, color="0.6", linewidth=2, baseline=None, label="simulated mean"
    )
for found, marker, color, label in (
    (peaks, "x", COLORS["activation"], "NeuroKit2"),
    (breaths, "o", COLORS["kernel"], "events of the kernel"),
):
    rate_of_breath.plot(
        found[1:], 60 / np.diff(found), marker, color=color, markersize=5, fillstyle="none", label=label
    )
rate_of_breath.set_ylim(bottom=0)
rate_of_breath.set(xlabel="time (s)", ylabel="respiratory rate (1/min)", xlim=(0, duration))
rate_of_breath.legend(frameon=False, loc="lower center", ncols=3)
for axes in (trace, rate_of_breath):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Checks
# ------
#
# The statements of this page hold for its data; leave the checks out for your own recording.

assert all(abs(count[0] - rate) <= 2 for count, rate in zip(counts, rates, strict=True))
