"""Baseline methods: exact fits and allocations, and examples that do not depend on one another."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linprog

from san.activations import Extrema
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork
from san.peers.allocation import allocate_atoms
from san.peers.channels_alone import ChannelsAlone
from san.peers.least_absolute import fit_least_absolute, solve_least_absolute
from san.peers.least_squares import LeastSquaresPath
from san.peers.pursuit import pursue
from san.peers.tuning import METHODS, mean_metrics

SETTINGS = {"patches_omp": {"alpha": 1}, "csc": {"sparsity": 0.5}}
LEVELS = {
    "patches_omp": [{"n_nonzero": 1}, {"tolerance": 0.1}, {"tolerance_or_none": 0.3}, {"n_nonzero_by_phi": 3}],
    "csc": [{"threshold": 0.2}, {"threshold_by_phi": 0.1}],
}


def walks(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).cumsum(-1)


def peer(name, x, n_kernels=3, kernel_size=5):
    pytest.importorskip(METHODS[name].package, reason="not installed: pip install 'sparsely-activated-networks[peers]'")
    return METHODS[name](x, kernel_size=kernel_size, n_kernels=n_kernels, seed=0, **SETTINGS[name])


def phi_of(of_peer, x, level, loss=F.l1_loss):
    """Return φ of each example."""
    n_weights = of_peer.n_weights()
    ((maps, reconstruction),) = of_peer.describe(x, [level], loss=loss, n_weights=n_weights)
    ratio = inverse_compression_ratio(maps, n_weights, x.shape[1])
    return phi(ratio, normalized_reconstruction_loss(reconstruction, x, loss))


def lowest_absolute_error(atoms, samples):
    """By the primal program: the sum of the positive and negative parts of the residual."""
    n_atoms, n_samples = atoms.shape
    costs = np.concatenate([np.zeros(n_atoms), np.ones(2 * n_samples)])
    equal = np.hstack([atoms.T, np.eye(n_samples), -np.eye(n_samples)])
    bounds = [(None, None)] * n_atoms + [(0, None)] * (2 * n_samples)
    return linprog(costs, A_eq=equal, b_eq=samples, bounds=bounds).fun


@pytest.mark.parametrize("rounded", [False, True], ids=["continuous", "with ties"])
@pytest.mark.parametrize(("n_atoms", "n_samples"), [(1, 1), (1, 9), (2, 8), (3, 30), (5, 5), (8, 40)])
def test_the_least_absolute_fit_is_optimal(n_atoms, n_samples, rounded):
    generator = np.random.default_rng(n_atoms)
    atoms = generator.normal(size=(20, n_atoms, n_samples))
    samples = 1000 * generator.normal(size=(20, n_samples))
    samples[:, ::3] = 0
    if rounded:
        samples = 1000 * np.round(samples / 1000)
    start = np.stack([np.linalg.lstsq(a.T, s)[0] for a, s in zip(atoms, samples, strict=True)])
    fitted = fit_least_absolute(atoms, samples, start)
    for of_atoms, of_samples, amplitudes in zip(atoms, samples, fitted, strict=True):
        error = np.abs(of_samples - amplitudes @ of_atoms).sum()
        optimum = lowest_absolute_error(of_atoms, of_samples)
        assert error == pytest.approx(optimum, rel=1e-6, abs=1e-6 * np.abs(of_samples).sum())
        alone = solve_least_absolute(of_atoms.T, of_samples)
        assert np.abs(of_samples - alone @ of_atoms).sum() == pytest.approx(error, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("dependent", [False, True])
def test_the_least_squares_of_every_number_of_atoms_are_those_of_one_fit_each(dependent):
    """By plain fits; dependent atoms have many amplitudes of one reconstruction."""
    generator = np.random.default_rng(2)
    atoms, samples = generator.normal(size=(30, 9)), generator.normal(size=30)
    atoms[20:, 4:] = 0
    if dependent:
        atoms[:, 6] = atoms[:, 4] - atoms[:, 0]
    atoms[:, 3] = atoms[:, 1] if dependent else atoms[:, 1] + 1e-3 * generator.normal(size=30)
    path = LeastSquaresPath(atoms, samples)
    for n_atoms in range(1, 10):
        plain = np.linalg.lstsq(atoms[:, :n_atoms], samples)[0]
        np.testing.assert_allclose(path.solve(n_atoms), plain, atol=1e-8)


def test_the_least_absolute_fit_ignores_samples_without_an_atom():
    generator = np.random.default_rng(3)
    atoms, samples = np.zeros((40, 3)), generator.normal(size=40)
    atoms[5:20] = generator.normal(size=(15, 3))
    error = np.abs(samples - atoms @ solve_least_absolute(atoms, samples)).sum()
    assert error == pytest.approx(lowest_absolute_error(atoms.T, samples), rel=1e-9)


def test_the_least_absolute_fit_of_one_atom_is_a_weighted_median():
    atoms, samples = np.array([[[1.0, 2, 1, 1, 1]]]), np.array([[1.0, 6, 2, 90, 4]])
    assert fit_least_absolute(atoms, samples, np.array([[9.0]])) == pytest.approx(np.array([[3]]))
    assert fit_least_absolute(atoms, 0 * samples, np.array([[0.0]])).tolist() == [[0]]


@pytest.mark.parametrize("seed", range(8))
def test_atoms_are_allocated_with_the_lowest_phi_of_all_allocations(seed):
    """And never with a higher φ than one atom at a time, in the patch where φ falls most."""
    generator = np.random.default_rng(seed)
    losses = np.sort(generator.uniform(0, 1, size=(4, 4)))[:, ::-1]
    losses[:, 2] = losses[:, 1 + seed % 2]  # a first or second atom that lowers nothing

    def phi_with(n_atoms):
        total = sum(of_patch[n] for of_patch, n in zip(losses, n_atoms, strict=True))
        return np.hypot((4 + 3 * sum(n_atoms)) / 100, total / losses[:, 0].sum())

    allocated = allocate_atoms(losses, n_weights=4, n_samples=100, n_dims=2).tolist()
    assert phi_with(allocated) == pytest.approx(min(map(phi_with, product(range(4), repeat=4))), rel=1e-12)
    greedy = [0, 0, 0, 0]
    while sum(greedy) < 12:
        one_more = [[n + (at == patch) for at, n in enumerate(greedy)] for patch in range(4) if greedy[patch] < 3]
        greedy = min(one_more, key=phi_with)
        assert phi_with(allocated) <= phi_with(greedy)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shape", [(1, 37), (3, 37), (1, 9, 8), (2, 9, 8)])
def test_an_example_is_described_the_same_in_any_batch(name, shape):
    x = walks(4, *shape) * torch.tensor([1.0, 1, 20, 0.1]).view(4, *[1] * len(shape))
    of_peer = peer(name, x, kernel_size=4)
    options = {"loss": F.l1_loss, "n_weights": of_peer.n_weights()}
    together = list(of_peer.describe(x, LEVELS[name], **options))
    assert any(maps.count_nonzero() for maps, _ in together)
    for index in range(4):
        alone = of_peer.describe(x[index : index + 1], LEVELS[name], **options)
        for of_batch, of_one in zip(together, alone, strict=True):
            for values, value in zip(of_batch, of_one, strict=True):
                torch.testing.assert_close(values[index], value[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shape", [(3, 37), (2, 9, 8)])
def test_an_activation_places_all_channels_of_its_atom_and_counts_once(name, shape):
    n_channels, *space = shape
    x = walks(3, *shape)
    of_peer = peer(name, x, n_kernels=2, kernel_size=4)
    atoms = of_peer.atoms.reshape(-1, n_channels, *[4] * len(space))
    assert np.linalg.norm(of_peer.atoms, axis=1) == pytest.approx(np.ones(len(atoms)))
    assert of_peer.n_weights() == len(atoms) * n_channels * 4 ** len(space)
    options = {"loss": F.l1_loss, "n_weights": of_peer.n_weights()}
    measured = mean_metrics(of_peer, x, LEVELS[name], loss=F.l1_loss, count_weights="samples")
    for found, (maps, reconstruction) in zip(measured, of_peer.describe(x, LEVELS[name], **options), strict=True):
        assert maps.shape == (3, len(atoms), *space)
        rebuilt = torch.zeros_like(x)
        for example, kernel, *position in maps.nonzero().tolist():
            for channel, *offset in product(range(n_channels), *[range(4)] * len(space)):
                at = [start + by for start, by in zip(position, offset, strict=True)]
                if name == "csc":  # whose convolution is circular
                    at = [index % length for index, length in zip(at, space, strict=True)]
                elif any(index >= length for index, length in zip(at, space, strict=True)):
                    continue  # padding of the last patch
                rebuilt[(example, channel, *at)] += (
                    maps[(example, kernel, *position)] * atoms[(kernel, channel, *offset)]
                )
        torch.testing.assert_close(reconstruction, rebuilt, atol=1e-4, rtol=0)
        stored = of_peer.n_weights() + (len(space) + 1) * maps.count_nonzero(dim=tuple(range(1, maps.dim())))
        ratio, lost = stored / x[0].numel(), (x - rebuilt).abs().flatten(1).sum(1) / x.abs().flatten(1).sum(1)
        assert found["cr_inverse"] == pytest.approx(float(ratio.mean()))
        assert found["loss_normalized"] == pytest.approx(float(lost.mean()), abs=1e-4)
        assert found["phi"] == pytest.approx(float(torch.hypot(ratio, lost).mean()), abs=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_events_of_two_channels_are_one_activation_each(name):
    """Two channels of one event, of opposite signs, at three positions that begin patches."""
    event = torch.stack([torch.tensor([1.0, 2, -1, 3]), -torch.tensor([2.0, 1, 4, 0])])
    x = torch.zeros(1, 2, 40)
    for at, amplitude in ((0, 2), (12, -1), (32, 3)):
        x[0, :, at : at + 4] = amplitude * event
    of_peer = peer(name, x, n_kernels=1, kernel_size=4)
    of_peer.atoms = (event / event.norm()).double().view(1, 8).numpy()
    level = {"patches_omp": {"n_nonzero_by_phi": 1}, "csc": {"threshold_by_phi": 0.1}}[name]
    assert phi_of(of_peer, x, level).item() == pytest.approx((2 * 4 + 2 * 3) / 80, abs=1e-4)


@pytest.mark.parametrize("loss", [F.l1_loss, F.mse_loss])
@torch.no_grad()
def test_channels_alone_count_all_their_numbers_over_all_samples(loss):
    x = walks(3, 2, 60) * torch.tensor([1.0, 10]).view(2, 1)
    networks = [SparselyActivatedNetwork(sizes, Extrema(2), decoder="adjoint", seed=0) for sizes in ([5], [4, 7])]
    (found,) = mean_metrics(ChannelsAlone(networks), x, [{}], loss=loss, count_weights="samples")
    n_numbers, lost = 0, 0
    for channel, network in enumerate(networks):
        own = x[:, channel : channel + 1]
        n_numbers = n_numbers + sum(network.kernel_sizes) + 2 * network.encode(own).count_nonzero(dim=(1, 2))
        lost = lost + loss(network(own), own, reduction="none").sum((1, 2))
    ratios, losses = n_numbers / 120, lost / loss(torch.zeros_like(x), x, reduction="none").sum((1, 2))
    assert found["cr_inverse"] == pytest.approx(float(ratios.mean()))
    assert found["loss_normalized"] == pytest.approx(float(losses.mean()))
    assert found["phi"] == pytest.approx(float(torch.hypot(ratios, losses).mean()))


@pytest.mark.parametrize("loss", [F.l1_loss, F.mse_loss])
@pytest.mark.parametrize("shape", [(1, 38), (2, 38), (1, 9, 8), (2, 9, 8)])
def test_patches_with_the_lowest_phi_have_a_lower_phi_than_every_other_level(shape, loss):
    x = walks(5, *shape)
    of_peer = peer("patches_omp", x, kernel_size=4)
    lowest = phi_of(of_peer, x, {"n_nonzero_by_phi": 3}, loss)
    for name, values in {"n_nonzero": (1, 2, 3), "tolerance": (0.01, 0.1, 1), "tolerance_or_none": (0.1, 1)}.items():
        for value in values:
            assert (lowest <= phi_of(of_peer, x, {name: value}, loss) + 1e-6).all()
    assert (phi_of(of_peer, x, {"n_nonzero_by_phi": 1}, loss) >= lowest - 1e-6).all()


def test_the_padding_of_the_last_patch_does_not_count_in_phi():
    """One sample of 5 and padding: an amplitude of 5 / 4 for each sample lowers the error to 15 / 4."""
    x = torch.zeros(1, 1, 25)
    x[..., -1] = 5
    of_peer = peer("patches_omp", x, n_kernels=1, kernel_size=4)
    of_peer.atoms = np.full((1, 4), 0.5)
    assert phi_of(of_peer, x, {"n_nonzero_by_phi": 1}).item() == pytest.approx(np.hypot((4 + 2) / 25, 3 / 4))


@pytest.mark.parametrize(("loss", "fit"), [(F.l1_loss, "least absolute"), (F.mse_loss, "least squares")])
def test_amplitudes_are_fitted_to_the_loss(loss, fit):
    x = walks(2, 1, 160)
    of_peer = peer("patches_omp", x, kernel_size=40)
    ((maps, reconstruction),) = of_peer.describe(x, [{"n_nonzero_by_phi": 3}], loss=loss, n_weights=120)
    errors = loss(reconstruction, x, reduction="none").view(2, 4, 40).sum(2)
    n_several = 0
    for (example, patch), error in np.ndenumerate(errors.numpy()):
        kernels = maps[example, :, 40 * patch].nonzero().flatten().numpy()
        samples = x[example, 0, 40 * patch : 40 * patch + 40].double().numpy()
        atoms = of_peer.atoms[kernels]
        squares = np.square(samples - np.linalg.lstsq(atoms.T, samples)[0] @ atoms).sum() if len(atoms) else 0
        optimum = lowest_absolute_error(atoms, samples) if fit == "least absolute" else squares
        if len(atoms):
            assert error == pytest.approx(optimum, rel=1e-4)
            n_several += len(atoms) > 1
    assert n_several


def path_of_scikit_learn(atoms, patches):
    """Pursue one patch after another."""
    from sklearn.linear_model import orthogonal_mp_gram

    gram, n_steps = atoms @ atoms.T, min(atoms.shape)
    pursuits = np.zeros((len(patches), 1 + n_steps, len(atoms)))
    for pursuit, correlation in zip(pursuits, patches @ atoms.T, strict=True):
        steps = orthogonal_mp_gram(gram, correlation, n_nonzero_coefs=n_steps, return_path=True)
        steps = steps.reshape(len(atoms), -1).T
        pursuit[1 : 1 + len(steps)] = steps
        pursuit[1 + len(steps) :] = pursuit[len(steps)]
    return pursuits


@pytest.mark.filterwarnings("ignore:.*Orthogonal matching pursuit ended prematurely")
@pytest.mark.parametrize("kind", ["independent", "repeated", "close", "more than samples"])
@pytest.mark.parametrize("n_atoms", [1, 8])
def test_pursuits_of_many_patches_are_those_of_one_patch_after_another(n_atoms, kind):
    pytest.importorskip("sklearn", reason="not installed: pip install 'sparsely-activated-networks[peers]'")
    generator = np.random.default_rng(1)
    atoms = generator.normal(size=(n_atoms, 5 if kind == "more than samples" else 20))
    if kind in ("repeated", "close"):
        atoms[-1] = atoms[0] + (1e-8 * atoms[-1] if kind == "close" else 0)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    patches = 100 * generator.normal(size=(60, atoms.shape[1]))
    patches[0], patches[1], patches[2] = 0, atoms[0], atoms[0] - 2 * atoms[n_atoms // 2]
    plain, found = path_of_scikit_learn(atoms, patches), pursue(atoms, patches)
    if kind in ("repeated", "close") and n_atoms > 1:  # the same atom by another index
        plain, found = plain @ atoms, found @ atoms
    np.testing.assert_allclose(found, plain, atol=1e-6)


def test_pursuits_stop_as_in_scikit_learn():
    x = walks(6, 1, 40)
    of_peer = peer("patches_omp", x, n_kernels=4, kernel_size=10)
    from sklearn.linear_model import orthogonal_mp

    patches = x.double().numpy().reshape(-1, 10) / of_peer.scale
    for level, stop in ({"n_nonzero": 2}, {"n_nonzero_coefs": 2}), ({"tolerance": 0.05}, {"tol": 0.05 * 10}):
        expected = orthogonal_mp(of_peer.atoms.T, patches.T, **stop)
        ((maps, _),) = of_peer.describe(x, [level], loss=F.l1_loss, n_weights=40)
        found = maps[..., ::10].movedim(1, -1).reshape(-1, 4) / of_peer.scale
        np.testing.assert_allclose(found, expected.T, atol=1e-5)
    assert len(set(np.count_nonzero(expected, axis=0))) > 2  # pursuits of different lengths


@pytest.mark.parametrize("loss", [F.l1_loss, F.mse_loss])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_sparse_codes_with_the_lowest_phi_have_a_lower_phi_than_every_threshold(n_channels, loss):
    x = walks(3, n_channels, 60)
    of_peer = peer("csc", x, n_kernels=2)
    lowest = phi_of(of_peer, x, {"threshold_by_phi": 0.05}, loss)
    of_thresholds = torch.stack([phi_of(of_peer, x, {"threshold": 0.05 * 2**power}, loss) for power in range(9)])
    assert (lowest <= of_thresholds.amin(0) + 1e-6).all()
    assert (lowest < of_thresholds.amin(0) - 1e-3).any() == (loss is F.l1_loss)
