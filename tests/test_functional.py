"""The selection functions, compared with loops written from their definitions."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from san.extensions.territory import territory
from san.functional import extrema, extrema_pool_indices, topk_absolutes


@st.composite
def maps_and_densities(draw):
    """Draw maps of small integers, which have many plateaus and ties, in 1-D or 2-D, and a density per kernel."""
    space = draw(st.sampled_from([1, 2]).flatmap(lambda dims: st.tuples(*[st.integers(1, 24 // dims**2)] * dims)))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *space)
    values = st.integers(-3, 3) | st.integers(-100, 100)
    maps = draw(arrays(np.int64, shape, elements=values)).astype(np.float64)
    densities = draw(st.lists(st.integers(1, max(space) + 2), min_size=shape[1], max_size=shape[1]))
    return maps, densities


def each_map(select, maps, densities):
    return np.stack([[select(maps[b, k], d) for k, d in enumerate(densities)] for b in range(len(maps))])


@given(maps_and_densities())
def test_topk_keeps_the_k_largest_samples_of_each_map(case):
    maps, densities = case
    expected = each_map(reference.topk_absolutes, maps, densities)
    assert np.array_equal(topk_absolutes(torch.from_numpy(maps), densities).numpy(), expected)


@given(maps_and_densities(), st.booleans())
def test_pool_keeps_the_largest_sample_of_each_cell(case, ceil_mode):
    maps, densities = case
    expected = each_map(lambda image, d: reference.extrema_pool_indices(image, d, ceil_mode), maps, densities)
    assert np.array_equal(extrema_pool_indices(torch.from_numpy(maps), densities, ceil_mode).numpy(), expected)


@given(maps_and_densities(), st.booleans())
def test_extrema_equals_the_greedy_elimination(case, require_sign):
    maps, densities = case
    expected = each_map(lambda image, d: reference.extrema(image, d, require_sign), maps, densities)
    assert np.array_equal(extrema(torch.from_numpy(maps), densities, require_sign).numpy(), expected)


@given(maps_and_densities(), st.booleans())
def test_territory_equals_the_greedy_elimination_across_all_kernels(case, require_sign):
    maps, densities = case
    expected = np.stack([reference.territory(example, densities, require_sign) for example in maps])
    found = territory(torch.from_numpy(maps), densities, require_sign=require_sign)
    assert np.array_equal(found.numpy(), expected)


@given(maps_and_densities(), st.booleans())
def test_territory_with_one_kernel_per_model_equals_extrema(case, require_sign):
    maps, densities = torch.from_numpy(case[0]), case[1]
    alone = territory(maps, densities, n_models=len(densities), require_sign=require_sign)
    assert torch.equal(alone, extrema(maps, densities, require_sign))


def test_models_do_not_compete_for_territory():
    maps = torch.randn(3, 6, 80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    densities = [3, 9, 5, 5, 20, 1]
    models = [territory(maps[:, first : first + 2], densities[first : first + 2]) for first in (0, 2, 4)]
    assert torch.equal(territory(maps, densities, n_models=3), torch.cat(models, dim=1))
    assert not torch.equal(territory(maps, densities), torch.cat(models, dim=1))
    with pytest.raises(ValueError, match="n_models=4 must divide the number of kernels, 6"):
        territory(maps, densities, n_models=4)


def test_extrema_of_long_noisy_maps_is_exact():
    torch.manual_seed(0)
    signals, images = torch.randn(2, 2, 600, dtype=torch.float64), torch.randn(2, 2, 24, 31, dtype=torch.float64)
    for maps, densities in ((signals, [7, 90]), (images, [1, 4])):
        expected = each_map(reference.extrema, maps.numpy(), densities)
        assert np.array_equal(extrema(maps, densities).numpy(), expected)


@pytest.mark.parametrize(
    ("signal", "distance", "kept"),
    [
        ([0, 1, 2, 3], 1, [3]),  # a rise that ends at the last sample is a peak
        ([3, 2, 1, 0.5], 1, []),  # a fall from the first sample is not
        ([0, 2, 2, 2, 0], 1, [1]),  # a flat top is a peak at its first sample
        ([0, -2, -2, -2, 0], 1, [3]),  # a flat bottom is a valley at its last sample
        ([-1, -3, -2, -3, -1], 1, [1, 3]),  # a negative local maximum is no candidate
        ([3, 1, 2, 1, 3], 1, [2, 4]),  # nor is a positive local minimum
        ([0, 2, 0, 2, 0], 2, [1]),  # of two equal peaks the lower index is kept
        ([0, 2, 0, 0, 2, 0], 2, [1, 4]),  # more than the distance apart, both are kept
        ([0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0], 3, [1, 5, 9]),  # of a rise, every second peak is far enough from the next
        ([0, 0, 0, 0], 1, []),
        ([5.0], 1, []),
        ([0, 1, 0, 9, 0, 1, 0], 99, [3]),
    ],
)
def test_extrema_at_plateaus_ties_and_borders(signal, distance, kept):
    maps = torch.tensor(signal, dtype=torch.float64).view(1, 1, -1)
    assert extrema(maps, distance).flatten().nonzero().flatten().tolist() == kept


@pytest.mark.parametrize("shape", [(2, 3, 0), (2, 3, 0, 4), (2, 3, 4, 0), (0, 3, 5)])
@pytest.mark.parametrize("select", [topk_absolutes, extrema_pool_indices, extrema, territory])
def test_maps_without_samples_have_none_to_keep(select, shape):
    assert select(torch.empty(shape), 2).shape == shape


def test_without_required_sign_extrema_follow_algorithm_3_as_printed():
    maps = torch.tensor([[[-1.0, -3.0, -2.0, -3.0, -1.0]]])
    assert extrema(maps, 1, require_sign=False).flatten().nonzero().flatten().tolist() == [1, 3]
    assert extrema(maps[..., 2:], 1, require_sign=False).flatten().nonzero().flatten().tolist() == [1]
    assert extrema(-maps, 1, require_sign=False).flatten().nonzero().flatten().tolist() == [1, 3]


def test_a_kept_extremum_of_value_zero_has_a_gradient():
    maps = torch.tensor([[[2.0, 0.0, 1.0]]], requires_grad=True)
    extrema(maps, 1).sum().backward()
    assert maps.grad.flatten().tolist() == [0, 0, 1]
    maps = torch.tensor([[[0.0, 0.0, 0.0, 1.0, 3.0]]], requires_grad=True)
    extrema(maps, 1).sum().backward()
    assert maps.grad.flatten().tolist() == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("select", [topk_absolutes, extrema_pool_indices, extrema])
def test_invalid_densities_are_refused(select):
    maps = torch.randn(1, 2, 9)
    with pytest.raises(ValueError, match="must be 1 or more"):
        select(maps, 0)
    with pytest.raises(ValueError, match="3 values for 2 kernels"):
        select(maps, [1, 2, 3])
    assert torch.equal(select(maps, torch.tensor([2, 3])), select(maps, [2, 3]))
    assert torch.equal(select(maps, 2), select(maps, [2, 2]))
