"""The command line: ``autobuild [job] key=value ...``.

Reads the arguments, lets Hydra compose the configuration, and hands a plain dict to the job. Exit codes: 0 done,
2 a mistake that the user can mend (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from autobuild.errors import AutobuildError, ConfigError, RunError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from autobuild.jobs.overrides import Command

# The process that main() runs in, and what became of the jobs that ran in it. A launcher may run _task in another
# process, where none of these is set; there a failed job raises, and the launcher carries the exception home.
_main_pid: int | None = None
_codes: list[int] = []
_raised: list[Exception] = []

# Launchers of a sweep's jobs: the plugin that brings each, and how it is installed.
_LAUNCHERS = {
    "joblib": ("hydra_joblib_launcher", "'autobuild[joblib]'"),
    "submitit_local": ("hydra_submitit_launcher", "'autobuild[slurm]'"),
    "submitit_slurm": ("hydra_submitit_launcher", "'autobuild[slurm]'"),
    "ray": ("hydra_ray_launcher", "'autobuild[ray]', then pip install --no-deps hydra-ray-launcher"),
}
_ENGINES = ("joblib", "submitit", "ray")  # what a lost process is told by


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        argv: The arguments after the program's name; None takes them from ``sys.argv``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _end_if_importing()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal or log that lacks a letter gets its code, not a traceback
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except AutobuildError as error:
        _complain(error)
        return 2
    except KeyboardInterrupt:
        _say_interrupted()
        return 130
    except BrokenPipeError:
        # The reader (head, less) has left: point stdout elsewhere, or the interpreter complains as it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _end_if_importing() -> None:
    """A script without a guard that calls :func:`main` is run again by each process that evaluates: those end here."""
    if "multiprocessing.spawn" in sys.modules:  # else this is no such process, and asking would load a lot
        from autobuild.evaluate.executors.unguarded import end_if_importing

        end_if_importing()


def _dispatch(arguments: list[str]) -> int:
    from autobuild.jobs.overrides import parse

    if "--version" in arguments:
        from autobuild import __version__

        print(f"autobuild {__version__}")
        return 0
    if "--help" in arguments or "-h" in arguments:
        return _help([word for word in arguments if word not in ("--help", "-h")])
    return _compose(parse(arguments))


def _help(words: list[str]) -> int:
    from autobuild.jobs import help as texts
    from autobuild.jobs.options import read_job

    named = [word for word in words if "=" not in word and not word.startswith("-")]
    print(texts.describe(read_job(named[0])) if named else texts.overview())
    return 0


def _compose(command: Command) -> int:
    """Let Hydra compose the configuration (or several, with ``-m``) and run the job on each."""
    global _main_pid
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from autobuild.resources import resource_dir

    _check_launcher(command.overrides)
    words = [*command.flags, f"job={command.job}", *command.overrides]
    if command.sweeps and not any(word.startswith("hydra.sweep.dir=") for word in command.overrides):
        from autobuild.jobs.overrides import quote

        words.append(f"hydra.sweep.dir={quote(command.out or os.path.join('runs', command.job))}")
    _main_pid = os.getpid()
    _codes.clear()
    _raised.clear()
    run = hydra.main(version_base="1.3", config_path=str(resource_dir("conf")), config_name="config")(_task)
    try:
        with _hydras_surroundings(words):
            run()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_readable(error)) from error
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except Exception as error:
        if type(error).__module__.split(".")[0] not in _ENGINES:
            raise
        lost = " ".join(str(error).split())
        raise RunError(
            f"a process of the sweep was lost ({type(error).__name__}: {lost[:300]}); the same command goes on with "
            "what is missing"
        ) from error
    if _raised:
        raise _raised[0]
    return max(_codes, default=0)


def _check_launcher(overrides: Sequence[str]) -> None:
    """Say what to install where the launcher of a sweep is not there.

    Raises:
        ConfigError: It is not.
    """
    from importlib.util import find_spec

    for word in overrides:
        name = word.removeprefix("hydra/launcher=") if word.startswith("hydra/launcher=") else ""
        if name not in _LAUNCHERS:
            continue
        plugin, install = _LAUNCHERS[name]
        try:
            found = find_spec(f"hydra_plugins.{plugin}") is not None
        except ModuleNotFoundError:  # there is no plugin at all
            found = False
        if not found:
            raise ConfigError(f"{word} needs a plugin of Hydra: pip install {install}")
        if name == "ray":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody unasked


@contextmanager
def _hydras_surroundings(words: list[str]) -> Iterator[None]:
    """Give Hydra its arguments, and have it hand on exceptions as they are instead of printing them."""
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["autobuild", *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


def _task(composed: DictConfig) -> int:
    """Run one job on one composed configuration; Hydra calls this, possibly in another process."""
    from hydra.core.hydra_config import HydraConfig

    name = str(HydraConfig.get().runtime.choices["job"])
    try:
        code = _run_job(name, _at_the_door(name, composed))
    except AutobuildError as error:
        if os.getpid() != _main_pid:
            raise
        _complain(error)
        code = 2
    except Exception as error:
        if os.getpid() != _main_pid:
            raise
        _raised.append(error)  # raised again by _compose, past Hydra's own report of it
        code = 1
    _codes.append(code)
    return code


def _run_job(name: str, config: dict[str, Any]) -> int:
    from importlib import import_module

    return int(import_module(f"autobuild.jobs.{name}").run(config))


def _at_the_door(name: str, composed: DictConfig) -> dict[str, Any]:
    """Turn Hydra's configuration into plain, checked arguments; a job of a sweep gets an ``out`` of its own.

    Raises:
        ConfigError: A value of the wrong kind.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from autobuild.jobs.options import read_job
    from autobuild.jobs.overrides import CHOSEN

    job = read_job(name)
    plain = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(plain, dict)
    plain.update(plain.pop(CHOSEN, {}))
    config = job.check({str(key): value for key, value in plain.items()})
    for key in job.keys.values():
        if key.base == "path" and isinstance(config.get(key.name), str):
            config[key.name] = os.path.expanduser(config[key.name])
    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.MULTIRUN and config.get("out") is not None:
        config["out"] = os.path.join(config["out"], _sweep_name(hydra_config.job.num, hydra_config.overrides.task))
    return config


def _sweep_name(number: int, overrides: Sequence[str]) -> str:
    """Name the folder of one job of a sweep: its number and what was set, without what a file system dislikes."""
    told = [word.removeprefix("++chosen.") for word in overrides if not word.startswith(("job=", "out="))]
    words = re.sub(r"[^\w.=+,-]+", "_", ",".join(told).replace("'", "")).strip("_")
    return f"{number}-{words}"[:100]


def _readable(error: Exception) -> str:
    """The first lines of one of Hydra's messages, which go on about its own settings."""
    if override := getattr(error, "override", None):  # the grammar's messages do not say which argument they mean
        return f"{override}: the value cannot be read; put quotes around it, inside those of the shell"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("See https", "full_key", "object_type", "reference_type"))]
    return " ".join(told[:3]) or type(error).__name__


def _complain(error: AutobuildError) -> None:
    sys.stdout.flush()
    print(f"error: {error}", file=sys.stderr)


def _say_interrupted() -> None:
    """Say what the interrupted job has saved, and where."""
    runs = sys.modules.get("autobuild.jobs.run")
    told = runs.interruption() if runs is not None else None
    print(f"\ninterrupted{': ' + told if told else ''}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
