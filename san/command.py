"""What the commands share: where the configuration is, what it may name, and how a mistake is told."""

import logging
import os
import sys
from collections.abc import Callable
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

__all__ = ["CONF", "WithoutTraceback", "command", "instantiate", "paper_databases"]

PACKAGE = Path(__file__).parent
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())
MISTAKES = (ValueError, OSError, FloatingPointError, HydraException, OmegaConfBaseException)
TARGETS = ("san.", "torch.optim.", "torch.nn.functional.", "pytorch_lightning.")
FULL_ERROR = "HYDRA_FULL_ERROR"
FOLDER = ": the output folder cannot be written, choose another by hydra.run.dir=FOLDER"

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
            _restore(full)
            return _run(function, config)

        # Hydra prints a traceback for whatever happens around the job, unless it is asked to let it through.
        os.environ[FULL_ERROR] = "1"
        sys.argv[1:] = _name_all_databases(sys.argv[1:])
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
        except MISTAKES as error:
            if full == "1":
                raise
            sys.exit(_line(error) + (FOLDER if isinstance(error, OSError) else ""))
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


def _run(function: Job, config: DictConfig) -> float | None:
    """Run a job, and tell its mistakes where one looks for them."""
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    reason = Path(HydraConfig.get().runtime.output_dir, "error.txt")
    if multirun:
        reason.unlink(missing_ok=True)
    try:
        return function(config)
    except Exception as error:
        if multirun:
            log.exception(_line(error))
            reason.write_text(_line(error))
            return float("nan")
        if os.environ.get(FULL_ERROR) == "1" or not _is_mistake(error):
            raise
        sys.exit(_line(error))


def _is_mistake(error: Exception) -> bool:
    if isinstance(error, MISTAKES):
        return True
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    return isinstance(error, MisconfigurationException)


def _line(error: BaseException) -> str:
    cause = error.__cause__
    detail = f" ({cause})" if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException) else ""
    return f"san: {' '.join(f'{error}{detail}'.split())}"


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
