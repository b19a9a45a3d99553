"""The paper in one page
=====================

*Sparsely Activated Networks* (Bizopoulos and Koutsouris, IEEE TNNLS 2020, https://arxiv.org/abs/1907.06592) compares
five activation functions by one number, φ: the length of the vector of the size of a description, CR⁻¹, and its error,
L̃. This page repeats its argument on the electrocardiogram that the package ships.

The first figure shows the activation functions, as Fig. 1 of the paper. The last one shows CR⁻¹ and L̃ of the models
(Fig. 3), φ̄ over the kernel size (Fig. 4) and the selected kernels (Fig. 5). :doc:`/reproduction` has all numbers of
the paper beside their replays.
"""

# %%
# Five activation functions turn a similarity map, of a signal or of an image, into an activation map. For your own
# recording, of at least 2,000 samples, replace the line of ``x`` and delete the checks at the end.
# Your own file: :doc:`/own_files` lists the formats and their options.

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Circle
from sklearn.datasets import load_digits

import san
from san.activations import Extrema, ExtremaPoolIndices, Identity, ReLU, TopKAbsolutes
from san.figures.activation_functions import draw_activations
from san.figures.style import method_color, method_label
from san.use.training import selecting_splits, train_models

x = san.example_ecg()  # your own: x = san.read("mine.csv", column="ECG", sampling_frequency=250)
frequency = x.sampling_frequency
activations = {
    "identity": Identity(),
    "relu": ReLU(),
    "topk_absolutes": TopKAbsolutes(),
    "extrema_pool_indices": ExtremaPoolIndices(),
    "extrema": Extrema(),
}
shown = x.samples[: round(2 * frequency)]  # 2 s
signal = torch.from_numpy(shown - shown.mean())
image = torch.from_numpy(load_digits().images[0] / 16)
draw_activations(activations, signal, image, (round(0.167 * frequency), 3), frequency)  # 167 ms; 3 pixels

# %%
# Each activation function is trained with six kernel sizes, one kernel each, on 35 windows of 1,000 samples; 15
# others give the metrics. The kernel sizes are in samples, as in the paper, and are a choice. For one model,
# ``san.fit(x, activations=["extrema"], kernel_sizes=[60])`` is enough.

sizes = [2, 5, 10, 20, 40, 80]
n_windows = min(50, x.n_samples // 1000)
windows = torch.from_numpy(x.samples[: 1000 * n_windows].reshape(n_windows, 1, 1000))
splits = selecting_splits(windows, 0.3, scaling="example", name=x.name, sampling_frequency=frequency)
overrides = {"trainer.max_epochs": 3, "seed": 0}
models, descriptions = {}, {}
for name in activations:
    models[name] = [trained.model for trained in train_models(name, sizes, overrides, splits)]
    descriptions[name] = [model.encode_scaled(splits.validation) for model in models[name]]

# %%
# φ̄ selects one kernel size for each activation function.

best = {name: int(np.argmin([one.phi for one in descriptions[name]])) for name in activations}
for name, index in best.items():
    one = descriptions[name][index]
    print(
        f"{method_label(name):22} m = {sizes[index]:3}: CR⁻¹ {one.cr_inverse:.2f}, L̃ {one.loss_normalized:.2f}, "
        f"φ̄ {one.phi:.2f}"
    )

# %%
# Identity has the lowest error and stores twice the numbers of the signal: its φ̄ is above 1, the score of an empty
# description. The three sparse activation functions have a lower φ̄ than ReLU. These are three epochs on one record
# with one seed, and the metrics are of the windows that also select; the paper and ``python -m san.reproduce`` train
# longer and test on other windows. φ pursuit, which is not in the paper, has a lower φ̄ (:doc:`/beyond`).

# sphinx_gallery_thumbnail_number = -1
figure = plt.figure(figsize=(10, 6), layout="constrained")
grid = figure.add_gridspec(2, 10, height_ratios=(2, 1))
plane, over_sizes = figure.add_subplot(grid[0, :5]), figure.add_subplot(grid[0, 5:])
plane.add_patch(Circle((0, 0), 1, color="0.92", zorder=0))
plane.text(0.04, 0.04, "φ < 1", color="0.4")
for column, name in enumerate(activations):
    color, label = method_color(name), method_label(name)
    points = [(one.cr_inverse, one.loss_normalized) for one in descriptions[name]]
    plane.plot(*np.transpose(points), "o", color=color, markersize=4, alpha=0.6, label=label)
    plane.plot(*points[best[name]], "o", color=color, markersize=9, markeredgecolor="black")
    over_sizes.plot(sizes, [one.phi for one in descriptions[name]], ".-", color=color)
    kernel = models[name][best[name]].kernels[0]
    axes = figure.add_subplot(grid[1, 2 * column : 2 * column + 2])
    axes.plot(1000 * np.arange(len(kernel)) / frequency, kernel, ".-", color=color, markersize=2)
    axes.set_title(f"{label}, m = {len(kernel)}", fontsize="small")
    axes.set_xlabel("time (ms)")
    axes.set_yticks([])
    if column == 0:
        axes.set_ylabel("kernel (arbitrary unit)")
plane.set(xlabel="CR⁻¹ (dimensionless)", ylabel="L̃ (dimensionless)", xlim=(0, None), ylim=(0, None))
plane.legend(frameon=False, fontsize="small")
over_sizes.axhline(1, color="0.7", linestyle="--")
over_sizes.set(xlabel="kernel size m (samples)", ylabel="φ̄ (dimensionless)", xscale="log")
over_sizes.set_xticks(sizes, sizes)
over_sizes.minorticks_off()
for axes in figure.axes:
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Checks
# ------
#
# The statements of this page hold for its data; leave the checks out for your own recording.

lowest = {name: descriptions[name][index].phi for name, index in best.items()}
assert lowest["identity"] > 1
assert descriptions["identity"][best["identity"]].cr_inverse > 1.9
losses = {name: descriptions[name][index].loss_normalized for name, index in best.items()}
assert min(losses, key=losses.get) == "identity"
assert max(lowest[name] for name in ("topk_absolutes", "extrema_pool_indices", "extrema")) < lowest["relu"]
