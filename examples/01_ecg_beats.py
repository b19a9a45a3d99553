"""Beats in an ECG without a label
===============================

An electrocardiogram (ECG) repeats one steep wave, the QRS complex, at every heartbeat. One of two kernels of φ pursuit
learns this wave from five minutes of the recording; nobody marks a beat. The figure at the end shows ten seconds with
the beats that the kernel finds, drawn above the beats of two detectors that were written for ECGs.

For your own ECG, replace the commented line and delete the checks at the end; leave ``sampling_frequency`` out if the
file has a column of times. Your own file: :doc:`/own_files` lists the formats and their options.
"""

from dataclasses import replace

from scipy.signal import butter, sosfiltfilt

import san
from san.use.beats import find_beats

ecg = san.example_ecg()  # your own file: ecg = san.read("mine.csv", column="ECG", sampling_frequency=250)
frequency = ecg.sampling_frequency
high_pass = butter(2, 1, "highpass", fs=frequency, output="sos")
x = replace(ecg, samples=sosfiltfilt(high_pass, ecg.samples))  # without the baseline, which wanders below 1 Hz

model = san.fit(
    x,
    activations=["phi_pursuit"],
    kernel_sizes=[round(0.09 * frequency)],  # 90 ms, in samples
    n_kernels=2,
    max_epochs=2,
)
description = model.encode(x)
beats = find_beats(description)
print(description)
print(f"{len(beats)} beats in {x.n_samples / frequency:.0f} s")

# %%
# The high-pass filter at 1 Hz removes the baseline, which would make more events, and some of them would count as
# beats. :doc:`/beats` has other numbers for this record, because it does not filter it. The duration of the kernel is
# a choice: 90 ms is about the duration of a QRS complex.
#
# ``find_beats`` is for ECGs. It takes the kernel with the steepest wave, and keeps its high events: at most one in
# 200 ms, above the threshold of Pan and Tompkins; :doc:`/beats` has the details. The other events describe P waves,
# T waves and noise.
#
# Look at the beats of your own recording before you use them. Beats within about 0.2 s of the first or the last sample
# may be parts of waves. **Too many beats**, such as twice as many as other detectors find: the kernel also describes
# the T waves. This happens with a single kernel, which has to describe all waves; take two or more. **Too few**: wide
# beats are described by the other kernel, as some are here.

model.plot()

# %%
# Comparison with two detectors
# -----------------------------
#
# The shipped record, five minutes of mitdb/208, has no annotations of cardiologists. The reference here is the
# consensus of two independent detectors: the beats that XQRS and NeuroKit2 both find, at most 150 ms apart. It shows
# agreement, not accuracy. For a record with annotations, ``san.use.beats.annotated_beats("mitdb/100", 360)`` reads
# the beats of ``100.atr``, and ``score_beats`` compares; :doc:`/beats` has these scores.

import numpy as np
from neurokit2 import ecg_peaks
from wfdb.processing import xqrs_detect

xqrs = xqrs_detect(ecg.samples, frequency, verbose=False)
neurokit = ecg_peaks(ecg.samples, sampling_rate=int(frequency))[1]["ECG_R_Peaks"]


def is_in(found, others):
    """Return which found beats have another beat at most 150 ms away."""
    return np.array([np.abs(others - beat).min() <= 0.15 * frequency for beat in found])


alone = san.fit(x, activations=["phi_pursuit"], kernel_sizes=[round(0.09 * frequency)], max_epochs=2)
beats_alone = find_beats(alone.encode(x))

consensus = neurokit[is_in(neurokit, xqrs)]
n_found = is_in(consensus, beats).sum()
in_xqrs, in_neurokit = is_in(beats, xqrs), is_in(beats, neurokit)
only_neurokit = beats[in_neurokit & ~in_xqrs]
print(f"XQRS finds {len(xqrs)} beats, NeuroKit2 {len(neurokit)}, and the kernel {len(beats)}")
print(f"the kernel finds {n_found} of the {len(consensus)} beats of the consensus")
print(f"a kernel alone finds {is_in(consensus, beats_alone).sum()} of these, and {len(beats_alone)} beats in all")
print(f"NeuroKit2, but not XQRS, finds {len(only_neurokit)} more beats of the kernel")
print(f"neither detector finds {(~in_xqrs & ~in_neurokit).sum()} beats of the kernel")

# %%
# Figure
# ------
#
# The kernel finds the narrow beats, as both detectors do. XQRS misses some of the wide beats that NeuroKit2 finds, and
# so does the kernel; the event of a wide beat lies on its falling edge. Only annotations could tell which beats are
# right, and this is not a medical device.

import matplotlib.pyplot as plt

from san.figures.style import COLORS

# sphinx_gallery_thumbnail_number = -1
times = np.arange(x.n_samples) / frequency
start = max(0, min(244, times[-1] - 10))  # in seconds; the figure shows ten seconds from here: choose your own
stop = start + 10
is_shown = (times >= start) & (times < stop)
shown_beats = beats[is_shown[beats]]
figure, (trace, marks) = plt.subplots(2, 1, sharex=True, height_ratios=[4, 1], layout="constrained")
trace.plot(times[is_shown], ecg.samples[is_shown], color=COLORS["input"], linewidth=1)
trace.plot(times[shown_beats], ecg.samples[shown_beats], "o", color=COLORS["kernel"], label="beat of the kernel")
trace.margins(y=0.2)
trace.set(ylabel=f"{ecg.channels[0]} ({ecg.channel_units[0] or 'a.u.'})", xlim=(start, stop))
trace.legend(frameon=False, loc="upper right")
detectors = {"XQRS": (xqrs, COLORS["activation"]), "NeuroKit2": (neurokit, COLORS["similarity"])}
for row, (found, color) in enumerate([*detectors.values(), (beats, COLORS["kernel"])]):
    marks.plot(found / frequency, np.full(len(found), row), "|", color=color, markersize=12, markeredgewidth=2)
marks.set(yticks=range(3), yticklabels=[*detectors, "kernel"], ylim=(-0.6, 2.6), xlabel="time (s)")
for axes in (trace, marks):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Checks
# ------
#
# The statements of this page hold for its data; leave the checks out for your own recording.

assert n_found >= 0.95 * len(consensus)
assert is_in(consensus, beats_alone).sum() >= n_found
assert ((only_neurokit > start * frequency) & (only_neurokit < stop * frequency)).sum() >= 1
