"""The density d that a user gives to an activation function, instead of the rule of the paper."""

import numpy as np
import pytest
import torch
from conftest import choices, results
from omegaconf import OmegaConf

import san
from san import evaluate, functional, sweep
from san.activations import Extrema, ExtremaPoolIndices, TopKAbsolutes
from san.cli.config import CONF
from san.cli.parts import instantiate
from san.extensions.annealing import AnnealedExtrema
from san.extensions.streaming import describe
from san.extensions.territory import territory
from san.networks import SparselyActivatedNetwork, TrainingStep

WITH_DENSITY = [name for name in choices("activation") if "density" in OmegaConf.load(CONF / f"activation/{name}.yaml")]
SELECTIONS = {
    "extrema_pool_indices": functional.extrema_pool_indices,
    "topk_absolutes": functional.topk_absolutes,
    "territory": lambda similarity, density: territory(similarity, density, n_models=2),
}
SHORT = ["dataset=synthetic", "dataset.space=[200]", "trainer.max_epochs=2", "logger=[]"]


@pytest.mark.parametrize("space", [(60,), (12, 9)], ids=["1d", "2d"])
@pytest.mark.parametrize("name", WITH_DENSITY)
def test_each_model_of_a_bank_selects_by_the_given_densities_and_by_the_papers_without_them(compose, name, space):
    similarity = torch.randn(2, 4, *space, generator=torch.Generator().manual_seed(0))
    select = SELECTIONS.get(name, functional.extrema)
    for given, used in (("[1,3]", [1, 3, 1, 3]), ("4", [4] * 4)):
        activation = instantiate(compose(f"activation={name}", f"activation.density={given}"), "activation")
        assert activation(similarity, [5, 2, 5, 2], 2).equal(select(similarity, used))
        assert activation.densities([5, 2, 5, 2], [4, *space], 2) == used
    activation = instantiate(compose(f"activation={name}"), "activation")
    of_paper = [activation.density(size, space) for size in (5, 2, 5, 2)]
    assert activation(similarity, [5, 2, 5, 2], 2).equal(select(similarity, of_paper))
    assert of_paper == activation.densities([5, 2, 5, 2], [4, *space], 2) != used


def test_a_given_distance_is_annealed_in_training_steps():
    activation = AnnealedExtrema(epochs=5, density=[40, 10])
    with activation.during(TrainingStep(2, batch=0)):
        assert activation.densities([9, 9, 9, 9], [4, 100], 2) == [20, 5, 20, 5]
    assert activation.densities([9, 9], [2, 100]) == [40, 10]


@pytest.mark.parametrize("density", [0, -1, 2.0, True, "3", [], [3, 0], [2, True]])
@pytest.mark.parametrize("activation", [TopKAbsolutes, ExtremaPoolIndices, Extrema])
def test_a_density_that_is_no_positive_integer_is_refused(untyped, activation, density):
    with pytest.raises(ValueError, match=r"^density=.* must be an integer, 1 or more \(samples\), or a list"):
        activation(density=density)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["activation.density=0"], "activation.density=0 must be an integer, 1 or more (samples), or a list"),
        (["activation.density=1.5"], "activation.density=1.5 must be a list of integers, an integer or null"),
        (
            ["activation.density=[3,4]"],
            "activation.density=[3, 4] has 2 numbers, but the number of kernels of",
        ),
        (["activation.density=201"], "activation.density=201 exceeds the 200 samples of an example; choose 1 to 200"),
        (["activation=relu", "activation.density=2"], "activation.density is not known"),
    ],
)
def test_an_invalid_density_is_one_line_before_the_training(run_train, overrides, message):
    folder, line = run_train("run", *SHORT, "kernel_size=9", *overrides, fails=True)
    assert line.startswith(f"san: {message}")
    assert not (folder / "checkpoints").exists()


def test_a_sweep_refuses_densities_that_do_not_fit_one_of_its_numbers_of_kernels_before_it_trains(run, tmp_path):
    arguments = [*SHORT, "kernel_sizes=[5]", "n_kernels=[1,2]", "activation.density=[3,4]"]
    code, line = run(sweep.main, *arguments, f"hydra.run.dir={tmp_path}")
    assert (code, "is 1: give one number for all kernels, or one for each" in line) == (1, True)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize("activation", ["topk_absolutes", "extrema"])
def test_a_bank_trains_each_model_with_the_given_densities_as_if_alone(run, run_train, tmp_path, activation):
    common = [*SHORT, f"activation={activation}", "n_kernels=2", "activation.density=[13,7]"]
    code, said = run(sweep.main, *common, "kernel_sizes=[5,9]", "figure=[]", f"hydra.run.dir={tmp_path / 'sweep'}")
    assert code == 0, said
    alone = results(run_train("alone", *common, "kernel_size=9", "figure=[]")[0])
    model = results(tmp_path / "sweep")["models"][1]
    assert model["phi_per_epoch"] == pytest.approx(alone["phi_per_epoch"], abs=1e-4)
    paper, _ = run_train("paper", *common, "kernel_size=9", "activation.density=null", "figure=[]")
    assert results(paper)["test"]["phi"] != pytest.approx(alone["test"]["phi"], abs=1e-2)


@pytest.mark.parametrize(
    "activation",
    [
        TopKAbsolutes([7, 30]),
        ExtremaPoolIndices(density=[5, 12]),
        ExtremaPoolIndices(True, 7),
        Extrema(density=[3, 40]),
    ],
)
def test_a_signal_in_chunks_has_the_activations_of_the_whole_signal(activation):
    network = SparselyActivatedNetwork([9, 6], activation, seed=0)
    x = torch.randn(1500, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network.encode(x.view(1, 1, -1)).count_nonzero(dim=(0, 2)).tolist()
    assert describe(network, lambda start, stop: x[start:stop], 1500, chunk=300).n_activations == expected


def test_a_checkpoint_is_evaluated_and_loaded_with_its_densities(run, run_train, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal(600).cumsum())
    data = ["dataset=numpy", f"path={tmp_path / 'x.npy'}", "dataset.window=60", "logger=[]", "figure=[]"]
    options = ["activation=extrema_pool_indices", "activation.density=[4,20]", "n_kernels=2", "kernel_size=6"]
    trained, _ = run_train("trained", *data, *options, "trainer.max_epochs=2")
    for chunk, n_cells in ((None, None), (600, 600 // 4 + 600 // 20)):
        folder = tmp_path / f"evaluated-{chunk}"
        arguments = [f"checkpoint={trained}", *data[:3], f"chunk={chunk or 'null'}"]
        code, said = run(evaluate.main, *arguments, f"hydra.run.dir={folder}")
        assert code == 0, said
        if chunk is None:
            assert results(folder)["test"] == pytest.approx(results(trained)["test"], abs=1e-6)
        else:
            assert results(folder)["test"]["cr_inverse"] == pytest.approx((12 + 2 * n_cells) / 600, abs=1e-9)
    signal = np.load(tmp_path / "x.npy")[:60]
    assert san.load(trained).encode(signal).events["kernel"].value_counts().to_dict() == {0: 15, 1: 3}


def test_a_network_with_given_densities_exports_with_a_free_batch():
    network = SparselyActivatedNetwork([5, 3], TopKAbsolutes([2, 6]), seed=0)
    x = torch.randn(3, 1, 40)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x[:2]), network(x[:2]), atol=1e-5, rtol=1e-5)
