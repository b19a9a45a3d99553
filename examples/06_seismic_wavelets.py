"""The wavelet of seismic traces, and the reflectors
=================================================

A seismic trace has a wavelet at the time of each reflector, times its reflectivity: the convolutional model (Robinson,
Geophysics 22(4), 1957). Neither the wavelet nor the reflectors are known. One kernel of φ pursuit learns the wavelet
from the traces, and its events are reflectors. The figure at the end shows the learned wavelet beside the true one, and
the events of a trace beside its planted reflectors. An echo of a sound is described in the same way.
"""

import numpy as np

rng = np.random.default_rng(0)
frequency, n_traces, n_samples = 500, 20, 1000  # Hz
a = (np.pi * 25 * np.arange(-30, 31) / frequency) ** 2
ricker = (1 - 2 * a) * np.exp(-a)  # of 25 Hz
reflectivity = rng.laplace(size=(n_traces, n_samples)) * (rng.random((n_traces, n_samples)) < 0.01)
traces = np.stack([np.convolve(one, ricker, "same") for one in reflectivity])
noise = 0.1 * traces.std()
traces += noise * rng.standard_normal(traces.shape)

# %%
# The simulation has a Ricker wavelet of 25 Hz (Ricker, Geophysics 18(1), 1953) at 1 % of the samples, and noise of a
# tenth of the deviation of the traces. Your own traces are an array, [traces, samples], or a long one,
# ``x = san.read("trace.wav")``.
#
# The learned kernel depends on the initial one, and may be another than the wavelet. Three trainings start from
# different ones, and φ̄ on the last traces selects a model; the true wavelet is not used.

import san

options = {"activations": ["phi_pursuit"], "kernel_sizes": [31, 41], "scaling": "all", "max_epochs": 10}
models = [san.fit(traces, sampling_frequency=frequency, **options, random_state=seed) for seed in range(3)]
phis = [model.candidates["validation_phi"].min() for model in models]
model = models[int(np.argmin(phis))]
description = model.encode(traces)
print("validation φ̄ of the three models:", *(f"{phi:.3f}" for phi in phis))
print(model, description, sep="\n")

# %%
# The sign, the size and the shift of a wavelet cannot be known: a reflectivity of the other sign, another size or
# another time gives the same traces. The learned wavelet is shifted to its largest correlation with the true one, and
# scaled to a peak of 1.

kernel = model.kernels[0]
correlations = np.correlate(ricker, kernel, "full") / np.linalg.norm(ricker) / np.linalg.norm(kernel)
shift = int(correlations.argmax()) - (len(kernel) - 1)  # of the first sample of the kernel in the wavelet
correlation = correlations.max()
print(f"kernel of {len(kernel)} samples, correlation with the true wavelet {correlation:.4f}")
assert correlation > 0.99

# %%
# The events are compared with the reflectors that are stronger than twice the noise. Weaker ones are in the noise, and
# two reflectors within a wavelet may become one event.

events = description.events.copy()
events["sample"] += -shift - description.centres[0] + len(ricker) // 2  # the peak of the wavelet
events["reflectivity"] = events["amplitude"] * kernel.max()


def n_matched(ones, others):
    """Return how many of the first have one of the others at most 4 ms away, in the same trace."""
    return sum(bool((np.abs(others[others[:, 0] == trace, 1] - sample) <= 2).any()) for trace, sample in ones)


strong = np.argwhere(np.abs(reflectivity) > 2 * noise)
found = events.loc[events["reflectivity"].abs() > 2 * noise, ["example", "sample"]].to_numpy()
n_found, n_right = n_matched(strong, found), n_matched(found, np.argwhere(reflectivity != 0))
print(f"{n_found} of {len(strong)} strong reflectors have an event at most 4 ms away")
print(f"{n_right} of {len(found)} strong events have a reflector at most 4 ms away")

# %%
# Figure
# ------
#
# The learned wavelet lies on the true one. The trace is that with the most reflectors: the isolated ones have an event
# of their reflectivity, and those that are nearer than a wavelet share one or more events.

import matplotlib.pyplot as plt

from san.figures.style import COLORS

# sphinx_gallery_thumbnail_number = -1
names = [["wavelet", "trace"], ["wavelet", "reflectors"]]
figure, panels = plt.subplot_mosaic(names, width_ratios=[2, 3], layout="constrained")
true = {"color": COLORS["input"], "linewidth": 4, "alpha": 0.5}
milliseconds = 1000 / frequency
panels["wavelet"].plot(milliseconds * np.arange(-30, 31), ricker, **true, label="true")
learned = milliseconds * (np.arange(len(kernel)) + shift - 30)
panels["wavelet"].plot(learned, kernel / kernel.max(), color=COLORS["kernel"], label="learned")
panels["wavelet"].set(xlabel="time (ms)", ylabel="amplitude", ylim=(-0.6, 1.3), title=f"correlation {correlation:.4f}")
index = int((reflectivity != 0).sum(1).argmax())
times = milliseconds * np.arange(n_samples)
panels["trace"].plot(times, traces[index], color=COLORS["input"], linewidth=1)
panels["trace"].set(ylabel="trace (a.u.)", xlim=(0, 2000))
planted = reflectivity[index] != 0
panels["reflectors"].vlines(times[planted], 0, reflectivity[index, planted], **true, label="planted")
own = events[events["example"] == index]
panels["reflectors"].vlines(milliseconds * own["sample"], 0, own["reflectivity"], COLORS["kernel"], label="event")
panels["reflectors"].axhline(0, color="0.6", linewidth=0.5)
panels["reflectors"].margins(y=0.25)
panels["reflectors"].set(xlabel="time (ms)", ylabel="reflectivity (a.u.)", xlim=(0, 2000))
for name in ("wavelet", "reflectors"):
    panels[name].legend(frameon=False, loc="upper right", fontsize="small")
for axes in panels.values():
    axes.spines[["top", "right"]].set_visible(False)
plt.show()
