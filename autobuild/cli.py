"""The command line: ``autobuild [job] key=value ...``.

Parses flags, lets Hydra compose the configuration, and calls the job with checked arguments. Exit codes: 0 success,
2 an error that the user can correct (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autobuild.errors import AutobuildError, ConfigError, RunError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from autobuild.jobs._overrides import Command
    from autobuild.jobs._sweeps import Outcome

_ENGINES = ("joblib", "submitit", "ray")  # modules of launchers whose errors mean a lost process


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        argv: The arguments after the program's name; None takes them from ``sys.argv``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _end_if_importing()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed by the caller: a file of a job would get its number
            opened = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(opened, "r" if number == 0 else "w", encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):  # escape letters that the encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except AutobuildError as error:
        _complain(str(error))
        return 2
    except KeyboardInterrupt:
        _print_interrupted()
        return 130
    except BrokenPipeError:  # the reader (head, less) has closed the pipe
        _drop_output()
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG) or error.filename is not None:
            raise
        _drop_output()
        _complain(f"the output cannot be written: {error.strerror}")
        return 2


def _drop_output() -> None:
    """Redirect stdout, or flushing at exit raises again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end_if_importing() -> None:
    """Exit in worker processes that import a script without a ``__main__`` guard that calls :func:`main`."""
    if "multiprocessing.spawn" in sys.modules:  # checked first, because the import is slow
        from autobuild.evaluate.executors.unguarded import end_if_importing

        end_if_importing()


def _dispatch(arguments: list[str]) -> int:
    from autobuild.jobs._overrides import parse

    command = parse(arguments)
    if "--version" in command.flags:
        from autobuild import __version__

        print(f"autobuild {__version__}")
        return 0
    if "--help" in command.flags:
        from autobuild.jobs import _help as texts
        from autobuild.jobs._options import read_job

        print(texts.overview() if command.job is None else texts.describe(read_job(command.job)))
        return 0
    if "--experimental-rerun" in command.flags:
        raise ConfigError(
            "--experimental-rerun would unpickle a file; a run is launched again from its own config.yaml: "
            "autobuild --config-dir RUN_FOLDER --config-name config"
        )
    try:
        os.getcwd()
    except OSError as error:
        raise RunError(f"the working folder cannot be read: {error.strerror}; change to another one") from error
    return _hydra(command)


def _hydra(command: Command) -> int:
    """Run the command with Hydra."""
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from hydra.version import setbase
    from omegaconf.errors import OmegaConfBaseException

    from autobuild.jobs._mistakes import check_plugins, explain
    from autobuild.jobs._options import register
    from autobuild.resources import resource_dir

    check_plugins(command.words)
    if "--shell-completion" in command.flags:
        from autobuild.jobs._completion import typed_so_far

        typed_so_far(command)
    # As hydra.main, but with given arguments and one-line errors.
    setbase("1.3")
    register(" ".join([*command.words, *command.flags.values()]))
    search_path = create_config_search_path(str(resource_dir("conf")))
    if folder := command.flags.get("--config-dir"):
        if not os.path.isdir(folder):
            raise ConfigError(f"--config-dir {folder}: there is no such folder")
        place = SearchPathQuery(provider="schema")
        search_path.prepend(provider="command-line", path=f"file://{os.path.abspath(folder)}", anchor=place)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where a configuration's own _target_ lies: callbacks, launchers
    root = logging.getLogger()
    before = root.handlers[:], root.level
    warnings.filterwarnings("error", "provider=.* is not available", UserWarning)  # a folder in hydra.searchpath
    try:
        return _act(Hydra.create_main_hydra2(task_name="autobuild", config_search_path=search_path), command)
    except Exception as error:
        if not isinstance(error, (HydraException, OmegaConfBaseException)) and not _raised_by_hydra(error):
            raise
        raise ConfigError(explain(error, command)) from error
    finally:
        GlobalHydra.instance().clear()
        root.handlers[:], root.level = before  # --info and hydra.verbose add handlers


def _raised_by_hydra(error: Exception) -> bool:
    """Whether an error of a built-in type was raised by Hydra because of the command line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return module.startswith(("hydra.", "omegaconf.")) and not isinstance(error, OSError)  # the pipe may be closed


def _act(app: Any, command: Command) -> int:
    name, flags = command.config_name, command.flags
    if "--hydra-help" in flags:
        from argparse import Namespace

        from hydra._internal.utils import get_args_parser

        app.hydra_help(config_name=None, args_parser=get_args_parser(), args=Namespace(overrides=[]))
    elif "--shell-completion" in flags:
        from autobuild.jobs._completion import complete

        complete(app, command)
    elif "--info" in flags:
        app.show_info(flags["--info"], config_name=name, overrides=command.overrides)
    elif "--cfg" in flags:
        return _show(app, name, command)
    elif command.sweeps or _asks_for_sweep(app, name, command):
        command.flags.setdefault("--multirun", "")
        return _sweep(app, name, command)
    else:
        outcome: Outcome = app.run(name, _task, [*_with_logging(command.overrides), "hydra.mode=RUN"]).return_value
        if outcome.raised is not None:
            raise outcome.raised
        return outcome.code
    return 0


def _asks_for_sweep(app: Any, name: str, command: Command) -> bool:
    """Whether a configuration of the user's own says ``hydra.mode: MULTIRUN`` (asking composes it once more)."""
    from hydra.types import RunMode

    if "--config-dir" not in command.flags and not any(word.startswith("hydra.searchpath") for word in command.words):
        return False
    return bool(app.get_mode(config_name=name, overrides=command.overrides) == RunMode.MULTIRUN)


def _show(app: Any, name: str, command: Command) -> int:
    """Print the configuration instead of running; in a sweep, that of each job."""
    from autobuild.jobs._sweeps import combinations, shown

    flags = command.flags
    jobs = combinations(app, name, command.overrides) if command.sweeps else [command.overrides]
    for overrides in jobs:
        if command.sweeps:
            print(f"--- # {' '.join(shown(overrides))}")
        try:
            app.show_cfg(name, overrides, flags["--cfg"], flags.get("--package"), "--resolve" in flags)
        except SystemExit as error:  # Hydra has printed that there is no such package
            return 2 if error.code else 0
    return 0


def _sweep(app: Any, name: str, command: Command) -> int:
    """Run a job for each combination of values with the chosen launcher, and write a table of all."""
    from autobuild.jobs._sweeps import open_sweep

    sweep, words = open_sweep(app, name, command)
    outcomes: list[Outcome] | None = None
    try:
        batches = app.multirun(name, _task, [*_with_logging(words), "hydra.mode=MULTIRUN"])
        # Sweepers that optimise return their best values, and raise if a job fails.
        outcomes = [done.return_value for batch in batches for done in batch] if isinstance(batches, list) else []
    except Exception as error:
        if type(error).__module__.split(".")[0] not in _ENGINES:
            raise
        lost = " ".join(str(error).split())
        raise RunError(
            f"a process of the sweep was lost ({type(error).__name__}: {lost[:300]}); the same command goes on with "
            "what is missing"
        ) from error
    finally:
        code = sweep.finish(outcomes)
    for outcome in outcomes:
        if outcome.raised is not None:
            raise outcome.raised
    return code


def _with_logging(words: list[str]) -> list[str]:
    """Add logging to stdout if ``hydra.verbose`` is set."""
    asked = [word for word in words if word.startswith("hydra.verbose=") and word != "hydra.verbose=false"]
    chosen = [word for word in words if word.startswith(("hydra/job_logging=", "hydra/hydra_logging="))]
    return [*words, "hydra/job_logging=stdout", "hydra/hydra_logging=default"] if asked and not chosen else words


def _task(composed: DictConfig) -> Any:
    """Run one job on one composed configuration; Hydra calls this, possibly in another process.

    Returns the :class:`~autobuild.jobs._sweeps.Outcome`; to a sweeper that optimises, the job's first number.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf.errors import OmegaConfBaseException

    from autobuild.jobs._arguments import arguments
    from autobuild.jobs._mistakes import commas_without_sweep, readable
    from autobuild.jobs._sweeps import Outcome, objective, typed_words

    settings = HydraConfig.get()
    sweeps = settings.mode == RunMode.MULTIRUN
    outcome = Outcome(0, typed_words(settings))
    try:
        name, config = arguments(composed)
        outcome.folder = config["out"]
        if sweeps:
            print(f"\njob {settings.job.num}: {' '.join(outcome.words)}", flush=True)
        outcome.code = _run_job(name, config)
    except (AutobuildError, OmegaConfBaseException) as error:
        outcome.code = 2
        outcome.error = str(error) if isinstance(error, AutobuildError) else readable(error)
        if not sweeps:
            outcome.error += commas_without_sweep(outcome.error, outcome.words)
        _complain(outcome.error)
    except Exception as error:
        outcome.code, outcome.error = 1, f"{type(error).__name__}: {error}"
        if not sweeps or isinstance(error, BrokenPipeError):
            outcome.raised = error  # raised again by the command line, past Hydra's own report of it
        else:
            import traceback

            traceback.print_exc()  # a bug; the other jobs continue
    if sweeps and settings.runtime.choices.get("hydra/sweeper", "basic") != "basic":
        return objective(outcome)
    return outcome


def _run_job(name: str, config: dict[str, Any]) -> int:
    from importlib import import_module

    from autobuild.jobs._options import read_job

    read_job(name).require(config)
    return int(import_module(f"autobuild.jobs.{name}").run(config))


def _complain(message: str) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    with contextlib.suppress(OSError):  # the exit code still tells
        print(f"error: {message}", file=sys.stderr, flush=True)


def _print_interrupted() -> None:
    """Print what the interrupted job has saved, and where."""
    runs = sys.modules.get("autobuild.jobs.run")
    message = runs.interruption() if runs is not None else None
    print(f"\ninterrupted{': ' + message if message else ''}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
