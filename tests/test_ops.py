"""The operators: backends agree with each other and with the definitions, and torch sees through them."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from san.activations import Extrema, ExtremaPoolIndices, Identity, TopKAbsolutes
from san.functional import extrema
from san.networks import SparselyActivatedNetwork
from san.ops import backend, convolution, placement, pursuit, selection, vectorized
from san.ops.compiled import threads

SELECTIONS = {
    "topk_absolutes": (reference.topk_absolutes, ()),
    "extrema_pool_indices": (reference.extrema_pool_indices, (False,)),
    "extrema": (reference.extrema, (True,)),
}


@st.composite
def cases(draw, n_dims):
    """Small integers, so that plateaus and ties abound, or numbers without ties, with a density for each kernel."""
    space = draw(st.tuples(*[st.integers(1, 30 if n_dims == 1 else 8)] * n_dims))
    n_kernels = draw(st.integers(1, 2))
    if draw(st.booleans()):
        maps = draw(arrays(np.int8, (1, n_kernels, *space), elements=st.integers(-3, 3))).astype(np.float32)
    else:
        seed = draw(st.integers(0, 2**32 - 1))
        maps = np.random.default_rng(seed).standard_normal((1, n_kernels, *space), np.float32)
    return maps, draw(st.lists(st.integers(1, max(space) + 2), min_size=n_kernels, max_size=n_kernels))


@pytest.mark.slow
@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("n_dims", [1, 2])
def test_ten_thousand_selections_are_the_same_bit_for_bit(name, n_dims):
    """Compiled, vectorized and the plain loops of the definition; 1,670 cases in each of the six."""
    plain, options = SELECTIONS[name]

    @given(cases(n_dims))
    @settings(max_examples=1670)
    def check(case):
        maps, densities = case
        expected = np.stack([plain(image, d, *options) for image, d in zip(maps[0], densities, strict=True)])
        for module in (selection, vectorized):
            operator = getattr(module, name)
            keep = operator(torch.from_numpy(maps), densities, *options).numpy()[0]
            assert np.array_equal(np.where(keep, maps[0], 0), expected)

    check()


def test_rows_are_shared_among_threads_with_the_same_result():
    torch.manual_seed(0)
    signals, images = torch.randn(9, 3, 7000), torch.randn(40, 3, 40, 30)
    before = torch.get_num_threads()
    try:
        for maps, densities in ((signals, [3, 40, 900]), (images, [1, 3, 9])):
            results = []
            for threads in (1, 3):
                torch.set_num_threads(threads)
                results.append(
                    [
                        selection.extrema(maps, densities, True),
                        selection.topk_absolutes(maps, densities),
                        selection.extrema_pool_indices(maps, densities, False),
                    ]
                )
            assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    finally:
        torch.set_num_threads(before)


def network_and_input(n_dims, decoder="paper", sizes=(3, 4, 7, 1), n_models=2):
    torch.manual_seed(0)
    network = SparselyActivatedNetwork(sizes, Extrema(), n_dims, decoder=decoder, n_models=n_models).double()
    return network, torch.randn(3, 1, *((90,) if n_dims == 1 else (20, 17)), dtype=torch.float64)


def operands(n_dims):
    network, x = network_and_input(n_dims)
    maps = network.encode(x).detach()
    index = maps.nonzero()
    weight, target = network._padded_kernels().detach(), torch.randn(3, 2, *maps.shape[2:], dtype=torch.float64)
    return maps[tuple(index.unbind(1))], weight, x, target, index, network.kernel_sizes


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_backends_of_the_placement_agree(n_dims, sign, monkeypatch):
    values, weight, x, target, index, sizes = operands(n_dims)

    def all_three():
        return [
            placement.gather(x, weight, index, sizes, sign),
            placement.gather(target, weight, index, sizes, sign),
            placement.place(values, weight, index, sizes, sign, target.shape),
            placement.weigh(values, target, index, sizes, sign, weight.shape[-1]),
        ]

    fast = all_three()
    monkeypatch.setattr(backend, "_import_compiled", lambda: None)
    for one, other in zip(fast, all_three(), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("n_dims", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_of_the_placement_are_right(n_dims, sign):
    values, weight, _, target, index, sizes = operands(n_dims)
    few = torch.linspace(0, len(index) - 1, 7).long()
    values, index = values[few], index[few]
    support = (weight != 0).double()

    def checked(operator, *inputs):
        return torch.autograd.gradcheck(operator, [one.clone().requires_grad_() for one in inputs])

    assert checked(lambda v, w: placement.place(v, w * support, index, sizes, sign, target.shape), values, weight)
    assert checked(lambda s, w: placement.gather(s, w * support, index, sizes, sign), target, weight)
    assert checked(lambda v, s: placement.weigh(v, s, index, sizes, sign, weight.shape[-1]), values, target)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck itself looks at it
@pytest.mark.parametrize("n_dims", [1, 2])
def test_torch_sees_through_the_operators(n_dims):
    """Check selections and the search with signals, placements with images: the check itself takes most of the time."""
    values, weight, x, target, index, sizes = operands(n_dims)
    maps = torch.randn(2, 2, *x.shape[2:])
    kernels = [torch.randn([size] * n_dims, dtype=torch.float64) for size in (3, 4)]
    signals = {
        selection.topk_absolutes: (maps, [2, 3]),
        selection.extrema_pool_indices: (maps, [2, 3], False),
        selection.extrema: (maps, [2, 3], True),
        selection.territory: (maps, [2, 3], 1, True),
        pursuit.pursue: (x, kernels, [8], [1, 2], True, False, 0, 1e6, 1, 1, 1),
    }
    images = {
        placement.gather: (target.requires_grad_(), weight.requires_grad_(), index, sizes, 1),
        placement.place: (values.requires_grad_(), weight, index, sizes, -1, list(target.shape)),
        placement.weigh: (values, target, index, sizes, 1, weight.shape[-1]),
    }
    for operator, arguments in (signals if n_dims == 1 else images).items():
        torch.library.opcheck(operator, arguments)


@pytest.mark.parametrize("activation", [Extrema(), ExtremaPoolIndices(), TopKAbsolutes()])
@pytest.mark.parametrize("decoder", ["paper", "adjoint"])
@pytest.mark.parametrize("n_dims", [1, 2])
def test_the_sparse_path_is_the_dense_one(n_dims, decoder, activation):
    results = []
    for sparse in (True, False):
        network, x = network_and_input(n_dims, decoder)
        activation.sparse = sparse
        network.activation = activation
        reconstruction = network.float()(x.float())
        reconstruction.square().sum().backward()
        results.append(
            (reconstruction.detach(), network.decode(network.encode(x.float())).detach(), network.weight.grad)
        )
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("extent", [1, 4, 7])
def test_transforms_give_the_direct_convolutions(extent, monkeypatch):
    torch.manual_seed(0)
    x, maps, weight = torch.randn(2, 1, 53), torch.randn(2, 3, 53), torch.randn(3, extent)
    x[..., 20:40] = 0
    results = []
    for direct in (True, False):
        monkeypatch.setattr(convolution, "is_direct", lambda *_, direct=direct: direct)
        results.append(
            [
                convolution.correlate(x, weight, [extent] * 3),
                convolution.correlate(maps, weight),
                convolution.convolve(maps, weight),
            ]
        )
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert torch.equal(results[0][0] == 0, results[1][0] == 0)


@pytest.mark.parametrize("extent", [1, 4, 7])
@pytest.mark.parametrize("differentiated", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(
    ("operation", "channels"),
    [(convolution.correlate, 1), (convolution.correlate, 3), (convolution.correlate, 6), (convolution.convolve, 6)],
)
def test_gradients_of_transforms_are_those_of_direct_convolutions(
    operation, channels, differentiated, extent, monkeypatch
):
    torch.manual_seed(0)
    inputs = [torch.randn(shape, dtype=torch.float64) for shape in ((2, channels, 23), (6, extent))]
    variables = [x.requires_grad_() for x, is_variable in zip(inputs, differentiated, strict=True) if is_variable]
    gradients = []
    for direct in (True, False):
        monkeypatch.setattr(convolution, "is_direct", lambda *_, direct=direct: direct)
        result = operation(*inputs)
        result[result.abs() < 0.1] = 0  # in place, as an activation function of a user may
        gradients.append(torch.autograd.grad(result.pow(3).sum(), variables))
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("extent", [1, 4, 5])
@pytest.mark.parametrize("operation", [convolution.correlate, convolution.convolve])
def test_gradients_of_images_correlated_map_by_map_are_those_of_torch(operation, extent, monkeypatch):
    torch.manual_seed(0)
    shapes = [(3, 2, 9, 7), (2, extent, extent)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(operation, inputs)
    ours = torch.autograd.grad(operation(*inputs).square().sum(), inputs)
    monkeypatch.setattr(convolution, "compiled_for", lambda _: None)
    for one, other in zip(ours, torch.autograd.grad(operation(*inputs).square().sum(), inputs), strict=True):
        assert torch.allclose(one, other)


def test_equal_windows_have_equal_similarity():
    """Also where the signal is flat, so that Extrema keeps what the definition does, and exact zeros stay so."""
    torch.manual_seed(0)
    for length in (90, 5000):
        x = torch.randn(1, 1, length)
        x[..., 20:60] = 0.7
        x[..., 65:85] = 0
        network = SparselyActivatedNetwork([1, 6, 7, 20], Extrema(), n_models=4)
        without = torch.no_grad()(network.similarity)(x)
        for similarity in (without, network.similarity(x)):
            for kernel, size in enumerate(network.kernel_sizes):
                before = (size - 1) // 2
                flat = similarity[0, kernel, 20 + before : 60 - (size - 1 - before)]
                assert (flat == flat[0]).all()
                silent = similarity[0, kernel, 65 + before : 85 - (size - 1 - before)]
                assert (silent == 0).all()
        assert torch.allclose(without, convolution.correlate(x, network._padded_kernels().detach()), atol=1e-5)


def test_both_ways_of_convolving_are_chosen():
    assert convolution.is_direct(torch.zeros(2, 1, 1000), torch.zeros(20, 30))
    assert not convolution.is_direct(torch.zeros(64, 1, 12000), torch.zeros(1, 100))
    assert convolution.is_direct(torch.zeros(64, 1, 100, 100), torch.zeros(1, 90, 90))


def test_without_numba_it_is_said_once_and_the_results_are_the_same(monkeypatch, caplog):
    torch.manual_seed(0)
    maps = torch.randn(2, 2, 50)
    expected = extrema(maps, 3)
    backend._import_compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "san.ops.compiled", None)
    monkeypatch.delattr("san.ops.compiled")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(extrema(maps, 3), expected)
        assert torch.equal(extrema(maps, 3), expected)
    assert [record.message.startswith("numba cannot be used") for record in caplog.records] == [True]
    backend._import_compiled.cache_clear()


def test_it_works_where_nothing_can_be_kept_on_disk(monkeypatch):
    original = threads.numba.njit

    def no_cache(*arguments, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return original(*arguments, **options)

    monkeypatch.setattr(threads.numba, "njit", no_cache)

    def twice(x):
        return 2 * x

    assert threads.compiled(twice)(4) == 8


@pytest.mark.slow
def test_a_process_that_was_forked_from_one_with_threads_computes():
    run("""
import os, numpy, torch
from san.ops.compiled import extrema
torch.set_num_threads(2)
maps = torch.from_numpy(numpy.random.default_rng(0).standard_normal((64, 1, 5000)))
kept = extrema(maps, [9], True).numpy()
child = os.fork()
if not child:
    os._exit(0 if numpy.array_equal(extrema(maps, [9], True).numpy(), kept) else 1)
assert os.waitpid(child, 0)[1] == 0
""")


@pytest.mark.slow
def test_it_compiles_and_exports_in_one_graph():
    """In a process of its own, where no type checks stand between torch and the code; tests/test_export.py has all."""
    run("""
import torch
from san.activations import TopKAbsolutes
from san.networks import SparselyActivatedNetwork
network, x = SparselyActivatedNetwork([5], TopKAbsolutes()), torch.randn(3, 1, 90)
expected = network(x).detach()
exported = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
for one in (exported(x), compiled(x)):
    assert torch.allclose(one, expected, atol=1e-6)
assert torch.allclose(exported(x[:2]), expected[:2], atol=1e-6)
network(x).square().sum().backward()
expected, network.weight.grad = network.weight.grad, None
compiled(x).square().sum().backward()
assert torch.allclose(network.weight.grad, expected, atol=1e-4)
""")


def run(program):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_similarity_by_transforms_is_exactly_zero_where_a_kernel_covers_zeros_alone():
    """A gradient selects transforms; their rounding would count as activations."""
    x = torch.zeros(2, 1, 4000)
    x[:, :, 1000:1010] = torch.randn(2, 1, 10, generator=torch.Generator().manual_seed(0))
    x[1, 0, 0] = x[1, 0, 3999] = 1
    network = SparselyActivatedNetwork([301, 200], Identity(), seed=0)
    assert not convolution.is_direct(x, network.weight)
    similarity = network.similarity(x)
    assert similarity.requires_grad
    for kernel, size in enumerate(network.kernel_sizes):
        padded = torch.nn.functional.pad((x != 0).float(), [(size - 1) // 2, size // 2])
        covers_a_sample = torch.nn.functional.conv1d(padded, torch.ones(1, 1, size)) > 0
        assert (similarity[:, [kernel]] != 0).equal(covers_a_sample)


def test_only_residuals_of_the_size_of_rounding_are_removed_relative_to_each_example():
    x = torch.tensor([[[1000.0, 1.0, 0.0]], [[1.0, -2.0, 0.0]]], dtype=torch.float64)
    residual = torch.tensor([[[0.9e-3, -0.9e-3, 1.1e-3]], [[1.9e-6, -2.1e-6, 1e-4]]], dtype=torch.float64)
    kept = torch.tensor([[[0, 0, 1]], [[0, 1, 1]]], dtype=torch.bool)
    found = placement.without_rounding(x + residual, x)
    assert found.equal(torch.where(kept, x + residual, x))
