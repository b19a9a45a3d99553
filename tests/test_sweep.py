"""``san.sweep``, all kernel sizes at once, compared with one training at a time."""

import csv
import json
from contextlib import nullcontext

import pytest
import torch
from conftest import choices, results, table
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from san import evaluate, train
from san.checkpoint import read
from san.cli.bank import refuse_other_banks, shares
from san.cli.config import parse_numbers
from san.training.san_module import SANModule

SIZES = [1, 2, 9, 60, 171]


def models(folder):
    return results(folder)["models"]


def activations_and_decoders():
    """Return every activation with the paper's decoder, and three with the adjoint one.

    Both decoders distinguish dense maps, sparse maps and a search.
    """
    pairs = [(name, "paper") for name in choices("activation")]
    pairs += [(name, "adjoint") for name in ("identity", "extrema", "phi_pursuit")]
    fast = (("identity", "paper"), ("extrema", "paper"))
    return [pytest.param(*pair, marks=[] if pair in fast else [pytest.mark.slow]) for pair in pairs]


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize(("activation", "decoder"), activations_and_decoders())
def test_a_model_of_a_bank_is_trained_as_if_alone(run_sweep, run_train, activation, decoder):
    """Compare phi in each epoch, to 1e-4; a kernel of one sample from the data would be exact but for rounding."""
    common = [f"activation={activation}", f"decoder={decoder}", "n_kernels=1", "trainer.max_epochs=3"]
    common += [] if activation == "phi_pursuit" else ["initialization=normal"]
    folder, _ = run_sweep("sweep", *common, f"kernel_sizes={SIZES}")
    for model, size in zip(models(folder), SIZES, strict=True):
        alone = results(run_train(f"{size}", *common, f"kernel_size={size}", "logger=csv", "figure=[]")[0])
        assert model["phi_per_epoch"] == pytest.approx(alone["phi_per_epoch"], abs=1e-4)
        assert (model["best_epoch"], model["kernel_sizes"]) == (alone["best_epoch"], alone["kernel_sizes"])
        assert (model["n_weights"], model["dead_kernels"]) == (alone["n_weights"], alone["dead_kernels"])
        for split in ("validation", "test"):
            assert model[split] == pytest.approx(alone[split], abs=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize("network", [choice for choice in choices("network") if choice != "plain"])
def test_a_network_of_a_bank_is_trained_as_if_alone(run_sweep, run_train, network):
    """Compare phi in each epoch, to 1e-4, and the number of weights."""
    common = [f"network={network}", "n_kernels=2", "trainer.max_epochs=6"]
    folder, _ = run_sweep("sweep", *common, "kernel_sizes=[3,9,60]")
    for model, size in zip(models(folder), [3, 9, 60], strict=True):
        alone = results(run_train(f"{size}", *common, f"kernel_size={size}", "logger=csv", "figure=[]")[0])
        assert model["phi_per_epoch"] == pytest.approx(alone["phi_per_epoch"], abs=1e-4)
        assert (model["best_epoch"], model["n_weights"]) == (alone["best_epoch"], alone["n_weights"])
        assert model["test"] == pytest.approx(alone["test"], abs=1e-4)


@pytest.mark.slow
def test_a_sweep_writes_the_files_of_a_multirun(run_sweep, run_train, run, tmp_path):
    common = ["n_kernels=2", "trainer.max_epochs=2", "dataset=synthetic_images"]
    folder, _ = run_sweep("sweep", *common, "kernel_sizes=[3,5..6]", "activations=[relu,extrema]", as_user=True)
    multirun, _ = run_train("multirun", "-m", *common, "activation=relu,extrema", "kernel_size=3,5,6", "figure=[]")
    rows, expected = table(folder / "sweep.csv"), table(multirun / "sweep.csv")
    assert list(rows[0]) == list(expected[0])
    for row, other in zip(rows, expected, strict=True):
        assert [row[key] for key in ("dataset", "activation", "kernel_size", "seed", "best_epoch")] == [
            other[key] for key in ("dataset", "activation", "kernel_size", "seed", "best_epoch")
        ]
        for key in ("validation_phi", "test_phi", "test_cr_inverse", "test_loss_normalized"):
            assert float(row[key]) == pytest.approx(float(other[key]), abs=1e-4)
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "sweep.pdf").read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in (folder / "figures").iterdir()) == [
        f"{name}.{suffix}"
        for name in ("forward_pass", "kernels", "phi_per_epoch", "planted")
        for suffix in ("pdf", "png")
    ]
    best = min(rows, key=lambda row: float(row["validation_phi"]))
    checkpoint = read(folder / "checkpoints" / "best.ckpt")
    assert checkpoint["config"]["kernel_size"] == int(best["kernel_size"])
    code, said = run(evaluate.main, f"checkpoint={folder}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert code == 0, said
    assert results(tmp_path / "evaluated")["activation"] == best["activation"]
    assert results(tmp_path / "evaluated")["test"]["phi"] == pytest.approx(float(best["test_phi"]), abs=1e-6)


@pytest.mark.slow
def test_tensorboard_has_phi_over_the_kernel_size_and_the_kernels(run_sweep):
    folder, _ = run_sweep("sweep", "logger=tensorboard", "kernel_sizes=3..20", "n_kernels=1", "trainer.max_epochs=2")
    events = EventAccumulator(str(folder / "tensorboard" / "extrema-3-20")).Reload()
    assert set(events.Tags()["images"]) == {"kernels", "phi over kernel size"}
    best = [min(model["phi_per_epoch"][epoch] for model in models(folder)) for epoch in range(2)]
    assert [event.value for event in events.Scalars("validation/phi")] == pytest.approx(best)


def test_banks_too_large_for_the_memory_are_divided_with_the_same_result(run_sweep):
    common = ["trainer.max_epochs=3", "kernel_sizes=3..9", "n_kernels=1"]
    whole, _ = run_sweep("whole", *common)
    divided, _ = run_sweep("divided", *common, "max_memory=6e5")
    assert len(list((divided / "checkpoints").glob("extrema-*.ckpt"))) == 3
    for one, other in zip(models(whole), models(divided), strict=True):
        assert one["kernel_sizes"] == other["kernel_sizes"]
        assert one["phi_per_epoch"] == pytest.approx(other["phi_per_epoch"], abs=1e-5)


def test_models_are_shared_among_banks_by_their_memory():
    batch = torch.zeros(2, 1, 1000)
    assert shares([3, 4, 5], 1, batch, 1e9) == [[3, 4, 5]]
    assert shares([3, 4, 5], 1, batch, 4e5) == [[3, 4], [5]]
    assert shares([3, 4, 5], 2, batch, 1) == [[3], [4], [5]]


@pytest.mark.slow
def test_a_resumed_sweep_ends_with_the_numbers_of_one_that_ran_through(run_sweep, tmp_path):
    common = ["kernel_sizes=[4,8,30]", "activations=[extrema,identity]"]
    through, _ = run_sweep("through", *common, "trainer.max_epochs=6")
    run_sweep("short", *common, "trainer.max_epochs=2")
    resumed, _ = run_sweep("resumed", *common, "trainer.max_epochs=6", f"checkpoint={tmp_path / 'short'}")
    assert models(through) == models(resumed)
    _, line = run_sweep("bad", *common, f"checkpoint={tmp_path / 'nowhere'}", fails=True)
    assert "is not the folder of a sweep" in line


def without_provenance(content):
    del content["provenance"]


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [False, True])
def test_a_bank_of_other_models_is_refused(run_sweep, tmp_path, earlier):
    """Use other kernel sizes and numbers of starts for which the checkpoint has the same name."""
    short, _ = run_sweep("short", "n_kernels=1", "kernel_sizes=[8,12,16]", "trainer.max_epochs=1")
    bank = short / "checkpoints" / "extrema-8-16.ckpt"
    if earlier:
        content = torch.load(bank, weights_only=True)
        without_provenance(content)
        torch.save(content, bank)
    before = bank.read_bytes()
    for sizes, shown in (("[8,10,16]", "[8, 10, 16]"), ("[8,16]", "[8, 16]"), ("8..16", "[8..16]")):
        others = ["n_kernels=1", f"kernel_sizes={sizes}", "trainer.max_epochs=2"]
        _, line = run_sweep("other", *others, f"checkpoint={short}", fails=True)
        assert f"kernel_sizes=[8, 12, 16] in the checkpoint, kernel_sizes={shown} here" in line
    common = ["n_kernels=1", "kernel_sizes=[8,12,16]", "trainer.max_epochs=2"]
    _, line = run_sweep("other", *common, "n_starts=2", f"checkpoint={short}", fails=True)
    assert "n_starts=1 in the checkpoint, n_starts=2 here" in line
    assert bank.read_bytes() == before
    resumed, _ = run_sweep("resumed", *common, "activations=[extrema,relu]", "max_memory=4e8", f"checkpoint={short}")
    through, _ = run_sweep("through", *common, "activations=[extrema,relu]")
    assert models(resumed) == models(through)


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["extrema-8-16", "relu-8-16"], False),
        (["extrema-1-7", "extrema-8-16"], False),
        (["relu-8-16"], True),
        (["extrema-2-kernels-8-16"], True),
        (["extrema-8-20"], True),
        (["extrema-8-10", "extrema-11-16"], True),
        (["extrema-8-16", "extrema-17-30"], True),
    ],
)
def test_the_folder_of_another_sweep_is_refused_before_any_bank_trains(tmp_path, names, refused):
    (tmp_path / "checkpoints").mkdir()
    for name in ("best", "extrema-8-16", "extrema-20-30"):
        (tmp_path / "checkpoints" / f"{name}.ckpt").touch()
    config = OmegaConf.create({"checkpoint": str(tmp_path)})
    with pytest.raises(ValueError, match="is of another sweep: it has the banks") if refused else nullcontext():
        refuse_other_banks(config, [*names, *([] if refused else ["extrema-20-30"])])


def test_another_sweep_is_refused_by_the_command(run_sweep):
    short, _ = run_sweep("short", "n_kernels=1", "kernel_sizes=[8,12,16]", "trainer.max_epochs=1")
    _, line = run_sweep("other", "n_kernels=1", "kernel_sizes=[8,20]", f"checkpoint={short}", fails=True)
    assert "it has the banks extrema-8-16, this sweep has extrema-8-20; to resume it" in line


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_of_several_starts_the_one_of_the_lowest_validation_phi_is_kept(run_sweep, protocol):
    folder, _ = run_sweep(
        "sweep", "n_kernels=1", "kernel_sizes=[8,30]", "n_starts=4", "trainer.max_epochs=2", f"protocol={protocol}"
    )
    bank = read(folder / "checkpoints" / "extrema-8-30.ckpt")
    per_epoch = [metrics["phi"] for metrics in bank["callbacks"]["BankSelection"]["validation_per_epoch"]]
    of_starts = [min(phis) if protocol == "honest" else phis[-1] for phis in zip(*per_epoch, strict=True)]
    assert len(set(of_starts)) == 8
    assert [model["validation"]["phi"] for model in models(folder)] == [min(of_starts[:4]), min(of_starts[4:])]


def test_the_same_seed_gives_the_same_numbers(run_sweep):
    first, second, other = (
        models(run_sweep(f"{index}", "kernel_sizes=3..6", "trainer.max_epochs=2", f"seed={seed}")[0])
        for index, seed in enumerate((0, 0, 1))
    )
    assert first == second
    assert first[0]["test"] != other[0]["test"]


@pytest.mark.parametrize("activation", ["identity", "extrema", "topk_absolutes"])
def test_a_model_with_nan_weights_does_not_change_the_others(run_sweep, monkeypatch, activation):
    common = ["n_kernels=1", "kernel_sizes=[4,8,30]", "trainer.max_epochs=3", f"activation={activation}"]
    healthy, _ = run_sweep("healthy", *common)
    original = SANModule.on_train_start if hasattr(SANModule, "on_train_start") else None

    def poison(self):
        if original is not None:
            original(self)
        with torch.no_grad():
            self.network.kernels[1].fill_(torch.nan)

    monkeypatch.setattr(SANModule, "on_train_start", poison)
    folder, _ = run_sweep("ill", *common, fails=True)
    first, last = models(folder)
    for model, expected in zip((first, last), (models(healthy)[0], models(healthy)[2]), strict=True):
        assert model["kernel_sizes"] == expected["kernel_sizes"]
        assert model["phi_per_epoch"] == pytest.approx(expected["phi_per_epoch"], abs=1e-5)
    assert [row["kernel_size"] for row in table(folder / "sweep.csv")] == ["4", "30"]


@pytest.mark.parametrize("protocol", ["honest", pytest.param("paper", marks=pytest.mark.slow)])
def test_two_kernels_and_a_classifier_for_each_model(run_sweep, run_train, write_images, tmp_path, protocol):
    write_images("MNIST")
    common = [
        "dataset=mnist", "dataset.n_validation=10", "batch_size=5", "trainer.max_epochs=1", "classifier=fnn",
        "classifier.batch_size=5", "classifier.max_epochs=3", f"protocol={protocol}", f"paths.data_dir={tmp_path}",
        f"paths.cache_dir={tmp_path / 'cache'}",
    ]  # fmt: skip
    folder, _ = run_sweep("sweep", *common, "kernel_sizes=2..3")
    for model in models(folder):
        (size, _) = model["kernel_sizes"]
        alone = results(run_train(f"{size}", *common, f"kernel_size={size}", "figure=[]")[0])["classifier"]
        for key in ("best_epoch", "validation_accuracy", "test", "accuracy_change"):
            assert model["classifier"][key] == alone[key]
    rows = table(folder / "sweep.csv")
    assert [float(row["test_accuracy"]) for row in rows] == [model["test"]["accuracy"] for model in models(folder)]
    assert models(folder)[0]["classifier"]["baseline"] == models(folder)[1]["classifier"]["baseline"]
    assert "classifier" in read(folder / "checkpoints" / "best.ckpt")


def test_the_papers_protocol_selects_the_last_epoch(run_sweep):
    folder, _ = run_sweep("sweep", "kernel_sizes=[8,30]", "trainer.max_epochs=6", "optimizer.lr=0.5", "protocol=paper")
    assert [model["best_epoch"] for model in models(folder)] == [6, 6]


@pytest.mark.parametrize(
    ("given", "sizes"),
    [("1..4", [1, 2, 3, 4]), (7, [7]), ("7", [7]), (OmegaConf.create(["9..10", 3, 9]), [3, 9, 10])],
)
def test_kernel_sizes_are_numbers_and_ranges(given, sizes):
    assert parse_numbers("kernel_sizes", given) == sizes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kernel_sizes=0..3"], "kernel_sizes=0..3: 0..3 must be a number such as 8, or a range such as 1..250"),
        (["kernel_sizes=[]"], "kernel_sizes=[] is empty"),
        (["kernel_sizes=5..4"], "kernel_sizes=5..4 is empty"),
        (["kernel_sizes=[3,x]"], "x must be a number"),
        (["kernel_sizes=1001"], "kernel_size=1001 exceeds the signal length 1000; choose 1 to 1000"),
        (["activations=[extrema,sparse]"], "sparse must be one of annealed_extrema"),
        (["trainer.max_epochs=0", "kernel_sizes=3"], "left nothing to train"),
    ],
)
def test_mistakes_are_one_line(run_sweep, arguments, said):
    folder, line = run_sweep("run", *arguments, fails=True)
    assert said in line
    assert line.startswith("san: ")
    assert "\n" not in line.strip()
    assert not (folder / "results.json").exists()


def test_a_model_of_a_sweep_cannot_be_resumed(run_sweep, run, tmp_path):
    folder, _ = run_sweep("sweep", "kernel_sizes=8", "trainer.max_epochs=1")
    best = folder / "checkpoints" / "best.ckpt"
    code, said = run(train.main, f"checkpoint={best}", "kernel_size=8", f"hydra.run.dir={tmp_path / 'run'}")
    assert code == 1
    assert "has weights but no training state to resume" in said


def test_results_are_plain_json(run_sweep):
    folder, _ = run_sweep("sweep", "kernel_sizes=8", "trainer.max_epochs=1")
    text = (folder / "results.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert json.loads(text)["config"]["kernel_sizes"] == 8
    with (folder / "sweep.csv").open(encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 2


@pytest.mark.slow
def test_table_1_comes_out_on_a_real_record(run_sweep, real_data):
    """Expect the printed phi of mitdb and Extrema, 0.45, at the best kernel size; few sizes reach it."""
    where = ["dataset.database=mitdb", f"paths.data_dir={real_data}", "n_kernels=1", "initialization=normal"]
    folder, _ = run_sweep("sweep", *where, "kernel_sizes=1..250")
    best = min(models(folder), key=lambda model: model["validation"]["phi"])
    assert best["test"]["phi"] == pytest.approx(0.45, abs=0.02)
