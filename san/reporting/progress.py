"""A progress bar with the remaining time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Advance", "progress_bar"]

Advance = Callable[[int], None]
"""Reports that this many more steps are done."""


@contextmanager
def progress_bar(name: str, total: int, *, is_wanted: bool = True) -> Iterator[Advance]:
    """Show on a terminal how many steps are done, and the remaining time; show nothing in a file or a pipe.

    Args:
        name: Name of the work.
        total: Number of steps.
        is_wanted: Whether to show anything at all.
    """
    screen = Console(stderr=True)
    shows = is_wanted and screen.is_terminal and not screen.is_dumb_terminal
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # The speed is that of all steps so far, as those of a batch are done at once.
    bar = Progress(*columns, console=screen, transient=True, disable=not shows, speed_estimate_period=1e9)
    with bar:
        task = bar.add_task(name, total=total)
        yield lambda steps: bar.update(task, advance=steps)
