"""The contract of all activation functions, of the paper and of the extensions."""

from functools import partial

import pytest
import torch
from conftest import choices
from hydra.utils import get_class
from omegaconf import OmegaConf

from san.activations import Extrema, ExtremaPoolIndices, SparseActivation, TopKAbsolutes
from san.cli.config import CONF
from san.cli.parts import instantiate
from san.extensions.annealing import AnnealedExtrema
from san.extensions.dropout import DropoutExtrema
from san.extensions.growing import GrowingNetwork
from san.extensions.territory import Territory
from san.extensions.warping import WarpedNetwork
from san.networks import SparselyActivatedNetwork, TrainingStep

SPACES = [(40,), (9, 12)]
SIZES = [3, 5]


def selects_from_similarity(name):
    config = OmegaConf.load(CONF / "activation" / f"{name}.yaml")
    return issubclass(get_class(config.get("activation", config)._target_), SparseActivation)


@pytest.fixture(params=filter(selects_from_similarity, choices("activation")))
def activation(request, compose):
    return instantiate(compose(f"activation={request.param}"), "activation")


@pytest.fixture(params=SPACES, ids=["1d", "2d"])
def maps(request):
    torch.manual_seed(0)
    return torch.randn(3, 2, *request.param, dtype=torch.float64)


def test_maps_have_the_shape_and_dtype_of_the_similarity(activation, maps):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        result = activation(maps.to(dtype), SIZES)
        assert result.shape == maps.shape
        assert result.dtype == dtype
    assert activation(maps[:0], SIZES).shape == (0, *maps.shape[1:])


def test_kept_values_are_unchanged_and_all_others_exactly_zero(activation, maps):
    before = maps.clone()
    result = activation(maps, SIZES)
    assert torch.equal(maps, before)
    assert ((result == maps) | (result == 0)).all()
    assert result.any()


def test_examples_and_kernels_do_not_interact(activation, maps):
    """Kernels of one model compete in Territory, so its kernels are of different models here."""
    whole = activation(maps, SIZES, n_models=2 if isinstance(activation, Territory) else 1)
    for example in range(3):
        for kernel, size in enumerate(SIZES):
            alone = activation(maps[example : example + 1, kernel : kernel + 1], [size])
            assert torch.equal(whole[example, kernel], alone[0, 0])


def test_memory_layout_does_not_matter(activation, maps):
    strided = maps.transpose(0, -1).contiguous().transpose(0, -1)
    assert not strided.is_contiguous()
    assert torch.equal(activation(strided, SIZES), activation(maps, SIZES))


def test_one_kernel_size_applies_to_all_kernels(activation, maps):
    assert torch.equal(activation(maps, 4), activation(maps, [4, 4]))


@pytest.mark.usefixtures("untyped")
def test_the_gradient_is_a_multiplication_by_the_mask(activation, maps):
    assert torch.autograd.gradcheck(lambda x: activation(x, SIZES), maps[:1].clone().requires_grad_())


def test_a_map_of_zeros_stays_zero(activation, maps):
    assert not activation(torch.zeros_like(maps), SIZES).any()


NETWORKS = {
    "plain": SparselyActivatedNetwork,
    "growing": partial(GrowingNetwork, every=1),
    "warped": partial(WarpedNetwork, n_scales=2),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("name", choices("activation"))
def test_an_empty_batch_has_empty_maps_and_reconstructions_and_a_gradient_of_zero(compose, name, n_dims, network):
    encoder = instantiate(compose(f"activation={name}"), "activation")
    bank, space = NETWORKS[network]([3, 3, 4, 4], encoder, n_dims, n_models=2), [20, 17][:n_dims]
    x = torch.zeros(0, 1, *space)
    for step in (None, TrainingStep(epoch=0, batch=0, rank=1, world_size=2)):
        encoder.step = step
        with torch.no_grad():
            maps = bank.encode(x)
            assert bank.decode(maps).shape == bank(x).shape == (0, 2, *space)
        assert maps.shape == bank.encode(x).shape == (0, 4, *space)
        reconstruction = bank(x)
        assert reconstruction.shape == bank.decode(bank.encode(x)).shape == (0, 2, *space)
        bank.weight.grad = None
        reconstruction.sum().backward()
        assert bank.weight.grad.count_nonzero() == 0


def test_density_follows_the_definition_of_the_paper():
    assert TopKAbsolutes().density(6, (28, 28)) == 16
    assert TopKAbsolutes().density(7, (1000,)) == 142
    assert TopKAbsolutes().density(9, (8,)) == 1
    assert ExtremaPoolIndices().density(7, (1000,)) == 7
    assert Extrema(border_tolerance=3).density(10, (1000,)) == 7
    assert Extrema(border_tolerance=3).density(2, (1000,)) == 1


def test_negative_border_tolerance_is_refused():
    with pytest.raises(ValueError, match="border_tolerance=-1"):
        Extrema(border_tolerance=-1)


def test_the_distance_is_annealed_by_half_a_cosine_in_training_steps_only():
    activation = AnnealedExtrema(epochs=5, border_tolerance=3)
    assert activation.density(43, (1000,)) == 40
    distances = []
    for epoch in range(7):
        with activation.during(TrainingStep(epoch, batch=0)):
            distances.append(activation.density(43, (1000,)))
            assert activation.density(3, (1000,)) == 1
    assert distances == [1, 6, 20, 34, 40, 40, 40]
    assert activation.density(43, (1000,)) == 40
    activation.epochs = 1
    with activation.during(TrainingStep(0, batch=0)):
        assert activation.density(43, (1000,)) == 40


def test_annealing_needs_at_least_one_epoch():
    with pytest.raises(ValueError, match=r"^epochs=-1 must be an integer, 1 or more"):
        AnnealedExtrema(epochs=-1)


def test_a_share_of_the_activations_is_dropped_in_training_steps_only(maps):
    activation, whole = DropoutExtrema(0.3, seed=0), Extrema()(maps, SIZES)
    assert torch.equal(activation(maps, SIZES), whole)
    counts = []
    for epoch in range(100):
        with activation.during(TrainingStep(epoch, batch=0)):
            dropped = activation(maps, SIZES)
        assert ((dropped == whole) | (dropped == 0)).all()
        counts.append(int(dropped.count_nonzero()))
    assert sum(counts) == pytest.approx(70 * int(whole.count_nonzero()), rel=0.05)
    with pytest.raises(ValueError, match=r"^probability=1 must be at least 0 and below 1"):
        DropoutExtrema(1, seed=0)


def test_the_dropped_activations_are_a_function_of_seed_epoch_batch_and_example(maps):
    def dropped(seed=0, x=maps, n_models=1, **step):
        activation = DropoutExtrema(0.5, seed=seed)
        with activation.during(TrainingStep(**{"epoch": 3, "batch": 2} | step)):
            return activation(x, SIZES * n_models, n_models)

    assert torch.equal(dropped(), dropped())
    others = [dropped(seed=1), dropped(epoch=2), dropped(batch=1), dropped(epoch=2, batch=3)]
    assert len({tuple(map(tuple, kept.nonzero().tolist())) for kept in (dropped(), *others)}) == 5
    for rank in range(2):
        assert torch.equal(dropped(x=maps[rank::2], rank=rank, world_size=2), dropped()[rank::2])
    assert torch.equal(dropped(x=maps.repeat(1, 3, *[1] * (maps.dim() - 2)), n_models=3)[:, 4:], dropped())
