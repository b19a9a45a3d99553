import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from san.functional import extrema, extrema_pool_indices, territory, topk_absolutes


@st.composite
def maps_and_densities(draw):
    """Small integers, so that plateaus and ties abound, in one or two dimensions, with a density for each kernel."""
    space = draw(st.sampled_from([1, 2]).flatmap(lambda dims: st.tuples(*[st.integers(1, 24 // dims**2)] * dims)))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *space)
    values = st.integers(-3, 3) | st.integers(-100, 100)
    maps = draw(arrays(np.int64, shape, elements=values)).astype(np.float64)
    densities = draw(st.lists(st.integers(1, max(space) + 2), min_size=shape[1], max_size=shape[1]))
    return maps, densities


def each_map(select, maps, densities):
    return np.stack([[select(maps[b, k], d) for k, d in enumerate(densities)] for b in range(len(maps))])


@given(maps_and_densities())
def test_topk_keeps_the_k_largest_of_each_map(case):
    maps, densities = case
    expected = each_map(reference.topk_absolutes, maps, densities)
    assert np.array_equal(topk_absolutes(torch.from_numpy(maps), densities).numpy(), expected)


@given(maps_and_densities(), st.booleans())
def test_pool_keeps_the_largest_of_each_cell(case, ceil_mode):
    maps, densities = case
    expected = each_map(lambda image, d: reference.extrema_pool_indices(image, d, ceil_mode), maps, densities)
    assert np.array_equal(extrema_pool_indices(torch.from_numpy(maps), densities, ceil_mode).numpy(), expected)


@given(maps_and_densities(), st.booleans())
def test_extrema_keeps_what_the_greedy_elimination_keeps(case, require_sign):
    maps, densities = case
    expected = each_map(lambda image, d: reference.extrema(image, d, require_sign), maps, densities)
    assert np.array_equal(extrema(torch.from_numpy(maps), densities, require_sign).numpy(), expected)


@given(maps_and_densities(), st.booleans())
def test_territory_keeps_what_the_greedy_elimination_across_all_kernels_keeps(case, require_sign):
    maps, densities = case
    expected = np.stack([reference.territory(example, densities, require_sign) for example in maps])
    found = territory(torch.from_numpy(maps), densities, require_sign=require_sign)
    assert np.array_equal(found.numpy(), expected)


@given(maps_and_densities(), st.booleans())
def test_territory_of_models_of_one_kernel_is_that_of_extrema(case, require_sign):
    maps, densities = torch.from_numpy(case[0]), case[1]
    alone = territory(maps, densities, n_models=len(densities), require_sign=require_sign)
    assert torch.equal(alone, extrema(maps, densities, require_sign))


def test_models_do_not_compete_for_territory():
    maps = torch.randn(3, 6, 80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    densities = [3, 9, 5, 5, 20, 1]
    models = [territory(maps[:, own : own + 2], densities[own : own + 2]) for own in (0, 2, 4)]
    assert torch.equal(territory(maps, densities, n_models=3), torch.cat(models, dim=1))
    assert not torch.equal(territory(maps, densities), torch.cat(models, dim=1))
    with pytest.raises(ValueError, match="6 kernels cannot be shared evenly by n_models=4"):
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
        ([0, 1, 2, 3], 1, [3]),  # a rise that ends at the last sample counts
        ([3, 2, 1, 0.5], 1, []),  # a fall from the first does not
        ([0, 2, 2, 2, 0], 1, [1]),  # a flat top counts at its first sample
        ([0, -2, -2, -2, 0], 1, [3]),  # a flat bottom at its last
        ([-1, -3, -2, -3, -1], 1, [1, 3]),  # a negative local maximum does not count
        ([3, 1, 2, 1, 3], 1, [2, 4]),  # nor does a positive local minimum
        ([0, 2, 0, 2, 0], 2, [1]),  # of equal ones the lower index stays
        ([0, 2, 0, 0, 2, 0], 2, [1, 4]),  # at more than the distance both do
        ([0, 0, 0, 0], 1, []),
        ([5.0], 1, []),
        ([0, 1, 0, 9, 0, 1, 0], 99, [3]),
    ],
)
def test_extrema_at_plateaus_ties_and_borders(signal, distance, kept):
    maps = torch.tensor(signal, dtype=torch.float64).view(1, 1, -1)
    assert extrema(maps, distance).flatten().nonzero().flatten().tolist() == kept


def test_sign_is_not_asked_for_where_algorithm_3_is_taken_as_printed():
    maps = torch.tensor([[[-1.0, -3.0, -2.0, -3.0, -1.0]]])
    assert extrema(maps, 1, require_sign=False).flatten().nonzero().flatten().tolist() == [1, 3]
    assert extrema(maps[..., 2:], 1, require_sign=False).flatten().nonzero().flatten().tolist() == [1]
    assert extrema(-maps, 1, require_sign=False).flatten().nonzero().flatten().tolist() == [1, 3]


def test_an_extremum_of_value_zero_has_the_gradient_of_what_is_kept():
    maps = torch.tensor([[[2.0, 0.0, 1.0]]], requires_grad=True)
    extrema(maps, 1).sum().backward()
    assert maps.grad.flatten().tolist() == [0, 0, 1]
    maps = torch.tensor([[[0.0, 0.0, 0.0, 1.0, 3.0]]], requires_grad=True)
    extrema(maps, 1).sum().backward()
    assert maps.grad.flatten().tolist() == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("select", [topk_absolutes, extrema_pool_indices, extrema])
def test_density_is_checked(select):
    maps = torch.randn(1, 2, 9)
    with pytest.raises(ValueError, match="below 1"):
        select(maps, 0)
    with pytest.raises(ValueError, match="3 values for 2 kernels"):
        select(maps, [1, 2, 3])
    assert torch.equal(select(maps, torch.tensor([2, 3])), select(maps, [2, 3]))
    assert torch.equal(select(maps, 2), select(maps, [2, 2]))
