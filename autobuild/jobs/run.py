"""The run folder: settings, progress and results of one job, resumable after any kill.

``out=DIR`` decides where it lies; without it, ``runs/<job>/<time>``. What happens to a folder that already holds a run:

- no ``out``: the newest unfinished run of the same settings and inputs that no live process holds goes on; a finished
  one is left alone and a new folder is made.
- ``out`` with an unfinished run of the same settings and inputs: it goes on.
- ``out`` with a finished one: nothing is computed again, the job shows what lies there.
- a key that may grow (``grows`` of :meth:`Run.open`), such as the evaluations of a search: with a larger value the run
  goes on, with ``out`` also a finished one; a smaller value is refused.
- ``out`` with a run of another job, other settings or changed inputs: refused, saying what differs.
- ``resume=false``: a new folder; with ``out``, the files that the old run wrote are removed first, nothing else is.
- ``out`` with files but no run: they stay, the run is written beside them.

Every file is written beside its place and renamed, so a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from autobuild import __version__
from autobuild.errors import RunError
from autobuild.jobs._folders import OWN_FILES, Grows, claim_default, claim_out, read_json
from autobuild.jobs._options import read_job
from autobuild.jobs._provenance import digest, plain, text_digest, versions
from autobuild.settings.groups import groups

if TYPE_CHECKING:
    import pandas as pd
    from filelock import BaseFileLock

# Keys that do not influence results; a run may be resumed with other values of them.
EXECUTION_KEYS = ("out", "resume", "executor", "n_jobs", "time_limit_s", "retries", "plots", "lease_s", "patience_s")
_TEMPORARY = "_tmp-"

_current: Run | None = None


class Run:
    """The folder of one job. Open it with :meth:`open` and use it in a ``with`` block.

    Attributes:
        dir: The folder.
        finished: Whether an earlier process had finished it; the job then only shows what lies in it.
        resumed: Whether it goes on from an earlier process.
        metrics: The numbers recorded so far (``metrics.json``).
    """

    def __init__(self, folder: Path, lock: BaseFileLock | None, state: dict[str, Any], *, resumed: bool) -> None:
        self.dir = folder
        self.resumed = resumed
        self.finished = state["status"] == "finished"
        self.metrics: dict[str, Any] = read_json(folder / "metrics.json") or {} if resumed else {}
        self._lock = lock
        self._state = state
        self._had = set(os.listdir(folder))

    @classmethod
    def open(
        cls,
        job: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Path] | None = None,
        *,
        grows: Grows | None = None,
    ) -> Run:
        """Create or resume the run folder of ``job``.

        Args:
            job: The job's name.
            config: Its plain settings; ``out`` and ``resume`` steer this call, both may be missing.
            inputs: The files and folders that it reads, by key; changed contents make it another run.
            grows: Keys of numbers of which a larger one goes on with the same run; each with what tells, in words, how
                far the run in a folder has come.

        Raises:
            RunError: The folder cannot be written, or a live process holds it.
            ConfigError: ``out`` holds a run with other settings or inputs.
        """
        kept = _deciding(config)
        state: dict[str, Any] = {
            "job": job,
            "status": "running",
            "config_hash": config_hash(config),
            "inputs": {key: digest(path) for key, path in (inputs or {}).items()},
            "autobuild": __version__,
            "config": kept,
            "started": _now("milliseconds"),  # the order of a sweep's jobs, which may take less than a second
            "finished": None,
            "steps": {},
            "files": [],
        }
        resume = bool(config.get("resume", True))
        if config.get("out"):
            folder, lock, old = claim_out(Path(str(config["out"])), state, resume, grows or {})
        else:
            folder, lock, old = claim_default(Path("runs") / job, state, resume, grows or {})
        run = cls(folder, lock, old or state, resumed=old is not None)
        run._begin(config)
        return run

    def _begin(self, config: Mapping[str, Any]) -> None:
        import yaml

        if self.resumed:
            self._remove_leftovers()
        if self.finished:
            print(f"finished already on {self._state['finished']} in {self.dir} (resume=false does it again)")
            return
        grown = self._state.pop("grown", None)
        if grown:
            print(f"going on with the run in {self.dir}: {grown} (resume=false starts anew)")
            self.metrics = {key: value for key, value in self.metrics.items() if not key.endswith("_seconds")}
        elif self.resumed:
            done = ", ".join(self._state["steps"]) or "none"
            print(f"resuming the unfinished run in {self.dir} (finished steps: {done}; resume=false starts anew)")
        self._state.update(status="running", pid=os.getpid())
        self._save_state()
        launchable = _launchable(self._state["job"], config)
        self.write_text("config.yaml", yaml.safe_dump(launchable, sort_keys=False, allow_unicode=True))
        self.record(versions=versions(), data_hash=self._state["inputs"], job=self._state["job"])

    def __enter__(self) -> Run:
        global _current
        _current = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _current
        if error is None:
            _current = None
            if not self.finished:
                self.record(threads=_threads())
                self._finish("finished")
        elif isinstance(error, (KeyboardInterrupt, BrokenPipeError, SystemExit)):
            self._finish("interrupted")
        else:
            _current = None
            self._finish("failed", error)
            self._drop_if_empty()
        self.release()

    def release(self) -> None:
        """Release the lock of the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _finish(self, status: str, error: BaseException | None = None) -> None:
        if self.finished:
            return
        self._state.update(status=status, finished=_now(), error=None if error is None else str(error))
        # An error is being raised already; a full disk must not replace it.
        with contextlib.suppress(RunError) if status != "finished" else contextlib.nullcontext():
            self._save_state()

    def _drop_if_empty(self) -> None:
        """Remove the folder of a job that failed before it produced anything, if this call made it."""
        if self.resumed or self._had - {"_lock"} or set(self._state["files"]) - set(OWN_FILES):
            return
        shutil.rmtree(self.dir, ignore_errors=True)

    # -- steps and numbers ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[bool]:
        """Give True if the step still has to be done; leaving the block without an error marks it as done.

        The wall time of the block is recorded as ``<name>_seconds`` unless the block recorded that itself.
        """
        if name in self._state["steps"]:
            yield False
            return
        start = time.perf_counter()
        yield True
        seconds = round(time.perf_counter() - start, 3)
        if f"{name}_seconds" not in self.metrics:
            self.record(**{f"{name}_seconds": seconds})
        self._state["steps"][name] = {"seconds": seconds, "finished": _now()}
        self._save_state()

    def record(self, **numbers: object) -> None:
        """Add numbers to ``metrics.json`` (NaN and infinities become null)."""
        self.metrics.update({key: plain(value) for key, value in numbers.items()})
        self.write_json("metrics.json", self.metrics)

    # -- files ---------------------------------------------------------------------------------------------------------

    def _remove_leftovers(self) -> None:
        """Remove the half files of a killed process, only inside the folder; figures are written beside theirs."""
        wrote = [self.dir, *((self.dir / name).parent.resolve() for name in self._state["files"])]
        for folder in {place for place in wrote if self.dir.resolve() in (place.resolve(), *place.resolve().parents)}:
            for half in (*folder.glob(f"{_TEMPORARY}*"), *folder.glob(f".{_TEMPORARY}*")):
                half.unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """The place of a file or folder of this run, remembered as one that the run wrote."""
        if name not in self._state["files"]:
            self._state["files"].append(name)
            self._save_state()
        return self.dir / name

    def has(self, name: str) -> bool:
        """Whether the run has written ``name``."""
        return (self.dir / name).exists()

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give a path beside ``name`` to write to; leaving the block without an error renames it to ``name``.

        Raises:
            RunError: It cannot be written.
        """
        final = self.path(name) if name not in OWN_FILES else self.dir / name
        temporary = final.with_name(f"{_TEMPORARY}{os.getpid()}-{final.name}")
        try:
            final.parent.mkdir(exist_ok=True)
            yield temporary
            os.replace(temporary, final)
        except OSError as error:
            raise RunError(f"{final}: cannot be written: {error.strerror or error}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file; bytes of a path that are no text become escapes such as ``\\udcff``."""
        with self.writing(name) as path:
            path.write_text(text, encoding="utf-8", errors="backslashreplace")

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON file."""
        self.write_text(name, json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")

    def write_frame(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table as CSV, without its index."""
        with self.writing(name) as path:
            frame.to_csv(path, index=False, errors="backslashreplace")

    def write_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write text cells as CSV, without pandas."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        self.write_text(name, text.getvalue())

    def read_table(self, name: str) -> tuple[list[str], list[list[str]]]:
        """Read what :meth:`write_table` wrote: the header, and the rows."""
        with (self.dir / name).open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        return header, rows

    def read_frame(self, name: str) -> pd.DataFrame:
        """Read a table that this run wrote; texts of architectures that look like numbers stay texts."""
        import pandas as pd

        return pd.read_csv(self.dir / name, dtype={"arch": str, "candidate": str})

    def _save_state(self) -> None:
        self.write_json("run.json", self._state)

    def saved_so_far(self) -> str:
        """Describe what an interrupted run has saved."""
        done = ", ".join(self._state["steps"])
        saved = f"finished steps ({done}) and what was begun" if done else "what was begun"
        return f"{saved}: in {self.dir}; the same command continues it"


def interruption() -> str | None:
    """What the interrupted run of this process has saved; None if there is no run."""
    return _current.saved_so_far() if _current is not None else None


def use_threads(count: int | None) -> None:
    """Have torch use ``count`` threads (None: one, since models here are small; see ``autobuild.models.threads``)."""
    import torch

    torch.set_num_threads(count or 1)


def _threads() -> int:
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else len(os.sched_getaffinity(0))


def _launchable(job: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as a configuration that ``autobuild --config-dir RUN --config-name config`` takes."""
    defaults: list[Any] = ["autobuild", {"override /job": job}]
    for name in read_job(job).groups:
        if name in config:
            defaults.append({f"override /{name}": config[name][groups()[name].kind.partition(".")[2]]})
    return {"defaults": [*defaults, "_self_"], **_escaped(config)}


def _escaped(value: Any) -> Any:
    """``value`` with texts that OmegaConf would interpolate written so that it does not."""
    if isinstance(value, Mapping):
        return {key: _escaped(item) for key, item in value.items()}
    return value.replace("${", "\\${") if isinstance(value, str) else value


def config_hash(config: Mapping[str, Any]) -> str:
    """A hash of the settings that influence results."""
    return text_digest(json.dumps(_deciding(config), sort_keys=True))


def _deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that influence results, nested as given."""
    kept = {key: value for key, value in config.items() if key not in EXECUTION_KEYS}
    return {key: _deciding(value) if isinstance(value, Mapping) else value for key, value in kept.items()}


def _now(to: str = "seconds") -> str:
    return datetime.now().astimezone().isoformat(timespec=to)
