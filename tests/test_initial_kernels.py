"""The initial kernels: of the normal distribution, of a checkpoint and of files."""

import re
import shutil

import numpy as np
import pytest
import torch
from conftest import results

import san
from san import sweep
from san.activations import Extrema, Identity
from san.checkpoint import read
from san.cli.build import build_module, load_dataset
from san.networks import SparselyActivatedNetwork
from san.ops.kernels import resized

SHORT = ["dataset=synthetic", "dataset.space=[200]", "trainer.max_epochs=2", "logger=[]"]
ONE_SIZE = [*SHORT, "kernel_size=9", "figure=[]"]


def network_of(compose, *overrides, models=((9, 6),)):
    config = compose("dataset=synthetic", "dataset.space=[60]", *overrides)
    return build_module(config, load_dataset(config), models).network


def drawn(size):
    return torch.randn(size, generator=torch.Generator().manual_seed(size))


@pytest.fixture
def file(tmp_path):
    """Write kernels to a file of a name; return the overrides that start from them."""

    def write(name, kernels):
        path = tmp_path / name
        if isinstance(kernels, str | bytes):
            path.write_bytes(kernels if isinstance(kernels, bytes) else kernels.encode())
        else:
            np.save(path, kernels, allow_pickle=True)
        return ["initialization=file", f"initial_kernels={path}"]

    return write


def test_the_default_kernels_are_those_of_the_paper_and_mean_and_deviation_move_and_scale_them(compose):
    for kernel, size in zip(network_of(compose).kernels, (9, 6), strict=True):
        assert kernel.equal(0.1 * drawn(size))
    for kernel, size in zip(network_of(compose, "initial_mean=2", "initial_deviation=3").kernels, (9, 6), strict=True):
        assert kernel.equal(2 + 3 * drawn(size))
    assert SparselyActivatedNetwork([9], Identity(), seed=0).kernels[0].equal(0.1 * drawn(9))


@pytest.mark.parametrize("decoder", ["paper", "adjoint"])
@pytest.mark.parametrize("n_dims", [1, 2])
def test_a_kernel_padded_to_a_larger_size_encodes_and_decodes_as_before(decoder, n_dims):
    x = torch.randn(2, 1, *[14] * n_dims, dtype=torch.float64)
    for size, larger in ((4, 5), (4, 6), (5, 8), (5, 9), (3, 3)):
        few, many = (
            SparselyActivatedNetwork([m], Extrema(density=2), n_dims, decoder=decoder).double() for m in (size, larger)
        )
        with torch.no_grad():
            many.kernels[0].copy_(resized(few.kernels[0], larger, n_dims))
            torch.testing.assert_close(many.encode(x), few.encode(x))
            torch.testing.assert_close(many(x), few(x))
            assert resized(many.kernels[0], size, n_dims).equal(few.kernels[0])


def test_a_cropped_kernel_is_its_middle():
    kernel = torch.arange(7)
    assert resized(kernel, 3, 1).tolist() == [2, 3, 4]
    assert resized(kernel, 4, 1).tolist() == [2, 3, 4, 5]
    assert resized(torch.arange(25).view(5, 5), 2, 2).tolist() == [[12, 13], [17, 18]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("k.npy", np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=">i2")),
        ("k.csv", "first,second\n1,5\n2,6\n3,7\n4,8\n"),
        ("k.csv", "1.0,5\n2,6\n3,7\n4,8\n"),
    ],
)
@pytest.mark.parametrize("decoder", ["paper", "adjoint"])
def test_every_model_reconstructs_by_the_kernels_of_a_file(compose, file, name, content, decoder):
    bank = network_of(compose, *file(name, content), f"decoder={decoder}", models=[[4, 4], [4, 4], [6, 2]])
    assert [atom.tolist() for atom in bank.atoms[:4]] == [[1, 2, 3, 4], [5, 6, 7, 8]] * 2
    assert [atom[atom != 0].tolist() for atom in bank.atoms[4:]] == [[1, 2, 3, 4], [6, 7]]


def test_a_column_of_a_table_may_be_shorter_and_an_array_may_be_one_kernel_or_images(compose, file):
    shorter = network_of(compose, *file("k.csv", "a,b\n1,5\n2,\n3,\n"), "decoder=adjoint", models=[[3, 1]])
    assert [atom.tolist() for atom in shorter.atoms] == [[1, 2, 3], [5]]
    alone = network_of(compose, *file("k.npy", np.ones(3)), models=[[3], [5]])
    assert [int(kernel.sum()) for kernel in alone.kernels] == [3, 3]
    image = network_of(compose, *IMAGES, *file("i.npy", np.ones((1, 3, 3))), models=[[3]])
    assert image.kernels[0].tolist() == [[1] * 3] * 3


ARRAY = np.ones(4)
IMAGES = ["dataset.space=[20,20]", "dataset.kernel_sizes=[5]"]


@pytest.mark.parametrize(
    ("name", "content", "others", "message"),
    [
        ("k.npy", ARRAY, [], "has 1 kernels, but the number of kernels of a model is 2: set n_kernels=1"),
        ("k.npy", np.ones((2, 3, 4)), [], "it has the shape [2, 3, 4]; give [samples] (one kernel) or [kernels, samp"),
        ("k.npy", np.ones((2, 3, 4)), IMAGES, "its kernels have the shape [3, 4], but must be square"),
        ("k.npy", np.zeros((2, 4)), [], "kernel 1 is zero or has numbers that are not finite"),
        ("k.npy", np.array([[1], [np.nan]]), [], "kernel 2 is zero or has numbers that are not finite"),
        ("k.npy", np.eye(2, 20), [], "has a kernel that is zero in its middle 9 samples"),
        ("k.npy", np.ones((2, 0)), [], "it has 0 values"),
        ("k.npy", ARRAY * 1j, [], "it is not one array of real numbers"),
        ("k.npy", np.array([print]), [], "cannot be read as kernels: Array can't be memory-mapped: Python objects"),
        ("k.npy", b"\x93NUMPY", [], "cannot be read as kernels"),
        ("k.csv", "a,b\n1,5\n,6\n3,7\n", [], "column a has a field that is no number"),
        ("k.csv", "a,b\n1,1\nfive,\n", [], "column a has a field that is no number"),
        ("k.csv", "0,1\n1,2\n", [], "may be headings or samples; name the columns by texts"),
        ("k.csv", "a\n1\n", IMAGES, "a table has kernels of signals, but the examples are images"),
        ("k.txt", "1\n", [], "ends in .txt: give a .npy or .csv file of kernels"),
        ("k.npy", ARRAY, ["network=growing"], "initialization=file sets kernels, but network._target_="),
        ("k.npy", ARRAY, ["initialization=normal"], "needs initialization=checkpoint or initialization=file, not init"),
        ("k.npy", ARRAY, ["initial_kernels=null"], "initialization=file needs initial_kernels=PATH, a .npy or .csv"),
        ("k.npy", ARRAY, ["initial_kernels=no.npy"], "initial_kernels=no.npy is not there: give a .npy or .csv file"),
        ("k.npy", ARRAY, ["initialization=checkpoint"], "is not a checkpoint of san"),
        ("k.npy", ARRAY, ["initialization=checkpoint", "initial_kernels=no"], "is neither a checkpoint nor a run"),
        ("k.npy", ARRAY, ["initial_mean=1"], "initial_mean=1 is of initialization=normal alone, not initialization=fi"),
    ],
)
def test_kernels_that_cannot_be_used_are_refused(compose, untyped, file, name, content, others, message):
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        network_of(compose, *file(name, content), *others, models=[[9, 9]])


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["n_kernels=2"], "has 1 kernels, but the number of kernels of a model is 2: set n_kernels=1"),
        (["initial_kernels=3"], "initial_kernels=3 must be a text that is not empty"),
    ],
)
def test_the_refusal_is_one_line_before_the_training(run_train, file, others, message):
    folder, line = run_train("run", *ONE_SIZE, *file("k.npy", ARRAY), *others, fails=True)
    assert line.startswith("san: ")
    assert message in line
    assert "\n" not in line.strip()
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("initial_mean=abc", "initial_mean=abc must be a finite number"),
        ("initial_deviation=null", "initial_deviation=null must be a finite number"),
        ("initial_deviation=inf", "initial_deviation=inf must be a finite number"),
        ("initial_deviation=-1", "initial_deviation=-1 must be above 0, or 0 with an initial_mean that is not 0"),
        ("initial_deviation=0", "initial_deviation=0 must be above 0"),
        ("+network.initial_deviation=1", "network.initial_deviation is not an argument of SparselyActivatedNetwork"),
    ],
)
def test_an_invalid_distribution_is_one_line(compose, override, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        network_of(compose, override)


@pytest.fixture
def learned(run_train):
    return run_train("learned", *ONE_SIZE, "n_kernels=2", "optimizer.lr=0.1")[0]


def test_a_run_starts_from_the_learned_kernels_of_another_run(run_train, compose, learned):
    atoms = san.load(learned).network.atoms
    start = ["initialization=checkpoint", f"initial_kernels={learned}"]
    for decoder in ("paper", "adjoint"):
        network = network_of(compose, *start, f"decoder={decoder}", models=[[9, 9]])
        assert all(map(torch.equal, network.atoms, atoms))
    same, _ = run_train("same", *ONE_SIZE, *start, "n_kernels=2", "optimizer.lr=0")
    assert results(same)["test"] == results(learned)["test"]
    assert results(same)["random_numbers"] == "seed"
    padded, _ = run_train(
        "padded", *SHORT, "figure=[]", *start, "kernel_sizes=[9,30]", "optimizer.lr=0", "activation.density=7"
    )
    assert results(padded)["test"]["loss_normalized"] == pytest.approx(results(learned)["test"]["loss_normalized"])
    with pytest.raises(ValueError, match="has kernels of 1 axes, but the examples have 2"):
        network_of(compose, *start, *IMAGES)
    other, _ = run_train("other", *ONE_SIZE, *start, "n_kernels=2")
    assert results(other)["phi_per_epoch"][0] < results(learned)["phi_per_epoch"][0]


def test_a_sweep_starts_every_size_from_one_kernel_and_not_several_times(run, tmp_path, file):
    arguments = [*SHORT, *file("k.npy", np.hanning(20)), "kernel_sizes=[5,30]", "optimizer.lr=0", "figure=[]"]
    where = f"hydra.run.dir={tmp_path / 'sweep'}"
    code, line = run(sweep.main, *arguments, "n_starts=2", where)
    assert (code, "n_starts=2: all starts from initial_kernels=" in line) == (1, True)
    code, said = run(sweep.main, *arguments, where)
    assert code == 0, said
    (bank,) = (tmp_path / "sweep" / "checkpoints").glob("extrema-*.ckpt")
    weight = read(bank)["state_dict"]["network.weight"]
    assert [int(kernel.count_nonzero()) for kernel in weight] == [5, 18]
    assert float(weight.max()) == pytest.approx(np.hanning(20).max())


def test_finished_and_resumed_runs_depend_on_the_content_of_the_kernels(run_train, file, tmp_path):
    common = [*ONE_SIZE, "skip_finished=true"]
    arguments = file("k.npy", np.hanning(9))
    folder, _ = run_train("run", *common, *arguments)
    finished = (folder / "results.json").stat().st_mtime_ns
    shutil.copy(tmp_path / "k.npy", tmp_path / "copy.npy")
    run_train("run", *common, "initialization=file", f"initial_kernels={tmp_path / 'copy.npy'}")
    assert (folder / "results.json").stat().st_mtime_ns == finished
    run_train("resumed", *ONE_SIZE, *arguments, f"checkpoint={folder}", "trainer.max_epochs=3")
    file("k.npy", np.hamming(9))
    _, line = run_train("changed", *ONE_SIZE, *arguments, f"checkpoint={folder}", "trainer.max_epochs=3", fails=True)
    assert "is of another experiment: initial_kernels=" in line
    run_train("run", *common, *arguments)
    assert (folder / "results.json").stat().st_mtime_ns != finished


def test_kernels_that_other_weights_determine_are_refused(run_train, compose):
    warped, _ = run_train("warped", *ONE_SIZE, "network=warped", "n_kernels=2")
    with pytest.raises(ValueError, match="which derives them from other weights: give a plain network"):
        network_of(compose, "initialization=checkpoint", f"initial_kernels={warped}")
