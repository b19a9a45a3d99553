"""What the commands share: where the configuration is, what it may name, and how a job is run."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from san import processes
from san.ending import PROGRAM, is_lost, is_mistake, line, of_the_disk, one_line_of_a_full_disk, stopped_by
from san.files import replacing
from san.trust import refuse_absent_targets, refuse_foreign_hydra, refuse_foreign_targets

__all__ = ["CONF", "WithoutTraceback", "command", "compose_with", "instantiate", "paper_databases"]

PACKAGE = Path(__file__).parent
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())
FULL_ERROR = "HYDRA_FULL_ERROR"

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

    A job whose trainer has several devices runs in as many processes, which this one watches, or in those of torchrun.

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
            from san.results import versions

            nonlocal advice
            advice = _how_to_go_on(config, goes_on)
            _restore(full)
            versions()  # of the source as it is now: it may be edited while this trains
            return _run(f"san.{config_name}.{function.__name__}", function, config)

        # Hydra prints a traceback for whatever happens around the job, unless it is asked to let it through.
        os.environ[FULL_ERROR] = "1"
        sys.argv[1:] = _name_all_databases(sys.argv[1:])
        with stopped_by() as received, one_line_of_a_full_disk():
            try:
                if processes.started_by_torchrun():
                    processes.end_with_parent()
                    sys.argv[1:] = processes.join_the_first_rank(sys.argv[1:])
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
            except BaseException as raised:
                if received:
                    if os.environ.get("RANK", "0") == "0":
                        print(f"{PROGRAM}stopped by {received[0].name}{advice}", file=sys.stderr)
                    sys.exit(128 + received[0])
                error = of_the_disk(raised)
                told = isinstance(raised, Exception) and (is_mistake(error) or is_lost(error))
                if full == "1" or not told:
                    raise
                _exit(line(error))
            finally:
                _restore(full)
                _close_log()

    return main


def instantiate(config: Any, **kwargs: Any) -> Any:
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
    refuse_absent_targets(part, place)
    if place not in ("classifier", "figure") and not (isinstance(part, dict) and "_target_" in part):
        raise ValueError(f"{place} names no _target_")
    try:
        return hydra.utils.instantiate(part, _convert_="all", **kwargs)
    except InstantiationException as error:
        if isinstance(error.__cause__, Exception) and is_mistake(error.__cause__):
            raise error.__cause__ from error
        raise


def paper_databases() -> list[str]:
    """Return the names of the paper's PhysioNet databases, in its order."""
    return list(OmegaConf.load(CONF / "dataset" / "physionet.yaml").dataset.first_records)


def compose_with(group: str, choice: str) -> DictConfig:
    """Compose the configuration of the command that runs again, with another choice of a group."""
    job = HydraConfig.get()
    own = [override for override in job.overrides.task if not override.startswith(f"{group}=")]
    begun = GlobalHydra.instance().is_initialized()  # not in the processes that a training has started
    with nullcontext() if begun else hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(str(job.job.config_name), [*own, f"{group}={choice}"])


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
    except Exception as raised:
        error = of_the_disk(raised)
        if multirun:
            log.exception(line(error))
            with replacing(reason) as unfinished:
                unfinished.write_text(line(error))
            return float("nan")
        if os.environ.get(FULL_ERROR) == "1" or not is_mistake(error):
            raise
        _exit(line(error))
    except (KeyboardInterrupt, SystemExit):  # the second is what Lightning makes of the first
        if "summary" in (HydraConfig.get().callbacks or {}) and multirun:
            from san.multirun import summarise_jobs

            summarise_jobs(Path(HydraConfig.get().sweep.dir), config.protocol.selected_by)
        raise


def _explain(error: Exception) -> tuple[str, bool]:
    """Tell why a job failed, and whether that is a mistake of the user."""
    cause = of_the_disk(error)
    return line(cause).removeprefix(PROGRAM), is_mistake(cause)


def _exit(reason: str) -> NoReturn:
    """End with a line that tells why, once for all ranks of torchrun."""
    told_by_another = processes.started_by_torchrun() and not processes.is_first_to_fail()
    sys.exit(1 if told_by_another else reason)


def _how_to_go_on(config: DictConfig, goes_on: str) -> str:
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        folder = HydraConfig.get().sweep.dir
        return f"; go on by hydra.sweep.dir={folder} skip_finished=true" if "skip_finished" in config else ""
    return goes_on and f"; {goes_on.format(folder=HydraConfig.get().runtime.output_dir)}"


def _close_log() -> None:
    """Let go of the run's log file, which Hydra leaves open until the next run of the process."""
    for handler in logging.root.handlers[:]:
        if isinstance(handler, logging.FileHandler):
            logging.root.removeHandler(handler)
            with suppress(OSError):  # of a full disk, which has been told
                handler.close()


def _restore(full: str | None) -> None:
    os.environ.pop(FULL_ERROR, None)
    if full is not None:
        os.environ[FULL_ERROR] = full
