"""Worker processes of this machine that share independent work."""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import TypeVar

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from san.cli.processes import start_worker

__all__ = ["computed", "end_workers"]

Argument = TypeVar("Argument")
Value = TypeVar("Value")


def computed(
    function: Callable[[Argument], Value], arguments: Sequence[Argument], jobs: int, *, in_order: bool = True
) -> Iterator[Value]:
    """Yield the value of a function for each of several arguments, computed by worker processes.

    The workers share the cores of this machine, wait for further calls of this function until :func:`end_workers`, and
    end with this process. This process logs their warnings.

    Args:
        function: A function that can be imported.
        arguments: The arguments, one for each call.
        jobs: Number of processes; with 1, or for a single argument, this process computes everything.
        in_order: Whether to yield in the order of the arguments, instead of as soon as a value is there.

    Raises:
        OSError: If a worker process was killed.
        Exception: If the function raises it.
    """
    if jobs == 1 or len(arguments) < 2:
        yield from map(function, arguments)
        return
    threads = max(1, cpu_count() // jobs)
    workers = parallel_config(
        "loky", n_jobs=jobs, inner_max_num_threads=threads, initializer=start_worker, initargs=[os.getpid()]
    )
    order = "generator" if in_order else "generator_unordered"
    with workers:
        try:
            with _interrupts_blocked():
                values = Parallel(return_as=order)(
                    delayed(_call)(os.getpid(), function, argument) for argument in arguments
                )
            with closing(values):
                for value, records in values:
                    for record in records:
                        logging.getLogger(record.name).handle(record)
                    yield value
        except TerminatedWorkerError as error:
            raise OSError(
                "a worker process was killed; if the memory was too small, run again with fewer jobs=N; "
                "complete results are kept"
            ) from error


def end_workers() -> None:
    """End waiting worker processes, which would hold memory, and free every object if they ended by themselves."""
    get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def _call(
    parent: int, function: Callable[[Argument], Value], argument: Argument
) -> tuple[Value, list[logging.LogRecord]]:
    """Return the value of a function, and the warnings that it logged if this is not the parent process."""
    records: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = QueueHandler(records)
    handler.setLevel(logging.WARNING)
    root = logging.getLogger()
    if os.getpid() != parent:
        root.addHandler(handler)
    try:
        value = function(argument)
    finally:
        root.removeHandler(handler)
    return value, [records.get() for _ in range(records.qsize())]


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT in the processes started meanwhile: the process that started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
