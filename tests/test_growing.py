"""The network that adds and drops kernels while training."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from conftest import results

from san import evaluate
from san.activations import Extrema, Identity
from san.checkpoint import read
from san.extensions.growing import GrowingNetwork
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork
from san.training.callbacks.kernel_growth import KernelGrowth


def weight_of(path):
    return read(path)["state_dict"]["network.weight"]


def mean_phi(network, x):
    with torch.no_grad():
        maps = network.encode(x)
        ratio = inverse_compression_ratio(maps, network.n_weights())
        return float(phi(ratio, normalized_reconstruction_loss(network.decode(maps), x)).mean())


@pytest.mark.parametrize("n_dims", [1, 2])
def test_the_initial_network_has_only_its_first_kernel(n_dims):
    x = torch.randn(2, 1, *[30] * n_dims)
    network = GrowingNetwork([7, 7, 7], Extrema(), n_dims, every=1, seed=0)
    alone = SparselyActivatedNetwork([7], Extrema(), n_dims, seed=0)
    assert torch.allclose(network(x), alone(x), atol=1e-6)
    assert network.n_weights() == alone.n_weights()
    assert network.n_weights("side") == 7
    assert network.in_use(0) == [True, False, False]


@pytest.mark.parametrize("n_dims", [1, 2])
def test_a_kernel_is_added_from_the_window_of_the_largest_residual(n_dims):
    network = GrowingNetwork([5, 5], Identity(), n_dims, every=2, seed=0)
    with torch.no_grad():
        network.weight[0] = 1e-6
    x = 0.01 * torch.randn(3, 1, *[20] * n_dims, generator=torch.Generator().manual_seed(0))
    window = torch.randn([5] * n_dims, generator=torch.Generator().manual_seed(1)) + 4
    x[(1, 0, *[slice(8, 13)] * n_dims)] = window
    assert network.change_kernels(x, x, F.l1_loss, "samples").tolist() == [False, True]
    assert torch.allclose(network.kernels[1], window / window.norm(), atol=1e-3)
    assert network.n_weights() == 2 * 5**n_dims


def test_kernels_change_every_few_epochs_but_not_in_the_first(untyped):
    changes = []

    class Network:
        weight = torch.zeros(2, 5)

        def change_kernels(self, *arguments):
            changes.append((trainer.current_epoch, *arguments))
            return torch.tensor([False, True])

    network = Network()
    state = {network.weight: {"step": torch.tensor(1.0), "exp_avg": torch.ones(2, 5)}}
    one_process = SimpleNamespace(broadcast=lambda changed: changed)
    trainer = SimpleNamespace(current_epoch=0, optimizers=[SimpleNamespace(state=state)], strategy=one_process)
    module = SimpleNamespace(network=network, loss=F.l1_loss, count_weights="samples")
    growth = KernelGrowth(torch.zeros(1), torch.ones(1), every=2)
    for trainer.current_epoch in range(5):
        growth.on_train_epoch_start(trainer, module)
        n_changes = len(changes)
        assert n_changes == trainer.current_epoch // 2
        assert state[network.weight]["exp_avg"].tolist() == [[1] * 5, [1 if n_changes == 0 else 0] * 5]
    assert [change[0] for change in changes] == [2, 4]
    assert changes[0][1:] == (growth.train, growth.validation, F.l1_loss, "samples")


def test_kernels_are_dropped_while_validation_phi_falls_and_one_remains():
    torch.manual_seed(0)
    x = torch.randn(3, 1, 60)
    network = GrowingNetwork([5, 5, 5], Extrema(), every=1, seed=0)
    with torch.no_grad():
        network.weight.copy_(torch.randn(3, 5))
    single = SparselyActivatedNetwork([5], Extrema())
    phi_of_kernels = []
    for kernel in range(3):
        with torch.no_grad():
            single.weight[0] = network.weight[kernel]
        phi_of_kernels.append(mean_phi(single, x))
    before = mean_phi(network, x)
    network._drop_kernels(x, F.l1_loss, "samples")
    assert mean_phi(network, x) <= before
    assert sum(network.in_use(0)) == 1
    assert mean_phi(network, x) == pytest.approx(phi_of_kernels[network.in_use(0).index(True)])


def test_the_models_of_a_bank_change_as_they_do_alone():
    x = torch.randn(4, 1, 80, generator=torch.Generator().manual_seed(0))
    sizes = [[5, 5], [8, 8], [20, 20]]
    bank = GrowingNetwork([5, 5, 8, 8, 20, 20], Extrema(), every=1, n_models=3, seed=0)
    networks = [GrowingNetwork(sizes_of_model, Extrema(), every=1, seed=0) for sizes_of_model in sizes]
    for _ in range(3):
        for network in (bank, *networks):
            network.change_kernels(x, x, F.l1_loss, "samples")
        for index, alone in enumerate(networks):
            assert torch.allclose(bank.model(index).weight, alone.weight, atol=1e-5)
            assert bank.n_weights(model=index) == alone.n_weights()


def test_a_run_and_the_evaluation_of_its_checkpoint_count_the_kernels_in_use(run, run_train, tmp_path):
    common = ["network=growing", "network.every=2", "n_kernels=3", "kernel_size=20", "trainer.max_epochs=7"]
    folder, _ = run_train("run", *common)
    trained = results(folder)
    in_use = (weight_of(folder / "checkpoints" / "best.ckpt") != 0).any(1)
    assert trained["n_weights"] == 20 * int(in_use.sum())
    assert not set(trained["dead_kernels"]) & set((~in_use).nonzero().flatten().tolist())
    code, message = run(evaluate.main, f"checkpoint={folder}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert code == 0, message
    evaluated = results(tmp_path / "evaluated")
    assert evaluated["test"] == trained["test"]
    assert (evaluated["n_weights"], evaluated["dead_kernels"]) == (trained["n_weights"], trained["dead_kernels"])


def test_a_dropped_kernel_stays_dropped_until_one_is_added_in_its_place(run_train, monkeypatch):
    in_use_before_changes = []
    drop_kernels = GrowingNetwork._drop_kernels

    def drop_the_first(network, x, loss, count):
        in_use_before_changes.append(network.in_use(0))
        drop_kernels(network, x, loss, count)
        with torch.no_grad():
            network.weight[0] = 0

    monkeypatch.setattr(GrowingNetwork, "_drop_kernels", drop_the_first)
    monkeypatch.setattr(GrowingNetwork, "_add_kernels", lambda *_: None)
    common = [
        "network=growing",
        "network.every=3",
        "n_kernels=1",
        "kernel_size=20",
        "trainer.max_epochs=7",
        "figure=[]",
    ]
    folder, _ = run_train("run", *common)
    assert in_use_before_changes == [[True], [False]]
    assert not weight_of(folder / "checkpoints" / "last.ckpt").any()


def test_a_resumed_run_grows_as_an_uninterrupted_run(run_train, tmp_path):
    common = ["network=growing", "network.every=2", "n_kernels=3", "kernel_size=20", "figure=[]"]
    uninterrupted, _ = run_train("uninterrupted", *common, "trainer.max_epochs=6")
    run_train("short", *common, "trainer.max_epochs=4")
    resumed, _ = run_train("resumed", *common, "trainer.max_epochs=6", f"checkpoint={tmp_path / 'short'}")
    assert results(uninterrupted)["phi_per_epoch"] == results(resumed)["phi_per_epoch"]
    assert results(uninterrupted)["test"] == results(resumed)["test"]
    last = [weight_of(folder / "checkpoints" / "last.ckpt") for folder in (uninterrupted, resumed)]
    assert torch.equal(*last)


def test_the_epochs_between_changes_are_at_least_one():
    with pytest.raises(ValueError, match=r"^every=0 must be an integer, 1 or more"):
        GrowingNetwork([5], Extrema(), every=0)
