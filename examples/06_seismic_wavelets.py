"""The wavelet of seismic traces, and the reflectors
=================================================

A seismic trace has a wavelet at the time of each reflector, times its reflectivity: the convolutional model (Robinson,
Geophysics 22(4), 1957). Neither the wavelet nor the reflectors are known. One kernel of φ pursuit learns the wavelet
from the traces, and its events are reflectors. The figure at the end shows the learned wavelet beside the true one, and
the events of a trace beside its planted reflectors. An echo of a sound is described in the same way.
"""

import numpy as np

rng = np.random.default_rng(0)
simulation_frequency, n_traces, n_samples = 500, 20, 1000  # Hz
a = (np.pi * 25 * np.arange(-30, 31) / simulation_frequency) ** 2
ricker = (1 - 2 * a) * np.exp(-a)  # of 25 Hz
reflectivity = rng.laplace(size=(n_traces, n_samples)) * (rng.random((n_traces, n_samples)) < 0.01)
simulated = np.stack([np.convolve(one, ricker, "same") for one in reflectivity])
noise = 0.1 * simulated.std()
simulated += noise * rng.standard_normal(simulated.shape)

# %%
# The simulation has a Ricker wavelet of 25 Hz (Ricker, Geophysics 18(1), 1953) at 1 % of the samples, and noise of a
# tenth of the deviation of the traces. For your own traces, replace the commented line and delete the checks at the
# end: each column is a trace, or the file has one long trace. The page then skips the comparisons with the simulation.
# Your own file: :doc:`/own_files` lists the formats and their options.
#
# The learned kernel depends on the initial one, and may be another than the wavelet. Three trainings start from
# different ones, and φ̄ on the last traces selects a model; the true wavelet is not used. The durations of the kernels,
# 62 and 82 ms, are a choice: one and a half to two periods of 25 Hz.

import san
from san.data.signal import Signal

simulation = Signal("traces", simulated, simulation_frequency)
x = simulation  # your own file: x = san.read("mine.csv", column="all", sampling_frequency=500)
frequency = x.sampling_frequency
traces = np.atleast_2d(x.samples)  # [traces, samples]: examples of one channel

sizes = [round(0.062 * frequency), round(0.082 * frequency)]  # 62 and 82 ms, in samples
options = {"activations": ["phi_pursuit"], "kernel_sizes": sizes, "scaling": "all", "max_epochs": 10}
options |= {"sampling_frequency": frequency, "axes": ["examples", "time"]}
models = [san.fit(traces, **options, random_state=seed) for seed in range(3)]
phis = [model.candidates["validation_phi"].min() for model in models]
model = models[int(np.argmin(phis))]
description = model.encode(traces)
print("validation φ̄ of the three models:", *(f"{phi:.3f}" for phi in phis))
print(model, description, sep="\n")

# %%
# The sign, the size and the shift of a wavelet cannot be known: a reflectivity of the other sign, another size or
# another time gives the same traces. The learned wavelet is shifted to its largest correlation with the true one, and
# scaled to a peak of 1. The wavelet of your own traces is not known; its peak is the largest weight of the kernel.

kernel = model.kernels[0]
peak = int(kernel.argmax())  # sample of the peak of the wavelet in the kernel
if x is simulation:
    correlations = np.correlate(ricker, kernel, "full") / np.linalg.norm(ricker) / np.linalg.norm(kernel)
    peak = len(ricker) // 2 - (int(correlations.argmax()) - (len(kernel) - 1))
    correlation = correlations.max()
    print(f"kernel of {len(kernel)} samples, correlation with the true wavelet {correlation:.4f}")

# %%
# The events are compared with the reflectors that are stronger than twice the noise. Weaker ones are in the noise, and
# two reflectors within a wavelet may become one event.

events = description.events.copy()
events["sample"] += peak - description.centres[0]  # the peak of the wavelet
events["reflectivity"] = events["amplitude"] * kernel.max()


def n_matched(ones, others):
    """Return how many of the first have one of the others at most 4 ms away, in the same trace."""
    nearest = 0.004 * frequency
    return sum(bool((np.abs(others[others[:, 0] == trace, 1] - sample) <= nearest).any()) for trace, sample in ones)


if x is simulation:
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
index = int((reflectivity != 0).sum(1).argmax()) if x is simulation else 0  # of the trace to draw: choose your own
names = [["wavelet", "trace"], ["wavelet", "reflectors"]]
figure, panels = plt.subplot_mosaic(names, width_ratios=[2, 3], layout="constrained")
true = {"color": COLORS["input"], "linewidth": 4, "alpha": 0.5}
milliseconds = 1000 / frequency
times = milliseconds * np.arange(traces.shape[1])
if x is simulation:
    planted = reflectivity[index] != 0
    panels["wavelet"].plot(milliseconds * np.arange(-30, 31), ricker, **true, label="true")
    panels["wavelet"].set_title(f"correlation {correlation:.4f}")
    panels["reflectors"].vlines(times[planted], 0, reflectivity[index, planted], **true, label="planted")
learned = milliseconds * (np.arange(len(kernel)) - peak)
panels["wavelet"].plot(learned, kernel / kernel.max(), color=COLORS["kernel"], label="learned")
panels["wavelet"].margins(y=0.2)
panels["wavelet"].set(xlabel="time (ms)", ylabel="amplitude")
panels["trace"].plot(times, traces[index], color=COLORS["input"], linewidth=1)
unit = x.channel_units[index] or "a.u."
panels["trace"].set(ylabel=f"trace ({unit})", xlim=(0, milliseconds * traces.shape[1]))
own = events[events["example"] == index]
panels["reflectors"].vlines(milliseconds * own["sample"], 0, own["reflectivity"], COLORS["kernel"], label="event")
panels["reflectors"].axhline(0, color="0.6", linewidth=0.5)
panels["reflectors"].margins(y=0.25)
panels["reflectors"].set(xlabel="time (ms)", ylabel=f"reflectivity ({unit})", xlim=(0, milliseconds * traces.shape[1]))
for name in ("wavelet", "reflectors"):
    panels[name].legend(frameon=False, loc="upper right", fontsize="small")
for axes in panels.values():
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Checks
# ------
#
# The statements of this page hold for its data; leave the checks out for your own recording.

assert correlation > 0.99
