"""The random numbers of the published program, and the trainings that replay them."""

import pytest
import torch
import torch.nn.functional as F
from conftest import results
from torch import nn

from san import sweep
from san.activations import ReLU, TopKAbsolutes
from san.cli.build import load_dataset
from san.cli.random_numbers import RandomNumbers
from san.networks import SparselyActivatedNetwork
from san.reporting.paper_tables import METRIC_LABELS, distance_class, printed_table
from san.training import published_draws
from san.training.data_module import SplitsDataModule, order_of_models, shuffled
from san.training.published_draws import ACTIVATIONS, DATABASES, PROGRAM, Cell, baseline_draws, draws_of_cells


def test_table_1_draws_a_kernel_then_passes_over_training_and_validation():
    """Draw the first two models of the program in plain torch, line by line."""
    torch.manual_seed(0)
    drawn = []
    for size in (1, 2):
        kernel = torch.empty(size).normal_(0, 0.1)
        orders = []
        for _ in range(30):
            torch.empty((), dtype=torch.int64).random_()
            orders.append(torch.randperm(6))
            torch.empty((), dtype=torch.int64).random_()
        torch.empty((), dtype=torch.int64).random_()
        drawn.append((kernel, orders))
    cells = [Cell(1, "apnea-ecg", "identity", size) for size in (1, 2)]
    for draws, (kernel, orders) in zip(draws_of_cells(cells), drawn, strict=True):
        assert torch.equal(draws.kernels[0], kernel)
        assert all(map(torch.equal, draws.orders, orders))
        assert (len(draws.orders), draws.classifier) == (30, None)


def test_tables_2_to_4_draw_the_baseline_first_and_shuffle_every_pass():
    """Draw UCI-epilepsy's baseline and first model in plain torch, from the state after Table I."""

    def trained():
        orders = []
        for _ in range(5):
            torch.empty((), dtype=torch.int64).random_()
            orders.append(torch.randperm(8740))
            torch.empty((), dtype=torch.int64).random_()
            torch.randperm(1380)
        return orders

    def tested():
        torch.empty((), dtype=torch.int64).random_()
        torch.randperm(1380)

    def classifier():
        for layer in ((nn.Conv1d, 1, 3, 5), (nn.Conv1d, 3, 16, 5), (nn.Linear, 656, 120), (nn.Linear, 120, 84)):
            layer[0](*layer[1:])
        nn.Linear(84, 3)

    baseline = baseline_draws(2)
    torch.set_rng_state(baseline.state)
    classifier()
    orders = trained()
    tested()
    assert all(map(torch.equal, baseline.orders, orders))
    (draws,) = draws_of_cells([Cell(2, "", "identity", 8)])
    assert all(map(torch.equal, draws.kernels, [torch.empty(8).normal_(0, 0.1) for _ in range(2)]))
    assert all(map(torch.equal, draws.orders, trained()))
    assert torch.equal(draws.classifier.state, torch.get_rng_state())
    classifier()
    assert all(map(torch.equal, draws.classifier.orders, trained()))
    tested()
    (following,) = draws_of_cells([Cell(2, "", "relu", 8)])
    assert torch.equal(following.kernels[0], torch.empty(8).normal_(0, 0.1))


def test_images_have_square_kernels_and_one_linear_layer():
    baseline = baseline_draws(3)
    torch.set_rng_state(baseline.state)
    nn.Linear(784, 10)
    torch.empty((), dtype=torch.int64).random_()
    assert torch.equal(baseline.orders[0], torch.randperm(50000))
    torch.empty((), dtype=torch.int64).random_()
    torch.randperm(10000)
    (draws,) = draws_of_cells([Cell(4, "", "extrema", 6)])
    assert [kernel.shape for kernel in draws.kernels] == [(6, 6)] * 2
    assert [len(order) for order in draws.orders] == [50000] * 5


def test_the_order_of_the_program_is_that_of_the_tables():
    assert (DATABASES[0], DATABASES[-1], len(DATABASES)) == ("apnea-ecg", "wrist", 15)
    assert ACTIVATIONS == ("identity", "relu", "topk_absolutes", "extrema_pool_indices", "extrema")
    for table in (2, 3, 4):
        cells = printed_table(table)[["kernel_size", "activation"]].itertuples(index=False, name=None)
        assert list(cells) == [(size, activation) for size in PROGRAM[table].sizes for activation in ACTIVATIONS]


def test_skipping_a_training_ends_in_the_state_of_drawing_it():
    assert published_draws._fastest_training() is published_draws._skip_training
    one, other = (torch.Generator().manual_seed(3) for _ in range(2))
    published_draws._training(PROGRAM[1], one)
    published_draws._skip_training(PROGRAM[1], other)
    assert torch.equal(one.get_state(), other.get_state())


def test_a_model_that_the_program_has_not_is_refused():
    for cell in (Cell(1, "mitdb", "extrema", 250), Cell(1, "fantasia", "extrema", 8), Cell(2, "", "extrema", 16)):
        with pytest.raises(ValueError, match="is not a model of the published program"):
            draws_of_cells([cell])


def table_1(compose, real_data, *overrides):
    where = ["dataset=physionet", "dataset.database=emgdb", f"paths.data_dir={real_data}"]
    return compose(*where, "protocol=paper", "activation_name=extrema", "logger=[]", *overrides)


@pytest.mark.parametrize(
    ("override", "sizes", "source"),
    [
        ("kernel_size=7", [7], "published"),
        ("num_workers=2", [7], "published"),
        ("trainer.devices=2", [7], "published"),
        ("kernel_size=250", [250], "seed"),
        ("kernel_sizes=[7,9]", [7, 9], "seed"),
        ("seed=1", [7], "seed"),
        ("protocol=honest", [7], "seed"),
        ("trainer.max_epochs=29", [7], "seed"),
        ("optimizer.lr=0.02", [7], "seed"),
        ("activation.border_tolerance=2", [7], "seed"),
        ("activation.density=4", [7], "seed"),
        ("initial_deviation=0.1", [7], "published"),
        ("initial_deviation=0.2", [7], "seed"),
        ("initial_mean=0.1", [7], "seed"),
        ("initialization=file", [7], "seed"),
        ("activation=relu", [7], "seed"),  # activation_name still says Extrema
        ("decoder=adjoint", [7], "seed"),
        ("dataset.channel=0", [7], "published"),
        ("dataset.split=[5,3,4]", [7], "seed"),
        ("dataset.database=null", [7], "seed"),
        ("shuffle=false", [7], "seed"),
        ("activation_name=phi_pursuit", [7], "seed"),
    ],
)
def test_a_configuration_is_replayed_only_if_it_is_a_cell(compose, real_data, override, sizes, source):
    config = table_1(compose, real_data, override)
    numbers = RandomNumbers(config, load_dataset(config), [sizes])
    assert numbers.sources == [source]
    assert numbers.settings == ({"random_numbers": ["published"]} if source == "published" else {})


def test_models_of_equal_sizes_have_seeds_of_their_own(compose, real_data):
    config = compose(
        "dataset=physionet", "dataset.database=emgdb", f"paths.data_dir={real_data}",
        "protocol=paper", "n_starts=2", "activation_name=extrema", name="sweep",
    )  # fmt: skip
    assert RandomNumbers(config, load_dataset(config), [[7], [7]]).sources == ["seed", "seed"]


@pytest.mark.slow
@pytest.mark.parametrize("database", ["emgdb", "ctu-uhb-ctgdb", "bidmc"])
def test_every_printed_digit_of_table_1(run, real_data, tmp_path, database):
    common = ["dataset=physionet", "protocol=paper", "logger=[]", "figure=[]"]
    printed = {row["activation"]: row for row in printed_table(1).to_dict("records") if row["database"] == database}
    for activation, row in printed.items():
        size = row["kernel_size"]
        arguments = [f"dataset.database={database}", f"activation={activation}", f"kernel_sizes=[{size}]"]
        paths = [f"paths.data_dir={real_data}", f"hydra.run.dir={tmp_path / activation}"]
        code, said = run(sweep.main, *common, *arguments, *paths)
        assert code == 0, said
        (model,) = results(tmp_path / activation)["models"]
        assert model["random_numbers"] == "published"
        found = {name: distance_class(name, model["test"][name], row[name]) for name in METRIC_LABELS}
        assert found == dict.fromkeys(METRIC_LABELS, "printed"), (activation, model["test"])


@pytest.mark.slow
@pytest.mark.parametrize(("database", "activation"), [("mitdb", "relu"), ("noneeg", "extrema_pool_indices")])
def test_the_printed_kernel_size_has_the_lowest_test_phi(run, real_data, tmp_path, database, activation):
    arguments = [
        f"dataset.database={database}",
        f"activation={activation}",
        "kernel_sizes=1..249",
        "logger=[]",
        "figure=[]",
    ]
    paths = [f"paths.data_dir={real_data}", f"hydra.run.dir={tmp_path / 'bank'}"]
    code, said = run(sweep.main, "dataset=physionet", "protocol=paper", *arguments, *paths)
    assert code == 0, said
    best = min(results(tmp_path / "bank")["models"], key=lambda model: model["test"]["phi"])
    printed = printed_table(1).set_index(["database", "activation"]).loc[(database, activation)]
    assert best["kernel_sizes"] == [printed["kernel_size"]]
    assert all(distance_class(name, best["test"][name], printed[name]) == "printed" for name in METRIC_LABELS)


@pytest.mark.slow
def test_san_train_replays_the_model_of_the_bank(run, run_train, real_data, tmp_path):
    common = [
        "dataset=physionet", "dataset.database=emgdb", "protocol=paper", "logger=[]", "figure=[]",
        f"paths.data_dir={real_data}",
    ]  # fmt: skip
    alone, _ = run_train("alone", *common, "kernel_size=9")
    code, said = run(sweep.main, *common, "kernel_sizes=[5,9,250]", f"hydra.run.dir={tmp_path / 'bank'}")
    assert code == 0, said
    models = {model["kernel_sizes"][0]: model for model in results(tmp_path / "bank")["models"]}
    assert [models[size]["random_numbers"] for size in (5, 9, 250)] == ["published", "published", "seed"]
    one = results(alone)
    assert one["random_numbers"] == "published"
    assert one["test"]["phi"] == pytest.approx(models[9]["test"]["phi"], abs=1e-5)


def test_the_models_of_a_bank_train_on_batches_of_their_own():
    """Compare the gradient of each model with that of the model alone on its batch."""
    torch.manual_seed(0)
    for activation, n_dims in ((ReLU, 1), (TopKAbsolutes, 1), (ReLU, 2), (TopKAbsolutes, 2)):
        space = [40] if n_dims == 1 else [9, 9]
        x = torch.randn(3, 2, *space)
        bank = SparselyActivatedNetwork([3, 3, 5, 5], activation(), n_dims, n_models=2, seed=0)
        F.l1_loss(bank(x), x, reduction="sum").backward()
        for model, size in enumerate((3, 5)):
            alone = bank.model(model)
            F.l1_loss(alone(x[:, [model]]), x[:, [model]], reduction="sum").backward()
            start = (bank.weight.shape[-1] - size) // 2
            inner = (slice(2 * model, 2 * model + 2), *[slice(start, start + size)] * n_dims)
            assert torch.allclose(bank.weight.grad[inner], alone.weight.grad, atol=1e-5)


def test_an_order_for_each_model_serves_its_channel_and_its_labels():
    x = torch.arange(12.0).view(6, 2, 1)
    orders = [shuffled(6, 0), shuffled(6, 1)]
    labels = {"train": torch.arange(6)}
    data = SplitsDataModule({"train": x}, 4, order_of_models(orders), labels)
    batches = list(data.train_dataloader())
    assert [len(part) for part, _ in batches] == [4, 2]
    for model, order in enumerate(orders):
        assert torch.equal(torch.cat([part[:, model] for part, _ in batches]), x[order(0), model])
        assert torch.equal(torch.cat([known[:, model] for _, known in batches]), order(0))
    common = SplitsDataModule({"train": x[:, :1]}, 6, order_of_models(orders))
    ((part,),) = common.train_dataloader()
    assert torch.equal(part[:, 1], x[orders[1](0), 0])
    assert order_of_models([orders[0]] * 3) is orders[0]
    assert order_of_models([None, None]) is None


@pytest.mark.parametrize("seed", [0, 1])
def test_roundings_change_the_last_bits_of_the_kernels_alone(compose, real_data, seed):
    config = table_1(compose, real_data, f"seed={seed}")
    splits = load_dataset(config)

    def initial(rounding):
        network = SparselyActivatedNetwork([20], ReLU(), seed=seed)
        RandomNumbers(config, splits, [[20]], rounding).initialize(network)
        return network.weight.detach()

    exact, *others = (initial(rounding) for rounding in (0, 1, 2))
    assert len({tuple(weight.flatten().tolist()) for weight in (exact, *others)}) == 3
    for other in others:
        assert torch.allclose(exact, other, rtol=1.2e-7, atol=0)
        assert 0 < int((exact != other).sum()) < 20
