"""Accel-NASBench as published: one JSON file per architecture, in a folder or tar archive (Ahmad et al., DAC 2024).

Members are read in memory and not extracted, so that their paths cannot do harm.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autobuild.errors import LabelError
from autobuild.labels._raw_table import RawTable, most_unpacked

MEMBERS = "members are the JSON files, sorted by name"
BLOCKS = 7
MAX_ARCHIVE_BYTES = 1 << 28  # largest size of an unpacked archive; the published one has about 8 MB
MAX_MEMBER_BYTES = 1 << 20
MOST_OTHERS = 100  # JSON files without an architecture before one with it
_MILLION = ("macs", "params")  # the files have millions, the table has counts
_BLOCK_PARTS = ("e", "k", "l", "se")
_TRUNCATED = "is it truncated? Download it again"


def read_accel_nasbench(path: Path) -> RawTable:
    """Read the folder, ``.tar.gz`` or ``.tar``; rows are sorted by the names of the members.

    ``arch`` has seven blocks such as ``e4k5l2s0`` (expand, kernel, layers, squeeze-excite), joined by ``|``. Metrics:
    ``val_top1``, ``val_top5`` (%), ``train_time`` (s), ``macs`` and ``params`` (counts), and for every device the means
    ``throughput_*`` (images/s) and ``latency_*`` (ms), with standard deviations ``*_std`` if given. A metric that a
    member does not have is missing in its row.

    Raises:
        LabelError: The archive is truncated, too large or not a tar archive, or it has no JSON file. Unusable members
            are reported later, with all other bad rows.
    """
    members = _folder_members(path) if path.is_dir() else _archive_members(path)
    names: list[str] = []
    rows: list[dict[str, Any]] = []
    bad: dict[int, str] = {}
    for name, content in sorted(_bounded(path, members), key=lambda member: member[0]):
        row: dict[str, Any] = {}
        try:
            row = _row(content)
        except (ValueError, RecursionError) as error:
            bad[len(rows)] = str(error)
        names.append(name)
        rows.append(row)
    if not rows:
        raise LabelError(f"{path}: no JSON file in it; Accel-NASBench has one for each architecture")
    metrics = {name: None for row in rows for name in row if name != "arch"}
    columns = {"arch": [row.get("arch") for row in rows]}
    for name in metrics:
        values = [row.get(name) for row in rows]
        if not name.endswith("_std") or any(value is not None for value in values):
            columns[name] = values
    return RawTable(str(path), dict(columns), names, MEMBERS, bad=bad, space="mnasnet")


def _bounded(path: Path, members: Iterable[tuple[str, bytes | str]]) -> Iterator[tuple[str, bytes | str]]:
    """The members. Raises LabelError if they are too large, or the first ones are none, as in a home folder."""
    size = count = none = 0
    for name, content in members:
        size, count = size + len(content), count + 1
        none += isinstance(content, str) or b'"architecture"' not in content
        if size > MAX_ARCHIVE_BYTES or none == count == MOST_OTHERS:
            raise LabelError(f"{path}: its first {count:,} JSON files are {size:,} bytes; this is not Accel-NASBench")
        yield name, content


def _folder_members(path: Path) -> Iterator[tuple[str, bytes | str]]:
    for file in path.rglob("*.json"):
        name = file.relative_to(path).as_posix()
        if file.name.startswith("._"):  # metadata files of macOS
            continue
        try:
            if file.is_symlink() or not file.is_file():
                yield name, "a link or folder, not a file"
            elif file.stat().st_size > MAX_MEMBER_BYTES:
                yield name, f"larger than {MAX_MEMBER_BYTES:,} bytes"
            else:
                yield name, file.read_bytes()
        except OSError as error:
            yield name, f"cannot be read ({error.strerror or error})"


def _archive_members(path: Path) -> list[tuple[str, bytes | str]]:
    data = _unpacked(path)
    members: list[tuple[str, bytes | str]] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                base = member.name.rpartition("/")[2]
                if not base.endswith(".json") or base.startswith("._"):
                    continue
                if not member.isfile():
                    members.append((member.name, "a link or folder, not a file"))
                elif member.size > MAX_MEMBER_BYTES:
                    members.append((member.name, f"larger than {MAX_MEMBER_BYTES:,} bytes"))
                else:
                    file = archive.extractfile(member)
                    content = file.read() if file is not None else b""
                    if len(content) != member.size:
                        raise EOFError
                    members.append((member.name, content))
            end = archive.offset
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise LabelError(f"{path}: not a whole tar archive ({error or 'it ends too early'}); {_TRUNCATED}") from error
    # Python accepts the end of the file as the end of the archive, but a complete archive ends with an empty block.
    if len(data[end : end + 512].strip(b"\0")) or len(data) < end + 512:
        raise LabelError(f"{path}: not a whole tar archive (its end is missing); {_TRUNCATED}")
    return members


def _unpacked(path: Path) -> bytes:
    try:
        most = most_unpacked(path.stat().st_size, MAX_ARCHIVE_BYTES)
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    data = unpacked.read(most + 1)
            else:
                data = file.read(most + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LabelError(f"{path}: the compressed data cannot be read to its end ({error}); {_TRUNCATED}") from error
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(data) > most:
        raise LabelError(f"{path}: unpacks to more than {most:,} bytes; this is not Accel-NASBench")
    return data


def _row(content: bytes | str) -> dict[str, Any]:
    """Convert the content of a member to a row; a text is the reason why there is none. Raises ValueError."""
    if isinstance(content, str):
        raise ValueError(content)
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not readable as JSON ({error}); truncated?") from None
    if not isinstance(data, dict) or not isinstance(data.get("architecture"), dict):
        raise ValueError("a JSON object with a key 'architecture' is expected")
    row: dict[str, Any] = {"arch": "|".join(_block(data["architecture"], number) for number in range(BLOCKS))}
    for name, value in _part(data, "metrics").items():
        row[name] = value
    for name, value in _part(data, "model_info").items():
        row[name] = round(value * 1e6) if name in _MILLION and _is_number(value) else value
    for name, value in _part(data, "platform_perf").items():
        row |= _measured(name, value)
    return row


def _block(architecture: Mapping[str, Any], number: int) -> str:
    values = {}
    for part in _BLOCK_PARTS:
        key = f"block{number}_{part}"
        value = architecture.get(key)
        if not isinstance(value, bool if part == "se" else int) or (part != "se" and isinstance(value, bool)):
            raise ValueError(f"architecture: {key} is {value!r}, {'true or false' if part == 'se' else 'an integer'}"
                             " is expected")  # fmt: skip
        values[part] = int(value)
    return "e{e}k{k}l{l}s{se}".format(**values)


def _part(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    given = data.get(key)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError(f"{key} is {str(given)[:40]!r}, an object is expected")
    return {str(name): value for name, value in given.items() if name != "arch"}


def _measured(name: str, value: Any) -> dict[str, Any]:
    """Columns of a measurement: ``{"latency_mean": 4.9, "latency_std": 0.1}`` gives ``name`` and ``name_std``."""
    if not isinstance(value, dict):
        return {name: value}
    columns = {}
    for part, number in value.items():
        last = str(part).rpartition("_")[2]
        columns[name if last == "mean" else f"{name}_{last}"] = number
    return columns


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
