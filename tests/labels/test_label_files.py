"""Small label files of many kinds: what is kept, what is said, what is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autobuild.errors import LabelError, TargetError
from autobuild.labels import LabelledSet, _raw_table
from autobuild.spaces import SearchSpace, load_space

N = 24
ARCHS = [str(arch) for arch in load_space("ofa_mbv3").sample(N, seed=11)]
ACC = [round(0.70 + 0.004 * place, 4) for place in range(N)]
LAT = [round(4.0 + 0.17 * place, 2) for place in range(N)]


def lines(*columns: list[object], header: str, sep: str = ",", end: str = "\n") -> str:
    rows = [header, *(sep.join(map(str, cells)) for cells in zip(*columns, strict=True))]
    return end.join(rows) + end


def table(sep: str = ",", **columns: list[object]) -> str:
    return lines(ARCHS, *columns.values(), header=sep.join(["arch", *columns]), sep=sep)


def zipped(**files: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("_csv", ".csv"), text)
    return out.getvalue()


def arrow(form: str, frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    getattr(frame, f"to_{form}")(out)
    return out.getvalue()


PLAIN = table(acc=ACC, lat=LAT)
FRAME = pd.DataFrame({"arch": ARCHS, "acc": ACC, "lat": LAT})
COMMAS = [str(value).replace(".", ",") for value in ACC]
with_texts = [*ACC[:3], "failed", *ACC[4:9], "OOM", "-", *ACC[11:]]
LINES_OF = PLAIN.splitlines(keepends=True)


@dataclass
class Read:
    """A file that is read: what notes say (one text a note), how many rows and which metrics there are."""

    notes: list[str] = field(default_factory=list)
    rows: int = N
    metrics: list[str] = field(default_factory=lambda: ["acc", "lat"])
    acc: list[float] = field(default_factory=lambda: list(ACC))


def missing(*places: int) -> list[float]:
    return [float("nan") if place in places else value for place, value in enumerate(ACC)]


TEXT = "left out: {} (text)"
FILES: dict[str, tuple[str, str | bytes, Read | str]] = {
    "plain": ("a.csv", PLAIN, Read()),
    "capital ending": ("a.CSV", PLAIN, Read()),
    "gz": ("plain.csv.gz", gzip.compress(PLAIN.encode()), Read()),
    "bz2": ("a.csv.bz2", bz2.compress(PLAIN.encode()), Read()),
    "xz": ("a.tsv.xz", lzma.compress(table("\t", acc=ACC, lat=LAT).encode()), Read()),
    "zip": ("a.zip", zipped(a_csv=PLAIN), Read()),
    "csv.zip": ("a.csv.zip", zipped(a_csv=PLAIN), Read()),
    "zip of two": ("a.zip", zipped(a_csv=PLAIN, b_csv=PLAIN), "2 tables in it"),
    "cut gz": ("a.csv.gz", gzip.compress(PLAIN.encode())[:-20], "not a whole .gz file"),
    "no gz": ("a.csv.gz", PLAIN, "not a whole .gz file"),
    "unnamed gz": ("labels.gz", gzip.compress(PLAIN.encode()), "must include its format, as in labels.csv.gz"),
    "parquet": ("a.parquet", arrow("parquet", FRAME), Read()),
    "feather": ("a.feather", arrow("feather", FRAME), Read()),
    "json records": ("a.json", FRAME.to_json(orient="records"), Read()),
    "json columns": ("a.json", FRAME.to_json(orient="columns"), Read()),
    "json lists": ("a.json", json.dumps(FRAME.to_dict("list")), Read()),
    "json split": ("a.json", FRAME.to_json(orient="split"), Read()),
    "json index": ("a.json", FRAME.to_json(orient="index"), Read()),
    "json by architecture": ("a.json", FRAME.set_index("arch").to_json(orient="index"), Read()),
    "json lines": ("a.jsonl", FRAME.to_json(orient="records", lines=True), Read()),
    "json lines as json": ("a.json", FRAME.to_json(orient="records", lines=True), Read()),
    "json packed": ("a.jsonl.gz", gzip.compress(FRAME.to_json(orient="records", lines=True).encode()), Read()),
    "json numbers as text": ("a.json", FRAME.astype({"acc": str}).to_json(orient="records"), Read()),
    "semicolons": ("a.csv", table(";", acc=ACC, lat=LAT), Read(["separated by semicolons"])),
    "decimal commas": (
        "a.csv",
        table(";", acc=COMMAS, lat=[str(x).replace(".", ",") for x in LAT]),
        Read(["separated by semicolons", "decimal commas are read as points"]),
    ),
    "tabs": ("a.csv", table("\t", acc=ACC, lat=LAT), Read(["separated by tabs"])),
    "commas as tsv": ("a.tsv", PLAIN, Read(["separated by commas"])),
    "excel": ("a.csv", "sep=;\n" + table(";", acc=ACC, lat=LAT), Read(["separated by semicolons"])),
    "byte order mark": ("a.csv", b"\xef\xbb\xbf" + PLAIN.encode(), Read()),
    "utf-16": ("a.csv", PLAIN.encode("utf-16"), Read()),
    "crlf": ("a.csv", PLAIN.replace("\n", "\r\n"), Read()),
    "old line ends": ("a.csv", PLAIN.replace("\n", "\r"), Read()),
    "quoted": ("a.csv", table(acc=[f'"{value}"' for value in ACC], lat=LAT), Read()),
    "comments": (
        "a.csv",
        "# by me\n# today\n" + "".join(LINES_OF[:5]) + "# pause\n" + "".join(LINES_OF[5:]),
        Read(["3 lines begin with '#': no rows (lines 1, 2, 8)"]),
    ),
    "header in a comment": ("a.csv", "# " + PLAIN, Read()),
    "index column": ("a.csv", FRAME.to_csv(), Read(["column 1 has no name and is left out"])),
    "separator behind": ("a.csv", PLAIN.replace("\n", ",\n"), Read()),
    "header again": ("a.csv", PLAIN[: PLAIN.index("\n") + 1] + PLAIN, Read(["line 2: the header again, no row"])),
    "units row": (
        "a.csv",
        "".join([LINES_OF[0], ",%,ms\n", *LINES_OF[1:]]),
        Read(["line 2 holds units (%, ms), no architecture"]),
    ),
    "text columns": (
        "a.csv",
        table(acc=ACC, run=[f"r{n}" for n in range(N)], note=["", "x"] * (N // 2), lat=LAT, date=["2024-01-02"] * N),
        Read([TEXT.format("run, note, date")]),
    ),
    "bools and lists": (
        "a.csv",
        table(acc=ACC, lat=LAT, ok=["true", "false"] * (N // 2), layers=['"[1, 2]"'] * N),
        Read([TEXT.format("layers")], metrics=["acc", "lat", "ok"]),
    ),
    "some texts": (
        "a.csv",
        table(acc=with_texts, lat=LAT),
        Read(
            ["acc: 3 cells are no numbers and count as missing: 'failed' (line 5), 'OOM' (line 11), '-' (line 12)"],
            acc=missing(3, 9, 10),
        ),
    ),
    "most failed": (
        "a.csv",
        table(acc=[*ACC[:6], *["failed"] * 18], lat=LAT),
        Read(["acc: 18 cells are no numbers and count as missing: 'failed' (lines 8, 9,"], acc=missing(*range(6, N))),
    ),
    "blank cells behind": ("a.csv", PLAIN + ",,\n,,\n", Read()),
    "separated by blanks": ("a.csv", table(" ", acc=ACC), "cells are separated by commas, tabs or semicolons"),
    "a title": ("a.csv", "My results\n" + PLAIN, "line 1 has one cell ('My results'), others have 3: a header"),
    "missing": ("a.csv", table(acc=["", "NaN", "n/a", *ACC[3:]], lat=LAT), Read(acc=missing(0, 1, 2))),
    "one unit": (
        "a.csv",
        table(acc=ACC, lat=[f"{value}ms" for value in LAT]),
        Read(["lat: the unit 'ms' behind every number is left out"]),
    ),
    "mixed units": (
        "a.csv",
        table(acc=ACC, lat=["12.3ms", "0.0123s"] * (N // 2)),
        Read(["left out: lat (numbers with units such as '12.3ms'"], metrics=["acc"]),
    ),
    "units in part": (
        "a.csv",
        table(acc=ACC, lat=["91.2%", "0.912"] * (N // 2)),
        Read(["left out: lat (numbers with units such as '91.2%'"], metrics=["acc"]),
    ),
    "thousands": (
        "a.csv",
        table(acc=ACC, macs=['"1,234,567"', "950"] * (N // 2)),
        Read(["'1,234,567' may have thousands separators"], metrics=["acc"]),
    ),
    "commas within commas": (
        "a.csv",
        table(acc=[f'"{c}"' for c in COMMAS]),
        "may have thousands separators or a decimal",
    ),
    "index named arch": (
        "a.csv",
        lines(list(range(N)), ARCHS, ACC, LAT, header="arch,cellstr,acc,lat"),
        Read(["architectures are those of the column 'cellstr' (the column 'arch' holds none"]),
    ),
    "another name": (
        "a.csv",
        lines(list(range(N)), ARCHS, ACC, LAT, header="id,config,acc,lat"),
        Read(["architectures are those of the column 'config'"], metrics=["id", "acc", "lat"]),
    ),
    "two that hold them": (
        "a.csv",
        lines(ARCHS, ARCHS, ACC, header="a,b,acc"),
        "several that hold architectures (a, b)",
    ),
    "no architectures": ("a.csv", lines(ACC, LAT, header="acc,lat"), "none of another name holds architectures"),
    "only text": ("a.csv", table(acc=["high", "low"] * (N // 2)), "no column beside 'arch' holds numbers: acc: text"),
    "grown": (
        "a.csv",
        lines([*ARCHS[:12]], ACC[:12], header="arch,acc")
        + lines(ARCHS[12:], ACC[12:], LAT[12:], header="arch,acc,lat"),
        Read(["line 14: another header: arch, acc, lat"]),
    ),
    "grown without a header": (
        "a.csv",
        lines(ARCHS[:12], ACC[:12], header="arch,acc") + "".join(LINES_OF[13:]),
        "3 fields, the header has 2 (a header names every column)",
    ),
    "twice the same name": ("a.csv", table(acc=ACC, lat=LAT).replace("lat", "acc", 1), "duplicated column names: acc"),
    "of another space": (
        "a.csv",
        lines(["00120120"] * 3, [1, 2, 3], header="arch,acc"),
        "architecture of nas_bench_macro",
    ),
    "of no space": (
        "a.csv",
        lines(["A7-B12-C1"], [1], header="arch,acc"),
        "no space that ships has architectures",
    ),
    "only comments": ("a.csv", "# a\n# b\n", "every line is blank or begins with '#'"),
    "another ending": ("a.xls", PLAIN, "unknown ending '.xls'"),
    "no table": ("a.json", '{"name": 1}', "JSON, but no table of labels"),
    "uneven columns": ("a.json", '{"arch": ["a"], "acc": [1, 2]}', "columns of different lengths: arch 1, acc 2"),
}


@pytest.mark.parametrize("kind", FILES)
def test_kinds_of_files(kind: str, mbv3: SearchSpace, tmp_path: Path) -> None:
    name, content, expected = FILES[kind]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if isinstance(expected, str):
        with pytest.raises(LabelError) as raised:
            LabelledSet.read(path, mbv3)
        assert expected in str(raised.value)
        assert name in str(raised.value)
        return
    labels = LabelledSet.read(path, mbv3)
    assert len(labels) == expected.rows
    assert labels.metrics == expected.metrics
    assert list(labels.frame["arch"]) == ARCHS
    np.testing.assert_array_equal(labels.frame["acc"], expected.acc)
    assert len(labels.notes) == len(expected.notes), labels.notes
    for told, part in zip(labels.notes, expected.notes, strict=True):
        assert part in told


def test_what_is_no_metric_is_no_target_and_the_reason_is_repeated(mbv3: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(acc=ACC, lat=["12.3ms", "0.0123s"] * (N // 2)))
    labels = LabelledSet.read(path, mbv3)
    with pytest.raises(TargetError, match=r"the column 'lat' is not a metric: numbers with units such as '12\.3ms'"):
        labels.target("acc - lat")
    assert len(labels.target("acc").values) == N


def test_rows_appended_with_further_metrics_as_json_lines(mbv3: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    old = FRAME[["arch", "acc"]][:12].to_json(orient="records", lines=True)
    path.write_text(old.rstrip() + "\n" + FRAME[12:].to_json(orient="records", lines=True))
    frame = LabelledSet.read(path, mbv3).frame
    np.testing.assert_array_equal(frame["acc"], ACC)
    assert frame["lat"].isna().tolist() == [True] * 12 + [False] * 12


@pytest.mark.parametrize("make", [os.mkfifo])
def test_what_can_be_read_once_only_is_named(make: Callable[[Path], None], mbv3: SearchSpace, tmp_path: Path) -> None:
    make(tmp_path / "pipe.csv")
    with pytest.raises(LabelError, match="this is a pipe, not a file"):
        LabelledSet.read(tmp_path / "pipe.csv", mbv3)


def test_sizes_that_are_no_tables_of_labels_are_refused_by_name(
    mbv3: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = tmp_path / "wide.csv"
    wide.write_text("arch," + ",".join(f"m{n}" for n in range(100_000)) + f"\n{ARCHS[0]}" + ",1" * 100_000 + "\n")
    with pytest.raises(LabelError, match="100,001 columns; at most 10,000 are read"):
        LabelledSet.read(wide, mbv3)
    bomb = tmp_path / "bomb.parquet"
    pd.DataFrame({"arch": [ARCHS[0]] * 3_000, "acc": 0.5}).to_parquet(bomb)
    monkeypatch.setattr("autobuild.labels.label_files.MAX_CELLS", 5_000)
    with pytest.raises(LabelError, match=r"3,000 rows of 2 columns.*at most 5,000 cells"):
        LabelledSet.read(bomb, mbv3)
    packed = tmp_path / "zeros.csv.gz"
    packed.write_bytes(gzip.compress(b"0" * 100_000))
    monkeypatch.setattr("autobuild.labels.label_files.MAX_BYTES", 50_000)
    with pytest.raises(LabelError, match="unpacks to more than 50,000 bytes"):
        LabelledSet.read(packed, mbv3)
    assert _raw_table.MAX_COLUMNS == 10_000


def test_a_published_table_with_an_index_named_arch_is_read_whole(data_dir: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(data_dir / "nas_bench_201_cifar10.csv.gz").rename(columns={"arch": "cellstr"})
    frame.insert(0, "arch", range(len(frame)))
    frame.rename(columns={"cifar10_val": "cifar10-test"}).to_csv(tmp_path / "nb.csv.gz", index=False)
    labels = LabelledSet.read(tmp_path / "nb.csv.gz", load_space("nas_bench_201"))
    assert len(labels) == 15_625
    assert labels.notes[0].startswith("architectures are those of the column 'cellstr'")
    assert labels.target("cifar10-test").values.max() == frame["cifar10_val"].max()


@pytest.mark.parametrize("name", ["trans_nas_bench_micro", "trans_nas_bench_macro"])
def test_published_tables_of_another_space_name_it(name: str, data_dir: Path, mbv3: SearchSpace) -> None:
    with pytest.raises(LabelError, match=name):
        LabelledSet.read(data_dir / f"{name}.csv", mbv3)
    assert len(LabelledSet.read(data_dir / f"{name}.csv", load_space(name))) > 3_000
