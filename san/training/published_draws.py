"""The random numbers behind the paper's printed tables: initial kernels, classifiers and orders of the examples.

The published program drew everything from one generator, seeded once, from the first model of Table I to the last of
Table IV. No result of a training enters a draw, so the draws of any model are found without training another.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from san.reporting.paper_tables import printed_table
from san.storage.files import replacing
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
    """What the published program trains on one dataset.

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


def draws_of_cells(cells: Sequence[Cell | None], folder: Path) -> list[Draws | None]:
    """Return the random numbers of models.

    Args:
        cells: The models; None for another one, which has none.
        folder: Folder of a file with the states of the generator, which is written once; to find them takes seconds.

    Raises:
        ValueError: If the published program has no such model.
    """
    by_cell: dict[Cell, Draws] = {}
    for block in dict.fromkeys(_block_of(cell) for cell in cells if cell is not None):
        by_cell |= _draw(block, _at(block, folder))
    return [None if cell is None else by_cell[cell] for cell in cells]


def baseline_draws(table: int, folder: Path) -> ClassifierDraws:
    """Return the random numbers of the classifier on the original examples of a table; see :func:`draws_of_cells`."""
    block = Block(table, "", BASELINE, 0)
    generator = _at(block, folder)
    return _classifier(PROGRAM[table], generator)


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


def _at(block: Block, folder: Path) -> torch.Generator:
    """Return a generator at the first draw of a block."""
    path = folder / f"published-draws-torch-{torch.__version__}.npz"
    states = _read(path)
    if states is None:
        states = np.stack([state.numpy() for state in _walk()])
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, states=states)
    generator = torch.Generator()
    generator.set_state(torch.from_numpy(states[_blocks().index(block)]))
    return generator


def _read(path: Path) -> Any:
    """Return the states in a file, [blocks, bytes]; None if it is absent or damaged, which its checksum tells."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return content["states"]
    except (FileNotFoundError, KeyError, ValueError, EOFError, BadZipFile):
        return None


def _walk() -> Iterator[Tensor]:
    """Yield the state of the generator at the first draw of each block."""
    generator = torch.Generator().manual_seed(0)
    for block in _blocks():
        yield generator.get_state()
        _draw(block, generator)


def _draw(block: Block, generator: torch.Generator) -> dict[Cell, Draws]:
    """Draw the numbers of a block; of a baseline, nothing is returned."""
    part = PROGRAM[block.table]
    if block.activation == BASELINE:
        _classifier(part, generator)
        return {}
    sizes = part.sizes if block.kernel_size == 0 else [block.kernel_size]
    return {block._replace(kernel_size=size): _model(part, size, generator) for size in sizes}


def _model(part: Part, size: int, generator: torch.Generator) -> Draws:
    kernels = [
        torch.empty([size] * part.n_dims).normal_(0, INITIAL_DEVIATION, generator=generator)
        for _ in range(part.n_kernels)
    ]
    orders = _training(part, generator)
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
