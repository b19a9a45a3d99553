"""The two counts of epochs: from 0 inside a training, from 1 for its readers."""

__all__ = ["epoch_number"]


def epoch_number(index: int) -> int:
    """Return the number, from 1, of the epoch with an index.

    Results, tables, logs, names of files and TensorBoard have numbers. Lightning, the states in checkpoints and lists
    with one entry per epoch have indices.
    """
    return index + 1
