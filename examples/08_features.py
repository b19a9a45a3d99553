"""Features for scikit-learn: two kinds of heartbeats
==================================================

A recording has heartbeats of several kinds. Nobody has labeled them. ``SAN`` turns each beat into a few numbers with a
meaning, the count, amplitude and energy of the events of each kernel, and k-means divides the beats by them.

The figure shows the two learned kernels, the beats of both clusters, and a check that does not use the waveform: the
intervals before and after a beat.
"""

# %%
# In brief, with windows ``X`` of a recording, [examples, samples]:
#
# .. code-block:: python
#
#     from sklearn.cluster import KMeans
#     from sklearn.pipeline import make_pipeline
#     from san import SAN
#
#     sparse = SAN(kernel_size=30, n_kernels=2, activation="phi_pursuit", output="features")
#     pipeline = make_pipeline(sparse, KMeans(2))
#     clusters = pipeline.fit_predict(X)
#
# Here, X has the beats of the shipped electrocardiogram, five minutes of mitdb/208, in windows around the R peaks that
# NeuroKit2 finds. For your own recording, replace the line of ``x`` and delete the checks at the end; everything below
# takes its sampling frequency from ``x``. Your own file: :doc:`/own_files` lists the formats and their options.

import matplotlib.pyplot as plt
import neurokit2 as nk
import numpy as np
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import san
from san.figures.style import COLORS

x = san.example_ecg()  # your own: x = san.read("mine.csv", column="ECG", sampling_frequency=250)
frequency = x.sampling_frequency
detector = {"sampling_rate": round(frequency)}
_, info = nk.ecg_peaks(nk.ecg_clean(x.samples, **detector), **detector)
peaks = info["ECG_R_Peaks"][1:-1]
start, stop = -round(0.167 * frequency), round(0.278 * frequency)  # 167 ms before to 278 ms after the peak, in samples
X = np.stack([x.samples[peak + start : peak + stop] for peak in peaks])
X -= X.mean(1, keepdims=True)  # each window loses its baseline
print(f"{len(X)} beats")

# %%
# The steps of the pipeline: learn kernels and describe each beat by their events, scale the features, cluster. The
# duration of the kernels is a choice: 83 ms is about the duration of a narrow QRS complex.

size = round(0.083 * frequency)  # 83 ms, in samples
sparse = san.SAN(size, 2, "phi_pursuit", max_epochs=2, batch_size=4, output="features", random_state=0)
pipeline = make_pipeline(sparse, StandardScaler(), KMeans(2, n_init=10, random_state=0))
clusters = pipeline.fit_predict(X)
common, rare = np.argsort(-np.bincount(clusters))

features = sparse.transform(X)
for name, column in zip(sparse.get_feature_names_out(), features.T, strict=True):
    means = column[clusters == common].mean(), column[clusters == rare].mean()
    print(f"{name:24} {means[0]:8.2f} in the larger cluster, {means[1]:8.2f} in the smaller one")

# %%
# One kernel is narrow and the other wide, and each cluster is dominated by the events of one of them. The width is
# measured at half of the largest value of the mean beat.


def width(beat):
    """Return the milliseconds that a beat is above half of its largest value, around its peak."""
    below = np.flatnonzero(beat < beat.max() / 2)
    peak = beat.argmax()
    first, last = below[below < peak].max(initial=-1), below[below > peak].min(initial=len(beat))
    return 1000 * (last - first - 1) / frequency


intervals = np.diff(info["ECG_R_Peaks"]) / frequency
before, after = intervals[:-1], intervals[1:]
for name, kind in (("larger", common), ("smaller", rare)):
    own = clusters == kind
    medians = f"median intervals {np.median(before[own]):.2f} s before and {np.median(after[own]):.2f} s after"
    print(f"{name} cluster: {own.sum()} beats, {width(X[own].mean(0)):.0f} ms wide, {medians}")

# %%
# Wide beats with an early onset and a pause after them are the signature of ventricular ectopic beats, which this
# record has many of. The clustering did not see the intervals. It is not a diagnosis: the shipped record has no
# annotations, two clusters were asked for, and fusion beats, which are between both kinds, go to either. The intervals
# come from the detector, whose errors they inherit; intervals above 2.1 times the median, of a pause or a missed beat,
# are outside the axes. See :doc:`/use` for the estimator and :doc:`/beats` for the detection of beats.

# sphinx_gallery_thumbnail_number = -1
colors = {common: COLORS["input"], rare: COLORS["kernel"]}
labels = {kind: f"{(clusters == kind).sum()} beats" for kind in (common, rare)}
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained", width_ratios=(2, 3, 3))
energies = features[:, 2::3]  # of each kernel
for kind in (common, rare):
    own = clusters == kind
    time = 1000 * np.arange(start, stop) / frequency
    low, mid, high = np.percentile(X[own], [10, 50, 90], axis=0)
    middle.fill_between(time, low, high, color=colors[kind], alpha=0.2, linewidth=0)
    middle.plot(time, mid, color=colors[kind], label=labels[kind])
    right.plot(before[own], after[own], ".", color=colors[kind], markersize=4, alpha=0.6, label=labels[kind])
    kernel = sparse.components_[int(np.argmax(energies[own].mean(0)))]
    left.plot(1000 * np.arange(size) / frequency, kernel, color=colors[kind])
ylabel = f"ECG, {x.channel} ({x.unit or 'unknown unit'})"
left.set(title="kernel of most energy", xlabel="time (ms)", ylabel="weight")
middle.set(title="beats: median, 10 to 90 %", xlabel="time from the R peak (ms)", ylabel=ylabel)
right.set(title="intervals, not used", xlabel="before the beat (s)", ylabel="after the beat (s)")
limits = np.array([0.35, 2.1]) * np.median(intervals)  # s
right.set(xlim=limits, ylim=limits)
middle.legend(frameon=False)
for axes in figure.axes:
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Checks
# ------
#
# The statements of this page hold for its data; leave the checks out for your own recording.

assert width(X[clusters == rare].mean(0)) > 1.5 * width(X[clusters == common].mean(0))
assert np.median(before[clusters == rare]) < np.median(before[clusters == common])
assert np.median(after[clusters == rare]) > np.median(after[clusters == common])
