"""Evaluation by a program: JSON goes in, JSON comes out.

The program receives one JSON object on its standard input::

    {"space": "ofa_mbv3", "arch": "e3k3-...", "seed": 0, "layers": [[{"expand": 3, "kernel": 3}, ...], ...]}

(``layers``: for each stage its layers) and prints one JSON object of metrics, ``{"acc": 93.5, "latency_ms": 4.2}``. On
the way it may print lines such as ``{"step": 1, "acc": 50.1}``: intermediate values. What it wants to tell people goes
to its standard error, whose end is quoted where it fails. A program that is to stop is sent SIGTERM, and SIGKILL five
seconds later.
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
    from autobuild.evaluate.protocol import Report
    from autobuild.spaces import Architecture, SearchSpace

GRACE_S = 5.0
_QUOTED = 400  # characters of what a program has printed that a message shows

# Waits until its standard input closes, which happens at the latest when the process that started it is gone, however
# that came about; then it ends the process group of the program.
_GUARD = 'read -r _; kill -s KILL -- "-$0"'


@dataclass(frozen=True)
class CommandEvaluator:
    """Runs a program for each evaluation; see :mod:`autobuild.evaluate.command` for what is said between them.

    Args:
        words: The program and its arguments.
        folder: Its working folder.
    """

    words: tuple[str, ...]
    folder: str

    @classmethod
    def parse(cls, line: str) -> CommandEvaluator:
        """Take a line apart as a shell would, without its other powers; the program is looked for at once.

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
        """The object that the program printed last.

        Raises:
            EvaluationError: It failed, was killed, or printed anything else; the message quotes it.
        """
        return self.steps(space, arch, seed, lambda step, metrics: None)

    def steps(self, space: SearchSpace, arch: Architecture | str, seed: int, report: Report) -> dict[str, Any]:
        """As calling it; ``report`` receives every line with a ``step``."""
        request = {
            "space": space.name,
            "arch": str(arch),
            "seed": seed,
            "layers": space.layers(space.parse(str(arch))),
        }
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as said:
            asked.write(json.dumps(request).encode())
            asked.seek(0)
            with self._started(asked, said) as process:
                assert process.stdout is not None
                answer = _Answer(self.words[0])
                for line in process.stdout:
                    answer.take(line, report)
                process.wait()
            self._check_end(process.returncode, said)
        return answer.metrics()

    @contextlib.contextmanager
    def _started(self, asked: IO[bytes], said: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
        """The program in a process group of its own; the group is gone when the block is left, or this process dies."""
        try:
            process = subprocess.Popen(
                self.words,
                cwd=self.folder,
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=said,
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

    def _check_end(self, code: int, said: IO[bytes]) -> None:
        if code == 0:
            return
        length = said.seek(0, os.SEEK_END)
        said.seek(max(0, length - _QUOTED))
        told = said.read().decode(errors="replace").strip()
        tail = f": {'...' if length > _QUOTED else ''}{told}" if told else ""
        if code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
            raise EvaluationError(f"{self.words[0]} was ended by the signal {name}{tail}", retry=True)
        raise EvaluationError(f"{self.words[0]} ended with exit code {code}{tail}")

    def recipe(self) -> Mapping[str, Any]:
        """What its labels come from, for the file that they are written to."""
        return {"evaluator": "command", "settings": {"words": list(self.words)}}


class _Answer:
    """What a program prints, line by line."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._found: list[dict[str, Any]] = []
        self._rest: list[str] = []

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
            self._found.append(value)

    def metrics(self) -> dict[str, Any]:
        whole = _json("".join(self._rest)) if self._rest and not self._found else None
        if isinstance(whole, dict):  # one object, written over several lines
            return whole
        if self._rest:
            printed = "".join(self._rest).strip()
            shown = printed if len(printed) <= _QUOTED else f"{printed[:_QUOTED]}..."
            raise EvaluationError(
                f"{self._program} printed what is no JSON object: {shown!r}; its standard output takes a line with the "
                'metrics ({"acc": 93.5}) and lines with a step before it; everything else goes to standard error'
            )
        if len(self._found) != 1:
            what = "no metrics" if not self._found else f"{len(self._found)} objects of metrics"
            raise EvaluationError(f"{self._program} printed {what}; accepted is one, after lines with a step")
        return self._found[0]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _end(process: subprocess.Popen[str]) -> None:
    """End a program and what it has started, politely first; at once where it has ended itself."""
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
