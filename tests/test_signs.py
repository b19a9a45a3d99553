"""Kernels are shown with a positive largest deflection, whatever sign a training found."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from san.activations import Extrema, ReLU
from san.data.scale import Scale
from san.extensions.signs import shown_atoms, sign_of, signs
from san.networks import SparselyActivatedNetwork
from san.use.description import Origin
from san.use.description_file import FILE, load_description
from san.use.files import save_description
from san.use.kernel_numbers import kernel_numbers
from san.use.model import Model

BEAT = np.array([0, -0.1, 0.2, 1.0, 0.3, -0.4, 0.05])


def model_of(sign, *, activation=Extrema, decoder="paper", scaling="none"):
    """Return a model of a beat and of a slow wave, both stored with a sign."""
    network = SparselyActivatedNetwork([7, 9], activation(), decoder=decoder, seed=0)
    with torch.no_grad():
        for kernel, samples in zip(network.kernels, (BEAT, 0.3 * np.hanning(9)), strict=True):
            kernel.copy_(torch.from_numpy(sign * (samples[::-1] if decoder == "paper" else samples).copy()))
    return Model(
        network.requires_grad_(False),
        activation="extrema",
        scale=Scale.fit(scaling, [torch.from_numpy(recording()).view(1, 1, -1)], [-1, 1], "x"),
        origin=Origin("mine", ("II",), ("mV",), 100.0),
        space=(300,),
        loss=F.l1_loss,
        count_weights="samples",
    )


def recording():
    spikes = np.zeros(300)
    spikes[[40, 120, 210]] = 2.0
    return np.convolve(spikes, BEAT, "same") + 0.01 * np.random.default_rng(0).standard_normal(300)


def test_the_sign_is_that_of_the_largest_absolute_sample_the_first_of_equal_ones():
    assert sign_of(torch.tensor([[0.5, -2.0], [1.9, 0.0]])) == -1
    assert sign_of(torch.tensor([1.0, -1.0])) == 1
    assert sign_of(torch.tensor([-1.0, 1.0])) == -1
    assert sign_of(torch.zeros(3)) == 1


@pytest.mark.parametrize("decoder", ["paper", "adjoint"])
@pytest.mark.parametrize("sign", [1, -1])
def test_events_of_an_upright_beat_are_positive(sign, decoder):
    model = model_of(sign, decoder=decoder)
    assert signs(model.network).tolist() == [sign, sign]
    description = model.encode(recording())
    beats = description.events[description.events["kernel"] == 0].nlargest(3, "amplitude")
    assert sorted(beats["sample"]) == pytest.approx([40, 120, 210], abs=1)
    assert (beats["amplitude"] > 1).all()
    assert model.kernels[0].max() == pytest.approx(1.0)
    (numbers, _) = kernel_numbers(model, description, [0, 1])
    assert numbers.amplitudes.max() == beats["amplitude"].max()


@pytest.mark.parametrize("scaling", ["none", "all", "example"])
@pytest.mark.parametrize("activation", [Extrema, ReLU])
@pytest.mark.parametrize("sign", [1, -1])
def test_kernels_times_events_are_the_reconstruction_of_the_network(sign, activation, scaling):
    model = model_of(sign, activation=activation, scaling=scaling)
    x = recording()
    description = model.encode(x)
    statistics = model.scale.statistics(torch.from_numpy(x).view(1, 1, -1), "x")
    scaled = model.scale.apply(torch.from_numpy(x).view(1, 1, -1), "x", statistics).float()
    expected = model.scale.undo(model.network(scaled).double(), statistics)[0, 0].numpy()
    assert description.decode() == pytest.approx(expected, abs=1e-5)
    maps = np.zeros((1, 2, 300))
    maps[0, description.events["kernel"], description.events["sample"]] = description.events["amplitude"]
    if scaling != "example":
        assert model.decode(maps)[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_files_of_a_description_have_the_shown_sign(tmp_path, sign):
    model = model_of(sign)
    description = model.encode(recording())
    save_description(description, tmp_path)
    arrays = np.load(tmp_path / FILE)
    assert np.nanmax(arrays["kernels"], axis=1) == pytest.approx([1.0, 0.3])
    table = pd.read_csv(tmp_path / "events.csv")
    assert np.sort(arrays["amplitudes"]) == pytest.approx(np.sort(table["amplitude (mV)"]), rel=1e-6)
    assert np.load(tmp_path / "kernels.npy")[0, :7] == pytest.approx(BEAT)
    assert pd.read_csv(tmp_path / "kernels.csv")["kernel 0"].max() == pytest.approx(1.0)
    read = load_description(tmp_path)
    pd.testing.assert_frame_equal(read.events, description.events)
    assert (read.decode() == description.decode()).all()


def test_a_file_with_the_signs_of_the_training_decodes_to_the_same_with_the_shown_events(tmp_path):
    description = model_of(-1).encode(recording())
    save_description(description, tmp_path)
    arrays = dict(np.load(tmp_path / FILE))
    np.savez(tmp_path / FILE, **{**arrays, "kernels": -arrays["kernels"], "amplitudes": -arrays["amplitudes"]})
    read = load_description(tmp_path)
    assert read.network.kernels[0].min() == pytest.approx(-1.0)
    assert (read.decode() == description.decode()).all()
    pd.testing.assert_frame_equal(read.events, description.events)


def test_the_network_and_its_maps_are_as_trained():
    model = model_of(-1)
    before = model.network.weight.clone()
    maps = model.network.encode(torch.from_numpy(recording()).float().view(1, 1, -1))
    model.encode(recording())
    assert (model.network.weight == before).all()
    assert maps[0, 0].min() < -1
    assert [float(atom.max()) for atom in shown_atoms(model.network)] == pytest.approx([1.0, 0.3])
