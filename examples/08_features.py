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
#     pipeline = make_pipeline(SAN(30, n_kernels=2, activation="phi_pursuit", output="features"), KMeans(2))
#     clusters = pipeline.fit_predict(X)
#
# Here, X has the beats of the shipped electrocardiogram, five minutes of mitdb/208, in windows around the R peaks that
# NeuroKit2 finds. For a file of your own, ``x = san.read("mine.csv")``.

import matplotlib.pyplot as plt
import neurokit2 as nk
import numpy as np
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import san
from san.figures.style import COLORS

x = san.example_ecg()
rate = int(x.sampling_frequency)
_, info = nk.ecg_peaks(nk.ecg_clean(x.samples, sampling_rate=rate), sampling_rate=rate)
peaks = info["ECG_R_Peaks"][1:-1]
X = np.stack([x.samples[peak - 60 : peak + 100] for peak in peaks])  # 0.44 s
X -= X.mean(1, keepdims=True)  # each window loses its baseline
print(f"{len(X)} beats")

# %%
# The steps of the pipeline: learn kernels and describe each beat by their events, scale the features, cluster.

sparse = san.SAN(30, 2, "phi_pursuit", max_epochs=2, batch_size=4, output="features", random_state=0)
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
    return 1000 * (below[below > peak].min() - below[below < peak].max() - 1) / rate


before, after = np.diff(info["ECG_R_Peaks"])[:-1] / rate, np.diff(info["ECG_R_Peaks"])[1:] / rate
for name, kind in (("larger", common), ("smaller", rare)):
    own = clusters == kind
    medians = f"median intervals {np.median(before[own]):.2f} s before and {np.median(after[own]):.2f} s after"
    print(f"{name} cluster: {own.sum()} beats, {width(X[own].mean(0)):.0f} ms wide, {medians}")
assert width(X[clusters == rare].mean(0)) > 1.5 * width(X[clusters == common].mean(0))
assert np.median(before[clusters == rare]) < np.median(before[clusters == common])
assert np.median(after[clusters == rare]) > np.median(after[clusters == common])

# %%
# Wide beats with an early onset and a pause after them are the signature of ventricular ectopic beats, which this
# record has many of. The clustering did not see the intervals. It is not a diagnosis: the shipped record has no
# annotations, two clusters were asked for, and fusion beats, which are between both kinds, go to either. The intervals
# come from the detector, whose errors they inherit. See :doc:`/use` for the estimator and :doc:`/beats` for the
# detection of beats.

# sphinx_gallery_thumbnail_number = -1
colors = {common: COLORS["input"], rare: COLORS["kernel"]}
labels = {kind: f"{(clusters == kind).sum()} beats" for kind in (common, rare)}
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained", width_ratios=(2, 3, 3))
energies = features[:, 2::3]  # of each kernel
for kind in (common, rare):
    own = clusters == kind
    time = 1000 * np.arange(-60, 100) / rate
    low, mid, high = np.percentile(X[own], [10, 50, 90], axis=0)
    middle.fill_between(time, low, high, color=colors[kind], alpha=0.2, linewidth=0)
    middle.plot(time, mid, color=colors[kind], label=labels[kind])
    right.plot(before[own], after[own], ".", color=colors[kind], markersize=4, alpha=0.6, label=labels[kind])
    kernel = sparse.components_[int(np.argmax(energies[own].mean(0)))]
    left.plot(1000 * np.arange(30) / rate, kernel, color=colors[kind])
left.set(title="kernel of most energy", xlabel="time (ms)", ylabel="weight")
middle.set(title="beats: median, 10 to 90 %", xlabel="time from the R peak (ms)", ylabel="ECG, MLII (mV)")
right.set(title="intervals, not used", xlabel="before the beat (s)", ylabel="after the beat (s)")
right.set(xlim=(0.2, 1.2), ylim=(0.2, 1.2))
middle.legend(frameon=False)
for axes in figure.axes:
    axes.spines[["top", "right"]].set_visible(False)
plt.show()
