"""The method as docs/architecture.md writes it, beside the network."""

import re
from pathlib import Path

import pytest
import torch

from san.activations import Extrema
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork

PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def method():
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(source, names)  # noqa: S102 (the page's own code)
    return names


@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_the_page_describes_a_signal_as_the_network_does(method, size):
    network = SparselyActivatedNetwork([size], Extrema(), seed=0)
    x = torch.randn(300, generator=torch.Generator().manual_seed(size)).cumsum(0)
    activations, loss, score = method["describe"](x, network.kernels[0].detach())
    with torch.no_grad():
        maps = network.encode(x.view(1, 1, -1))
        expected = normalized_reconstruction_loss(network.decode(maps), x.view(1, 1, -1))
    torch.testing.assert_close(activations, maps[0, 0])
    torch.testing.assert_close(loss, expected[0])
    torch.testing.assert_close(score, phi(inverse_compression_ratio(maps, size), expected)[0])


def test_the_page_learns_a_kernel(method):
    generator = torch.Generator().manual_seed(0)
    signals = [torch.randn(200, generator=generator).cumsum(0) for _ in range(3)]
    kernel = (0.1 * torch.randn(12, generator=generator)).requires_grad_()
    before = sum(method["describe"](x, kernel)[1].item() for x in signals)
    method["train"](signals, kernel, 10)
    assert sum(method["describe"](x, kernel)[1].item() for x in signals) < 0.8 * before


def test_the_page_is_short():
    assert 40 <= len(PAGE.splitlines()) <= 64
