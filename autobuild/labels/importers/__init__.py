"""Read published data sets in their original formats, which are detected from the content, into raw tables.

======================  ============================================================================================
format                  content
======================  ============================================================================================
``nas_bench_macro``     NAS-Bench-Macro's JSON: keys of eight digits (Su et al., CVPR 2021)
``accel_nasbench``      Accel-NASBench's folder, ``.tar.gz`` or ``.tar``: one JSON each (Ahmad et al., DAC 2024)
``nas_bench_201``       a table with cell strings in some column: ``cellstr``, ``arch``...
``autobuild_cache``     a cache pickle of the AutoBuild paper (Mills et al., CVPR 2024), read by a restricted unpickler
``naslib``              NASLib's JSON of zero-cost scores, of NAS-Bench-201 and TransNAS-Bench-101
``help``                HELP's folder ``data/nasbench201``: a tensor of latencies for each device
``nas_bench_graph``     NAS-Bench-Graph's pickle of one data set, read by a restricted unpickler
``quant_cache``         a cache pickle of Qua2SeDiMo (Mills et al., AAAI 2025), read by a restricted unpickler
``table``               any other table with a column of architectures
======================  ============================================================================================

Nothing is extracted to disk, and no class or function that is named in a file is called.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

from autobuild.errors import LabelError, nearest
from autobuild.labels._raw_table import RawTable
from autobuild.labels.importers._accel_nasbench import read_accel_nasbench
from autobuild.labels.importers._autobuild_cache import read_autobuild_cache
from autobuild.labels.importers._help_latency import is_help, read_help
from autobuild.labels.importers._nas_bench_201 import as_cells, cells_column, read_nas_bench_201
from autobuild.labels.importers._nas_bench_graph import read_nas_bench_graph
from autobuild.labels.importers._nas_bench_macro import read_nas_bench_macro
from autobuild.labels.importers._naslib import HEAD as _NASLIB_HEAD
from autobuild.labels.importers._naslib import read_naslib
from autobuild.labels.importers._quant_cache import read_quant_cache
from autobuild.labels.label_files import READERS, embedded_sets, is_file, is_table, locate, read_table

__all__ = [
    "FORMATS",
    "detect",
    "find",
    "read_accel_nasbench",
    "read_any",
    "read_autobuild_cache",
    "read_help",
    "read_nas_bench_201",
    "read_nas_bench_graph",
    "read_nas_bench_macro",
    "read_naslib",
    "read_quant_cache",
]

FORMATS: dict[str, Callable[[Path], RawTable]] = {
    "nas_bench_macro": read_nas_bench_macro,
    "accel_nasbench": read_accel_nasbench,
    "nas_bench_201": read_nas_bench_201,
    "autobuild_cache": read_autobuild_cache,
    "naslib": read_naslib,
    "help": read_help,
    "nas_bench_graph": read_nas_bench_graph,
    "quant_cache": read_quant_cache,
    "table": read_table,
}

_HEAD_BYTES = 4096
_MACRO_HEAD = re.compile(rb'\s*\{\s*"[0-9]{5,}"\s*:\s*\{')
_TAR_MAGIC = slice(257, 262)


def read_any(path_or_name: str | os.PathLike[str], format: str = "auto") -> RawTable:
    """Read a label file, the file or folder of a published data set, or a bundled set.

    Args:
        path_or_name: Path of the file or folder, or name of the bundled set.
        format: One of :data:`FORMATS`, or ``"auto"`` to detect it from the content.

    Returns:
        The unchecked table.

    Raises:
        LabelError: The format is unknown, or the file does not exist or cannot be read; the message names the file.
    """
    if format not in ("auto", *FORMATS):
        raise LabelError(f"format={format}: unknown format: {nearest(format, ['auto', *FORMATS])}")
    if format in ("auto", "table"):
        path, detected = find(path_or_name)
        table = FORMATS[detected if format == "auto" else format](path)
        return as_cells(table) if format == "auto" and detected == "table" and cells_column(table) else table
    path = Path(path_or_name).expanduser()
    if not path.exists():
        raise LabelError(f"{path}: file not found (format={format})")
    return FORMATS[format](path)


def find(path_or_name: str | os.PathLike[str]) -> tuple[Path, str]:
    """Find the file or folder of labels, and its format.

    Raises:
        LabelError: There is no such file (the message offers the nearest names), or its format is unknown.
    """
    is_text = isinstance(path_or_name, str)
    if not (path_or_name if is_text else isinstance(path_or_name, os.PathLike)):
        given = "an empty text" if is_text else f"a {type(path_or_name).__name__}"
        raise LabelError(
            f"labels: given {given}; accepted: the path of a file, the name of an embedded set, or a pandas frame"
        )
    path = Path(path_or_name).expanduser()
    if os.fspath(path_or_name) in embedded_sets():  # bundled sets take precedence over files of the same name
        return locate(path_or_name), "table"
    try:
        published = path.is_dir() or (is_file(path) and (not is_table(path) or path.suffix.lower() == ".json"))
    except (OSError, ValueError):  # a name too long, or a null character: `locate` raises the error
        published = False
    if published:
        detected = detect(path)
        if detected != "table":
            return path, detected
    return locate(path_or_name), "table"


def detect(path: Path) -> str:
    """Detect the format of an existing file or folder from its content; ``"table"`` if it is no published format.

    Raises:
        LabelError: It cannot be read, or it is a folder without JSON files.
    """
    if path.is_dir():
        if is_help(path):
            return "help"
        if next(path.rglob("*.json"), None) is None:
            raise LabelError(
                f"labels {str(path)!r}: this is a folder, and there is no JSON file in it; "
                f"give a folder of Accel-NASBench, or a file ending in {', '.join(READERS)}"
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
    if path.suffix.lower() == ".bench":
        return "nas_bench_graph"
    # A binary pickle begins with its protocol number; the older text protocols can be recognised only by the file name.
    if re.match(rb"\x80[\x02-\x05]", head) or path.suffix.lower() in (".pkl", ".pickle"):
        return "autobuild_cache"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _MACRO_HEAD.match(text):
        return "nas_bench_macro"
    if _NASLIB_HEAD.match(text):
        return "naslib"
    return "table"


def _refuse_unnamed(path: Path, head: bytes) -> None:
    """Refuse a gzip file that is not an archive, because the format of a table is known only from the file name."""
    try:
        begin = zlib.decompressobj(31).decompress(head, 512)
    except zlib.error:  # not gzip, or damaged: the reader of archives raises the error
        return
    if begin and begin[_TAR_MAGIC] != b"ustar" and b"\0" not in begin:
        raise LabelError(
            f"{path}: compressed, but not a tar archive like Accel-NASBench; the name of a compressed "
            "table must include its format, as in labels.csv.gz"
        )
