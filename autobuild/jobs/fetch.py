"""Download a published data set into your cache, checked, ready for labels=.

Without name=, the data sets are listed. What is in the cache already is not downloaded again.

Examples:
    autobuild fetch
    autobuild fetch name=nas_bench_macro
    autobuild fetch name=accel_nasbench url=https://my.mirror/anb_dataset_jsons.tar.gz out=data

Writes:
    the data set's own file, in your cache or in out=; nothing else
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autobuild.jobs._console import grid, say
from autobuild.settings.option import option

_EVERY_SECONDS = 10.0


@dataclass
class Keys:
    """Its keys."""

    name: str | None = option(None, "the data set (null: list them)", kind="name")
    url: str | None = option(None, "another address of the same file, such as a mirror")
    sha256: str | None = option(
        None, "its SHA-256 (null: the known one, if any); any accepts every file that can be read"
    )
    out: str | None = option(None, "the folder to download into (null: your cache)", kind="path")
    resume: bool = option(True, "false downloads again")
    threads: int | None = option(None, "accepted as everywhere; nothing here computes", ">=1")


def run(config: Mapping[str, Any]) -> int:
    """List the data sets, or fetch one and say how to use it."""
    from autobuild.labels.importers.fetch import cache_folder, checksum, fetch, published

    if config["name"] is None:
        _list(Path(config["out"]) if config["out"] is not None else cache_folder())
        return 0
    entry = published(config["name"])
    progress = _Progress(entry.name)
    place, table = fetch(
        entry.name,
        folder=config["out"],
        url=config["url"],
        sha256=config["sha256"],
        again=not config["resume"],
        progress=progress,
    )
    how = (
        f"downloaded from {config['url'] or entry.url or entry.page}"
        if progress.began
        else "there already (resume=false: again)"
    )
    say(f"{entry.about}\n{len(table.numbers):,} rows, {how}")
    say(f"SHA-256 {checksum(place)}\n\n{place}\n")
    say(f"Use it: autobuild build space={entry.space} labels='{place}' target={entry.target}")
    return 0


def _list(folder: Path) -> None:
    from autobuild.labels.importers.addresses import PUBLISHED

    rows = []
    for entry in PUBLISHED.values():
        there = bool(entry.filename) and (folder / entry.filename).is_file()
        state = "there" if there else "to fetch" if entry.url or entry.hub else "by hand"
        rows.append([entry.name, entry.space, state, entry.about])
    grid(["name", "space", "state", "about"], rows)
    say(f"\nFiles lie in {folder}. Fetch one with: autobuild fetch name=NAME")


class _Progress:
    """Progress of a download: a bar on a terminal, otherwise a line every ten seconds."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.total = 0
        self.began = False
        self._done = 0
        self._last = time.monotonic()
        self._bar: Any = None

    def update(self, count: int) -> None:
        """Add ``count`` bytes."""
        self.began = True
        self._done = min(self._done + count, self.total) if self.total else self._done + count
        if sys.stdout.isatty():
            if self._bar is None:
                self._bar = _bar()
                self._bar.start()
                self._task = self._bar.add_task(self.label, total=self.total or None)
            self._bar.update(self._task, completed=self._done)
        elif time.monotonic() - self._last >= _EVERY_SECONDS:
            self._last = time.monotonic()
            of = f" of {self.total / 1e6:.1f}" if self.total else ""
            say(f"  {self.label}: {self._done / 1e6:.1f}{of} MB")

    def reset(self) -> None:
        """Reset to zero."""
        self._done = 0

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar() -> Any:
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    return bars.Progress(*columns)
