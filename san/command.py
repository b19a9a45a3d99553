"""What the commands share: where the configuration is, what it may name, and how a mistake is told."""

import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from san import processes

__all__ = ["CONF", "WithoutTraceback", "command", "instantiate", "paper_databases"]

PACKAGE = Path(__file__).parent
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())
MISTAKES = (ValueError, OSError, FloatingPointError, HydraException, OmegaConfBaseException)
TARGETS = ("san.", "torch.optim.", "torch.nn.functional.", "pytorch_lightning.")
PROGRAM = "san: "
FULL_ERROR = "HYDRA_FULL_ERROR"
FOLDER = ": the output folder cannot be written, choose another by hydra.run.dir=FOLDER"
LAUNCHERS = ": the launchers are installed by pip install 'san[launchers]'"
LOST = (
    ": the process of a job is lost, and the multirun ended; what the other jobs have finished is in its folder, "
    "san.train goes on there by hydra.sweep.dir=FOLDER skip_finished=true"
)

# The threads of torch's OpenMP wait for more work by spinning, on cores that those of the compiled operators could use.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

Job = Callable[[DictConfig], float | None]

log = logging.getLogger(__name__)


class WithoutTraceback(logging.Formatter):
    """Leave out tracebacks, on the console, where one line is enough."""

    def formatException(self, ei: object) -> str:  # noqa: N802 (the name is logging's)
        """Return nothing."""
        return ""


def command(config_name: str, function: Job) -> Callable[[], None]:
    """Make a console command of a function of the composed configuration.

    A job whose trainer has several devices runs in as many processes, which this one watches, or in those of torchrun.

    A mistake of the user (a ``ValueError``, an ``OSError``, Hydra's own) is one line on standard error and exit code
    1; with ``HYDRA_FULL_ERROR=1`` it is a traceback. In a multirun the job's log has the traceback, the other jobs go
    on, and the job's value is not a number.

    Args:
        config_name: The primary configuration, a file of ``conf/``.
        function: What to do; its value is what a sweeper optimises.
    """

    @wraps(function)
    def main() -> None:
        full = os.environ.get(FULL_ERROR)

        @wraps(function)
        def job(config: DictConfig) -> float | None:
            from san.results import versions

            _restore(full)
            versions()  # of the source as it is now: it may be edited while this trains
            return _run(f"san.{config_name}.{function.__name__}", function, config)

        # Hydra prints a traceback for whatever happens around the job, unless it is asked to let it through.
        os.environ[FULL_ERROR] = "1"
        sys.argv[1:] = _name_all_databases(sys.argv[1:])
        try:
            if processes.started_by_torchrun():
                processes.end_with_parent()
                sys.argv[1:] = processes.join_the_first_rank(sys.argv[1:])
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
        except MISTAKES as error:
            if full == "1":
                raise
            hint = LAUNCHERS if _lacks_launcher(error) else FOLDER if isinstance(error, OSError) else ""
            _exit(_line(error) + hint)
        except Exception as error:
            if full == "1" or not _is_lost(error):
                raise
            sys.exit(_line(error) + LOST)
        finally:
            _restore(full)
            _close_log()

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


def _run(name: str, function: Job, config: DictConfig) -> float | None:
    """Run a job, and tell its mistakes where one looks for them."""
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    folder = HydraConfig.get().runtime.output_dir
    reason = Path(folder, "error.txt")
    if processes.started_by_torchrun():
        processes.show_folder(folder)
    if multirun:
        reason.unlink(missing_ok=True)
    try:
        return processes.run(name, function, config, _explain)
    except Exception as error:
        if multirun:
            log.exception(_line(error))
            reason.write_text(_line(error))
            return float("nan")
        if os.environ.get(FULL_ERROR) == "1" or not _is_mistake(error):
            raise
        _exit(_line(error))


def _explain(error: Exception) -> tuple[str, bool]:
    """Tell why a job failed, and whether that is a mistake of the user."""
    return _line(error).removeprefix(PROGRAM), _is_mistake(error)


def _exit(line: str) -> NoReturn:
    """End with a line that tells why, once for all ranks of torchrun."""
    told_by_another = processes.started_by_torchrun() and not processes.is_first_to_fail()
    sys.exit(1 if told_by_another else line)


def _is_mistake(error: Exception) -> bool:
    if isinstance(error, MISTAKES):
        return True
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    return isinstance(error, MisconfigurationException)


def _lacks_launcher(error: Exception) -> bool:
    return isinstance(error, MissingConfigException) and "hydra/launcher/" in str(error)


def _is_lost(error: Exception) -> bool:
    """Tell whether a launcher has lost a process that ran a job, as where memory is short."""
    return isinstance(error, BrokenProcessPool) or type(error).__module__.startswith("submitit.")


def _line(error: BaseException) -> str:
    cause = error.__cause__
    detail = f" ({cause})" if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException) else ""
    return f"{PROGRAM}{' '.join(f'{error}{detail}'.split())}"


def _close_log() -> None:
    """Let go of the run's log file, which Hydra leaves open until the next run of the process."""
    for handler in logging.root.handlers[:]:
        if isinstance(handler, logging.FileHandler):
            logging.root.removeHandler(handler)
            handler.close()


def _restore(full: str | None) -> None:
    os.environ.pop(FULL_ERROR, None)
    if full is not None:
        os.environ[FULL_ERROR] = full
