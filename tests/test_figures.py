import logging
import re
import unicodedata
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import torch
from conftest import choices
from matplotlib.axes import Axes
from matplotlib.text import Text

from san.activations import Extrema
from san.cli.parts import instantiate
from san.extensions.recovery import Recovery
from san.figures import forward_pass, kernels, phi_per_epoch
from san.figures.kernels import draw_kernels
from san.figures.planted import draw_planted
from san.figures.style import MAX_DRAWN_KERNELS, Run, figure, method_color, save, styled
from san.figures.sweep import draw_surface, draw_sweep
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
        best_epoch=2,
        sampling_frequency=100.0 if n_dims == 1 else None,
        units="amplitude (SD)",
    )


def check(drawn, path):
    for axes in panels(drawn):
        assert axes.get_title(loc="left")
        assert not axes.get_title()
        if not axes.images:
            assert axes.get_ylabel()
    if not all(axes.images for axes in panels(drawn)):
        assert any(axes.get_xlabel() for axes in drawn.axes)
    if heading := drawn.get_suptitle():
        (text,) = (text for text in drawn.texts if text.get_text() == heading)
        assert (text.get_ha(), text.get_position()[0]) == ("left", 0.01)
    save(drawn, path)
    png, pdf = (path.with_suffix(f".{suffix}").read_bytes() for suffix in ("png", "pdf"))
    assert png.startswith(b"\x89PNG")
    assert pdf.startswith(b"%PDF")
    assert len(list(path.parent.iterdir())) == 2


def test_the_text_of_a_pdf_is_text_in_an_embedded_font(tmp_path):
    save(forward_pass.draw(finished_run(1, [8])), tmp_path / "figure")
    pdf = (tmp_path / "figure.pdf").read_bytes()
    assert b"/Subtype /CIDFontType2" in pdf or b"/Subtype /TrueType" in pdf
    assert b"/FontFile2" in pdf
    assert b"/Subtype /Type3" not in pdf


def panels(drawn):
    """Return the axes of a figure that are not colour bars."""
    return [axes for axes in drawn.axes if axes.get_label() != "<colorbar>"]


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("sizes", [[5], [5, 8]])
@pytest.mark.parametrize("name", choices("figure"))
def test_every_figure_draws_with_labels(compose, tmp_path, name, n_dims, sizes):
    (draw,) = instantiate(compose(f"figure=[{name}]"), "figure").values()
    check(draw(finished_run(n_dims, sizes)), tmp_path / "figure")


def texts(drawn):
    """Return the titles of a figure and of its panels."""
    titles = [drawn.get_suptitle()]
    return titles + [axes.get_title() or axes.get_title(loc="left") for axes in drawn.axes]


def in_line(text):
    """Return a text with the digits of superscripts as ordinary digits."""
    return unicodedata.normalize("NFKC", text)


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
    drawn = [int(number) for text in said for number in re.findall(r"^kernel \D*(\d+)", in_line(text))]
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


def test_equal_figures_are_equal_files(tmp_path):
    for name in ("one", "two"):
        save(forward_pass.draw(finished_run(1, [5, 8])), tmp_path / name)
    for suffix in ("png", "pdf"):
        one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two


def test_a_dollar_sign_in_a_name_begins_no_formula(tmp_path):
    name = "$a\\frac$"  # no formula that can be drawn
    run = replace(finished_run(1, [5, 8]), name=name, example=torch.randn(2, 200), channels=(name, "other"))
    run = replace(run, network=SparselyActivatedNetwork([5, 8], Extrema(), 1, channels=2), units=name)
    for draw in (forward_pass.draw, phi_per_epoch.draw, kernels.draw):
        drawn = draw(run)
        save(drawn, tmp_path / draw.__module__)
        named = [text for text in drawn.findobj(Text) if "$" in text.get_text()]
        assert named
        assert all(name in text.get_text() and not text.get_parse_math() for text in named)


@pytest.mark.parametrize("setting", ["figure.autolayout", "figure.constrained_layout.use"])
def test_the_files_of_a_figure_do_not_depend_on_the_users_layout(tmp_path, setting):
    for used in (False, True):
        with matplotlib.rc_context({setting: used}):
            save(forward_pass.draw(finished_run(1, [5, 8])), tmp_path / f"{used}")
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"True.{suffix}").read_bytes() == (tmp_path / f"False.{suffix}").read_bytes()


def test_the_numbers_of_a_logarithmic_axis_are_powers(tmp_path):
    @styled
    def draw():
        drawn = figure(2, 2)
        drawn.add_subplot().loglog([1, 1000], [1, 1000])
        return drawn

    drawn = draw()
    save(drawn, tmp_path / "powers")
    powers = [text for text in drawn.axes[0].get_yticklabels() if "10^" in text.get_text()]
    assert powers
    assert all(text.get_parse_math() for text in powers)


def signal_and_kernels(drawn):
    """Return the panels over the time of the signal and those of the kernels."""
    of_kernels = [axes for axes in panels(drawn) if axes.get_title(loc="left").startswith("kernel ")]
    return [axes for axes in panels(drawn) if axes not in of_kernels], of_kernels


def test_kernels_have_a_time_axis_of_their_own():
    drawn = forward_pass.draw(finished_run(1, [5, 8]))
    drawn.draw_without_rendering()
    of_signal, of_kernels = signal_and_kernels(drawn)
    assert {axes.get_xlim() for axes in of_signal} == {(0.0, 1.99)}
    assert (
        len({axes.get_position().x0 for axes in of_signal}) == len({axes.get_position().x1 for axes in of_signal}) == 1
    )
    for axes, duration in zip(of_kernels, (0.04, 0.07), strict=True):
        assert axes.get_xlabel() == "time (s)"
        assert duration < axes.get_xlim()[1] < 1.2 * duration
        assert axes.get_position().width > 0.2
        assert all(label.get_text() for label in axes.get_xticklabels())
    numbered = [axes for axes in of_signal if axes.xaxis.get_tick_params()["labelbottom"]]
    assert [axes.get_xlabel() for axes in numbered] == ["time (s)"]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_deflection_of_a_kernel_is_drawn_upwards_with_activations_of_its_sign(sign):
    run = finished_run(1, [5, 8])
    with torch.no_grad():
        run.network.weight[0] = sign * torch.tensor([0, 0, 0.1, 0.2, 0.9, 0.2, -0.3, 0])
    drawn = forward_pass.draw(run)
    of_signal, of_kernels = signal_and_kernels(drawn)
    atom = of_kernels[0].lines[1].get_ydata()
    assert atom.max() == pytest.approx(0.9)
    maps = run.network.encode(run.example.unsqueeze(0))[0, 0]
    activations = next(axes for axes in of_signal if "activations" in axes.get_title(loc="left"))
    assert activations.get_ylabel() == "activation (SD)"
    assert np.allclose(activations.lines[-1].get_ydata(), sign * maps[maps != 0].detach().numpy())
    assert np.allclose(draw_kernels(run.network, "mine", None).axes[0].lines[1].get_ydata(), atom)


@pytest.mark.parametrize("n_dims", [1, 2])
def test_a_kernel_without_activations_has_no_row(n_dims):
    run = finished_run(n_dims, [5, 5, 5])
    with torch.no_grad():
        run.network.weight[1] = 0
    drawn = forward_pass.draw(run)
    assert drawn.get_suptitle().endswith("no activations of kernel 1")
    said = [in_line(text) for text in texts(drawn) if text.startswith("activations")]
    assert ["(0)" in said[0], "(2)" in said[1], len(said)] == [True, True, 2]


def test_images_of_one_quantity_share_a_scale_and_a_color_bar():
    drawn = forward_pass.draw(finished_run(2, [5, 8]))
    bars = [axes for axes in drawn.axes if axes.get_label() == "<colorbar>"]
    assert [bar.get_xlabel() for bar in bars] == [
        "amplitude (SD)", "weight", "similarity", "activation (SD)", "amplitude (SD)", "amplitude (SD)",
    ]  # fmt: skip
    limits = {}
    for axes in panels(drawn):
        limits.setdefault(axes.get_title(loc="left").split()[0], set()).add(axes.images[0].get_clim())
    assert all(len(own) == 1 for own in limits.values())
    assert limits["input"] == limits["reconstruction"] == limits["partial"]


@pytest.mark.parametrize(("phis", "best"), [([0.9, 0.5, 0.6], 2), ([0.7], 1), ([None, 0.8, None, 0.4], 4)])
def test_epochs_count_from_1_and_the_legend_names_the_best(phis, best):
    drawn = phi_per_epoch.draw(replace(finished_run(1, [5]), phi_per_epoch=phis, best_epoch=best))
    drawn.draw_without_rendering()
    (axes,) = drawn.axes
    first, last = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if first <= tick <= last]
    assert ticks
    assert all(tick == round(tick) and 1 <= tick <= len(phis) for tick in ticks)
    assert axes.lines[1].get_xdata() == best
    assert axes.lines[0].get_ydata()[list(axes.lines[0].get_xdata()).index(best)] == phis[best - 1]
    (legend,) = drawn.legends
    assert legend.get_texts()[1].get_text() == f"best epoch {best}: φ̄ = {phis[best - 1]:.3f}"
    assert legend.get_window_extent().y1 <= axes.get_window_extent().y0  # not over the curve


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
    check(draw_sweep(rows), tmp_path / "sweep")


def test_the_sweep_names_the_best_model_and_clips_what_would_squeeze_the_others():
    good = [row(kernel_size=size, validation_phi=0.4 + size / 100) for size in (4, 8)]
    bad = [row(kernel_size=size, validation_phi=size * 10.0, activation="identity") for size in (4, 8)]
    (axes,) = draw_sweep([*good, *bad]).axes
    name, best, above = axes.get_title(loc="left").split("\n")
    assert (name, best) == ("mine", "best: Extrema, m = 4, φ̄ = 0.440")
    assert above.replace("\xa0", " ") == "▲ above the axis: Identity 40.00 to 80.00"
    low, high = axes.get_ylim()
    assert low < 0.44
    assert high == pytest.approx(1.1)
    (triangles,) = (line for line in axes.lines if line.get_marker() == "^")
    assert list(triangles.get_xdata()) == [4, 8]
    (axes,) = draw_sweep(good).axes
    assert "above" not in axes.get_title(loc="left")
    assert axes.get_ylim()[1] < 0.5


def test_the_surface_names_the_best_cell_of_each_panel():
    rows = [row(kernel_size=size, n_kernels=n, validation_phi=size / 10 + n) for size in (4, 8) for n in (1, 2)]
    drawn = draw_surface([*rows, row(kernel_size=8, n_kernels=2, validation_phi=90.0, seed=1)])
    assert texts(drawn)[1] == "mine, Extrema\nbest: m = 4, 1 kernel, φ̄ = 1.400"
    assert drawn.axes[0].images[0].get_clim() == pytest.approx((1.4, 2.8))


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


def test_writing_a_figure_reports_nothing(tmp_path, caplog):
    drawn = figure(2, 2)
    drawn.suptitle("φ̄")
    with caplog.at_level(logging.INFO):
        save(drawn, tmp_path / "empty")
    assert not caplog.records


def test_activations_have_distinct_colors():
    names = [*choices("activation"), "mine", "yours"]
    assert len({method_color(name, names) for name in names}) == len(names)


def test_the_kernels_of_color_images_share_a_scale_and_leave_no_room_for_a_color_bar():
    network = SparselyActivatedNetwork([3, 3], Extrema(), 2, channels=3)
    first, second = network.kernels
    with torch.no_grad():
        second.copy_(first / 10)
    drawn = draw_kernels(network, "mine", None)
    bright, dim = (np.asarray(axes.images[0].get_array()) - 0.5 for axes in drawn.axes)
    assert np.abs(bright).max() == pytest.approx(0.5)
    assert np.allclose(dim, bright / 10)
    assert drawn.get_suptitle() == "mine\nin color, gray for zero"
    drawn.draw_without_rendering()
    assert min(axes.get_position().y0 for axes in drawn.axes) < 0.07
