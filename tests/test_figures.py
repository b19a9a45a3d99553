import re

import numpy as np
import pytest
import torch
from conftest import choices
from matplotlib.axes import Axes

from san.activations import Extrema
from san.cli.parts import instantiate
from san.extensions.recovery import Recovery
from san.figures.kernels import draw_kernels
from san.figures.planted import draw_planted
from san.figures.style import MAX_DRAWN_KERNELS, Run, method_color, save
from san.figures.sweep import draw_sweep
from san.networks import SparselyActivatedNetwork


def finished_run(n_dims, sizes):
    torch.manual_seed(0)
    space = (200,) if n_dims == 1 else (20, 20)
    return Run(
        name="mine",
        activation="extrema",
        network=SparselyActivatedNetwork(sizes, Extrema(), n_dims),
        example=torch.randn(1, *space),
        phi_per_epoch=[0.9, 0.5, 0.6],
        best_epoch=1,
        sampling_frequency=100.0 if n_dims == 1 else None,
        units="amplitude (SD)",
    )


def check(drawn, path):
    for axes in drawn.axes:
        assert axes.get_title() or axes.get_title(loc="left")
        if not axes.images:
            assert axes.get_ylabel()
    if not all(axes.images for axes in drawn.axes):
        assert any(axes.get_xlabel() for axes in drawn.axes)
    save(drawn, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("sizes", [[5], [5, 8]])
@pytest.mark.parametrize("name", choices("figure"))
def test_every_figure_draws_with_labels(compose, tmp_path, name, n_dims, sizes):
    (draw,) = instantiate(compose(f"figure=[{name}]"), "figure").values()
    check(draw(finished_run(n_dims, sizes)), tmp_path / "figure.png")


def texts(drawn):
    """Return the titles of a figure and of its panels."""
    titles = [drawn.get_suptitle()]
    return titles + [axes.get_title() or axes.get_title(loc="left") for axes in drawn.axes]


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("name", ["forward_pass", "kernels"])
def test_of_many_kernels_those_with_the_most_energy_are_drawn(compose, caplog, name, n_dims):
    (draw,) = instantiate(compose(f"figure=[{name}]"), "figure").values()
    run = finished_run(n_dims, [5] * (MAX_DRAWN_KERNELS + 8))
    strong = [1, 4, *range(8, 6 + MAX_DRAWN_KERNELS)]
    with torch.no_grad():
        run.network.weight.mul_(0.1)
        run.network.weight[strong] *= 50
    caplog.set_level("INFO")
    said = texts(draw(run))
    note = f"the {MAX_DRAWN_KERNELS} of {MAX_DRAWN_KERNELS + 8} kernels with the most energy"
    assert any(note in text for text in said)
    assert note in caplog.text
    drawn = [int(number) for text in said for number in re.findall(r"^kernel \D*(\d+)", text)]
    assert drawn == strong


@pytest.mark.parametrize("name", ["forward_pass", "kernels"])
def test_few_kernels_are_all_drawn_without_a_note(compose, caplog, name):
    (draw,) = instantiate(compose(f"figure=[{name}]"), "figure").values()
    caplog.set_level("INFO")
    said = texts(draw(finished_run(1, [5] * 3)))
    assert len([text for text in said if text.startswith("kernel ")]) == 3
    assert not any("energy" in text for text in [*said, caplog.text])


def test_kernels_of_a_bank_are_drawn_evenly_spaced():
    bank = SparselyActivatedNetwork(list(range(1, 101)), Extrema(), 1, n_models=100)
    said = texts(draw_kernels(bank, "mine", None))
    assert said[0] == f"mine: {MAX_DRAWN_KERNELS} of 100 kernels, evenly spaced from the first to the last"
    assert (said[1], said[-1]) == ("kernel 0, m = 1 samples", "kernel 99, m = 100 samples")


def row(**values):
    common = {"dataset": "mine", "activation": "extrema", "kernel_size": 8, "seed": 0, "validation_phi": 0.5}
    return common | values


@pytest.mark.parametrize(
    "rows",
    [
        [row()],
        [row(kernel_size=size, validation_phi=1 / size, seed=seed) for size in range(1, 40) for seed in (0, 1)],
        [row(kernel_size="8+9"), row(kernel_size=10), row(dataset="other", activation="mine")],
    ],
    ids=["one", "many", "mixed"],
)
def test_sweep_draws_whatever_was_swept(tmp_path, rows):
    check(draw_sweep(rows), tmp_path / "sweep.png")


@pytest.mark.parametrize("n_dims", [1, 2])
def test_planted_kernels_are_drawn_over_the_learned_ones(n_dims):
    kernel = torch.arange(1.0, 4**n_dims + 1).view([4] * n_dims)
    atom = -2 * kernel.roll(1, 0)
    atom[0] = 0
    drawn = draw_planted([kernel], [torch.zeros(3), atom], [Recovery(1, 0.9, (1, 0)[:n_dims], 0.8)], "mine")
    axes = drawn.findobj(Axes)
    if n_dims == 1:
        planted, learned = (line.get_ydata() for line in axes[0].lines[1:])
        title, labels = axes[0].get_title(loc="left"), (axes[0].get_xlabel(), axes[0].get_ylabel())
        assert labels == ("time (samples)", "weight")
    else:
        planted, learned = (one.images[0].get_array().filled(np.nan) for one in axes)
        title = drawn.subfigs[0].get_suptitle()
    np.testing.assert_array_equal(planted, kernel)
    assert np.isnan(learned[-1]).all()
    ratio = learned[:-1] / kernel[:-1].numpy()
    np.testing.assert_allclose(ratio, ratio.flat[0])
    assert ratio.flat[0] > 0
    assert title.startswith("planted kernel 0, learned kernel 1:\ncorrelation 0.900")


def test_activations_have_distinct_colors():
    names = [*choices("activation"), "mine", "yours"]
    assert len({method_color(name, names) for name in names}) == len(names)
