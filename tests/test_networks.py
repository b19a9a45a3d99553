"""The network: its forward pass by definition, its gradient, its initial kernels and banks of models."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st

from san.activations import Extrema, Identity
from san.extensions.annealing import AnnealedExtrema
from san.extensions.phi_pursuit import PhiPursuit
from san.networks import SparselyActivatedNetwork, TrainingStep

SPACES = {1: (14,), 2: (7, 6)}


def phi_pursuit():
    return PhiPursuit(
        loss="torch.nn.functional.l1_loss", count_weights="samples", max_activations=None, max_work=1e6, patience=1,
        refinements=1, training_refinements=1, perturbations=0,
    )  # fmt: skip


def random_network(sizes, n_dims, decoder="paper"):
    torch.manual_seed(0)
    return SparselyActivatedNetwork(sizes, Identity(), n_dims, decoder=decoder).double()


kernels = st.lists(st.integers(1, 6), min_size=1, max_size=3)


@given(kernels, st.sampled_from([1, 2]))
def test_similarity_and_both_decoders_follow_their_definitions(sizes, n_dims):
    network = random_network(sizes, n_dims)
    x = torch.randn(2, 1, *SPACES[n_dims], dtype=torch.float64)
    similarity = network.similarity(x).detach().numpy()
    maps = torch.randn(2, len(sizes), *SPACES[n_dims], dtype=torch.float64)
    for index, kernel in enumerate(kernel.detach().numpy() for kernel in network.kernels):
        assert np.allclose(similarity[0, index], reference.correlate(x[0, 0].numpy(), kernel))
        network.decoder = "paper"
        partial = network.partial_reconstructions(maps)[1, index].detach().numpy()
        assert np.allclose(partial, reference.correlate(maps[1, index].numpy(), kernel))
        network.decoder = "adjoint"
        partial = network.partial_reconstructions(maps)[1, index].detach().numpy()
        assert np.allclose(partial, reference.place(maps[1, index].numpy(), kernel))


@given(kernels, st.sampled_from([1, 2]))
def test_adjoint_decoder_is_the_transpose_of_the_encoder(sizes, n_dims):
    network = random_network(sizes, n_dims, decoder="adjoint")
    x = torch.randn(1, 1, *SPACES[n_dims], dtype=torch.float64)
    maps = torch.randn(1, len(sizes), *SPACES[n_dims], dtype=torch.float64)
    assert torch.allclose((network.similarity(x) * maps).sum(), (x * network.decode(maps)).sum())


@pytest.mark.parametrize("decoder", ["paper", "adjoint"])
@pytest.mark.parametrize("size", [4, 5])
def test_an_activation_places_the_atom(size, decoder):
    network = random_network([size], 1, decoder)
    maps = torch.zeros(1, 1, 20, dtype=torch.float64)
    maps[0, 0, 10] = 2
    reconstruction = network.decode(maps)[0, 0]
    start = int(reconstruction.nonzero()[0])
    assert torch.allclose(reconstruction[start : start + size], 2 * network.atoms[0])
    assert not reconstruction[start + size :].any()


@pytest.mark.parametrize("n_dims", [1, 2])
def test_padding_of_smaller_kernels_stays_zero_while_training(n_dims):
    network = random_network([3, 6], n_dims)
    optimizer = torch.optim.Adam(network.parameters())
    x = torch.randn(2, 1, *SPACES[n_dims], dtype=torch.float64)
    for _ in range(3):
        optimizer.zero_grad()
        (network(x) - x).abs().mean().backward()
        optimizer.step()
    assert network.weight.count_nonzero() == 3**n_dims + 6**n_dims
    assert [tuple(kernel.shape) for kernel in network.kernels] == [(3,) * n_dims, (6,) * n_dims]


@pytest.mark.parametrize("decoder", ["paper", "adjoint"])
def test_the_gradient_of_the_kernels_is_right(decoder):
    network = random_network([3, 4], 1, decoder)
    network.activation = Extrema(border_tolerance=1)
    x = torch.randn(2, 1, 14, dtype=torch.float64)

    def reconstruct(weight):
        return torch.func.functional_call(network, {"weight": weight}, x)

    assert torch.autograd.gradcheck(reconstruct, network.weight.detach().clone().requires_grad_())


def test_kernels_are_views_that_can_be_set():
    network = random_network([3, 4], 1)
    with torch.no_grad():
        network.kernels[0].copy_(torch.arange(3))
    assert network.kernels[0].tolist() == [0, 1, 2]


def test_initial_kernels_have_the_normal_distribution_of_the_paper():
    torch.manual_seed(0)
    first, second = (kernel.detach() for kernel in SparselyActivatedNetwork([1000, 1000], Identity()).kernels)
    assert abs(float(first.std()) - 0.1) < 0.01
    assert abs(float(first.mean())) < 0.01
    assert not torch.equal(first, second)


def test_initial_kernels_are_a_function_of_seed_and_size():
    def initial(*arguments, **options):
        return [kernel.detach() for kernel in SparselyActivatedNetwork(*arguments, Identity(), **options).kernels]

    bank = initial([5, 5, 8, 5, 9, 9], n_models=3, seed=7)
    alone = [*initial([5, 5], seed=7), *initial([8, 5], seed=7), *initial([9, 9], seed=7)]
    assert all(torch.equal(one, other) for one, other in zip(bank, alone, strict=True))
    assert not torch.equal(bank[0], bank[1])
    assert not torch.equal(bank[0], initial([5], seed=8)[0])
    torch.manual_seed(0)
    assert not torch.equal(initial([5])[0], initial([5])[0])


def test_a_bank_reconstructs_model_by_model():
    torch.manual_seed(0)
    x = torch.randn(3, 1, 40)
    for activation in (Identity(), Extrema()):
        bank = SparselyActivatedNetwork([3, 8, 5, 5], activation, n_models=2, seed=1)
        assert bank(x).shape == (3, 2, 40)
        for model, sizes in enumerate(bank.sizes_of_models):
            alone = SparselyActivatedNetwork(sizes, activation, seed=1)
            assert torch.allclose(bank(x)[:, model], alone(x)[:, 0], atol=1e-6)
            assert torch.allclose(bank.decode(bank.encode(x))[:, model], alone(x)[:, 0], atol=1e-6)
            assert bank.n_weights(model=model) == alone.n_weights()
    with pytest.raises(ValueError, match="n_models=2 must divide the number of kernels, 3"):
        SparselyActivatedNetwork([3, 8, 5], Identity(), n_models=2)


def test_a_model_of_a_bank_is_a_copy_that_encodes_as_in_evaluation():
    bank = SparselyActivatedNetwork([5, 9], AnnealedExtrema(epochs=5), n_models=2, seed=0).double()
    x = torch.randn(2, 1, 60, dtype=torch.float64)
    expected = bank.encode(x)[:, [1]]
    with bank.activation.during(TrainingStep(epoch=0, batch=0)):
        alone = bank.model(1)
        assert alone.encode(x).equal(expected)
        assert not bank.encode(x)[:, [1]].equal(expected)
    with alone.activation.during(TrainingStep(epoch=0, batch=0)):
        assert bank.encode(x)[:, [1]].equal(expected)
    alone.activation.border_tolerance = 0
    assert bank.encode(x)[:, [1]].equal(expected)
    assert alone.weight.equal(bank.weight[[1]])


def test_weights_are_counted_by_samples_and_by_side():
    assert SparselyActivatedNetwork([3, 5], Identity(), 2).n_weights() == 34
    assert SparselyActivatedNetwork([3, 5], Identity(), 2).n_weights("side") == 8
    assert SparselyActivatedNetwork([3, 5], Identity(), 1).n_weights() == 8


def test_invalid_arguments_are_refused(untyped):
    with pytest.raises(ValueError, match=r"kernel_sizes=\[\] must be"):
        SparselyActivatedNetwork([], Identity())
    with pytest.raises(ValueError, match=r"kernel_sizes=\[3, 0\] must be"):
        SparselyActivatedNetwork([3, 0], Identity())
    with pytest.raises(ValueError, match="n_dims=3 must be one of 1, 2"):
        SparselyActivatedNetwork([3], Identity(), 3)
    with pytest.raises(ValueError, match="kernel_size=5 exceeds the signal length 4"):
        SparselyActivatedNetwork([5], Identity(), 2)(torch.zeros(1, 1, 9, 4))


@pytest.mark.parametrize("encoder", [Extrema(), phi_pursuit()], ids=["extrema", "phi_pursuit"])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(20), ValueError, r"the shape \[20\]: give a tensor .* \[batch, 1, samples\]"),
        (torch.zeros(2, 20), ValueError, r"the shape \[2, 20\]: give a tensor .* \[batch, 1, samples\]"),
        (torch.zeros(2, 2, 20), ValueError, r"2 channels: give a tensor .* \[batch, 1, samples\]"),
        (torch.zeros(2, 1, 20, 20), ValueError, r"the shape \[2, 1, 20, 20\]: give"),
        (torch.zeros(2, 1, 20, dtype=torch.int64), TypeError, r"torch.int64: give .* by x\.float\(\)"),
        (np.zeros((2, 1, 20)), TypeError, r"of type ndarray: give a tensor .* by torch\.as_tensor"),
        ([0.0] * 20, TypeError, "of type list: give a tensor"),
    ],
)
def test_an_input_of_another_type_or_shape_is_refused_with_the_wanted_shape(untyped, x, error, message, encoder):
    network = SparselyActivatedNetwork([3], encoder, seed=0)
    for call in (network, network.encode):
        with pytest.raises(error, match=message):
            call(x)


def test_an_image_and_a_channel_per_model_are_named_where_they_are_wanted(untyped):
    bank = SparselyActivatedNetwork([3, 3, 3], Identity(), 2, n_models=3, seed=0)
    assert bank(torch.zeros(1, 3, 9, 9)).shape == (1, 3, 9, 9)
    with pytest.raises(ValueError, match=r"2 channels: give .* \[batch, 1, rows, columns\], or one channel for each"):
        bank(torch.zeros(1, 2, 9, 9))
