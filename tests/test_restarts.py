"""Kernels from windows of the data: the initial kernels, restarted dead kernels and shifted cropped kernels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from san.cli.build import build_callbacks, build_module
from san.cli.parts import instantiate
from san.extensions.initialization import highest_mean_window, window_sampler
from san.extensions.restarts import renew_kernels
from san.networks import Encoder, SparselyActivatedNetwork, TrainingStep
from san.training.callbacks import kernel_restarts
from san.training.callbacks.kernel_restarts import KernelRestarts

DECODERS = ("paper", "adjoint")


class Known(Encoder):
    """Return given activation maps, whatever the examples."""

    unit_norm = True

    def __init__(self, maps):
        super().__init__()
        self.maps = maps

    def encode(self, x, network):
        return self.maps


def known_network(atoms, maps, decoder, n_models=1):
    """Return a network whose decoder places the given atoms, at norm 1, at the given activations."""
    n_dims = atoms[0].dim()
    network = SparselyActivatedNetwork(
        [len(atom) for atom in atoms], Known(maps), n_dims, decoder=decoder, n_models=n_models, seed=0
    ).double()
    with torch.no_grad():
        for kernel, atom in zip(network.kernels, atoms, strict=True):
            kernel.copy_(unit(atom.flip(tuple(range(n_dims))) if decoder == "paper" else atom))
    return network


def unit(window):
    return window / window.norm()


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def similarity_to_windows(atom, x):
    """Return the highest scalar product of a unit-norm atom and the unit-norm windows of examples, of either sign."""
    windows = x.flatten(0, 1).float()
    for axis, size in enumerate(atom.shape):
        windows = windows.unfold(axis + 1, size, 1)
    flat = windows.reshape(-1, atom.numel())
    return float((F.normalize(flat, dim=1) @ atom.flatten().float()).max())


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("space", [(40,), (12, 13)])
def test_dead_kernels_restart_from_the_windows_with_the_largest_residuals(decoder, space):
    """The second dead kernel restarts from the second largest, because the first is taken."""
    n_dims = len(space)
    size = 5 if n_dims == 1 else 3
    x = 0.01 * noise(3, 1, *space)
    first = (1, 0, *[slice(4, 4 + size)] * n_dims)
    second = (2, 0, *[slice(2, 2 + size)] * n_dims)
    x[first], x[second] = -5 - noise(*[size] * n_dims, seed=1).abs(), noise(*[size] * n_dims, seed=2)
    alive, dead = noise(*[size] * n_dims, seed=3), noise(*[size] * n_dims, seed=4)
    maps = torch.zeros(3, 3, *space, dtype=torch.float64)
    maps[(0, 0, *[6] * n_dims)] = 1e-3
    maps[(1, 0, *[4 + size // 2] * n_dims)] = 0.5  # changes the residual there; the kernel is the window of the example
    network = known_network([alive, dead, dead], maps, decoder)
    renew_kernels(network, x)
    torch.testing.assert_close(network.atoms[1].detach(), unit(x[first]))
    torch.testing.assert_close(network.atoms[2].detach(), unit(x[second]))


def test_a_dead_kernel_restarts_from_the_example_where_its_own_model_has_the_largest_residual():
    """The first model reconstructs the largest window of the examples exactly, the second model nothing."""
    atoms = [noise(4, seed=1), noise(4, seed=2), noise(4, seed=3), noise(4, seed=4)]
    x = 0.01 * noise(2, 1, 30)
    x[0, 0, 10:14], x[1, 0, 20:24] = 9 * unit(atoms[0]), 3 * unit(noise(4, seed=5))
    maps = torch.zeros(2, 4, 30, dtype=torch.float64)
    maps[0, 0, 11] = 9
    maps[0, 2, 0] = 1e-3
    network = known_network(atoms, maps, "adjoint", n_models=2)
    renew_kernels(network, x)
    torch.testing.assert_close(network.atoms[1].detach(), unit(x[1, 0, 20:24]))
    torch.testing.assert_close(network.atoms[3].detach(), unit(x[0, 0, 10:14]))


def extended_by_definition(network, kernel, maps, x):
    """Return w_j + sum_p a_p r_(p + j) / sum_p a_p^2 for j from half a kernel before the atom to half a kernel after.

    The decoder itself says where the atom of an activation starts.
    """
    with torch.no_grad():
        residual = (x - network.decode(maps))[:, 0].numpy()
        alone = torch.zeros_like(maps[:1])
        centre = tuple(length // 2 for length in x.shape[2:])
        alone[(0, kernel, *centre)] = 1
        start = [int(index.min()) - c for index, c in zip(network.decode(alone)[0, 0].nonzero().T, centre, strict=True)]
    extension = network.kernel_sizes[kernel] // 2
    extended = np.pad(network.atoms[kernel].detach().numpy(), extension)
    energy = float(maps[:, kernel].square().sum())
    for example, *position in maps[:, kernel].nonzero().tolist():
        amplitude = float(maps[(example, kernel, *position)])
        for offset in np.ndindex(extended.shape):
            at = tuple(p + s - extension + o for p, s, o in zip(position, start, offset, strict=True))
            if all(0 <= a < length for a, length in zip(at, x.shape[2:], strict=True)):
                extended[offset] += amplitude * residual[(example, *at)] / energy
    return torch.from_numpy(extended)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("space", [(30,), (11, 14)])
def test_a_cropped_kernel_becomes_the_window_of_the_most_energy_around_its_activations(decoder, size, space):
    n_dims = len(space)
    x = 3 * noise(2, 1, *space)
    maps = torch.zeros(2, 2, *space, dtype=torch.float64)
    generator = torch.Generator().manual_seed(4)
    for example, kernel in ((0, 0), (0, 0), (1, 0), (0, 1), (1, 1), (1, 1)):
        maps[(example, kernel, *(int(torch.randint(n, (), generator=generator)) for n in space))] = 1.5 - kernel
    maps[(1, 0, *[0] * n_dims)] = -2  # at the border, where the residual is zero outside
    atoms = [noise(*[size] * n_dims, seed=4), noise(*[size] * n_dims, seed=5)]
    network = known_network(atoms, maps, decoder)
    expected = []
    for kernel in range(2):
        extended = extended_by_definition(network, kernel, maps, x)
        corners = list(np.ndindex(*[extended.shape[0] - size + 1] * n_dims))
        windows = [extended[tuple(slice(c, c + size) for c in corner)] for corner in corners]
        best = max(windows, key=lambda window: float(window.square().sum()))
        middle = extended[(slice(size // 2, size // 2 + size),) * n_dims]
        assert best.square().sum() > 1.1 * middle.square().sum()
        expected.append(unit(best))
    renew_kernels(network, x)
    for atom, window in zip(network.atoms, expected, strict=True):
        torch.testing.assert_close(atom.detach(), window)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_kernel_that_is_a_half_of_its_pattern_is_shifted_to_the_whole(decoder):
    pattern = torch.tensor([1.0, -3, 4, -2], dtype=torch.float64)
    half = torch.tensor([4.0, -2, 0, 0], dtype=torch.float64)
    x, maps = torch.zeros(1, 1, 40, dtype=torch.float64), torch.zeros(1, 1, 40, dtype=torch.float64)
    for start in (5, 15, 27):
        x[0, 0, start : start + 4] = 2 * pattern
        maps[0, 0, start + 2 + (1 if decoder == "adjoint" else 2)] = 2 * half.norm()
    network = known_network([half], maps, decoder)
    renew_kernels(network, x)
    torch.testing.assert_close(network.atoms[0].detach(), unit(pattern))


def test_a_kernel_whose_pattern_is_inside_stays():
    """Energy that grows by less than 2 % does not shift it."""
    atom = unit(torch.tensor([0.05, 1.0, -2, 1], dtype=torch.float64))
    x, maps = torch.zeros(1, 1, 30, dtype=torch.float64), torch.zeros(1, 1, 30, dtype=torch.float64)
    x[0, 0, 10:14], maps[0, 0, 11] = 3 * atom, 3
    x[0, 0, 14] = 0.2
    network = known_network([atom], maps, "adjoint")
    renew_kernels(network, x)
    assert network.atoms[0].equal(atom)


@pytest.mark.usefixtures("untyped")
def test_kernels_are_renewed_every_few_epochs_on_the_first_examples_as_in_a_training_step(monkeypatch):
    found = []
    monkeypatch.setattr(
        kernel_restarts, "renew_kernels", lambda network, x: found.append((network.activation.step, x.clone()))
    )
    x = noise(70, 1, 20)
    network = SparselyActivatedNetwork([3], Known(torch.zeros(64, 1, 20)), seed=0)
    module = SimpleNamespace(network=network, device="cpu")
    callback = KernelRestarts(x, every=3)
    for epoch in range(8):
        callback.on_train_epoch_start(SimpleNamespace(current_epoch=epoch), module)
    assert [step for step, _ in found] == [TrainingStep(3, batch=0), TrainingStep(6, batch=0)]
    assert all(examples.equal(x[:64]) for _, examples in found)
    assert network.activation.step is None


def test_kernels_restart_from_training_examples_if_the_configuration_says_so(compose):
    config = compose("dataset=synthetic", "restart_every=4")
    splits = instantiate(config, "dataset")
    module = build_module(config, splits, [[10]])
    (restarts,) = (one for one in build_callbacks(config, splits, module.network) if isinstance(one, KernelRestarts))
    assert restarts.every == 4
    assert restarts.x.equal(splits.train[:64])
    never = build_callbacks(compose("dataset=synthetic"), splits, module.network)
    assert not any(isinstance(one, KernelRestarts) for one in never)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("dataset", ["synthetic", "synthetic_images"])
def test_the_decoder_places_initial_kernels_from_data_as_windows_of_training_examples(compose, dataset, decoder):
    config = compose(f"dataset={dataset}", f"decoder={decoder}", "initialization=data", "dataset.noise=1")
    splits = instantiate(config, "dataset")
    network = build_module(config, splits, [[9, 12]]).network
    for atom in network.atoms:
        assert similarity_to_windows(atom.detach(), splits.train) == pytest.approx(1, abs=1e-5)
        assert similarity_to_windows(atom.detach(), torch.cat([splits.validation, splits.test])) < 0.999
        assert similarity_to_windows(atom.detach().flip(tuple(range(splits.n_dims))), splits.train) < 0.999
    normal = build_module(compose(f"dataset={dataset}", f"decoder={decoder}"), splits, [[9, 12]]).network
    assert similarity_to_windows(unit(normal.atoms[0].detach()), splits.train) < 0.999


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("n_dims", [1, 2])
def test_initial_kernels_are_windows_of_high_energy_at_norm_1(n_dims, mirrored):
    """Half of the windows of the second example alone have high energy, and one of 20 random windows is among them."""
    x = 1e-3 * noise(2, 1, *[20] * n_dims)
    x[1, 0, :12] *= 1e3
    sampler = window_sampler(x, mirrored)
    for seed in range(20):
        kernel = sampler([4] * n_dims, torch.Generator().manual_seed(seed))
        assert float(kernel.norm()) == pytest.approx(1)
        atom = kernel.flip(tuple(range(n_dims))) if mirrored else kernel
        assert similarity_to_windows(atom, x[1:, :, :16]) == pytest.approx(1, abs=1e-6)


def test_initial_kernels_reach_the_first_and_the_last_window():
    x = torch.tensor([[[3.0, 1, 1, 2]]])
    whole = window_sampler(x, mirrored=False)([4], torch.Generator().manual_seed(0))
    torch.testing.assert_close(whole, F.normalize(x[0, 0], dim=0))
    for signal in (x, x.flip(2)):
        kernel = window_sampler(signal, mirrored=False)([2], torch.Generator().manual_seed(0))
        assert similarity_to_windows(kernel, torch.tensor([[[3.0, 1, 3]]])) == pytest.approx(1)
    with pytest.raises(ValueError, match="kernel_size=5 exceeds the signal length 4; choose 1 to 4"):
        window_sampler(x, mirrored=False)([5], torch.Generator())


def test_initial_kernels_are_drawn_after_the_numbers_of_the_normal_distribution():
    """So a seed gives the same windows as in published results."""
    x = torch.arange(1.0, 101).view(1, 1, 100)
    generator = torch.Generator().manual_seed(0)
    torch.randn([3], generator=generator)
    starts = []
    for _ in range(20):
        torch.randint(1, (), generator=generator)
        starts.append(int(torch.randint(98, (), generator=generator)))
    kernel = window_sampler(x, mirrored=False)([3], torch.Generator().manual_seed(0))
    torch.testing.assert_close(kernel, unit(x[0, 0, max(starts) : max(starts) + 3]))


@pytest.mark.parametrize("space", [(20,), (7, 9)])
def test_the_window_of_the_highest_mean_is_found(space):
    x = noise(3, 1, *space).square()
    size, means = 3, {}
    for example in range(3):
        for corner in np.ndindex(*(n - size + 1 for n in space)):
            index = (example, 0, *(slice(c, c + size) for c in corner))
            means[float(x[index].mean())] = index
    mean, index = highest_mean_window(x, size)
    assert float(mean) == pytest.approx(max(means))
    assert index == means[max(means)]
