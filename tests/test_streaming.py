"""Recordings described in chunks, compared with the same recordings described at once."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import wfdb
from conftest import choices, results
from hypothesis import given, settings
from hypothesis import strategies as st

from san import evaluate, train
from san.activations import Extrema, ExtremaPoolIndices, Identity, ReLU, SparseActivation, TopKAbsolutes
from san.cli.parts import instantiate
from san.data.recording import open_recording
from san.data.scale import Scale
from san.extensions.phi_pursuit import PhiPursuit
from san.extensions.streaming import describe, selectors
from san.extensions.territory import Territory
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss
from san.networks import SparselyActivatedNetwork

SCALING = {"nan": "refuse", "scaling": "example", "value_range": [-1, 1]}
ACTIVATIONS = [
    Identity(),
    ReLU(),
    TopKAbsolutes(),
    ExtremaPoolIndices(),
    ExtremaPoolIndices(ceil_mode=True),
    Extrema(0),
    Extrema(2),
    Extrema(2, require_sign=False),
]


def describe_tensor(network, x, chunk, loss=torch.nn.functional.l1_loss):
    return describe(network, lambda start, stop: x[start:stop], len(x), chunk=chunk, loss=loss)


def assert_as_at_once(network, x, chunk, loss=torch.nn.functional.l1_loss):
    found = describe_tensor(network, x, chunk, loss)
    whole = x.view(1, 1, -1)
    with torch.no_grad():
        maps = network.encode(whole)
        expected = normalized_reconstruction_loss(network.decode(maps), whole, loss)
    assert found.n_activations == maps.count_nonzero(dim=(0, 2)).tolist()
    cr_inverse = inverse_compression_ratio(maps, network.n_weights())
    assert found.inverse_compression_ratio(network.n_weights()) == pytest.approx(float(cr_inverse), abs=1e-5)
    assert found.normalized_reconstruction_loss() == pytest.approx(float(expected), abs=1e-5, rel=1e-5)


@st.composite
def signals(draw):
    """Draw signals with plateaus, ties, steps, slopes, zeros, and chains of falling and of equal extrema."""
    n = draw(st.integers(400, 1500))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    time, period = np.arange(n), draw(st.integers(2, 40))
    kinds = {
        "noise": lambda: random.standard_normal(n),
        "walk": lambda: random.standard_normal(n).cumsum(),
        "ties": lambda: random.integers(-2, 3, n),
        "spikes": lambda: time % period == 0,
        "square": lambda: time // period % 2 - 0.5,
        "falling": lambda: np.sin(time) * np.exp(-time / 500),
        "mostly zeros": lambda: random.integers(-1, 2, n) * (random.random(n) < 0.02),
    }
    x = torch.tensor(kinds[draw(st.sampled_from(sorted(kinds)))](), dtype=torch.float32)
    x[0] += 1  # phi is undefined for a signal of zeros
    return x


@settings(max_examples=40)
@given(
    signals(),
    st.sampled_from(ACTIVATIONS),
    st.lists(st.sampled_from([1, 2, 3, 4, 7, 8, 13]), min_size=1, max_size=3),
    st.sampled_from(["paper", "adjoint"]),
    st.booleans(),
    st.integers(0, 500),
)
def test_chunks_give_the_metrics_of_the_whole_signal(x, activation, sizes, decoder, integer_weights, extra):
    network = SparselyActivatedNetwork(sizes, activation, decoder=decoder, seed=extra)
    if integer_weights:  # so that plateaus and ties of the signal are plateaus and ties of the similarity
        with torch.no_grad():
            network.weight.mul_(20).round_()
    assert_as_at_once(network, x, 16 * max(sizes) + extra)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("decoder", ["paper", "adjoint"])
@pytest.mark.parametrize("choice", choices("activation"))
def test_every_activation_is_computed_in_chunks_or_refused(compose, choice, decoder):
    torch.manual_seed(0)
    activation = instantiate(compose(f"activation={choice}"), "activation")
    network = SparselyActivatedNetwork([7, 20], activation, decoder=decoder)
    if isinstance(activation, Territory | PhiPursuit):  # maps of their kernels depend on one another
        with pytest.raises(ValueError, match="cannot be computed in chunks"):
            describe_tensor(network, torch.randn(10_000), 320)
        return
    for chunk in (320, 333, 5000, 9999, 10000, 20000):
        assert_as_at_once(network, torch.randn(10_000), chunk, torch.nn.functional.mse_loss)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("shift", range(-3, 4))
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda activation: type(activation).__name__)
def test_plateaus_and_ties_across_the_border_of_a_chunk(activation, shift):
    x = torch.zeros(600)
    x[200 + shift : 206 + shift] = 1
    x[210::3] = -1
    network = SparselyActivatedNetwork([1, 5], activation)
    with torch.no_grad():
        network.weight.fill_(1).mul_(torch.tensor([[0.0, 0, 1, 0, 0], [1, 1, 1, 1, 1]]))
    for chunk in (100, 101, 200, 207):
        assert_as_at_once(network, x, chunk)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda activation: type(activation).__name__)
def test_activations_after_zeros_at_the_border_of_a_chunk(activation):
    network = SparselyActivatedNetwork([8], activation)
    with torch.no_grad():
        network.weight.zero_()[0, 3] = 1
    for spike in range(250, 345):
        x = torch.zeros(700)
        x[spike], x[spike + 5], x[600] = 1, 0.5, 2
        assert_as_at_once(network, x, 330)


def test_a_minimum_above_zero_at_the_border_of_a_chunk_is_excluded_by_the_maximum_after_the_border():
    """It is an extremum only without ``require_sign``."""
    network = SparselyActivatedNetwork([8], Extrema(2, require_sign=False))
    with torch.no_grad():
        network.weight.fill_(0.1)[0, 3] = 1
    position = torch.arange(300.0)
    for minimum in range(110, 130):
        x = 1 + (position - minimum).abs() * torch.where(position < minimum, 0.1, 1)
        x[minimum + 6 :] = 0
        assert_as_at_once(network, x, 128)


@pytest.mark.parametrize("sizes", [[40], [7, 40]])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_cells_at_the_border_of_a_chunk(ceil_mode, sizes):
    torch.manual_seed(0)
    network = SparselyActivatedNetwork(sizes, ExtremaPoolIndices(ceil_mode), initial_deviation=1)
    for chunk in range(640, 680, 3):
        assert_as_at_once(network, torch.randn(1500), chunk)


def test_chunks_of_float64_are_as_exact():
    torch.manual_seed(0)
    network = SparselyActivatedNetwork([5], TopKAbsolutes()).double()
    x = torch.randint(-3, 4, (3000,)).double()
    assert_as_at_once(network, x, 100)


def test_each_read_is_at_most_a_chunk_and_its_surroundings():
    torch.manual_seed(0)
    x, lengths = torch.randn(50_000), []
    network = SparselyActivatedNetwork([20], Extrema(2))
    describe(network, lambda start, stop: lengths.append(stop - start) or x[start:stop], len(x), chunk=1000)
    assert max(lengths) <= 1000 + 8 * 20
    assert sum(lengths) < 1.3 * len(x)


def test_a_chain_of_rising_extrema_is_refused():
    time = torch.arange(3000.0)
    x = torch.where(time % 4 == 0, time, 0)
    network = SparselyActivatedNetwork([8], Extrema(2))
    with torch.no_grad():
        network.weight.zero_()[0, 3] = 1
    for tolerance in (0, 2):
        network.activation = Extrema(tolerance)
        with pytest.raises(ValueError, match="from sample 0 to 500 each extremum depends on the next"):
            describe_tensor(network, x, 500)
    assert_as_at_once(network, x, 3000)
    assert_as_at_once(network, x.flip(0), 500)


@pytest.mark.parametrize("first", [9, 20])
def test_a_chain_of_rising_extrema_after_a_cut_is_refused_once_no_chunk_makes_progress(first):
    time, reads = torch.arange(3000.0), []
    x = torch.where((time >= first) & (time % 4 == first % 4), time, 0)
    network = SparselyActivatedNetwork([8], Extrema(2))
    with torch.no_grad():
        network.weight.zero_()[0, 3] = 1

    def read(start, stop):
        reads.append(start)
        assert len(reads) < 9
        return x[start:stop]

    with pytest.raises(ValueError, match=rf"from sample {first - 9} to {first + 491} each extremum depends"):
        describe(network, read, len(x), chunk=500)


def test_a_chunk_of_fewer_than_16_of_the_longest_kernel_is_refused_unless_it_is_the_whole_signal():
    network = SparselyActivatedNetwork([3, 8], Identity(), seed=0)
    x = torch.randn(300, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="chunk=127 is too short for kernels of 8 samples; choose 128 or more"):
        describe_tensor(network, x, 127)
    with pytest.raises(ValueError, match="chunk=99 is too short"):
        describe_tensor(network, x[:100], 99)
    assert_as_at_once(network, x, 128, torch.nn.functional.mse_loss)
    assert_as_at_once(network, x[:100], 100)


def test_a_network_of_several_models_or_for_images_is_refused():
    bank = SparselyActivatedNetwork([3, 3], Extrema(), n_models=2)
    with pytest.raises(ValueError, match="n_dims=1, n_models=2"):
        describe_tensor(bank, torch.randn(100), 50)
    with pytest.raises(ValueError, match="n_dims=2, n_models=1"):
        describe_tensor(SparselyActivatedNetwork([3], Extrema(), 2), torch.randn(100), 50)


def test_an_activation_without_selectors_is_refused():
    class Median(SparseActivation):
        def density(self, kernel_size, space):
            return 0

        def select(self, similarity, density):
            return similarity * (similarity > similarity.median())

    network = SparselyActivatedNetwork([3], Median())
    with pytest.raises(ValueError, match="Median cannot be computed in chunks"):
        describe_tensor(network, torch.randn(100), 50)
    assert Median not in selectors.registry


def open_array(x, chunk=100, **options):
    return open_recording(
        lambda start, stop: x[start:stop].astype(float),
        len(x),
        name="x",
        sampling_frequency=None,
        chunk=chunk,
        **{**SCALING, **options},
    )


@pytest.mark.parametrize("chunk", [1, 7, 1000, 5000])
def test_scaling_uses_the_statistics_of_the_whole_recording(chunk):
    x = np.random.default_rng(0).standard_normal(1000) * 1e-3 + 1e5
    scaled = torch.tensor((x - x.mean()) / x.std(ddof=1), dtype=torch.float32)
    assert torch.allclose(open_array(x, chunk).read(10, 990), scaled[10:990], atol=1e-5)
    ranged = open_array(x, chunk, scaling="range").read(0, 1000)
    assert (float(ranged.min()), float(ranged.max())) == (-1, 1)
    assert torch.equal(open_array(x, chunk, scaling="none").read(3, 5), torch.tensor(x[3:5], dtype=torch.float32))


@pytest.mark.parametrize("scale", [Scale("all", 3.0, 2.0), Scale("range", 3.0, 2.0, -1.0, 1.0)])
def test_a_given_scale_replaces_the_statistics_of_the_recording(scale):
    x = np.random.default_rng(0).standard_normal(1000) * 5 + 7
    recording = open_array(x, 300, scaling=scale.kind, scale=scale.to_dict())
    expected = scale.apply(torch.tensor(x), "x").float()
    assert torch.equal(recording.read(10, 990), expected[10:990])
    assert recording.scale == scale
    constant = open_array(np.full(9, 5.0), scaling=scale.kind, scale=scale.to_dict())
    assert constant.read(0, 1) == scale.apply(torch.tensor(5.0), "x")
    zero = scale.undo(torch.zeros(9)).numpy()
    with pytest.raises(ValueError, match="everywhere, phi is undefined there"):
        open_array(zero, scaling=scale.kind, scale=scale.to_dict())
    with pytest.raises(ValueError, match=f"scaling=example must be {scale.kind}, the scaling of the training data"):
        open_array(x, scale=scale.to_dict())


def test_a_recording_scaled_as_one_example_uses_its_own_statistics_beside_a_scale_by_example():
    x = np.random.default_rng(0).standard_normal(1000) * 5 + 7
    alone, given = open_array(x), open_array(x, scale=Scale("example").to_dict())
    assert torch.equal(alone.read(0, 1000), given.read(0, 1000))
    assert alone.scale == given.scale == Scale("example")
    assert torch.allclose(alone.scale.undo(alone.read(0, 1000).double(), alone.statistics), torch.tensor(x), atol=1e-5)


@pytest.mark.slow
@given(st.lists(st.booleans(), min_size=2, max_size=60).filter(any), st.integers(1, 70))
def test_invalid_samples_are_interpolated_as_in_the_whole_recording(valid, chunk):
    x = np.random.default_rng(len(valid)).standard_normal(len(valid) * 100)
    x[~np.repeat(valid, 100)] = np.nan
    positions = np.flatnonzero(np.isfinite(x))
    expected = torch.tensor(np.interp(np.arange(len(x)), positions, x[positions]), dtype=torch.float32)
    recording = open_array(x, chunk * 100, nan="interpolate", scaling="none")
    chunks = [recording.read(start, min(start + chunk, len(x))) for start in range(0, len(x), chunk)]
    assert torch.equal(torch.cat(chunks), expected)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.r_[np.ones(150), np.nan, 2], {}, "the first at 150"),
        (np.full(10, np.nan), {"nan": "interpolate"}, "no valid sample"),
        (np.ones(300), {}, "is 1 everywhere"),
        (np.zeros(300), {"scaling": "none"}, "is 0 everywhere"),
        (np.zeros(0), {}, "has no samples"),
        (np.arange(9), {"scaling": "log"}, "scaling=log must be one of none, example, all, range"),
        (np.arange(9), {"nan": "zero"}, "nan=zero must be one of refuse, interpolate"),
        (
            np.arange(9),
            {"scaling": "range", "value_range": [1, 0]},
            "two numbers, the smaller one first",
        ),
    ],
)
def test_an_invalid_recording_or_option_is_refused(untyped, x, options, message):
    with pytest.raises(ValueError, match=message):
        open_array(x, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Write a briefly trained checkpoint, and a recording of 40,000 samples in two formats."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["debug=one_batch", "kernel_size=20", "logger=csv", "figure=[]", f"hydra.run.dir={folder}"]
        patch.setattr(sys, "argv", ["san.train", *arguments])
        train.main()
    samples = np.random.default_rng(0).standard_normal(40_000).cumsum() / 50
    wfdb.wrsamp(
        "long",
        fs=100,
        units=["mV"] * 2,
        sig_name=["I", "II"],
        p_signal=np.stack([-samples, samples], 1),
        fmt=["16"] * 2,
        write_dir=str(folder),
    )
    np.save(folder / "long.npy", wfdb.rdrecord(str(folder / "long")).p_signal[:, 1])
    return folder


@pytest.fixture
def run_evaluate(run, trained, tmp_path):
    def run_evaluate(folder, *arguments, fails=False):
        code, message = run(evaluate.main, f"checkpoint={trained}", *arguments, f"hydra.run.dir={tmp_path / folder}")
        assert (code != 0) == fails, message
        return message if fails else results(tmp_path / folder)

    return run_evaluate


def test_a_recording_evaluates_to_the_same_numbers_in_chunks_and_at_once(run_evaluate, trained):
    array = ["dataset=numpy", f"path={trained / 'long.npy'}"]
    record = ["dataset=wfdb", f"path={trained / 'long'}", "channel=II"]
    whole = run_evaluate("whole", *array, "chunk=40000")
    in_chunks = run_evaluate("in_chunks", *array, "chunk=1999")
    of_record = run_evaluate("of_record", *record, "chunk=3000")
    test_part = np.load(trained / "long.npy")[28_000:]
    np.save(trained / "part.npy", test_part)
    part = run_evaluate("part", "dataset=numpy", f"path={trained / 'part.npy'}", "chunk=500")
    window = run_evaluate("window", *array, "dataset.window=12000", "dataset.fractions=[0.35,0.35,0.3]")
    for found, expected in ((in_chunks, whole), (of_record, whole), (part, window)):
        assert found.keys() == expected.keys()
        assert found["test"] == pytest.approx(expected["test"], abs=1e-5)
        assert found["test"]["cr_inverse"] == pytest.approx(expected["test"]["cr_inverse"], rel=1e-7)
    assert (of_record["dataset"], whole["dataset"]) == ("wfdb/long", "numpy/long")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chunk=0"], "chunk=0 must be an integer"),
        (["chunk=many"], "chunk=many must be an integer"),
        (["chunk=319"], "chunk=319 is too short for kernels of 20 samples; choose 320 or more"),
        (["dataset=csv", "chunk=1000"], "cannot read in chunks; give a WFDB record"),
        pytest.param(
            ["chunk=1000", "trainer.devices=2", "trainer=ddp", "trainer.accelerator=cpu"],
            "is read by one process",
            marks=pytest.mark.slow,
        ),
        (["dataset=wfdb", "path={folder}/cut", "chunk=1000"], "cut"),
        (["path={folder}/two.npy", "chunk=1000"], "give axes=[channels,time]"),
        (["path={folder}/text.npy", "chunk=1000"], "cannot be read as an array"),
        (["path={folder}/none.npy", "chunk=1000"], "is not there"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(run_evaluate, trained, arguments, message):
    np.save(trained / "two.npy", np.ones((3, 5)))
    np.save(trained / "text.npy", np.array(["a", "b"]))
    header = (trained / "long.hea").read_text(encoding="utf-8")
    (trained / "cut.hea").write_text(header.replace("long", "cut"), encoding="utf-8")
    (trained / "cut.dat").write_bytes((trained / "long.dat").read_bytes()[:-1001])
    given = ["dataset=numpy", f"path={trained / 'long.npy'}", *arguments]
    line = run_evaluate("run", *[argument.format(folder=trained) for argument in given], fails=True)
    assert message in line
    assert line.startswith("san: ")
    assert "\n" not in line.strip()


@pytest.mark.slow
def test_ten_times_the_samples_need_no_more_memory(trained):
    """Compare the peak memory of whole processes on ten million and on a hundred million samples."""
    program = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    random, peaks = np.random.default_rng(0), []
    for n_samples in (10**7, 10**8):
        with (trained / "record.dat").open("wb") as file:
            for _ in range(n_samples // 10**6):
                file.write(random.integers(-2000, 2000, 10**6, dtype="<i2").tobytes())
        header = f"record 1 250 {n_samples}\nrecord.dat 16 200\n"
        (trained / "record.hea").write_text(header, encoding="utf-8")
        command = [
            *(sys.executable, "-m", "san.evaluate"),
            *(f"checkpoint={trained}", "dataset=wfdb", f"path={trained / 'record'}", "chunk=1000000"),
            f"hydra.run.dir={trained / 'evaluated'}",
        ]
        measured = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=True)
        peaks.append(int(measured.stdout) * 1024)
        assert 0 < results(trained / "evaluated")["test"]["phi"] < 2
    assert peaks[1] < 1.5e9
    assert peaks[1] < 1.1 * peaks[0]
