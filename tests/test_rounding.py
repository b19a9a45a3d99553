"""The page on rounding, and the tool that writes it."""

import json
import runpy
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from san.data.splits import Splits
from san.networks import SparselyActivatedNetwork
from san.training.published_draws import PROGRAM, Cell, Draws

PROJECT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(PROJECT / "tools" / "rounding.py"))
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def network_of(kernels, activation):
    size = len(kernels[0])
    network = SparselyActivatedNetwork([size] * len(kernels), TOOL["ACTIVATIONS"][activation](), 2, seed=0)
    network.to(kernels[0].dtype)
    with torch.no_grad():
        for own, kernel in zip(network.kernels, kernels, strict=True):
            own.copy_(kernel)
    return network


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("parts", [1, 3, 64])
def test_the_gradient_is_that_of_the_network(parts, dtype):
    torch.manual_seed(0)
    x = torch.rand(7, 1, 28, 28, dtype=dtype)
    for size in PROGRAM[3].sizes:
        for activation in TOOL["ACTIVATIONS"]:
            kernels = [0.3 * torch.randn(size, size, dtype=dtype) for _ in range(2)]
            network = network_of(kernels, activation)
            F.l1_loss(network(x), x).backward()
            found = TOOL["gradient"](x, kernels, activation, parts)
            assert torch.allclose(found, network.weight.grad, atol=1e-6 if dtype == torch.float32 else 1e-13)


@needs_compiler
@pytest.mark.parametrize("activation", ["identity", "relu"])
def test_a_replay_trains_as_the_network(activation):
    torch.manual_seed(0)
    splits = Splits(name="images", train=torch.rand(80, 1, 28, 28), validation=torch.rand(1, 1, 28, 28),
                    test=torch.rand(5, 1, 28, 28))  # fmt: skip
    draws = Draws([0.1 * torch.randn(3, 3) for _ in range(2)], [torch.randperm(80) for _ in range(2)], None)
    found = TOOL["replay"](splits, Cell(4, "", activation, 3), draws, TOOL["Variant"]())
    network = network_of(draws.kernels, activation)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for batch in torch.cat(draws.orders).split([64, 16, 64, 16]):
        optimizer.zero_grad()
        F.l1_loss(network(splits.train[batch]), splits.train[batch]).backward()
        optimizer.step()
    expected = TOOL["metrics_of"](splits.test, [kernel.detach() for kernel in network.kernels], activation)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("release", ["1.3", "1.2"])
def test_earlier_releases_of_adam_differ_in_rounding_alone(release):
    torch.manual_seed(0)
    start, gradients = torch.randn(4, 4, dtype=torch.float64), torch.randn(20, 4, 4, dtype=torch.float64)

    def trained(release):
        kernel = start.clone().requires_grad_()
        optimizer = TOOL["optimizer_of"]([kernel], release)
        for gradient in gradients:
            kernel.grad = gradient.clone()
            optimizer.step()
        return kernel.detach()

    assert torch.allclose(trained(release), trained("now"), atol=1e-6)  # epsilon is relative to another root


def test_the_page_has_the_numbers_of_the_last_measurement():
    found, replayed = (
        json.loads((PROJECT / "docs" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("rounding", "reproduction")
    )
    assert (PROJECT / "docs" / "rounding.md").read_text(encoding="utf-8") == TOOL["page"](found, replayed)
    names = [TOOL["cell_name"](cell) for cell in TOOL["cells"]()]
    assert len(names) == 24
    complete = [variant for variant, of_cells in found.items() if list(of_cells) == names]
    assert complete[:2] == ["1 thread", "2 threads"]
    assert set(found) <= set(TOOL["VARIANTS"])
