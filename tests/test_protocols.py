"""One bank of models, evaluated by two protocols: each number counts weights as its protocol says."""

import pytest
import torch
from omegaconf import OmegaConf

from san.cli.bank import evaluate_bank, train_bank
from san.cli.build import load_dataset
from san.cli.config import CONF
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork

SIZES = [3, 6]


@pytest.fixture
def bank_of(compose):
    """Train a bank as a reproduction does; return the bank and the results by protocol."""

    def bank_of(*overrides):
        common = ["activation_name=extrema", "activation=extrema", "trainer.max_epochs=3", "logger=[]"]
        config = compose(*common, "trainer.enable_progress_bar=false", *overrides, name="sweep")
        bank = train_bank(config, SIZES, load_dataset(config))
        results = {}
        for name in ("honest", "paper"):
            config.protocol = OmegaConf.load(CONF / "protocol" / f"{name}.yaml")
            results[name], _, checkpoints = evaluate_bank(bank)
            for model, checkpoint in zip(results[name], checkpoints, strict=True):
                model["network"] = SparselyActivatedNetwork(
                    model["kernel_sizes"], bank.module.network.activation, bank.module.network.n_dims
                )
                weight = checkpoint["state_dict"]["network.weight"]
                model["network"].load_state_dict({"weight": weight})
        return bank, results

    return bank_of


@torch.no_grad()
def metrics_of(network, x, n_weights):
    maps = network.encode(x)
    cr_inverse = inverse_compression_ratio(maps, n_weights)
    loss = normalized_reconstruction_loss(network.decode(maps), x)
    values = {"phi": phi(cr_inverse, loss), "cr_inverse": cr_inverse, "loss_normalized": loss}
    return {name: float(value.mean()) for name, value in values.items()}


def test_the_validation_and_test_metrics_of_images_count_weights_by_the_protocol(bank_of):
    bank, by_protocol = bank_of("dataset=synthetic_images", "optimizer.lr=0.3")
    for protocol, power in (("honest", 2), ("paper", 1)):
        for model, size in zip(by_protocol[protocol], SIZES, strict=True):
            assert model["n_weights"] == size**power
            for split, x in (("validation", bank.splits.validation), ("test", bank.splits.test)):
                expected = metrics_of(model["network"], x, size**power)
                found = {name: model[split][name] for name in expected}
                assert found == pytest.approx(expected, abs=1e-5), (protocol, split)
    for honest, paper in zip(by_protocol["honest"], by_protocol["paper"], strict=True):
        assert None not in honest["phi_per_epoch"]
        assert honest["phi_per_epoch"][honest["best_epoch"] - 1] == honest["validation"]["phi"]
        assert paper["phi_per_epoch"] == [None, None, paper["validation"]["phi"]]


def test_the_metrics_of_signals_are_those_of_the_training_in_both_protocols(bank_of):
    bank, by_protocol = bank_of("dataset=synthetic")
    per_epoch = bank.selection.validation_per_epoch
    for protocol, epoch in (("honest", None), ("paper", 2)):
        for index, model in enumerate(by_protocol[protocol]):
            tested = model["best_epoch"] - 1 if epoch is None else epoch
            assert model["validation"] == {name: values[index] for name, values in per_epoch[tested].items()}
            assert model["phi_per_epoch"] == bank.selection.phi_per_epoch(index)
