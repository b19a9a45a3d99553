"""Kernels of several channels: by their definition, of rank 1, in banks, chunks and processes, and φ of channels."""

import math
import re
from functools import partial

import numpy as np
import pytest
import reference
import torch
from conftest import results
from hypothesis import given
from hypothesis import strategies as st
from test_pursuit import correlation, learned, pursuit

from san import evaluate
from san.activations import Extrema, ExtremaPoolIndices, Identity, ReLU, TopKAbsolutes
from san.checkpoint import read
from san.extensions.bank_metrics import metrics_per_model
from san.extensions.growing import GrowingNetwork
from san.extensions.initialization import highest_mean_window, set_atoms, window_sampler
from san.extensions.restarts import renew_kernels
from san.extensions.streaming import describe
from san.extensions.territory import Territory
from san.extensions.warping import WarpedNetwork
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork
from san.ops.kernels import nearest_of_rank_1, separated

ACTIVATIONS = [Identity(), ReLU(), TopKAbsolutes(), ExtremaPoolIndices(), Extrema(), Territory()]
SPACES = {1: (17,), 2: (9, 8)}
sizes_of_kernels = st.lists(st.integers(1, 6), min_size=1, max_size=3)
forms = st.sampled_from(["full", "rank1"])
decoders = st.sampled_from(["paper", "adjoint"])


def random_network(sizes, n_dims, channels, kernel="full", decoder="adjoint", activation=None, **options):
    torch.manual_seed(0)
    return SparselyActivatedNetwork(
        sizes, activation or Identity(), n_dims, decoder=decoder, channels=channels, kernel=kernel, **options
    ).double()


def random_examples(channels, n_dims, count=2):
    return torch.randn(count, channels, *SPACES[n_dims], dtype=torch.float64)


def over_channels(kernel, channels):
    """Return a kernel with an axis of channels, also of one."""
    return kernel.detach().view(channels, *kernel.shape[-(kernel.dim() - (channels > 1)) :]).numpy()


@given(sizes_of_kernels, st.sampled_from([1, 2]), st.integers(1, 5), forms, decoders)
def test_similarity_and_reconstruction_are_the_sums_over_channels(sizes, n_dims, channels, kernel, decoder):
    network = random_network(sizes, n_dims, channels, kernel, decoder)
    x, maps = random_examples(channels, n_dims), torch.randn(2, len(sizes), *SPACES[n_dims], dtype=torch.float64)
    similarity, reconstruction = network.similarity(x)[0].detach().numpy(), network.decode(maps)[0].detach().numpy()
    place = reference.place if decoder == "adjoint" else reference.correlate
    expected = np.zeros((channels, *SPACES[n_dims]))
    for index, own in enumerate(over_channels(one, channels) for one in network.kernels):
        per_channel = [reference.correlate(x[0, channel].numpy(), own[channel]) for channel in range(channels)]
        assert np.allclose(similarity[index], sum(per_channel))
        for channel in range(channels):
            expected[channel] += place(maps[0, index].numpy(), own[channel])
    assert np.allclose(reconstruction, expected)


@given(sizes_of_kernels, st.sampled_from([1, 2]), st.integers(1, 5))
def test_the_adjoint_decoder_is_the_transpose_over_all_channels(sizes, n_dims, channels):
    network = random_network(sizes, n_dims, channels)
    x, maps = random_examples(channels, n_dims), torch.randn(2, len(sizes), *SPACES[n_dims], dtype=torch.float64)
    torch.testing.assert_close((network.similarity(x) * maps).sum(), (x * network.decode(maps)).sum())


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("decoder", ["paper", "adjoint"])
def test_sparse_and_dense_paths_agree_and_a_batch_is_one_by_one(n_dims, activation, decoder):
    network = random_network([4, 5], n_dims, 3, "full", decoder, activation)
    x = random_examples(3, n_dims, count=4)
    reconstruction = network(x)
    reconstruction.square().sum().backward()
    found, network.weight.grad = network.weight.grad, None
    dense = network.partial_reconstructions(network.encode(x)).sum(1)
    dense.square().sum().backward()
    torch.testing.assert_close(reconstruction, dense)
    torch.testing.assert_close(found, network.weight.grad)
    torch.testing.assert_close(reconstruction, torch.cat([network(one) for one in x.split(1)]))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("kernel", ["full", "rank1"])
@pytest.mark.parametrize("n_dims", [1, 2])
def test_the_gradient_is_that_of_finite_differences(n_dims, kernel):
    network = random_network([3], n_dims, 2, kernel, activation=TopKAbsolutes(density=3))
    x = random_examples(2, n_dims)

    def reconstruct(weight):
        return torch.func.functional_call(network, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(reconstruct, network.weight.detach().clone().requires_grad_())


@pytest.mark.parametrize("own_examples", [False, True])
@pytest.mark.parametrize(
    "activation", [Extrema(), Identity(), pursuit(perturbations=0)], ids=["extrema", "dense", "phi"]
)
@pytest.mark.parametrize("kernel", ["full", "rank1"])
def test_a_model_of_a_bank_is_as_alone(kernel, activation, own_examples):
    if own_examples and not hasattr(activation, "density"):
        pytest.skip("φ pursuit encodes one input for all models")
    bank = random_network([4, 3, 5, 6], 1, 3, kernel, activation=activation, n_models=2)
    x = random_examples(6 if own_examples else 3, 1)
    together = bank(x).unflatten(1, (2, 3))
    ratios, losses = metrics_per_model(
        bank.encode(x), bank(x), x, [bank.n_weights(model=model) for model in (0, 1)], l1
    )
    for model in (0, 1):
        alone, own = bank.model(model), x.unflatten(1, (-1, 3))[:, model if own_examples else 0]
        assert alone.kernel == kernel
        torch.testing.assert_close(alone(own), together[:, model])
        ratio = inverse_compression_ratio(alone.encode(own), alone.n_weights(), channels=3)
        torch.testing.assert_close(ratios.view(2, 2)[:, model], ratio)
        torch.testing.assert_close(losses.view(2, 2)[:, model], normalized_reconstruction_loss(alone(own), own))


l1 = torch.nn.functional.l1_loss


def test_phi_counts_an_event_once_and_the_samples_of_all_channels():
    """The arithmetic of 12 leads: 1000 samples, two kernels of 40, 20 events."""
    maps = torch.zeros(1, 2, 1000)
    maps[0, 0, 50::50] = 1
    maps[0, 1, 0] = 1
    weights = {
        kernel: SparselyActivatedNetwork([40, 40], Identity(), channels=12, kernel=kernel).n_weights()
        for kernel in ("full", "rank1")
    }
    assert weights == {"full": 2 * 12 * 40, "rank1": 2 * (12 + 40)}
    ratio = {kernel: float(inverse_compression_ratio(maps, number, channels=12)) for kernel, number in weights.items()}
    assert ratio == pytest.approx({"full": (960 + 40) / 12000, "rank1": (104 + 40) / 12000})
    image = SparselyActivatedNetwork([5], Identity(), 2, channels=3)
    assert (image.n_weights(), image.n_weights("side")) == (75, 15)
    x = torch.tensor([[[1.0, -1.0], [2.0, 0.0]]])
    assert normalized_reconstruction_loss(torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]), x) == pytest.approx(3 / 4)


@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from([1, 2]))
def test_the_nearest_kernel_of_rank_1_is_of_the_leading_singular_vectors(channels, size, n_dims):
    torch.manual_seed(channels)
    kernels = torch.randn(3, channels, *[size] * n_dims, dtype=torch.float64)
    numbers, waveforms = separated(kernels)
    nearest = nearest_of_rank_1(kernels)
    torch.testing.assert_close(numbers.norm(dim=1), torch.ones(3, dtype=torch.float64))
    for kernel, found, over, waveform in zip(kernels, nearest, numbers, waveforms, strict=True):
        left, values, right = np.linalg.svd(kernel.flatten(1).numpy(), full_matrices=False)
        assert np.allclose(found.flatten(1), values[0] * np.outer(left[:, 0], right[0]))
        assert torch.allclose(found.flatten(1), torch.outer(over, waveform.flatten()))
        assert over[over.abs().argmax()] > 0


def test_kernels_stay_of_rank_1_and_padding_stays_zero():
    network = random_network([4, 7], 1, 3, "rank1", activation=pursuit())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(random_examples(3, 1)).square().sum().backward()
        optimizer.step()
        network.constrain()
    for kernel in network.kernels:
        values = torch.linalg.svdvals(kernel.detach())
        assert values[0] == pytest.approx(1)
        assert values[1] < 1e-6
    assert network.weight[0][:, [0, 1, 6]].eq(0).all()


def test_a_model_that_diverges_leaves_the_others_of_a_bank():
    bank = random_network([4, 4], 1, 2, "rank1", n_models=2)
    before = bank.kernels[1].detach().clone()
    with torch.no_grad():
        bank.kernels[0].fill_(torch.nan)
    bank.constrain()
    torch.testing.assert_close(bank.kernels[1].detach(), before)
    assert bank.kernels[0].isnan().all()


def test_one_channel_of_rank_1_is_a_full_kernel_with_one_more_number():
    full, rank1 = (random_network([5, 7], 1, 1, kernel, activation=Extrema(), seed=1) for kernel in ("full", "rank1"))
    x = random_examples(1, 1)
    assert full(x).equal(rank1(x))
    assert (full.n_weights(), rank1.n_weights()) == (12, 14)


@pytest.mark.parametrize("loss", ["l1_loss", "mse_loss"])
@pytest.mark.parametrize("n_dims", [1, 2])
def test_one_channel_between_silent_ones_is_pursued_as_alone(n_dims, loss):
    """Three events are cheap in one channel and in three, so that the limit of three decides in both."""
    encoder = pursuit(loss=f"torch.nn.functional.{loss}", max_activations=3)
    alone, several = (random_network([4, 5], n_dims, channels, activation=encoder) for channels in (1, 3))
    with torch.no_grad():
        for own, other in zip(several.kernels, alone.kernels, strict=True):
            own.zero_()[1] = other
        maps = torch.zeros(2, 2, *[40] * n_dims, dtype=torch.float64)
        for kernel, place in ((0, 8), (1, 20), (0, 31)):
            maps[(slice(None), kernel, *[place] * n_dims)] = 5
        x = alone.decode(maps)
    x += 0.01 * torch.randn(x.shape, dtype=torch.float64)
    embedded = torch.zeros(2, 3, *[40] * n_dims, dtype=torch.float64)
    embedded[:, 1:2] = x
    expected = alone.encode(x)
    assert expected.count_nonzero() == 6
    torch.testing.assert_close(several.encode(embedded), expected)


@pytest.mark.parametrize("kernel", ["full", "rank1"])
def test_pursuit_of_several_channels_has_the_phi_that_is_computed_of_its_maps(kernel):
    network = random_network([5, 8], 1, 3, kernel, activation=pursuit())
    x = random_examples(3, 1)
    maps = network.encode(x)
    ratio = inverse_compression_ratio(maps, network.n_weights(), channels=3).double()
    found = phi(ratio, normalized_reconstruction_loss(network.decode(maps), x))
    empty = math.hypot(network.n_weights() / (3 * SPACES[1][0]), 1)
    assert (found <= empty).all()
    for row in range(2):  # no activation of the description can be left out for a lower φ
        for place in maps[row].nonzero().tolist():
            without = maps[[row]].clone()
            without[(0, *place)] = 0
            lower = inverse_compression_ratio(without, network.n_weights(), channels=3).double()
            assert phi(lower, normalized_reconstruction_loss(network.decode(without), x[[row]])) >= found[row] - 1e-9


@pytest.mark.parametrize("activation", ACTIVATIONS[:5], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("kernel", ["full", "rank1"])
def test_a_recording_in_chunks_is_the_whole(activation, kernel):
    network = random_network([4, 6], 1, 3, kernel, activation=activation)
    x = torch.randn(1, 3, 900, dtype=torch.float64).cumsum(2)
    maps = network.encode(x)
    found = describe(network, lambda start, stop: x[0, :, start:stop], 900, chunk=200)
    assert found.n_activations == maps.count_nonzero(dim=(0, 2)).tolist()
    ratio = inverse_compression_ratio(maps, network.n_weights(), channels=3)
    assert found.inverse_compression_ratio(network.n_weights()) == pytest.approx(float(ratio))
    loss = normalized_reconstruction_loss(network.decode(maps), x).detach()
    assert found.normalized_reconstruction_loss() == pytest.approx(float(loss))


@pytest.mark.parametrize("n_dims", [1, 2])
def test_kernels_from_the_data_are_windows_of_all_channels(n_dims):
    x = torch.randn(5, 3, *[12] * n_dims)
    network = SparselyActivatedNetwork(
        [4], Identity(), n_dims, decoder="adjoint", channels=3, seed=0, sampler=window_sampler(x, mirrored=False)
    )
    kernel = network.kernels[0].detach()
    windows = x.unfold(2, 4, 1) if n_dims == 1 else x.unfold(2, 4, 1).unfold(3, 4, 1)
    windows = windows.movedim(1, -n_dims - 1).flatten(0, -n_dims - 2)
    similar = torch.nn.functional.cosine_similarity(windows.flatten(1), kernel.flatten().unsqueeze(0))
    assert similar.max() == pytest.approx(1, abs=1e-5)
    assert kernel.norm() == pytest.approx(1)


def test_the_window_of_the_highest_mean_is_over_all_channels():
    x = torch.zeros(2, 2, 10)
    x[0, 0, 3] = 3
    x[1, :, 6] = 2
    mean, window = highest_mean_window(x, 2)
    assert mean == 1
    assert x[window].shape == (2, 2)
    assert x[window].sum() == 4


def one_event(n_dims):
    """Return a pattern of two channels, and an example with it alone."""
    planted = torch.randn(2, *[6] * n_dims, dtype=torch.float64)
    planted[..., 0] = planted[..., -1] = 2
    planted /= planted.norm()
    x = torch.zeros(1, 2, *[40] * n_dims, dtype=torch.float64)
    x[(0, slice(None), *[slice(10, 16)] * n_dims)] = planted
    return planted, x


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("decoder", ["paper", "adjoint"])
def test_a_dead_kernel_restarts_from_all_channels(n_dims, decoder):
    planted, x = one_event(n_dims)
    network = random_network([6], n_dims, 2, decoder=decoder, activation=Extrema())
    with torch.no_grad():
        network.weight.zero_()
    renew_kernels(network, x)
    torch.testing.assert_close(network.atoms[0].detach(), planted)


@pytest.mark.parametrize("n_dims", [1, 2])
def test_a_cropped_kernel_is_shifted_in_all_channels(n_dims):
    planted, x = one_event(n_dims)
    network = random_network([6], n_dims, 2, activation=TopKAbsolutes(density=1))
    cropped = torch.zeros_like(planted)
    cropped[(..., *[slice(None, 5)] * n_dims)] = planted[(..., *[slice(1, None)] * n_dims)]
    set_atoms(network, [cropped / cropped.norm()])
    renew_kernels(network, x)
    assert torch.nn.functional.cosine_similarity(network.atoms[0].flatten(), planted.flatten(), dim=0) > 0.99


def test_a_growing_network_adds_kernels_of_all_channels():
    torch.manual_seed(0)
    network = GrowingNetwork([6, 6], Extrema(), every=1, channels=2, decoder="adjoint", kernel="rank1").double()
    x = torch.zeros(3, 2, 60, dtype=torch.float64)
    x[:, :, 20:26] = torch.outer(torch.tensor([1.0, 2]), torch.tensor([1.0, 2, 3, 3, 2, 1])).double()
    network.change_kernels(x, x, l1, "samples")
    added = network.kernels[1].detach() if network.in_use(0)[1] else network.kernels[0].detach()
    assert torch.linalg.matrix_rank(added) == 1
    assert torch.nn.functional.cosine_similarity(added.flatten(), x[0, :, 20:26].flatten(), dim=0) > 0.99


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"channels": 0}, "channels=0 must be 1 or more"),
    ],
)
def test_impossible_kernels_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        SparselyActivatedNetwork([4], Identity(), **options)


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"has the shape \[2, 2, 17\], 2 channels: give .* \[batch, 3, samples\]"):
        random_network([4], 1, 3)(random_examples(2, 1))
    with pytest.raises(ValueError, match="warped kernels have one channel"):
        WarpedNetwork([4, 4], Identity(), n_scales=2, channels=2)


@pytest.mark.slow
def test_planted_kernels_of_eight_channels_are_recovered():
    """Learn two kernels of rank 1 whose instances overlap, with noise: the numbers over channels and the waveforms."""
    recovered = 0
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        numbers = torch.nn.functional.normalize(torch.randn(2, 8, 1, dtype=torch.float64, generator=generator), dim=1)
        waveforms = torch.randn(2, 1, 20, dtype=torch.float64, generator=generator).cumsum(2)
        waveforms = torch.nn.functional.normalize(waveforms * torch.hann_window(22, periodic=False)[1:-1], dim=2)
        network = SparselyActivatedNetwork([20, 20], pursuit(), decoder="adjoint", channels=8, kernel="rank1").double()
        set_atoms(network, list(numbers * waveforms))
        maps = torch.zeros(12, 2, 300, dtype=torch.float64)
        for example in range(12):
            for kernel in range(2):
                at = torch.randperm(280, generator=generator)[:7] + 10
                maps[example, kernel, at] = 1 + torch.rand(7, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            x = network.decode(8**0.5 * maps)  # a channel has about the samples of a kernel of one channel
        x = x + 0.05 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        # The limit of activations keeps several of them from standing for one of a kernel that is not learned yet: of
        # eight channels an activation costs little.
        encoder = partial(pursuit, perturbations=0, max_activations=16)
        over, along = separated(torch.stack(learned(x, seed, encoder, lr=0.01, steps=80, channels=8, kernel="rank1")))
        along = torch.nn.functional.normalize(along, dim=1)
        similar = [
            [min(correlation(over[one], numbers[other, :, 0], shifts=0), correlation(along[one], waveforms[other, 0]))
             for other in (0, 1)] for one in (0, 1)
        ]  # fmt: skip
        recovered += max(min(similar[0][0], similar[1][1]), min(similar[0][1], similar[1][0])) > 0.98
    assert recovered >= 4


@pytest.fixture
def of_three(tmp_path):
    """Write examples of three channels, and return the overrides that read them."""
    x = np.random.default_rng(0).standard_normal((9, 3, 200)).cumsum(2)
    np.save(tmp_path / "x.npy", x)
    return ["dataset=numpy", f"path={tmp_path / 'x.npy'}", "kernel_size=12", "n_kernels=2"]


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize("kernel", ["full", "rank1"])
def test_a_model_of_three_channels_is_trained_resumed_swept_and_evaluated(
    run, run_train, run_sweep, tmp_path, of_three, kernel
):
    chosen = [*of_three[:2], "n_kernels=2", f"kernel={kernel}"]
    common = [*chosen, "kernel_size=12", "figure=[]", "logger=csv"]
    through, _ = run_train("through", *common, "trainer.max_epochs=3")
    assert results(through)["n_weights"] == (2 * (12 + 3) if kernel == "rank1" else 2 * 12 * 3)
    stopped, _ = run_train("stopped", *common, "trainer.max_epochs=1")
    resumed, _ = run_train("resumed", *common, "trainer.max_epochs=3", f"checkpoint={stopped}")
    assert results(resumed)["phi_per_epoch"] == results(through)["phi_per_epoch"]
    code, said = run(evaluate.main, f"checkpoint={through}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert code == 0, said
    assert results(tmp_path / "evaluated")["test"] == pytest.approx(results(through)["test"], abs=1e-6)
    swept, _ = run_sweep("swept", *chosen, "kernel_sizes=[5,12]", "trainer.max_epochs=3")
    model = results(swept)["models"][1]
    assert model["phi_per_epoch"] == pytest.approx(results(through)["phi_per_epoch"], abs=1e-5)
    assert model["test"] == pytest.approx(results(through)["test"], abs=1e-5)


def test_a_checkpoint_is_evaluated_on_a_recording_of_as_many_channels_in_chunks(run, run_train, tmp_path):
    x = np.random.default_rng(0).standard_normal((3, 3000)).cumsum(1)
    np.save(tmp_path / "long.npy", x)
    np.save(tmp_path / "two.npy", x[:2])
    chosen = ["axes=[channels,time]", "dataset.window=200"]
    trained, _ = run_train(
        "trained", "dataset=numpy", f"path={tmp_path / 'long.npy'}", *chosen, "kernel=rank1", "kernel_size=12",
        "figure=[]", "logger=csv", "trainer.max_epochs=1",
    )  # fmt: skip
    common = [f"checkpoint={trained}", "dataset=numpy", "axes=[channels,time]"]
    code, said = run(
        evaluate.main, *common, f"path={tmp_path / 'long.npy'}", "chunk=500", f"hydra.run.dir={tmp_path / 'chunks'}"
    )
    assert code == 0, said
    assert 0 < results(tmp_path / "chunks")["test"]["phi"] < 1
    code, said = run(
        evaluate.main, *common, f"path={tmp_path / 'two.npy'}", "chunk=500", f"hydra.run.dir={tmp_path / 'two'}"
    )
    assert code == 1
    assert "has kernels of 3 channels, but the examples have 2" in said
    assert "\n" not in said.strip()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["kernel=rank2"], "kernel=rank2 must be one of full, rank1"),
        (["network=warped"], "warped kernels have one channel"),
        (["initialization=file", "initial_kernels={folder}/one.npy"], r"give \[3, samples\] \(one kernel\)"),
    ],
)
def test_what_several_channels_cannot_have_is_one_line(run_train, tmp_path, of_three, overrides, said):
    np.save(tmp_path / "one.npy", np.ones((2, 12)))
    _, printed = run_train("run", *of_three, *(text.format(folder=tmp_path) for text in overrides), fails=True)
    assert re.search(said, printed)
    assert "\n" not in printed.strip()


def test_kernels_of_three_channels_start_from_a_file_and_from_a_checkpoint(run_train, tmp_path, of_three):
    kernels = np.random.default_rng(1).standard_normal((2, 3, 9))
    np.save(tmp_path / "kernels.npy", kernels)
    options = [*of_three, "figure=[]", "logger=csv", "decoder=adjoint", "optimizer.lr=0", "trainer.max_epochs=1"]
    given = ["initialization=file", f"initial_kernels={tmp_path / 'kernels.npy'}"]
    first, _ = run_train("first", *options, *given)
    second, _ = run_train("second", *options, "initialization=checkpoint", f"initial_kernels={first}")
    for folder in (first, second):
        weight = read(folder / "checkpoints" / "best.ckpt")["state_dict"]["network.weight"]
        assert np.allclose(weight[:, :, 1:10], kernels, atol=1e-6)
