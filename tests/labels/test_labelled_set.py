from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from autobuild.errors import ConfigError, LabelError, TargetError
from autobuild.labels import LabelledSet
from autobuild.spaces import SearchSpace


@pytest.fixture
def labels(rows: pd.DataFrame, mbv3: SearchSpace) -> LabelledSet:
    return LabelledSet.from_frame(rows, mbv3)


def test_what_a_set_says_of_itself(labels: LabelledSet, rows: pd.DataFrame) -> None:
    assert len(labels) == 40
    assert labels.metrics == ["acc", "latency_ms", "params"]
    assert [str(arch) for arch in labels.archs] == list(rows["arch"]) == list(labels.frame["arch"])
    assert labels.notes == []
    assert all(labels.frame[name].dtype == np.float64 for name in labels.metrics)
    table = labels.describe().set_index("metric")
    assert table.loc["latency_ms", "missing"] == 2
    assert table.loc["latency_ms", "mean"] == pytest.approx(rows["latency_ms"].mean())
    assert table.loc["acc", "p95"] == pytest.approx(rows["acc"].quantile(0.95))
    assert "<table" in labels._repr_html_()


def test_nothing_that_is_handed_out_changes_the_set(labels: LabelledSet) -> None:
    before = labels.content_hash
    frame = labels.frame
    frame.loc[0, "acc"] = 9.0
    labels.archs.clear()
    labels.notes.append("x")
    labels.target("acc").values[:] = 0
    assert labels.frame["acc"].max() < 1
    assert len(labels.archs) == 40
    assert LabelledSet.from_frame(labels.frame, labels.space).content_hash == before
    with pytest.raises(AttributeError):
        labels.frame = pd.DataFrame()  # type: ignore[misc]


def test_duplicates_are_averaged_at_the_first_place_without_missing_values(
    rows: pd.DataFrame, mbv3: SearchSpace
) -> None:
    twins = pd.DataFrame(
        {
            "arch": [rows["arch"][3], " " + rows["arch"][5], rows["arch"][3]],
            "acc": [0.1, 0.2, np.inf],
            "latency_ms": [1.0, 2.0, 3.0],
        }
    )
    labels = LabelledSet.from_frame(pd.concat([rows, twins], ignore_index=True), mbv3)
    assert list(labels.frame["arch"]) == list(rows["arch"])
    (note,) = labels.notes
    assert note.startswith("5 rows averaged: 2 architectures occur more than once; they differ: acc by up to 0.")
    assert labels.frame["acc"][3] == pytest.approx((rows["acc"][3] + 0.1) / 2)  # the infinite one counts as missing
    assert labels.frame["latency_ms"][3] == pytest.approx((rows["latency_ms"][3] + 1 + 3) / 3)
    assert labels.frame["latency_ms"][5] == 2.0  # its first measurement is missing
    assert np.isnan(labels.frame["latency_ms"][11])
    assert labels.frame["params"][3] == rows["params"][3]
    single = LabelledSet.from_frame(pd.concat([rows, twins[:1]], ignore_index=True), mbv3)
    assert single.notes[0].startswith("2 rows averaged: 1 architecture occurs more than once; they differ: ")


def test_rows_without_a_target_are_dropped_and_counted(labels: LabelledSet, rows: pd.DataFrame) -> None:
    y = labels.target("100*acc - log(latency_ms)")
    keep = rows["latency_ms"].notna().to_numpy()
    assert y.dropped == 2
    assert y.note == "2 of 40 rows dropped: target is missing or not finite"
    assert len(y.labels) == len(y.values) == 38
    np.testing.assert_array_equal(y.rows, np.flatnonzero(keep))
    np.testing.assert_array_equal(y.values, (100 * rows["acc"] - np.log(rows["latency_ms"]))[keep])
    assert list(y.labels.frame["arch"]) == list(rows["arch"][keep])
    whole = labels.target("acc")
    assert (whole.dropped, whole.note, whole.labels) == (0, "", labels)


def test_costs_are_called_once_only_if_referenced_and_with_every_architecture(labels: LabelledSet) -> None:
    calls: list[int] = []

    def layers(archs: list[object]) -> np.ndarray:
        calls.append(len(archs))
        return np.array([str(arch).count("e") for arch in archs])

    def never(archs: list[object]) -> np.ndarray:
        raise AssertionError

    costs = {"layers": layers, "params": layers, "flops": never}
    y = labels.target("acc - layers/100 + cost.layers - cost.layers", costs)
    depth = np.array([arch.count("e") for arch in labels.frame["arch"]])
    np.testing.assert_allclose(y.values, labels.frame["acc"] - depth / 100)
    assert calls == [40]
    with pytest.raises(TargetError, match=r"write label\.params or cost\.params"):
        labels.target("params", costs)
    np.testing.assert_array_equal(labels.target("cost.params", costs).values, depth)
    with pytest.raises(TargetError, match=r"shape \(2,\) for 40 architectures"):
        labels.target("wrong", {"wrong": lambda archs: np.ones(2)})
    with pytest.raises(TargetError, match="did you mean 'flops'"):
        labels.target("cost.layers + flop", costs)


@pytest.mark.parametrize("text", ["acc - acc", "0*acc", "acc**0", "3", "log(2) + 1", "(acc + 1e30)", "acc/acc"])
def test_a_constant_target_is_refused(labels: LabelledSet, text: str) -> None:
    with pytest.raises(TargetError, match=r"the same for all|all rows are equal"):
        labels.target(text)


def test_a_small_spread_is_not_constant(labels: LabelledSet) -> None:
    assert np.ptp(labels.target("1e6 + 1e-6*acc").values) > 0


def test_fewer_than_five_usable_rows_are_refused(labels: LabelledSet) -> None:
    with pytest.raises(LabelError, match=r"4 usable rows for target 'acc', at least 5 are needed"):
        labels.head(4).target("acc")
    assert len(labels.head(5).target("acc").values) == 5
    with pytest.raises(LabelError, match=r"0 usable rows.*40 of 40 rows dropped"):
        labels.target("log(-acc)")


def test_subsets(labels: LabelledSet, rows: pd.DataFrame) -> None:
    labels.keys
    part = labels.subset([7, 2, 9])
    assert list(part.frame["arch"]) == [str(a) for a in part.archs] == list(part.keys) == list(rows["arch"][[7, 2, 9]])
    assert list(part.frame.index) == [0, 1, 2]
    mask = np.zeros(40, dtype=bool)
    mask[[2, 7]] = True
    assert list(labels.subset(mask).frame["arch"]) == list(rows["arch"][[2, 7]])
    assert len(labels.subset([])) == 0
    for wrong in ([40], [-1], [1, 1], [0.5], mask[:5], [[1, 2]]):
        with pytest.raises(LabelError):
            labels.subset(wrong)
    for n in (0, 41, True, 2.0):
        with pytest.raises(LabelError, match="from 1 to 40"):
            labels.head(n)


def test_splits_keep_equal_networks_together(with_identity: SearchSpace) -> None:
    texts = [f"{a}{b}{c}" for a in range(3) for b in range(3) for c in range(3)]
    labels = LabelledSet.from_frame(pd.DataFrame({"arch": texts, "acc": range(27)}), with_identity)
    assert len(labels) == 27
    for seed in range(5):
        train, test = labels.split(0.2, seed)
        assert len(test) == 5
        assert not {labels.keys[i] for i in train} & {labels.keys[i] for i in test}
        for train, test in labels.folds(4, seed):
            assert not {labels.keys[i] for i in train} & {labels.keys[i] for i in test}


def test_the_hash_is_that_of_the_content(labels: LabelledSet, rows: pd.DataFrame, mbv3: SearchSpace) -> None:
    def digest(frame: pd.DataFrame) -> str:
        return LabelledSet.from_frame(frame, mbv3).content_hash

    assert digest(rows[["params", "arch", "latency_ms", "acc"]]) == labels.content_hash
    changed = rows.copy()
    changed.loc[8, "acc"] = np.nextafter(changed.loc[8, "acc"], 1)
    different = {digest(changed), digest(rows[::-1]), digest(rows[:-1]), digest(rows.rename(columns={"acc": "top1"}))}
    assert len(different | {labels.content_hash}) == 5


@pytest.mark.parametrize(
    "column",
    [
        pd.array([True, False, None], dtype="boolean"),
        pd.array([1, 0, None], dtype="Int64"),
        [True, False, None],
        [np.float32(1), np.int64(0), np.nan],
    ],
    ids=["boolean", "Int64", "object", "numpy"],
)
def test_every_kind_of_number_is_read(mbv3: SearchSpace, column: object) -> None:
    archs = mbv3.sample(3)
    labels = LabelledSet.from_frame(pd.DataFrame({"arch": archs, "m": column}, index=[5, 5, 7]), mbv3)
    np.testing.assert_array_equal(labels.frame["m"], [1.0, 0.0, np.nan])
    assert labels.archs == archs


def test_pandas_is_imported_only_when_it_is_used() -> None:
    code = (
        "import sys, autobuild.labels as l, autobuild.expressions as e; e.parse_where('acc > 1'); l.sample_design; "
        "assert 'pandas' not in sys.modules and 'torch' not in sys.modules; "
        "l.LabelledSet; assert 'pandas' in sys.modules and 'LabelledSet' in dir(l)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("given", [3, None, ["a.csv"], {"arch": ["w1"]}])
def test_what_is_no_table_is_told(mbv3: SearchSpace, given: object) -> None:
    with pytest.raises(
        LabelError, match=rf"given a {type(given).__name__}; accepted: the path of a file, the name of an embedded set"
    ):
        LabelledSet.read(given, mbv3)  # type: ignore[arg-type]
    with pytest.raises(LabelError, match=f"given a {type(given).__name__}, accepted: a pandas frame"):
        LabelledSet.from_frame(given, mbv3)  # type: ignore[arg-type]


def test_a_space_that_is_only_named_is_told(rows: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match=r"space='ofa_mbv3': a search space is accepted, as ab.space\('ofa_mbv3'\)"):
        LabelledSet.from_frame(rows, "ofa_mbv3")  # type: ignore[arg-type]
