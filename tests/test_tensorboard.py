"""What a run writes for TensorBoard."""

import numpy as np
import pytest
from conftest import results
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from san.training.callbacks.kernel_figures import _set_one_scale
from san.training.tensorboard import TensorBoard

SHORT = ["dataset=synthetic", "dataset.space=[200]", "n_kernels=1", "kernel_size=9", "logger=tensorboard"]
CURVES = ["train/loss", *(f"validation/{name}" for name in ("phi", "cr_inverse", "loss_normalized"))]


def runs(folder):
    """Return the events of each run below a folder, by its name, after checking that it has one file."""
    folders = sorted({path.parent for path in folder.rglob("events*")})
    assert all(len(list(run.glob("*.*"))) == 1 for run in folders)
    return {str(run.relative_to(folder)): EventAccumulator(str(run), {"images": 0}).Reload() for run in folders}


def curve(events, tag):
    return {event.step: event.value for event in events.Scalars(tag)}


def hparams(events, part):
    return HParamsPluginData.FromString(events.summary_metadata[f"_hparams_/{part}"].plugin_data.content)


def test_a_run_has_one_file_named_by_its_model_with_epochs_from_1_as_steps(run_train):
    folder, _ = run_train("run", *SHORT, "trainer.max_epochs=3", "kernel_figure_every=1")
    (events,) = runs(folder / "tensorboard").values()
    assert list(runs(folder / "tensorboard")) == ["synthetic-extrema-m9"]
    assert all(list(curve(events, tag)) == [1, 2, 3] for tag in CURVES)
    assert list(curve(events, "validation/phi").values()) == pytest.approx(results(folder)["phi_per_epoch"])
    assert "epoch" not in events.Tags()["scalars"]
    for tag in ("kernels", "kernels_on_one_scale"):
        assert [event.step for event in events.Images(tag)] == [1, 2, 3]


def test_the_metrics_of_validation_come_before_those_of_the_test_beside_numbers(run_train):
    folder, _ = run_train("run", *SHORT, "trainer.max_epochs=2", "seed=3")
    (events,) = runs(folder).values()
    left = results(folder)
    metrics = [info.name.tag for info in hparams(events, "experiment").experiment.metric_infos]
    names = ["phi", "cr_inverse", "loss_normalized"]
    assert metrics == [f"selected/{split}_{name}" for split in ("validation", "test") for name in names]
    assert curve(events, metrics[0]) == {left["best_epoch"]: pytest.approx(left["validation"]["phi"])}
    values = hparams(events, "session_start_info").session_start_info.hparams
    numbers = {name: value.number_value for name, value in values.items() if value.HasField("number_value")}
    assert numbers == {"kernel_size": 9, "seed": 3, "batch_size": 2, "n_kernels": 1}


@pytest.mark.usefixtures("typed")
def test_the_figures_of_a_run_are_those_of_the_selected_epoch(run_train):
    folder, _ = run_train("run", *SHORT, "trainer.max_epochs=1", "figure=[forward_pass,kernels]", "report=false")
    (events,) = runs(folder).values()
    for tag in ("selected/forward_pass", "selected/kernels"):
        assert [event.step for event in events.Images(tag)] == [1]


def test_the_metrics_of_validation_are_in_one_card(run_train):
    folder, _ = run_train("run", *SHORT, "trainer.max_epochs=1")
    (events,) = runs(folder).values()
    (content,) = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val
    ((card,),) = (category.chart for category in layout_pb2.Layout.FromString(content).category)
    assert (card.title, list(card.multiline.tag)) == ("φ̄, CR⁻¹, L̃", CURVES[1:])


@pytest.mark.slow
def test_a_job_is_named_by_the_overrides_that_differ_in_its_multirun(run_train):
    sizes = ["-m", *SHORT, "kernel_size=9,12", "activation=relu,extrema", "trainer.max_epochs=1"]
    folder, _ = run_train("jobs", *sizes)
    assert list(runs(folder)) == [
        "0/tensorboard/kernel_size=9--activation=relu", "1/tensorboard/kernel_size=9--activation=extrema",
        "2/tensorboard/kernel_size=12--activation=relu", "3/tensorboard/kernel_size=12--activation=extrema",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_job_of_sizes_from_the_configuration_has_a_name_without_separators(run_train):
    job = ["-m", *SHORT[:-2], SHORT[-1], "+sweep=kernel_size", "kernel_size=9", "dataset.space=[200],[210]"]
    folder, _ = run_train("jobs", *job, "trainer.max_epochs=1")
    assert list(runs(folder)) == ["0/tensorboard/dataset.space=-200-", "1/tensorboard/dataset.space=-210-"]


@pytest.mark.parametrize("where", ["other", "trained"])
def test_a_resumed_run_continues_its_curves_with_each_epoch_once(run_train, where):
    options = [*SHORT, "kernel_figure_every=1"]
    trained, _ = run_train("trained", *options, "trainer.max_epochs=2")
    (before,) = runs(trained).values()
    resumed, _ = run_train(where, *options, "trainer.max_epochs=4", f"checkpoint={trained}")
    (events,) = runs(resumed).values()
    for tag in CURVES:
        assert list(curve(events, tag)) == [1, 2, 3, 4]
        assert list(curve(events, tag).items())[:2] == list(curve(before, tag).items())
    assert [event.step for event in events.Images("kernels")] == [1, 2, 3, 4]
    assert list(curve(events, "selected/validation_phi")) == [results(resumed)["best_epoch"]]
    assert "test/phi" not in events.Tags()["scalars"]  # of the selected epoch, which is not the last one


@pytest.mark.slow
def test_a_run_that_resumes_from_an_earlier_epoch_has_the_epochs_until_it(run_train):
    options = ["optimizer.lr=0.5", "kernel_size=30", "seed=2", "n_kernels=1", "initialization=normal"]
    options += ["logger=tensorboard"]
    trained, _ = run_train("trained", *options, "trainer.max_epochs=6")
    best = results(trained)["best_epoch"]
    assert best < 6
    resumed, _ = run_train("other", *options, "trainer.max_epochs=7", f"checkpoint={trained / 'checkpoints/best.ckpt'}")
    (events,) = runs(resumed).values()
    assert list(curve(events, "train/loss")) == [1, 2, 3, 4, 5, 6, 7]
    times = [event.wall_time for event in events.Scalars("train/loss")]
    assert np.argmax(np.diff(times)) == best - 1


def test_a_run_that_trains_anew_in_its_folder_replaces_its_file(run_train):
    folder, _ = run_train("run", *SHORT, "trainer.max_epochs=3")
    run_train("run", *SHORT, "trainer.max_epochs=2")
    (events,) = runs(folder).values()
    assert list(curve(events, "train/loss")) == [1, 2]


def test_a_file_of_another_run_in_a_folder_outside_the_run_stays(tmp_path):
    for _ in range(2):
        logger = TensorBoard(tmp_path / "shared", "tensorboard", "name")
        logger.begin(tmp_path / "run", None, 0)
        logger.save()
    assert len(list((tmp_path / "shared").rglob("events*"))) == 2


@pytest.mark.slow
def test_the_banks_of_a_sweep_resume_their_runs(run_sweep):
    options = ["logger=tensorboard", *SHORT[:3], "kernel_sizes=[8,20]"]
    trained, _ = run_sweep("trained", *options, "trainer.max_epochs=2")
    resumed, _ = run_sweep("resumed", *options, "trainer.max_epochs=3", f"checkpoint={trained}")
    assert list(runs(resumed / "tensorboard")) == ["extrema-8-20"]
    (events,) = runs(resumed).values()
    assert list(curve(events, "validation/phi")) == [1, 2, 3]


def test_figures_on_one_scale_have_the_limits_of_all():
    figures = []
    for largest in (1, 5):
        drawn = Figure()
        drawn.add_subplot(121).plot([-1, largest])
        drawn.add_subplot(122).imshow([[0, largest]])
        figures.append(drawn)
    highest = figures[1].axes[0].get_ylim()[1]
    _set_one_scale(figures)
    for drawn in figures:
        assert drawn.axes[0].get_ylim()[1] == highest
        assert drawn.axes[1].images[0].get_clim() == (0, 5)


@pytest.mark.slow
def test_of_many_epochs_ten_at_most_are_drawn_on_one_scale_with_the_last(run_train):
    folder, _ = run_train("run", *SHORT, "trainer.max_epochs=12", "kernel_figure_every=1")
    (events,) = runs(folder).values()
    assert [event.step for event in events.Images("kernels_on_one_scale")] == [2, 4, 6, 8, 10, 12]
