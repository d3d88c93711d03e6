from __future__ import annotations

import csv
import errno
import math
import multiprocessing
import os
from pathlib import Path

import pytest
from quick_evaluators import Quick, QuickNetwork, Troubled, truth

import autobuild as ab
from autobuild.errors import ConfigError, EvaluationError, LabelError, RunError, SpaceError
from autobuild.evaluate import evaluate_many, label_architectures
from autobuild.evaluate._label_file import LabelFile, locked


@pytest.fixture(scope="module")
def tiny():
    return ab.space("tiny_mbconv")


def read(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def calls(folder):
    return sorted(line for file in folder.iterdir() for line in file.read_text().splitlines())


def test_rows_columns_progress_and_a_second_run(tiny, tmp_path):
    trace = tmp_path / "trace"
    trace.mkdir()
    archs = tiny.sample(4, seed=1)
    reports = []
    out = label_architectures(
        tiny, QuickNetwork(str(trace)), archs, tmp_path / "new" / "l.csv", seeds=(3, 4), on_progress=reports.append
    )
    rows = read(out)
    assert list(rows[0]) == ["arch", "seed", "acc", "latency_ms", "params"]
    assert {(r["arch"], int(r["seed"])) for r in rows} == {(str(a), s) for a in archs for s in (3, 4)}
    assert len(rows) == 8
    for row in rows:
        assert float(row["acc"]) == truth(row["arch"], int(row["seed"]))  # to the last bit
        assert row["params"] == "7"
        assert float(row["latency_ms"]) > 0
    assert len({(r["arch"], r["latency_ms"]) for r in rows}) == 4  # one latency an architecture
    train = [p for p in reports if p.phase == "train"]
    assert [p.done for p in train] == list(range(9))
    assert math.isnan(train[0].eta_seconds)
    assert train[-1].eta_seconds == 0
    assert [p.done for p in reports if p.phase == "latency"] == list(range(5))
    assert {p.total for p in reports if p.phase == "latency"} == {4}

    before = out.read_bytes()
    label_architectures(tiny, QuickNetwork(str(trace)), archs, out, seeds=(3, 4), on_progress=reports.append)
    assert out.read_bytes() == before
    assert len(calls(trace)) == 8  # nothing was evaluated again


def test_a_torn_last_line_is_dropped_and_evaluated_again(tiny, tmp_path):
    archs, out = tiny.sample(3, seed=2), tmp_path / "l.csv"
    evaluator = Quick(str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    label_architectures(tiny, evaluator, archs, out, n_jobs=1, latency=False)
    whole = out.read_bytes()
    for cut in (1, 5, len(whole.splitlines()[-1])):
        out.write_bytes(whole[:-cut])
        label_architectures(tiny, evaluator, archs, out, n_jobs=1, latency=False)
        assert out.read_bytes() == whole
    assert len(calls(tmp_path / "t")) == 6
    out.write_bytes(whole[:4])  # torn within the header: nothing was finished
    label_architectures(tiny, evaluator, archs, out, n_jobs=1, latency=False)
    assert out.read_bytes() == whole


def test_rows_of_other_architectures_stay(tiny, tmp_path):
    (tmp_path / "t").mkdir()
    first, more = tiny.sample(2, seed=3), tiny.sample(2, seed=4)
    out = label_architectures(tiny, Quick(str(tmp_path / "t")), first, tmp_path / "l.csv", n_jobs=1, latency=False)
    before = out.read_bytes()
    label_architectures(tiny, Quick(str(tmp_path / "t")), more, out, n_jobs=1, latency=False)
    assert out.read_bytes().startswith(before)
    assert len(read(out)) == 4


def test_failures_are_reported_and_the_others_go_on(tiny, tmp_path):
    texts = [str(a) for a in tiny.sample(6, seed=6)]
    evaluator = Troubled(errors=(texts[0],), deaths=(texts[2],), nans=(texts[4],))
    reports = []
    with pytest.raises(EvaluationError) as caught:
        label_architectures(tiny, evaluator, texts, tmp_path / "l.csv", latency=False, on_progress=reports.append)
    message = str(caught.value)
    assert message.startswith("3 evaluations failed")
    assert f"{texts[0]}, seed 0: ValueError: its weights went astray" in message
    assert f"{texts[2]}, seed 0: its process ended with exit code 3" in message
    assert f"{texts[4]}, seed 0: not a finite number: acc" in message
    assert {r["arch"] for r in read(tmp_path / "l.csv")} == {texts[1], texts[3], texts[5]}
    assert (reports[-1].done, reports[-1].failed, reports[-1].total) == (3, 3, 6)


def test_two_labellers_cannot_write_one_file(tiny, tmp_path):
    out = tmp_path / "l.csv"
    with locked(out), pytest.raises(RunError, match="being written by another process"):
        label_architectures(tiny, Quick(str(tmp_path)), tiny.sample(1), out, latency=False)
    with locked(out):
        pass  # free again


def test_labels_of_two_recipes_never_mix(tiny, tmp_path):
    (tmp_path / "t").mkdir()
    out, archs = tmp_path / "l.csv", tiny.sample(1)
    label_architectures(tiny, Quick(str(tmp_path / "t")), archs, out, n_jobs=1, latency=False)
    before = out.read_bytes()
    with pytest.raises(LabelError, match="another recipe") as caught:
        label_architectures(tiny, Quick(str(tmp_path / "t"), shift=1.0), tiny.sample(2), out, latency=False)
    assert '"shift": 1.0' in str(caught.value)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("model,acc\nx,1\n", "is no label file"),
        ("arch,seed,acc\na,0\n", "row 2 does not read"),
        ("arch,seed,acc\na,zero,1\n", "row 2 does not read"),
        ("arch,seed,acc\na,0,1\na,0,2\n", "row 3: 'a' with seed 0 is there twice"),
    ],
)
def test_a_file_of_something_else_is_refused_and_kept(tiny, tmp_path, content, message):
    out = tmp_path / "l.csv"
    out.write_text(content)
    with pytest.raises(LabelError, match=message):
        label_architectures(tiny, Quick(str(tmp_path)), tiny.sample(1), out, latency=False)
    assert out.read_text() == content


def test_a_folder_that_cannot_be_made(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        label_architectures(tiny, Quick(str(tmp_path)), tiny.sample(1), tmp_path / "file" / "l.csv", latency=False)


def test_a_full_disk_stops_the_run_and_loses_no_row(tiny, tmp_path, monkeypatch):
    (tmp_path / "t").mkdir()
    archs, out, real, written = tiny.sample(5, seed=11), tmp_path / "l.csv", os.fsync, []

    def full(handle):
        written.append(handle)
        if len(written) == 4:  # the recipe, two rows, and then half a row
            os.ftruncate(handle, os.fstat(handle).st_size - 5)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    evaluator = Quick(str(tmp_path / "t"))
    with pytest.raises(RunError, match=r"l\.csv cannot be written: No space left on device; what it holds stays"):
        label_architectures(tiny, evaluator, archs, out, n_jobs=1, latency=False)
    monkeypatch.setattr(os, "fsync", real)
    assert not multiprocessing.active_children()
    kept = out.read_bytes().splitlines(keepends=True)[:3]
    label_architectures(tiny, evaluator, archs, out, n_jobs=1, latency=False)
    assert out.read_bytes().startswith(b"".join(kept))
    assert len(read(out)) == 5
    assert 6 <= len(calls(tmp_path / "t")) <= 7  # the row that was lost, and perhaps the one behind it
    with pytest.raises(RunError, match="/dev/full cannot be written: No space left on device"):
        LabelFile(Path("/dev/full"), [], {}).append("a", 0, {"acc": 1.0})


def test_bad_requests_are_refused_before_any_work(tiny, tmp_path):
    with pytest.raises(SpaceError):
        label_architectures(tiny, Quick(str(tmp_path)), ["e9k9s9"], tmp_path / "l.csv", latency=False)
    with pytest.raises(EvaluationError, match="has no networks"):
        label_architectures(tiny, Quick(str(tmp_path)), tiny.sample(1), tmp_path / "l.csv")
    with pytest.raises(ConfigError, match="n_jobs=0"):
        evaluate_many(tiny, Quick(str(tmp_path)), tiny.sample(1), n_jobs=0)
    assert not (tmp_path / "l.csv").exists()


def test_evaluate_many_answers_in_order_once_each(tiny, tmp_path):
    (tmp_path / "t").mkdir()
    archs = tiny.sample(3, seed=8)
    seen = []
    results = evaluate_many(tiny, Quick(str(tmp_path / "t")), [*archs, archs[0]], (1, 0), 2, seen.append)
    assert [(r.arch, r.seed) for r in results] == [(str(a), s) for a in archs for s in (1, 0)]
    assert all(r.metrics == {"acc": truth(r.arch, r.seed), "params": 7.0} for r in results)
    assert sorted(seen, key=repr) == sorted(results, key=repr)
    assert len(calls(tmp_path / "t")) == 6
    assert not multiprocessing.active_children()


def test_an_exception_in_the_parent_ends_the_children(tiny, tmp_path):
    (tmp_path / "t").mkdir()

    def stop(_result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_many(tiny, Quick(str(tmp_path / "t"), seconds=0.2), tiny.sample(6), n_jobs=2, on_result=stop)
    assert not multiprocessing.active_children()


def test_latencies_can_be_measured_later(tiny, tmp_path):
    (tmp_path / "t").mkdir()
    archs, evaluator = tiny.sample(3, seed=9), QuickNetwork(str(tmp_path / "t"))
    out = label_architectures(tiny, evaluator, archs, tmp_path / "l.csv", latency=False)
    before = read(out)
    label_architectures(tiny, evaluator, archs, out, latency=True)
    after = read(out)
    assert list(after[0]) == ["arch", "seed", "acc", "latency_ms", "params"]
    assert [{k: v for k, v in row.items() if k != "latency_ms"} for row in after] == before
    assert all(float(row["latency_ms"]) > 0 for row in after)
    assert len(calls(tmp_path / "t")) == 3
