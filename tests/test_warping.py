"""The network whose kernels occur at several learned scales."""

import pytest
import torch
import torch.nn.functional as F
from conftest import results

from san import evaluate
from san.activations import Extrema, Identity
from san.checkpoint import read
from san.extensions.warping import WarpedNetwork
from san.networks import SparselyActivatedNetwork


@pytest.fixture(params=[1, 2], ids=["1d", "2d"])
def n_dims(request):
    return request.param


def test_a_network_with_one_scale_is_a_plain_network(n_dims):
    x = torch.randn(2, 1, *[20] * n_dims)
    plain = SparselyActivatedNetwork([5, 8], Extrema(), n_dims, seed=1)
    warped = WarpedNetwork([5, 8], Extrema(), n_dims, n_scales=1, seed=1)
    assert torch.equal(warped(x), plain(x))
    assert warped.n_weights() == plain.n_weights()


@pytest.mark.parametrize("size", [8, 9])
def test_a_warped_kernel_equals_the_affine_transform_of_torch(n_dims, size):
    network = WarpedNetwork([size] * 3, Identity(), n_dims, n_scales=3, seed=0).double()
    first, *warped = (kernel.detach() for kernel in network.kernels)
    for kernel, scale in zip(warped, (2**-0.5, 2**0.5), strict=True):
        plane = first.expand(1, 1, 3 if n_dims == 1 else size, size)  # a signal is the middle of three equal rows
        theta = torch.tensor([[[1 / scale, 0, 0], [0, 1 / scale, 0]]], dtype=torch.float64)
        sampled = F.grid_sample(plane, F.affine_grid(theta, plane.shape, align_corners=True), align_corners=True)[0, 0]
        assert torch.allclose(kernel, sampled[1] if n_dims == 1 else sampled)


def test_a_kernel_of_one_sample_is_the_same_at_all_scales(n_dims):
    first, second = WarpedNetwork([1, 1], Identity(), n_dims, n_scales=2).kernels
    assert torch.equal(first, second)


def test_a_scale_of_two_doubles_the_distance_of_samples():
    network = WarpedNetwork([9, 9], Identity(), n_scales=2)
    with torch.no_grad():
        network.weight[0] = torch.tensor([9.0, 9, 1, 2, 4, 3, 0, 9, 9])
        network.weight[1, 4] = torch.log(torch.tensor(2.0))
    assert torch.allclose(network.kernels[1], torch.tensor([1, 1.5, 2, 3, 4, 3.5, 3, 1.5, 0]))


def test_the_number_of_weights_has_each_kernel_once_and_one_number_per_other_scale(n_dims):
    network = WarpedNetwork([7] * 4 + [5] * 4, Extrema(), n_dims, n_scales=2, n_models=2)
    assert network.n_weights() == 2 * 7**n_dims + 2
    assert network.n_weights("side", model=1) == 2 * 5 + 2


def test_the_gradient_of_kernels_and_scales_is_right(n_dims):
    network = WarpedNetwork([4, 4], Extrema(1), n_dims, n_scales=2, seed=0).double()
    x = torch.randn(2, 1, *[11] * n_dims, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = network.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda value: torch.func.functional_call(network, {"weight": value}, x), weight)
    (gradient,) = torch.autograd.grad(network(x).square().sum(), network.weight)
    assert gradient[1].count_nonzero() == 1


def test_the_models_of_a_bank_equal_the_same_models_alone(n_dims):
    x = torch.randn(2, 1, *[30] * n_dims)
    bank = WarpedNetwork([3, 3, 6, 6, 7, 7], Extrema(), n_dims, n_scales=2, n_models=3, seed=0)
    for index, sizes in enumerate(bank.sizes_of_models):
        alone = WarpedNetwork(sizes, Extrema(), n_dims, n_scales=2, seed=0)
        assert torch.allclose(bank(x)[:, index], alone(x)[:, 0], atol=1e-5)
        assert torch.allclose(bank.model(index)(x)[:, 0], alone(x)[:, 0], atol=1e-5)


@pytest.mark.slow
def test_a_run_learns_the_scale_and_its_checkpoint_evaluates_to_the_same_numbers(run, run_train, tmp_path):
    folder, _ = run_train(
        "run",
        "network=warped",
        "n_kernels=2",
        "kernel_size=20",
        "trainer.max_epochs=3",
        "figure=[kernels,forward_pass]",
    )
    assert results(folder)["n_weights"] == 21
    weight = read(folder / "checkpoints" / "best.ckpt")["state_dict"]["network.weight"]
    assert weight[1].count_nonzero() == 1
    assert float(weight[1].sum()) != pytest.approx(-0.3466, abs=1e-3)
    code, message = run(evaluate.main, f"checkpoint={folder}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert code == 0, message
    assert results(tmp_path / "evaluated")["test"] == results(folder)["test"]
    assert results(tmp_path / "evaluated")["n_weights"] == 21


def test_kernels_that_do_not_form_whole_groups_of_equal_size_are_refused(run_train):
    _, line = run_train("run", "network=warped", "n_kernels=3", fails=True)
    assert "n_scales=2 must be an integer that divides the number of kernels of a model, 3; set n_kernels" in line
    _, line = run_train("run", "network=warped", "kernel_sizes=[8,9]", fails=True)
    assert "kernel_sizes=[8, 9] must be equal within each group of n_scales=2" in line
