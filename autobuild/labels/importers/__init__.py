"""Published data sets in the forms in which they are published: told by content, read into raw tables.

======================  ============================================================================================
format                  what it is
======================  ============================================================================================
``nas_bench_macro``     NAS-Bench-Macro's JSON: keys of eight digits (Su et al., CVPR 2021)
``accel_nasbench``      Accel-NASBench's folder, ``.tar.gz`` or ``.tar``: one JSON each (Ahmad et al., DAC 2024)
``nas_bench_201``       a table with cell strings in some column: ``cellstr``, ``arch``...
``autobuild_cache``     a cache pickle of the AutoBuild paper (Mills et al., CVPR 2024), read by a restricted unpickler
``table``               any other table with a column of architectures
======================  ============================================================================================

Nothing is ever extracted to disk, and no class or function that a file names is ever called.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

from autobuild.errors import LabelError, nearest
from autobuild.labels.embedded_sets import embedded_sets
from autobuild.labels.importers.accel_nasbench import read_accel_nasbench
from autobuild.labels.importers.autobuild_cache import read_autobuild_cache
from autobuild.labels.importers.nas_bench_201 import as_cells, cells_column, read_nas_bench_201
from autobuild.labels.importers.nas_bench_macro import read_nas_bench_macro
from autobuild.labels.raw_table import RawTable
from autobuild.labels.tables import READERS, is_file, is_table, locate, read_table

__all__ = [
    "FORMATS",
    "detect",
    "find",
    "read_accel_nasbench",
    "read_any",
    "read_autobuild_cache",
    "read_nas_bench_201",
    "read_nas_bench_macro",
]

FORMATS: dict[str, Callable[[Path], RawTable]] = {
    "nas_bench_macro": read_nas_bench_macro,
    "accel_nasbench": read_accel_nasbench,
    "nas_bench_201": read_nas_bench_201,
    "autobuild_cache": read_autobuild_cache,
    "table": read_table,
}

_HEAD_BYTES = 4096
_MACRO_HEAD = re.compile(rb'\s*\{\s*"[0-9]{5,}"\s*:\s*\{')
_TAR_MAGIC = slice(257, 262)


def read_any(path_or_name: str | os.PathLike[str], format: str = "auto") -> RawTable:
    """Read a label file, a published file or folder, or an embedded set by its name.

    Args:
        path_or_name: What to read.
        format: One of :data:`FORMATS`, or ``"auto"`` to tell it by the content.

    Raises:
        LabelError: The format is unknown, there is no such file, or it cannot be read; the message names the file.
    """
    if format != "auto" and format not in FORMATS:
        raise LabelError(f"format={format}: unknown format {nearest(format, ['auto', *FORMATS])}")
    if format in ("auto", "table"):
        path, found = find(path_or_name)
        table = FORMATS[found if format == "auto" else format](path)
        return as_cells(table) if format == "auto" and found == "table" and cells_column(table) else table
    path = Path(path_or_name).expanduser()
    if not path.exists():
        raise LabelError(f"{path}: file not found (format={format})")
    return FORMATS[format](path)


def find(path_or_name: str | os.PathLike[str]) -> tuple[Path, str]:
    """The file (or folder) that is meant, and its format.

    Raises:
        LabelError: There is none (the nearest names are offered), or its form is unknown.
    """
    if not isinstance(path_or_name, str | os.PathLike):
        raise LabelError(
            f"labels: given a {type(path_or_name).__name__}; accepted: the path of a file, the name of an embedded "
            "set, or a pandas frame"
        )
    path = Path(path_or_name).expanduser()
    if os.fspath(path_or_name) in embedded_sets():  # whatever else has that name
        return locate(path_or_name), "table"
    try:
        published = path.is_dir() or (is_file(path) and (not is_table(path) or path.suffix.lower() == ".json"))
    except (OSError, ValueError):  # a name too long, a null character: `locate` says so
        published = False
    if published:
        found = detect(path)
        if found != "table":
            return path, found
    return locate(path_or_name), "table"


def detect(path: Path) -> str:
    """Tell the format of an existing file or folder by its content, ``"table"`` where it is of no published form.

    Raises:
        LabelError: It cannot be read, or is a folder without JSON files.
    """
    if path.is_dir():
        if next(path.rglob("*.json"), None) is None:
            raise LabelError(
                f"labels {str(path)!r}: this is a folder, and there is no JSON file in it as Accel-NASBench's has; "
                f"give such a folder, or a file ending in {', '.join(READERS)}"
            )
        return "accel_nasbench"
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    if head.startswith(b"\x1f\x8b") or head[_TAR_MAGIC] == b"ustar":
        _refuse_unnamed(path, head)
        return "accel_nasbench"
    # A binary pickle begins with its protocol; of the older text protocols only the name gives a sign.
    if re.match(rb"\x80[\x02-\x05]", head) or path.suffix.lower() in (".pkl", ".pickle"):
        return "autobuild_cache"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _MACRO_HEAD.match(text):
        return "nas_bench_macro"
    return "table"


def _refuse_unnamed(path: Path, head: bytes) -> None:
    """Refuse a gzip file that holds no archive: without an ending its table cannot be told from any other text."""
    try:
        begin = zlib.decompressobj(31).decompress(head, 512)
    except zlib.error:  # no gzip, or a broken one: the reader of archives says so
        return
    if begin and begin[_TAR_MAGIC] != b"ustar" and b"\0" not in begin:
        raise LabelError(
            f"{path}: packed, and no tar archive as Accel-NASBench's; a packed table says its form: labels.csv.gz"
        )
