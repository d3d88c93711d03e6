"""Slips in labels are named, with their rows; labels as they really are raise no alarm."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autobuild.errors import LabelError, LabelWarning
from autobuild.labels import LabelledSet
from autobuild.spaces import SearchSpace, load_space

N = 60


@pytest.fixture
def frame(mbv3: SearchSpace) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    archs = [str(arch) for arch in mbv3.sample(N, seed=5)]
    return pd.DataFrame(
        {
            "arch": archs,
            "acc": 95 - rng.gamma(2, 3, N),
            "latency_ms": np.exp(rng.normal(2, 0.6, N)),
            "gain": rng.normal(size=N),
        }
    ).round(4)


def warned(frame: pd.DataFrame, space: SearchSpace) -> list[str]:
    """The warnings, which are those of the shuffled rows as well, but for their numbers."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labels = LabelledSet.from_frame(frame, space)
    shown = [str(warning.message) for warning in caught if issubclass(warning.category, LabelWarning)]
    assert len(shown) == bool(labels.warnings)
    assert all(text in shown[0] for text in labels.warnings)
    order = np.random.default_rng(1).permutation(len(frame))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        moved = LabelledSet.from_frame(frame.iloc[order].reset_index(drop=True), space)
    back = {number: int(order[int(number) - 1]) + 1 for number in range(1, len(frame) + 1)}
    rows = sorted((s.metric, tuple(sorted(back[int(n)] for n in s.rows))) for s in moved.anomalies)
    assert rows == sorted((s.metric, tuple(sorted(map(int, s.rows)))) for s in labels.anomalies)
    return labels.warnings


CASES = {
    "one without its point": ("acc", {7: 8917.3}, "acc: 8917.3 in row 8: ", "larger than"),
    "nine hundred percent": ("acc", {7: 917.3}, "acc: 917.3 in row 8: ", "times the next"),
    "percent beyond 100": ("acc", {7: 195.0}, "acc: 195 in row 8: ", "times the next"),
    "failed trainings": (
        "acc",
        dict.fromkeys(range(10), -1),
        "acc: -1 (10 times) in rows 1, 2, 3, 4, 5, 6 and 4 more",
        "mark",
    ),
    "failed measurements": ("latency_ms", dict.fromkeys((3, 9), -1), "latency_ms: -1 (2 times) in rows 4, 10", "mark"),
    "half failed": (
        "acc",
        dict.fromkeys(range(30), -1),
        "acc: -1 (30 times) in rows 1, 2, 3, 4, 5, 6 and 24 more",
        "mark",
    ),
    "beyond 1 among fractions": ("fraction", {3: 1.77}, "accuracy: 1.77 in row 4", "times the next"),
    "negative latencies": ("latency_ms", {3: -12.25, 5: -3.5}, "latency_ms: -12.25, -3.5 in rows 4, 6", "negative"),
    "a fraction": ("acc", {12: 0.91}, "acc: 0.91 in row 13", "100 times smaller than the other 59: another unit?"),
    "fractions": (
        "acc",
        {n: 0.9 + n / 1000 for n in range(20)},
        "acc: 0.9, 0.901",
        "100 times smaller than the other 40",
    ),
    "zero accuracy": (
        "acc",
        dict.fromkeys((0, 1, 2), 0.0),
        "acc: 0 (3 times) in rows 1, 2, 3",
        "zero, and the other 57",
    ),
    "zero latency": ("latency_ms", {4: 0.0}, "latency_ms: 0 in row 5", "zero, and the other 59"),
    "nines": (
        "latency_ms",
        dict.fromkeys((0, 4), 999.0),
        "latency_ms: 999 (2 times) in rows 1, 5",
        "mark of a failure",
    ),
    "many nines": ("latency_ms", {4: 9999.0}, "latency_ms: 9999 in row 5", "times the next"),
    "negative nines": ("latency_ms", {4: -999.0}, "latency_ms: -999 in row 5", "mark of a failure"),
    "a sentinel of a gain": ("gain", {4: -999.0}, "gain: -999 in row 5", "far from the median"),
    "huge": ("gain", {4: 1e30}, "gain: 1e+30 in row 5", "far from the median"),
    "huge accuracy": ("acc", {4: 1e30}, "acc: 1e+30 in row 5", "times the next"),
    "tiny": ("acc", {4: 1e-9}, "acc: 1e-09 in row 5", "of the next of the other"),
    "infinite": ("latency_ms", {4: np.inf, 8: -np.inf}, "latency_ms: -inf, inf in rows 5, 9", "not finite"),
    "seconds": ("latency_ms", {4: 0.0075}, "latency_ms: 0.0075 in row 5", "1,000 times smaller"),
}


@pytest.mark.parametrize("case", CASES)
def test_slips_are_named_with_their_rows(case: str, frame: pd.DataFrame, mbv3: SearchSpace) -> None:
    metric, slips, where, why = CASES[case]
    if case == "seconds":  # of a kind of networks that are about as fast
        frame["latency_ms"] = frame["latency_ms"].rank() / 20 + 6
    if metric == "fraction":
        metric, frame["accuracy"] = "accuracy", 0.75 + 0.04 * frame.pop("acc").rank() / N
    frame.loc[list(slips), metric] = list(slips.values())
    (told,) = warned(frame, mbv3)
    assert told.startswith(where)
    assert why in told
    assert f"labels.drop([{min(slips) + 1}" in told


def test_labels_as_they_are_raise_no_alarm(frame: pd.DataFrame, mbv3: SearchSpace) -> None:
    assert warned(frame, mbv3) == []
    chance = frame.assign(acc=frame["acc"].where(np.arange(N) >= 5, 10.0))  # networks that learned nothing
    assert warned(chance, mbv3) == []
    proxy = chance.assign(zen=(frame["gain"] * 30 + 150).where(np.arange(N) >= 5, -1e8))  # no path: both say so
    assert warned(proxy, mbv3) == []
    assert len(warned(proxy.assign(acc=frame["acc"]), mbv3)) == 1
    counts = frame.assign(depth=np.arange(N) % 3 + 2, ok=[1.0] * (N - 1) + [0.0], loss=-frame["acc"] / 100)
    assert warned(counts.assign(score=np.arange(N) % 4 - 1), mbv3) == []


@pytest.mark.parametrize("seed", range(20))
def test_random_metrics_of_any_tail_raise_no_alarm(seed: int, mbv3: SearchSpace) -> None:
    rng = np.random.default_rng(seed)
    n = (10, 25, 60, 400)[seed % 4]
    archs = [str(arch) for arch in mbv3.sample(n, seed=5)]
    shapes = {
        "normal": rng.normal(size=n),
        "uniform": rng.uniform(size=n),
        "lognormal": np.exp(rng.normal(0, 1.5, n)),
        "gamma": rng.gamma(0.7, 2, n),
        "pareto": rng.pareto(1.5, n) + 1,
        "params": np.round(np.exp(rng.uniform(np.log(1e6), np.log(1e9), n))),
        "acc": 100 * rng.beta(5, 1.2, n),
        "fid": 5 + rng.gamma(1, 20, n),
        "loss": -rng.gamma(1, 1, n),
        "correlation": rng.uniform(-0.2, 0.9, n),
        "bimodal": np.where(rng.uniform(size=n) < 0.3, rng.normal(10, 0.1, n), rng.normal(90, 3, n)),
    }
    assert warned(pd.DataFrame({"arch": archs, **shapes}), mbv3) == []


def test_one_value_nearly_everywhere(frame: pd.DataFrame, mbv3: SearchSpace) -> None:
    (told,) = warned(frame.assign(acc=[71.5] * (N - 1) + [80.0]), mbv3)
    assert told == "acc: 71.5 in 59 of 60 rows; other values only in row 60"
    (told,) = warned(frame.assign(acc=frame["acc"].where(np.arange(N) % 6 > 0, frame["acc"][30])), mbv3)
    assert told.startswith(f"acc: {frame['acc'][30]:.6g} (10 times) in rows 1, 7, 13, 19, 25, 31 and 4 more")
    (told,) = warned(frame.assign(acc=71.5), mbv3)
    assert told == "acc: 71.5 in every row: nothing can be learned from it"


def test_repeated_rows(frame: pd.DataFrame, mbv3: SearchSpace, with_identity: SearchSpace) -> None:
    twin = frame.iloc[[4, 4, 9]].copy()
    twin.iloc[1, 1:] = [70.0, 40.0, -3.0]  # another network's numbers
    with pytest.warns(LabelWarning):
        labels = LabelledSet.from_frame(pd.concat([frame, twin], ignore_index=True), mbv3)
    assert len(labels) == N
    (note,) = labels.notes
    assert note.startswith("5 rows averaged: 2 architectures occur more than once (1 with equal values throughout); ")
    assert f"they differ: acc by up to {abs(frame['acc'][4] - 70):.3g}, latency_ms by up to" in note
    assert {one.metric for one in labels.anomalies} == {"acc", "latency_ms", "gain"}
    with pytest.warns(DeprecationWarning, match="suspects is now called anomalies"):
        assert labels.suspects == labels.anomalies
    assert "in rows 5, 61, 62, which hold the same architecture and are averaged" in labels.warnings[0]
    copied = frame.copy()
    copied.iloc[30, 1:] = copied.iloc[31, 1:] = copied.iloc[20, 1:]
    (told,) = warned(copied, mbv3)
    assert told == "rows 21, 31, 32: different networks, and equal in every metric: copied?"
    keys: dict[str, list[str]] = {}
    for text in (f"{a}{b}{c}" for a in range(3) for b in range(3) for c in range(3)):
        keys.setdefault(with_identity.key(with_identity.parse(text)), []).append(text)
    rng = np.random.default_rng(3)
    metrics = {key: {"acc": rng.uniform(60, 90), "lat": rng.uniform(2, 9)} for key in keys}
    equal = pd.DataFrame([{"arch": text, **metrics[key]} for key, texts in keys.items() for text in texts])
    assert warned(equal, with_identity) == []  # one network written twice has equal labels by right


def test_rows_are_left_out_by_number_or_by_value(frame: pd.DataFrame, mbv3: SearchSpace, tmp_path: Path) -> None:
    frame.loc[[3, 9], "acc"] = -1
    again = frame.iloc[[3]].assign(acc=90.0)
    path = tmp_path / "labels.csv"
    pd.concat([frame, again]).to_csv(path, index=False)
    with pytest.warns(LabelWarning, match="acc: -1 .2 times. in lines 5, 11"):
        labels = LabelledSet.read(path, mbv3)
    assert labels.frame.attrs["warnings"] == labels.warnings
    assert labels.warnings[0] in repr(labels)
    assert "-1 (2 times)" in labels._repr_html_()
    assert labels.frame["acc"][3] == 44.5  # (90 - 1) / 2
    dropped = labels.drop([5, 11])
    assert (len(dropped), dropped.warnings) == (N - 1, [])
    assert dropped.frame["acc"][3] == 90.0
    assert dropped.notes[-1] == "2 rows dropped by their numbers"
    kept = labels.filter(lambda metrics: metrics["acc"] > 0)
    pd.testing.assert_frame_equal(kept.frame, dropped.frame)
    assert kept.content_hash == dropped.content_hash
    with pytest.raises(LabelError, match=r"no line 62\.5 with labels|no line 1 with labels"):
        labels.drop([1])
    with pytest.raises(LabelError, match="no row is left"):
        labels.filter(lambda metrics: metrics["acc"] > 1e9)
    with pytest.raises(LabelError, match="a boolean mask"):
        labels.filter(lambda metrics: [True])


def test_a_target_warns_of_its_own_metrics_only(frame: pd.DataFrame, mbv3: SearchSpace) -> None:
    frame.loc[3, "acc"] = -1
    with pytest.warns(LabelWarning):
        labels = LabelledSet.from_frame(frame, mbv3)
    assert labels.target("-latency_ms").warnings == ()
    assert labels.target("acc - latency_ms").warnings == (labels.warnings[0],)


PUBLISHED = {
    "ofa_mbv3_labels.csv": "ofa_mbv3",
    "ofa_proxyless_labels.csv": "ofa_proxyless",
    "nas_bench_201_cifar10.csv.gz": "nas_bench_201",
    "nas-bench-macro_cifar10.json": "nas_bench_macro",
    "anb_dataset_jsons.tar.gz": "mnasnet",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_labels_raise_no_alarm(name: str, data_dir: Path) -> None:
    assert LabelledSet.read(data_dir / name, load_space(PUBLISHED[name])).warnings == []


def test_embedded_labels_raise_no_alarm() -> None:
    assert LabelledSet.read("tiny_mbconv", load_space("tiny_mbconv")).warnings == []
