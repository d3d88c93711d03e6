"""Convert a published data set to a table of labels, with every row checked against its search space.

labels= takes the published files directly, too; import them to look at them, to change them, or to share a plain table.
With out=FILE one table is written; with a folder (or no out) a run folder with labels.csv in it.

Examples:
    autobuild import path=nas-bench-macro_cifar10.json out=macro.csv
    autobuild import path=anb_dataset_jsons.tar.gz n=500 out=accel.parquet
    autobuild import format=autobuild_cache path=ofa_mbv3_custom_cache.pkl

Writes:
    labels.csv  arch and the metrics, one row an architecture: what labels= takes (out=FILE: that file alone)
    metrics.json  how many rows and metrics, what was missing, versions, ...
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobuild.errors import ConfigError, LabelError, LabelWarning
from autobuild.jobs._console import heading, say, table
from autobuild.jobs._files import input_files
from autobuild.jobs._pipeline import show_notes
from autobuild.jobs.keys import RunKeys
from autobuild.settings.names import FORMATS
from autobuild.settings.option import option

if TYPE_CHECKING:
    from autobuild.labels import LabelledSet


@dataclass
class Keys(RunKeys):
    """Its keys."""

    path: str | None = option(None, "the published file or folder", kind="path", required=True)
    format: str = option("auto", "auto tells it by the content", choices=("auto", *FORMATS))
    space: str | None = option(
        None, "the space of the architectures (null: the one that the format belongs to)", kind="name"
    )
    n: int | None = option(None, "only the first n rows; of an archive, members sorted by name (null: all)", ">=1")
    out: str | None = option(
        None,
        "a folder for the results (null: runs/import/<time>), or a file ending in .csv .tsv .parquet .jsonl",
        kind="path",
    )


def run(config: Mapping[str, Any]) -> int:
    """Read, check every row, write one table."""
    from autobuild.jobs.run import Run
    from autobuild.labels.label_files import WRITERS

    if config["out"] is not None and Path(config["out"]).suffix.lower() in WRITERS:
        labels = _read(config)
        _write_file(labels, Path(config["out"]), replace=not config["resume"])
        _show(labels, Path(config["out"]))
        return 0
    with Run.open("import", config, input_files(config)) as folder:
        if not folder.finished:
            labels = _read(config)
            with folder.writing("labels.csv") as path:
                labels.frame.to_csv(path, index=False, lineterminator="\n")
            missing = {name: int(count) for name, count in labels.frame[labels.metrics].isna().sum().items() if count}
            folder.record(n=len(labels), space=labels.space.name, labels=labels.metrics, missing=missing)
            folder.record(notes=labels.notes, warnings=labels.warnings, content_hash=labels.content_hash)
            _show(labels, folder.dir / "labels.csv")
        else:
            say(str(folder.dir / "labels.csv"))
    return 0


def _read(config: Mapping[str, Any]) -> LabelledSet:
    from autobuild.labels import LabelledSet
    from autobuild.labels.importers import read_any
    from autobuild.spaces import load_space

    raw = read_any(config["path"], config["format"])
    name = config["space"] or raw.space
    if name is None:
        raise ConfigError(f"{config['path']}: its form does not say which search space it belongs to: give space=")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelWarning)  # printed by the job
        return LabelledSet.from_table(raw, load_space(name), config["n"])


def _write_file(labels: LabelledSet, out: Path, *, replace: bool) -> None:
    """Write one file atomically; a file with other contents is only replaced if ``replace`` is set.

    Raises:
        ConfigError: There is such a file.
    """
    beside = out.with_name(f".{os.getpid()}-{out.name}")
    try:
        labels.write(beside)
        if out.exists() and not replace and not filecmp.cmp(out, beside, shallow=False):
            raise ConfigError(
                f"out={out}: this file is there and holds something else; "
                "choose another out=, or replace it with resume=false"
            )
        os.replace(beside, out)
    except LabelError as error:  # it names the file beside
        raise ConfigError(str(error).replace(str(beside), f"out={out}")) from error
    except OSError as error:
        raise ConfigError(f"out={out}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # there is none, or no folder that could hold one
            beside.unlink()


def _show(labels: LabelledSet, place: Path) -> None:
    heading(f"{len(labels):,} labelled architectures of {labels.space.name}")
    show_notes(labels)
    table(labels.describe(), rows=40, columns=["metric", "count", "missing", "mean", "min", "median", "max"])
    say(f"\n{place}")
