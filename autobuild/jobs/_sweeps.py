"""A sweep: the folders of its jobs, its failed jobs, and one table of all of them.

A job's folder is named by its overrides, so that an extended sweep finds its finished jobs again; a job with the same
settings in another folder is found as well. The table is that of ``autobuild table``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild._words import counted
from autobuild.errors import ConfigError, RunError
from autobuild.jobs._folders import lock, read_json, write_beside
from autobuild.jobs._overrides import Command, in_quotes, quote
from autobuild.jobs.run import EXECUTION_KEYS, config_hash
from autobuild.jobs.table import STATE, TABLE, Row, Table, main_numbers, read_rows

if TYPE_CHECKING:
    from filelock import BaseFileLock

HERE = "."  # value of hydra.run.dir, hydra.sweep.dir and hydra.sweep.subdir in conf/autobuild.yaml: not set by the user
_LONGEST = 100  # maximum length of a folder's name


@dataclass
class Outcome:
    """The result of one job, returned by the process that ran it.

    Attributes:
        code: Its exit code.
        told: The overrides of the job, as the user typed them.
        folder: Where its results lie; None for a job without any.
        error: Its error message.
        raised: An exception that is a bug and not a user's mistake; the command line raises it again.
    """

    code: int
    words: list[str] = field(default_factory=list)
    folder: str | None = None
    error: str = ""
    raised: Exception | None = None


def open_sweep(app: Any, name: str, command: Command) -> tuple[Sweep, list[str]]:
    """The sweep of a command, and the overrides for Hydra, its folder among them.

    Raises:
        ConfigError: ``out`` and ``hydra.sweep.dir`` name two folders.
        RunError: The folder cannot be written.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    words = command.overrides
    swept = {word.key_or_group.split(".")[0] for word in _parsed(app, words) if word.is_sweep_override()}
    if "out" in swept:
        raise ConfigError(f"out={command.typed('out')}: a sweep has one folder; its jobs have folders in that")
    probe = app.compose_config(config_name=name, overrides=_one_of(app, words), run_mode=RunMode.RUN)
    HydraConfig.instance().set_config(probe)
    job, settings = str(probe.hydra.runtime.choices["job"]), probe.hydra
    out = OmegaConf.to_container(probe, resolve=False).get("out")
    unnamed = ["job", *(key for key in EXECUTION_KEYS if key not in swept)]
    excluded = [key for key in settings.job.config.override_dirname.exclude_keys if key not in unnamed]
    words.append(f"hydra.job.config.override_dirname.exclude_keys=[{','.join([*unnamed, *excluded])}]")
    typed = shown(command.words)
    if overrides_out(out, "hydra.sweep.dir", settings):
        sweep = Sweep.in_folder(Path(str(settings.sweep.dir)), typed)
    elif out is None:
        sweep = Sweep.in_runs(job, typed, probe.get("resume", True))
    else:
        # Interpolations that differ between jobs name their folders: out='runs/${target}_${seed}'
        _ = None if "${hydra:" in str(out) else probe.get("out")  # raises an error if a key does not exist
        fixed, dollar, filled = str(out).partition("${")
        parent, _, beginning = fixed.rpartition("/") if dollar else (fixed, "", "")
        sweep = Sweep.in_folder(Path(os.path.expanduser(parent or HERE)), typed)
        if dollar:
            words = [*words, f"hydra.sweep.subdir={in_quotes(f'{beginning}${{{filled}')}"]
    return sweep, [*words, f"hydra.sweep.dir={quote(str(sweep.folder))}"]


def overrides_out(out: object, key: str, settings: Any) -> bool:
    """Whether Hydra's key for the folder overrides ``out``; a typed value has priority over one in a file.

    Args:
        out: The value of ``out``; None if not set.
        key: ``hydra.run.dir`` or ``hydra.sweep.dir``.
        settings: Hydra's own settings.

    Raises:
        ConfigError: Both are typed, or both are set in files.
    """
    folder = (settings.run if key == "hydra.run.dir" else settings.sweep).dir
    if folder == HERE or out is None:
        return bool(folder != HERE)
    words = [*settings.overrides.task, *settings.overrides.hydra]
    typed = {word.partition("=")[0].lstrip("+") for word in words} & {"out", key}
    if len(typed) != 1:
        raise ConfigError(f"out={out} and {key}={folder} name the same thing; give one")
    return key in typed


def combinations(app: Any, name: str, words: Sequence[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, as Hydra's basic sweeper expands them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.types import RunMode

    master = app.compose_config(config_name=name, overrides=list(words), run_mode=RunMode.MULTIRUN)
    params = master.hydra.sweeper.get("params") or {}
    typed = [*(f"{key}={value}" for key, value in params.items()), *words]
    jobs: list[list[str]] = BasicSweeper.split_arguments(_parsed(app, typed), max_batch_size=None)[0]
    return jobs


def _one_of(app: Any, words: Sequence[str]) -> list[str]:
    """The overrides of the first job; a key swept over an interval keeps its default."""
    first = []
    for word in _parsed(app, words):
        if not word.is_sweep_override():
            first.append(word.input_line)
        elif word.is_discrete_sweep():
            value = next(iter(word.sweep_string_iterator()), None)
            if value is None:
                raise ConfigError(
                    f"{word.input_line}: names no value; glob is of the choices of a group: 'encoder=glob(*)'"
                )
            first.append(f"{word.get_key_element()}={value}")
    return first


def _parsed(app: Any, words: Sequence[str]) -> list[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return list(OverridesParser.create(config_loader=app.config_loader).parse_overrides(list(words)))


def objective(outcome: Outcome) -> float:
    """The objective value for a sweeper that optimises: the first metric that the help lists for ``metrics.json``.

    Raises:
        RunError: The job failed, or has no such number.
    """
    state = read_json(Path(outcome.folder or "") / "run.json") or {}
    numbers = read_json(Path(outcome.folder or "") / "metrics.json") or {}
    values = [numbers[name] for name in main_numbers(str(state.get("job", ""))) if name in numbers]
    if outcome.code or not values or not isinstance(values[0], (int, float)):
        raise RunError(f"{' '.join(outcome.words)}: {outcome.error or 'no number for the sweeper to go by'}")
    return float(values[0])


def shown(overrides: Iterable[str], left_out: Sequence[str] = EXECUTION_KEYS) -> list[str]:
    """The overrides that identify a job of a sweep, as typed; folders and execution settings are left out."""
    kept = [word for word in overrides if word.split("=")[0].lstrip("+").split(".")[0] not in ("job", *left_out)]
    return [re.sub(r"='(.*)'$", r"=\1", word, flags=re.DOTALL).replace("\\'", "'") for word in kept]


def typed_words(settings: Any) -> list[str]:
    """:func:`shown` for the running job; interpolations stay as typed."""
    from omegaconf import OmegaConf

    words: Any = OmegaConf.to_container(settings.overrides.task, resolve=False)
    return shown(words, settings.job.config.override_dirname.exclude_keys or EXECUTION_KEYS)


def folder_of_job(job: str, config: Mapping[str, Any], settings: Any) -> str:
    """The folder of the running job, inside the folder of the sweep.

    Args:
        job: The job's name.
        config: Its checked arguments.
        settings: Hydra's own settings (``HydraConfig.get()``).
    """
    sweep = Path(str(settings.sweep.dir))
    if settings.sweep.subdir != HERE:
        return str(sweep / str(settings.sweep.subdir))
    named = sweep / _folder_name(typed_words(settings))
    wanted = config_hash(config)
    swept = set(EXECUTION_KEYS) - set(settings.job.config.override_dirname.exclude_keys)  # workers=1,2 are two jobs
    for path in [] if swept else [named / "run.json", *sorted(sweep.glob("*/run.json"))]:
        state = read_json(path)
        if state is not None and state.get("job") == job and state.get("config_hash") == wanted:
            return str(path.parent)
    return str(named)


def _folder_name(words: Sequence[str]) -> str:
    """A folder name made of overrides; it does not depend on their order."""
    text = ",".join(sorted(words)) or "default"
    clean = re.sub(r"[^\w.=+,-]+", "_", text)
    if clean == text and len(clean) <= _LONGEST:
        return clean
    # The hash distinguishes names that are equal after cleaning or shortening.
    return f"{clean[: _LONGEST - 10]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class Sweep:
    """The folder of a sweep, while its jobs run."""

    def __init__(self, folder: Path, words: Sequence[str], held: BaseFileLock | None = None) -> None:
        self.folder = folder
        self._words = list(words)
        self._lock = held
        self._save("running")

    @classmethod
    def in_folder(cls, folder: Path, words: Sequence[str]) -> Sweep:
        """A new or extended sweep in the folder that the user named.

        Raises:
            RunError: It cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"out={folder}: cannot be written: {error.strerror or error}") from error
        return cls(folder, words)

    @classmethod
    def in_runs(cls, job: str, words: Sequence[str], resume: bool) -> Sweep:
        """The newest unfinished sweep of the same words that no live process holds, or a new folder."""
        parent = Path("runs") / job
        for path in sorted(parent.glob(f"*/{STATE}"), reverse=True) if resume else []:
            state = read_json(path) or {}
            if state.get("words") != list(words) or state.get("status") == "finished":
                continue
            held = lock(path.parent)
            if held is not False:
                print(f"going on with the sweep in {path.parent} (resume=false starts anew)")
                return cls(path.parent, words, held)
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        for attempt in range(1000):
            folder = parent / (f"{stamp}-{attempt}" if attempt else stamp)
            if folder.exists():
                continue
            made = cls.in_folder(folder, words)
            held = lock(folder)
            made._lock = None if held is False else held
            return made
        raise RunError(f"{parent}: no free folder name for {stamp}")

    def _save(self, status: str) -> None:
        text = json.dumps({"words": self._words, "status": status}, ensure_ascii=False)
        write_beside(self.folder / STATE, text + "\n")

    def finish(self, outcomes: Sequence[Outcome] | None) -> int:
        """Write and print the table, list failed jobs, and return the exit code.

        Args:
            outcomes: Results of the jobs; None if the sweep was interrupted.
        """
        failed = [outcome for outcome in outcomes or () if outcome.code]
        rows = read_rows(self.folder)
        for outcome in failed:
            name = os.path.relpath(outcome.folder, self.folder) if outcome.folder else " ".join(outcome.words)
            if name not in {row.folder for row in rows}:  # it failed before it had a folder
                typed = dict(word.partition("=")[::2] for word in outcome.words)
                rows.append(Row(name, settings=typed, reason=outcome.error))
        if rows:
            table = Table(rows, self._words)
            table.write(self.folder / TABLE)
            print(f"\nThe sweep: {len(rows)} runs ({self.folder / TABLE})")
            table.show()
        if outcomes is not None and not failed:
            self._save("finished")
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if failed:
            sys.stdout.flush()
            print(f"error: {len(failed)} of {counted(len(outcomes or ()), 'job')} failed:", file=sys.stderr)
            for outcome in failed:
                print(f"  {' '.join(outcome.words)}: {outcome.error}", file=sys.stderr)
        return max((outcome.code for outcome in failed), default=0)
