"""Print tables, and progress with an estimate of the remaining time; plain lines if there is no terminal."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from autobuild._decimals import IN_TARGET_UNITS, table_decimals

if TYPE_CHECKING:
    import pandas as pd

_EVERY_SECONDS = 10.0


def say(text: str = "") -> None:
    """Print a line and flush, so that logs are up to date."""
    print(text, flush=True)


@contextmanager
def noted() -> Iterator[None]:
    """Print warnings of evaluations as one-line notes."""
    from autobuild.evaluate import EvaluationWarning

    show = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always", EvaluationWarning)

        def show_as_note(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, EvaluationWarning):
                say(f"note: {message}")
            else:
                show(message, category, *where, **more)

        warnings.showwarning = show_as_note
        yield


def heading(text: str) -> None:
    """Print a heading with an empty line before it."""
    say(f"\n{text}")


def table(frame: pd.DataFrame, *, rows: int = 10, columns: Sequence[str] | None = None) -> None:
    """Print the first ``rows`` rows of a frame and how many more there are.

    Effects, predictions and their bounds have the same number of decimals, four digits of the largest;
    fractions in other columns have five significant digits.
    """
    shown = (frame[list(columns)] if columns is not None else frame).head(rows)
    names = [str(name) for name in shown.columns]
    places = table_decimals(shown)
    lines = [
        [
            f"{value:.{places}f}"
            if name in IN_TARGET_UNITS and isinstance(value, float) and value == value
            else cell(value)
            for name, value in zip(names, row, strict=True)
        ]
        for row in shown.itertuples(index=False)
    ]
    grid(names, lines)
    if len(frame) > rows:
        say(f"  ... {len(frame) - rows:,} more rows")


def grid(header: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print text cells in columns, numbers to the right: a drawn table on a terminal, plain columns elsewhere."""
    numbers = [all(_is_number(row[i]) for row in cells) for i in range(len(header))]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        drawn = Table(show_edge=False, pad_edge=False, header_style="bold")
        for name, right in zip(header, numbers, strict=True):
            drawn.add_column(name, overflow="fold", justify="right" if right else "left")
        for row in cells:
            drawn.add_row(*row)
        Console(highlight=False, markup=False).print(drawn)
        return
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(len(header))]
    for row in [header, *cells]:
        placed = zip(row, widths, numbers, strict=True)
        say(
            "  "
            + "  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in placed).rstrip()
        )


def _is_number(text: str) -> bool:
    """Whether a cell stands to the right: a number, with a star or not, or an empty one."""
    try:
        return text in ("", "-") or math.isfinite(float(text.rstrip("*").replace(",", "")))
    except ValueError:
        return False


def cell(value: Any) -> str:
    """Format a table cell: floats with five significant digits or more, missing values as a dash."""
    if value is None or type(value).__name__ == "NAType" or value != value:  # pandas is not imported for this
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if (value.is_integer() or abs(value) >= 1e5) and abs(value) < 1e15 else f"{value:.5g}"
    return str(value)


@contextmanager
def progress(label: str, total: int, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Show progress over ``total`` items, ``done`` of which are finished already.

    Gives a function to call after each piece, with a note to show beside it. On a terminal a bar is drawn; elsewhere
    a line is printed at most every ten seconds, and at the end.
    """
    if sys.stdout.isatty():
        with _bar(label, total, done) as advance:
            yield advance
    else:
        yield _lines(label, total, done)


@contextmanager
def _bar(label: str, total: int, done: int) -> Iterator[Callable[[str], None]]:
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("ETA"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[note]}", markup=False),
    )
    with bars.Progress(*columns) as bar:
        task = bar.add_task(label, total=total, completed=done, note="")

        def advance(note: str = "") -> None:
            bar.update(task, advance=1, note=note)

        yield advance


def _lines(label: str, total: int, done: int) -> Callable[[str], None]:
    began = last = time.monotonic()
    count = done

    def advance(note: str = "") -> None:
        nonlocal count, last
        count += 1
        now = time.monotonic()
        if now - last < _EVERY_SECONDS and count < total:
            return
        last = now
        left = (now - began) / max(1, count - done) * (total - count)
        say(f"  {label}: {count}/{total}, {duration(now - began)} so far, ETA {duration(left)}  {note}".rstrip())

    return advance


class Phases:
    """Progress over phases, each with a number of items: ``show(phase, done, total)``."""

    def __init__(self) -> None:
        self._phase = ""
        self._done = 0
        self._stack = ExitStack()
        self._advance: Callable[[str], None] | None = None

    def __enter__(self) -> Phases:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def show(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Report that ``done`` of ``total`` items of ``phase`` are finished; the first call of a phase begins it."""
        if phase != self._phase or self._advance is None:
            self._stack.close()
            # What the first call reports was finished by an earlier process, unless it is the first piece.
            self._phase, self._done = phase, done - 1 if done == 1 else done
            self._advance = self._stack.enter_context(progress(phase, total, self._done))
        while self._done < done:
            self._done += 1
            self._advance(note if self._done == done else "")


def duration(seconds: float) -> str:
    """Format a time span: ``8 s``, ``2 min 05 s``, ``1 h 04 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
