"""The encoder that searches for the description of the lowest phi."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from brute import lowest_phi
from conftest import results
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from benchmarks import plain
from san import evaluate
from san.activations import Extrema
from san.cli.config import CONF
from san.extensions.initialization import window_sampler
from san.extensions.phi_pursuit import PhiPursuit
from san.extensions.restarts import renew_kernels
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork, TrainingStep
from san.ops.compiled import pursuit as compiled_search

DEFAULTS = OmegaConf.load(CONF / "activation" / "phi_pursuit.yaml").activation
NUMBERS = ("max_activations", "max_work", "patience", "refinements", "training_refinements", "perturbations")


def pursuit(**options):
    """Return the encoder with the numbers of its configuration, the absolute error and W in samples."""
    numbers = {name: DEFAULTS[name] for name in NUMBERS}
    return PhiPursuit(**{"loss": "torch.nn.functional.l1_loss", "count_weights": "samples", **numbers, **options})


def training():
    return TrainingStep(epoch=0, batch=0)


def network_of(kernels, activation, decoder="adjoint", n_models=1):
    sizes = [len(kernel) for kernel in kernels]
    network = SparselyActivatedNetwork(
        sizes, activation, kernels[0].dim(), decoder=decoder, n_models=n_models, seed=0
    ).double()
    with torch.no_grad():
        for target, kernel in zip(network.kernels, kernels, strict=True):
            target.copy_(kernel)
    return network


@torch.no_grad()
def phi_of(network, maps, x, loss=torch.nn.functional.l1_loss):
    ratio = inverse_compression_ratio(maps, network.n_weights(), network.channels).double()
    return phi(ratio, normalized_reconstruction_loss(network.decode(maps), x, loss))


def unit(*values):
    return torch.nn.functional.normalize(torch.tensor(values, dtype=torch.float64), dim=0)


@st.composite
def problems(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    is_image = draw(st.booleans())
    space = [draw(st.integers(6, 12)), draw(st.integers(6, 12))] if is_image else [draw(st.integers(8, 90))]
    sizes = draw(st.lists(st.integers(2, 6), min_size=1, max_size=3))
    kernels = []
    for size in sizes:
        kernel = torch.randn([size] * len(space), generator=generator, dtype=torch.float64)
        kernels.append(kernel / kernel.norm())
    x = torch.randn([draw(st.integers(1, 3)), 1, *space], generator=generator, dtype=torch.float64)
    return x, kernels, draw(st.sampled_from(["paper", "adjoint"]))


def test_phi_is_close_to_the_lowest_phi_over_all_supports():
    ratios = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        kernel, x = random.standard_normal(3), random.standard_normal(12)
        kernel /= np.linalg.norm(kernel)
        network = network_of([torch.tensor(kernel)], pursuit())
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
def test_more_refinements_or_perturbations_never_raise_phi(options, problem, loss):
    x, kernels, decoder = problem
    values = []
    for option in options:
        network = network_of(kernels, pursuit(loss=f"torch.nn.functional.{loss.__name__}", **option), decoder)
        values.append(phi_of(network, network.encode(x), x, loss))
    for less, more in pairwise(values):
        assert (more <= less + 1e-6).all()


def test_perturbations_improve_on_refinement():
    """The signal is noise, where greedy selection does not lead to the best description."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 1, 300, generator=generator, dtype=torch.float64).cumsum(2)
    kernels = [torch.nn.functional.normalize(torch.randn(12, generator=generator, dtype=torch.float64), dim=0)]
    refined, perturbed = (network_of(kernels, pursuit(perturbations=number)) for number in (0, 8))
    gains = 1 - phi_of(perturbed, perturbed.encode(x), x) / phi_of(refined, refined.encode(x), x)
    assert gains.min() > 0
    assert gains.mean() > 0.01


@settings(max_examples=60)
@given(problems())
def test_phi_is_never_above_the_phi_of_extrema(problem):
    x, kernels, decoder = problem
    searching = network_of(kernels, pursuit(), decoder)
    extrema = network_of(kernels, Extrema(), decoder)
    assert (phi_of(searching, searching.encode(x), x) <= phi_of(extrema, extrema.encode(x), x) + 1e-6).all()


@settings(max_examples=40)
@given(problems())
def test_encoding_is_deterministic_and_examples_and_models_do_not_interact(problem):
    x, kernels, decoder = problem
    network = network_of(kernels, pursuit(), decoder)
    maps = network.encode(x)
    assert maps.equal(network.encode(x))
    assert maps.equal(torch.cat([network.encode(example.unsqueeze(0)) for example in x]))
    bank = network_of([*kernels, *reversed(kernels)], pursuit(), decoder, n_models=2)
    assert bank.encode(x)[:, : len(kernels)].equal(maps)


@pytest.mark.parametrize("loss", [torch.nn.functional.l1_loss, torch.nn.functional.mse_loss])
@pytest.mark.parametrize("space", [(120,), (14, 11)])
def test_the_norms_of_the_kernels_change_the_amplitudes_alone(space, loss):
    generator = torch.Generator().manual_seed(0)
    options, one = {"loss": f"torch.nn.functional.{loss.__name__}"}, [1] * len(space)
    factors = torch.tensor([100, 0.013, 1, 1e-4, 3], dtype=torch.float64).view(-1, *one)
    for decoder in ("paper", "adjoint"):
        kernels = [
            torch.randn([size] * len(space), generator=generator, dtype=torch.float64) for size in (4, 5, 5, 7, 3)
        ]
        unit_kernels = [kernel / kernel.norm() for kernel in kernels]
        scaled = [factor * kernel for factor, kernel in zip(factors.flatten(), unit_kernels, strict=True)]
        x = torch.randn(3, 1, *space, generator=generator, dtype=torch.float64)
        unscaled, network = (network_of(given, pursuit(**options), decoder) for given in (unit_kernels, scaled))
        for step in (None, training()):
            unscaled.activation.step = network.activation.step = step
            expected, maps = unscaled.encode(x), network.encode(x)
            assert (maps != 0).equal(expected != 0)
            torch.testing.assert_close(maps * factors, expected)
            torch.testing.assert_close(phi_of(network, maps, x, loss), phi_of(unscaled, expected, x, loss))


@pytest.mark.parametrize("space", [(120,), (14, 11)])
def test_a_power_of_two_and_the_rounding_of_a_unit_norm_change_no_bit(space):
    n_dims = len(space)
    x = torch.randn(2, 1, *space, generator=torch.Generator().manual_seed(0))
    network = SparselyActivatedNetwork([5, 8], pursuit(), n_dims, seed=0)
    norms = network.weight.detach().double().flatten(1).norm(dim=1)
    assert (norms != 1).all()
    expected = network.encode(x)
    factors = torch.tensor([64.0, 0.125]).view(-1, *[1] * n_dims)
    with torch.no_grad():
        network.weight.mul_(factors)
    assert (network.encode(x) * factors).equal(expected)


def test_a_kernel_of_zeros_has_no_activations():
    x = torch.randn(2, 1, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps = network_of([unit(1, 3, -2), torch.zeros(3)], pursuit()).encode(x)
    assert maps[:, 0].any()
    assert not maps[:, 1].any()


def test_separate_instances_are_found_with_their_positions_and_amplitudes():
    x = torch.zeros(1, 1, 60, dtype=torch.float64)
    kernel = unit(1, 3, -2, 1, 2)
    x[0, 0, 10:15], x[0, 0, 30:35] = 2 * kernel, -3 * kernel
    maps = network_of([kernel], pursuit()).encode(x)
    assert maps.nonzero()[:, 2].tolist() == [12, 32]
    torch.testing.assert_close(maps[maps != 0], torch.tensor([2.0, -3.0], dtype=torch.float64))


def test_exactly_fitted_samples_have_no_gradient():
    """An amplitude that is a weighted median fits one sample exactly, up to rounding."""
    network = network_of([unit(1.0, 2.0, -1.0, 0.5)], pursuit()).float()
    x = torch.zeros(1, 1, 20)
    x[0, 0, 5:9] = torch.tensor([1.0, 2.0, -1.0, 0.3])
    weights = network.weight.detach()[0]
    (amplitude,) = network.encode(x).flatten()[network.encode(x).flatten() != 0]
    residual = x[0, 0, 5:9] - amplitude * weights
    assert (residual.abs() < 1e-6).tolist() == [True, True, True, False]
    (network(x) - x).abs().sum().backward()
    torch.testing.assert_close(network.weight.grad[0], torch.tensor([0, 0, 0, float(amplitude)]))


@pytest.mark.parametrize("module_training", [False, True], ids=["eval", "train"])
@settings(max_examples=20)
@given(problems())
def test_only_a_training_step_changes_the_encoding(module_training, problem):
    """A network in training mode outside of a training step encodes as in evaluation."""
    x, kernels, decoder = problem
    network = network_of(kernels, pursuit(), decoder)
    expected = network.eval().encode(x)
    network.train(module_training)
    assert network.encode(x).equal(expected)
    with network.activation.during(training()):
        network.encode(x)
    assert network.encode(x).equal(expected)


def test_a_training_step_searches_less():
    """A training step has its own number of refinements, and neither an alternative start nor perturbations."""
    x = torch.randn(8, 1, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64).cumsum(2)
    network = network_of([unit(1, 3, -2, 1, 2)], pursuit()).train()
    in_evaluation = phi_of(network, network.encode(x), x)
    with network.activation.during(training()):
        maps = network.encode(x)
    in_training = phi_of(network, maps, x)
    without_perturbations = network_of([unit(1, 3, -2, 1, 2)], pursuit(refinements=0, perturbations=0))
    with without_perturbations.activation.during(training()):
        assert without_perturbations.encode(x).equal(maps)
    assert (in_evaluation <= in_training + 1e-9).all()
    assert (in_evaluation < in_training - 1e-6).any()


def test_the_gradient_treats_the_maps_as_constants():
    x = torch.randn(2, 1, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network = network_of([unit(1, 2, 3), unit(2, -1, 0.5)], pursuit())
    with network.activation.during(training()):
        (network(x) - x).square().mean().backward()
        found, maps = network.weight.grad.clone(), network.encode(x)
    network.weight.grad = None
    (network.partial_reconstructions(maps).sum(1, keepdim=True) - x).square().mean().backward()
    torch.testing.assert_close(found, network.weight.grad)


@settings(max_examples=10)
@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(20, 120))
def test_greedy_selection_equals_the_plain_search(seed, size, n):
    """The positions are the same, and the amplitudes to 1e-6."""
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.nn.functional.normalize(torch.randn(size, generator=generator, dtype=torch.float64), dim=0)
    x = torch.randn(n, generator=generator, dtype=torch.float64)
    network = network_of([kernel], pursuit(training_refinements=0))
    with network.activation.during(training()):
        maps = network.encode(x.view(1, 1, -1)).flatten()
    torch.testing.assert_close(maps, plain.pursue(x, kernel, 10), atol=1e-6, rtol=0)


def test_limits_of_activations_and_work_hold():
    x = torch.randn(1, 1, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    few = network_of([unit(1, 2, 1)], pursuit(max_activations=3)).encode(x)
    assert 1 <= few.count_nonzero() <= 3
    short = network_of([unit(1, 2, 1)], pursuit(max_work=1)).encode(x)
    assert short.isfinite().all()


def test_a_search_is_compiled_once_for_any_number_of_activations():
    x = torch.zeros(3, 1, 60, dtype=torch.float64)
    for example, position in ((1, 10), (2, 10), (2, 40)):
        x[example, 0, position : position + 5] = torch.hann_window(5, periodic=False, dtype=torch.float64)
    network = network_of([torch.nn.functional.normalize(x[1, 0, 10:15], dim=0)], pursuit())
    assert network.encode(x).flatten(1).count_nonzero(1).tolist() == [0, 1, 2]
    functions = [one for one in vars(compiled_search).values() if hasattr(one, "signatures")]
    assert len(functions) > 20
    assert {one.__name__: len(one.signatures) for one in functions if len(one.signatures) > 1} == {}


def test_a_signal_of_zeros_has_no_activations():
    assert not network_of([unit(1, 2, 1)], pursuit()).encode(torch.zeros(2, 1, 20, dtype=torch.float64)).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["activation.max_activations=0"], "activation.max_activations=0 must be an integer, 1 or more"),
        (["activation.refinements=-1"], "activation.refinements=-1 must be an integer, 0 or more"),
        (["activation.max_work=0"], "activation.max_work=0 must be a number, 1 or more"),
        (["activation.perturbations=-1"], "activation.perturbations=-1 must be an integer, 0 or more"),
        (
            ["loss._target_=torch.nn.functional.huber_loss"],
            "huber_loss must be one of torch.nn.functional.l1",
        ),
        (["kernel_size=1", "n_kernels=2"], "2 unit-norm kernels of one sample are equal; use n_kernels=1"),
        (["kernel_size=1001"], "kernel_size=1001 exceeds the signal length 1000"),
        (["network=growing", "n_kernels=2"], "use network=plain"),
        (["initialization=window"], "initialization=window must be one of normal, data"),
        (["restart_every=0"], "restart_every=0 must be an integer of at least 1"),
    ],
)
def test_invalid_options_are_reported_in_one_line(run_train, options, message):
    _, line = run_train("run", "activation=phi_pursuit", "debug=one_batch", "dataset=physionet", *options, fails=True)
    assert line.startswith("san: ")
    assert message in line


@pytest.mark.parametrize("loss", ["l1", pytest.param("mse", marks=pytest.mark.slow)])
def test_a_model_is_trained_resumed_and_evaluated_to_the_same_numbers(run, run_train, tmp_path, loss):
    common = ["activation=phi_pursuit", "n_kernels=2", "kernel_size=20", f"loss={loss}"]
    uninterrupted, _ = run_train("uninterrupted", *common, "trainer.max_epochs=8")
    short, _ = run_train("short", *common, "trainer.max_epochs=6")
    resumed, _ = run_train("resumed", *common, "trainer.max_epochs=8", f"checkpoint={short}")
    for key in ("test", "validation", "phi_per_epoch", "best_epoch"):
        assert results(resumed)[key] == results(uninterrupted)[key]
    code, message = run(evaluate.main, f"checkpoint={uninterrupted}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert code == 0, message
    assert results(tmp_path / "evaluated")["test"] == results(uninterrupted)["test"]
    state = torch.load(uninterrupted / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(state["network.weight"].norm(dim=1), torch.ones(2))


@pytest.mark.slow
def test_planted_kernels_are_recovered():
    """Learn two kernels whose instances overlap, with noise, by gradient steps on the reconstruction."""
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
        network = network_of(list(planted[:, 0]), pursuit())
        with torch.no_grad():
            x = network.decode(maps)
        x = x + 0.05 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        recovered += _recovers(x, planted[:, 0], seed)
    assert recovered >= 9


def _recovers(x, planted, seed):
    found = torch.stack(learned(x, seed, pursuit, lr=0.02, steps=60))
    similar = torch.stack([torch.stack([correlation(kernel, other) for other in planted]) for kernel in found])
    return bool(max(similar.trace(), similar.flip(0).trace()) / 2 > 0.98 and similar.max(0).values.min() > 0.98)


def learned(x, seed, encoder, *, lr, steps, **options):
    """Return the two kernels of the lowest validation phi of four starts; the last four examples validate."""
    best, chosen = float("inf"), None
    for start_index in range(4):
        network = SparselyActivatedNetwork(
            [20, 20],
            encoder(),
            decoder="adjoint",
            seed=seed,
            start_indices=[start_index],
            sampler=window_sampler(x, mirrored=False),
            **options,
        ).double()
        optimizer = torch.optim.Adam(network.parameters(), lr=lr)
        for step in range(steps):
            optimizer.zero_grad()
            with network.activation.during(training()):
                (network(x[:8]) - x[:8]).abs().mean().backward()
                optimizer.step()
                network.constrain()
                if step % 10 == 9 and step < steps - 10:
                    renew_kernels(network, x[:8])
        validation = float(phi_of(network, network.encode(x[8:]), x[8:]).mean())
        if validation < best:
            best, chosen = validation, network
    return [kernel.detach() for kernel in chosen.kernels]


def correlation(kernel, other, shifts=19):
    """Return the largest correlation of two kernels over shifts, in absolute value."""
    padded = torch.nn.functional.pad(other.view(1, 1, -1), [shifts, shifts])
    return torch.nn.functional.conv1d(padded, kernel.view(1, 1, -1)).abs().max()


def test_samples_fitted_up_to_rounding_are_returned_exactly_and_without_a_gradient():
    """The sign of a rounding error has no effect on the gradient; each example is scaled differently."""
    network = network_of([unit(1.0, 2.0, -1.0, 0.5)], pursuit()).float()
    x = torch.zeros(40, 1, 20)
    x[:, 0, 5:9] = torch.linspace(0.3, 7, 40).unsqueeze(1) * torch.tensor([1.0, 2.0, -1.0, 0.3])
    maps = network.encode(x)
    placed = network.decode(maps).detach()
    is_fitted = torch.ones_like(x, dtype=torch.bool)
    is_fitted[:, :, 8] = False
    assert (placed != x)[is_fitted].any()
    assert network(x)[is_fitted].equal(x[is_fitted])
    assert network(x)[~is_fitted].equal(placed[~is_fitted])
    (network(x) - x).abs().sum().backward()
    torch.testing.assert_close(network.weight.grad[0], torch.tensor([0, 0, 0, float(maps.sum())]))


def test_the_activations_of_extrema_are_an_alternative_start_outside_of_training_steps():
    """Greedy selection stops at a spike that no kernel describes; Extrema also selects the instances after it."""
    kernel = unit(1, 3, -2, 1, 2)
    x = torch.zeros(1, 1, 60, dtype=torch.float64)
    x[0, 0, 5] = 9
    for start in (20, 32, 44):
        x[0, 0, start : start + 5] = kernel
    greedy = pursuit(patience=0, refinements=0, training_refinements=0, perturbations=0)
    network, extrema = network_of([kernel], greedy), network_of([kernel], Extrema())
    torch.testing.assert_close(network.encode(x), extrema.encode(x), rtol=1e-12, atol=0)
    assert extrema.encode(x).count_nonzero() > 3
    with network.activation.during(training()):
        assert not network.encode(x).any()


@pytest.mark.parametrize(
    ("box", "outlier", "value", "greedy", "refined"),
    [
        ((slice(10, 15),), (16,), 2.5, [14], [12]),
        ((slice(6, 11), slice(10, 15)), (12, 12), 11, [10, 12], [8, 12]),
        ((slice(6, 11), slice(10, 15)), (8, 16), 11, [8, 14], [8, 12]),
    ],
    ids=["signal", "rows", "columns"],
)
def test_a_refinement_moves_an_atom_by_two_samples(box, outlier, value, greedy, refined):
    """An outlier two samples beside the box attracts the lowest squared error, but not the lowest absolute error."""
    x = torch.zeros([20] * len(box), dtype=torch.float64)
    x[box], x[outlier] = 1, value
    kernel = torch.ones([5] * len(box), dtype=torch.float64)
    for refinements, expected in ((0, greedy), (1, refined)):
        options = {"max_activations": 1, "training_refinements": refinements}
        network = network_of([kernel / kernel.norm()], pursuit(**options))
        with network.activation.during(training()):
            maps = network.encode(x[None, None])
        assert maps.nonzero()[:, 2:].tolist() == [expected]
    assert float(maps.sum() / kernel.norm()) == pytest.approx(1)


def test_atoms_with_little_energy_inside_the_example_are_not_used():
    """At the border, two weak samples of the kernel would describe the example with an amplitude of 100."""
    x = torch.zeros(1, 1, 20, dtype=torch.float64)
    x[0, 0, 18:] = 1
    maps = network_of([unit(0.01, 0.01, 1, 1)], pursuit()).encode(x)
    assert maps[0, 0, 19] == 0
    assert maps.abs().max() < 2
    inside = network_of([unit(0.1, 0.1, 1, 1)], pursuit()).encode(x)
    assert inside[0, 0, 19] == pytest.approx(10 * np.sqrt(2.02))


@given(problems())
def test_a_refined_amplitude_has_the_lowest_absolute_error(problem):
    """The loss is piecewise linear in one amplitude, so it is lowest at one of the ratios of residual over kernel."""
    x, kernels, decoder = problem
    network = network_of(kernels, pursuit(max_activations=1, training_refinements=1), decoder)
    with network.activation.during(training()):
        maps = network.encode(x)
    for example, of_example in zip(x, maps, strict=True):
        if not of_example.any():
            continue
        atom = network.decode(of_example.sign()[None])[0]
        ratios = (example / atom)[atom != 0]
        errors = (example - ratios.view(-1, *[1] * example.dim()) * atom).flatten(1).abs().sum(1)
        amplitude = of_example.abs().sum()
        assert (ratios - amplitude).abs().min() <= 1e-12 * amplitude
        assert (example - amplitude * atom).abs().sum() <= errors.min() * (1 + 1e-12)
