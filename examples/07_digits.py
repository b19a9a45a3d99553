"""Digits: small kernels of images, and a classifier on reconstructions
====================================================================

How much of an image remains in a few copies of one small kernel? Handwritten digits are described by a
learned kernel of 2 x 2 or 3 x 3 pixels, and a linear classifier is trained once on the digits and once on their
reconstructions.

The figure shows digits with their events, the reconstructions, and the accuracy of both classifiers.
"""

# %%
# The images are the 8 x 8 digits that scikit-learn ships. ``axes`` says that the array has images and not signals.
# Validation φ̄ selects the kernel size. Images of your own are an array, [examples, rows, columns], of intensities from
# 0 to 1; the classifier needs their labels.
# Your own file: :doc:`/own_files` lists the formats and their options.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import san
from san.figures.style import COLORS

pixels, labels = load_digits(return_X_y=True)
x, labels = pixels[:900].reshape(-1, 8, 8) / 16, labels[:900]
axes_of_x = ["examples", "rows", "columns"]
model = san.fit(x[:200], axes=axes_of_x, activations=["phi_pursuit"], kernel_sizes=[2, 3], scaling="none", max_epochs=2)
description = model.encode(x)
print(model.candidates[["activation", "kernel_size", "validation_phi"]].to_string(index=False))
print(model.kernels[0].round(2))

# %%
# The events are a table of rows, columns and amplitudes. An event costs three numbers, so a digit of 64 pixels has room
# for few.

print(description.events.head(3).to_string(index=False))
per_digit = len(description.events) / len(x)
size = model.kernels[0].shape[-1]
stored = model.kernels[0].size + 3 * per_digit
print(f"{per_digit:.1f} events a digit; with the kernel, {stored:.0f} numbers instead of {x[0].size}")

# %%
# The classifier learns from 600 images and is tested on the next 300. The baseline accuracy is that of a classifier
# that always answers the most frequent digit.

reconstructions = description.decode()
accuracy = {}
for name, images in (("pixels", x), ("reconstructions", reconstructions)):
    flat = images.reshape(len(images), -1)
    accuracy[name] = LogisticRegression(max_iter=1000).fit(flat[:600], labels[:600]).score(flat[600:], labels[600:])
accuracy["most frequent digit"] = np.bincount(labels[600:]).max() / 300
for name, value in accuracy.items():
    print(f"{name}: {value:.1%} of 300 images")

# %%
# The reconstructions keep the darkest strokes and lose the others, and the accuracy falls: an 8 x 8 digit has no
# redundancy to spare. Larger images lose less (:doc:`/beyond`). For MNIST (28 x 28 pixels, downloaded once), the same
# experiment is one line, ``python -m san.train dataset=mnist classifier=fnn``, and :doc:`/reproduction` has the paper's
# numbers. A folder of images of your own: ``python -m san.train dataset=images path=FOLDER``.

# sphinx_gallery_thumbnail_number = -1
figure = plt.figure(figsize=(10, 3.2), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(2, 1))
grid = left.subplots(2, 5)
options = {"cmap": "gray_r", "vmin": 0, "vmax": 1}
for digit, (above, below) in enumerate(grid.T, start=605):
    events = description.events[description.events["example"] == digit]
    shown = above.imshow(x[digit], **options)
    above.scatter(events["column"], events["row"], s=20 * events["amplitude"].abs(), color=COLORS["kernel"])
    below.imshow(reconstructions[digit], **options)
    above.set_title(f"{len(events)} events", fontsize="medium")
for axes in grid.flat:
    axes.set(xticks=[], yticks=[])
grid[0, 0].set_ylabel("digit, events")
grid[1, 0].set_ylabel("reconstruction")
left.colorbar(shown, ax=grid, label="intensity (dimensionless)", shrink=0.8)
bars = right.subplots()
colors = [COLORS["input"], COLORS["reconstruction"], "0.6"]
drawn = bars.barh(list(accuracy), [100 * value for value in accuracy.values()], color=colors)
bars.bar_label(drawn, fmt="%.0f %%", padding=3)
bars.set(xlabel="test accuracy (%)", xlim=(0, 115))
bars.invert_yaxis()
bars.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Checks
# ------
#
# The statements of this page hold for its data; leave the checks out for your own recording.

assert stored < x[0].size / 2
assert accuracy["most frequent digit"] + 0.3 < accuracy["reconstructions"] < accuracy["pixels"]
