"""The random numbers behind the paper's printed tables: initial kernels, classifiers and orders of the examples.

The published program drew everything from one generator, seeded once, from the first model of Table I to the last of
Table IV. No result of a training enters a draw, so the draws of any model are found without training another.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from san.reporting.paper_tables import printed_table
from san.training.classifiers import CNN, FNN

__all__ = [
    "ACTIVATIONS",
    "DATABASES",
    "PROGRAM",
    "Cell",
    "ClassifierDraws",
    "Draws",
    "baseline_draws",
    "draws_of_cells",
]

DATABASES, ACTIVATIONS = (tuple(printed_table(1)[column].unique()) for column in ("database", "activation"))
"""Names in Table I, in the order of the published program."""

INITIAL_DEVIATION = 0.1
BASELINE = "baseline"


class Part(NamedTuple):
    """The trainings of the published program on one dataset.

    Args:
        n_examples: Number of examples of training, validation and test.
        epochs: Epochs of each training.
        sizes: Kernel sizes, in their order.
        n_kernels: Number of kernels of a model.
        n_dims: 1 for signals, 2 for images.
        space: Samples along each axis.
        n_classes: Number of classes; 0 without classifiers.
    """

    n_examples: tuple[int, int, int]
    epochs: int
    sizes: range
    n_kernels: int
    n_dims: int
    space: tuple[int, ...]
    n_classes: int = 0


PROGRAM = {
    1: Part((6, 2, 4), 30, range(1, 250), 1, 1, (1000,)),
    2: Part((8740, 1380, 1380), 5, range(8, 16), 2, 1, (178,), n_classes=3),
    3: Part((50000, 10000, 10000), 5, range(1, 7), 2, 2, (28, 28), n_classes=10),
    4: Part((50000, 10000, 10000), 5, range(1, 7), 2, 2, (28, 28), n_classes=10),
}
"""The parts by the number of their table."""


class Cell(NamedTuple):
    """One model of the published program.

    Args:
        table: Number of the table.
        database: Database of Table I; empty in another table.
        activation: Name of the activation function.
        kernel_size: Samples per axis of its kernels.
    """

    table: int
    database: str
    activation: str
    kernel_size: int


class ClassifierDraws(NamedTuple):
    """The random numbers of a classifier.

    Args:
        state: State of the generator before the initial weights.
        orders: Order of the training examples in each epoch.
    """

    state: Tensor
    orders: list[Tensor]


class Draws(NamedTuple):
    """The random numbers of a model.

    Args:
        kernels: The initial kernels.
        orders: Order of the training examples in each epoch.
        classifier: Those of the classifier on its reconstructions; None without classifiers.
    """

    kernels: list[Tensor]
    orders: list[Tensor]
    classifier: ClassifierDraws | None


def draws_of_cells(cells: Sequence[Cell | None]) -> list[Draws | None]:
    """Return the random numbers of models.

    Args:
        cells: The models; None for another one, which has none.

    Raises:
        ValueError: If the published program has no such model.
    """
    by_cell: dict[Cell, Draws] = {}
    for block in dict.fromkeys(_block_of(cell) for cell in cells if cell is not None):
        by_cell |= _draw(block, _at(block), _training)
    return [None if cell is None else by_cell[cell] for cell in cells]


def baseline_draws(table: int) -> ClassifierDraws:
    """Return the random numbers of the classifier on the original examples of a table."""
    return _classifier(PROGRAM[table], _at(Block(table, "", BASELINE, 0)))


Training = Callable[[Part, torch.Generator], list[Tensor]]
Block = Cell
"""Models that are drawn together: all sizes of a database and an activation in Table I, named by size 0; else one."""


def _block_of(cell: Cell) -> Block:
    block = cell._replace(kernel_size=0) if cell.table == 1 else cell
    if block not in _blocks() or cell.kernel_size not in PROGRAM[cell.table].sizes:
        raise ValueError(f"{cell} is not a model of the published program")
    return block


@cache
def _blocks() -> list[Block]:
    """Return all blocks in the order of the published program."""
    blocks = [Block(1, database, activation, 0) for database in DATABASES for activation in ACTIVATIONS]
    for table in (2, 3, 4):
        blocks.append(Block(table, "", BASELINE, 0))
        blocks += [Block(table, "", activation, size) for size in PROGRAM[table].sizes for activation in ACTIVATIONS]
    return blocks


def _at(block: Block) -> torch.Generator:
    """Return a generator at the first draw of a block."""
    generator = torch.Generator()
    generator.set_state(_states()[block])
    return generator


@cache
def _states() -> dict[Block, Tensor]:
    """Return the state of the generator at the first draw of each block, in half a second."""
    generator = torch.Generator().manual_seed(0)
    train, states = _fastest_training(), {}
    for block in _blocks():
        states[block] = generator.get_state()
        _draw(block, generator, train if block.table == 1 else _training)
    return states


def _fastest_training() -> Training:
    """Return the function that advances a generator over a training of Table I in the least time.

    A pass begins with two numbers of 32 bits, and a permutation of n examples has n - 1. Drawing as many at once is 40
    times faster, and is used if it ends in the same state with this version of torch.
    """
    part = PROGRAM[1]
    generators = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    _training(part, generators[0])
    _skip_training(part, generators[1])
    return _skip_training if torch.equal(*(generator.get_state() for generator in generators)) else _training


def _skip_training(part: Part, generator: torch.Generator) -> list[Tensor]:
    count = part.epochs * (2 + part.n_examples[0] - 1 + 2)
    torch.empty(count, dtype=torch.int32).random_(generator=generator)
    return []


def _draw(block: Block, generator: torch.Generator, train: Training) -> dict[Cell, Draws]:
    """Draw the numbers of a block; of a baseline, nothing is returned."""
    part = PROGRAM[block.table]
    if block.activation == BASELINE:
        _classifier(part, generator)
        return {}
    sizes = part.sizes if block.kernel_size == 0 else [block.kernel_size]
    return {block._replace(kernel_size=size): _model(part, size, generator, train) for size in sizes}


def _model(part: Part, size: int, generator: torch.Generator, train: Training) -> Draws:
    kernels = [
        torch.empty([size] * part.n_dims).normal_(0, INITIAL_DEVIATION, generator=generator)
        for _ in range(part.n_kernels)
    ]
    orders = train(part, generator)
    if part.n_classes:
        return Draws(kernels, orders, _classifier(part, generator))
    _begin_pass(generator)  # over the test examples
    return Draws(kernels, orders, None)


def _classifier(part: Part, generator: torch.Generator) -> ClassifierDraws:
    state = generator.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(state)
        new_classifier: Any = CNN if part.n_dims == 1 else FNN
        new_classifier(part.space, part.n_classes)
        generator.set_state(torch.get_rng_state())
    orders = _training(part, generator)
    _shuffled_pass(part.n_examples[2], generator)
    return ClassifierDraws(state, orders)


def _training(part: Part, generator: torch.Generator) -> list[Tensor]:
    """Draw a training: in each epoch a pass over training and one over validation, shuffled where there are classes."""
    orders = []
    for _ in range(part.epochs):
        orders.append(_shuffled_pass(part.n_examples[0], generator))
        if part.n_classes:
            _shuffled_pass(part.n_examples[1], generator)
        else:
            _begin_pass(generator)
    return orders


def _begin_pass(generator: torch.Generator) -> None:
    torch.empty((), dtype=torch.int64).random_(generator=generator)


def _shuffled_pass(n_examples: int, generator: torch.Generator) -> Tensor:
    _begin_pass(generator)
    return torch.randperm(n_examples, generator=generator)
