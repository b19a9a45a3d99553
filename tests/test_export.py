"""Networks as programs of torch: what exports and compiles is what docs/export.md says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import choices

PAGE = (Path(__file__).parents[1] / "docs" / "export.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (yes|no) \| (yes|no) \|$", re.MULTILINE)

# In a process of its own, where no type checks stand between torch and the code.
PROGRAM = """
import io, json, sys, hydra, torch
from functools import partial
from san.cli.parts import instantiate
from san.cli.config import CONF
from san.extensions.growing import GrowingNetwork
from san.extensions.warping import WarpedNetwork
from san.networks import SparselyActivatedNetwork

torch.set_num_threads(1)


def batch(size, network):
    space = [40] if network.n_dims == 1 else [9, 12]
    return torch.randn(size, network.channels, *space, generator=torch.Generator().manual_seed(size))


def operators_of_export(network):
    dynamic = ({0: torch.export.Dim("batch")},)
    file = io.BytesIO()
    torch.export.save(torch.export.export(network, (batch(3, network),), dynamic_shapes=dynamic), file)
    file.seek(0)
    program = torch.export.load(file)
    for size in (0, 1, 2, 5):
        x = batch(size, network)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(x), network(x), atol=1e-5, rtol=1e-5)
    graphs = [part.graph for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule)]
    targets = {str(node.target) for graph in graphs for node in graph.nodes if str(node.target).startswith("san.")}
    return {target.removesuffix(".default").replace(".", "::") for target in targets}


def check_compiled(network):
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    for size in (3, 5):
        x, gradients = batch(size, network), []
        for one in (compiled, network):
            network.weight.grad = None
            reconstruction = one(x)
            reconstruction.square().sum().backward()
            gradients.append((reconstruction.detach(), network.weight.grad))
        torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


networks = {
    "plain": SparselyActivatedNetwork,
    "growing": partial(GrowingNetwork, every=1),
    "warped": partial(WarpedNetwork, n_scales=2),
    "channels": partial(SparselyActivatedNetwork, channels=3),
}
for name, kinds in json.loads(sys.argv[1]):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", ["activation_name=any", f"activation={name}"])
    found = {"operators": set(), "export": [], "compile": []}
    for n_dims in (1, 2):
        for kind in kinds:
            network = networks[kind]([3, 3, 5, 5], instantiate(config, "activation"), n_dims, n_models=2, seed=0)
            for what, check in (("export", operators_of_export), ("compile", check_compiled)):
                try:
                    found["operators"] |= check(network) or set()
                except Exception as error:
                    found[what].append(f"{n_dims}-D, {kind}: {error!r}"[:500])
    print("found", json.dumps({**found, "operators": sorted(found["operators"])}))
"""


def found_for(networks):
    """Return what each pair of an activation and kinds of networks gives, all in one process, which starts slowly."""
    arguments = [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(networks)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr
    return [json.loads(line.removeprefix("found")) for line in done.stdout.splitlines() if line.startswith("found")]


def said_of(name):
    (row,) = (row for row in ROW.findall(PAGE) if row[0] == name)
    return row


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    load = "import torch, san.ops.selection; program = torch.export.load('network.pt2')"
    for program in (code, f"{load}; print(program.module()(torch.randn(3, 1, 1000)).shape)"):
        arguments = [sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=200, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "torch.Size([3, 1, 1000])\n"


def test_the_page_has_every_activation():
    assert [row[0] for row in ROW.findall(PAGE)] == choices("activation")


@pytest.mark.slow
def test_activations_export_with_a_free_batch_and_compile_in_one_graph_as_the_page_says():
    networks = [*((name, ["plain"]) for name in choices("activation")), ("extrema", ["growing", "warped", "channels"])]
    for (name, kinds), found in zip(networks, found_for(networks), strict=True):
        _, operators, exports, compiles = said_of(name)
        assert (exports == "yes") == (found["export"] == []), (name, kinds, found["export"])
        assert (compiles == "yes") == (found["compile"] == []), (name, kinds, found["compile"])
        assert operators == (", ".join(f"`{operator}`" for operator in found["operators"]) or "none"), (name, kinds)
