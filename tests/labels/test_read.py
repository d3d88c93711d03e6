from __future__ import annotations

import builtins
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autobuild.errors import LabelError
from autobuild.labels import LabelledSet, label_files
from autobuild.spaces import SearchSpace

GOOD = "e3k3-e3k3|e3k3-e3k3|e3k3-e3k3|e3k3-e3k3|e3k3-e3k5"
FORMS = ["csv", "tsv", "parquet", "jsonl", "ndjson"]


def refused(path: Path, space: SearchSpace, n: int | None = None) -> str:
    with pytest.raises(LabelError) as raised:
        LabelledSet.read(path, space, n)
    return str(raised.value)


def written(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.tuples(st.floats(), st.floats(width=32)), min_size=1, max_size=6),
    name=st.sampled_from(["acc", "top 1, %", 'é "q"']),
)
def test_what_is_written_reads_back_bit_for_bit(
    values: list[tuple[float, float]], name: str, form: str, mbv3: SearchSpace, tmp_path: Path
) -> None:
    archs = list(dict.fromkeys(map(str, mbv3.sample(60, seed=len(values)))))[: len(values)]
    frame = pd.DataFrame({"arch": archs, name: [a for a, _ in values], "b": [b for _, b in values]})
    labels = LabelledSet.from_frame(frame, mbv3)
    path = tmp_path / f"set.{form}"
    labels.write(path)
    back = LabelledSet.read(path, mbv3)
    pd.testing.assert_frame_equal(back.frame, labels.frame, check_exact=True)
    assert back.content_hash == labels.content_hash
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nothing is left beside it


def test_all_bad_rows_are_in_one_error_with_line_value_and_reason(mbv3: SearchSpace, tmp_path: Path) -> None:
    lines = ["arch,acc,lat", f"{GOOD},0.7,1", "", f"{GOOD},high,1", "nonsense,0.7,2", f"{GOOD.replace('k5', 'k9')},x,"]
    lines += [f"{GOOD},0.7", ",1,1", f"{GOOD},1_000,3", f"{GOOD},NaN,TRUE"]
    message = refused(written(tmp_path, "\n".join(lines)), mbv3)
    head, *shown = message.splitlines()
    assert "4 of 8 rows cannot be used (lines are counted from 1, the header included)" in head
    assert [line.split(":")[0].strip() for line in shown] == [f"line {n}" for n in (5, 6, 7, 8)]
    assert "arch 'nonsense'" in shown[0]
    assert "k9" in shown[1]
    assert "kernel" in shown[1]
    assert "2 fields, the header has 3" in shown[2]
    assert "no architecture" in shown[3]


def test_the_first_twenty_of_many_bad_rows_are_shown(mbv3: SearchSpace, tmp_path: Path) -> None:
    text = "arch,acc\n" + "".join(f"bad{i},0.5\n" for i in range(2_500))
    message = refused(written(tmp_path, text), mbv3)
    assert "2,500 of 2,500 rows" in message
    assert "line 21: arch 'bad19'" in message
    assert "bad20" not in message
    assert "... and 2,480 more" in message


def test_n_takes_the_first_rows_before_twins_are_averaged_and_checks_no_other(
    mbv3: SearchSpace, tmp_path: Path
) -> None:
    path = written(tmp_path, f"arch,acc\n{GOOD},1\n{GOOD},2\n{GOOD},6\nbroken,x\n")
    assert LabelledSet.read(path, mbv3, n=2).frame["acc"].tolist() == [1.5]
    assert LabelledSet.read(path, mbv3, n=3).frame["acc"].tolist() == [3.0]
    assert "1 of 4 rows" in refused(path, mbv3)
    for n in (0, 5, -1, True, 2.0):
        assert "from 1 to 4" in refused(path, mbv3, n)


HEADERS = {
    "accuracy,lat\n1,2\n": "no column 'arch', and none of another name holds architectures of ofa_mbv3; accepted",
    "Arch,lat\n1,2\n": "did you mean 'Arch'",
    f"arch,acc,acc\n{GOOD},1,2\n": "duplicated column names: acc",
    "arch,acc\n": "but no rows",
    "": "empty",
    "\ufeff \n\n": "empty",
}


@pytest.mark.parametrize("text", HEADERS)
def test_unusable_headers(text: str, mbv3: SearchSpace, tmp_path: Path) -> None:
    assert HEADERS[text] in refused(written(tmp_path, text), mbv3)


def test_a_file_without_a_header_keeps_no_row_secretly(rows: pd.DataFrame, mbv3: SearchSpace, tmp_path: Path) -> None:
    told = refused(written(tmp_path, rows.to_csv(index=False, header=False)), mbv3)
    assert f"{rows['arch'][0][:20]}" in told
    assert "the names of the columns are missing" in told


def test_frames_are_read_as_files_are(rows: pd.DataFrame, mbv3: SearchSpace, tmp_path: Path) -> None:
    whole = LabelledSet.from_frame(rows, mbv3)
    assert LabelledSet.read(rows, mbv3).frame.equals(whole.frame)
    assert LabelledSet.read(rows.set_index("arch"), mbv3).frame.equals(whole.frame)
    assert LabelledSet.read(rows, mbv3, n=2).frame.equals(whole.frame[:2])
    rows.to_json(tmp_path / "table.json", orient="table")
    assert list(LabelledSet.read(tmp_path / "table.json", mbv3).frame) == list(whole.frame)
    with pytest.raises(LabelError, match="given a Series; accepted"):
        LabelledSet.read(rows["arch"], mbv3)
    assert LabelledSet.read(rows.set_index("arch", drop=False), mbv3).frame.equals(whole.frame)
    assert LabelledSet.read(rows.set_index(["arch", "acc"]), mbv3).metrics == whole.metrics
    for n in (0, -1, True, 2.0, "2", len(rows) + 1):
        with pytest.raises(LabelError, match="accepted is a number of rows from 1 to 40"):
            LabelledSet.read(rows, mbv3, n=n)
    with pytest.raises(LabelError, match="2 levels of names"):
        LabelledSet.read(pd.concat({"a": rows}, axis=1), mbv3)
    with pytest.raises(LabelError, match="an empty text"):
        LabelledSet.read("", mbv3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f'[{{"arch": "{GOOD}", "acc": 1, "acc": 2}}, {{}}]', "row 1: a key is written twice"),
        (f'{{"{GOOD}": {{"acc": 1, "acc": 2}}}}', "row 1: a key is written twice"),
        (f'{{"columns": ["arch", "acc", "acc"], "data": [["{GOOD}", 1, 2]]}}', "duplicated column names: acc"),
        (f'{{"arch": {{"0": "{GOOD}"}}, "acc": {{"1": 2}}}}', "column 'acc' has other rows than 'arch'"),
        (f'[{{"arch": "{GOOD}", "\\ud800": 1}}]', "half a character"),
    ],
)
def test_json_that_can_be_read_in_two_ways_is_refused(text: str, told: str, mbv3: SearchSpace, tmp_path: Path) -> None:
    assert told in refused(written(tmp_path, text, "labels.json"), mbv3)


def test_json_columns_are_joined_by_the_names_of_their_rows(mbv3: SearchSpace, tmp_path: Path) -> None:
    arch, acc = {"0": GOOD, "1": GOOD.replace("k5", "k7")}, {"1": 11, "0": 10}
    path = written(tmp_path, json.dumps({"arch": arch, "acc": acc, "about": "x"}), "labels.json")
    labels = LabelledSet.read(path, mbv3)
    assert labels.frame["acc"].tolist() == [10, 11]
    assert labels.notes == ["no column, left out: about"]


def test_points_beside_decimal_commas_may_part_thousands(mbv3: SearchSpace, tmp_path: Path) -> None:
    first, second = GOOD, GOOD.replace("k5", "k7")
    mixed = f"arch;acc;params;flops\n{first};0,75;1.234;999\n{second};0,5;987;1000"
    labels = LabelledSet.read(written(tmp_path, mixed), mbv3)
    assert labels.metrics == ["flops"]
    assert "'1.234' may have thousands separators" in " ".join(labels.notes)
    plain = LabelledSet.read(written(tmp_path, mixed.replace("0,75", "0.75").replace("0,5", "0.5")), mbv3)
    assert plain.frame["params"].tolist() == [1.234, 987]


def test_csv_as_spreadsheets_write_it(mbv3: SearchSpace, tmp_path: Path) -> None:
    path = written(tmp_path, f'\ufeffarch , "acc"\r\n {GOOD} ,"0.5"\r\n\r\n'.replace(' "acc"', "acc"))
    labels = LabelledSet.read(path, mbv3)
    assert labels.metrics == ["acc"]
    assert labels.frame.iloc[0].tolist() == [GOOD, 0.5]


def test_missing_and_boolean_cells(mbv3: SearchSpace, tmp_path: Path) -> None:
    archs = [str(arch) for arch in mbv3.sample(8)]
    cells = ["", "NaN", "n/a", "null", "true", "False", "-inf", "1e3"]
    path = written(tmp_path, "arch,m\n" + "".join(f"{a},{c}\n" for a, c in zip(archs, cells, strict=True)))
    nan = np.nan
    np.testing.assert_array_equal(LabelledSet.read(path, mbv3).frame["m"], [nan, nan, nan, nan, 1, 0, -np.inf, 1000])


def test_broken_text_files(mbv3: SearchSpace, tmp_path: Path) -> None:
    assert "not UTF-8 text (byte 0xe9 in line 2)" in refused(written(tmp_path, b"arch,acc\ncaf\xe9,1\n"), mbv3)
    cut = refused(written(tmp_path, f'arch,acc\n{GOOD},1\n"{GOOD}'), mbv3)
    assert "line 3" in cut
    assert "truncated" in cut
    assert "(truncated?)" in refused(written(tmp_path, f"arch,acc\n{GOOD},1\n{GOOD[:20]}"), mbv3)


def test_json_lines_show_their_line_numbers(mbv3: SearchSpace, tmp_path: Path) -> None:
    good = json.dumps({"arch": GOOD, "acc": 0.5})
    bad = ['{"acc": 1}', good[:-3], "[1]", '{"arch": "a", "arch": "b"}', '{"arch": 12}']
    message = refused(written(tmp_path, "\n".join([good, "", *bad]), "labels.jsonl"), mbv3)
    shown = message.splitlines()[1:]
    assert "5 of 6 rows" in message
    assert [line.split(":")[0].strip() for line in shown] == [f"line {n}" for n in range(3, 8)]
    reasons = ["no architecture", "truncated", "not a JSON object", "written twice", "not text"]
    for line, reason in zip(shown, reasons, strict=True):
        assert reason in line
    assert "no line is a JSON object" in refused(written(tmp_path, "[{}]", "labels.jsonl"), mbv3)
    assert "no line is a JSON object" in refused(written(tmp_path, "\u00a0", "labels.jsonl"), mbv3)
    odd = f'{{"arch": "{GOOD}", "acc": 1{"0" * 400}, "sizes": [1]}}'
    notes = LabelledSet.read(written(tmp_path, f"{good}\n{odd}\n", "odd.jsonl"), mbv3).notes
    assert "acc: 1 cell is no number and counts as missing: '10000000000000000000... (too large)' (line 2)" in notes
    assert "no metric, left out: sizes (holds list)" in notes
    part = written(tmp_path, f'{good}\n{{"lat": null, "arch": "{GOOD}", "ok": true}}\n', "part.jsonl")
    frame = LabelledSet.read(part, mbv3).frame
    assert list(frame.columns) == ["arch", "acc", "lat", "ok"]
    assert frame["ok"].tolist() == [1.0]


def test_parquet_with_an_index_and_when_truncated(rows: pd.DataFrame, mbv3: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    rows[rows["acc"] > 0.7].to_parquet(path)
    assert LabelledSet.read(path, mbv3).metrics == ["acc", "latency_ms", "params"]
    rows.set_index("arch").to_parquet(path)  # the architectures as index are a column of the file all the same
    assert len(LabelledSet.read(path, mbv3)) == 40
    data = path.read_bytes()
    for end in (5, len(data) // 2, len(data) - 1):
        assert "not a readable Parquet file" in refused(written(tmp_path, data[:end], "cut.parquet"), mbv3)
    rows.assign(acc="high").to_parquet(path)
    assert LabelledSet.read(path, mbv3).notes == ["no metric, left out: acc (text)"]
    rows.drop(columns="arch").to_parquet(path)
    assert "no column 'arch'" in refused(path, mbv3)


def test_without_pyarrow_the_extra_is_named(
    rows: pd.DataFrame, mbv3: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    path = tmp_path / "set.parquet"
    rows.to_parquet(path)
    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'autobuild-nas[parquet]'" in refused(path, mbv3)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.one_of(
        st.binary(max_size=80),
        st.text(max_size=80).map(str.encode),
        st.text('arch,\n"\t{}:[]1e\r\x00é', max_size=60).map(str.encode),
    )
)
def test_any_bytes_are_a_set_or_a_label_error(data: bytes, form: str, mbv3: SearchSpace, tmp_path: Path) -> None:
    path = written(tmp_path, data, f"any.{form}")
    with pytest.raises(LabelError, match="any"):
        LabelledSet.read(path, mbv3)


def test_files_that_are_not_there(
    mbv3: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: pd.DataFrame
) -> None:
    written(tmp_path, "x", "tiny_mbconv.csv")
    monkeypatch.setattr(label_files, "EMBEDDED", tmp_path)
    (tmp_path / "runs").mkdir()
    written(tmp_path / "runs", "x", "measured.csv")
    with pytest.raises(LabelError, match=r"file not found; .*did you mean 'tiny_mbconv'"):
        LabelledSet.read("tiny_mbcnv", mbv3)
    assert "did you mean 'measured.csv'" in refused(tmp_path / "runs" / "mesured.csv", mbv3)
    assert "unknown ending '.xls'" in refused(written(tmp_path, "x", "labels.xls"), mbv3)
    assert "this is a folder" in refused(tmp_path / "runs", mbv3)
    assert "cannot be read" in refused(Path("a" * 5000 + ".csv"), mbv3)
    assert "file not found" in refused(tmp_path / "no" / "such.csv", mbv3)
    rows.to_csv(tmp_path / "tiny_mbconv.csv", index=False)
    assert len(LabelledSet.read("tiny_mbconv", mbv3)) == 40  # an embedded set by its name


def test_what_cannot_be_written_leaves_the_old_file(rows: pd.DataFrame, mbv3: SearchSpace, tmp_path: Path) -> None:
    labels = LabelledSet.from_frame(rows, mbv3)
    with pytest.raises(LabelError, match="there is no folder"):
        labels.write(tmp_path / "no" / "set.csv")
    with pytest.raises(LabelError, match=r"unknown ending '\.txt'"):
        labels.write(tmp_path / "set.txt")
    (tmp_path / "set.csv").mkdir()
    with pytest.raises(LabelError, match="cannot be written"):
        labels.write(tmp_path / "set.csv")
    path = written(tmp_path, "old", "set.jsonl")

    def fail(frame: pd.DataFrame, beside: Path) -> None:
        beside.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(label_files.WRITERS, ".jsonl", fail)
        with pytest.raises(LabelError, match="No space left"):
            labels.write(path)
    assert path.read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["set.csv", "set.jsonl"]


def test_integer_architectures_from_a_frame_say_what_was_lost(with_identity: SearchSpace) -> None:
    with pytest.raises(LabelError, match="row 1: arch 12: not text: a number has lost its leading zeros"):
        LabelledSet.from_frame(pd.DataFrame({"arch": [12], "acc": [1.0]}), with_identity)
    with pytest.raises(LabelError, match="the frame has no rows"):
        LabelledSet.from_frame(pd.DataFrame({"arch": [], "acc": []}), with_identity)


@pytest.mark.parametrize("name", ["ofa_mbv3", "ofa_proxyless"])
def test_published_labels_are_read_whole_and_fast(name: str, data_dir: Path) -> None:
    from autobuild.spaces import load_space

    path = data_dir / f"{name}_labels.csv"
    space = load_space(name)
    LabelledSet.read(path, space, n=10)
    start = time.process_time()
    labels = LabelledSet.read(path, space)
    assert time.process_time() - start < 1
    assert len(labels) == 3_000
    assert labels.metrics == ["acc", "latency_gpu", "latency_cpu", "latency_npu"]
    pd.testing.assert_frame_equal(labels.frame, pd.read_csv(path), check_dtype=False)
    assert labels.target("acc - 0.01*latency_gpu").dropped == 0
    other = load_space("ofa_proxyless" if name == "ofa_mbv3" else "ofa_mbv3")
    assert "3,000 of 3,000 rows" in refused(path, other)


def test_only_tables_named_as_a_space_are_embedded_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tiny_mbconv", "tiny_mbconv_trainings", "no_space"):
        (tmp_path / f"{name}.csv").write_text("arch,acc\n")
    monkeypatch.setattr(label_files, "EMBEDDED", tmp_path)
    assert label_files.embedded_sets() == {"tiny_mbconv": tmp_path / "tiny_mbconv.csv"}
