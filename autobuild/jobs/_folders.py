"""Which folder a run gets: a new one, or one that holds an unfinished run of the same settings (see jobs/run.py)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from autobuild.errors import ConfigError, RunError

if TYPE_CHECKING:
    from filelock import BaseFileLock

OWN_FILES = ("config.yaml", "run.json", "metrics.json")


Claim: TypeAlias = "tuple[Path, BaseFileLock | None, dict[str, Any] | None]"  # folder, lock, state
Grows = Mapping[str, Callable[[Path], str]]  # a key that may grow -> how far the run in a folder has come, in words


def claim_out(folder: Path, state: dict[str, Any], resume: bool, grows: Grows) -> Claim:
    """Take the folder that the user named; the third value is the state of the run that goes on, if any."""
    _make(folder)
    held = lock(folder)
    if held is False:
        raise RunError(f"out={folder}: another process is using this run folder; wait for it, or choose another out=")
    old = read_json(folder / "run.json")
    if old is None:
        return folder, held, None
    grown, shrunk = _grown(old, state, grows)
    differences = _differences(old, state, grown)
    if resume and not differences:
        return folder, held, _reopened(old, state, grown)
    if resume:
        if held is not None:
            held.release()
        only = "".join(f"{key} may grow and never shrink: {grows[key](folder)}. " for key in shrunk)
        raise ConfigError(
            f"out={folder}: holds a {old.get('status', 'broken')} run with other settings: {'; '.join(differences)}. "
            f"{only}Choose another out=, or replace it with resume=false"
        )
    for name in [*old.get("files", []), *OWN_FILES]:
        _remove(folder, str(name))
    return folder, held, None


def claim_default(parent: Path, state: dict[str, Any], resume: bool, grows: Grows) -> Claim:
    """Find the newest unfinished run that may go on, or make a new folder."""
    for state_file in sorted(parent.glob("*/run.json"), reverse=True) if resume else []:
        old = read_json(state_file)
        if old is None or old.get("status") == "finished":
            continue
        grown, _ = _grown(old, state, grows)
        if _differences(old, state, grown):
            continue
        held = lock(state_file.parent)
        if held is not False:
            return state_file.parent, held, _reopened(old, state, grown)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for attempt in range(1000):
        folder = parent / (f"{stamp}-{attempt}" if attempt else stamp)
        try:
            _make(folder, exist_ok=False)
        except FileExistsError:
            continue
        held = lock(folder)
        return folder, None if held is False else held, None
    raise RunError(f"{parent}: no free folder name for {stamp}")


def _grown(old: Mapping[str, Any], new: Mapping[str, Any], grows: Grows) -> tuple[list[str], list[str]]:
    """Those of the keys that may grow that have grown, and those that have shrunk."""
    before, after = flat(old.get("config", {})), flat(new["config"])
    there = [key for key in grows if isinstance(before.get(key), (int, float)) and key in after]
    return [key for key in there if after[key] > before[key]], [key for key in there if after[key] < before[key]]


def _reopened(old: dict[str, Any], new: Mapping[str, Any], grown: Sequence[str]) -> dict[str, Any]:
    """The state of a run that goes on; where a key has grown, with that value and all steps to be done."""
    if not grown:
        return old
    before, after = flat(old["config"]), flat(new["config"])
    changes = ", ".join(f"{key} from {before[key]} to {after[key]}" for key in grown)
    kept = {key: new[key] for key in ("config", "config_hash")}
    return {**old, **kept, "status": "running", "finished": None, "steps": {}, "grown": changes}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], grown: Sequence[str] = ()) -> list[str]:
    """What differs between a run on disk and the one asked for, in words; keys that have grown left out."""
    if old.get("job") != new["job"]:
        return [f"it is a run of the job {old.get('job')}, not {new['job']}"]
    before, after = flat(old.get("config", {})), flat(new["config"])
    differences = [
        f"{key} is {before.get(key)} there, {after.get(key)} here"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key) and key not in grown
    ]
    inputs = old.get("inputs", {})
    differences += [
        f"the contents of {key} have changed" for key in new["inputs"] if inputs.get(key) != new["inputs"][key]
    ]
    if old.get("autobuild") != new["autobuild"]:
        differences.append(f"it was written by autobuild {old.get('autobuild')}, this is {new['autobuild']}")
    return differences


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by dotted names."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def _make(folder: Path, *, exist_ok: bool = True) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except FileExistsError as error:
        if not exist_ok and folder.is_dir():
            raise
        raise RunError(f"out={folder}: cannot be written: it is a file, not a folder") from error
    except OSError as error:
        raise RunError(f"out={folder}: cannot be written: {error.strerror or error}") from error


def lock(folder: Path) -> BaseFileLock | Literal[False] | None:
    """Take the folder's lock, which the system frees when the process ends.

    Returns:
        The lock; False if a live process has it; None where the file system has no locks, as some network file systems:
        running without one beats not running.

    Raises:
        RunError: The folder cannot be written.
    """
    from filelock import FileLock, Timeout

    held = FileLock(folder / "_lock", thread_local=False)
    try:
        held.acquire(blocking=False)
    except Timeout:
        return False
    except PermissionError as error:
        raise RunError(f"out={folder}: cannot be written: {error.strerror or error}") from error
    except (OSError, NotImplementedError):
        return None
    return held


def write_beside(path: Path, text: str) -> None:
    """Write a text file beside its place and rename it, so that a reader never sees half of one.

    Raises:
        RunError: It cannot be written.
    """
    temporary = path.with_name(f"_tmp-{os.getpid()}-{path.name}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _remove(folder: Path, name: str) -> None:
    """Remove one file or folder that an earlier run wrote, and only inside the run folder."""
    path = folder / name
    if folder.resolve() not in path.resolve().parents:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is none, or if it is broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
