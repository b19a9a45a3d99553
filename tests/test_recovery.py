"""The comparison of learned with planted kernels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from san.extensions.recovery import recoveries


def smooth(size, n_dims, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn([size] * n_dims, generator=generator, dtype=torch.float64)


def placed(kernel, size, shift):
    """Return a kernel of another size that holds a kernel, shifted from where both have one position, and its rest."""
    result, inside = torch.zeros([size] * kernel.dim(), dtype=torch.float64), 0.0
    anchor = (size - 1) // 2 - (len(kernel) - 1) // 2
    for index in torch.cartesian_prod(*(torch.arange(len(kernel)) for _ in shift)).view(-1, len(shift)).tolist():
        target = [sample + anchor + by for sample, by in zip(index, shift, strict=True)]
        if all(0 <= sample < size for sample in target):
            result[tuple(target)] = kernel[tuple(index)]
            inside += float(kernel[tuple(index)] ** 2)
    return result, inside / float(kernel.square().sum())


@given(st.integers(1, 2), st.integers(2, 7), st.integers(2, 9), st.data())
def test_a_shifted_and_cropped_kernel_is_found_where_it_is(n_dims, size, learned_size, data):
    kernel = smooth(size, n_dims)
    shift = tuple(data.draw(st.integers(-2, 2)) for _ in range(n_dims))
    atom, inside = placed(kernel, learned_size, shift)
    (found,) = recoveries([kernel], [-3 * atom])
    assert found.correlation >= inside**0.5 - 1e-9  # that at this shift; another one may be higher by chance
    if inside > 1 - 1e-9:
        assert found == (0, pytest.approx(1), shift, pytest.approx(1))


def test_the_border_of_a_learned_kernel_cuts_off_energy():
    kernel = torch.tensor([1.0, 2.0, 2.0, 4.0])
    (found,) = recoveries([kernel], [torch.tensor([2.0, 2.0, 4.0, 0.0])])
    assert found == (0, pytest.approx(24 / (25 * 24) ** 0.5), (-1,), pytest.approx(24 / 25))


def test_each_planted_kernel_has_the_learned_kernel_that_is_most_like_it():
    kernels = [smooth(5, 1, seed) for seed in range(3)]
    found = recoveries(kernels, [kernels[2], kernels[0], torch.zeros(5)])
    assert [one.kernel for one in found][::2] == [1, 0]
    assert all(one.correlation < 1 - 1e-9 for one in found[1:2])


def test_a_learned_kernel_of_zeros_has_no_correlation():
    assert recoveries([smooth(5, 2)], [torch.zeros(5, 5)])[0].correlation == 0
