"""The respiratory rate from the events of one kernel
==================================================

A belt around the chest measures respiration, whose rate changes. One kernel learns a part of a breath: its positive
events are inspirations and its negative events expirations, at any rate. The time from one inspiration to the next
gives the rate. The figure at the end shows it beside the simulated rate and that of NeuroKit2's peak detector.
"""

import numpy as np
from neurokit2 import rsp_peaks, rsp_simulate

import san

frequency, seconds = 25, 60  # Hz, of each rate
rates = [12, 18, 24, 15]  # breaths per minute
parts = [
    rsp_simulate(seconds, sampling_rate=frequency, respiratory_rate=rate, random_state=0, random_state_distort=0)
    for rate in rates
]
x = np.concatenate(parts)  # your own file: x = san.read("mine.csv", column="RSP", sampling_frequency=25).samples

model = san.fit(
    x,
    sampling_frequency=frequency,
    activations=["phi_pursuit"],
    kernel_sizes=[20, 30, 40, 60],
    scaling="all",
    max_epochs=5,
)
description = model.encode(x)
print(description)
description.plot(start=40 * frequency, stop=80 * frequency)

# %%
# The simulation varies the time, the amplitude and the pauses of each breath. A fast breath is one positive and one
# negative event; a slow one is several. Successive events of one sign are therefore one inspiration or expiration, at
# their mean time weighted by amplitude:

events = description.events
run = np.sign(events["amplitude"]).diff().ne(0).cumsum()
weight = events["amplitude"].abs()
centre = (events["time"] * weight).groupby(run).sum() / weight.groupby(run).sum()
is_inspiration = events["amplitude"].groupby(run).first() > 0
breaths = centre[is_inspiration].to_numpy()

peaks = rsp_peaks(x, sampling_rate=frequency)[1]["RSP_Peaks"] / frequency
planted = sum(rate * seconds / 60 for rate in rates)
print(f"{len(breaths)} breaths by the events, {len(peaks)} by NeuroKit2, {planted:.0f} in the simulation")
print("breaths per minute (simulation, events, NeuroKit2):")
for minute, rate in enumerate(rates):
    counts = [np.sum((one >= minute * seconds) & (one < (minute + 1) * seconds)) for one in (breaths, peaks)]
    print(f"  minute {minute + 1}: {rate}, {counts[0]}, {counts[1]}")
    assert abs(counts[0] - rate) <= 2

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
trace.plot(np.arange(len(x)) / frequency, x, color=COLORS["input"], linewidth=0.8)
trace.set(ylabel="respiration (a.u.)")
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
rate_of_breath.set(xlabel="time (s)", ylabel="respiratory rate (1/min)", ylim=(0, 36), xlim=(0, len(rates) * seconds))
rate_of_breath.legend(frameon=False, loc="lower center", ncols=3)
for axes in (trace, rate_of_breath):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()
