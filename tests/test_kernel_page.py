"""The page about the kernels: its numbers against an independent computation, its texts, and its place in a run."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import results

from san.cli.parts import instantiate
from san.data.scale import Scale
from san.data.splits import Splits
from san.data.wfdb_files import find_record, read_channels
from san.extensions.signs import sign_of
from san.extensions.warping import WarpedNetwork
from san.networks import Encoder, SparselyActivatedNetwork
from san.use import kernel_page
from san.use.description import Origin
from san.use.kernel_numbers import energy_explained, kernel_numbers
from san.use.kernel_page import write_kernel_page, write_test_page
from san.use.model import Model

HOSTILE = "<script src='https://a.b/c.js'>alert(1)</script>&\x1b[31m"
VOID = {"meta", "img"}


class Planted(Encoder):
    """Return given maps, whatever the input."""

    def __init__(self, maps):
        super().__init__()
        self.maps = maps

    def encode(self, x, network):
        return self.maps[: len(x)]


def planted(space, sizes, events, *, scale=None, fs=10.0, name="mine", unit="mV"):
    """Return a model with given events, its scaled examples and its kernels; the last kernel never fires."""
    rng = np.random.default_rng(0)
    maps = torch.zeros(3, len(sizes), *space)
    for example, kernel, *place, amplitude in events:
        maps[(example, kernel, *place)] = amplitude
    network = SparselyActivatedNetwork(sizes, Planted(maps), len(space), decoder="adjoint", seed=0)
    kernels = [rng.normal(size=[size] * len(space)).astype(np.float32) for size in sizes]
    with torch.no_grad():
        for weight, kernel in zip(network.kernels, kernels, strict=True):
            weight.copy_(torch.from_numpy(kernel))
    model = Model(
        network,
        scale=scale or Scale("none"),
        activation="extrema",
        origin=Origin(name, ("",), (unit,), fs),
        space=tuple(space),
        loss=F.l1_loss,
        count_weights="samples",
    )
    noise = torch.from_numpy(0.5 * rng.standard_normal((3, 1, *space))).float()
    with torch.no_grad():
        return model, network.decode(maps) + noise, kernels


def placed(events, kernels, space, without=None):
    """Return the sum of all events but those of one kernel, by loops."""
    total = np.zeros((3, *[length + 20 for length in space]))
    for example, kernel, *place, amplitude in events:
        if kernel != without:
            size = len(kernels[kernel])
            at = tuple(slice(p - (size - 1) // 2 + 10, p - (size - 1) // 2 + 10 + size) for p in place)
            total[(example, *at)] += amplitude * kernels[kernel].astype(float)
    return total[(slice(None), *[slice(10, 10 + length) for length in space])]


SIGNAL = [(0, 0, 5, 2.0), (0, 0, 17, -1.0), (0, 0, 40, 3.0), (2, 0, 1, 1.5), (2, 0, 49, 2.0), (1, 1, 20, 4.0)]
IMAGE = [(0, 0, 2, 3, 2.0), (0, 0, 9, 0, -1.0), (2, 0, 4, 4, 1.5), (1, 1, 6, 6, 4.0)]
CASES = {"signal": ((50,), [3, 6, 4], SIGNAL), "image": ((10, 12), [2, 3, 2], IMAGE)}


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_of_a_kernel_are_those_of_a_computation_by_loops(case):
    space, sizes, events = CASES[case]
    scale = Scale("all", 5.0, 0.25)
    model, x, kernels = planted(space, sizes, events, scale=scale)
    description = model.encode_scaled(x)
    samples = x[:, 0].double().numpy()
    energy, whole = (samples**2).sum(), ((samples - placed(events, kernels, space)) ** 2).sum()
    assert energy_explained(description) == pytest.approx(1 - whole / energy, abs=1e-5)
    for kernel, found in enumerate(kernel_numbers(model, description, [0, 1, 2])):
        own = [event for event in events if event[1] == kernel]
        others = placed(events, kernels, space, without=kernel)
        assert found.energy_share == pytest.approx((((samples - others) ** 2).sum() - whole) / energy, abs=1e-5)
        phis = []
        for example in range(3):
            kept = sum(event[0] == example and event[1] != kernel for event in events)
            weights = sum(size ** len(space) for other, size in enumerate(sizes) if other != kernel)
            ratio = (weights + (len(space) + 1) * kept) / samples[0].size
            error = np.abs(samples[example] - others[example]).sum() / np.abs(samples[example]).sum()
            phis.append(np.hypot(ratio, error))
        assert found.phi_without == pytest.approx(np.mean(phis), abs=1e-5)
        assert found.n_events == len(own)
        assert found.n_examples == len({event[0] for event in own})
        assert found.rate == pytest.approx(len(own) / (15 if case == "signal" else 3))
        sign = sign_of(torch.from_numpy(kernels[kernel]))
        assert sorted(found.amplitudes) == pytest.approx(sorted(0.25 * sign * event[-1] for event in own))
        expected = [1.2, 2.3, 4.8] if case == "signal" and kernel == 0 else []
        assert found.intervals.tolist() == pytest.approx(expected)


def test_a_single_kernel_explains_all_that_is_explained_and_an_empty_description_scores_one():
    model, x, _ = planted((50,), [3], [event for event in SIGNAL if event[1] == 0][:3])
    description = model.encode_scaled(x)
    (found,) = kernel_numbers(model, description, [0])
    assert found.phi_without == pytest.approx(1)
    assert found.energy_share == pytest.approx(energy_explained(description))


def test_a_kernel_warped_from_another_costs_one_weight():
    network = WarpedNetwork([9, 9], Planted(torch.zeros(1, 2, 50)), n_scales=2, seed=0)
    origin = Origin("mine")
    model = Model(
        network,
        activation="extrema",
        scale=Scale("none"),
        origin=origin,
        space=(50,),
        loss=F.l1_loss,
        count_weights="samples",
    )
    found = kernel_numbers(model, model.encode_scaled(torch.ones(1, 1, 50)), [0, 1])
    assert [one.phi_without for one in found] == pytest.approx([np.hypot(9 / 50, 1)] * 2)


class Checked(HTMLParser):
    """Parse a page; refuse unbalanced tags, scripts, handlers of events and addresses outside the page."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.ids, self.targets, self.text = [], [], set(), set(), ""

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "iframe", "object")
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        for key, value in attributes:
            assert not key.startswith("on")
            if key in ("src", "href"):
                assert value.startswith(("data:image/png;base64,", "#"))
            if key == "id":
                self.ids.add(f"#{value}")
            if key == "href":
                self.targets.add(value)
        if tag == "img":
            assert dict(attributes)["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data
        if "style" not in self.open:
            self.text += data


def parsed(path):
    text = path.read_text(encoding="utf-8")
    page = Checked()
    page.feed(text)
    assert page.open == []
    assert page.targets == page.ids
    assert not re.search(r"https?:|url\(|@import", re.sub(r"https://a.b/c.js", "", text))
    page.text = " ".join(page.text.split())
    return page


@pytest.mark.parametrize("case", CASES)
def test_the_page_has_the_numbers_and_neither_scripts_nor_other_addresses(tmp_path, case):
    space, sizes, events = CASES[case]
    model, x, _ = planted(space, sizes, events, name=HOSTILE, unit="m<b>V", fs=10.0 if case == "signal" else None)
    description = model.encode_scaled(x)
    for name in ("page.html", "again.html"):
        write_kernel_page(model, description, tmp_path / name)
    page = parsed(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == (tmp_path / "again.html").read_bytes()
    assert "Kernels of <script src='https://a.b/c.js'>alert(1)</script>&\N{REPLACEMENT CHARACTER}[31m" in page.text
    for kernel, found in enumerate(kernel_numbers(model, description, [0, 1, 2])):
        row = page.cells[5 * kernel + 5 : 5 * kernel + 10]
        difference = found.phi_without - description.phi
        assert row[0] == str(kernel)
        assert row[2:] == [
            f"{found.rate:.3g}", f"{100 * found.energy_share:.1f} %", f"{found.phi_without:.3f} ({difference:+.3f})"
        ]  # fmt: skip
    for value in (description.phi, description.cr_inverse, description.loss_normalized):
        assert f"{value:.4f}" in page.text
    assert "It never fires in 3 examples" in page.text
    assert ("events per second" if case == "signal" else "events per example") in page.text
    assert page.text.count("No intervals: no example has two of its events.") == (1 if case == "signal" else 0)
    assert ("Intervals (s): median 2.3" in page.text) == (case == "signal")
    assert row[1] == str(sizes[-1])
    assert ("3 samples, 0.3 s" if case == "signal" else "2 × 2 pixels") in page.text
    phis = description.metrics["phi"]
    assert "median:" in page.text.partition("Kernel 1:")[0]
    assert "median:" not in page.text.partition("Kernel 2:")[2]
    for rank, example in (("best", phis.argmin()), ("worst", phis.argmax())):
        assert f"{rank}: example {example}, φ = {phis[example]:.3f};" in page.text


def test_without_a_sampling_frequency_times_are_in_samples(tmp_path):
    model, x, _ = planted((50,), [3, 6, 4], SIGNAL, fs=None)
    write_kernel_page(model, model.encode_scaled(x), tmp_path / "page.html")
    page = parsed(tmp_path / "page.html")
    assert "events per example" in page.text
    assert "Intervals (samples): median 23" in page.text
    assert "Kernel 0: 3 samples " in page.text


def test_a_recording_in_windows_is_counted_once_and_its_windows_are_named_by_their_start(tmp_path):
    model, x, _ = planted((50,), [3, 6, 4], SIGNAL)
    description = model.encode(x.flatten().double())
    write_kernel_page(model, description, tmp_path / "page.html")
    page = parsed(tmp_path / "page.html")
    assert "The page describes 1 example in 3 windows." in page.text
    worst = description.metrics.iloc[description.metrics["phi"].argmax()]
    assert f"worst: example 0 from {worst['start'] / 10:g} s, φ = {worst['phi']:.3f};" in page.text


def test_a_long_recording_is_drawn_around_its_largest_event(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_page, "MAX_DRAWN_SAMPLES", 20)
    model, x, _ = planted((50,), [3], [(0, 0, 5, 2.0), (0, 0, 25, -3.0), (0, 0, 40, 1.0)])
    panels = kernel_page._Panels(model.encode_scaled(x), ["a", "b", "c"], "amplitude")
    excerpt = panels._excerpt(0, 0)
    assert excerpt.times.tolist() == pytest.approx(np.arange(15, 35) / 10)
    assert excerpt.events.tolist() == [[10]]
    assert np.flatnonzero(excerpt.covered[0]).tolist() == [9, 10, 11]
    assert excerpt.samples[0].tolist() == pytest.approx(x[0, 0, 15:35].tolist())


def test_too_many_kernels_and_examples_are_a_selection_that_the_page_names(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_page, "MAX_TEST_SAMPLES", 100)
    model, x, _ = planted(
        (50,), [3] * 14, [(example, kernel, 20, kernel + 1) for example in (0, 1) for kernel in range(14)]
    )
    splits = Splits("mine", x, x, x, 10.0, scale=Scale("none"))
    write_test_page(model, splits, tmp_path / "page.html")
    page = parsed(tmp_path / "page.html")
    assert "2 of the 3 test examples, evenly spaced; results.json has the metrics of all" in page.text
    assert "the 12 of 14 kernels with the most energy: no others are on this page" in page.text
    assert "test example 2, φ" in page.text
    assert len(page.targets) == 12


def test_a_run_writes_the_page_in_physical_units_with_its_test_metrics(run_train):
    short = ["trainer.max_epochs=1", "kernel_size=30", "logger=[]"]
    folder, _ = run_train("run", *short, "figure=[kernels]")
    page = parsed(folder / "report.html")
    tested = results(folder)["test"]
    for name in ("phi", "cr_inverse", "loss_normalized"):
        assert f"{tested[name]:.4f}" in page.text
    assert "Event amplitude (mV): median" in page.text
    assert "30 samples, 0.0833 s" in page.text


@pytest.mark.parametrize(
    ("arguments", "is_written"),
    [(["figure=[]"], False), (["figure=[]", "report=true"], True), (["report=false", "figure=[kernels]"], False)],
)
def test_the_page_can_be_switched_off(run_train, arguments, is_written):
    folder, _ = run_train("run", "trainer.max_epochs=1", "kernel_size=30", "logger=[]", *arguments, as_user=True)
    assert (folder / "report.html").exists() == is_written


def test_an_unknown_choice_of_the_page_is_one_line(run_train):
    _, said = run_train("run", "report=pdf", fails=True)
    assert said.strip().endswith("report=pdf must be true, false or null")


@pytest.mark.parametrize("scaling", ["example", "all", "none"])
def test_scaled_examples_are_described_as_the_unscaled_ones(scaling):
    torch.manual_seed(0)
    raw = 3 + 2 * torch.randn(3, 1, 60, dtype=torch.float64)
    scale = Scale.fit(scaling, [raw], [-1, 1], "x")
    model, _, _ = planted((60,), [3, 6], [(0, 0, 5, 2.0), (1, 1, 30, 1.0)], scale=scale)
    scaled = scale.apply(raw, "x").float()
    description = model.encode_scaled(scaled, scale.statistics(raw, "x"))
    assert np.allclose(description.recordings, raw, atol=1e-5)
    assert np.allclose(description.events["amplitude"], [2 * model_unit(scale, raw, 0), model_unit(scale, raw, 1)])
    if scaling == "example":
        unknown = model.encode_scaled(scaled)
        assert np.allclose(unknown.recordings, scaled)
        assert (unknown.origin.unit, unknown.events["amplitude"].tolist()) == ("", [2.0, 1.0])


def model_unit(scale, raw, example):
    """Return the unit of scaled samples in the unit of an example."""
    return {"example": float(raw[example].std()), "all": float(raw.std()), "none": 1.0}[scale.kind]


def test_splits_keep_the_numbers_that_scaled_the_test_examples(compose, tmp_path):
    splits = instantiate(compose(), "dataset")
    n_samples = 1000 * 12
    path, channel = find_record("mitdb", "208", 0, n_samples, tmp_path)
    samples = read_channels("208", path, channel, n_samples).p_signal[-4000:, 0]
    undone = splits.scale.undo(splits.test.double(), splits.test_statistics)
    assert np.allclose(undone.flatten(), samples, atol=1e-5)
