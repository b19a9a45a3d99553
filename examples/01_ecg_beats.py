"""Beats in an ECG without a label
===============================

An electrocardiogram (ECG) repeats one steep wave, the QRS complex, at every heartbeat. One kernel of φ pursuit learns
this wave from five minutes of the recording; nobody marks a beat. The figure at the end shows ten seconds with the
beats that the kernel finds, above those of two detectors that were written for ECGs.
"""

from dataclasses import replace

from scipy.signal import butter, sosfiltfilt

import san
from san.use.beats import find_beats

ecg = san.example_ecg()  # your own file: san.read("mine.csv", column="ECG", sampling_frequency=250)
high_pass = butter(2, 1, "highpass", fs=ecg.sampling_frequency, output="sos")
x = replace(ecg, samples=sosfiltfilt(high_pass, ecg.samples))  # without the baseline, which wanders below 1 Hz

model = san.fit(x, activations=["phi_pursuit"], kernel_sizes=[32], max_epochs=2)
description = model.encode(x)
beats = find_beats(description)
print(description)
print(f"{len(beats)} beats in {x.n_samples / x.sampling_frequency:.0f} s")

# %%
# ``find_beats`` keeps the high events of the kernel: at most one in 200 ms, above the threshold of Pan and Tompkins;
# :doc:`/beats` has the details. The other events describe P waves, T waves and noise by the same
# kernel. The kernel is one wave with a high peak, as an R wave is, and as long as a QRS complex:

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

frequency = x.sampling_frequency
xqrs = xqrs_detect(ecg.samples, frequency, verbose=False)
neurokit = ecg_peaks(ecg.samples, sampling_rate=int(frequency))[1]["ECG_R_Peaks"]


def is_in(found, others):
    """Return which found beats have another beat at most 150 ms away."""
    return np.array([np.abs(others - beat).min() <= 0.15 * frequency for beat in found])


consensus = neurokit[is_in(neurokit, xqrs)]
n_found = is_in(consensus, beats).sum()
in_xqrs, in_neurokit = is_in(beats, xqrs), is_in(beats, neurokit)
only_neurokit = beats[in_neurokit & ~in_xqrs]
print(f"XQRS finds {len(xqrs)} beats, NeuroKit2 {len(neurokit)}, and the kernel {len(beats)}")
print(f"the kernel finds {n_found} of the {len(consensus)} beats of the consensus")
print(f"NeuroKit2, but not XQRS, finds {len(only_neurokit)} more beats of the kernel")
print(f"neither detector finds {(~in_xqrs & ~in_neurokit).sum()} beats of the kernel")
assert n_found >= 0.99 * len(consensus)

# %%
# Figure
# ------
#
# The kernel finds the narrow beats, as both detectors do. XQRS misses some of the wide beats, which the kernel and
# NeuroKit2 find; the event of a wide beat lies on its falling edge. Only annotations could tell which beats are right,
# and this is not a medical device.

import matplotlib.pyplot as plt

from san.figures.style import COLORS

# sphinx_gallery_thumbnail_number = -1
start, stop = 244, 254
assert ((only_neurokit > start * frequency) & (only_neurokit < stop * frequency)).sum() >= 3
figure, (trace, marks) = plt.subplots(2, 1, sharex=True, height_ratios=[4, 1], layout="constrained")
times = np.arange(x.n_samples) / frequency
trace.plot(times, ecg.samples, color=COLORS["input"], linewidth=1)
trace.plot(beats / frequency, ecg.samples[beats], "o", color=COLORS["kernel"], label="beat of the kernel")
trace.set(ylabel="MLII (mV)", xlim=(start, stop), ylim=(-1, 3))
trace.legend(frameon=False, loc="upper right")
detectors = {"XQRS": (xqrs, COLORS["activation"]), "NeuroKit2": (neurokit, COLORS["similarity"])}
for row, (found, color) in enumerate([*detectors.values(), (beats, COLORS["kernel"])]):
    marks.plot(found / frequency, np.full(len(found), row), "|", color=color, markersize=12, markeredgewidth=2)
marks.set(yticks=range(3), yticklabels=[*detectors, "kernel"], ylim=(-0.6, 2.6), xlabel="time (s)")
for axes in (trace, marks):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()
