"""The code for CUDA on fake tensors: each result stays on the device, and is copied to the host only where it must be.

A fake tensor has a device and a shape but no samples, so no GPU is needed. The tests answer the questions
about samples: one round of a selection is followed by another, and a description has seven activations.
"""

from contextlib import contextmanager

import pytest
import torch
from conftest import choices
from torch._subclasses import FakeTensorMode

from san.activations import Extrema
from san.averages import MeanPhi
from san.cli.parts import instantiate
from san.extensions.bank_metrics import models_as_examples
from san.extensions.growing import GrowingNetwork
from san.extensions.warping import WarpedNetwork
from san.metrics import inverse_compression_ratio, loss_per_example, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork
from san.ops import convolution, placement, vectorized
from san.training.classifiers import CNN, FNN

SPACES = pytest.mark.parametrize("space", [(40,), (9, 12)], ids=["signal", "image"])
SIZES = [3, 3, 5, 5]


@pytest.fixture
def copies(monkeypatch):
    """The questions about samples, each of which waits for the device."""
    asked = []

    def answer(question):
        asked.append(question)
        return len(asked) % 2 == 1

    for module in (vectorized, convolution, placement):
        monkeypatch.setattr(module, "bool", answer, raising=False)
    monkeypatch.setattr(torch.Tensor, "nonzero", lambda maps: maps.new_zeros(7, maps.dim(), dtype=torch.int64))
    return asked


@contextmanager
def fake_tensors():
    with FakeTensorMode(), torch.no_grad():
        yield


def are_on_the_device(*tensors):
    return all(tensor.device.type == "cuda" for tensor in tensors)


@SPACES
@pytest.mark.parametrize(
    ("name", "options", "n_copies"),
    [
        ("topk_absolutes", ([2, 3, 4, 50],), 0),
        ("extrema_pool_indices", ([2, 3, 4, 5], False), 0),
        ("extrema", ([2, 3, 4, 50], True), 2),
        ("territory", ([2, 3, 4, 50], 2, True), 2),
    ],
)
@fake_tensors()
def test_selections_stay_on_the_device(copies, space, name, options, n_copies):
    keep = getattr(vectorized, name)(torch.empty(3, 4, *space, device="cuda"), *options)
    assert are_on_the_device(keep)
    assert keep.shape == (3, 4, *space)
    assert len(copies) == n_copies


@SPACES
@pytest.mark.parametrize("sign", [1, -1])
@fake_tensors()
def test_placements_stay_on_the_device(copies, space, sign):
    x = torch.empty(3, 1, *space, device="cuda")
    weight, values = torch.empty(4, *[5] * len(space), device="cuda"), torch.empty(7, device="cuda")
    index = torch.zeros(7, 2 + len(space), dtype=torch.int64, device="cuda")
    assert are_on_the_device(
        vectorized.gather(x, weight, index, SIZES, sign),
        vectorized.place(values, weight, index, SIZES, sign, (3, 2, *space)),
        vectorized.weigh(values, x, index, SIZES, sign, 5),
    )
    assert not copies


@SPACES
@pytest.mark.parametrize("decoder", ["paper", "adjoint"])
@pytest.mark.parametrize("name", sorted({*choices("activation")} - {"phi_pursuit"}))
def test_networks_and_metrics_stay_on_the_device(copies, compose, name, decoder, space):
    activation = instantiate(compose(f"activation={name}"), "activation")
    network = SparselyActivatedNetwork(SIZES, activation, len(space), n_models=2, seed=0, decoder=decoder)
    with fake_tensors():
        network.weight = torch.nn.Parameter(torch.empty(network.weight.shape, device="cuda"))
        x = torch.empty(3, 1, *space, device="cuda")
        maps, reconstruction = network.encode(x), network(x)
        ratio = inverse_compression_ratio(maps[:, :2], 6, 1)
        loss = normalized_reconstruction_loss(reconstruction[:, :1], x, torch.nn.functional.l1_loss)
        assert are_on_the_device(maps, reconstruction, network.decode(maps), ratio, loss, phi(ratio, loss))


FORMS = {
    "plain": (SparselyActivatedNetwork, {}),
    "channels": (SparselyActivatedNetwork, {"channels": 3}),
    "rank1": (SparselyActivatedNetwork, {"channels": 3, "kernel": "rank1"}),
    "growing": (GrowingNetwork, {"every": 1}),
    "warped": (WarpedNetwork, {"n_scales": 2}),
}


@SPACES
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_networks_and_their_constraints_stay_on_the_device(copies, space, form):
    """Autograd needs a GPU even for fake tensors, so nothing is differentiated."""
    kind, options = FORMS[form]
    network = kind(SIZES, Extrema(), len(space), n_models=2, seed=0, **options)
    with fake_tensors():
        network.weight = torch.nn.Parameter(torch.empty(network.weight.shape, device="cuda"))
        x = torch.empty(3, options.get("channels", 1), *space, device="cuda")
        described, examples = models_as_examples(network(x), x, network.n_models)
        losses = loss_per_example(described, examples, torch.nn.functional.l1_loss)
        network.constrain()
        assert are_on_the_device(losses, network.weight)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_averages_stay_on_the_device():
    with FakeTensorMode(), torch.device("cuda"):
        average = MeanPhi(n_models=2)
        average.update(torch.empty(6), torch.empty(6))
        assert are_on_the_device(average.compute())


@SPACES
@pytest.mark.parametrize("classifier", [CNN, FNN])
def test_classifiers_stay_on_the_device(classifier, space):
    with FakeTensorMode(), torch.device("cuda"):
        logits = classifier([2 * size for size in space], 5)(torch.empty(3, 1, *(2 * size for size in space)))
        assert are_on_the_device(logits)
        assert logits.shape == (3, 5)


def test_a_command_multiplies_in_full_precision_on_a_gpu(run_train, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    run_train("run", "debug=one_batch")
    assert not torch.backends.cudnn.allow_tf32
