"""The metrics: hand-computed cases, and means over batches."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torchmetrics import MeanAbsoluteError

from san.metrics import (
    MeanPerModel,
    MeanPhi,
    inverse_compression_ratio,
    loss_per_example,
    normalized_reconstruction_loss,
    phi,
)


def test_inverse_compression_ratio_counts_the_stored_numbers():
    signal = torch.zeros(1, 2, 100)
    signal[0, 0, 3] = signal[0, 1, 7] = signal[0, 1, 8] = -1.0
    assert inverse_compression_ratio(signal, 10) == pytest.approx((10 + 2 * 3) / 100)
    image = torch.zeros(1, 2, 28, 28)
    image.flatten(2)[0, :, :16] = 1
    # Top-k absolutes, m = 6, q = 2 on MNIST: the paper prints 0.14, with the weights counted by side.
    assert inverse_compression_ratio(image, 12) == pytest.approx((12 + 3 * 32) / 784)
    assert inverse_compression_ratio(image, 72) == pytest.approx(0.214, abs=5e-4)


def test_zeros_of_either_sign_are_free():
    assert inverse_compression_ratio(torch.tensor([[[0.0, -0.0, 1e-30]]]), 0) == pytest.approx(2 / 3)


def test_normalized_loss_is_the_ratio_of_mean_absolute_errors():
    torch.manual_seed(0)
    x, reconstruction = torch.randn(3, 1, 50), torch.randn(3, 1, 50)
    for example, loss in enumerate(normalized_reconstruction_loss(reconstruction, x)):
        error = MeanAbsoluteError()(reconstruction[example], x[example])
        assert loss == pytest.approx(float(error / MeanAbsoluteError()(torch.zeros(1, 50), x[example])))
    assert normalized_reconstruction_loss(torch.zeros_like(x), x).tolist() == [1, 1, 1]
    squared = normalized_reconstruction_loss(reconstruction, x, F.mse_loss)
    assert torch.allclose(squared, (reconstruction - x).square().sum(2)[:, 0] / x.square().sum(2)[:, 0])


def test_the_loss_is_averaged_over_all_samples_of_an_image():
    x, reconstruction = torch.arange(1.0, 13).view(2, 1, 2, 3), torch.zeros(2, 1, 2, 3)
    assert loss_per_example(reconstruction, x, F.l1_loss).tolist() == [3.5, 9.5]
    reconstruction[0, 0, 1] = x[0, 0, 1]
    assert normalized_reconstruction_loss(reconstruction, x).tolist() == pytest.approx([6 / 21, 1])


def test_the_loss_is_called_with_the_reconstruction_before_the_example():
    def excess(input, target, reduction):
        assert reduction == "none"
        return (target - input).clamp(min=0) + 3 * (input - target).clamp(min=0)

    found = normalized_reconstruction_loss(torch.tensor([[[3.0, 2.0]]]), torch.tensor([[[2.0, 2.0]]]), excess)
    assert found.tolist() == [3 / (2 + 2)]


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 2)), min_size=1, max_size=20), st.integers(1, 7))
def test_mean_phi_is_exact_over_unequal_batches_and_obeys_jensen(examples, batch_size):
    cr_inverse, loss = torch.tensor(examples).unbind(1)
    mean_phi = MeanPhi()
    for batch in zip(cr_inverse.split(batch_size), loss.split(batch_size), strict=True):
        mean_phi.update(*batch)
    assert torch.allclose(mean_phi.compute(), phi(cr_inverse, loss).mean())
    assert mean_phi.compute() >= torch.hypot(cr_inverse.mean(), loss.mean()) - 1e-6


def test_mean_phi_ignores_empty_batches_and_propagates_nan():
    mean_phi = MeanPhi()
    mean_phi.update(torch.tensor([0.3]), torch.tensor([0.4]))
    mean_phi.update(torch.zeros(0), torch.zeros(0))
    assert mean_phi.compute() == pytest.approx(0.5)
    mean_phi.update(torch.tensor([0.3]), torch.tensor([float("nan")]))
    assert mean_phi.compute().isnan()


def test_each_model_of_a_bank_has_its_mean_over_its_examples():
    """An update has the values of all models for the first example, then for the next."""
    mean = MeanPerModel(n_models=2)
    mean.update(torch.tensor([1.0, 10.0, 2.0, 20.0, 6.0, 60.0]))
    mean.update(torch.tensor([7.0, 70.0]))
    assert mean.compute().tolist() == [4, 40]


def test_the_mean_phi_of_one_model_is_a_scalar_over_the_examples_of_all_ranks():
    first, second = MeanPhi(), MeanPhi()
    first.update(torch.tensor([0.3, 0.3, 0.3]), torch.tensor([0.4, 0.4, 0.4]))
    second.update(torch.tensor([0.0]), torch.tensor([0.9]))
    states = iter((second.total, second.count))
    first.dist_sync_fn = lambda state, **_: [state, next(states)]
    first.distributed_available_fn = lambda: True
    assert first.compute().shape == ()
    assert first.compute() == pytest.approx((3 * 0.5 + 0.9) / 4)


@pytest.mark.parametrize(("fixtures", "checked"), [([], True), (["run"], False), (["typed", "run"], True)])
def test_shapes_are_checked_unless_a_command_runs_as_for_a_user(request, fixtures, checked):
    for fixture in fixtures:
        request.getfixturevalue(fixture)
    with pytest.raises(TypeCheckError) if checked else nullcontext():
        MeanPerModel().update(torch.ones(2, 2))
