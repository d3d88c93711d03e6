"""Evaluate architectures by a program that reads and prints JSON.

The program receives one JSON object on its standard input::

    {"space": "ofa_mbv3", "arch": "e3k3-...", "seed": 0, "layers": [[{"expand": 3, "kernel": 3}, ...], ...]}

(``layers``: for each stage its layers) and prints one JSON object of metrics, ``{"acc": 93.5, "latency_ms": 4.2}``.
Before that it may print lines with intermediate metrics, such as ``{"step": 1, "acc": 50.1}``. Messages for people go
to its standard error, whose end is quoted if it fails. To stop it, SIGTERM is sent, and SIGKILL five seconds later.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from autobuild.errors import ConfigError, EvaluationError

if TYPE_CHECKING:
    from autobuild.evaluate.evaluator import Report
    from autobuild.spaces import Architecture, SearchSpace

GRACE_S = 5.0
_QUOTED = 400  # characters of a program's output that a message shows

# Waits until its standard input closes, which happens at the latest when the process that started it has ended for any
# reason; then it ends the process group of the program.
_GUARD = 'read -r _; kill -s KILL -- "-$0"'


@dataclass(frozen=True)
class CommandEvaluator:
    """Runs a program for each evaluation; :mod:`autobuild.evaluate.command` describes its input and output.

    Args:
        words: The program and its arguments.
        folder: Its working folder.
    """

    words: tuple[str, ...]
    folder: str

    @classmethod
    def parse(cls, line: str) -> CommandEvaluator:
        """Split a line into words as a shell does, without expansions, and check that the program exists.

        Raises:
            ConfigError: The line is empty or has an open quote, or there is no such program.
        """
        try:
            words = tuple(shlex.split(line))
        except ValueError as error:
            raise ConfigError(f"command:{line}: does not read as a command: {error}") from None
        if not words:
            raise ConfigError("command: names no program; write command:PROGRAM ARGUMENTS")
        if shutil.which(words[0]) is None:
            raise ConfigError(f"command:{line}: there is no program {words[0]!r} that can be run")
        return cls(words, os.getcwd())

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, Any]:
        """The metrics that the program printed.

        Raises:
            EvaluationError: It failed, was killed, or printed something else, which the message quotes.
        """
        return self.steps(space, arch, seed, lambda step, metrics: None)

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> dict[str, Any]:
        """Evaluate once; ``report`` receives every line with a ``step``."""
        request = {
            "space": space.name,
            "arch": str(arch),
            "seed": seed,
            "layers": space.layers(space.parse(str(arch))),
        }
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stderr:
            stdin.write(json.dumps(request).encode())
            stdin.seek(0)
            with self._started(stdin, stderr) as process:
                assert process.stdout is not None
                answer = _Answer(self.words[0])
                for line in process.stdout:
                    answer.take(line, report)
                process.wait()
            self._check_end(process.returncode, stderr)
        return answer.metrics()

    @contextlib.contextmanager
    def _started(self, stdin: IO[bytes], stderr: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
        """Start the program in its own process group, which is killed when the block is left or this process dies."""
        try:
            process = subprocess.Popen(
                self.words,
                cwd=self.folder,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                errors="replace",
                process_group=0,
            )
        except OSError as error:
            raise EvaluationError(f"{self.words[0]} cannot be started: {error.strerror or error}") from error
        guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(process.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)
            guard.kill()
            guard.communicate()

    def _check_end(self, code: int, stderr: IO[bytes]) -> None:
        if code == 0:
            return
        length = stderr.seek(0, os.SEEK_END)
        stderr.seek(max(0, length - _QUOTED))
        quoted = stderr.read().decode(errors="replace").strip()
        tail = f": {'...' if length > _QUOTED else ''}{quoted}" if quoted else ""
        if code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
            raise EvaluationError(f"{self.words[0]} was ended by the signal {name}{tail}", retry=True)
        raise EvaluationError(f"{self.words[0]} ended with exit code {code}{tail}")

    def recipe(self) -> Mapping[str, Any]:
        """Origin of the labels: the program."""
        return {"evaluator": "command", "settings": {"words": list(self.words)}}


class _Answer:
    """Reads the output of a program, line by line."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._objects: list[dict[str, Any]] = []  # without those of steps
        self._rest: list[str] = []  # lines that are no JSON object

    def take(self, line: str, report: Report) -> None:
        value = _json(line)
        if not isinstance(value, dict):
            self._rest += [line] if line.strip() else []
        elif "step" in value:
            step = value.pop("step")
            if type(step) is not int:
                raise EvaluationError(f"{self._program} printed the step {step!r}; accepted: a whole number")
            report(step, value)
        else:
            self._objects.append(value)

    def metrics(self) -> dict[str, Any]:
        whole = _json("".join(self._rest)) if self._rest and not self._objects else None
        if isinstance(whole, dict):  # one object over several lines
            return whole
        if self._rest:
            printed = "".join(self._rest).strip()
            shown = printed if len(printed) <= _QUOTED else f"{printed[:_QUOTED]}..."
            raise EvaluationError(
                f"{self._program} printed what is no JSON object: {shown!r}; its standard output takes a line with the "
                'metrics ({"acc": 93.5}) and lines with a step before it; everything else goes to standard error'
            )
        if len(self._objects) != 1:
            what = "no metrics" if not self._objects else f"{len(self._objects)} objects of metrics"
            raise EvaluationError(f"{self._program} printed {what}; accepted is one, after lines with a step")
        return self._objects[0]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _end(process: subprocess.Popen[str]) -> None:
    """End a program and the processes that it started: by SIGTERM first, unless it has ended, then by SIGKILL."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    _signal(process, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
