"""Every method on the same split: how baseline methods are counted, and which setting is selected."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import results, table

from san import compare
from san.cli.bank import train_bank
from san.data.splits import Splits
from san.figures.frontier import draw_frontier, frontier
from san.peers import tuning
from san.peers.tuning import METHODS, mean_metrics
from san.reporting.comparison import comparison_row

COMMON = (
    "trainer.max_epochs=2", "kernel_sizes=[10,41]", "dataset.split=[4,2,3]",
    "grids.signals.patches_omp.kernel_size=[10,25]", "grids.signals.patches_omp.n_kernels=[1,2]",
    "grids.signals.patches_omp.alpha=1", "grids.signals.patches_omp.n_nonzero=[1]",
    "grids.signals.patches_omp.tolerance=[0.2,0.8]",
    "grids.signals.patches_omp.tolerance_or_none=[0.2]",
    "grids.signals.csc.kernel_size=20", "grids.signals.csc.n_kernels=[1]", "grids.signals.csc.sparsity=[0.5]",
    "grids.signals.csc.threshold=[0.2,0.4,1.6]",
)  # fmt: skip
PEER_SIZE = 4
OPTIONS = {"loss": F.l1_loss, "n_weights": 8}  # of levels that minimize φ, and these tests describe by others


@pytest.fixture
def run_compare(run, tmp_path):
    """Compare into a folder of the test; return the folder and what was said."""

    def run_compare(folder, *arguments, fails=False, common=COMMON):
        where = f"hydra.run.dir={tmp_path / folder}"
        code, said = run(compare.main, "dataset=synthetic", *common, *arguments, where)
        assert (code != 0) == fails, said
        return tmp_path / folder, said

    return run_compare


PEERS_ARE_MISSING = "the baseline methods are not installed: pip install 'sparsely-activated-networks[peers]'"


@pytest.fixture
def installed():
    for package in ("sklearn", "sporco"):
        pytest.importorskip(package, reason=PEERS_ARE_MISSING)


@pytest.fixture
def two_channels(monkeypatch):
    """Let each command read examples of two channels, which return: events in both, at positions that differ by 3."""
    x = torch.zeros(6, 2, 150)
    event = torch.tensor([1.0, 3, -2, -4, 2, 1])
    for example, at in product(range(6), (10, 60, 100)):
        start = at + 4 * example
        x[example, 0, start : start + 6] += event
        x[example, 1, start + 3 : start + 9] -= 0.5 * event
    x += 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("san.commands.compare.load_dataset", lambda _: Splits("two", x[:2], x[2:4], x[4:]))
    return x


SEVERAL = (
    "trainer.max_epochs=2", "batch_size=2", "kernel_sizes=[6,9]", "n_kernels=[1,2]", "peers=[]",
    "activations=[phi_pursuit]",
)  # fmt: skip


def metrics(peer, x, *levels, count_weights="samples"):
    return mean_metrics(peer, x, levels, loss=F.l1_loss, count_weights=count_weights)


def without_times(compared):
    return [{key: method[key] for key in ("method", "chosen", "settings")} for method in compared["methods"]]


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_a_comparison_leaves_a_table_a_figure_and_all_settings(run_compare):
    folder, _ = run_compare("run")
    compared, rows = results(folder), table(folder / "compare.csv")
    names = [*compared["config"]["activations"], "patches_omp", "csc"]
    assert [method["method"] for method in compared["methods"]] == [one["method"] for one in rows] == names
    settings = {method["method"]: len(method["settings"]) for method in compared["methods"]}
    expected = {**dict.fromkeys(names, 6), "phi_pursuit": 8, "patches_omp": 20, "csc": 4}  # two sizes by 1, 2(, 3), 4
    assert settings == expected
    for method, one in zip(compared["methods"], rows, strict=True):
        lowest = min(setting["validation"]["phi"] for setting in method["settings"])
        assert method["chosen"]["validation"]["phi"] == lowest == float(one["validation_phi"])
        assert method["chosen"] in method["settings"]
        assert method["seconds"]["grid"] > 0 < method["seconds"]["chosen"]
        stored = float(one["n_weights"]) + 2 * float(one["test_activations"])
        assert stored / 1000 == pytest.approx(float(one["test_cr_inverse"]))
    assert (folder / "figures" / "frontier.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "figures" / "frontier.pdf").read_bytes().startswith(b"%PDF")
    lines = (folder / "compare.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == len(rows) + 1
    assert len([line for line in lines if "**" in line]) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_the_same_seed_gives_the_same_comparison(run_compare):
    first, second, other = (
        without_times(results(run_compare(f"{index}", "activations=[extrema]", f"seed={seed}")[0]))
        for index, seed in enumerate((0, 0, 1))
    )
    assert first == second
    assert first != other


@pytest.mark.slow
@pytest.mark.usefixtures("installed", "two_channels")
def test_several_processes_find_the_settings_of_one(run_compare):
    """Among the settings are networks for each channel alone."""
    grids = ("patches_omp.kernel_size=[6,10]", "csc.kernel_size=[10]", "csc.n_kernels=[1]", "csc.sparsity=[0.5]")
    common = (*SEVERAL, *(f"grids.signals.{of_peer}" for of_peer in grids))
    arguments = ("activations=[extrema,phi_pursuit]", "peers=[patches_omp,csc]")
    one, other = (results(run_compare(f"{jobs}", *arguments, f"jobs={jobs}", common=common)[0]) for jobs in (1, 2))
    assert without_times(one) == without_times(other)
    assert (one["jobs"], other["jobs"]) == (1, 2)


def test_the_choice_is_by_validation_and_by_test_only_where_the_protocol_says_so(run_compare):
    """On a split where the two differ, which is the point of it."""
    common = (
        "activations=[relu]",
        "peers=[]",
        "trainer.max_epochs=2",
        "kernel_sizes=3..30",
        "n_kernels=1",
        "dataset.split=[2,1,2]",
    )
    splits = {"honest": "validation", "paper": "test"}
    chosen = {}
    for protocol, split in splits.items():
        (method,) = results(run_compare(protocol, f"protocol={protocol}", common=common)[0])["methods"]
        settings = method["settings"]
        by_split = {of: min(settings, key=lambda one, of=of: one[of]["phi"]) for of in splits.values()}
        assert by_split["validation"]["setting"] != by_split["test"]["setting"]
        assert method["chosen"] == by_split[split]
        chosen[protocol] = method["chosen"]["setting"]
    assert chosen["honest"] != chosen["paper"]


@pytest.mark.slow
def test_an_activation_is_trained_as_by_a_sweep(run_compare, run, tmp_path):
    from san import sweep

    common = [
        "dataset.split=[4,2,3]",
        "trainer.max_epochs=2",
        "kernel_sizes=[8,30]",
        "n_kernels=2",
        "activations=[extrema]",
    ]
    folder, _ = run_compare("run", "peers=[]", common=common)
    code, said = run(sweep.main, "dataset=synthetic", *common, "figure=[]", f"hydra.run.dir={tmp_path / 'sweep'}")
    assert code == 0, said
    (method,) = results(folder)["methods"]
    for setting, model in zip(method["settings"], results(tmp_path / "sweep")["models"], strict=True):
        assert setting["setting"] == {"kernel_size": model["kernel_sizes"][0], "n_kernels": 2}
        for split in ("validation", "test"):
            assert setting[split].items() <= model[split].items()


@pytest.mark.usefixtures("installed")
def test_patches_are_counted_as_by_hand():
    """One atom of four samples describes every patch exactly but the padded one, so W = 4 and A counts patches."""
    atom = torch.tensor([1.0, -2.0, 3.0, 0.5])
    train = torch.cat([atom, 2 * atom, -atom]).view(1, 1, 12)
    peer = METHODS["patches_omp"](train, kernel_size=4, n_kernels=1, alpha=1, seed=0)
    peer.atoms = (atom / atom.norm()).double().view(1, 4).numpy()
    x = torch.cat([-2 * atom, torch.zeros(4), atom[:2]]).view(1, 1, 10)
    ((maps, reconstruction),) = peer.describe(x[..., :8], [{"n_nonzero": 1}], **OPTIONS)
    assert maps.shape == (1, 1, 8)
    assert maps[0, 0].nonzero().flatten().tolist() == [0]
    torch.testing.assert_close(reconstruction, x[..., :8])
    (exact,) = metrics(peer, x[..., :8], {"n_nonzero": 1})
    assert exact == pytest.approx({"phi": 6 / 8, "cr_inverse": (4 + 2 * 1) / 8, "loss_normalized": 0}, abs=1e-6)
    # The last patch is 1, -2 and two zeros of padding, so the amplitude of the atom is (1 + 4) / 14.25.
    (padded,) = metrics(peer, x, {"n_nonzero": 1})
    share = 5 / 14.25
    assert padded["cr_inverse"] == pytest.approx((4 + 2 * 2) / 10)
    assert padded["loss_normalized"] == pytest.approx((1 - share) * 3 / (13 + 3), abs=1e-6)
    none, one, fine = metrics(peer, x, {"tolerance_or_none": 1e3}, {"tolerance": 1e3}, {"tolerance_or_none": 1e-9})
    assert none["phi"] == pytest.approx(np.hypot(4 / 10, 1))
    assert one == pytest.approx(padded)
    assert fine == pytest.approx(padded)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("count_weights", ["samples", "side"])
def test_patches_of_images_are_put_back_where_they_were(count_weights):
    x = torch.randn(3, 1, 7, 9, generator=torch.Generator().manual_seed(0))
    peer = METHODS["patches_omp"](x, kernel_size=2, n_kernels=4, alpha=1, seed=0)
    ((maps, reconstruction),) = peer.describe(x, [{"n_nonzero": 4}], **OPTIONS)
    rebuilt = torch.zeros(3, 8, 10)
    for example, kernel, first, second in maps.nonzero().tolist():
        atom = torch.from_numpy(peer.atoms[kernel]).float().view(2, 2)
        assert first % 2 == second % 2 == 0
        rebuilt[example, first : first + 2, second : second + 2] += maps[example, kernel, first, second] * atom
    torch.testing.assert_close(reconstruction[:, 0], rebuilt[:, :7, :9], atol=1e-5, rtol=0)
    torch.testing.assert_close(reconstruction, x, atol=1e-4, rtol=0)  # four atoms are a basis of four pixels
    (found,) = metrics(peer, x, {"n_nonzero": 4}, count_weights=count_weights)
    n_weights = {"samples": 16, "side": 8}[count_weights]
    assert found["cr_inverse"] == pytest.approx((n_weights + 3 * int(maps.count_nonzero()) / 3) / 63)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("space", [(40,), (9, 8)])
def test_sparse_codes_are_counted_and_put_back_as_by_hand(space):
    """The convolution is circular and the amplitudes are of least squares: the residual is orthogonal to each atom."""
    x = torch.randn(2, 1, *space, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    peer = METHODS["csc"](x, kernel_size=PEER_SIZE, n_kernels=2, sparsity=0.5, seed=0)
    levels = [{"threshold": 0.2}, {"threshold": 0.5}]
    offsets = list(product(range(PEER_SIZE), repeat=len(space)))
    for level, (maps, reconstruction) in zip(levels, peer.describe(x, levels, **OPTIONS), strict=True):
        assert 0 < maps.count_nonzero() <= x.numel() / (len(space) + 1)
        rebuilt, instances = torch.zeros_like(x), []
        for example, kernel, *position in maps.nonzero().tolist():
            instance = torch.zeros(space)
            for offset, weight in zip(offsets, peer.atoms[kernel], strict=True):
                instance[tuple((at + by) % n for at, by, n in zip(position, offset, space, strict=True))] = weight
            rebuilt[example, 0] += maps[(example, kernel, *position)] * instance
            instances.append((example, instance))
        torch.testing.assert_close(reconstruction, rebuilt, atol=1e-4, rtol=0)
        for example, instance in instances:
            assert abs(float(((x - reconstruction)[example, 0] * instance).sum())) < 1e-3
        (found,) = metrics(peer, x, level)
        error = (x - rebuilt).abs().flatten(1).mean(1) / x.abs().flatten(1).mean(1)
        counts = maps.count_nonzero(dim=tuple(range(1, maps.dim())))
        ratio = (2 * PEER_SIZE ** len(space) + (len(space) + 1) * counts) / np.prod(space)
        assert found["phi"] == pytest.approx(float(torch.hypot(ratio.float(), error).mean()), abs=1e-4)
        assert np.linalg.norm(peer.atoms, axis=1) == pytest.approx([1, 1])


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("name", "setting", "level"), [
    ("patches_omp", {"alpha": 1}, {"tolerance": 0.1}), ("patches_omp", {"alpha": 1}, {"n_nonzero_by_phi": 2}),
    ("csc", {"sparsity": 0.5}, {"threshold": 0.5}), ("csc", {"sparsity": 0.5}, {"threshold_by_phi": 0.1}),
])  # fmt: skip
def test_the_metrics_of_a_peer_do_not_depend_on_the_unit_of_the_data(name, setting, level):
    x = torch.randn(3, 1, 60, generator=torch.Generator().manual_seed(1)).cumsum(-1)
    one, other = (
        metrics(METHODS[name](unit * x, kernel_size=5, n_kernels=2, seed=0, **setting), unit * x, level)
        for unit in (1, 1000)
    )
    assert one[0] == pytest.approx(other[0], rel=1e-3)


@pytest.mark.usefixtures("installed")
def test_a_selected_peer_is_tested_on_every_example_and_tuned_on_peer_examples(run_compare):
    folder, _ = run_compare("run", "activations=[]", "peers=[patches_omp]", "peer_examples=1")
    (method,) = results(folder)["methods"]
    chosen = method["chosen"]
    (tuned,) = (setting for setting in method["settings"] if setting["setting"] == chosen["setting"])
    assert tuned["validation"] == chosen["validation"]
    assert tuned["test"] != chosen["test"]


@pytest.mark.parametrize(("protocol", "selected_by"), [("honest", "validation"), ("paper", "test")])
def test_a_peer_learns_from_training_and_is_selected_by_the_split_of_the_protocol(
    run_compare, monkeypatch, protocol, selected_by
):
    """With a size and a level that are best on validation (2 examples), and others that are best on test (3)."""
    best = {
        "validation": {"kernel_size": 10, "n_kernels": 1, "alpha": 1, "tolerance": 0.2},
        "test": {"kernel_size": 25, "n_kernels": 1, "alpha": 1, "tolerance": 0.8},
    }
    learned_from = []

    class Recorder(METHODS["patches_omp"]):
        def __init__(self, train, *, kernel_size, n_kernels, alpha, seed):
            learned_from.append(train)
            self.kernel_size = kernel_size

        def n_weights(self, count="samples"):
            return self.kernel_size

    def prescribed(peer, x, levels, **_):
        of_split = best[{2: "validation", 3: "test"}[len(x)]]
        size = 0.1 * (peer.kernel_size == of_split["kernel_size"])
        phis = [0.8 - size - 0.2 * (level.get("tolerance") == of_split["tolerance"]) for level in levels]
        return [{"phi": phi, "cr_inverse": 0.1, "loss_normalized": 0.1} for phi in phis]

    monkeypatch.setitem(METHODS, "patches_omp", Recorder)
    monkeypatch.setattr(tuning, "find_spec", lambda _: True)
    monkeypatch.setattr("san.commands.compare.mean_metrics", prescribed)
    arguments = ("activations=[]", "peers=[patches_omp]", f"protocol={protocol}", "dataset.split=[4,2,3]")
    folder, _ = run_compare("run", *arguments)
    (method,) = results(folder)["methods"]
    assert method["chosen"]["setting"] == best[selected_by]
    assert method["chosen"][selected_by]["phi"] == pytest.approx(0.5)
    assert all(torch.equal(train, learned_from[0]) for train in learned_from)
    assert len(learned_from) == 4
    assert len(learned_from[0]) == 4


@pytest.mark.slow
def test_complete_methods_of_an_interrupted_comparison_are_kept(run_compare, monkeypatch):
    arguments = ("activations=[relu,extrema]", "peers=[]")
    through, _ = run_compare("through", *arguments)
    trained = []

    def interrupted(config, *others):
        trained.append(config.activation_name)
        if len(trained) == stop:
            raise FloatingPointError("interrupted")
        return train_bank(config, *others)

    monkeypatch.setattr("san.cli.compared_networks.train_bank", interrupted)
    stop = 7
    folder, _ = run_compare("stopped", *arguments, fails=True)
    assert [path.stem for path in (folder / "methods").iterdir()] == ["relu"]
    assert [row["method"] for row in table(folder / "compare.csv")] == ["relu"]
    trained.clear()
    stop = None
    run_compare("stopped", *arguments)
    assert set(trained) == {"extrema"}
    assert without_times(results(folder)) == without_times(results(through))
    run_compare("stopped", *arguments, "optimizer.lr=0.02")
    assert set(trained) == {"relu", "extrema"}


@pytest.mark.parametrize("name", METHODS)
def test_a_peer_that_is_not_installed_is_one_line_before_anything_is_trained(run_compare, monkeypatch, name):
    monkeypatch.setattr(tuning, "find_spec", lambda _: None)
    folder, said = run_compare("run", f"peers=[{name}]", fails=True)
    assert said.startswith("san: ")
    assert "pip install 'sparsely-activated-networks[peers]'" in said
    assert "\n" not in said.strip()
    assert not (folder / "trainings").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["activations=[]", "peers=[]"], "nothing to compare"),
        (["peers=[kmeans]"], "unknown baseline method 'kmeans'; choose from patches_omp, csc"),
        (["activations=[sparse]"], "sparse must be one of annealed_extrema"),
        (["peers=[]", "n_kernels=0"], "n_kernels=0: 0 must be a number such as 8, or a range such as 1..250"),
        (["peers=[]", "n_kernels=[]"], "n_kernels=[] is empty"),
        (["peers=[]", "kernel_sizes=0"], "0 must be a number such as 8"),
        (["peers=[]", "peer_examples=0"], "peer_examples=0 must be an integer"),
        (["peers=[]", "jobs=0"], "jobs=0 must be an integer of at least 1"),
        (["kernel_forms.phi_pursuit=[full,half]"], "=['full', 'half'] must be a list of full, rank1, alone"),
        (["kernel_forms.phi_pursuit=[]"], "kernel_forms.phi_pursuit=[] must be a list of full, rank1, alone"),
        (["peers=[]", "dataset=mnist", "classifier=fnn"], "compared by φ alone"),
    ],
)
def test_mistakes_are_one_line(run_compare, arguments, said):
    _, line = run_compare("run", *arguments, fails=True, common=())
    assert said in line
    assert line.startswith("san: ")
    assert "\n" not in line.strip()


@pytest.mark.slow
def test_a_training_of_several_processes_is_refused(run_compare):
    _, line = run_compare("run", "peers=[]", "trainer.devices=2", fails=True)
    assert "trainer.devices=2: each training has one process here; use jobs=N" in line


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grids.signals.csc.sparsity=[0]"], "sparsity=0 of csc must be a number above 0"),
        (["grids.signals.csc.threshold_by_phi=-1"], "threshold_by_phi=-1 of csc must be a number above 0"),
        (["grids.signals.csc.kernel_size=[1.5]"], "kernel_size=1.5 of csc must be an integer, 1 or more"),
        (["grids.signals.csc.kernel_size=1000"], "csc has no setting with fewer weights"),
        (
            ["grids.signals.csc.threshold=[]", "grids.signals.csc.threshold_by_phi=[]"],
            "csc has no setting with fewer weights",
        ),
    ],
)
def test_mistakes_in_a_grid_are_one_line(run_compare, arguments, said):
    _, line = run_compare("run", "activations=[]", "peers=[csc]", *arguments, fails=True)
    assert said in line
    assert "\n" not in line.strip()


@pytest.mark.slow
@pytest.mark.usefixtures("installed", "two_channels")
def test_examples_of_several_channels_are_compared_by_every_method(run_compare):
    peers = ("patches_omp.kernel_size=[10]", "csc.kernel_size=[10]", "csc.n_kernels=[1]", "csc.sparsity=[0.5]")
    grids = [f"grids.signals.{of_peer}" for of_peer in peers]
    folder, _ = run_compare(
        "run", "activations=[extrema,phi_pursuit]", "peers=[patches_omp,csc]", *grids, common=SEVERAL
    )
    compared, rows = results(folder), table(folder / "compare.csv")
    assert compared["channels"] == 2
    names = ["extrema", "phi_pursuit", "phi_pursuit_rank1", "phi_pursuit_alone", "patches_omp", "csc"]
    assert [method["method"] for method in compared["methods"]] == [one["method"] for one in rows] == names
    for method, one in zip(compared["methods"], rows, strict=True):
        assert method["chosen"] in method["settings"]
        stored = float(one["n_weights"]) + 2 * float(one["test_activations"])
        assert stored / 300 == pytest.approx(float(one["test_cr_inverse"]))
    weights = {name: of["chosen"]["n_weights"] for name, of in zip(names, compared["methods"], strict=True)}
    assert weights["phi_pursuit"] in (12, 18, 24, 36)
    assert weights["phi_pursuit_rank1"] in (8, 11, 16, 22)
    assert (folder / "figures" / "frontier.png").is_file()
    assert "Each φ̄ is of all 2 channels." in (folder / "compare.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_channels_alone_are_tuned_as_examples_of_one_channel(run_compare, monkeypatch, two_channels):
    common = (*SEVERAL, "kernel_forms.phi_pursuit=[alone]")
    folder, _ = run_compare("both", common=common)
    (together,) = results(folder)["methods"]
    chosen = together["chosen"]
    assert together["method"] == "phi_pursuit_alone"
    assert len(together["settings"]) == 4 + 1  # the same setting for all channels, and the best of each
    for channel, own in enumerate(chosen["channels"]):
        x = two_channels[:, channel : channel + 1]
        monkeypatch.setattr("san.commands.compare.load_dataset", lambda _, x=x: Splits("one", x[:2], x[2:4], x[4:]))
        (alone,) = results(run_compare(f"{channel}", common=common)[0])["methods"]
        assert alone["method"] == "phi_pursuit"
        assert alone["chosen"] == own
        assert [chosen["setting"][key][channel] for key in ("kernel_size", "n_kernels")] == list(
            own["setting"].values()
        )
    first, second = chosen["channels"]
    assert chosen["n_weights"] == first["n_weights"] + second["n_weights"]
    for split in ("validation", "test"):
        ratios = [own[split]["cr_inverse"] for own in (first, second)]
        assert chosen[split]["cr_inverse"] == pytest.approx(sum(ratios) / 2)


@pytest.mark.usefixtures("two_channels")
def test_methods_of_other_kernels_are_kept_apart(run_compare):
    folder, _ = run_compare("run", "kernel_forms.phi_pursuit=[full,rank1]", "n_kernels=1", common=SEVERAL)
    assert sorted(path.stem for path in (folder / "methods").iterdir()) == ["phi_pursuit", "phi_pursuit_rank1"]
    full, rank1 = results(folder)["methods"]
    assert [of["n_weights"] for of in full["settings"]] == [12, 18]
    assert [of["n_weights"] for of in rank1["settings"]] == [8, 11]
    run_compare("run", "kernel_forms.phi_pursuit=[rank1]", "n_kernels=1", common=SEVERAL)
    (kept,) = results(folder)["methods"]
    assert kept == rank1  # with its times, so it was not trained again


def test_a_channel_of_zeros_is_not_described_alone(run_compare, two_channels):
    two_channels[3, 1] = 0
    folder, _ = run_compare("run", "kernel_forms.phi_pursuit=[full,alone]", "n_kernels=1", common=SEVERAL)
    lines = (folder / "compare.log").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if "phi_pursuit_alone is skipped" in line)
    assert "two, channel 1: validation example 1 is zero everywhere" in line
    (of_all,) = results(folder)["methods"]
    assert of_all["method"] == "phi_pursuit"
    _, said = run_compare("none", "kernel_forms.phi_pursuit=[alone]", common=SEVERAL, fails=True)
    assert "nothing to compare" in said


def method(name, *points):
    settings = [
        {
            "setting": {"at": at},
            "test": {"phi": float(np.hypot(*point)), "cr_inverse": point[0], "loss_normalized": point[1]},
        }
        for at, point in enumerate(points)
    ]
    return {"method": name, "chosen": settings[0], "settings": settings}


def test_the_frontier_is_what_no_other_is_better_than_in_both():
    points = np.array([[0.3, 0.3], [0.1, 0.9], [0.2, 0.5], [0.25, 0.6], [0.2, 0.7], [0.5, 0.3], [0.9, 0.1]])
    assert frontier(points).tolist() == [[0.1, 0.9], [0.2, 0.5], [0.3, 0.3], [0.9, 0.1]]


def test_the_figure_names_every_method_apart_and_inside():
    """With two at the same place, and one far outside."""
    drawn = draw_frontier(
        [
            method("extrema", (0.2, 0.01), (0.1, 0.4)),
            method("csc", (0.2, 0.01)),
            method("identity", (2.0, 0.01)),
            method("mine", (0.3, 0.3)),
        ],
        "mine",
    )
    (axes,) = drawn.axes
    assert axes.get_title(loc="left") == "mine"
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    (legend,) = drawn.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert [name.partition(",")[0] for name in names] == ["Extrema", "convolutional sparse coding", "mine", "Identity"]
    assert "outside" in names[-1]
    drawn.draw_without_rendering()
    box = legend.get_window_extent()
    assert box.y1 <= axes.get_tightbbox().y0
    assert drawn.bbox.x0 <= box.x0 < box.x1 <= drawn.bbox.x1
    selected = [line for line in axes.lines if line.get_markersize() > 8]
    assert len(selected) == 4
    assert {line.get_markerfacecolor() for line in selected} == {"none"}  # no marker hides another


def test_activations_are_those_of_equation_4():
    test = {"phi": 1, "cr_inverse": (32 + 2 * 7.5) / 100, "loss_normalized": 0}
    chosen = {"setting": {"a": 1, "b": 2}, "n_weights": 32, "validation": test, "test": test}
    of_method = {"method": "any", "chosen": chosen, "settings": [chosen], "seconds": {"grid": 1, "chosen": 1}}
    assert comparison_row(of_method, [100])["test_activations"] == pytest.approx(7.5)
    assert comparison_row(of_method, [100])["setting"] == "a=1 b=2"
    assert comparison_row(of_method, [20], channels=5)["test_activations"] == pytest.approx(7.5)
