"""What the commands share: where the configuration is, what it may name, and how a mistake is told."""

import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from san.files import replacing

__all__ = ["CONF", "WithoutTraceback", "command", "instantiate", "paper_databases"]

PACKAGE = Path(__file__).parent
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())
MISTAKES = (ValueError, OSError, FloatingPointError, HydraException, OmegaConfBaseException)
TARGETS = ("san.", "torch.optim.", "torch.nn.functional.", "pytorch_lightning.")
FULL_ERROR = "HYDRA_FULL_ERROR"
OUTPUT = ("hydra.run.dir=", "hydra.sweep.dir=")
STOPS = (signal.SIGINT, signal.SIGTERM)
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)

# The threads of torch's OpenMP wait for more work by spinning, on cores that those of the compiled operators could use.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

Job = Callable[[DictConfig], float | None]

log = logging.getLogger(__name__)


class WithoutTraceback(logging.Formatter):
    """Leave out tracebacks, on the console, where one line is enough."""

    def formatException(self, ei: object) -> str:  # noqa: N802 (the name is logging's)
        """Return nothing."""
        return ""


def command(config_name: str, function: Job, goes_on: str = "") -> Callable[[], None]:
    """Make a console command of a function of the composed configuration.

    A mistake of the user (a ``ValueError``, an ``OSError``, Hydra's own) is one line on standard error and exit code
    1; with ``HYDRA_FULL_ERROR=1`` it is a traceback. In a multirun the job's log has the traceback, the other jobs go
    on, and the job's value is not a number. SIGINT and SIGTERM end all of it, with one line and exit code 130 or 143.

    Args:
        config_name: The primary configuration, a file of ``conf/``.
        function: What to do; its value is what a sweeper optimises.
        goes_on: How one that was stopped is gone on with, where ``{folder}`` is its output folder.
    """

    @wraps(function)
    def main() -> None:
        full = os.environ.get(FULL_ERROR)
        advice = ""

        @wraps(function)
        def job(config: DictConfig) -> float | None:
            nonlocal advice
            advice = _how_to_go_on(config, goes_on)
            _restore(full)
            return _run(function, config)

        # Hydra prints a traceback for whatever happens around the job, unless it is asked to let it through.
        os.environ[FULL_ERROR] = "1"
        sys.argv[1:] = _name_all_databases(sys.argv[1:])
        with _stopped_by() as received, _one_line_of_a_full_disk():
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
            except BaseException as error:
                if received:
                    if os.environ.get("LOCAL_RANK", "0") == "0":  # one line of several processes
                        print(f"san: stopped by {received[0].name}{advice}", file=sys.stderr)
                    sys.exit(128 + received[0])
                if full == "1" or not isinstance(error := _of_the_disk(error), MISTAKES):
                    raise
                sys.exit(_line(error))
            finally:
                _restore(full)

    return main


def instantiate(config: DictConfig, **kwargs: Any) -> Any:
    """Build what a configuration describes, if all it names belongs to this package, torch or Lightning.

    Raises:
        ValueError: If it names anything else, so that the configuration in a stranger's checkpoint cannot run code.
    """
    _refuse_foreign_targets(config)
    try:
        return hydra.utils.instantiate(config, _convert_="all", **kwargs)
    except InstantiationException as error:
        if isinstance(error.__cause__, Exception) and _is_mistake(error.__cause__):
            raise error.__cause__ from error
        raise


def paper_databases() -> list[str]:
    """Return the names of the paper's PhysioNet databases, in its order."""
    return list(OmegaConf.load(CONF / "dataset" / "physionet.yaml").dataset.first_records)


def _name_all_databases(arguments: list[str]) -> list[str]:
    """Write ``dataset.database=all`` of a multirun as the names of the paper's databases."""
    if not {"-m", "--multirun"} & set(arguments):
        return arguments
    everything = f"dataset.database={','.join(paper_databases())}"
    return [everything if argument == "dataset.database=all" else argument for argument in arguments]


def _refuse_foreign_targets(node: Any) -> None:
    if isinstance(node, DictConfig):
        target = node.get("_target_")
        if target is not None and not _is_allowed(str(target)):
            raise ValueError(f"_target_={target} is not allowed: it must be defined in {', '.join(TARGETS)}*")
        for key in node:
            _refuse_foreign_targets(node[key])
    elif isinstance(node, ListConfig):
        for item in node:
            _refuse_foreign_targets(item)


def _is_allowed(target: str) -> bool:
    """Tell whether a name is allowed, and is not a way through an allowed module to something it imports."""
    if not target.startswith(TARGETS):
        return False
    try:
        found = get_object(target)
    except Exception as error:
        raise ValueError(f"_target_={target} does not exist ({error})") from error
    return callable(found) and f"{getattr(found, '__module__', '')}.".startswith(TARGETS)


@contextmanager
def _stopped_by() -> Iterator[list[signal.Signals]]:
    """Make the first signal to stop a ``KeyboardInterrupt``, and tell which it was; more of them change nothing.

    What is written is whole at any moment, so that the stop needs no care but to end what was started.
    """
    received: list[signal.Signals] = []

    def stop(number: int, _frame: object) -> None:
        if not received:
            received.append(signal.Signals(number))
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where Python lets no one handle signals
        yield received
        return
    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _one_line_of_a_full_disk() -> Iterator[None]:
    """Leave it to the error that ends the command, and not to each line of a log and each thread that writes one."""

    def ended(thread: Any) -> None:
        if not isinstance(thread.exc_value, OSError):
            before(thread)

    logged, before = logging.raiseExceptions, threading.excepthook
    logging.raiseExceptions, threading.excepthook = False, ended
    try:
        yield
    finally:
        logging.raiseExceptions, threading.excepthook = logged, before


def _how_to_go_on(config: DictConfig, goes_on: str) -> str:
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        folder = HydraConfig.get().sweep.dir
        return f"; go on by hydra.sweep.dir={folder} skip_finished=true" if "skip_finished" in config else ""
    return goes_on and f"; {goes_on.format(folder=HydraConfig.get().runtime.output_dir)}"


def _run(function: Job, config: DictConfig) -> float | None:
    """Run a job, and tell its mistakes where one looks for them."""
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    reason = Path(HydraConfig.get().runtime.output_dir, "error.txt")
    if multirun:
        reason.unlink(missing_ok=True)
    try:
        return function(config)
    except Exception as raised:
        error = _of_the_disk(raised)
        if multirun:
            log.exception(_line(error))
            with replacing(reason) as unfinished:
                unfinished.write_text(_line(error))
            return float("nan")
        if os.environ.get(FULL_ERROR) == "1" or not _is_mistake(error):
            raise
        sys.exit(_line(error))
    except (KeyboardInterrupt, SystemExit):  # the second is what Lightning makes of the first
        if "summary" in (HydraConfig.get().callbacks or {}) and multirun:
            from san.multirun import summarise_jobs

            summarise_jobs(Path(HydraConfig.get().sweep.dir), config.protocol.selected_by)
        raise


def _of_the_disk(error: BaseException) -> BaseException:
    """Return the error of a disk that is full or read-only, where others came of it, and else the error itself."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (*FULL_DISK, errno.EROFS):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error


def _is_mistake(error: BaseException) -> bool:
    if isinstance(error, MISTAKES):
        return True
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    return isinstance(error, MisconfigurationException)


def _line(error: BaseException) -> str:
    cause = error.__cause__
    detail = f" ({cause})" if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException) else ""
    return f"san: {' '.join(f'{error}{detail}'.split())}{_advice(error)}"


def _advice(error: BaseException) -> str:
    """Return what to do about a file that could not be written."""
    number = error.errno if isinstance(error, OSError) else None
    if number not in FULL_DISK + NOT_WRITABLE:
        return ""
    given = (argument.partition("=")[2] for argument in sys.argv[1:] if argument.startswith(OUTPUT))
    folder = HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else next(given, "outputs")
    if number in FULL_DISK:
        return f"; the disk is full: free some space for {folder}, or choose another by hydra.run.dir=FOLDER"
    return f"; if it is not to be written, choose another output folder than {folder} by hydra.run.dir=FOLDER"


def _restore(full: str | None) -> None:
    os.environ.pop(FULL_ERROR, None)
    if full is not None:
        os.environ[FULL_ERROR] = full
