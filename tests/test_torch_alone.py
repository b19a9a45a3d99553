"""The mathematics in a process without any other package than torch, compared with an ordinary process."""

import json
import subprocess
import sys

import pytest

BLOCKED = [
    "hydra",
    "jaxtyping",
    "lightning_fabric",
    "matplotlib",
    "numba",
    "numpy",
    "omegaconf",
    "pandas",
    "pytorch_lightning",
    "rich",
    "scipy",
    "torchmetrics",
    "torchvision",
    "wfdb",
]

PROGRAM = """
import json, sys

class WithoutBlocked:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in sys.argv else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [WithoutBlocked(finder) for finder in sys.meta_path]

import torch
import san.networks, san.activations, san.metrics, san.functional

torch.set_num_threads(1)
activations = (
    san.activations.Identity(),
    san.activations.ReLU(),
    san.activations.TopKAbsolutes(),
    san.activations.ExtremaPoolIndices(),
    san.activations.ExtremaPoolIndices(ceil_mode=True),
    san.activations.Extrema(),
    san.activations.Extrema(border_tolerance=0, require_sign=False),
)
values = {}
for space in ([200], [20, 17]):
    x = torch.randn(3, 1, *space, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for index, activation in enumerate(activations):
        for decoder in ("paper", "adjoint"):
            network = san.networks.SparselyActivatedNetwork([5, 8], activation, len(space), decoder=decoder, seed=0)
            network.double()
            maps = network.encode(x)
            reconstruction = network.decode(maps)
            cr_inverse = san.metrics.inverse_compression_ratio(maps, network.n_weights())
            loss = san.metrics.normalized_reconstruction_loss(reconstruction, x)
            phi = san.metrics.phi(cr_inverse.double(), loss)
            phi.sum().backward()
            of_network = {
                "cr_inverse": cr_inverse, "loss": loss, "phi": phi, "maps": maps.sum(-1),
                "reconstruction": reconstruction, "forward": network(x), "gradient": network.weight.grad,
            }
            for name, tensor in of_network.items():
                case = f"{len(space)}-D {type(activation).__name__} {index} {decoder} {name}"
                values[case] = tensor.flatten().tolist()
print(json.dumps({"modules": sorted(sys.modules), "values": values}))
"""


def run(*blocked):
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, *blocked], capture_output=True, text=True, check=False, timeout=300
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout), process.stderr


@pytest.mark.slow
def test_the_mathematics_needs_torch_alone():
    """Paper activations, both decoders and the metrics give the same values without numpy, numba and all others."""
    alone, message = run(*BLOCKED)
    ordinary, _ = run()
    loaded = {module.partition(".")[0] for module in alone["modules"]}
    assert not loaded & set(BLOCKED)
    assert "numba cannot be used" in message
    assert "san.ops.compiled" in ordinary["modules"]
    assert alone["values"].keys() == ordinary["values"].keys()
    for name, values in alone["values"].items():
        assert values == pytest.approx(ordinary["values"][name], abs=1e-6), name
    assert all(value > 0 for name, values in alone["values"].items() if name.endswith("phi") for value in values)
