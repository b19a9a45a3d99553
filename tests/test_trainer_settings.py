"""Settings of the trainer and optimizers: each gives the right numbers, or is refused in one line."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from conftest import results

from san import evaluate, sweep
from san.activations import Extrema
from san.cli.arguments import refuse_unknown_arguments
from san.cli.trainer_settings import refuse_training_without_validation
from san.networks import SparselyActivatedNetwork
from san.training import classifiers
from san.training.callbacks.phi_checkpoint import PhiCheckpoint
from san.training.data_module import SplitsDataModule, shuffled
from san.training.san_module import SANModule
from san.training.trainer_checks import independent_optimizer

SGD = partial(torch.optim.SGD, lr=0.5)
ELEMENTWISE = (
    "ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD",
)  # fmt: skip


class ClippedSGD(torch.optim.SGD):
    """An optimizer with a statistic over all of its parameters."""

    def step(self, closure):
        loss = closure()
        torch.nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 1.0)
        super().step()
        return loss


@pytest.fixture
def fit(tmp_path):
    """Train a network of one or several models on seven signals; return the module and the selection."""

    def fit(sizes=(7,), epochs=3, optimizer=SGD, callbacks=(), folder="run", resumes=False, **settings):
        x = torch.randn(7, 1, 60, generator=torch.Generator().manual_seed(0))
        network = SparselyActivatedNetwork(sizes, Extrema(), n_models=len(sizes), seed=0)
        module = SANModule(network, loss=F.l1_loss, optimizer=optimizer, count_weights="samples", config={})
        selection = PhiCheckpoint(tmp_path / folder)
        quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(
            **{
                "max_epochs": epochs,
                "num_sanity_val_steps": 0,
                "callbacks": [selection, *callbacks],
                **quiet,
                **settings,
            }
        )
        data = SplitsDataModule({"train": x, "validation": x, "test": x}, 2, shuffled(len(x), 0))
        trainer.fit(module, data, ckpt_path=selection.adopt(tmp_path / "stopped/last.ckpt") if resumes else None,
                    weights_only=True)  # fmt: skip
        return module, selection

    return fit


@pytest.mark.parametrize(
    ("setting", "value", "shown"),
    [
        ("precision", "bf16-mixed", "bf16-mixed must be 32-true"),
        ("precision", "bf16-true", "bf16-true must be 32-true"),
        ("precision", "16-true", "16-true must be 32-true"),
        ("precision", "64-true", "64-true must be 32-true"),
        ("accumulate_grad_batches", 2, "2 must be 1"),
        ("overfit_batches", 1, "1 must be 0"),
        ("val_check_interval", 0.5, "0.5 must be 1.0"),
        ("val_check_interval", 1, "1 must be 1.0"),
        ("val_check_interval", "00:00:00:01", "a time must be 1.0"),
        ("max_steps", 3, "3 must be -1"),
    ],
)
def test_a_setting_that_changes_what_a_number_means_is_refused(fit, setting, value, shown):
    with pytest.raises(ValueError, match=rf"^trainer\.{setting}={shown}"):
        fit(**{setting: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"detect_anomaly": True},
        {"inference_mode": False},
        {"num_sanity_val_steps": 2},
        {"reload_dataloaders_every_n_epochs": 1},
        {"use_distributed_sampler": False},
    ],
)
@pytest.mark.filterwarnings("ignore:You have turned on `Trainer.detect_anomaly")  # Lightning warns of its own setting
def test_other_settings_change_no_number(fit, settings):
    module, selection = fit(folder="default")
    other, of_other = fit(**settings)
    assert torch.equal(module.network.weight, other.network.weight)
    assert selection.phi_per_epoch == of_other.phi_per_epoch
    assert [metrics["phi"] for metrics in other.validation_per_epoch] == [[phi] for phi in selection.phi_per_epoch]


class StopWithinEpoch(pl.Callback):
    """Ask for the end of the training, as Lightning does if ``max_time`` is over."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        trainer.should_stop = trainer.should_stop or (trainer.current_epoch == 1 and batch_index == 1)


def test_a_training_that_is_to_stop_within_an_epoch_ends_with_it_and_resumes_to_the_same_numbers(fit):
    through, of_through = fit(epochs=4)
    _, stopped = fit(epochs=4, callbacks=[StopWithinEpoch()], folder="stopped")
    assert stopped.phi_per_epoch == of_through.phi_per_epoch[:2]
    resumed, of_resumed = fit(epochs=4, folder="resumed", resumes=True)
    assert of_resumed.phi_per_epoch == of_through.phi_per_epoch
    assert torch.equal(resumed.network.weight, through.network.weight)


EVERY_SECOND = ("dataset=synthetic", "trainer.check_val_every_n_epoch=2")


def validated(phis):
    """Return φ of each epoch, with None for the epochs that are not validated when every second is."""
    return [phi if epoch % 2 else None for epoch, phi in enumerate(phis)]


def test_an_epoch_is_selected_among_those_with_a_validation(run_train):
    each, every_second = (
        results(run_train(folder, "dataset=synthetic", "trainer.max_epochs=5", *more)[0])
        for folder, more in (("each", []), ("second", EVERY_SECOND[1:]))
    )
    assert every_second["phi_per_epoch"] == validated(each["phi_per_epoch"])
    best = min((2, 4), key=lambda epoch: each["phi_per_epoch"][epoch - 1])
    assert every_second["best_epoch"] == best
    assert every_second["validation"]["phi"] == each["phi_per_epoch"][best - 1]


def test_a_bank_is_selected_among_epochs_with_a_validation(run, tmp_path):
    common = ["dataset=synthetic", "kernel_sizes=[8,20]", "trainer.max_epochs=5", "figure=[]"]
    for folder, more in (("each", []), ("second", EVERY_SECOND[1:])):
        assert run(sweep.main, *common, *more, f"hydra.run.dir={tmp_path / folder}") == (0, "")
    models = [results(tmp_path / folder)["models"] for folder in ("each", "second")]
    for each, every_second in zip(*models, strict=True):
        assert every_second["phi_per_epoch"] == validated(each["phi_per_epoch"])
        assert every_second["best_epoch"] == min((2, 4), key=lambda epoch: each["phi_per_epoch"][epoch - 1])


def test_a_training_that_is_resumed_after_an_epoch_without_validation_ends_as_one_that_ran_through(run_train):
    through, _ = run_train("through", *EVERY_SECOND, "trainer.max_epochs=6")
    stopped, _ = run_train("stopped", *EVERY_SECOND, "trainer.max_epochs=3")
    resumed, _ = run_train("resumed", *EVERY_SECOND, "trainer.max_epochs=6", f"checkpoint={stopped}")
    for key in ("phi_per_epoch", "best_epoch", "validation", "test"):
        assert results(resumed)[key] == results(through)[key]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["trainer.max_epochs=1"], "validates none of the 1 epochs"),
        (["protocol=paper"], "must be 1 where the last epoch is tested"),
        (["~callbacks.phi_checkpoint"], "must be 1 where the last epoch is tested"),
        (["trainer.check_val_every_n_epoch=0"], "must be an integer of at least 1"),
        (["trainer.check_val_every_n_epoch=null"], "must be an integer of at least 1"),
    ],
)
def test_a_validation_that_could_not_select_an_epoch_is_refused(run_train, more, said):
    given = [EVERY_SECOND[0], *(EVERY_SECOND[1:] if "check_val" not in more[0] else ()), *more]
    _, line = run_train("run", *given, fails=True)
    assert line.startswith("san: trainer.check_val_every_n_epoch=")
    assert said in line


def test_gradients_of_one_model_are_clipped_by_norm_and_of_a_bank_by_value_as_if_alone(fit):
    clip = {"gradient_clip_val": 1e-3}
    by_value = {**clip, "gradient_clip_algorithm": "value"}
    assert not torch.equal(fit((7,), **clip)[0].network.weight, fit((7,))[0].network.weight)
    bank = fit((7, 12), **by_value)[0].network
    for model, size in enumerate((7, 12)):
        alone = fit((size,), **by_value)[0].network
        assert torch.allclose(bank.model(model).weight, alone.weight, atol=1e-6)
    for settings in (clip, {**clip, "gradient_clip_algorithm": "norm"}):
        with pytest.raises(ValueError, match=r"^trainer\.gradient_clip_val=0\.001 clips the norm over all 2 models"):
            fit((7, 12), **settings)


def optimizer_of(factory, n_models, n_processes=1, n_dims=1, n_tensors=1):
    parameters = [torch.nn.Parameter(torch.zeros(4, *[9] * n_dims)) for _ in range(n_tensors)]
    return independent_optimizer(factory, parameters, n_models=n_models, n_processes=n_processes)


@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_optimizer_that_changes_each_weight_by_its_own_gradient_trains_a_bank(name, n_dims):
    factory = getattr(torch.optim, name)
    assert type(optimizer_of(factory, n_models=2, n_processes=2, n_dims=n_dims)) is factory
    for lr in (0.0, 1e-12, 1e30):
        optimizer_of(partial(factory, lr=lr), n_models=2)


@pytest.mark.parametrize(
    "factory",
    [
        torch.optim.Adafactor,
        torch.optim.LBFGS,
        partial(torch.optim.LBFGS, line_search_fn="strong_wolfe"),
        partial(ClippedSGD, lr=0.1),
        *([torch.optim.Muon] if hasattr(torch.optim, "Muon") else []),
    ],
)
def test_an_optimizer_with_statistics_of_all_weights_is_refused_for_a_bank(factory):
    name = getattr(factory, "func", factory).__name__
    with pytest.raises(ValueError, match=rf"^optimizer {name} changes the weights of a model by statistics of all 3"):
        optimizer_of(factory, n_models=3)
    assert type(optimizer_of(factory, n_models=1)).__name__ == name


def test_classifiers_are_models_of_several_tensors():
    assert optimizer_of(torch.optim.Adafactor, n_models=2, n_tensors=4)
    with pytest.raises(ValueError, match=r"^optimizer LBFGS changes"):
        optimizer_of(torch.optim.LBFGS, n_models=2, n_tensors=4)


def test_an_optimizer_that_needs_the_loss_of_all_processes_or_other_gradients_is_refused():
    with pytest.raises(
        ValueError, match=r"^optimizer LBFGS evaluates the loss several times per step, and each of the 2"
    ):
        optimizer_of(torch.optim.LBFGS, n_models=1, n_processes=2)
    with pytest.raises(ValueError, match=r"^optimizer SparseAdam cannot train kernels"):
        optimizer_of(torch.optim.SparseAdam, n_models=1)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("+trainer.logger=true", "trainer.logger=True would have no effect: set logger=[...] instead"),
        ("+trainer.default_root_dir=here", "trainer.default_root_dir=here would have no effect: set hydra.run.dir"),
        ("trainer.limit_val_batches=0", "trainer.limit_val_batches=0 leaves no examples"),
        ("trainer.limit_test_batches=0.0", "trainer.limit_test_batches=0.0 leaves no examples"),
        ("+trainer.precision=bf16-true", "trainer.precision=bf16-true must be 32-true"),
        ("+trainer.max_steps=3", "trainer.max_steps=3 must be -1, so that an epoch ends with its only validation"),
        ("trainer.max_epochs=abc", "trainer.max_epochs=abc must be an integer or null"),
        ("trainer.max_epochs=1.5", "trainer.max_epochs=1.5 must be an integer or null"),
        ("trainer.max_epochs=-5", "trainer: `max_epochs` must be a non-negative integer or -1"),
        ("trainer.limit_val_batches=abc", "trainer.limit_val_batches=abc must be a number or null"),
        ("trainer.limit_val_batches=-1", "trainer: You have passed invalid value -1 for limit_val_batches"),
        ("+trainer.detect_anomaly=maybe", "trainer.detect_anomaly=maybe must be true or false"),
        ("+trainer.precisoin=32", "trainer.precisoin is not an argument of Trainer (did you mean trainer.precision?)"),
        ("optimizer.lr=abc", "optimizer.lr=abc must be a number"),
        ("optimizer.lr=null", "optimizer.lr=null must be a number"),
        ("optimizer.lr=true", "optimizer.lr=True must be a number"),
        (
            "optimizer.lr=-1",
            "optimizer Adam(lr=-1, betas=[0.9, 0.999], eps=1e-08, weight_decay=0) cannot be built: Inv",
        ),
        ("optimizer.betas=1", "optimizer.betas=1 must be a list of numbers"),
        ("optimizer._target_=torch.optim.SGD", "optimizer.betas is not an argument of SGD"),
        ("+optimizer.foo=1", "optimizer.foo is not an argument of Adam"),
        ("+network.foo=1", "network.foo is not an argument of SparselyActivatedNetwork"),
        ("+network.decoder=paper", "network.decoder is not an argument of SparselyActivatedNetwork"),
        ("+loss.reduction=none", "loss.reduction is not an argument of l1_loss"),
        ("+network.kernel_sizes=[3]", "network.kernel_sizes is not an argument of SparselyActivatedNetwork"),
        ("+activation.border_tolerence=1", "activation.border_tolerence is not an argument of Extrema (did you mean "),
        ("+dataset.foo=1", "dataset.foo is not an argument of load, which has database, record, channel, "),
        ("+loss.foo=1", "loss.foo is not an argument of l1_loss, which has "),
        ("+callbacks.phi_checkpoint.foo=1", "callbacks.phi_checkpoint.foo is not an argument of PhiCheckpoint"),
    ],
)
def test_a_refused_setting_is_one_line(run_train, argument, said):
    folder, line = run_train("run", argument, "logger=[]", "figure=[]", fails=True)
    assert line.startswith(f"san: {said}")
    assert "\n" not in line.strip()
    assert not (folder / "results.json").exists()


def test_an_argument_without_a_default_is_given_by_the_file_unless_the_program_gives_it(monkeypatch):
    class MLP:
        def __init__(self, space: Sequence[int], n_classes: int, n_units: int) -> None: ...

    monkeypatch.setattr(classifiers, "MLP", MLP, raising=False)
    model = {"_target_": "san.training.classifiers.MLP", "_partial_": True}
    refuse_unknown_arguments({"model": {**model, "n_units": 64}}, "classifier")
    with pytest.raises(ValueError, match=r"^classifier.model.n_units=64 must be an integer"):
        refuse_unknown_arguments({"model": {**model, "n_units": "64"}}, "classifier")
    with pytest.raises(ValueError, match=r"^classifier.model.n_classes is not an argument of MLP "):
        refuse_unknown_arguments({"model": {**model, "n_classes": 2}}, "classifier")


@pytest.mark.parametrize(
    ("per_epoch", "said"),
    [
        ([], "trainer.max_epochs=3 left nothing to train"),
        (
            [{"phi": np.nan}] * 2,
            "the training ended after 2 epochs, before a validation: lower trainer.check_val_every",
        ),
        ([{"phi": np.nan}, {"phi": np.nan, "cr_inverse": 0.1, "loss_normalized": np.nan}], None),
    ],
)
def test_a_training_without_a_validation_has_no_epoch_to_select(compose, per_epoch, said):
    trainer = compose("trainer.max_epochs=3").trainer
    if said is None:
        refuse_training_without_validation(trainer, per_epoch)
        return
    with pytest.raises(ValueError, match=f"^{said}"):
        refuse_training_without_validation(trainer, per_epoch)


@pytest.mark.parametrize("steps", ["0", "-3", "abc"])
def test_a_logger_that_never_writes_is_one_line(run_train, steps):
    _, said = run_train("run", "logger=csv", f"+logger.csv.flush_logs_every_n_steps={steps}", fails=True)
    assert said.startswith(f"san: logger.csv.flush_logs_every_n_steps={steps} must be")
    assert said.count("\n") <= 1


def test_settings_of_the_training_do_not_count_in_an_evaluation(run, run_train, tmp_path):
    folder, _ = run_train("run", "trainer.max_epochs=1", "logger=[]", "figure=[]", "kernel_size=20")
    common = [f"checkpoint={folder}", f"hydra.run.dir={tmp_path / 'evaluated'}"]
    code, said = run(evaluate.main, *common, "+trainer.max_steps=3")
    assert code == 0, said
    assert results(tmp_path / "evaluated")["test"] == results(folder)["test"]
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal(5000).astype(np.float32))
    chunks = ["dataset=numpy", f"path={tmp_path / 'x.npy'}", "chunk=1000"]
    for argument, *others in (
        ("+trainer.precision=bf16-true",),
        ("+trainer.precision=bf16-true", *chunks),
        ("trainer.limit_test_batches=0",),
    ):
        code, said = run(evaluate.main, *common, argument, *others)
        assert (code, said.startswith(f"san: {argument.lstrip('+')} ")) == (1, True)


def test_a_sweep_with_an_optimizer_or_clipping_over_all_models_is_one_line(run, tmp_path):
    common = ["kernel_sizes=[8,20]", "trainer.max_epochs=1", "logger=[]", f"hydra.run.dir={tmp_path / 'sweep'}"]
    code, said = run(sweep.main, *common, "+trainer.gradient_clip_val=0.1")
    assert (code, said.startswith("san: trainer.gradient_clip_val=0.1 clips the norm over all 2 models")) == (1, True)
    arguments = ["optimizer._target_=torch.optim.Adafactor", "~optimizer.betas", "~optimizer.eps"]
    code, said = run(sweep.main, *common, *arguments)
    assert (code, said.startswith("san: optimizer Adafactor changes the weights of a model")) == (1, True)


def test_another_optimizer_is_one_override(run_train):
    folder, _ = run_train("run", "optimizer=sgd", "optimizer.lr=0.1", "trainer.max_epochs=1", "logger=[]", "figure=[]")
    assert results(folder)["config"]["optimizer"]["_target_"] == "torch.optim.SGD"


def test_an_invalid_optimizer_is_refused_with_its_settings():
    with pytest.raises(ValueError, match=r"^optimizer SGD\(lr=-1\) cannot be built: Invalid learning rate: -1"):
        optimizer_of(partial(torch.optim.SGD, lr=-1), n_models=1)


@pytest.mark.slow
def test_lightning_does_not_share_the_batches_of_a_process_once_more(run_train):
    common = ["trainer.max_epochs=2", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "figure=[]"]
    default, _ = run_train("default", *common)
    shared, _ = run_train("shared", *common, "trainer.use_distributed_sampler=true")
    assert results(shared)["phi_per_epoch"] == results(default)["phi_per_epoch"]
    assert results(shared)["test"] == results(default)["test"]
