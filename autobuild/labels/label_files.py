"""Find, unpack, read and write label files; the suffix of the name determines the format."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import math
import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pandas as pd

from autobuild.errors import LabelError, nearest
from autobuild.labels._delimited import read_delimited
from autobuild.labels._json_tables import read_json, read_json_lines
from autobuild.labels._raw_table import MAX_BYTES, MAX_CELLS, MAX_RATIO, RawTable, frame_table, most_unpacked
from autobuild.spaces import space_names

FREE_CELLS = 1_000_000  # cells of a Parquet file, whatever its size
EMBEDDED = Path(__file__).resolve().parent / "embedded"
_QUANTISED = ("digits_dit", "digits_unet")  # models whose quantisation spaces are quant:NAME
_UNPACKING = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError)
Opener = Callable[[io.BytesIO], Any]
_PACKED: dict[str, Opener] = {
    ".gz": lambda data: gzip.open(data),  # noqa: SIM115 (the caller closes it)
    ".bz2": lambda data: bz2.open(data),  # noqa: SIM115
    ".xz": lambda data: lzma.open(data),  # noqa: SIM115
}


def embedded_sets() -> dict[str, Path]:
    """Name of a space -> file of its labels. Other tables in the folder hold single trainings and are not included."""
    files = {name: EMBEDDED / f"{name}.csv" for name in (*space_names(), *_QUANTISED)}
    return {name: file for name, file in files.items() if file.is_file()}


def locate(path_or_name: str | os.PathLike[str]) -> Path:
    """Find a label file by its path or by the name of a bundled set.

    Raises:
        LabelError: There is no such file, it is a folder or a pipe, or its suffix is unknown.
    """
    text = os.fspath(path_or_name)
    embedded = embedded_sets()
    if text in embedded:
        return embedded[text]
    path = Path(os.path.expanduser(text))
    try:
        if path.is_dir():
            raise LabelError(f"labels {text!r}: this is a folder; give a file ending in {', '.join(READERS)}")
        exists = is_file(path)
        siblings = [] if exists else [f.name for f in sorted(path.parent.glob("*.*")) if is_table(f)]
    except LabelError:
        raise
    except (OSError, ValueError) as error:  # a name too long, a null character, a folder that cannot be listed
        raise LabelError(f"labels {text[:200]!r}: cannot be read ({error})") from error
    if not exists:
        near = nearest(path.name, [*embedded, *siblings])
        raise LabelError(f"labels {text!r}: file not found; embedded sets and files beside it: {near}")
    _ending(path)
    return path


def is_file(path: Path) -> bool:
    """Whether the path is a regular file.

    Raises:
        LabelError: It is a pipe, a socket or a device, which cannot be read twice.
        OSError, ValueError: The path cannot be looked up.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    for kind, what in ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device")):
        if kind(mode):
            raise LabelError(f"labels {str(path)!r}: this is {what}, not a file; write its output into a file")
    return stat.S_ISREG(mode)


def is_table(path: Path) -> bool:
    """Whether the suffix is that of a table, compressed (``.csv.gz``) or not."""
    ending = path.suffix.lower()
    return ending == ".zip" or (Path(path.stem).suffix.lower() if ending in _PACKED else ending) in READERS


def read_table(path: Path) -> RawTable:
    """Read a label file into raw cells.

    Raises:
        LabelError: The file is empty, too large, unreadable, truncated or not UTF-8, it has duplicated columns, or a
            package for its format is missing.
    """
    ending = _ending(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LabelError(f"{path}: larger than {MAX_BYTES:,} bytes; that much is not read")
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    ending, data = _unpacked(path, ending, data)
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise LabelError(f"{path}: the file is empty; a column 'arch' and metric columns are expected")
    table = READERS[ending](path, data)
    if not len(table.numbers):
        raise LabelError(f"{path}: the file has columns ({', '.join(table.columns)}) but no rows")
    return table


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a frame as CSV, TSV, Parquet or JSON Lines, depending on the suffix of the name.

    The file is written under a temporary name and renamed. Floats read back as the same float64.

    Raises:
        LabelError: The suffix is unknown, or the file cannot be written.
    """
    path = Path(os.path.expanduser(path))
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise _unknown_ending(path, path.suffix.lower(), WRITERS)
    if not path.parent.is_dir():
        raise LabelError(f"{path}: cannot be written (there is no folder {str(path.parent)!r})")
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        writer(frame, beside)
        os.replace(beside, path)
    except ImportError as error:
        raise _arrow_missing(path) from error
    except OSError as error:
        raise LabelError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        beside.unlink(missing_ok=True)
    return path


def _ending(path: Path) -> str:
    """The last suffix of a file name (``.gz`` for ``labels.csv.gz``). Raises LabelError if it is unknown."""
    ending = path.suffix.lower()
    inner = Path(path.stem).suffix.lower() if ending in _PACKED else ending
    if ending != ".zip" and inner not in READERS:
        raise _unknown_ending(path, ending, (*READERS, ".zip"))
    return ending


def _unknown_ending(path: Path, ending: str, known: Any) -> LabelError:
    packed = f", all but .zip also packed, as in .csv{ending}" if ending in _PACKED else ""
    return LabelError(f"labels {str(path)!r}: unknown ending {ending!r}: {nearest(ending, known)}{packed}")


def _unpacked(path: Path, ending: str, data: bytes) -> tuple[str, bytes]:
    """Suffix and content of a file after decompression."""
    if ending not in _PACKED and ending != ".zip":
        return ending, data
    try:
        if ending == ".zip":
            return _only_member(path, data)
        with _PACKED[ending](io.BytesIO(data)) as file:
            return Path(path.stem).suffix.lower(), _bounded(path, file, len(data))
    except _UNPACKING as error:
        raise LabelError(f"{path}: not a whole {ending} file ({error}); is it truncated?") from error


def _only_member(path: Path, data: bytes) -> tuple[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
        tables = [name for name in names if Path(name).suffix.lower() in READERS]
        if len(tables) != 1:
            raise LabelError(
                f"{path}: {len(tables)} tables in it ({', '.join(names[:8]) or 'nothing'}); one is expected, ending in "
                f"{', '.join(READERS)}"
            )
        with archive.open(tables[0]) as file:
            return Path(tables[0]).suffix.lower(), _bounded(path, file, len(data))


def _bounded(path: Path, file: IO[bytes], packed_bytes: int) -> bytes:
    most = most_unpacked(packed_bytes, MAX_BYTES)
    data = file.read(most + 1)
    if len(data) > most:
        raise LabelError(f"{path}: unpacks to more than {most:,} bytes; that much is not read")
    return data


def _read_arrow(path: Path, data: bytes) -> RawTable:
    """Read Parquet, or Feather (an Arrow file)."""
    feather = data[:6] in (b"ARROW1", b"FEA1\0\0") or data[:4] == b"FEA1"
    form = "Feather" if feather else "Parquet"
    try:
        import pyarrow
        from pyarrow import feather as arrow_files
        from pyarrow import parquet
    except ImportError as error:
        raise _arrow_missing(path) from error
    try:
        if feather:
            table = arrow_files.read_table(pyarrow.BufferReader(data))
        else:
            file = parquet.ParquetFile(pyarrow.BufferReader(data))
            _refuse_bomb(path, file.metadata, len(data))
            table = file.read()
        frame = table.to_pandas(ignore_metadata=True)
    except LabelError:
        raise
    except Exception as error:  # a damaged file may raise any exception
        raise LabelError(f"{path}: not a readable {form} file ({_short(str(error))}); is it truncated?") from error
    return frame_table(frame[[name for name in frame.columns if not name.startswith("__index_level_")]], str(path))


def _refuse_bomb(path: Path, metadata: Any, packed_bytes: int) -> None:
    """Refuse a small file whose decompressed content would be too large: equal cells take next to no place in it."""
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    cells = min(MAX_CELLS, max(FREE_CELLS, MAX_RATIO * packed_bytes))
    bytes_ = most_unpacked(packed_bytes, MAX_BYTES)
    if metadata.num_rows * metadata.num_columns > cells or size > bytes_:
        raise LabelError(
            f"{path}: {metadata.num_rows:,} rows of {metadata.num_columns:,} columns, {size:,} bytes unpacked; of "
            f"{packed_bytes:,} bytes at most {cells:,} cells and {bytes_:,} bytes are read"
        )


def _read_excel(path: Path, data: bytes) -> RawTable:
    """Read the first sheet of a workbook."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > (most := max(2 << 20, MAX_RATIO // 5 * len(data))):
            raise LabelError(f"{path}: unpacks to {size:,} bytes; of {len(data):,} at most {most:,} are read")
        sheets = pd.read_excel(io.BytesIO(data), sheet_name=None, engine="openpyxl")
    except ImportError as error:
        raise LabelError(f"{path}: .xlsx needs openpyxl: pip install openpyxl; or save the sheet as .csv") from error
    except LabelError:
        raise
    except Exception as error:  # a damaged workbook may raise any exception
        raise LabelError(f"{path}: not a readable .xlsx file ({_short(str(error))})") from error
    (name, frame), *others = sheets.items()
    table = frame_table(frame, str(path))
    if others:
        table.notes.append(f"the sheet {name!r} is read, {len(others)} more are not")
    return table


def _write_json_lines(frame: pd.DataFrame, path: Path) -> None:
    names = [str(name) for name in frame.columns]
    with path.open("w", encoding="utf-8") as file:
        for row in zip(*(frame[name].tolist() for name in frame.columns), strict=True):
            cells = (None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row)
            file.write(json.dumps(dict(zip(names, cells, strict=True)), ensure_ascii=False) + "\n")


def _arrow_missing(path: Path) -> LabelError:
    return LabelError(
        f"{path}: Parquet and Feather need pyarrow: pip install 'autobuild-nas[parquet]' (or use .csv or .jsonl)"
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


READERS: dict[str, Callable[[Path, bytes], RawTable]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".parquet": _read_arrow,
    ".feather": _read_arrow,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".xlsx": _read_excel,
}
WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False, lineterminator="\n"),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t", lineterminator="\n"),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False, engine="pyarrow"),
    ".jsonl": _write_json_lines,
    ".ndjson": _write_json_lines,
}
