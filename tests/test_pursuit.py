from itertools import pairwise

import numpy as np
import pytest
import torch
from brute import lowest_phi
from conftest import results
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import plain
from san import evaluate
from san.activations import Extrema
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork
from san.pursuit import PhiPursuit
from san.restarts import renew_kernels

MSE = "torch.nn.functional.mse_loss"


def network_of(kernels, activation, decoder="adjoint", n_models=1):
    sizes = [len(kernel) for kernel in kernels]
    network = SparselyActivatedNetwork(
        sizes, activation, kernels[0].dim(), decoder=decoder, n_models=n_models, seed=0
    ).double()
    with torch.no_grad():
        for own, kernel in zip(network.kernels, kernels, strict=True):
            own.copy_(kernel)
    return network.eval()


@torch.no_grad()
def phi_of(network, maps, x, loss=torch.nn.functional.l1_loss):
    ratio = inverse_compression_ratio(maps, network.n_weights()).double()
    return phi(ratio, normalized_reconstruction_loss(network.decode(maps), x, loss))


def unit(*values):
    return torch.nn.functional.normalize(torch.tensor(values, dtype=torch.float64), dim=0)


@st.composite
def problems(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    two = draw(st.booleans())
    space = [draw(st.integers(6, 12)), draw(st.integers(6, 12))] if two else [draw(st.integers(8, 90))]
    sizes = draw(st.lists(st.integers(2, 6), min_size=1, max_size=3))
    kernels = []
    for size in sizes:
        kernel = torch.randn([size] * len(space), generator=generator, dtype=torch.float64)
        kernels.append(kernel / kernel.norm())
    x = torch.randn([draw(st.integers(1, 3)), 1, *space], generator=generator, dtype=torch.float64)
    return x, kernels, draw(st.sampled_from(["paper", "adjoint"]))


def test_it_comes_near_the_best_of_all_supports():
    ratios = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        kernel, x = random.standard_normal(3), random.standard_normal(12)
        kernel /= np.linalg.norm(kernel)
        network = network_of([torch.tensor(kernel)], PhiPursuit())
        x = torch.tensor(x).view(1, 1, 12)
        ratios.append(float(phi_of(network, network.encode(x), x)) / lowest_phi(x.flatten().numpy(), kernel))
    assert np.median(ratios) < 1.001
    assert max(ratios) < 1.2
    assert min(ratios) > 1 - 1e-6


@pytest.mark.parametrize(
    "options",
    [
        [{"refinements": number, "perturbations": 0} for number in range(4)],
        [{"perturbations": number} for number in (0, 1, 2, 5)],
    ],
    ids=["refinements", "perturbations"],
)
@settings(max_examples=60)
@given(problem=problems(), loss=st.sampled_from([torch.nn.functional.l1_loss, torch.nn.functional.mse_loss]))
def test_more_of_it_never_raises_phi(options, problem, loss):
    x, kernels, decoder = problem
    figures = []
    for option in options:
        network = network_of(kernels, PhiPursuit(f"torch.nn.functional.{loss.__name__}", **option), decoder)
        figures.append(phi_of(network, network.encode(x), x, loss))
    for less, more in pairwise(figures):
        assert (more <= less + 1e-6).all()


def test_perturbations_find_what_refinement_does_not():
    """Noise, of which the best description is not the one that greed leads to."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 1, 300, generator=generator, dtype=torch.float64).cumsum(2)
    kernels = [torch.nn.functional.normalize(torch.randn(12, generator=generator, dtype=torch.float64), dim=0)]
    without, with_them = (network_of(kernels, PhiPursuit(perturbations=number)) for number in (0, 8))
    gains = 1 - phi_of(with_them, with_them.encode(x), x) / phi_of(without, without.encode(x), x)
    assert gains.min() > 0
    assert gains.mean() > 0.01


@settings(max_examples=60)
@given(problems())
def test_it_is_never_above_the_activations_of_extrema_refined(problem):
    x, kernels, decoder = problem
    pursuit = network_of(kernels, PhiPursuit(), decoder)
    extrema = network_of(kernels, Extrema(), decoder)
    assert (phi_of(pursuit, pursuit.encode(x), x) <= phi_of(extrema, extrema.encode(x), x) + 1e-6).all()


@settings(max_examples=40)
@given(problems())
def test_it_is_deterministic_and_examples_and_models_do_not_interact(problem):
    x, kernels, decoder = problem
    network = network_of(kernels, PhiPursuit(), decoder)
    maps = network.encode(x)
    assert maps.equal(network.encode(x))
    assert maps.equal(torch.cat([network.encode(example.unsqueeze(0)) for example in x]))
    bank = network_of([*kernels, *reversed(kernels)], PhiPursuit(), decoder, n_models=2)
    assert bank.encode(x)[:, : len(kernels)].equal(maps)


def test_amplitudes_of_separate_instances_are_found_at_their_places():
    x = torch.zeros(1, 1, 60, dtype=torch.float64)
    kernel = unit(1, 3, -2, 1, 2)
    x[0, 0, 10:15], x[0, 0, 30:35] = 2 * kernel, -3 * kernel
    maps = network_of([kernel], PhiPursuit()).encode(x)
    assert maps.nonzero()[:, 2].tolist() == [12, 32]
    torch.testing.assert_close(maps[maps != 0], torch.tensor([2.0, -3.0], dtype=torch.float64))


def test_samples_that_are_fitted_have_no_gradient():
    """An amplitude that is a weighted median fits one sample exactly, but for rounding."""
    network = network_of([unit(1.0, 2.0, -1.0, 0.5)], PhiPursuit()).float()
    x = torch.zeros(1, 1, 20)
    x[0, 0, 5:9] = torch.tensor([1.0, 2.0, -1.0, 0.3])
    weights = network.weight.detach()[0]
    (amplitude,) = network.encode(x).flatten()[network.encode(x).flatten() != 0]
    left = x[0, 0, 5:9] - amplitude * weights
    assert (left.abs() < 1e-6).tolist() == [True, True, True, False]
    (network(x) - x).abs().sum().backward()
    torch.testing.assert_close(network.weight.grad[0], torch.tensor([0, 0, 0, float(amplitude)]))


def test_the_gradient_is_that_of_the_kernels_with_the_maps_held_fixed():
    x = torch.randn(2, 1, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network = network_of([unit(1, 2, 3), unit(2, -1, 0.5)], PhiPursuit()).train()
    (network(x) - x).square().mean().backward()
    found, maps = network.weight.grad.clone(), network.encode(x)
    network.weight.grad = None
    (network.partial_reconstructions(maps).sum(1, keepdim=True) - x).square().mean().backward()
    torch.testing.assert_close(found, network.weight.grad)


@settings(max_examples=10)
@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(20, 120))
def test_what_is_taken_is_what_the_plain_search_takes(seed, size, n):
    """The same positions, and amplitudes to 1e-6."""
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.nn.functional.normalize(torch.randn(size, generator=generator, dtype=torch.float64), dim=0)
    x = torch.randn(n, generator=generator, dtype=torch.float64)
    network = network_of([kernel], PhiPursuit(training_refinements=0)).train()
    maps = network.encode(x.view(1, 1, -1)).flatten()
    torch.testing.assert_close(maps, plain.pursue(x, kernel, 10), atol=1e-6, rtol=0)


def test_caps_are_kept():
    x = torch.randn(1, 1, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    few = network_of([unit(1, 2, 1)], PhiPursuit(max_activations=3)).encode(x)
    assert 1 <= few.count_nonzero() <= 3
    short = network_of([unit(1, 2, 1)], PhiPursuit(max_work=1)).encode(x)
    assert short.isfinite().all()


def test_a_signal_of_zeros_has_no_activations():
    assert not network_of([unit(1, 2, 1)], PhiPursuit()).encode(torch.zeros(2, 1, 20, dtype=torch.float64)).any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["activation.max_activations=0"], "activation.max_activations=0 must be an integer, 1 or more"),
        (["activation.refinements=-1"], "activation.refinements=-1 must be an integer, 0 or more"),
        (["activation.max_work=0"], "activation.max_work=0 must be a number, 1 or more"),
        (["activation.perturbations=-1"], "activation.perturbations=-1 must be an integer, 0 or more"),
        (["loss._target_=torch.nn.functional.huber_loss"], "l1_loss or torch.nn.functional.mse_loss, not"),
        (["kernel_size=1", "n_kernels=2"], "cannot be told apart"),
        (["kernel_size=1001"], "kernel_size=1001 is longer than the signal"),
        (["network=growing", "n_kernels=2"], "use network=plain"),
        (["initialization=window"], "initialization=window must be normal or data"),
        (["restart_every=0"], "restart_every=0 must be an integer, 1 or more"),
    ],
)
def test_mistakes_are_one_line(run_train, options, said):
    _, line = run_train("run", "activation=phi_pursuit", "debug=one_batch", "dataset=physionet", *options, fails=True)
    assert line.startswith("san: ")
    assert said in line


@pytest.mark.parametrize("loss", ["l1", pytest.param("mse", marks=pytest.mark.slow)])
def test_a_model_is_trained_resumed_and_evaluated_to_the_same_numbers(run, run_train, tmp_path, loss):
    common = ["activation=phi_pursuit", "n_kernels=2", "kernel_size=20", f"loss={loss}"]
    through, _ = run_train("through", *common, "trainer.max_epochs=8")
    short, _ = run_train("short", *common, "trainer.max_epochs=6")
    resumed, _ = run_train("resumed", *common, "trainer.max_epochs=8", f"checkpoint={short}")
    for key in ("test", "validation", "phi_per_epoch", "best_epoch"):
        assert results(resumed)[key] == results(through)[key]
    code, said = run(evaluate.main, f"checkpoint={through}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert code == 0, said
    assert results(tmp_path / "evaluated")["test"] == results(through)["test"]
    norms = torch.load(through / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]["network.weight"].norm(
        dim=1
    )
    torch.testing.assert_close(norms, torch.ones(2))


@pytest.mark.slow
def test_planted_kernels_are_recovered():
    """Two kernels whose instances overlap, with noise, by gradient steps on what the pursuit puts back."""
    recovered = 0
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        planted = torch.nn.functional.normalize(
            torch.randn(2, 1, 20, dtype=torch.float64, generator=generator).cumsum(2), dim=2
        )
        maps = torch.zeros(12, 2, 300, dtype=torch.float64)
        for example in range(12):
            for kernel in range(2):
                at = torch.randperm(280, generator=generator)[:7] + 10
                maps[example, kernel, at] = 1 + torch.rand(7, generator=generator, dtype=torch.float64)
        network = network_of(list(planted[:, 0]), PhiPursuit())
        with torch.no_grad():
            x = network.decode(maps)
        x = x + 0.05 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        recovered += _learns(x, planted[:, 0], seed)
    assert recovered >= 9


def _learns(x, planted, seed):
    from san.initialization import windows

    best, chosen = float("inf"), None
    for start in range(4):
        network = SparselyActivatedNetwork(
            [20, 20], PhiPursuit(), decoder="adjoint", seed=seed, starts=[start], draw=windows(x, False)
        ).double()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        for step in range(60):
            optimizer.zero_grad()
            (network.train()(x[:8]) - x[:8]).abs().mean().backward()
            optimizer.step()
            network.constrain()
            if step % 10 == 9 and step < 50:
                renew_kernels(network, x[:8])
        network.eval()
        validation = float(phi_of(network, network.encode(x[8:]), x[8:]).mean())
        if validation < best:
            best, chosen = validation, network
    found = torch.stack(chosen.kernels).detach()
    similar = torch.stack([torch.stack([_correlation(own, other) for other in planted]) for own in found])
    return bool(max(similar.trace(), similar.flip(0).trace()) / 2 > 0.98 and similar.max(0).values.min() > 0.98)


def _correlation(one, other):
    """Return the largest correlation of two kernels over shifts."""
    pad = torch.nn.functional.pad(other.view(1, 1, -1), [19, 19])
    return torch.nn.functional.conv1d(pad, one.view(1, 1, -1)).abs().max()
