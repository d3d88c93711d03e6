"""Jobs killed as in ``benchmarks.faults``, the cheapest, and few times."""

from __future__ import annotations

import pytest

from benchmarks import kills


def test_a_killed_job_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    counts = kills.campaign("fetch", 2, seed=0, place=tmp_path / "runs")
    assert counts.kills >= 2
    assert counts.failures == []


def test_what_is_lost_doubled_or_half_is_seen(tmp_path, monkeypatch):
    job = kills.Job(("none",), "", unordered=True)
    tables = []
    for number, rows in enumerate((["a,1", "b,2"], ["b,2", "a,1"], ["a,1", "b,2", "b,2"], ["a,1"])):
        (folder := tmp_path / str(number)).mkdir()
        (folder / "t.csv").write_text("\n".join(["arch,acc", *rows, ""]))
        tables.append(kills.results(folder, job))
    assert [kills.differing(tables[0], table) for table in tables] == [[], [], ["t.csv"], ["t.csv"]]
    (tmp_path / "0" / "t.csv").write_text("arch,acc\na,1\nb")
    with pytest.raises(AssertionError, match="is half"):
        kills.whole(tmp_path / "0")
