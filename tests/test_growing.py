"""Kernels that are created while training, and dropped."""

import pytest
import torch
import torch.nn.functional as F
from conftest import results

from san import evaluate
from san.activations import Extrema, Identity
from san.checkpoint import read
from san.growing import GrowingNetwork
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork


def weights(path):
    return read(path)["state_dict"]["network.weight"]


def mean_phi(network, x):
    with torch.no_grad():
        maps = network.encode(x)
        ratio = inverse_compression_ratio(maps, network.n_weights())
        return float(phi(ratio, normalized_reconstruction_loss(network.decode(maps), x)).mean())


@pytest.mark.parametrize("n_dims", [1, 2])
def test_it_begins_as_a_network_of_its_first_kernel(n_dims):
    x = torch.randn(2, 1, *[30] * n_dims)
    network = GrowingNetwork([7, 7, 7], Extrema(), n_dims, every=1, seed=0)
    alone = SparselyActivatedNetwork([7], Extrema(), n_dims, seed=0)
    assert torch.allclose(network(x), alone(x), atol=1e-6)
    assert network.n_weights() == alone.n_weights()
    assert network.n_weights("side") == 7
    assert network.in_use == [True, False, False]


@pytest.mark.parametrize("n_dims", [1, 2])
def test_a_kernel_is_made_from_the_window_of_the_largest_error(n_dims):
    network = GrowingNetwork([5, 5], Identity(), n_dims, every=2, seed=0)
    with torch.no_grad():
        network.weight[0] = 1e-6
    x = 0.01 * torch.randn(3, 1, *[20] * n_dims, generator=torch.Generator().manual_seed(0))
    window = torch.randn([5] * n_dims, generator=torch.Generator().manual_seed(1)) + 4
    x[(1, 0, *[slice(8, 13)] * n_dims)] = window
    assert network.begin_epoch(0, x, x, F.l1_loss, "samples") is None
    assert network.begin_epoch(3, x, x, F.l1_loss, "samples") is None
    assert network.begin_epoch(2, x, x, F.l1_loss, "samples").tolist() == [False, True]
    assert torch.allclose(network.kernels[1], window / window.norm(), atol=1e-3)
    assert network.n_weights() == 2 * 5**n_dims


def test_kernels_are_dropped_as_long_as_validation_phi_falls_and_one_stays():
    torch.manual_seed(0)
    x = torch.randn(3, 1, 60)
    network = GrowingNetwork([5, 5, 5], Extrema(), every=1, seed=0)
    with torch.no_grad():
        network.weight.copy_(torch.randn(3, 5))
    tried = SparselyActivatedNetwork([5], Extrema())
    lowest = []
    for kernel in range(3):
        with torch.no_grad():
            tried.weight[0] = network.weight[kernel]
        lowest.append(mean_phi(tried, x))
    before = mean_phi(network, x)
    network._drop(x, F.l1_loss, "samples")
    assert mean_phi(network, x) <= before
    assert sum(network.in_use) == 1
    assert mean_phi(network, x) == pytest.approx(lowest[network.in_use.index(True)])


def test_the_models_of_a_bank_change_as_if_alone():
    x = torch.randn(4, 1, 80, generator=torch.Generator().manual_seed(0))
    sizes = [[5, 5], [8, 8], [20, 20]]
    bank = GrowingNetwork([5, 5, 8, 8, 20, 20], Extrema(), every=1, n_models=3, seed=0)
    networks = [GrowingNetwork(own, Extrema(), every=1, seed=0) for own in sizes]
    for epoch in (1, 2, 3):
        for network in (bank, *networks):
            network.begin_epoch(epoch, x, x, F.l1_loss, "samples")
        for index, alone in enumerate(networks):
            assert torch.allclose(bank.model(index).weight, alone.weight, atol=1e-5)
            assert bank.n_weights(model=index) == alone.n_weights()


def test_a_run_counts_what_is_in_use_as_the_evaluation_of_its_checkpoint_does(run, run_train, tmp_path):
    common = ["network=growing", "network.every=2", "n_kernels=3", "kernel_size=20", "trainer.max_epochs=7"]
    folder, _ = run_train("run", *common)
    left = results(folder)
    in_use = (weights(folder / "checkpoints" / "best.ckpt") != 0).any(1)
    assert left["n_weights"] == 20 * int(in_use.sum())
    assert not set(left["dead_kernels"]) & set((~in_use).nonzero().flatten().tolist())
    code, said = run(evaluate.main, f"checkpoint={folder}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert code == 0, said
    evaluated = results(tmp_path / "evaluated")
    assert evaluated["test"] == left["test"]
    assert (evaluated["n_weights"], evaluated["dead_kernels"]) == (left["n_weights"], left["dead_kernels"])


def test_what_is_dropped_stays_so_until_a_kernel_is_made_in_its_place(run_train, monkeypatch):
    seen = []
    drop = GrowingNetwork._drop

    def drop_the_first(network, x, loss, count):
        seen.append(network.in_use)
        drop(network, x, loss, count)
        with torch.no_grad():
            network.weight[0] = 0

    monkeypatch.setattr(GrowingNetwork, "_drop", drop_the_first)
    monkeypatch.setattr(GrowingNetwork, "_create", lambda *_: None)
    common = ["network=growing", "network.every=3", "kernel_size=20", "trainer.max_epochs=7", "figure=[]"]
    folder, _ = run_train("run", *common)
    assert seen == [[True], [False]]
    assert not weights(folder / "checkpoints" / "last.ckpt").any()


def test_a_resumed_run_grows_as_one_that_ran_through(run_train, tmp_path):
    common = ["network=growing", "network.every=2", "n_kernels=3", "kernel_size=20", "figure=[]"]
    through, _ = run_train("through", *common, "trainer.max_epochs=6")
    run_train("short", *common, "trainer.max_epochs=4")
    resumed, _ = run_train("resumed", *common, "trainer.max_epochs=6", f"checkpoint={tmp_path / 'short'}")
    assert results(through)["phi_per_epoch"] == results(resumed)["phi_per_epoch"]
    assert results(through)["test"] == results(resumed)["test"]
    last = [weights(folder / "checkpoints" / "last.ckpt") for folder in (through, resumed)]
    assert torch.equal(*last)


def test_epochs_between_changes_are_counted():
    with pytest.raises(ValueError, match=r"network.every=0 must be an integer, 1 or more"):
        GrowingNetwork([5], Extrema(), every=0)
