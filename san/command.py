"""What the commands share: where the configuration is, what it may name, and how a mistake is told."""

import logging
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from san.trust import refuse_foreign_hydra, refuse_foreign_targets

__all__ = ["CONF", "WithoutTraceback", "command", "instantiate", "paper_databases"]

PACKAGE = Path(__file__).parent
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())
MISTAKES = (ValueError, OSError, FloatingPointError, HydraException, OmegaConfBaseException)
LONGEST = 2000  # characters of a mistake, which may quote a file
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
            from san.results import versions

            _restore(full)
            versions()  # of the source as it is now: it may be edited while this trains
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

    return main


def instantiate(config: DictConfig | None, **kwargs: Any) -> Any:
    """Build what a part of a configuration describes, if all it names is allowed there; see :mod:`san.trust`.

    Raises:
        ValueError: If it names anything else, so that the configuration in a stranger's checkpoint cannot run code.
    """
    if config is None:
        return None
    if not OmegaConf.is_config(config):
        raise ValueError(f"{str(config)[:100]!r} stands where keys and values with a _target_ are expected")
    place = str(config._get_full_key(None))
    # Resolved once, so that what is checked is what is called.
    part = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    refuse_foreign_targets(part, place)
    if place not in ("classifier", "figure") and not (isinstance(part, dict) and "_target_" in part):
        raise ValueError(f"{place} names no _target_")
    try:
        return hydra.utils.instantiate(part, _convert_="all", **kwargs)
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


def _load_trusted(loader: ConfigLoaderImpl, *args: Any, **kwargs: Any) -> DictConfig:
    """Compose a configuration, and refuse one that names what is not allowed before Hydra acts on it."""
    config = _load(loader, *args, **kwargs)
    content: Any = OmegaConf.to_container(config, resolve=False)
    refuse_foreign_targets(content, "")
    refuse_foreign_hydra(content["hydra"])
    return config


# Hydra has no place to look at a configuration before it builds callbacks, launchers and loggers from it. These two
# resolvers make nodes, which would name something only after that look; nothing here uses them.
_load = ConfigLoaderImpl.load_configuration
ConfigLoaderImpl.load_configuration = _load_trusted  # type: ignore[assignment, method-assign]
for _resolver in ("oc.create", "oc.decode"):
    OmegaConf.clear_resolver(_resolver)


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
    line = " ".join(f"{error}{detail}".split())
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return f"san: {shown if len(shown) <= LONGEST else f'{shown[:LONGEST]} ...'}"


def _restore(full: str | None) -> None:
    os.environ.pop(FULL_ERROR, None)
    if full is not None:
        os.environ[FULL_ERROR] = full
